//! Sliding windows over a session's recent past: rates, success, commit latency.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::heartbeat::Rates;
use crate::model::time::Timestamp;

/// Visits that the success factor looks at (design: the last 200).
const VISIT_WINDOW: usize = 200;
/// Seconds of history behind the slow rate.
const RATE_WINDOW_S: i64 = 900;
/// Between two turns, a second apart, no more time than this was lived: the clock jumped.
const LONGEST_TURN: Duration = Duration::from_secs(60);
/// Commits that the latency percentile looks at.
const COMMIT_WINDOW: usize = 500;

/// What a session remembers of its last minutes. Bounded; lost at a restart, on purpose.
#[derive(Debug, Clone)]
pub struct Stats {
    since: Timestamp,
    visits: VecDeque<bool>,
    per_second: PerSecond,
    /// The same, by seconds in which something could be done: excused time is not there.
    per_working_second: PerSecond,
    working: Duration,
    turned_at: Timestamp,
    commits_ms: VecDeque<f64>,
    last_progress: Timestamp,
    page_ms: f64,
}

impl Stats {
    /// Empty windows that start at `now`.
    pub fn new(now: Timestamp) -> Self {
        Stats {
            since: now,
            visits: VecDeque::new(),
            per_second: PerSecond::default(),
            per_working_second: PerSecond::default(),
            working: Duration::ZERO,
            turned_at: now,
            commits_ms: VecDeque::new(),
            last_progress: now,
            page_ms: 0.0,
        }
    }

    /// A visit ended, well or badly; `None` says nothing about success.
    pub fn visit(&mut self, answered: Option<bool>, took: Duration) {
        if let Some(answered) = answered {
            if self.visits.len() == VISIT_WINDOW {
                self.visits.pop_front();
            }
            self.visits.push_back(answered);
        }
        let ms = took.as_secs_f64() * 1000.0;
        self.page_ms = if self.page_ms == 0.0 { ms } else { 0.9 * self.page_ms + 0.1 * ms };
    }

    /// `ended` URLs were committed.
    pub fn committed(&mut self, ended: u64, latency: Duration, now: Timestamp) {
        if self.commits_ms.len() == COMMIT_WINDOW {
            self.commits_ms.pop_front();
        }
        self.commits_ms.push_back(latency.as_secs_f64() * 1000.0);
        if ended == 0 {
            return;
        }
        self.last_progress = now;
        self.per_second.add(now.millis().div_euclid(1000), ended);
        self.per_working_second.add(self.working_second(), ended);
    }

    /// When a URL last ended.
    pub fn last_progress(&self) -> Timestamp {
        self.last_progress
    }

    /// Time passes, up to `now`. Excused, as in a pause or a wait for politeness, it is no time in which progress
    /// was expected: neither the standstill counts it nor the rates that health compares.
    pub fn turn(&mut self, now: Timestamp, excused: bool) {
        let passed = now.since(self.turned_at);
        self.turned_at = now;
        if excused {
            self.last_progress = now;
        } else if passed < LONGEST_TURN {
            self.working += passed;
        }
    }

    fn working_second(&self) -> i64 {
        i64::try_from(self.working.as_secs()).unwrap_or(i64::MAX)
    }

    /// Smoothed duration of a visit, in milliseconds.
    pub fn page_ms(&self) -> f64 {
        self.page_ms
    }

    /// Fetched and failed visits in the window.
    pub fn success(&self) -> (u64, u64) {
        let good = self.visits.iter().filter(|fetched| **fetched).count() as u64;
        (good, self.visits.len() as u64 - good)
    }

    /// URLs ended per second over the last minute and the last 15 minutes, or since the start.
    pub fn rates(&self, now: Timestamp) -> Rates {
        Rates { pages_per_second_1m: self.rate(60, now), pages_per_second_15m: self.rate(RATE_WINDOW_S, now) }
    }

    /// URLs ended per second of the last `window` of working time, and of the last 15 minutes of it.
    pub fn working_rates(&self, window: Duration) -> (f64, f64) {
        let window = i64::try_from(window.as_secs()).unwrap_or(RATE_WINDOW_S);
        let rate = |window| self.per_working_second.rate(window, self.working_second(), self.working);
        (rate(window), rate(RATE_WINDOW_S))
    }

    fn rate(&self, window_s: i64, now: Timestamp) -> f64 {
        self.per_second.rate(window_s, now.millis().div_euclid(1000), now.since(self.since))
    }

    /// The 99th percentile of recent commit latencies, in milliseconds; 0 before the first.
    pub fn commit_p99_ms(&self) -> f64 {
        let mut sorted: Vec<f64> = self.commits_ms.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let index = (sorted.len() * 99).div_ceil(100).saturating_sub(1);
        sorted.get(index).copied().unwrap_or(0.0)
    }
}

/// What ended in each second of the slow rate's window; seconds without anything are left out.
#[derive(Debug, Clone, Default)]
struct PerSecond(VecDeque<(i64, u64)>);

impl PerSecond {
    fn add(&mut self, second: i64, ended: u64) {
        match self.0.back_mut() {
            Some((at, count)) if *at == second => *count += ended,
            _ => self.0.push_back((second, ended)),
        }
        while self.0.front().is_some_and(|(at, _)| second - at > RATE_WINDOW_S) {
            self.0.pop_front();
        }
    }

    /// Per second over the window that ends now, or over all that was lived where that is less.
    fn rate(&self, window_s: i64, second: i64, lived: Duration) -> f64 {
        let ended: u64 = self.0.iter().filter(|(at, _)| second - at < window_s).map(|(_, count)| count).sum();
        ended as f64 / lived.as_secs_f64().clamp(1.0, window_s as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn rates_count_what_ended_in_the_window() {
        let mut stats = Stats::new(at(0));
        for second in 0..120 {
            stats.committed(2, Duration::from_millis(3), at(second));
        }
        let rates = stats.rates(at(119));
        assert!((rates.pages_per_second_1m - 2.0).abs() < 0.05, "{rates:?}");
        assert!((rates.pages_per_second_15m - 2.0).abs() < 0.05, "{rates:?}");
        assert_eq!(stats.rates(at(5000)).pages_per_second_15m, 0.0);
    }

    #[test]
    fn excused_time_is_in_no_window() {
        const FIVE_MINUTES: Duration = Duration::from_secs(300);
        let mut stats = Stats::new(at(0));
        let mut now = 0;
        let mut live = |stats: &mut Stats, seconds: i64, ended: u64, excused: bool| {
            for _ in 0..seconds {
                now += 1;
                stats.committed(ended, Duration::from_millis(3), at(now));
                stats.turn(at(now), excused);
            }
            at(now)
        };
        live(&mut stats, 600, 2, false);
        let (before, mean) = stats.working_rates(FIVE_MINUTES);
        assert!((before - 2.0).abs() < 0.05 && (mean - 2.0).abs() < 0.05, "{before} {mean}");
        // A Retry-After, or a pause.
        let now = live(&mut stats, 400, 0, true);
        assert_eq!((stats.working_rates(FIVE_MINUTES), stats.last_progress()), ((before, mean), now));
        let now = live(&mut stats, 30, 2, false);
        let (after, _) = stats.working_rates(FIVE_MINUTES);
        assert!((after - 2.0).abs() < 0.05, "{after}");
        assert!(stats.rates(now).pages_per_second_15m < 1.5, "what people are shown leaves nothing out");
        live(&mut stats, 300, 0, false);
        assert_eq!(stats.working_rates(FIVE_MINUTES).0, 0.0, "a standstill is one");
    }

    #[test]
    fn a_jump_of_the_clock_is_no_time_that_was_lived() {
        let mut stats = Stats::new(at(0));
        stats.committed(60, Duration::ZERO, at(1));
        stats.turn(at(60 - 1), false);
        stats.turn(at(100_000), false);
        stats.turn(at(5), false);
        let (recent, _) = stats.working_rates(Duration::from_secs(300));
        assert!((recent - 60.0 / 59.0).abs() < 1e-9, "{recent}");
    }

    #[test]
    fn success_forgets_old_visits() {
        let mut stats = Stats::new(at(0));
        for n in 0..300 {
            stats.visit(Some(n >= 100), Duration::from_millis(10));
        }
        assert_eq!(stats.success(), (200, 0));
    }

    #[test]
    fn p99_is_a_member_of_the_window() {
        let mut stats = Stats::new(at(0));
        assert_eq!(stats.commit_p99_ms(), 0.0);
        for ms in 1..=100 {
            stats.committed(0, Duration::from_millis(ms), at(0));
        }
        assert_eq!(stats.commit_p99_ms(), 99.0);
    }
}
