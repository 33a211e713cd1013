//! Slow work beside the commits: folding the log into the store, packing finished segments.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use tracing::{debug, warn};

use crate::crawl::committer::StorePaths;
use crate::crawl::committer::engine::Engine;
use crate::output::compress::compress;
use crate::store::db;

/// A log that holds so much is folded in while commits go on, in bytes.
const LOG_LARGE: u64 = db::LOG_KEPT as u64;
/// An idle session folds in a log that holds so much, in bytes.
const LOG_IDLE: u64 = 1 << 20;
/// Jobs that may wait; a job that finds no room is found again at the next opening.
const JOBS: usize = 64;
/// Passes of one fold at most: each finds what was committed during the one before, which is less every time.
const PASSES: usize = 4;
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
    /// Bytes that the log holds.
    log: Arc<AtomicU64>,
    folding: Arc<AtomicBool>,
    folded: Arc<AtomicBool>,
}

impl Housekeeper {
    /// Starts the thread; `unpacked` are finished segments that an earlier lifetime did not pack.
    pub(super) fn start(paths: &StorePaths, log: Arc<AtomicU64>, unpacked: Vec<String>) -> std::io::Result<Self> {
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
        Ok(Housekeeper { jobs: Some(jobs), thread: Some(thread), log, folding, folded })
    }

    /// Nothing waits to be committed.
    pub(super) fn idle(&mut self, engine: &Engine) {
        if self.held() > LOG_IDLE {
            self.fold_in(engine);
        }
    }

    /// A group has been answered.
    pub(super) fn after_commit(&mut self, engine: &mut Engine) {
        for name in engine.finished.drain(..) {
            self.send(Job::Compress(name));
        }
        if self.held() > LOG_LARGE {
            self.fold_in(engine);
        } else {
            // The log began anew: what the helper did for the last one counts no more.
            self.folded.store(false, Ordering::Release);
        }
    }

    /// The helper does the bulk, beside the commits. What came in meanwhile is little; it is folded in here,
    /// between two commits, and the next one starts the log anew.
    fn fold_in(&mut self, engine: &Engine) {
        if !self.folded.swap(false, Ordering::AcqRel) {
            self.fold();
            return;
        }
        let writer = &engine.writer;
        match db::checkpoint(writer.connection(), writer.path(), false) {
            Ok(true) => self.log.store(0, Ordering::Relaxed),
            Ok(false) => {}
            Err(error) => debug!(%error, "the log was not folded in; tried again"),
        }
    }

    fn held(&self) -> u64 {
        self.log.load(Ordering::Relaxed)
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
    for _ in 0..PASSES {
        if db::checkpoint(&connection, path, false)? {
            break;
        }
    }
    Ok(())
}
