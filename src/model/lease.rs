//! What passes between the controller, the workers and the store: leases, visit ends, links.

use crate::model::host::HostState;
use crate::model::ids::{CommitSeq, Epoch, HostNo, UrlNo};
use crate::model::outcome::{Outcome, ParkReason, closed_list};
use crate::model::record::PageRecord;
use crate::model::time::Timestamp;
use crate::model::url::{CanonicalUrl, UrlKey};

closed_list! {
    /// What a URL was discovered as; decides who reads its body.
    UrlKind {
        /// A page: rendered or parsed for links.
        Page = "page",
        /// A sitemap, sitemap index or URL list.
        Sitemap = "sitemap",
    }
}

/// A worker's right to one URL, committed before the visit starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The URL's number.
    pub no: UrlNo,
    /// The host's number in the session's store.
    pub host: HostNo,
    /// What to fetch.
    pub url: CanonicalUrl,
    /// Page or sitemap.
    pub kind: UrlKind,
    /// Links followed from the nearest seed.
    pub depth: u32,
    /// Links followed beyond the scope's edge; 0 inside. Of a sitemap: indexes above it.
    pub hops: u32,
    /// The number of the URL on which it was found; `None` for a seed.
    pub via: Option<UrlNo>,
    /// 1-based; a crash does not raise it.
    pub attempt: u32,
    /// The lifetime that holds the lease.
    pub epoch: Epoch,
    /// It was in flight when a browser or the daemon died: it runs last and alone in its browser.
    pub suspect: bool,
    /// Crashes that pointed at it while it was alone, explained / unexplained.
    pub crashes: (u32, u32),
    /// `commit_seq` of an earlier record of the same URL that the next one supersedes.
    pub supersedes: Option<CommitSeq>,
}

/// A link that passed canonicalisation and scope, on its way into the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUrl {
    /// The canonical URL.
    pub url: CanonicalUrl,
    /// Its key, worked out before the one writer is asked.
    pub key: UrlKey,
    /// Page or sitemap.
    pub kind: UrlKind,
    /// Links followed from the nearest seed.
    pub depth: u32,
    /// Links followed beyond the scope's edge; 0 inside. Of a sitemap: indexes above it.
    pub hops: u32,
    /// Set when the URL alone already shows a trap (length, repeated segments).
    pub park: Option<ParkReason>,
    /// Hash of the path template that budgets are counted by; `None` when the URL has no template
    /// beyond itself. See `policy::traps`.
    pub template: Option<u64>,
    /// Hash of the query's parameter names and values, when there is a query.
    pub query: Option<u64>,
}

/// What one visit found besides its own record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links {
    /// Links inside the scope, known or not, in page order, without repetition.
    pub accepted: Vec<NewUrl>,
    /// Number of links outside the scope.
    pub out_of_scope: u64,
    /// Number of links seen in all.
    pub seen: u64,
}

/// How a visit ended, as the store commits it.
#[derive(Debug, Clone, PartialEq)]
pub enum VisitEnd {
    /// The URL has ended. `record.commit_seq`, `links_added` and `supersedes` are filled in by the committer.
    Ended {
        /// The lease given back.
        lease: Lease,
        /// Final outcome.
        outcome: Outcome,
        /// The output record.
        record: Box<PageRecord>,
        /// What it linked to.
        links: Links,
        /// A redirect target inside the scope that this visit fetched as well: it ends as fetched in
        /// the same commit unless it has ended or is in flight.
        target: Option<Box<RedirectTarget>>,
    },
    /// To be tried again, at the end of the queue.
    Retry {
        /// The lease given back.
        lease: Lease,
        /// Not before this instant.
        not_before: Timestamp,
        /// Whether this visit counts as an attempt (a crash does not).
        charged: bool,
        /// Mark it as a suspect from now on.
        suspect: bool,
        /// A crash that points at it while it was alone: explained (`true`) or unexplained.
        crash_alone: Option<bool>,
    },
    /// Given back untouched (drain, pause): queued again in its old place.
    Released {
        /// The lease given back.
        lease: Lease,
    },
}

impl VisitEnd {
    /// The lease that this end gives back.
    pub fn lease(&self) -> &Lease {
        match self {
            VisitEnd::Ended { lease, .. } | VisitEnd::Retry { lease, .. } | VisitEnd::Released { lease } => lease,
        }
    }

    /// The records that it brings: the URL's own, and that of where it redirects to.
    pub fn records(&self) -> impl Iterator<Item = &PageRecord> {
        let (own, target) = match self {
            VisitEnd::Ended { record, target, .. } => (Some(&**record), target.as_ref().map(|target| &target.record)),
            VisitEnd::Retry { .. } | VisitEnd::Released { .. } => (None, None),
        };
        own.into_iter().chain(target)
    }
}

/// The in-scope target of a redirect, fetched by the visit of its source.
#[derive(Debug, Clone, PartialEq)]
pub struct RedirectTarget {
    /// The target as a URL to be known by the session.
    pub url: NewUrl,
    /// Its own output record (outcome fetched).
    pub record: PageRecord,
    /// The links of the page belong to the target, not to the source.
    pub links: Links,
}

/// A host's politeness memory on its way into the store.
#[derive(Debug, Clone, PartialEq)]
pub struct HostUpdate {
    /// `scheme://host[:port]`.
    pub host_key: String,
    /// What to remember.
    pub state: HostState,
}

/// How much a host has waiting, as of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostQueue {
    /// The host's number in the session's store.
    pub no: HostNo,
    /// `scheme://host[:port]`.
    pub key: String,
    /// URLs queued, suspects not counted.
    pub queued: u64,
    /// Suspects queued: leased on request only.
    pub suspects: u64,
    /// Set when every queued URL waits for a retry: the earliest of their instants.
    pub earliest_retry: Option<Timestamp>,
}
