//! What the seen-set says about all links of a batch, asked at once.

use crate::crawl::committer::batch::Batch;
use crate::model::ids::{HostNo, UrlNo};
use crate::model::lease::{NewUrl, VisitEnd};
use crate::model::quick::QuickMap;
use crate::model::url::UrlKey;

use super::{Group, Result};

/// Answers that are kept for the next group, about 40 bytes each: pages of a site name the same URLs again.
const KEPT: usize = 32_768;

/// Answers of the seen-set. A URL keeps its host and key for ever, so what was found stays true; what was
/// not found stays so until it is added here. Forgotten with a group that failed.
#[derive(Debug, Default)]
pub(in crate::crawl::committer) struct Foreseen(QuickMap<(HostNo, UrlKey), Option<UrlNo>>);

impl Foreseen {
    /// The outer `None`: nobody asked. The inner: there is none; else its number.
    pub(super) fn get(&self, host: HostNo, key: UrlKey) -> Option<Option<UrlNo>> {
        self.0.get(&(host, key)).copied()
    }

    /// The key is taken from now on.
    pub(super) fn add(&mut self, host: HostNo, key: UrlKey, n: UrlNo) {
        self.0.insert((host, key), Some(n));
    }

    /// Bounds what the next group finds here.
    pub(super) fn trim(&mut self) {
        if self.0.len() > KEPT {
            self.0 = QuickMap::default();
        }
    }
}

impl Group<'_> {
    /// Asks for every URL that the batch may add. Hosts that are not known have none.
    pub(super) fn foresee(&mut self, batch: &Batch) -> Result<()> {
        let mut keys = Vec::new();
        let mut host: (&str, Option<HostNo>) = ("", None);
        for url in named(batch) {
            let key = url.url.host_key();
            if host.0 != key {
                host = (key, self.known_host(key)?);
            }
            let Some(no) = host.1 else { continue };
            let key = (no, url.key);
            if !self.totals.foreseen.0.contains_key(&key) {
                keys.push(key);
            }
        }
        keys.sort_unstable();
        keys.dedup();
        let mut answers = vec![None; keys.len()];
        self.writer.each_seen(&keys, |i, n| answers[i] = Some(n))?;
        self.totals.foreseen.0.extend(keys.into_iter().zip(answers));
        Ok(())
    }
}

/// Every URL that the batch may add.
fn named(batch: &Batch) -> impl Iterator<Item = &NewUrl> {
    let ends = batch.ends.iter().flat_map(|end| {
        let (links, target) = match end {
            VisitEnd::Ended { links, target, .. } => (Some(links), target.as_deref()),
            VisitEnd::Retry { .. } | VisitEnd::Released { .. } => (None, None),
        };
        let target = target.into_iter().flat_map(|target| std::iter::once(&target.url).chain(&target.links.accepted));
        links.into_iter().flat_map(|links| &links.accepted).chain(target)
    });
    batch.seeds.iter().chain(batch.links.iter().flat_map(|(_, links)| &links.accepted)).chain(ends)
}
