//! What the browser learned about sites, by host: in memory, shared by all sessions.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::visit::Seen;
use crate::policy::settle::{Patience, SettleMemory};

/// Hosts remembered; beyond that, all are forgotten and learned again.
const HOSTS_MAX: usize = 10_000;

/// The memory of all hosts.
#[derive(Debug, Default)]
pub(super) struct Sites(Mutex<HashMap<String, Site>>);

#[derive(Debug, Default)]
struct Site {
    settle: SettleMemory,
}

impl Sites {
    /// How long the next page of a host is waited for.
    pub(super) fn patience(&self, host: &str) -> Patience {
        self.with(host, |site| site.settle.patience())
    }

    /// Learns from a page.
    pub(super) fn learn(&self, host: &str, seen: &Seen) {
        tracing::trace!(host, demand = seen.demand, posted = seen.posted, "page seen");
        self.with(host, |site| site.settle.learn(seen.settled));
    }

    fn with<T>(&self, host: &str, work: impl FnOnce(&mut Site) -> T) -> T {
        let mut sites = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !sites.contains_key(host) && sites.len() >= HOSTS_MAX {
            sites.clear();
        }
        work(sites.entry(host.to_owned()).or_default())
    }
}
