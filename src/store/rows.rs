//! Rows as the writer, the readers and the rebuild exchange them.

use crate::model::checkpoint::OutputFile;
use crate::model::ids::{CommitSeq, Epoch, HostNo, UrlNo};
use crate::model::lease::UrlKind;
use crate::model::time::Timestamp;
use crate::store::schema::UrlState;

/// A host's queue as stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostRow {
    /// Its number.
    pub no: HostNo,
    /// `scheme://host[:port]`.
    pub key: String,
    /// URLs in state queued.
    pub queued: u64,
    /// URLs in state suspect.
    pub suspects: u64,
    /// Those of the queued ones that wait for an instant.
    pub delayed: u64,
    /// URLs set aside.
    pub parked: u64,
    /// URLs in all.
    pub discovered: u64,
}

/// A URL as stored; the host by number, path and query as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlRow {
    /// Its number.
    pub n: UrlNo,
    /// Its host.
    pub host: HostNo,
    /// Path and query.
    pub path: String,
    /// Where it stands.
    pub state: UrlState,
    /// Page or sitemap.
    pub kind: UrlKind,
    /// Links followed from the nearest seed.
    pub depth: u32,
    /// Links followed beyond the scope's edge.
    pub hops: u32,
    /// The URL it was found on.
    pub via: Option<UrlNo>,
    /// 0 until the first retry.
    pub turn: u32,
    /// Attempts used up.
    pub attempts: u32,
    /// Not leased before this instant; 0 for at once.
    pub not_before: Timestamp,
    /// Commit of its newest record; 0 without one.
    pub seq: CommitSeq,
    /// Failure class, skip reason or park reason.
    pub detail: Option<String>,
}

impl UrlRow {
    /// Whether it is queued behind an instant.
    pub fn delayed(&self) -> bool {
        self.state == UrlState::Queued && self.not_before.millis() > 0
    }
}

/// A path template's budget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TemplateRow {
    /// Its number.
    pub id: i64,
    /// URLs counted under it.
    pub urls: u64,
    /// Distinct parameter sets among them.
    pub queries: u64,
}

/// An output file as committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputRow {
    /// `urls` or `pages`.
    pub kind: String,
    /// Its number.
    pub segment: u32,
    /// Length and last group.
    pub file: OutputFile,
    /// The first commit with a record in it.
    pub first_seq: CommitSeq,
    /// The last commit with a record in it.
    pub last_seq: CommitSeq,
}

/// A process lifetime of the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochEntry {
    /// Its number.
    pub epoch: Epoch,
    /// When it opened the store.
    pub start: Timestamp,
    /// When it committed its first lease.
    pub first_lease: Option<Timestamp>,
    /// When it closed the store, or was found dead.
    pub end: Option<Timestamp>,
    /// `clean` or `unclean`; `None` while it runs.
    pub ended: Option<String>,
    /// The last commit before it.
    pub first_seq: CommitSeq,
    /// Its last commit.
    pub last_seq: CommitSeq,
}

/// A suspect and what points at it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SuspectRow {
    /// Crashes with a known cause while it was alone.
    pub explained: u32,
    /// Silent deaths while it was alone.
    pub unexplained: u32,
}
