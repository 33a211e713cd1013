//! How long a host is left alone between two requests: learned from how fast it answers.
//!
//! Only a success may shorten a delay, and never to less than half; errors and throttling only lengthen it
//! (a host that answers errors fast must not be asked faster for it).

use std::time::Duration;

use crate::model::host::HostState;
use crate::model::outcome::FailureClass;
use crate::model::task::{PolitenessSpec, RobotsPolicy};
use crate::model::time::Timestamp;

/// The delay aimed at is this many times the host's time to first byte: the host works for us at most a sixth
/// of its time. Heritrix uses the same factor on the whole fetch.
pub const DEFAULT_FACTOR: f64 = 5.0;

/// Weight of the newest answer in the smoothed time to first byte.
const EMA_NEW: f64 = 0.3;

/// Half the width of the jitter around a delay.
const JITTER: f64 = 0.2;

/// The part of a task's politeness that delays follow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DelayConfig {
    /// Smallest delay; zero switches the adaptive part off.
    pub floor: Duration,
    /// Largest delay that the adaptive part chooses; at least `floor`.
    pub ceiling: Duration,
    /// Aimed delay per time to first byte.
    pub factor: f64,
    /// `Retry-After` and `Crawl-delay` are capped here.
    pub cap: Duration,
    /// Whether `Crawl-delay` counts (robots are obeyed).
    pub crawl_delay: bool,
}

impl From<&PolitenessSpec> for DelayConfig {
    fn from(spec: &PolitenessSpec) -> Self {
        DelayConfig {
            floor: spec.delay.0,
            ceiling: spec.max_delay.0.max(spec.delay.0),
            factor: DEFAULT_FACTOR,
            cap: spec.max_retry_after.0,
            crawl_delay: spec.robots == RobotsPolicy::Obey,
        }
    }
}

impl DelayConfig {
    /// Whether delays are learned; not with a floor of zero.
    pub fn adaptive(&self) -> bool {
        !self.floor.is_zero()
    }
}

/// The host's memory after an answer whose first byte took `ttfb`: the delay moves to
/// `factor` x the smoothed time to first byte, up at once, down by at most half.
pub fn after_success(config: &DelayConfig, state: &HostState, ttfb: Duration) -> HostState {
    let newest = ttfb.as_secs_f64() * 1000.0;
    let known = state.ema_ttfb_ms.filter(|ms| ms.is_finite() && *ms >= 0.0);
    let ema = known.map_or(newest, |old| (1.0 - EMA_NEW) * old + EMA_NEW * newest);
    let mut next = HostState { ema_ttfb_ms: Some(ema), ..*state };
    if config.adaptive() {
        let target = within(config, (config.factor * ema) as u64);
        next.delay_ms = target.max(within(config, state.delay_ms.midpoint(target)));
    }
    next
}

/// The host's memory after a failed visit: twice the delay after a timeout or a server error, the same delay
/// otherwise (a refused connection costs the host nothing; its breaker deals with that). The smoothed time to
/// first byte is never touched.
pub fn after_error(config: &DelayConfig, state: &HostState, class: FailureClass) -> HostState {
    match class {
        FailureClass::Timeout | FailureClass::ServerError | FailureClass::Throttled => doubled(config, state),
        _ => *state,
    }
}

/// The host's memory after 429, or 503 with `Retry-After`: twice the delay, and no request before the capped
/// `retry_after` has passed (also where the adaptive part is off).
pub fn after_throttle(
    config: &DelayConfig,
    state: &HostState,
    retry_after: Option<Duration>,
    now: Timestamp,
) -> HostState {
    let mut next = doubled(config, state);
    if let Some(asked) = retry_after {
        next.next_at = next.next_at.max(now + asked.min(config.cap));
    }
    next
}

/// The host's memory with the `Crawl-delay` of its robots.txt, capped.
pub fn with_crawl_delay(config: &DelayConfig, state: &HostState, asked: Option<Duration>) -> HostState {
    HostState { crawl_delay_ms: asked.map(|delay| millis(delay.min(config.cap))), ..*state }
}

/// The pause between two request starts that is in force, without jitter.
pub fn in_force(config: &DelayConfig, state: &HostState) -> Duration {
    let learned = if config.adaptive() { within(config, state.delay_ms) } else { 0 };
    Duration::from_millis(learned.max(asked(config, state)))
}

/// When the next request may start after one that starts `now`: the delay in force, spread by ±20 % with
/// `random` in 0..1 so that hosts do not fall into step, but never below the configured floor or `Crawl-delay`,
/// and never before an instant already promised.
pub fn next_at(config: &DelayConfig, state: &HostState, now: Timestamp, random: f64) -> Timestamp {
    let spread = in_force(config, state).as_millis() as f64 * (1.0 - JITTER + 2.0 * JITTER * random.clamp(0.0, 1.0));
    let least = millis(config.floor).max(asked(config, state));
    state.next_at.max(now + Duration::from_millis((spread as u64).max(least)))
}

/// The least pause between two requests as they go out: what [`next_at`] never stays below.
pub fn least_gap(config: &DelayConfig, state: &HostState) -> Duration {
    let early = in_force(config, state).as_millis() as f64 * (1.0 - JITTER);
    Duration::from_millis((early as u64).max(millis(config.floor)).max(asked(config, state)))
}

/// A gap that is only this much behind the next start is left to the next departure: the time between a grant and its
/// request (a commit) is no reason to ask a host less often.
const LAG: Duration = Duration::from_millis(50);

/// Whether and when a request that is ready `now` goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Departure {
    /// When it may go out at the earliest.
    pub at: Timestamp,
    /// Whether it may wait for that; else its turn is given up, and comes again.
    pub goes: bool,
    /// When the next grant may be given.
    pub next_at: Timestamp,
}

/// Spaces requests where they go out: grants are spaced too, but what lies between (robots.txt, a slot, a tab)
/// takes its own time. `last` went out before this one, `quiet_until` is what the host asked for meanwhile.
pub fn departure(
    config: &DelayConfig,
    state: &HostState,
    last: Option<Timestamp>,
    quiet_until: Timestamp,
    patience: Duration,
    now: Timestamp,
) -> Departure {
    let gap = least_gap(config, state);
    let at = last.map_or(now, |last| last + gap).max(quiet_until).max(now);
    if at.since(now) > patience {
        return Departure { at, goes: false, next_at: state.next_at.max(at) };
    }
    let next_at = if at + gap > state.next_at + LAG { at + gap } else { state.next_at };
    Departure { at, goes: true, next_at }
}

/// An instant saved at `saved_at`, as it stands `now`: the pause left then, less the time that has passed since.
/// A clock that went back lengthens no pause beyond what was left; `longest` bounds a damaged one.
pub fn carried_over(until: Timestamp, saved_at: Timestamp, now: Timestamp, longest: Duration) -> Timestamp {
    let left = until.since(saved_at).min(longest);
    now + left.saturating_sub(now.since(saved_at))
}

fn doubled(config: &DelayConfig, state: &HostState) -> HostState {
    if !config.adaptive() {
        return *state;
    }
    HostState { delay_ms: within(config, within(config, state.delay_ms).saturating_mul(2)), ..*state }
}

fn asked(config: &DelayConfig, state: &HostState) -> u64 {
    state.crawl_delay_ms.filter(|_| config.crawl_delay).map_or(0, |ms| ms.min(millis(config.cap)))
}

fn within(config: &DelayConfig, ms: u64) -> u64 {
    ms.clamp(millis(config.floor), millis(config.ceiling.max(config.floor)))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::duration::Span;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn config() -> DelayConfig {
        DelayConfig::from(&PolitenessSpec::default())
    }

    fn off() -> DelayConfig {
        DelayConfig::from(&PolitenessSpec { delay: Span::millis(0), ..PolitenessSpec::default() })
    }

    fn host(delay_ms: u64, ema: Option<f64>) -> HostState {
        HostState { delay_ms, ema_ttfb_ms: ema, ..HostState::default() }
    }

    #[test]
    fn a_success_moves_the_delay_towards_five_times_the_first_byte() {
        #[track_caller]
        fn check(name: &str, before: (u64, Option<f64>), ttfb_ms: u64, delay: u64, ema: f64) {
            let after = after_success(&config(), &host(before.0, before.1), Duration::from_millis(ttfb_ms));
            assert_eq!(after.delay_ms, delay, "{name}");
            assert!((after.ema_ttfb_ms.unwrap() - ema).abs() < 0.001, "{name}: {:?}", after.ema_ttfb_ms);
        }
        check("first answer, fast: the floor", (0, None), 20, 250, 20.0);
        check("first answer, slow: at once", (0, None), 400, 2000, 400.0);
        check("smoothed 0.7 / 0.3", (500, Some(100.0)), 200, 650, 130.0);
        check("falls by half at most", (10_000, Some(20.0)), 20, 5_125, 20.0);
        check("never above the ceiling", (0, None), 20_000, 30_000, 20_000.0);
        check("never below the floor", (250, Some(0.0)), 0, 250, 0.0);
        check("a damaged average is forgotten", (250, Some(f64::NAN)), 100, 500, 100.0);
    }

    #[test]
    fn errors_and_throttling_only_lengthen() {
        #[track_caller]
        fn check(name: &str, before: u64, class: FailureClass, delay: u64) {
            let after = after_error(&config(), &host(before, Some(100.0)), class);
            assert_eq!((after.delay_ms, after.ema_ttfb_ms), (delay, Some(100.0)), "{name}");
        }
        check("timeout doubles", 500, FailureClass::Timeout, 1000);
        check("5xx doubles", 500, FailureClass::ServerError, 1000);
        check("429 doubles", 500, FailureClass::Throttled, 1000);
        check("up to the ceiling", 20_000, FailureClass::ServerError, 30_000);
        check("from the floor when nothing is known", 0, FailureClass::ServerError, 500);
        check("refused: as it was", 500, FailureClass::Connect, 500);
        check("no name: as it was", 500, FailureClass::Dns, 500);
        check("renderer crash: as it was", 500, FailureClass::RendererCrash, 500);
    }

    #[test]
    fn retry_after_is_honoured_and_capped() {
        #[track_caller]
        fn check(name: &str, config: DelayConfig, promised: i64, retry_after: Option<u64>, delay: u64, next: i64) {
            let before = HostState { next_at: Timestamp::from_millis(promised), ..host(1000, None) };
            let after = after_throttle(&config, &before, retry_after.map(Duration::from_secs), NOW);
            assert_eq!((after.delay_ms, after.next_at.millis()), (delay, next), "{name}");
        }
        check("none: only doubled", config(), 0, None, 2000, 0);
        check("seconds", config(), 0, Some(120), 2000, 1_120_000);
        check("capped at an hour", config(), 0, Some(86_400), 2000, 4_600_000);
        check("a later promise stands", config(), 1_500_000, Some(120), 2000, 1_500_000);
        check("adaptive part off: honoured, not doubled", off(), 0, Some(120), 1000, 1_120_000);
    }

    #[test]
    fn the_next_start_keeps_floor_and_crawl_delay() {
        #[track_caller]
        fn check(name: &str, config: DelayConfig, state: HostState, random: f64, after_ms: i64) {
            assert_eq!(next_at(&config, &state, NOW, random).millis() - NOW.millis(), after_ms, "{name}");
        }
        let asks = |ms| HostState { crawl_delay_ms: Some(ms), ..host(1000, None) };
        let ignoring = DelayConfig { crawl_delay: false, ..config() };
        check("middle", config(), host(1000, None), 0.5, 1000);
        check("early by 20 %", config(), host(1000, None), 0.0, 800);
        check("late by 20 %", config(), host(1000, None), 1.0, 1200);
        check("floor is a floor", config(), host(250, None), 0.0, 250);
        check("nothing known: floor", config(), host(0, None), 0.5, 250);
        check("Crawl-delay is a floor", config(), asks(5000), 0.0, 5000);
        check("Crawl-delay below the delay", config(), asks(100), 0.5, 1000);
        check("Crawl-delay capped", config(), asks(u64::MAX), 0.0, 3_600_000);
        check("Crawl-delay ignored with robots", ignoring, asks(5000), 0.5, 1000);
        check("adaptive part off", off(), host(1000, None), 1.0, 0);
        check("adaptive part off, Crawl-delay", off(), asks(5000), 0.5, 5000);
        check("mad random", config(), host(1000, None), 7.0, 1200);
        let promised = HostState { next_at: NOW + Duration::from_secs(60), ..host(1000, None) };
        check("a promise stands", config(), promised, 0.5, 60_000);
    }

    #[test]
    fn requests_keep_their_distance_where_they_go_out() {
        #[track_caller]
        fn check(name: &str, config: DelayConfig, state: HostState, ago: Option<i64>, want: (i64, bool, i64)) {
            let at = |ms: i64| Timestamp::from_millis(NOW.millis() + ms);
            let patience = Duration::from_secs(1);
            let got = departure(&config, &state, ago.map(|ms| at(-ms)), Timestamp::default(), patience, NOW);
            assert_eq!(got, Departure { at: at(want.0), goes: want.1, next_at: at(want.2) }, "{name}");
        }
        // Granted 10 ms ago, as a commit takes.
        let granted =
            |state: HostState, spread: u64| HostState { next_at: NOW + Duration::from_millis(spread - 10), ..state };
        let crawl_delay = |ms| HostState { crawl_delay_ms: Some(ms), ..host(250, None) };
        check("the first", config(), granted(host(250, None), 250), None, (0, true, 240));
        check("far enough from the last", config(), granted(host(250, None), 250), Some(250), (0, true, 240));
        check("a bit too near", config(), granted(host(250, None), 250), Some(240), (10, true, 240));
        check("at the same time", config(), granted(host(250, None), 250), Some(0), (250, true, 500));
        check(
            "a learned delay, as early as jitter allows",
            config(),
            granted(host(1000, None), 800),
            Some(300),
            (500, true, 1300),
        );
        check("Crawl-delay just learned", config(), granted(crawl_delay(4000), 250), None, (0, true, 4000));
        check("Crawl-delay, the second", config(), granted(crawl_delay(4000), 250), Some(5), (3995, false, 3995));
        check("adaptive part off", off(), granted(host(0, None), 10), Some(0), (0, true, 0));
    }

    #[test]
    fn what_is_on_its_way_when_a_host_asks_for_a_pause_does_not_go_out() {
        let quiet = NOW + Duration::from_secs(20);
        let got = departure(&off(), &host(0, None), None, quiet, Duration::from_secs(1), NOW);
        assert_eq!(got, Departure { at: quiet, goes: false, next_at: quiet });
    }

    #[test]
    fn crawl_delay_is_capped_when_learned() {
        let of = |asked| with_crawl_delay(&config(), &host(250, None), asked).crawl_delay_ms;
        assert_eq!(of(Some(Duration::from_secs(7))), Some(7000));
        assert_eq!(of(Some(Duration::from_secs(1_000_000))), Some(3_600_000));
        assert_eq!(of(None), None);
    }

    #[test]
    fn pauses_survive_restarts_and_clock_jumps() {
        #[track_caller]
        fn check(name: &str, until: i64, saved_at: i64, now: i64, expected: i64) {
            let at = Timestamp::from_millis;
            let got = carried_over(at(until), at(saved_at), at(now), Duration::from_secs(3600));
            assert_eq!(got.millis(), expected, "{name}");
        }
        check("at once", 10_000, 4_000, 4_000, 10_000);
        check("later", 10_000, 4_000, 7_000, 10_000);
        check("long after", 10_000, 4_000, 99_000, 99_000);
        check("clock went back: what was left", 10_000, 4_000, -5_000, 1_000);
        check("was over already", 3_000, 4_000, 4_500, 4_500);
        check("damaged", i64::MAX, 0, 0, 3_600_000);
    }

    proptest! {
        #[test]
        fn no_error_ever_shortens_a_pause(
            delay_ms in 0u64..100_000, ema in proptest::option::of(0.0f64..100_000.0), random in 0.0f64..1.0,
            class in proptest::sample::select(FailureClass::ALL), retry in proptest::option::of(0u64..100_000),
        ) {
            let before = host(delay_ms, ema);
            let (config, retry) = (config(), retry.map(Duration::from_secs));
            for after in [after_error(&config, &before, class), after_throttle(&config, &before, retry, NOW)] {
                prop_assert!(in_force(&config, &after) >= in_force(&config, &before));
                prop_assert!(next_at(&config, &after, NOW, random) >= next_at(&config, &before, NOW, random));
            }
        }

        #[test]
        fn delays_stay_between_floor_and_ceiling(delay_ms in any::<u64>(), ttfb in 0u64..10_000_000) {
            let after = after_success(&config(), &host(delay_ms, None), Duration::from_millis(ttfb));
            prop_assert!((250..=30_000).contains(&after.delay_ms));
        }
    }
}
