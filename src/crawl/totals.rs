//! A session's totals over all its lifetimes, its limits, and when the next writings are due.

use std::collections::BTreeMap;
use std::time::Duration;

pub use crate::model::checkpoint::Extension;
use crate::model::checkpoint::LimitUse;
use crate::model::counters::Counters;
use crate::model::ids::{CommitSeq, TaskId};
use crate::model::session::StopReason;
use crate::model::task::LimitSpec;
use crate::model::time::Timestamp;
use crate::policy::limits;

/// Totals, limits and due times of one session.
#[derive(Debug, Clone)]
pub struct Totals {
    /// Its task.
    pub task: TaskId,
    /// When the session was created.
    pub session_start: Timestamp,
    /// When this lifetime started.
    pub started_at: Timestamp,
    /// Committed totals.
    pub counters: Counters,
    /// Sitemaps among the fetched: no limit counts them as pages.
    pub sitemaps: u64,
    /// The last commit.
    pub seq: CommitSeq,
    /// What broke the session's own files.
    pub broken: Option<String>,
    /// The task's limits, the daemon's defaults filled in.
    pub limits: LimitSpec,
    /// The daemon's limit on active time, where the task has none.
    pub max_duration: Duration,
    /// Limits count from here.
    pub extension: Extension,
    /// Active time of all lifetimes so far.
    pub active: Duration,
    /// Time between heartbeats.
    pub heartbeat_every: Duration,
    /// Time between checkpoints.
    pub checkpoint_every: Duration,
    /// When the last ones were asked for.
    pub last_heartbeat: Timestamp,
    /// See `last_heartbeat`.
    pub last_checkpoint: Timestamp,
    /// The instant up to which `active` counts.
    pub counted_to: Timestamp,
}

impl Totals {
    /// Counts active time up to `now`. Held time is not active. A jump of the clock by more than a
    /// minute between two turns (a second apart) is not time that was lived.
    pub fn turn(&mut self, now: Timestamp, active: bool) {
        let passed = now.since(self.counted_to);
        if active && passed < Duration::from_secs(60) {
            self.active += passed;
        }
        self.counted_to = now;
    }

    /// Whether a heartbeat is due; a clock that went back makes one due.
    pub fn heartbeat_due(&self, now: Timestamp) -> bool {
        now < self.last_heartbeat || now.since(self.last_heartbeat) >= self.heartbeat_every
    }

    /// Whether a checkpoint is due; a clock that went back makes one due.
    pub fn checkpoint_due(&self, now: Timestamp) -> bool {
        now < self.last_checkpoint || now.since(self.last_checkpoint) >= self.checkpoint_every
    }

    fn pages(&self) -> u64 {
        self.counters.fetched.saturating_sub(self.sitemaps)
    }

    /// What counts against the limits: everything since the last extension.
    pub fn used(&self) -> Counters {
        Counters {
            fetched: self.pages().saturating_sub(self.extension.pages),
            bytes: self.counters.bytes.saturating_sub(self.extension.bytes),
            failed: self.counters.failed.saturating_sub(self.extension.failures),
            ..self.counters
        }
    }

    /// The limit that is reached, if one is.
    pub fn limit_reached(&self) -> Option<StopReason> {
        let active = self.active.saturating_sub(Duration::from_millis(self.extension.active_ms));
        limits::reached(&self.limits, &self.used(), active, self.max_duration)
    }

    /// Name → (used, limit), for the checkpoint.
    pub fn limits_used(&self) -> BTreeMap<String, LimitUse> {
        let used = self.used();
        let active = self.active.as_secs().saturating_sub(self.extension.active_ms / 1000);
        let longest = self.limits.max_session_duration.map_or(self.max_duration, |span| span.0);
        let rows = [
            ("max_pages", used.fetched, self.limits.max_pages),
            ("max_bytes", used.bytes, self.limits.max_bytes),
            ("max_failures", used.failed, self.limits.max_failures),
            ("max_session_duration_seconds", active, Some(longest.as_secs())),
        ];
        rows.into_iter().map(|(name, used, limit)| (name.to_owned(), LimitUse { used, limit })).collect()
    }

    /// Whether another lease can be had without passing the page limit even if everything in flight
    /// and uncommitted is fetched.
    pub fn room(&self, uncommitted: u64, outstanding: u32) -> bool {
        limits::visits_allowed(&self.limits, &self.used(), uncommitted + u64::from(outstanding)) > 0
    }

    /// What an extension granted now would count from.
    pub fn extend_here(&self) -> Extension {
        Extension {
            pages: self.pages(),
            bytes: self.counters.bytes,
            failures: self.counters.failed,
            active_ms: u64::try_from(self.active.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Estimated time to the end at the present rate; none while nothing ends.
    pub fn eta_seconds(&self, pages_per_second: f64) -> Option<u64> {
        let left = self.counters.remaining() as f64;
        (pages_per_second > 0.001).then(|| (left / pages_per_second).ceil() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals() -> Totals {
        let zero = Timestamp::from_millis(0);
        Totals {
            task: "docs".parse().unwrap(),
            session_start: zero,
            started_at: zero,
            counters: Counters::default(),
            sitemaps: 0,
            seq: 0,
            broken: None,
            limits: LimitSpec { max_pages: Some(10), ..LimitSpec::default() },
            max_duration: Duration::MAX,
            extension: Extension::default(),
            active: Duration::ZERO,
            heartbeat_every: Duration::from_secs(60),
            checkpoint_every: Duration::from_secs(300),
            last_heartbeat: zero,
            last_checkpoint: zero,
            counted_to: zero,
        }
    }

    #[test]
    fn active_time_leaves_out_holds_and_clock_jumps() {
        let mut totals = totals();
        totals.turn(Timestamp::from_millis(1_000), true);
        totals.turn(Timestamp::from_millis(2_000), false);
        totals.turn(Timestamp::from_millis(86_400_000), true);
        totals.turn(Timestamp::from_millis(5_000), true);
        totals.turn(Timestamp::from_millis(6_000), true);
        assert_eq!(totals.active, Duration::from_secs(2));
    }

    #[test]
    fn the_page_limit_counts_what_may_still_be_fetched() {
        let mut totals = totals();
        totals.counters.fetched = 7;
        assert!(totals.room(1, 1));
        assert!(!totals.room(1, 2));
        totals.sitemaps = 2;
        assert!(totals.room(1, 3), "sitemaps are no pages");
        assert!(!totals.room(1, 4));
        totals.extension = totals.extend_here();
        assert!(totals.room(1, 2));
    }

    #[test]
    fn a_clock_that_went_back_makes_everything_due() {
        let mut totals = totals();
        totals.last_heartbeat = Timestamp::from_millis(1_000_000);
        assert!(totals.heartbeat_due(Timestamp::from_millis(999_999)));
        assert!(!totals.heartbeat_due(Timestamp::from_millis(1_000_001)));
    }
}
