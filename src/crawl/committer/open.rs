//! Opening a session's store and outputs, after whatever happened to them.

use std::collections::BTreeMap;

use crate::crawl::committer::{Committer, CommitterHandle, StorePaths};
use crate::model::counters::Counters;
use crate::model::host::{HostState, StoredRobots};
use crate::model::ids::{CommitSeq, Epoch, UrlNo};
use crate::model::lease::{HostQueue, NewUrl};
use crate::model::task::ScopeSpec;
use crate::model::time::Timestamp;
use crate::state::inflight::Started;

/// What opening needs to know.
#[derive(Debug, Clone)]
pub struct OpenSession {
    /// Where everything is.
    pub paths: StorePaths,
    /// Trap budgets.
    pub scope: ScopeSpec,
    /// Committed into a store that holds no URL yet; ignored otherwise.
    pub seeds: Vec<NewUrl>,
    /// The in-flight note of the last lifetime; `None` when it cannot be read (all leased URLs are suspects then).
    pub started: Option<Vec<Started>>,
    /// Whether the last lifetime's end is explained by something that points at a visit (a panic noted, an
    /// OOM kill, a crash) rather than silence; `None` when it points at nothing at all.
    pub blame: Option<bool>,
    /// The latest epoch known from elsewhere (checkpoint, registry); the new one is above it.
    pub epoch_known: Epoch,
    /// Memory for the store's page cache, in bytes.
    pub cache_bytes: u64,
    /// A segment of an output is finished at this size.
    pub segment_bytes: u64,
    /// The present instant.
    pub now: Timestamp,
}

/// A session ready to crawl.
#[derive(Debug)]
pub struct Opened {
    /// The way to its writer.
    pub handle: CommitterHandle,
    /// The writer's owner: close it at the end.
    pub committer: Committer,
    /// The lifetime that has just begun.
    pub epoch: Epoch,
    /// The last commit.
    pub seq: CommitSeq,
    /// Committed totals.
    pub counters: Counters,
    /// Hosts with something queued.
    pub hosts: Vec<HostQueue>,
    /// Politeness memory by host key.
    pub host_states: Vec<(String, HostState)>,
    /// robots.txt answers by host key.
    pub robots: Vec<(String, StoredRobots)>,
    /// Session-level values; see the `META_` constants.
    pub meta: BTreeMap<String, String>,
    /// What was found and done.
    pub report: OpenReport,
}

/// What opening found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// The store was made now.
    pub created: bool,
    /// The lifetime before closed everything.
    pub clean: bool,
    /// Leases of the last lifetime that went back to the queue unmarked.
    pub requeued: u64,
    /// Leases of the last lifetime that were under way: suspects from now on.
    pub suspects: Vec<UrlNo>,
    /// Bytes of uncommitted output that were cut and kept in quarantine.
    pub cut_bytes: u64,
    /// Files under `out/` that no commit knows; moved to quarantine.
    pub foreign_files: Vec<String>,
    /// Output files that were shorter than committed or damaged.
    pub damaged_files: Vec<String>,
    /// URLs queued again because their record was lost.
    pub lost_records: u64,
    /// URL records written again from the store.
    pub rewritten_urls: u64,
}

/// Why a session does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no space; nothing was changed that the next try does not finish.
    #[error("no space left: {0}; free some and try again")]
    NoSpace(String),
    /// The store is missing, or does not open or contradicts itself: rebuild it.
    #[error("the store is damaged: {0}; rebuild it from the outputs")]
    Damaged(String),
    /// The store was written by a newer version; it was not touched.
    #[error("the store has format {found}, this version reads up to {known}; use the newer crawld")]
    TooNew {
        /// The store's format.
        found: i64,
        /// The newest known here.
        known: i64,
    },
    /// A store is there already.
    #[error("{0} exists already")]
    Exists(String),
    /// What the system says of a file.
    #[error("{0}")]
    Io(String),
    /// An invariant broke.
    #[error("a bug: {0}; please report it")]
    Bug(String),
}

/// Opens a session that has a store.
///
/// # Errors
/// See [`OpenError`].
pub fn open_session(_open: OpenSession) -> Result<Opened, OpenError> {
    Err(OpenError::Bug("in work".to_owned()))
}

/// Makes a session's store and commits its seeds.
///
/// # Errors
/// See [`OpenError`]; `Exists` when there is a store already.
pub fn create_session(open: OpenSession) -> Result<Opened, OpenError> {
    open_session(open)
}
