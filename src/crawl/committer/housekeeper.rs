//! Slow work beside the commits: folding the log into the store, packing finished segments.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use tracing::{debug, warn};

use crate::crawl::committer::StorePaths;
use crate::crawl::committer::engine::Engine;
use crate::output::compress::compress;
use crate::store::db;

/// A log of this size is folded in while commits go on, in bytes.
const LOG_LARGE: u64 = 64 << 20;
/// An idle session folds in a log of this size, in bytes.
const LOG_IDLE: u64 = 1 << 20;
/// Jobs that may wait; a job that finds no room is found again at the next opening.
const JOBS: usize = 64;
/// Page cache of the folding connection, in bytes: it copies pages and keeps none.
const CACHE: u64 = 1 << 20;

enum Job {
    Fold,
    Compress(String),
}

/// The committer's helper thread; stopped and joined with it.
#[derive(Debug)]
pub(super) struct Housekeeper {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    db: PathBuf,
    folding: Arc<AtomicBool>,
    folded: Arc<AtomicBool>,
}

impl Housekeeper {
    /// Starts the thread; `unpacked` are finished segments that an earlier lifetime did not pack.
    pub(super) fn start(paths: &StorePaths, unpacked: Vec<String>) -> std::io::Result<Self> {
        let (jobs, inbox) = sync_channel(JOBS);
        let folding = Arc::new(AtomicBool::new(false));
        let folded = Arc::new(AtomicBool::new(false));
        for name in unpacked.into_iter().take(JOBS - 1) {
            // There is room: the queue is new.
            let _ = jobs.try_send(Job::Compress(name));
        }
        let (paths_, flags) = (paths.clone(), (folding.clone(), folded.clone()));
        let thread = std::thread::Builder::new()
            .name("store-keeper".to_owned())
            .spawn(move || work(&paths_, &inbox, &flags.0, &flags.1))?;
        Ok(Housekeeper { jobs: Some(jobs), thread: Some(thread), db: paths.db.clone(), folding, folded })
    }

    /// Nothing waits to be committed.
    pub(super) fn idle(&mut self) {
        if db::log_bytes(&self.db) > LOG_IDLE {
            self.fold();
        }
    }

    /// A group has been answered.
    pub(super) fn after_commit(&mut self, engine: &mut Engine) {
        for name in engine.finished.drain(..) {
            self.send(Job::Compress(name));
        }
        if db::log_bytes(&self.db) <= LOG_LARGE {
            return;
        }
        if self.folded.swap(false, Ordering::AcqRel) {
            // The helper has done the bulk; what came in meanwhile is little, and once it is folded in too,
            // the next commit starts the log anew.
            let writer = &engine.writer;
            if let Err(error) = db::checkpoint(writer.connection(), writer.path(), false) {
                debug!(%error, "the log was not folded in; tried again");
            }
        } else {
            self.fold();
        }
    }

    /// Waits for the job in hand and ends the thread.
    pub(super) fn stop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!("the store's housekeeper panicked; its jobs are found again at the next opening");
        }
    }

    fn fold(&mut self) {
        if !self.folding.swap(true, Ordering::AcqRel) && !self.send(Job::Fold) {
            self.folding.store(false, Ordering::Release);
        }
    }

    fn send(&self, job: Job) -> bool {
        self.jobs.as_ref().is_some_and(|jobs| jobs.try_send(job).is_ok())
    }
}

impl Drop for Housekeeper {
    fn drop(&mut self) {
        self.stop();
    }
}

fn work(paths: &StorePaths, inbox: &Receiver<Job>, folding: &AtomicBool, folded: &AtomicBool) {
    // A full disk refuses for hours; that is said once.
    let mut refused = false;
    while let Ok(job) = inbox.recv() {
        match job {
            Job::Compress(name) => {
                if let Err(error) = compress(&paths.out, &name) {
                    warn!(%error, "a finished segment stays as it is; tried again at the next opening");
                }
            }
            Job::Fold => {
                match fold(&paths.db) {
                    Ok(()) => {
                        refused = false;
                        folded.store(true, Ordering::Release);
                    }
                    Err(error) => {
                        if !std::mem::replace(&mut refused, true) {
                            warn!(%error, "the log was not folded in; tried again until it is");
                        }
                    }
                }
                folding.store(false, Ordering::Release);
            }
        }
    }
}

fn fold(path: &Path) -> Result<(), crate::store::StoreError> {
    let connection = db::open_writer(path, CACHE, false)?;
    db::checkpoint(&connection, path, false).map(drop)
}
