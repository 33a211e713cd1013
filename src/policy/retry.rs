//! Whether and when a failed URL is tried again, when it is poison, and what an HTTP status means for both.

use std::time::Duration;

use crate::model::outcome::FailureClass;
use crate::model::time::Timestamp;

/// Explained crashes while alone that end a URL as poison.
pub const POISON_EXPLAINED: u32 = 3;

/// Unexplained deaths while alone that end a URL as poison: SIGKILL and reboots are mostly somebody else's doing.
pub const POISON_UNEXPLAINED: u32 = 10;

/// Half the width of the jitter around a wait.
const JITTER: f64 = 0.2;

/// What becomes of a URL after a failed visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Queued again, not before this instant.
    At(Timestamp),
    /// Ended as failed.
    GiveUp,
}

/// First wait and longest wait of a class that is worth another try; each try doubles the wait.
struct Schedule {
    first: Duration,
    longest: Duration,
}

/// The table of waits. `None`: another try would end the same way.
const fn schedule(class: FailureClass) -> Option<Schedule> {
    let (first, longest) = match class {
        // Resolvers and zones recover in minutes; the host's breaker spares them meanwhile.
        FailureClass::Dns => (5, 600),
        // A restart of the server takes seconds, a deployment minutes.
        FailureClass::Connect => (2, 300),
        // Mostly a certificate, which takes a person; now and then a handshake cut short.
        FailureClass::Tls => (5, 600),
        // The server or we are overloaded: more room each time.
        FailureClass::Timeout => (5, 300),
        // At least this; `Retry-After` and the host's own delay usually say more.
        FailureClass::Throttled => (5, 600),
        FailureClass::ServerError => (2, 300),
        // A cut or garbled answer: mostly gone at once.
        FailureClass::Protocol => (1, 60),
        // Everything on the host waits for its robots.txt; asking for it is the only cost.
        FailureClass::RobotsUnreachable => (10, 600),
        // The operator's own: no page is lost by it, and each asks again now and then.
        FailureClass::Proxy => (10, 60),
        // Ours, not the page's: a fresh tab is enough.
        FailureClass::Browser => (1, 60),
        // Suspects: the lease alone in a browser is their wait.
        FailureClass::RendererCrash | FailureClass::BrowserLost => (0, 0),
        FailureClass::TooManyRedirects | FailureClass::TooLarge | FailureClass::HostUnreachable => return None,
    };
    Some(Schedule { first: Duration::from_secs(first), longest: Duration::from_secs(longest) })
}

/// Whether a failure of this class uses up an attempt. A crash never does. Neither does a host that cannot be reached
/// at all behind its open breaker (`host_down`): it ends its URLs by being given up. A server that answers badly, or a
/// page that hangs, may be the page's own fault and is charged.
pub const fn charges_attempt(class: FailureClass, host_down: bool) -> bool {
    match class {
        FailureClass::RendererCrash | FailureClass::BrowserLost | FailureClass::Proxy => false,
        FailureClass::Dns | FailureClass::Connect | FailureClass::Tls => !host_down,
        _ => true,
    }
}

/// What becomes of a URL whose visit number `attempt` (from 1) failed, of `attempts_allowed`.
///
/// The wait doubles with each attempt and is spread by ±20 % (`random` in 0..1); `retry_after` (already capped)
/// lengthens it. A crash is always tried again: `suspect_verdict` bounds it. For a failure that is not charged
/// because its host is down, pass `u32::MAX` attempts.
pub fn decide(
    class: FailureClass,
    attempt: u32,
    attempts_allowed: u32,
    now: Timestamp,
    retry_after: Option<Duration>,
    random: f64,
) -> Retry {
    let Some(schedule) = schedule(class) else {
        return Retry::GiveUp;
    };
    if charges_attempt(class, false) && attempt >= attempts_allowed {
        return Retry::GiveUp;
    }
    let doublings = attempt.saturating_sub(1).min(16);
    let wait = schedule.first.saturating_mul(1 << doublings).min(schedule.longest);
    let spread = wait.mul_f64(1.0 - JITTER + 2.0 * JITTER * random.clamp(0.0, 1.0));
    Retry::At(now + spread.max(retry_after.unwrap_or_default()))
}

/// What becomes of a suspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SuspectVerdict {
    /// Ended as `skipped(poison)`.
    Poison,
    /// Tried again, alone.
    Again,
}

/// Judges a suspect by the crashes that pointed at it while it was alone.
pub const fn suspect_verdict(explained: u32, unexplained: u32) -> SuspectVerdict {
    if explained >= POISON_EXPLAINED || unexplained >= POISON_UNEXPLAINED {
        SuspectVerdict::Poison
    } else {
        SuspectVerdict::Again
    }
}

/// The failure that an HTTP status stands for; `None`: the answer counts as fetched.
pub const fn classify_status(status: u16, has_retry_after: bool) -> Option<FailureClass> {
    match status {
        429 => Some(FailureClass::Throttled),
        503 if has_retry_after => Some(FailureClass::Throttled),
        500..=599 => Some(FailureClass::ServerError),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    #[test]
    fn every_class_has_its_schedule() {
        #[track_caller]
        fn check(class: FailureClass, waits_s: Option<[i64; 3]>) {
            for (i, attempt) in [1, 2, 20].into_iter().enumerate() {
                let expected =
                    waits_s.map_or(Retry::GiveUp, |s| Retry::At(Timestamp::from_millis(NOW.millis() + s[i] * 1000)));
                assert_eq!(decide(class, attempt, 99, NOW, None, 0.5), expected, "{class}, attempt {attempt}");
            }
        }
        check(FailureClass::Dns, Some([5, 10, 600]));
        check(FailureClass::Connect, Some([2, 4, 300]));
        check(FailureClass::Tls, Some([5, 10, 600]));
        check(FailureClass::Timeout, Some([5, 10, 300]));
        check(FailureClass::Throttled, Some([5, 10, 600]));
        check(FailureClass::ServerError, Some([2, 4, 300]));
        check(FailureClass::Protocol, Some([1, 2, 60]));
        check(FailureClass::TooManyRedirects, None);
        check(FailureClass::TooLarge, None);
        check(FailureClass::RobotsUnreachable, Some([10, 20, 600]));
        check(FailureClass::Proxy, Some([10, 20, 60]));
        check(FailureClass::RendererCrash, Some([0, 0, 0]));
        check(FailureClass::BrowserLost, Some([0, 0, 0]));
        check(FailureClass::Browser, Some([1, 2, 60]));
        check(FailureClass::HostUnreachable, None);
    }

    #[test]
    fn attempts_are_counted_crashes_are_not() {
        #[track_caller]
        fn check(name: &str, class: FailureClass, attempt: u32, allowed: u32, again: bool) {
            assert_eq!(decide(class, attempt, allowed, NOW, None, 0.5) != Retry::GiveUp, again, "{name}");
        }
        check("first of three", FailureClass::Timeout, 1, 3, true);
        check("second of three", FailureClass::Timeout, 2, 3, true);
        check("third of three", FailureClass::Timeout, 3, 3, false);
        check("one allowed", FailureClass::ServerError, 1, 1, false);
        check("none allowed", FailureClass::ServerError, 1, 0, false);
        check("not charged", FailureClass::Connect, 40, u32::MAX, true);
        check("renderer crash", FailureClass::RendererCrash, 3, 3, true);
        check("browser lost", FailureClass::BrowserLost, 3, 3, true);
        check("no proxy", FailureClass::Proxy, 3, 3, true);
    }

    #[test]
    fn what_costs_an_attempt() {
        #[track_caller]
        fn check(class: FailureClass, host_down: bool, expected: bool) {
            assert_eq!(charges_attempt(class, host_down), expected, "{class}, host down: {host_down}");
        }
        check(FailureClass::Timeout, false, true);
        check(FailureClass::Timeout, true, true);
        check(FailureClass::ServerError, true, true);
        check(FailureClass::Throttled, true, true);
        check(FailureClass::RobotsUnreachable, true, true);
        check(FailureClass::Connect, false, true);
        check(FailureClass::Connect, true, false);
        check(FailureClass::Dns, true, false);
        check(FailureClass::Tls, true, false);
        check(FailureClass::Protocol, true, true);
        check(FailureClass::RendererCrash, false, false);
        check(FailureClass::BrowserLost, false, false);
        check(FailureClass::Browser, false, true);
    }

    #[test]
    fn waits_are_spread_and_retry_after_lengthens_them() {
        #[track_caller]
        fn check(name: &str, retry_after: Option<u64>, random: f64, wait_ms: i64) {
            let got = decide(FailureClass::Throttled, 1, 3, NOW, retry_after.map(Duration::from_secs), random);
            assert_eq!(got, Retry::At(Timestamp::from_millis(NOW.millis() + wait_ms)), "{name}");
        }
        check("early", None, 0.0, 4000);
        check("late", None, 1.0, 6000);
        check("asked for more", Some(120), 0.5, 120_000);
        check("asked for less", Some(1), 0.5, 5000);
    }

    #[test]
    fn poison_takes_three_explained_or_ten_unexplained() {
        #[track_caller]
        fn check(explained: u32, unexplained: u32, expected: SuspectVerdict) {
            assert_eq!(suspect_verdict(explained, unexplained), expected, "{explained} / {unexplained}");
        }
        check(0, 0, SuspectVerdict::Again);
        check(2, 0, SuspectVerdict::Again);
        check(3, 0, SuspectVerdict::Poison);
        check(0, 9, SuspectVerdict::Again);
        check(2, 9, SuspectVerdict::Again);
        check(0, 10, SuspectVerdict::Poison);
    }

    #[test]
    fn statuses_by_class() {
        #[track_caller]
        fn check(status: u16, retry_after: bool, expected: Option<FailureClass>) {
            assert_eq!(classify_status(status, retry_after), expected, "{status}, Retry-After: {retry_after}");
        }
        check(200, false, None);
        check(204, false, None);
        check(301, false, None);
        check(401, false, None);
        check(403, false, None);
        check(404, true, None);
        check(410, false, None);
        check(429, false, Some(FailureClass::Throttled));
        check(429, true, Some(FailureClass::Throttled));
        check(500, true, Some(FailureClass::ServerError));
        check(502, false, Some(FailureClass::ServerError));
        check(503, false, Some(FailureClass::ServerError));
        check(503, true, Some(FailureClass::Throttled));
        check(599, false, Some(FailureClass::ServerError));
        check(600, false, None);
    }
}
