//! Requests of pages that are under way and may still bring content, counted by the bridge.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Requests under way remembered per tab; a page with more counts as busy until its bound anyway.
const REQUESTS_MAX: usize = 1_000;

type Sessions = HashMap<String, Arc<Mutex<HashSet<String>>>>;

/// The counts of one browser, by protocol session.
#[derive(Debug, Clone, Default)]
pub(super) struct Activity {
    sessions: Arc<Mutex<Sessions>>,
}

impl Activity {
    /// Starts counting for a tab; ends when the watch is dropped.
    pub(super) fn watch(&self, session: &str) -> Watch {
        let requests = Arc::default();
        lock(&self.sessions).insert(session.to_owned(), Arc::clone(&requests));
        Watch { activity: self.clone(), session: session.to_owned(), requests }
    }

    /// A request of a tab began.
    pub(super) fn started(&self, session: &str, request: &str) {
        if let Some(requests) = lock(&self.sessions).get(session) {
            let mut requests = lock(requests);
            if requests.len() < REQUESTS_MAX {
                requests.insert(request.to_owned());
            }
        }
    }

    /// A request of a tab ended, well or not.
    pub(super) fn ended(&self, session: &str, request: &str) {
        if let Some(requests) = lock(&self.sessions).get(session) {
            lock(requests).remove(request);
        }
    }
}

/// The counts of one tab.
#[derive(Debug)]
pub(super) struct Watch {
    activity: Activity,
    session: String,
    requests: Arc<Mutex<HashSet<String>>>,
}

impl Watch {
    /// Requests under way.
    pub(super) fn pending(&self) -> usize {
        lock(&self.requests).len()
    }

    /// Forgets the requests of the page before.
    pub(super) fn reset(&self) {
        lock(&self.requests).clear();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        lock(&self.activity.sessions).remove(&self.session);
    }
}

/// Nothing that holds these locks can panic half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
