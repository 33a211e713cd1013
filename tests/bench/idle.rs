//! What a daemon costs that has nothing to do.

use std::time::{Duration, Instant};

use super::daemon::{Daemon, Place};
use super::report::{Bar, Report};

/// Percent of a core.
const BAR: Bar = Bar::AtMost(0.5);
/// How long the daemon is watched.
const WATCHED: Duration = Duration::from_secs(30);
/// What the start itself costs is over by then.
const SETTLE: Duration = Duration::from_secs(4);

/// A daemon without a task; the one with a paused session is measured with a million URLs.
pub fn run(report: &mut Report) {
    let place = Place::new();
    let daemon = place.spawn(&["run", "--quiet"]);
    match answers(&daemon) {
        true => watch(report, "idle daemon, no task", &daemon),
        false => panic!("crawld run does not answer: {}", place.said()),
    }
    daemon.stop();
}

/// Watches a daemon that should be idle.
pub fn watch(report: &mut Report, what: &str, daemon: &Daemon) {
    std::thread::sleep(SETTLE);
    let (before, started) = (daemon.cpu(), Instant::now());
    std::thread::sleep(WATCHED);
    let spent = daemon.cpu() - before;
    report.number(what, spent.as_secs_f64() / started.elapsed().as_secs_f64() * 100.0, "% of a core", BAR);
}

/// Waits for the first answer.
pub fn answers(daemon: &Daemon) -> bool {
    let end = Instant::now() + Duration::from_secs(60);
    while Instant::now() < end && !daemon.ended() {
        if daemon.ask("GET", "/health").is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}
