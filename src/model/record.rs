//! The two record types of a session's outputs.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::conduct::PageCut;
use crate::model::ids::{CommitSeq, Epoch, UrlNo};
use crate::model::kept::Kept;
use crate::model::lease::UrlKind;
use crate::model::outcome::{FailureClass, FetchReason, FetchedWith, Outcome, OutcomeKind, ParkReason, SkipReason};
use crate::model::time::Timestamp;
use crate::model::url::CanonicalUrl;

/// One ended URL: a line of `out/pages-*.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PageRecord {
    /// Format of this record; see `crawld schema page`.
    pub format: u32,
    /// The URL's number in the session, the `n` of its URL record.
    pub n: UrlNo,
    /// The canonical URL that was asked for.
    pub url: String,
    /// Where the answer came from after redirects; equal to `url` without one.
    pub final_url: Option<String>,
    /// Fetched, failed or skipped.
    pub outcome: OutcomeKind,
    /// Why it failed; present exactly when `outcome` is failed.
    pub failure_class: Option<FailureClass>,
    /// Why it was skipped; present exactly when `outcome` is skipped.
    pub skip_reason: Option<SkipReason>,
    /// Page or sitemap.
    pub kind: UrlKind,
    /// The HTTP status of the final answer.
    pub http_status: Option<u16>,
    /// Media type of the final answer, without parameters.
    pub content_type: Option<String>,
    /// The document's title, at most 1,024 characters.
    pub title: Option<String>,
    /// Visible text, bounded by the task's `text_max_bytes`; `None` where the task does not ask for it.
    pub text: Option<String>,
    /// Links followed from the nearest seed.
    pub depth: u32,
    /// Number of the URL it was found on; `None` for a seed.
    pub via: Option<UrlNo>,
    /// The visit that ended it: 1 for the first try.
    pub attempt: u32,
    /// The process lifetime that ended it.
    pub epoch: Epoch,
    /// When the visit that ended it started.
    pub fetched_at: Timestamp,
    /// How long that visit took.
    pub duration_ms: u64,
    /// Request sent to first byte of the answer.
    pub ttfb_ms: Option<u64>,
    /// Body bytes after decompression.
    pub bytes: Option<u64>,
    /// Links found on the page, known and out-of-scope ones included.
    pub links_found: u64,
    /// URL records that this record's commit and its earlier partial commits wrote with `via` = `n`.
    pub links_added: u64,
    /// `sha256:` and the hex digest of the body (http), or of the title, the text and the page's own links, each
    /// followed by a zero byte (browser).
    pub digest: Option<String>,
    /// Fields by the task's CSS selectors: every match's text or attribute, in document order.
    pub fields: BTreeMap<String, Vec<String>>,
    /// What the page left behind by option.
    #[serde(flatten)]
    pub kept: Kept,
    /// What brought the page, or failed to; absent where nothing was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched_with: Option<FetchedWith>,
    /// Why that way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetch_reason: Option<FetchReason>,
    /// What went wrong, in words; control characters escaped.
    pub error: Option<String>,
    /// The page was cut at a limit (text, links or body).
    pub truncated: bool,
    /// At which bound of the task's `page` section it was cut; absent where none was reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncated_by: Option<PageCut>,
    /// `commit_seq` of the earlier record of the same URL that this one replaces.
    pub supersedes: Option<CommitSeq>,
    /// The commit that this record belongs to.
    pub commit_seq: CommitSeq,
}

/// The newest page-record format.
pub const PAGE_FORMAT: u32 = 1;

impl PageRecord {
    /// The first record of a URL, its first attempt, which says how it ended and nothing of what was found.
    pub fn new(url: &CanonicalUrl, outcome: Outcome, fetched_at: Timestamp) -> PageRecord {
        let (failure_class, skip_reason) = match outcome {
            Outcome::Fetched => (None, None),
            Outcome::Failed(class) => (Some(class), None),
            Outcome::Skipped(reason) => (None, Some(reason)),
        };
        PageRecord {
            format: PAGE_FORMAT,
            n: 0,
            url: url.as_str().to_owned(),
            final_url: None,
            outcome: outcome.kind(),
            failure_class,
            skip_reason,
            kind: UrlKind::Page,
            http_status: None,
            content_type: None,
            title: None,
            text: None,
            depth: 0,
            via: None,
            attempt: 1,
            epoch: 0,
            fetched_at,
            duration_ms: 0,
            ttfb_ms: None,
            bytes: None,
            links_found: 0,
            links_added: 0,
            digest: None,
            fields: BTreeMap::new(),
            kept: Kept::default(),
            fetched_with: None,
            fetch_reason: None,
            error: None,
            truncated: false,
            truncated_by: None,
            supersedes: None,
            commit_seq: 0,
        }
    }
}

/// One discovered URL: a line of `out/urls-*.jsonl`, the crawl's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UrlRecord {
    /// The URL's number in the session, from 1 without gaps.
    pub n: UrlNo,
    /// The canonical URL.
    pub url: String,
    /// Number of the URL it was found on; absent for a seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<UrlNo>,
    /// Links followed from the nearest seed.
    pub depth: u32,
    /// Links followed beyond the scope's edge; absent inside. Of a sitemap: indexes above it; absent for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hops: u32,
    /// Present for a sitemap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<UrlKind>,
    /// Present when it was set aside instead of queued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked: Option<ParkReason>,
    /// The commit that this record belongs to.
    pub commit_seq: CommitSeq,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}
