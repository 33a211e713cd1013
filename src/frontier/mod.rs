//! Which host may be asked next: slots ordered by due time.
//!
//! Memory of one session, rebuilt from its store on open. It knows hosts and numbers, never URLs: the store
//! chooses the URL inside the host. Pure: `now` is an argument, and what a host permits is asked through a gate.

mod queue;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::model::ids::HostNo;
use crate::model::time::Timestamp;

pub use queue::Frontier;

/// What the host governor says to a request to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostPermit {
    /// May start now.
    Go,
    /// Not before this instant (delay, `Retry-After`, open breaker).
    Wait(Timestamp),
    /// As many requests are in flight as the host is allowed.
    Busy,
    /// Gone for `host_give_up_after`.
    GivenUp,
}

/// A host's queue as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostQueue {
    /// The host's number in the session's store.
    pub no: HostNo,
    /// `scheme://host[:port]`.
    pub key: Arc<str>,
    /// URLs queued, retries included, suspects not.
    pub queued: u64,
    /// Suspects waiting for a lease.
    pub suspects: u64,
    /// When the first of `queued` may be leased; `None`: one is ready now.
    pub earliest_retry: Option<Timestamp>,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Lease a URL of this host. Counts as asked for until `leased` or `refused` reports.
    Lease {
        /// The host.
        host: HostNo,
    },
    /// Lease a suspect of this host: nothing else is due, asked for or in flight. Counts as asked for.
    Suspect {
        /// The host.
        host: HostNo,
    },
    /// End everything queued on this host as `failed(host_unreachable)`, then `update_host`.
    GiveUp {
        /// The host.
        host: HostNo,
    },
    /// Nothing before this instant, unless something is reported first.
    WaitUntil(Timestamp),
    /// Nothing until a report (a visit ends, a URL is found).
    NothingDue,
    /// Nothing queued, asked for or in flight: the crawl is done.
    Drained,
}
