//! The one writer of a session's checkpoint and heartbeat; never in the way of its commits.

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::warn;

use crate::model::checkpoint::Checkpoint;
use crate::model::heartbeat::Heartbeat;
use crate::state::Durability;
use crate::state::checkpoint_file::CheckpointWriter;
use crate::state::heartbeat_file;
use crate::state::paths::SessionPaths;

/// Writings that may wait. A heartbeat that finds the queue full is dropped: a newer one follows.
const QUEUE: usize = 8;

/// Told when a checkpoint is on the disk: its generation, or what went wrong.
pub type Told = Box<dyn FnOnce(Result<u64, String>) + Send>;

/// Composes a checkpoint when it is its turn: reads a snapshot of the store.
pub type Compose = Box<dyn FnOnce() -> Result<Checkpoint, String> + Send>;

/// Something to write.
pub enum Scribble {
    /// A heartbeat; durable at changes of status.
    Heartbeat(Box<Heartbeat>, Durability),
    /// A checkpoint.
    Checkpoint(Compose, Option<Told>),
}

/// The controller's end.
#[derive(Debug)]
pub struct Scribe {
    queue: mpsc::Sender<Scribble>,
    done: mpsc::Receiver<u64>,
    task: JoinHandle<()>,
}

impl Scribe {
    /// Starts the writer of one session.
    pub fn start(paths: SessionPaths) -> Self {
        let (queue, inbox) = mpsc::channel(QUEUE);
        let (written, done) = mpsc::channel(QUEUE);
        let task = tokio::task::spawn_blocking(move || write_all(&paths, inbox, &written));
        Scribe { queue, done, task }
    }

    /// Asks for a writing. A full queue drops it and answers a waiting caller.
    pub fn ask(&self, scribble: Scribble) {
        if let Err(refused) = self.queue.try_send(scribble)
            && let Scribble::Checkpoint(_, Some(told)) = refused.into_inner()
        {
            told(Err("the disk does not keep up with checkpoints and heartbeats".to_owned()));
        }
    }

    /// Whether the next writing that is asked for is not dropped. There is no other asker.
    pub fn has_room(&self) -> bool {
        self.queue.capacity() > 0
    }

    /// Asks for a writing and waits until there is room for it.
    pub async fn insist(&self, scribble: Scribble) {
        // An error means that the writer panicked; `close` says so.
        let _ = self.queue.send(scribble).await;
    }

    /// Generations of checkpoints written since the last call.
    pub fn written(&mut self) -> Option<u64> {
        let mut newest = None;
        while let Ok(generation) = self.done.try_recv() {
            newest = Some(generation);
        }
        newest
    }

    /// Waits until everything asked for is written.
    pub async fn close(self) {
        drop(self.queue);
        if let Err(error) = self.task.await {
            warn!(%error, "the writer of checkpoints ended badly");
        }
    }
}

fn write_all(paths: &SessionPaths, mut inbox: mpsc::Receiver<Scribble>, written: &mpsc::Sender<u64>) {
    let mut checkpoints = CheckpointWriter::open(paths);
    let mut beats = 0;
    while let Some(scribble) = inbox.blocking_recv() {
        match scribble {
            Scribble::Heartbeat(heartbeat, durability) => {
                beats += 1;
                if let Err(error) = heartbeat_file::write(paths, &heartbeat, beats, durability) {
                    warn!(session_id = %paths.id(), %error, "heartbeat not written");
                }
            }
            Scribble::Checkpoint(compose, told) => {
                let result = compose().and_then(|checkpoint| write_checkpoint(&mut checkpoints, checkpoint));
                match &result {
                    Ok(generation) => drop(written.try_send(*generation)),
                    Err(error) => warn!(session_id = %paths.id(), %error, "checkpoint not written"),
                }
                if let Some(told) = told {
                    told(result);
                }
            }
        }
    }
}

/// Tries once more, in a new file, when the first try fails: the last checkpoint of a session has no
/// successor that would make up for it.
fn write_checkpoint(checkpoints: &mut CheckpointWriter, checkpoint: Checkpoint) -> Result<u64, String> {
    checkpoints.write(checkpoint.clone()).or_else(|error| {
        warn!(%error, "checkpoint not written at the first try");
        checkpoints.write(checkpoint).map_err(|error| error.to_string())
    })
}
