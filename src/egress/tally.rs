//! What went through a proxy, counted.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::checkpoint::EgressFacts;

/// Counters of one session's proxy.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Connections made to sites.
    pub connections: AtomicU64,
    /// Connections that were refused because of their address.
    pub refused: AtomicU64,
    /// Connections to hosts that the task blocks, refused.
    pub blocked: AtomicU64,
    /// Connections that did not come about, or broke before an answer.
    pub failed: AtomicU64,
    /// Bodies and tunnels cut at a limit.
    pub cut: AtomicU64,
    /// Connections from processes of other users.
    pub strangers: AtomicU64,
    /// Bytes from sites, everything included that TCP carried.
    pub received: AtomicU64,
    /// Bytes to sites.
    pub sent: AtomicU64,
}

impl Tally {
    /// Adds to a counter.
    pub(super) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    pub(super) fn facts(&self) -> EgressFacts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        EgressFacts {
            connections: read(&self.connections),
            addresses_refused: read(&self.refused),
            blocked_hosts: read(&self.blocked),
            connections_failed: read(&self.failed),
            cut_at_limit: read(&self.cut),
            strangers_refused: read(&self.strangers),
            bytes_received: read(&self.received),
            bytes_sent: read(&self.sent),
        }
    }
}
