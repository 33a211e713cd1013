//! Sliding windows over a session's recent past: rates, success, commit latency.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::heartbeat::Rates;
use crate::model::time::Timestamp;

/// Visits that the success factor looks at (design: the last 200).
const VISIT_WINDOW: usize = 200;
/// Seconds of history behind the slow rate.
const RATE_WINDOW_S: i64 = 900;
/// Commits that the latency percentile looks at.
const COMMIT_WINDOW: usize = 500;

/// What a session remembers of its last minutes. Bounded; lost at a restart, on purpose.
#[derive(Debug, Clone)]
pub struct Stats {
    since: Timestamp,
    visits: VecDeque<bool>,
    per_second: VecDeque<(i64, u64)>,
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
            per_second: VecDeque::new(),
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
        let second = now.millis().div_euclid(1000);
        match self.per_second.back_mut() {
            Some((at, count)) if *at == second => *count += ended,
            _ => self.per_second.push_back((second, ended)),
        }
        while self.per_second.front().is_some_and(|(at, _)| second - at > RATE_WINDOW_S) {
            self.per_second.pop_front();
        }
    }

    /// When a URL last ended.
    pub fn last_progress(&self) -> Timestamp {
        self.last_progress
    }

    /// Excuses a pause: progress is expected from `now` on.
    pub fn excuse(&mut self, now: Timestamp) {
        self.last_progress = now;
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

    /// URLs ended per second over the last `window`, or since the start.
    pub fn recent_rate(&self, window: Duration, now: Timestamp) -> f64 {
        self.rate(i64::try_from(window.as_secs()).unwrap_or(RATE_WINDOW_S), now)
    }

    fn rate(&self, window_s: i64, now: Timestamp) -> f64 {
        let second = now.millis().div_euclid(1000);
        let ended: u64 = self.per_second.iter().filter(|(at, _)| second - at < window_s).map(|(_, count)| count).sum();
        let lived = now.since(self.since).as_secs_f64().clamp(1.0, window_s as f64);
        ended as f64 / lived
    }

    /// The 99th percentile of recent commit latencies, in milliseconds; 0 before the first.
    pub fn commit_p99_ms(&self) -> f64 {
        let mut sorted: Vec<f64> = self.commits_ms.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let index = (sorted.len() * 99).div_ceil(100).saturating_sub(1);
        sorted.get(index).copied().unwrap_or(0.0)
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
