//! What the controller asks of the committer, and what it is answered.

use std::path::PathBuf;
use std::time::Duration;

use crate::model::checkpoint::OutputFile;
use crate::model::counters::Counters;
use crate::model::event::PageNote;
use crate::model::host::StoredRobots;
use crate::model::ids::{CommitSeq, HostNo, UrlNo};
use crate::model::lease::{HostQueue, HostUpdate, Lease, Links, NewUrl, VisitEnd};
use crate::model::outcome::{FailureClass, ParkReason};
use crate::model::time::Timestamp;
use crate::model::url::CanonicalUrl;

/// Meta key: the operator paused the session (`1`).
pub const META_PAUSED: &str = "paused_by_operator";
/// Meta key: active time over all epochs, in milliseconds.
pub const META_ACTIVE_MS: &str = "active_ms";

/// Meta keys: what was parked for the reason behind it was released up to this commit.
pub const META_RELEASED: &str = "released_until:";
/// Meta keys: what had failed with the class behind it (`poison` too) was queued again up to this commit.
pub const META_RETRIED: &str = "retried_until:";
/// Meta key: for which task the URLs of a session whose scope was changed were last judged anew (its hash).
pub const META_JUDGED: &str = "judged_for";

/// A robots.txt answer by host key.
pub type RobotsEntry = (String, StoredRobots);

/// Everything that one commit is to make durable. Given back whole when there was no space for it.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// Leases given back, with what came of them.
    pub ends: Vec<VisitEnd>,
    /// Links of visits that go on (sitemaps), at most 1,000 or so each.
    pub links: Vec<(Lease, Links)>,
    /// URLs from outside: depth as given, no `via`.
    pub seeds: Vec<NewUrl>,
    /// Politeness memory to keep.
    pub hosts: Vec<HostUpdate>,
    /// robots.txt answers to keep.
    pub robots: Vec<RobotsEntry>,
    /// Leases wanted; taken after everything else in the group is applied.
    pub leases: Vec<LeaseWish>,
    /// Commands.
    pub ops: Vec<StoreOp>,
    /// The present instant: decides which retries are due.
    pub now: Timestamp,
}

impl Batch {
    /// An empty batch.
    pub fn new(now: Timestamp) -> Self {
        Batch { now, ..Batch::default() }
    }

    /// Whether a commit of it would change nothing.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
            && self.links.is_empty()
            && self.seeds.is_empty()
            && self.hosts.is_empty()
            && self.robots.is_empty()
            && self.leases.is_empty()
            && self.ops.is_empty()
    }

    /// Asks for one more lease of this host.
    pub fn wish(&mut self, host: HostNo, suspects: bool) {
        match self.leases.iter_mut().find(|wish| wish.host == host && wish.suspects == suspects) {
            Some(wish) => wish.count += 1,
            None => self.leases.push(LeaseWish { host, suspects, count: 1 }),
        }
    }

    /// Puts a newer batch behind this one.
    pub fn append(&mut self, newer: Batch) {
        self.ends.extend(newer.ends);
        self.links.extend(newer.links);
        self.seeds.extend(newer.seeds);
        self.hosts.extend(newer.hosts);
        self.robots.extend(newer.robots);
        self.leases.extend(newer.leases);
        self.ops.extend(newer.ops);
        self.now = self.now.max(newer.now);
    }
}

/// A wish for leases of one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseWish {
    /// The host.
    pub host: HostNo,
    /// Suspects instead of ordinary URLs.
    pub suspects: bool,
    /// At most so many.
    pub count: u32,
}

/// A command on the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreOp {
    /// Remembers a session-level value; `None` forgets it.
    SetMeta {
        /// Its name.
        key: String,
        /// Its value.
        value: Option<String>,
    },
    /// Queues parked URLs.
    ReleaseParked {
        /// Only this reason; `None` for all.
        reason: Option<ParkReason>,
    },
    /// Queues failed URLs again with a fresh set of attempts; their next records supersede the old ones.
    RetryFailed {
        /// Only this class; `None` for all.
        class: Option<FailureClass>,
        /// Poisoned URLs as well: they stay suspects and start with no crashes counted.
        quarantined: bool,
    },
    /// Queues URLs again that a changed scope has left out: they are judged by the one that holds now.
    JudgeAnew,
    /// Queues pages again that were fetched, before all that is new; their next records supersede the old ones. What is
    /// not known, or has not been fetched, stays as it is.
    AskAgain {
        /// Their addresses.
        urls: Vec<CanonicalUrl>,
    },
    /// Ends queued URLs of a host, suspects included, as `failed(host_unreachable)`, at most
    /// [`FAIL_HOST_BATCH`] a group; [`Committed::unfinished`] says whether some are left.
    FailHost {
        /// The host.
        host: HostNo,
    },
}

/// URLs that one [`StoreOp::FailHost`] ends at most.
pub const FAIL_HOST_BATCH: u32 = 1_000;

impl StoreOp {
    /// Remembers whether the operator paused the session.
    pub fn paused(paused: bool) -> Self {
        StoreOp::SetMeta { key: META_PAUSED.to_owned(), value: paused.then(|| "1".to_owned()) }
    }

    /// Remembers for which task the URLs were judged anew.
    pub fn judged(task_hash: &str) -> Self {
        StoreOp::SetMeta { key: META_JUDGED.to_owned(), value: Some(task_hash.to_owned()) }
    }

    /// Remembers the active time over all epochs.
    pub fn active_ms(ms: u64) -> Self {
        StoreOp::SetMeta { key: META_ACTIVE_MS.to_owned(), value: Some(ms.to_string()) }
    }
}

/// A durable commit. Only now may anybody be told of what was in the batch.
#[derive(Debug, Clone)]
pub struct Committed {
    /// Its number.
    pub seq: CommitSeq,
    /// Leases for this batch's wishes; fewer than wished where the queue had no more due.
    pub leases: Vec<Lease>,
    /// Every host whose queue the commit changed or that a wish named.
    pub hosts: Vec<HostQueue>,
    /// Totals after the commit.
    pub counters: Counters,
    /// Sitemaps among the fetched.
    pub sitemaps: u64,
    /// URLs that this batch's commands touched.
    pub touched: u64,
    /// Hosts of this batch's [`StoreOp::FailHost`] with URLs left: ask again.
    pub unfinished: Vec<HostNo>,
    /// Ends and links that were not applied: their lease is of another epoch or no longer held.
    pub refused: Vec<UrlNo>,
    /// Redirect targets of this batch that got a record of their own.
    pub targets: Vec<UrlNo>,
    /// Every URL that the commit has ended, in the order of its records, with when its visit ended; in the answer to
    /// the commit's first batch only.
    pub pages: Vec<(PageNote, Timestamp)>,
    /// Output files that have data, oldest first: the active ones of each kind and any sealed by this commit.
    pub outputs: Vec<OutputFile>,
    /// From the batch's arrival to its durability.
    pub latency: Duration,
}

/// Why a batch was not committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The file system is full. Nothing of the batch was applied; send it again when there is space.
    #[error("no space left: {message}; free some, the crawl then goes on by itself")]
    NoSpace {
        /// What was not applied.
        batch: Box<Batch>,
        /// Which step, which file.
        message: String,
    },
    /// The session's own files failed; nothing more can be committed in this lifetime.
    #[error("{message}; check the disk, then resume the session")]
    Io {
        /// Which step, which file.
        message: String,
    },
    /// The store contradicts itself; it is rebuilt from the outputs at the next start.
    #[error("{path}: the store is damaged: {message}; `crawld recover` rebuilds it from the outputs")]
    Corrupt {
        /// The store.
        path: PathBuf,
        /// What was found.
        message: String,
    },
    /// The committer has been closed or has failed before.
    #[error("the session's store is closed")]
    Closed,
    /// An invariant broke; nothing of the group was applied.
    #[error("a bug: {message}; please report it")]
    Bug {
        /// Which.
        message: String,
    },
}
