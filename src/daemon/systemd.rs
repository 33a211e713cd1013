//! Words with the service manager; silence when there is none.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::debug;

use crate::daemon::pulse::Liveness;
use crate::model::time::Timestamp;

/// Status lines come at most this often: they are for people.
const STATUS_EVERY: Duration = Duration::from_secs(5);
/// Asked for in one piece while a long rebuild runs, and asked again well before it is over.
const EXTENSION: Duration = Duration::from_secs(60);

/// What is said to the service manager.
#[derive(Debug, Default)]
pub struct Systemd {
    watchdog: Option<Duration>,
    last_ping: Option<Timestamp>,
    last_status: Option<(Timestamp, String)>,
}

impl Systemd {
    /// Reads what the service manager asks for from the environment.
    pub fn new() -> Self {
        Systemd { watchdog: sd_notify::watchdog_enabled(), ..Systemd::default() }
    }

    /// Start-up is done: lock, decisions and stores.
    pub fn ready(&self, status: &str) {
        say(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// A long piece of work goes on in front of the loops: asks for a minute more of start-up, and
    /// keeps the watchdog quiet meanwhile.
    pub fn working(&self) {
        let micros = u32::try_from(EXTENSION.as_micros()).unwrap_or(u32::MAX);
        say(&[NotifyState::ExtendTimeoutUsec(micros)]);
        if self.watchdog.is_some() {
            say(&[NotifyState::Watchdog]);
        }
    }

    /// Tasks are being read again.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => say(&[NotifyState::Reloading, now]),
            Err(_) => say(&[NotifyState::Reloading]),
        }
    }

    /// The stop has begun.
    pub fn stopping(&self) {
        say(&[NotifyState::Stopping]);
    }

    /// Says the status line when it changed and the last one is old enough.
    pub fn status(&mut self, now: Timestamp, line: String) {
        let due = self.last_status.as_ref().is_none_or(|(at, last)| *last != line && now.since(*at) >= STATUS_EVERY);
        if due {
            say(&[NotifyState::Status(&line)]);
            self.last_status = Some((now, line));
        }
    }

    /// Pings the watchdog at a third of its interval, if the loops have turned since.
    pub fn watchdog(&mut self, now: Timestamp, liveness: &Liveness) {
        let Some(interval) = self.watchdog else { return };
        let due = self.last_ping.is_none_or(|at| now.since(at) >= interval / 3);
        if due && liveness.all_turning(now, interval) {
            say(&[NotifyState::Watchdog]);
            self.last_ping = Some(now);
        }
    }
}

fn say(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        debug!(%error, "service manager not told");
    }
}
