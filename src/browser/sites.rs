//! What the browser learned about sites, by host: in memory, shared by all sessions.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::model::url::CanonicalUrl;
use crate::policy::settle::{Patience, SettleMemory, Settled};
use crate::policy::tab_kind::{self, SiteMemory, Start, Taught};

/// Hosts remembered; beyond that, all are forgotten and learned again.
const HOSTS_MAX: usize = 10_000;

/// The memory of all hosts.
#[derive(Debug, Default)]
pub(super) struct Sites(Mutex<HashMap<String, Site>>);

#[derive(Debug, Default)]
struct Site {
    settle: SettleMemory,
    kinds: SiteMemory,
}

impl Sites {
    /// How long this page is waited for.
    pub(super) fn patience(&self, url: &CanonicalUrl) -> Patience {
        self.with(url, |site| site.settle.patience())
    }

    /// In which tab this page is loaded.
    pub(super) fn start(&self, url: &CanonicalUrl) -> Start {
        self.with(url, |site| site.kinds.start(tab_kind::template(url)))
    }

    /// Learns from a page.
    pub(super) fn learn(&self, url: &CanonicalUrl, start: Start, settled: Option<Settled>, taught: Taught) {
        tracing::trace!(url = %url, ?start, ?settled, ?taught, "page seen");
        self.with(url, |site| {
            if let Some(settled) = settled {
                site.settle.learn(settled);
            }
            site.kinds.learn(tab_kind::template(url), start, taught);
        });
    }

    fn with<T>(&self, url: &CanonicalUrl, work: impl FnOnce(&mut Site) -> T) -> T {
        let host = url.host_key();
        let mut sites = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !sites.contains_key(host) && sites.len() >= HOSTS_MAX {
            sites.clear();
        }
        work(sites.entry(host.to_owned()).or_default())
    }
}
