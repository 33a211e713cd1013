//! Whether the loops of the process turn: each reports, and the watchdog asks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::lock::lock;
use crate::model::time::Timestamp;

/// When each loop last turned, by the time since boot. A loop that has nothing to do turns as well: it wakes for this.
#[derive(Debug, Clone, Default)]
pub struct Liveness {
    turns: Arc<Mutex<BTreeMap<String, Timestamp>>>,
}

impl Liveness {
    /// The named loop has turned.
    pub fn turned(&self, name: &str, now: Timestamp) {
        let mut turns = lock(&self.turns);
        match turns.get_mut(name) {
            Some(at) => *at = now,
            None => {
                turns.insert(name.to_owned(), now);
            }
        }
    }

    /// The named loop has ended and is not expected any more.
    pub fn ended(&self, name: &str) {
        lock(&self.turns).remove(name);
    }

    /// Whether every loop has turned within `limit`. A clock that went back counts as turning.
    pub fn all_turning(&self, now: Timestamp, limit: Duration) -> bool {
        let turns = lock(&self.turns);
        turns.values().all(|at| now.since(*at) < limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_loop_that_stands_still_is_enough() {
        let liveness = Liveness::default();
        let at = |s: i64| Timestamp::from_millis(s * 1000);
        let limit = Duration::from_secs(30);
        assert!(liveness.all_turning(at(0), limit));
        liveness.turned("daemon", at(100));
        liveness.turned("session a", at(70));
        assert!(!liveness.all_turning(at(100), limit));
        liveness.turned("session a", at(99));
        assert!(liveness.all_turning(at(100), limit));
        assert!(liveness.all_turning(at(5), limit));
        liveness.ended("session a");
        liveness.turned("daemon", at(200));
        assert!(liveness.all_turning(at(201), limit));
    }
}
