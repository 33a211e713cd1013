//! The host governor: delay, requests in flight and circuit breaker of every host, shared by all sessions of the
//! daemon, so that two sessions never double the rate of one.

mod table;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::frontier::HostPermit;
use crate::lock::lock;
use crate::model::host::HostState;
use crate::model::outcome::FailureClass;
use crate::model::task::PolitenessSpec;
use crate::model::time::Timestamp;
use crate::policy::breaker::BreakerConfig;

use table::Table;

/// Hosts kept in memory at most (about 200 bytes each) before idle ones are forgotten.
const HOSTS_KEPT: usize = 100_000;

/// How a visit ended, as far as its host is concerned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum VisitSignal {
    /// The host answered (a 404 is an answer).
    Ok {
        /// Request sent to first byte; `None` where it could not be measured.
        ttfb: Option<Duration>,
    },
    /// 429, or 503 with `Retry-After`.
    Throttled {
        /// What it asked for.
        retry_after: Option<Duration>,
    },
    /// The visit failed otherwise.
    Failed(FailureClass),
    /// The visit failed otherwise, and the URL had failed before: what may be the page's own fault does not count
    /// against the host.
    FailedAgain(FailureClass),
    /// Nothing was learned about the host.
    Neutral,
}

impl VisitSignal {
    /// The signal of the URL's visit number `attempt` (from 1).
    #[must_use]
    pub fn of_attempt(self, attempt: u32) -> Self {
        match self {
            VisitSignal::Failed(class) if attempt > 1 => VisitSignal::FailedAgain(class),
            other => other,
        }
    }
}

/// The governor; clones share one memory. No method waits or is called across an await.
#[derive(Debug, Clone)]
pub struct HostGovernor {
    table: Arc<Mutex<Table>>,
}

impl Default for HostGovernor {
    fn default() -> Self {
        HostGovernor::new(BreakerConfig::default())
    }
}

impl HostGovernor {
    /// A governor that knows no host yet.
    pub fn new(breaker: BreakerConfig) -> Self {
        HostGovernor::with(breaker, HOSTS_KEPT, fastrand::u64(..))
    }

    fn with(breaker: BreakerConfig, kept: usize, seed: u64) -> Self {
        HostGovernor { table: Arc::new(Mutex::new(Table::new(breaker, kept, seed))) }
    }

    /// What a request to this host may do `now`, without counting it.
    pub fn permit(&self, host_key: &str, spec: &PolitenessSpec, now: Timestamp) -> HostPermit {
        self.lock(now).permit(host_key, spec, now)
    }

    /// Counts a request as started `now`: it is in flight until the grant ends, and the host's next request waits
    /// for the delay.
    ///
    /// # Errors
    /// What `permit` says when it is not `Go`.
    pub fn take(&self, host_key: &str, spec: &PolitenessSpec, now: Timestamp) -> Result<HostGrant, HostPermit> {
        let (host_key, ticket) = self.lock(now).take(host_key, spec, now)?;
        Ok(HostGrant { governor: self.clone(), host_key, ticket, ended: false })
    }

    /// Asked when a request is ready to be sent, `now`: the instant at which it may be, at most `patience` away. It
    /// counts as sent then, and whatever goes to the host next keeps its distance from it.
    ///
    /// # Errors
    /// It would have to wait longer, until this instant, before which no grant is given.
    pub fn depart(
        &self,
        host_key: &str,
        spec: &PolitenessSpec,
        patience: Duration,
        now: Timestamp,
    ) -> Result<Timestamp, Timestamp> {
        self.lock(now).depart(host_key, spec, patience, now)
    }

    /// The least that lies between two requests to the host.
    pub fn gap(&self, host_key: &str, spec: &PolitenessSpec, now: Timestamp) -> Duration {
        self.lock(now).gap(host_key, spec, now)
    }

    /// The host asked for a pause (`Retry-After`), which is capped; nothing is said of its health.
    pub fn quiet(&self, host_key: &str, spec: &PolitenessSpec, asked: Duration, now: Timestamp) {
        self.lock(now).quiet(host_key, spec, asked, now);
    }

    /// Teaches the host's memory how a visit ended and returns what to persist. The grant of the visit keeps
    /// counting as in flight until it is dropped; `HostGrant::finish` does both.
    pub fn finish(&self, host_key: &str, spec: &PolitenessSpec, signal: VisitSignal, now: Timestamp) -> HostState {
        self.lock(now).learn(host_key, spec, signal, now)
    }

    /// Takes over what a store remembered at `saved_at`; of that and what is known already the gentler holds.
    pub fn restore(&self, host_key: &str, state: HostState, saved_at: Timestamp, now: Timestamp) {
        self.lock(now).restore(host_key, state, saved_at, now);
    }

    /// Whether the host is in memory; one that is not (new, or forgotten as idle) is restored from the store before
    /// it is asked.
    pub fn knows(&self, host_key: &str) -> bool {
        self.locked().state(host_key).is_some()
    }

    /// The host's memory, to be persisted.
    pub fn snapshot(&self, host_key: &str) -> Option<HostState> {
        self.locked().state(host_key)
    }

    /// Takes over the `Crawl-delay` of a robots.txt; `None`: it has none. It holds from the next departure on.
    pub fn set_crawl_delay(&self, host_key: &str, spec: &PolitenessSpec, asked: Option<Duration>, now: Timestamp) {
        self.lock(now).set_crawl_delay(host_key, spec, asked, now);
    }

    /// Closes the host's breaker by hand (retry by command): it is asked again as if it had never failed.
    pub fn forgive(&self, host_key: &str) {
        self.locked().forgive(host_key);
    }

    /// `forgive` for every host that this session's politeness holds to be given up; what to persist of each.
    pub fn forgive_given_up(&self, spec: &PolitenessSpec, now: Timestamp) -> Vec<(Arc<str>, HostState)> {
        self.lock(now).forgive_given_up(spec, now)
    }

    /// Hosts whose breaker is not closed, with their memory, in no order.
    pub fn open_breakers(&self) -> Vec<(Arc<str>, HostState)> {
        self.locked().open_breakers()
    }

    /// How many hosts are known, and how many of them have a breaker that is not closed.
    pub fn counts(&self) -> (usize, usize) {
        self.locked().counts()
    }

    /// Requests in flight on a host, over all sessions.
    pub fn in_flight(&self, host_key: &str) -> u32 {
        self.locked().in_flight(host_key)
    }

    fn lock(&self, now: Timestamp) -> MutexGuard<'_, Table> {
        let mut table = self.locked();
        table.follow_clock(now);
        table
    }

    /// The memory is valid after every step, so a panic elsewhere does not spoil it.
    fn locked(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }
}

/// The right to one request to a host. Dropped without `finish` (its worker died) it ends as `Neutral`.
#[derive(Debug)]
pub struct HostGrant {
    governor: HostGovernor,
    host_key: Arc<str>,
    ticket: u64,
    ended: bool,
}

impl HostGrant {
    /// The host.
    pub fn host_key(&self) -> &Arc<str> {
        &self.host_key
    }

    /// The host's memory with this request counted: persisted with the lease, it keeps the delay across a crash.
    pub fn memory(&self) -> HostState {
        self.governor.snapshot(&self.host_key).unwrap_or_default()
    }

    /// Ends the request, teaches the host's memory how, and returns what to persist.
    pub fn finish(mut self, spec: &PolitenessSpec, signal: VisitSignal, now: Timestamp) -> HostState {
        self.ended = true;
        let mut table = self.governor.lock(now);
        let state = table.learn(&self.host_key, spec, signal, now);
        table.release(&self.host_key, self.ticket);
        table.state(&self.host_key).unwrap_or(state)
    }
}

impl HostGrant {
    /// Ends a request that was never made: the next one does not wait for it.
    pub fn unused(mut self) -> HostState {
        self.ended = true;
        let mut table = self.governor.locked();
        table.take_back(&self.host_key, self.ticket);
        table.state(&self.host_key).unwrap_or_default()
    }
}

impl Drop for HostGrant {
    fn drop(&mut self) {
        if !self.ended {
            self.governor.locked().release(&self.host_key, self.ticket);
        }
    }
}
