//! The one writer of a session: a thread that owns the store's write connection and the outputs.
//!
//! A group is everything that waits when the thread looks; it becomes durable as one: URL records
//! synced, then page records synced, then the store's commit, which also carries the leases. Only
//! after that is anybody answered.

pub mod batch;
mod disk;
mod engine;
mod group;
mod housekeeper;
#[cfg(test)]
mod model_tests;
mod open;
mod repair;
mod stray;
#[cfg(test)]
pub(super) mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, oneshot};
use tracing::{error, warn};

pub use batch::{
    Batch, CommitError, Committed, FAIL_HOST_BATCH, LeaseWish, META_ACTIVE_MS, META_JUDGED, META_PAUSED, META_RELEASED,
    META_RETRIED, StoreOp,
};
pub use open::{OpenError, OpenReport, OpenSession, Opened, create_session, open_session};

use engine::Engine;
use housekeeper::Housekeeper;

/// Kill and fault points of a commit and of opening, in order of passage.
pub const POINTS: &[&str] = &[
    "store.before_insert",
    "store.after_insert",
    "output.before_append_urls",
    "output.after_append_urls",
    "output.before_sync_urls",
    "output.after_sync_urls",
    "output.before_append_pages",
    "output.after_append_pages",
    "output.before_sync_pages",
    "output.after_sync_pages",
    "store.before_commit",
    "store.after_commit",
    "output.before_rotate",
    "output.after_rotate",
    "output.before_truncate",
    "output.after_truncate",
    "output.before_compress",
    "output.before_compress_rename",
    "output.after_compress_rename",
    "output.after_compress",
    "store.before_open_commit",
    "store.after_open_commit",
    "store.before_wal_checkpoint",
    "store.after_wal_checkpoint",
    "store.before_rebuild_rename",
    "store.after_rebuild_rename",
];

/// Batches that may wait; more senders wait for room.
const QUEUE: usize = 64;
/// Batches that one group takes at most, so that no answer waits for ever.
const GROUP: usize = 64;
/// How often an idle committer looks after its log.
const IDLE: Duration = Duration::from_secs(1);

/// Where a session keeps its durable parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorePaths {
    /// `frontier.db`.
    pub db: PathBuf,
    /// The folder of the outputs.
    pub out: PathBuf,
    /// Where cut tails and foreign files go; made when needed.
    pub quarantine: PathBuf,
}

enum Message {
    Commit(Request),
    Close,
    Quit,
}

struct Request {
    batch: Box<Batch>,
    since: Instant,
    reply: oneshot::Sender<Result<Committed, CommitError>>,
}

/// The way to a session's committer. Clones share its bounded queue.
#[derive(Debug, Clone)]
pub struct CommitterHandle {
    queue: SyncSender<Message>,
    room: Arc<Semaphore>,
}

impl CommitterHandle {
    /// Makes a batch durable. Waits for room in the queue, then for the commit.
    ///
    /// # Errors
    /// See [`CommitError`]; only `NoSpace` leaves the session able to go on. A panic of the writer
    /// reads as `Closed`.
    pub async fn commit(&self, batch: Batch) -> Result<Committed, CommitError> {
        let _room = self.room.acquire().await.map_err(|_| CommitError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let request = Request { batch: Box::new(batch), since: Instant::now(), reply };
        // The permit keeps a place free, so a full queue cannot be.
        self.queue.try_send(Message::Commit(request)).map_err(|_| CommitError::Closed)?;
        answer.await.map_err(|_| CommitError::Closed)?
    }
}

/// Owns the writer's thread.
#[derive(Debug)]
pub struct Committer {
    queue: SyncSender<Message>,
    thread: Option<JoinHandle<Result<(), CommitError>>>,
}

impl Committer {
    /// Commits what waits, folds the log into the store, marks the session clean, and ends the thread.
    ///
    /// # Errors
    /// What went wrong on the way; the session then counts as crashed, which costs nothing.
    pub async fn close(mut self) -> Result<(), CommitError> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let queue = self.queue.clone();
        let join = move || {
            // Fails only when the thread has ended already; joining says why.
            let _ = queue.send(Message::Close);
            thread.join().unwrap_or_else(|_| Err(CommitError::Bug { message: "the committer panicked".to_owned() }))
        };
        tokio::task::spawn_blocking(join)
            .await
            .unwrap_or_else(|_| Err(CommitError::Bug { message: "joining the committer panicked".to_owned() }))
    }
}

/// Not closed, because its owner panicked: the thread ends as in a crash, nothing folded in and not marked clean,
/// but before the session's lock is free again, so that whoever opens the session next finds no second writer.
impl Drop for Committer {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = self.queue.try_send(Message::Quit);
            let _ = thread.join();
        }
    }
}

fn start(engine: Engine, housekeeper: Housekeeper) -> std::io::Result<(CommitterHandle, Committer)> {
    let (queue, inbox) = sync_channel(QUEUE + 2);
    let thread =
        std::thread::Builder::new().name("committer".to_owned()).spawn(move || serve(engine, housekeeper, &inbox))?;
    let handle = CommitterHandle { queue: queue.clone(), room: Arc::new(Semaphore::new(QUEUE)) };
    Ok((handle, Committer { queue, thread: Some(thread) }))
}

fn serve(mut engine: Engine, mut housekeeper: Housekeeper, inbox: &Receiver<Message>) -> Result<(), CommitError> {
    loop {
        let mut closing = false;
        let mut group = Vec::new();
        match inbox.recv_timeout(IDLE) {
            Ok(Message::Commit(request)) => group.push(request),
            Ok(Message::Close) => closing = true,
            Ok(Message::Quit) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {
                housekeeper.idle(&engine);
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => {
                warn!("the committer's owner is gone: it ends without a clean close");
                return Ok(());
            }
        }
        let mut quitting = false;
        while group.len() < GROUP {
            match inbox.try_recv() {
                Ok(Message::Commit(request)) => group.push(request),
                Ok(Message::Close) => closing = true,
                Ok(Message::Quit) => {
                    quitting = true;
                    break;
                }
                Err(_) => break,
            }
        }
        if !group.is_empty() {
            answer(&mut engine, group);
            housekeeper.after_commit(&mut engine);
        }
        if quitting {
            return Ok(());
        }
        if closing {
            housekeeper.stop();
            return engine.close();
        }
    }
}

fn answer(engine: &mut Engine, group: Vec<Request>) {
    let (mut batches, waiting): (Vec<_>, Vec<_>) = group.into_iter().map(|r| (r.batch, (r.since, r.reply))).unzip();
    match engine.commit(&mut batches) {
        Ok(answers) => {
            for ((since, reply), mut committed) in waiting.into_iter().zip(answers) {
                committed.latency = since.elapsed();
                // A caller that is gone has lost interest, not data.
                let _ = reply.send(Ok(committed));
            }
        }
        Err(failure) => {
            if !failure.is_no_space() {
                error!(error = %failure, "commit failed");
            }
            for ((_, reply), batch) in waiting.into_iter().zip(batches) {
                let _ = reply.send(Err(failure.for_batch(batch)));
            }
        }
    }
}
