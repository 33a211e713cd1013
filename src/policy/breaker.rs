//! Circuit breakers, one per host and one for the browser: after failures in a row requests wait, then one
//! probe decides. Pure transitions on `model::host::Breaker`.

use std::time::Duration;

use crate::model::host::{Breaker, BreakerState};
use crate::model::outcome::FailureClass;
use crate::model::time::Timestamp;
use crate::policy::delay::carried_over;

/// Open times by number of openings in a row, in seconds.
const BACKOFF: [u64; 6] = [1, 2, 4, 8, 16, 30];

/// Half the width of the jitter around an open time.
const JITTER: f64 = 0.2;

/// When a breaker opens and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerConfig {
    /// Failures in a row that open it; at least 1.
    pub failure_threshold: u32,
    /// Longest open time; caps the backoff.
    pub recovery_timeout: Duration,
    /// Open times by number of openings in a row; the last one repeats, and an empty list is `recovery_timeout`.
    pub backoff: Vec<Duration>,
    /// How long a probe holds its permit: one that never reports (a crash) must not wedge the breaker.
    pub probe_lease: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        BreakerConfig {
            failure_threshold: 5,
            recovery_timeout: Duration::from_secs(30),
            backoff: BACKOFF.map(Duration::from_secs).to_vec(),
            // The longest visit by default (90 s) and its clean-up.
            probe_lease: Duration::from_secs(120),
        }
    }
}

/// What a breaker says to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// Closed: go.
    Pass,
    /// Its open time is over: one request may go as the probe (tell it with `on_probe`).
    Probe,
    /// Not before this instant.
    Wait(Timestamp),
}

/// What a failure says about the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The host is in trouble: counts towards opening.
    Trouble,
    /// The host answered, if badly: closes like a success.
    Answered,
    /// Nothing: the host was never asked, or the fault is ours.
    Nothing,
}

/// What a failure of this class says about the host.
pub const fn meaning(class: FailureClass) -> Meaning {
    match class {
        FailureClass::Dns
        | FailureClass::Connect
        | FailureClass::Tls
        | FailureClass::Timeout
        | FailureClass::Throttled
        | FailureClass::ServerError
        | FailureClass::RobotsUnreachable => Meaning::Trouble,
        FailureClass::Protocol | FailureClass::TooManyRedirects | FailureClass::TooLarge => Meaning::Answered,
        FailureClass::Proxy
        | FailureClass::RendererCrash
        | FailureClass::BrowserLost
        | FailureClass::Browser
        | FailureClass::HostUnreachable => Meaning::Nothing,
    }
}

/// Whether a failure of this class counts towards opening the host's breaker.
pub const fn counts(class: FailureClass) -> bool {
    matches!(meaning(class), Meaning::Trouble)
}

/// Whether a failure of this class still counts when the URL has failed before: what may be a page's own fault does
/// not, or the broken pages left at the end of a crawl would open the breaker of a host that is well.
pub const fn counts_again(class: FailureClass) -> bool {
    counts(class) && !matches!(class, FailureClass::ServerError | FailureClass::Timeout)
}

/// What a request may do `now`.
pub fn permit(breaker: &Breaker, now: Timestamp) -> Permit {
    match (breaker.state, breaker.open_until) {
        (BreakerState::Closed, _) => Permit::Pass,
        (_, Some(until)) if until > now => Permit::Wait(until),
        _ => Permit::Probe,
    }
}

/// The host answered: closed, everything forgotten.
pub fn on_success() -> Breaker {
    Breaker::default()
}

/// A failure that `counts`: opens at the threshold, opens again for longer after a failed probe.
/// `random` in 0..1 spreads the open time by ±20 %.
pub fn on_failure(config: &BreakerConfig, breaker: &Breaker, now: Timestamp, random: f64) -> Breaker {
    let failures = breaker.failures.saturating_add(1);
    let next = Breaker { failures, failing_since: breaker.failing_since.or(Some(now)), ..*breaker };
    match breaker.state {
        BreakerState::Closed if failures < config.failure_threshold.max(1) => next,
        BreakerState::Closed | BreakerState::HalfOpen => {
            let open = open_time(config, breaker.openings, random);
            Breaker {
                state: BreakerState::Open,
                openings: breaker.openings.saturating_add(1),
                open_until: Some(now + open),
                ..next
            }
        }
        // A visit that began before it opened: known already.
        BreakerState::Open => next,
    }
}

/// A probe starts: half-open, and others wait until it reports or its lease ends.
pub fn on_probe(config: &BreakerConfig, breaker: &Breaker, now: Timestamp) -> Breaker {
    Breaker { state: BreakerState::HalfOpen, open_until: Some(now + config.probe_lease), ..*breaker }
}

/// A probe ended without saying anything about the host (its worker died, robots.txt forbade the page): the
/// next request may probe at once.
pub fn on_probe_lost(breaker: &Breaker) -> Breaker {
    match breaker.state {
        BreakerState::HalfOpen => Breaker { state: BreakerState::Open, open_until: None, ..*breaker },
        _ => *breaker,
    }
}

/// Whether the host has been gone for `after`: it failed, and a probe that late failed again. The verdict rests on
/// that probe, so neither a pause nor a stopped daemon can bring it about; and it fades after as long again (an hour
/// at least), when the host is probed anew.
pub fn given_up(breaker: &Breaker, now: Timestamp, after: Duration) -> bool {
    let (BreakerState::Open, Some(since), Some(until)) = (breaker.state, breaker.failing_since, breaker.open_until)
    else {
        return false;
    };
    let fades = until + after.max(Duration::from_secs(3600));
    let deadline = since + after;
    until >= deadline && now >= deadline && now < fades
}

/// A breaker saved at `saved_at`, as it stands `now`: open for what was left, less the time that has passed; a
/// half-open one is due for a probe (nobody holds its permit any more). The outage is counted without the time
/// in which nobody looked.
pub fn restore(config: &BreakerConfig, saved: &Breaker, saved_at: Timestamp, now: Timestamp) -> Breaker {
    let outage = |since: Timestamp| Timestamp::from_millis(now.millis().saturating_sub(ms(saved_at.since(since))));
    let failing_since = saved.failing_since.map(outage);
    let (state, open_until) = match saved.state {
        BreakerState::Closed => (BreakerState::Closed, None),
        BreakerState::HalfOpen => (BreakerState::Open, None),
        BreakerState::Open => {
            let until = |at| carried_over(at, saved_at, now, config.recovery_timeout);
            (BreakerState::Open, saved.open_until.map(until))
        }
    };
    Breaker { state, open_until, failing_since, ..*saved }
}

/// The breaker after the wall clock was moved back by `by`: instants keep their distance from now.
pub fn shifted_back(breaker: &Breaker, by: Duration) -> Breaker {
    let earlier = |at: Timestamp| Timestamp::from_millis(at.millis().saturating_sub(ms(by)));
    Breaker {
        open_until: breaker.open_until.map(earlier),
        failing_since: breaker.failing_since.map(earlier),
        ..*breaker
    }
}

/// The two memories of one host made one: the worse holds.
pub fn worse(a: &Breaker, b: &Breaker) -> Breaker {
    let rank = |x: &Breaker| (x.state != BreakerState::Closed, x.openings, x.failures, x.open_until);
    if rank(b) > rank(a) { *b } else { *a }
}

fn open_time(config: &BreakerConfig, openings: u32, random: f64) -> Duration {
    let step = config.backoff.get(openings as usize).or(config.backoff.last()).unwrap_or(&config.recovery_timeout);
    let spread = 1.0 - JITTER + 2.0 * JITTER * random.clamp(0.0, 1.0);
    Duration::from_millis((step.as_millis() as f64 * spread) as u64).min(config.recovery_timeout)
}

fn ms(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> BreakerConfig {
        BreakerConfig::default()
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn failed(times: u32, now: Timestamp) -> Breaker {
        (0..times).fold(Breaker::default(), |b, _| on_failure(&config(), &b, now, 0.5))
    }

    #[test]
    fn every_failure_class_is_judged() {
        #[track_caller]
        fn check(class: FailureClass, expected: Meaning) {
            assert_eq!(meaning(class), expected, "{class}");
            assert_eq!(counts(class), expected == Meaning::Trouble, "{class}");
        }
        check(FailureClass::Dns, Meaning::Trouble);
        check(FailureClass::Connect, Meaning::Trouble);
        check(FailureClass::Tls, Meaning::Trouble);
        check(FailureClass::Timeout, Meaning::Trouble);
        check(FailureClass::Throttled, Meaning::Trouble);
        check(FailureClass::ServerError, Meaning::Trouble);
        check(FailureClass::RobotsUnreachable, Meaning::Trouble);
        check(FailureClass::Protocol, Meaning::Answered);
        check(FailureClass::TooManyRedirects, Meaning::Answered);
        check(FailureClass::TooLarge, Meaning::Answered);
        check(FailureClass::Proxy, Meaning::Nothing);
        check(FailureClass::RendererCrash, Meaning::Nothing);
        check(FailureClass::BrowserLost, Meaning::Nothing);
        check(FailureClass::Browser, Meaning::Nothing);
        check(FailureClass::HostUnreachable, Meaning::Nothing);
    }

    #[test]
    fn a_page_that_fails_again_says_little_about_its_host() {
        for class in FailureClass::ALL {
            let own_fault = matches!(class, FailureClass::ServerError | FailureClass::Timeout);
            assert_eq!(counts_again(*class), counts(*class) && !own_fault, "{class}");
        }
    }

    #[test]
    fn opens_at_the_fifth_failure_in_a_row() {
        assert_eq!(permit(&failed(4, at(0)), at(0)), Permit::Pass);
        let open = failed(5, at(0));
        assert_eq!((open.state, open.failures, open.openings), (BreakerState::Open, 5, 1));
        assert_eq!(open.failing_since, Some(at(0)));
        assert_eq!(permit(&open, at(999)), Permit::Wait(at(1000)));
        assert_eq!(permit(&open, at(1000)), Permit::Probe);
        assert_eq!(on_success(), Breaker::default());
    }

    #[test]
    fn stays_open_longer_after_every_failed_probe() {
        #[track_caller]
        fn check(openings: u32, random: f64, open_ms: i64) {
            let before = Breaker { state: BreakerState::HalfOpen, failures: 9, openings, ..Breaker::default() };
            let after = on_failure(&config(), &before, at(0), random);
            assert_eq!((after.state, after.openings), (BreakerState::Open, openings + 1));
            assert_eq!(after.open_until, Some(at(open_ms)), "opening {openings}, random {random}");
        }
        check(0, 0.5, 1000);
        check(1, 0.5, 2000);
        check(2, 0.5, 4000);
        check(3, 0.5, 8000);
        check(4, 0.5, 16_000);
        check(5, 0.5, 30_000);
        check(77, 0.5, 30_000);
        check(2, 0.0, 3200);
        check(2, 1.0, 4800);
        check(5, 1.0, 30_000);
        check(u32::MAX - 1, 0.0, 24_000);
        let plain = BreakerConfig { backoff: Vec::new(), ..config() };
        assert_eq!(on_failure(&plain, &failed(4, at(0)), at(0), 0.5).open_until, Some(at(30_000)), "no backoff given");
    }

    #[test]
    fn a_late_failure_does_not_prolong_an_open_breaker() {
        let open = failed(5, at(0));
        let later = on_failure(&config(), &open, at(900), 0.5);
        assert_eq!((later.open_until, later.openings, later.failures), (open.open_until, 1, 6));
    }

    #[test]
    fn a_probe_is_alone_and_its_permit_ends_by_itself() {
        let half = on_probe(&config(), &failed(5, at(0)), at(1000));
        assert_eq!(half.state, BreakerState::HalfOpen);
        assert_eq!(permit(&half, at(2000)), Permit::Wait(at(121_000)));
        assert_eq!(permit(&half, at(121_000)), Permit::Probe, "the prober died");
        assert_eq!(permit(&on_probe_lost(&half), at(1001)), Permit::Probe);
        let open = failed(5, at(0));
        assert_eq!(on_probe_lost(&open), open, "not a probe");
    }

    #[test]
    fn a_host_is_given_up_only_by_a_probe_that_failed_late() {
        #[track_caller]
        fn check(name: &str, state: BreakerState, open_until: Option<i64>, now: i64, expected: bool) {
            let breaker = Breaker {
                state,
                failures: 100,
                openings: 100,
                open_until: open_until.map(at),
                failing_since: Some(at(0)),
            };
            assert_eq!(given_up(&breaker, at(now), Duration::from_secs(3600)), expected, "{name}");
        }
        const H: i64 = 3_600_000;
        check("failing, not yet", BreakerState::Open, Some(H - 1), H - 10, false);
        check("an hour", BreakerState::Open, Some(H + 20_000), H, true);
        check("probing", BreakerState::HalfOpen, Some(H + 20_000), H, false);
        check("closed", BreakerState::Closed, None, 2 * H, false);
        check("slept through: a probe first", BreakerState::Open, Some(60_000), 5 * H, false);
        check("probe due after a restart", BreakerState::Open, None, 5 * H, false);
        check("the verdict fades", BreakerState::Open, Some(H), 2 * H, false);
        check("clock went back", BreakerState::Open, Some(H), H - 1, false);
    }

    #[test]
    fn restored_with_the_remaining_open_time() {
        #[track_caller]
        fn check(name: &str, state: BreakerState, until: i64, now: i64, expected: (BreakerState, Permit)) {
            let saved = Breaker {
                state,
                failures: 7,
                openings: 3,
                open_until: Some(at(until)),
                failing_since: Some(at(40_000)),
            };
            let restored = restore(&config(), &saved, at(100_000), at(now));
            assert_eq!((restored.state, permit(&restored, at(now))), expected, "{name}");
            assert_eq!(restored.failing_since, Some(at(now - 60_000)), "{name}: the outage seen so far");
            assert_eq!((restored.failures, restored.openings), (7, 3), "{name}");
        }
        use BreakerState::{Closed, HalfOpen, Open};
        check("at once", Open, 108_000, 100_000, (Open, Permit::Wait(at(108_000))));
        check("a little later", Open, 108_000, 105_000, (Open, Permit::Wait(at(108_000))));
        check("long after", Open, 108_000, 900_000, (Open, Permit::Probe));
        check("clock went back", Open, 108_000, 50_000, (Open, Permit::Wait(at(58_000))));
        check("damaged", Open, i64::MAX, 100_000, (Open, Permit::Wait(at(130_000))));
        check("half-open: probe due", HalfOpen, 200_000, 100_001, (Open, Permit::Probe));
        check("closed", Closed, 0, 100_001, (Closed, Permit::Pass));
    }

    #[test]
    fn the_worse_of_two_memories_holds() {
        let (calm, open) = (Breaker::default(), failed(5, at(0)));
        assert_eq!(worse(&calm, &open), open);
        assert_eq!(worse(&open, &calm), open);
        assert_eq!(worse(&failed(2, at(0)), &failed(3, at(0))).failures, 3);
    }
}
