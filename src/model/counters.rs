//! The counters of a session, and the equation they must satisfy at every commit.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Committed totals of a session. All count URLs unless the name says otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Counters {
    /// Every URL ever accepted into the session.
    pub discovered: u64,
    /// Waiting, retries included.
    pub queued: u64,
    /// Leased to a worker.
    pub in_flight: u64,
    /// Set aside by a trap budget.
    pub parked: u64,
    /// Ended: answered and recorded.
    pub fetched: u64,
    /// Ended: every attempt failed.
    pub failed: u64,
    /// Ended: decided not to fetch.
    pub skipped: u64,
    /// Links seen that are outside the scope; not part of the balance.
    pub out_of_scope: u64,
    /// Links seen in all, known ones included; not part of the balance.
    pub links_seen: u64,
    /// Visits made, retries included; not part of the balance.
    pub visits: u64,
    /// Body bytes received, after decompression; not part of the balance.
    pub bytes: u64,
}

impl Counters {
    /// URLs with a final outcome.
    pub const fn ended(&self) -> u64 {
        self.fetched + self.failed + self.skipped
    }

    /// URLs still to be dealt with by the crawl itself (parked ones wait for the operator).
    pub const fn remaining(&self) -> u64 {
        self.queued + self.in_flight
    }

    /// How much of what the crawl deals with by itself has ended, 0..1: parked URLs wait for the operator. 0 when
    /// nothing is known, 1 when everything else is done.
    pub fn progress(&self) -> f64 {
        match self.discovered.saturating_sub(self.parked) {
            0 if self.discovered == 0 => 0.0,
            0 => 1.0,
            all => (self.ended() as f64 / all as f64).clamp(0.0, 1.0),
        }
    }

    /// Whether discovered = queued + in flight + parked + fetched + failed + skipped.
    pub const fn balanced(&self) -> bool {
        self.discovered == self.queued + self.in_flight + self.parked + self.ended()
    }
}

/// What one day's crawling came to; also used as a difference to be added.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct DayNumbers {
    /// Sessions created.
    pub sessions_started: u64,
    /// Sessions ended.
    pub sessions_ended: u64,
    /// Lifetimes that ended without a word.
    pub crashes: u64,
    /// Pages fetched.
    pub fetched: u64,
    /// URLs failed.
    pub failed: u64,
    /// URLs skipped.
    pub skipped: u64,
    /// Body bytes received.
    pub bytes: u64,
    /// Active time of all sessions.
    pub active_seconds: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_the_operator_holds_no_progress_up() {
        #[track_caller]
        fn check(name: &str, [discovered, parked, fetched, failed]: [u64; 4], expected: f64) {
            let counters = Counters { discovered, parked, fetched, failed, ..Counters::default() };
            assert_eq!(counters.progress(), expected, "{name}");
        }
        check("nothing is known", [0, 0, 0, 0], 0.0);
        check("half of it", [200, 0, 90, 10], 0.5);
        check("a calendar is parked, the rest is done", [50_036, 49_838, 198, 0], 1.0);
        check("all of it is parked", [7, 7, 0, 0], 1.0);
    }
}
