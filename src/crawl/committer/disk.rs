//! The outputs of a session, and the thread that waits for their disk while the committer's goes on with the store.

use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use crate::lock::lock;
use crate::output::files::Placer;
use crate::output::{OutputError, Sink};

/// What is written beside the store.
#[derive(Debug)]
pub(super) struct Outputs {
    pub(super) urls: Sink,
    pub(super) pages: Sink,
    pub(super) files: Placer,
}

/// What one group adds to them.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) urls: Vec<u8>,
    pub(super) pages: Vec<u8>,
    /// Files that get a name: passing name, name.
    pub(super) named: Vec<(String, String)>,
}

impl Lines {
    fn is_empty(&self) -> bool {
        self.urls.is_empty() && self.pages.is_empty() && self.named.is_empty()
    }
}

impl Outputs {
    /// Makes a group's lines durable. URL records are on the disk before the page records that count them, and kept
    /// files have their names before the page records that name them.
    fn write(&mut self, lines: &Lines) -> Result<(), OutputError> {
        self.urls.append(&lines.urls)?;
        self.urls.sync()?;
        self.files.place(&lines.named)?;
        self.pages.append(&lines.pages)?;
        self.pages.sync()
    }
}

/// The outputs, with a thread of their own from the first group on.
#[derive(Debug)]
pub(super) struct Disk {
    /// Locked by the thread while it writes, else by nobody for long.
    outputs: Arc<Mutex<Outputs>>,
    thread: Option<Thread>,
}

#[derive(Debug)]
struct Thread {
    /// One group at a time; dropped to end the thread.
    groups: Option<SyncSender<Lines>>,
    answers: Receiver<Result<(), OutputError>>,
    handle: Option<JoinHandle<()>>,
}

impl Disk {
    pub(super) fn new(outputs: Outputs) -> Self {
        Disk { outputs: Arc::new(Mutex::new(outputs)), thread: None }
    }

    /// The outputs between two groups.
    pub(super) fn outputs(&self) -> MutexGuard<'_, Outputs> {
        lock(&self.outputs)
    }

    /// Writes in the other thread while `meanwhile` runs in this one; both are done when it returns. One after the
    /// other when there is no thread to be had.
    pub(super) fn write<T>(&mut self, lines: Lines, meanwhile: impl FnOnce() -> T) -> (Result<(), OutputError>, T) {
        if lines.is_empty() {
            return (Ok(()), meanwhile());
        }
        if self.thread.is_none() {
            self.thread = Thread::start(&self.outputs);
        }
        let Some(thread) = &mut self.thread else {
            let written = self.outputs().write(&lines);
            return (written, meanwhile());
        };
        thread.begin(lines);
        let done = meanwhile();
        (thread.wait(), done)
    }
}

impl Thread {
    fn start(outputs: &Arc<Mutex<Outputs>>) -> Option<Thread> {
        let (groups, inbox) = sync_channel::<Lines>(1);
        let (answer, answers) = sync_channel(1);
        let outputs = Arc::clone(outputs);
        let work = move || {
            for lines in inbox {
                let written = lock(&outputs).write(&lines);
                if answer.send(written).is_err() {
                    return;
                }
            }
        };
        let handle = std::thread::Builder::new().name("outputs".to_owned()).spawn(work).ok()?;
        Some(Thread { groups: Some(groups), answers, handle: Some(handle) })
    }

    fn begin(&mut self, lines: Lines) {
        if let Some(groups) = &self.groups {
            // Fails only when the thread has panicked: then waiting says so.
            let _ = groups.send(lines);
        }
    }

    fn wait(&mut self) -> Result<(), OutputError> {
        self.answers.recv().unwrap_or_else(|_| self.join())
    }

    /// Ends the thread. Its panic becomes one of this thread.
    fn join(&mut self) -> Result<(), OutputError> {
        self.groups = None;
        match self.handle.take().map(JoinHandle::join) {
            Some(Err(panic)) => resume_unwind(panic),
            Some(Ok(())) | None => unreachable!("the thread of the outputs ends only when it is told to"),
        }
    }
}

/// What is being written is written to its end.
impl Drop for Thread {
    fn drop(&mut self) {
        self.groups = None;
        if let Some(handle) = self.handle.take() {
            let _ = handle.join();
        }
    }
}
