//! The checkpoint document: an atomic summary of committed progress.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::model::counters::Counters;
use crate::model::host::{Breaker, HostState};
use crate::model::ids::{CommitSeq, Epoch, SessionId, TaskId, UrlNo};
use crate::model::outcome::{FailureClass, OutcomeKind, ParkReason, SkipReason};
use crate::model::session::{SessionStatus, StopReason};
use crate::model::task::FetchMode;
use crate::model::time::Timestamp;

/// Key of the browser's own breaker among those of the hosts; no host key looks like it.
pub const BROWSER_KEY: &str = "browser";

/// `checkpoint_{session_id}.json`. The file adds `format`, `writer`, `generation`, `boot_id`,
/// `commit_seq` and `checksum` around these fields; see `state::envelope`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Checkpoint {
    /// The session.
    pub session_id: SessionId,
    /// Its task.
    pub task_id: TaskId,
    /// When this checkpoint was written.
    pub checkpoint_time: Timestamp,
    /// Where the crawl stands.
    pub progress_snapshot: ProgressSnapshot,
    /// What the crawler has learned and uses.
    pub crawler_state: CrawlerState,
    /// Breakers that are not closed, by host key; the browser's under `browser`, whatever its state.
    pub circuit_breaker_state: BTreeMap<String, BreakerSnapshot>,
    /// Politeness memory by host key.
    pub adaptive_delays_state: BTreeMap<String, HostState>,
    /// URLs in flight.
    pub active_urls: Excerpt<UrlEntry>,
    /// The newest ended URLs that were fetched or skipped.
    pub completed_urls: Excerpt<UrlEntry>,
    /// The newest failed URLs.
    pub failed_urls: Excerpt<UrlEntry>,
    /// The newest results.
    pub extraction_results: Excerpt<ResultEntry>,
    /// The browser in use.
    pub browser_session_info: Option<BrowserInfo>,
    /// What recovery can use.
    pub recovery_metadata: RecoveryMetadata,
}

/// A bounded list, newest first, with what was left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Excerpt<T> {
    /// How many there are in all.
    pub total: u64,
    /// Whether `items` is only the newest part.
    pub truncated: bool,
    /// The newest, newest first.
    pub items: Vec<T>,
}

impl<T> Default for Excerpt<T> {
    fn default() -> Self {
        Excerpt { total: 0, truncated: false, items: Vec::new() }
    }
}

/// Where the crawl stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProgressSnapshot {
    /// Status as its owner sees it.
    pub status: SessionStatus,
    /// Why the last lifetime stopped; set at a stop.
    pub stop_reason: Option<StopReason>,
    /// Committed totals.
    pub counters: Counters,
    /// Pages per second over the last minute.
    pub pages_per_second: f64,
    /// Active time over all epochs.
    pub active_seconds: f64,
    /// Ended / (discovered - parked), 0..1.
    pub estimated_progress: f64,
    /// When the session was created.
    pub session_start: Timestamp,
    /// URLs failed, by class.
    pub failures_by_class: BTreeMap<FailureClass, u64>,
    /// URLs skipped, by reason.
    pub skips_by_reason: BTreeMap<SkipReason, u64>,
    /// URLs parked, by reason.
    pub parked_by_reason: BTreeMap<ParkReason, u64>,
}

/// A few numbers that belong together: written with their names, and read as earlier checkpoints have them, too: as a
/// bare row in this order.
macro_rules! named_row {
    ($($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident: $type:ty,)+ })+) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
        pub struct $name {
            $($(#[$fmeta])* pub $field: $type,)+
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                #[derive(Deserialize)]
                #[serde(untagged)]
                enum Form {
                    Named { $($field: $type,)+ },
                    Row($($type,)+),
                }
                Ok(match Form::deserialize(from)? {
                    Form::Named { $($field,)+ } | Form::Row($($field,)+) => $name { $($field,)+ },
                })
            }
        }
    )+};
}

named_row! {
    /// How much of a limit is used.
    LimitUse {
        /// So much.
        used: u64,
        /// Of this; none: no limit is set.
        limit: Option<u64>,
    }
    /// Sitemaps, which are URLs like pages.
    SitemapCount {
        /// Found so far.
        discovered: u64,
        /// Read, or given up.
        ended: u64,
    }
    /// A process, told from a later one of the same number by its start.
    ProcessId {
        /// Process id.
        pid: u32,
        /// Its start in clock ticks since boot (field 22 of its `stat`).
        start_ticks: u64,
    }
}

/// What the crawler has learned and uses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CrawlerState {
    /// Process lifetime.
    pub epoch: Epoch,
    /// Fetch modes learned by a task whose mode is `auto`, by the first page of each kind of page.
    pub fetch_modes: BTreeMap<String, LearnedMode>,
    /// What the browser learned about the session's hosts: in which tabs their pages are loaded, and how long they are
    /// waited for; the best known ones.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sites: BTreeMap<String, LearnedSite>,
    /// The task's fetch mode.
    pub fetch_mode: FetchMode,
    /// Limits and how much of each is used, by name.
    pub limits_used: BTreeMap<String, LimitUse>,
    /// Hosts whose robots.txt is known.
    pub robots_known: u64,
    /// Sitemaps known, and how many of them have ended.
    pub sitemaps: SitemapCount,
    /// The file in the session's directory that keeps its cookies, once there are any.
    pub cookie_jar: Option<String>,
    /// Version of the URL canonicalisation rules.
    pub canonical_version: u32,
    /// What went through the proxy between browser and network in this lifetime; none without a browser.
    #[serde(default)]
    pub egress: Option<EgressFacts>,
}

/// What went through a session's proxy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EgressFacts {
    /// Connections made to sites.
    pub connections: u64,
    /// Connections that pages wanted and their addresses forbade.
    pub addresses_refused: u64,
    /// Connections that pages wanted to hosts that the task blocks.
    #[serde(default)]
    pub blocked_hosts: u64,
    /// Connections that did not come about, or broke before an answer.
    pub connections_failed: u64,
    /// Bodies and tunnels that were cut because they were too long, or stood still.
    pub cut_at_limit: u64,
    /// Connections from processes of other users, refused.
    pub strangers_refused: u64,
    /// Bytes from sites as TCP carried them: headers, compressed bodies, TLS.
    pub bytes_received: u64,
    /// Bytes to sites.
    pub bytes_sent: u64,
}

/// How pages of one kind (host, path template, scripts) are fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LearnedMode {
    /// `http`, `browser`, or `auto` while both are compared.
    pub mode: FetchMode,
    /// Pages seen.
    pub pages: u64,
    /// Comparisons in a row that found the same both ways.
    pub agreed: u32,
    /// One page in so many is compared.
    pub compared_one_in: u32,
    /// How often a difference was found after plain HTTP had been trusted.
    pub falls: u32,
    /// The kind, for the next lifetime.
    pub kind: String,
}

/// What the browser learned about a host, for the next lifetime.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct LearnedSite {
    /// Pages seen lately, and those of them that asked for frames to be drawn.
    pub pages: (u32, u32),
    /// The same by kind of page (hash of the path template).
    pub templates: BTreeMap<String, (u32, u32)>,
    /// Pages that were loaded with and without frames and agreed.
    pub agreed: u32,
    /// Pages loaded without frames.
    pub frameless: u32,
    /// Something was lost without frames once, or its pages send: none without frames any more.
    pub ordinary_only: bool,
    /// Pages waited for, those in a row that did not settle, and those in a row whose wait for modules was in vain.
    pub settle: (u32, u32, u32),
}

/// A breaker as a person wants to see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BreakerSnapshot {
    /// Its memory.
    #[serde(flatten)]
    pub breaker: Breaker,
    /// Remaining open time when the checkpoint was written.
    pub remaining_open_ms: u64,
}

/// A URL in a checkpoint's list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UrlEntry {
    /// Its number.
    pub n: UrlNo,
    /// The canonical URL.
    pub url: String,
    /// Current or last attempt.
    pub attempt: u32,
    /// Final outcome, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<OutcomeKind>,
    /// Failure class or skip reason, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// One extraction result, small.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResultEntry {
    /// The URL's number.
    pub n: UrlNo,
    /// The canonical URL.
    pub url: String,
    /// HTTP status.
    pub http_status: Option<u16>,
    /// Title.
    pub title: Option<String>,
    /// Links found.
    pub links_found: u64,
}

/// A browser that belongs to the daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BrowserInfo {
    /// Path of the executable.
    pub executable: String,
    /// What it says of its version.
    pub version: String,
    /// Its processes that crawld has started.
    pub processes: Vec<ProcessId>,
    /// Open tabs.
    pub tabs: u32,
    /// Restarts in this lifetime.
    pub restarts: u32,
}

/// One output file as committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutputFile {
    /// File name under `out/`, without a compression suffix.
    pub name: String,
    /// Committed length in bytes (uncompressed).
    pub committed_length: u64,
    /// Where the last committed group starts.
    pub last_group_start: u64,
    /// xxh3-128 of the bytes from `last_group_start` to `committed_length`, hex.
    pub last_group_hash: String,
    /// Finished: no more records will be appended.
    pub sealed: bool,
}

/// A URL that was in flight when a browser or the daemon died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Suspect {
    /// Its number.
    pub n: UrlNo,
    /// Crashes with a known cause while it was alone.
    pub crashes_explained: u32,
    /// Silent deaths while it was alone.
    pub crashes_unexplained: u32,
}

/// Reads suspects; the first checkpoints had their numbers alone.
fn suspects<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Suspect>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Number(UrlNo),
        Whole(Suspect),
    }
    let whole = |form| match form {
        Form::Number(n) => Suspect { n, crashes_explained: 0, crashes_unexplained: 0 },
        Form::Whole(suspect) => suspect,
    };
    Ok(Vec::<Form>::deserialize(from)?.into_iter().map(whole).collect())
}

/// What was used when the operator last extended the session; limits count from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Extension {
    /// Pages fetched then.
    pub pages: u64,
    /// Bytes received then.
    pub bytes: u64,
    /// URLs failed then.
    pub failures: u64,
    /// Active milliseconds then.
    pub active_ms: u64,
}

/// What the operator has ordered, as far as the outputs do not tell it: a store that is built from them anew takes it
/// from here. Written before an order is answered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Orders {
    /// Paused.
    pub paused: bool,
    /// Cancelled, which ends it for good.
    pub cancelled: bool,
    /// Limits count from here.
    pub extension: Option<Extension>,
    /// What was parked up to this commit has been released, by reason.
    pub released_until: BTreeMap<ParkReason, CommitSeq>,
    /// What had failed up to this commit has been queued again, by class.
    pub retried_until: BTreeMap<FailureClass, CommitSeq>,
    /// What had been set aside as poison up to this commit has been queued again.
    pub poison_retried_until: Option<CommitSeq>,
}

/// What recovery can use.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RecoveryMetadata {
    /// The commit this checkpoint describes.
    pub commit_seq: CommitSeq,
    /// Output files with their committed lengths.
    pub output_files: Vec<OutputFile>,
    /// Suspect URLs, at most `checkpoint_inline_urls`, those with most crashes first.
    #[serde(deserialize_with = "suspects")]
    pub suspects: Vec<Suspect>,
    /// What the operator has ordered; none in the first checkpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orders: Option<Orders>,
    /// Sentences for the operator.
    pub hints: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suspects_of_the_first_checkpoints_are_read() {
        let text = r#"{"commit_seq":4,"suspects":[7,{"n":8,"crashes_explained":2,"crashes_unexplained":9}]}"#;
        let read: RecoveryMetadata = serde_json::from_str(text).unwrap();
        let marks = |n, crashes_explained, crashes_unexplained| Suspect { n, crashes_explained, crashes_unexplained };
        assert_eq!((read.suspects, read.orders), (vec![marks(7, 0, 0), marks(8, 2, 9)], None));
    }

    #[test]
    fn rows_are_written_with_names_and_read_without_them_too() {
        let used = LimitUse { used: 88, limit: None };
        assert_eq!(serde_json::to_string(&used).unwrap(), r#"{"used":88,"limit":null}"#);
        for text in [r#"{"used":88,"limit":null}"#, "[88,null]"] {
            assert_eq!(serde_json::from_str::<LimitUse>(text).unwrap(), used);
        }
        let process = ProcessId { pid: 7, start_ticks: 9 };
        assert_eq!(serde_json::from_str::<ProcessId>("[7,9]").unwrap(), process);
        assert_eq!(serde_json::from_str::<SitemapCount>("[3,2]").unwrap(), SitemapCount { discovered: 3, ended: 2 });
        assert!(serde_json::from_str::<SitemapCount>("[3]").is_err());
    }
}
