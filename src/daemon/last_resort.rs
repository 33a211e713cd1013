//! The last resort of a stop: what cannot be interrupted does not keep the process.
//!
//! The daemon's loop stops sessions in order, but it cannot hear of a signal while it waits for work on files: a
//! recovery whose state directory lies on a mount that hangs, say. This task does nothing but listen and wait.

use std::future::pending;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tracing::error;

use crate::daemon::signals::{Asked, Signals};
use crate::exit_code::ExitCode;

/// Signals after which nothing is waited for.
const ENOUGH: u32 = 3;

/// Ends the process when a stop takes too long. Ends with its owner.
#[derive(Debug)]
pub(super) struct LastResort {
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

/// What loop and last resort tell each other.
#[derive(Debug, Default)]
struct Seen {
    /// When the stop was asked for.
    asked: OnceLock<Instant>,
    /// The loop has begun it.
    begun: AtomicBool,
}

impl LastResort {
    /// Listens from now on. After the first signal the loop has `budget` to begin the stop, and `grace` more to end.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn watch(budget: Duration, grace: Duration) -> io::Result<Self> {
        let signals = Signals::listen()?;
        let seen = Arc::<Seen>::default();
        let task = tokio::spawn(wait(signals, Arc::clone(&seen), budget, grace));
        Ok(LastResort { seen, task })
    }

    /// The loop has begun to stop, and has deadlines of its own. Answers since when a signal asks for it.
    pub(super) fn loop_stops(&self) -> Option<Instant> {
        self.seen.begun.store(true, Ordering::Relaxed);
        self.seen.asked.get().copied()
    }
}

impl Drop for LastResort {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn wait(mut signals: Signals, seen: Arc<Seen>, budget: Duration, grace: Duration) {
    let mut signalled = 0;
    let mut waits_for_loop = true;
    loop {
        let deadline = seen.asked.get().map(|at| *at + if waits_for_loop { budget } else { budget + grace });
        tokio::select! {
            asked = signals.next() => if asked == Asked::Stop {
                signalled += 1;
                seen.asked.get_or_init(Instant::now);
                if signalled >= ENOUGH {
                    die("third signal");
                }
            },
            () = async { match deadline { Some(at) => sleep_until(at).await, None => pending().await } } => {
                if !waits_for_loop {
                    die("the stop did not end in time");
                }
                if !seen.begun.load(Ordering::Relaxed) {
                    die("what is under way (recovery, or another work on files) did not end in time");
                }
                waits_for_loop = false;
            }
        }
    }
}

fn die(why: &str) -> ! {
    error!(reason = why, "dying at once: everything committed is safe, and the next start goes on from there");
    std::process::exit(i32::from(ExitCode::Stopped.code()));
}
