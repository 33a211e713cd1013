//! When a browser may be launched again after launches failed or browsers were lost: pure.

use std::time::Duration;

use super::report::BreakerView;

/// Pauses after the second, third, … launch trouble in a row; the first relaunch comes at once.
const PAUSES_S: [u64; 6] = [1, 2, 4, 8, 16, 30];
/// How often an open breaker lets one launch through.
const PROBE_EVERY: Duration = Duration::from_secs(60);
/// A browser that lived this long ends the row.
const LIVED_MS: u64 = 60_000;

/// The memory of launches.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Relaunch {
    /// Launches in a row that may fail before the breaker opens.
    attempts: u32,
    /// Launches that failed, or whose browser was lost soon, in a row.
    failures: u32,
    retry_at_boot_ms: u64,
    last: String,
}

impl Relaunch {
    /// Nothing was tried yet; the breaker opens after this many failures in a row.
    pub(super) fn new(attempts: u32) -> Self {
        Relaunch { attempts: attempts.max(1), failures: 0, retry_at_boot_ms: 0, last: String::new() }
    }

    /// A browser did not come up, or was lost before it had lived long.
    pub(super) fn failed(&mut self, now_boot_ms: u64, reason: String) {
        self.failures += 1;
        self.last = reason;
        let pause = match self.failures {
            1 => Duration::ZERO,
            n if n >= self.attempts => PROBE_EVERY,
            n => Duration::from_secs(PAUSES_S[(n as usize - 2).min(PAUSES_S.len() - 1)]),
        };
        self.retry_at_boot_ms = now_boot_ms + pause.as_millis() as u64;
    }

    /// A running browser was lost.
    pub(super) fn lost(&mut self, now_boot_ms: u64, lived_ms: u64, reason: String) {
        if lived_ms >= LIVED_MS {
            self.failures = 0;
        }
        self.failed(now_boot_ms, reason);
    }

    /// A page came through: all is well.
    pub(super) fn worked(&mut self) {
        self.failures = 0;
    }

    /// How it looks now.
    pub(super) fn view(&self) -> BreakerView {
        let (failures, retry_at_boot_ms) = (self.failures, self.retry_at_boot_ms);
        match failures {
            0 | 1 => BreakerView::Closed,
            n if n >= self.attempts => BreakerView::Open { failures, retry_at_boot_ms, last: self.last.clone() },
            _ => BreakerView::Waiting { failures, retry_at_boot_ms, last: self.last.clone() },
        }
    }

    /// How long the next launch has to wait.
    pub(super) fn wait(&self, now_boot_ms: u64) -> Duration {
        Duration::from_millis(self.retry_at_boot_ms.saturating_sub(now_boot_ms))
    }

    /// The breaker is open and its next probe is not due.
    pub(super) fn is_open(&self, now_boot_ms: u64) -> bool {
        self.failures >= self.attempts && now_boot_ms < self.retry_at_boot_ms
    }

    /// Failures in a row and the last reason.
    pub(super) fn story(&self) -> (u32, String) {
        (self.failures, self.last.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_grow_and_the_breaker_opens_at_ten() {
        let mut relaunch = Relaunch::new(10);
        let mut now = 1_000;
        for expected_s in [0, 1, 2, 4, 8, 16, 30, 30, 30] {
            relaunch.failed(now, "no".into());
            assert_eq!(relaunch.wait(now), Duration::from_secs(expected_s));
            assert!(!relaunch.is_open(now));
            now += expected_s * 1000;
        }
        relaunch.failed(now, "no".into());
        assert!(relaunch.is_open(now) && matches!(relaunch.view(), BreakerView::Open { failures: 10, .. }));
        assert!(!relaunch.is_open(now + 60_000), "a probe is let through");
        relaunch.worked();
        assert_eq!(relaunch.view(), BreakerView::Closed);
    }

    #[test]
    fn a_browser_that_lived_starts_a_new_row() {
        let mut relaunch = Relaunch::new(10);
        for _ in 0..5 {
            relaunch.lost(0, 10_000, "killed".into());
        }
        assert!(relaunch.wait(0) > Duration::ZERO);
        relaunch.lost(0, 60_000, "killed".into());
        assert_eq!(relaunch.wait(0), Duration::ZERO);
    }
}
