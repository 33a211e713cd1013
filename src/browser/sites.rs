//! What the browser learned about sites, by host: in memory, shared by all sessions, told to the next lifetime.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use crate::lock::lock;
use crate::model::checkpoint::LearnedSite;
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

    /// What is known of these hosts, for the next lifetime; of at most so many.
    pub(super) fn learned<'a>(
        &self,
        hosts: impl Iterator<Item = &'a str>,
        most: usize,
    ) -> BTreeMap<String, LearnedSite> {
        let sites = lock(&self.0);
        let known = hosts.filter_map(|host| {
            let site = sites.get(host)?;
            let mut told = LearnedSite { settle: site.settle.tell(), ..LearnedSite::default() };
            site.kinds.tell(&mut told);
            (told.pages.0 > 0).then(|| (host.to_owned(), told))
        });
        known.take(most).collect()
    }

    /// What an earlier lifetime learned of hosts that this one knows nothing of yet.
    pub(super) fn remember(&self, told: &BTreeMap<String, LearnedSite>) {
        let mut sites = lock(&self.0);
        for (host, told) in told {
            if sites.len() < HOSTS_MAX && !sites.contains_key(host) {
                let site = Site { settle: SettleMemory::told(told.settle), kinds: SiteMemory::told(told) };
                sites.insert(host.clone(), site);
            }
        }
    }

    fn with<T>(&self, url: &CanonicalUrl, work: impl FnOnce(&mut Site) -> T) -> T {
        let host = url.host_key();
        let mut sites = lock(&self.0);
        if !sites.contains_key(host) && sites.len() >= HOSTS_MAX {
            sites.clear();
        }
        work(sites.entry(host.to_owned()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_goes_on_with_what_the_one_before_knew_of_its_hosts() {
        let page = |n: u32, host: &str| CanonicalUrl::parse(&format!("http://{host}/docs/{n}.html")).unwrap();
        let before = Sites::default();
        for n in 0..9 {
            for host in ["a.example", "b.example"] {
                let url = page(n, host);
                let taught = Taught { demand: false, posted: false, agreed: Some(true), unclear: false };
                before.learn(&url, before.start(&url), Some(Settled { settled: false, modules_brought: None }), taught);
            }
        }
        let told = before.learned(["http://a.example", "http://never.example"].into_iter(), 10);
        assert_eq!(told.len(), 1);
        let after = Sites::default();
        after.remember(&told);
        let url = page(100, "a.example");
        assert_eq!((after.start(&url), after.patience(&url)), (before.start(&url), before.patience(&url)));
        assert_ne!(after.start(&url), Start::Ordinary);
        assert_eq!(after.start(&page(1, "b.example")), Start::Ordinary, "of nobody's hosts");
        before.remember(&BTreeMap::from([("http://a.example".to_owned(), LearnedSite::default())]));
        assert_ne!(before.start(&url), Start::Ordinary, "what is known now counts more");
    }
}
