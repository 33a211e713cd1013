//! Operations on pages that take long, for as long as they last: told by who does them, read by the heartbeat.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::outcome::closed_list;
use crate::model::time::Timestamp;
use crate::model::url::CanonicalUrl;

/// An operation says that it lives once in this time, in the log and in the heartbeat. The tests have less time.
pub const KEEPALIVE: Duration = if cfg!(test) { Duration::from_millis(50) } else { Duration::from_secs(30) };

closed_list! {
    /// What can take long.
    Operation {
        /// Scrolling, clicking and the like, see `page.behaviors`.
        Behaviors = "behaviors",
        /// A screenshot.
        Screenshot = "screenshot",
        /// A print-out.
        Pdf = "pdf",
    }
}

/// An operation that takes long and lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LongOperation {
    /// What is done.
    pub operation: Operation,
    /// With which page; its query redacted.
    pub url: String,
    /// Since when.
    pub since: Timestamp,
    /// When it last said that it lives.
    pub alive_at: Timestamp,
}

/// The operations of a session that have said once that they live.
#[derive(Debug, Clone, Default)]
pub struct LongOperations(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    running: Mutex<BTreeMap<u64, Running>>,
    next: AtomicU64,
    news: AtomicBool,
}

#[derive(Debug, Clone)]
struct Running {
    operation: Operation,
    url: CanonicalUrl,
    since: Timestamp,
    alive_at: Timestamp,
}

impl LongOperations {
    fn running(&self) -> MutexGuard<'_, BTreeMap<u64, Running>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was said since the last call.
    pub fn take_news(&self) -> bool {
        self.0.news.swap(false, Ordering::Relaxed)
    }

    /// Nothing takes long.
    pub fn is_empty(&self) -> bool {
        self.running().is_empty()
    }

    /// What lasts, the oldest first; `shown` says how a URL is shown.
    pub fn list(&self, shown: impl Fn(&CanonicalUrl) -> String) -> Vec<LongOperation> {
        let running = self.running();
        let tell = |Running { operation, url, since, alive_at }: &Running| LongOperation {
            operation: *operation,
            url: shown(url),
            since: *since,
            alive_at: *alive_at,
        };
        let mut all: Vec<LongOperation> = running.values().map(tell).collect();
        all.sort_by_key(|one| one.since);
        all
    }
}

/// The voice of one operation. Dropped, it is over.
#[derive(Debug)]
pub struct Voice {
    operations: LongOperations,
    key: u64,
    said: Running,
}

impl Voice {
    /// Of an operation that begins now; until it first speaks, it is none that takes long.
    pub fn new(operations: &LongOperations, operation: Operation, url: &CanonicalUrl, now: Timestamp) -> Voice {
        let key = operations.0.next.fetch_add(1, Ordering::Relaxed);
        let said = Running { operation, url: url.clone(), since: now, alive_at: now };
        Voice { operations: operations.clone(), key, said }
    }

    /// It lives. Returns for how long by now.
    pub fn alive(&mut self, now: Timestamp) -> Duration {
        self.said.alive_at = now;
        self.operations.running().insert(self.key, self.said.clone());
        self.operations.0.news.store(true, Ordering::Relaxed);
        now.since(self.said.since)
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        self.operations.running().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_is_listed_while_it_lasts() {
        let operations = LongOperations::default();
        let after = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
        let url = CanonicalUrl::parse("http://h.example/a?token=x").unwrap();
        let list = || operations.list(|url| url.path_only().to_owned());
        let mut late = Voice::new(&operations, Operation::Pdf, &url, after(5));
        let mut early = Voice::new(&operations, Operation::Behaviors, &url, after(1));
        assert!(list().is_empty() && !operations.take_news());
        assert_eq!(late.alive(after(35)), Duration::from_secs(30));
        early.alive(after(31));
        early.alive(after(61));
        assert!(operations.take_news() && !operations.take_news());
        let told: Vec<_> =
            list().into_iter().map(|one| (one.operation, one.since.millis(), one.alive_at.millis())).collect();
        assert_eq!(told, [(Operation::Behaviors, 1_000, 61_000), (Operation::Pdf, 5_000, 35_000)]);
        assert_eq!(list()[0].url, "/a");
        drop(early);
        drop(late);
        assert!(list().is_empty() && operations.is_empty());
    }
}
