//! URLs of a session as its store knows them.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::routing::get;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::access::Access;
use crate::api::routes::{Answer, Route, query};
use crate::api::server::Shared;
use crate::model::ids::{CommitSeq, UrlNo};
use crate::model::lease::UrlKind;
use crate::model::outcome::closed_list;
use crate::model::time::Timestamp;
use crate::store::listing::Wanted;
use crate::store::reader::UrlView;
use crate::store::schema::UrlState;

pub(super) const ROUTES: &[Route] =
    &[Route::get("/sessions/{id}/pages", Access::Read, "URLs of a session, by number; filtered by state", || {
        get(pages)
    })
    .query::<PagesQuery>()
    .answers::<PagesPage>()];

/// Items of a page unless asked otherwise, and at most.
pub(super) const LIMIT: (usize, usize) = (100, 1_000);

closed_list! {
    /// Where a URL stands.
    PageState {
        /// Waiting.
        Queued = "queued",
        /// Waiting, to be visited last and alone: it was in flight at a crash.
        Suspect = "suspect",
        /// A worker has it.
        InFlight = "in_flight",
        /// Set aside by a trap budget.
        Parked = "parked",
        /// Ended: answered and recorded.
        Fetched = "fetched",
        /// Ended: every attempt failed.
        Failed = "failed",
        /// Ended: decided not to fetch.
        Skipped = "skipped",
    }
}

impl From<UrlState> for PageState {
    fn from(state: UrlState) -> Self {
        match state {
            UrlState::Queued => PageState::Queued,
            UrlState::Suspect => PageState::Suspect,
            UrlState::InFlight => PageState::InFlight,
            UrlState::Parked => PageState::Parked,
            UrlState::Fetched => PageState::Fetched,
            UrlState::Failed => PageState::Failed,
            UrlState::Skipped => PageState::Skipped,
        }
    }
}

impl From<PageState> for UrlState {
    fn from(state: PageState) -> Self {
        match state {
            // Suspects are found among the queued ones.
            PageState::Queued | PageState::Suspect => UrlState::Queued,
            PageState::InFlight => UrlState::InFlight,
            PageState::Parked => UrlState::Parked,
            PageState::Fetched => UrlState::Fetched,
            PageState::Failed => UrlState::Failed,
            PageState::Skipped => UrlState::Skipped,
        }
    }
}

/// Which URLs.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PagesQuery {
    /// Only these; `queued` has the suspects too.
    pub outcome: Option<PageState>,
    /// Only with this failure class, skip reason or park reason.
    pub detail: Option<String>,
    /// Only with numbers above this one: `next` of the page before.
    pub after: Option<UrlNo>,
    /// At most so many: 100 unless said, 1,000 at most.
    pub limit: Option<usize>,
}

/// A URL of a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PageView {
    /// Its number, the `n` of its records.
    pub n: UrlNo,
    /// The canonical URL.
    pub url: String,
    /// Where it stands.
    pub state: PageState,
    /// Failure class, skip reason or park reason.
    pub detail: Option<String>,
    /// Page or sitemap.
    pub kind: UrlKind,
    /// Links followed from the nearest seed.
    pub depth: u32,
    /// Number of the URL it was found on.
    pub via: Option<UrlNo>,
    /// Attempts used up.
    pub attempts: u32,
    /// Not visited again before this instant.
    pub not_before: Option<Timestamp>,
    /// Commit of its newest record; 0 without one.
    pub commit_seq: CommitSeq,
}

impl From<UrlView> for PageView {
    fn from(view: UrlView) -> Self {
        let UrlView { row, url } = view;
        PageView {
            n: row.n,
            url: url.to_string(),
            state: row.state.into(),
            detail: row.detail,
            kind: row.kind,
            depth: row.depth,
            via: row.via,
            attempts: row.attempts,
            not_before: Some(row.not_before).filter(|at| at.millis() > 0),
            commit_seq: row.seq,
        }
    }
}

/// Some URLs of a session.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PagesPage {
    /// The commit that they are told of.
    pub commit_seq: CommitSeq,
    /// In order of their numbers. A page may have fewer than asked for, or none, and another after it.
    pub pages: Vec<PageView>,
    /// `after` of the next page; none: this is the last one.
    pub next: Option<UrlNo>,
}

async fn pages(State(shared): State<Shared>, Path(session): Path<String>, uri: Uri) -> Answer<PagesPage> {
    let PagesQuery { outcome, detail, after, limit } = query(&uri)?;
    let limit = limit.unwrap_or(LIMIT.0).clamp(1, LIMIT.1);
    let wanted = Wanted { state: outcome.map(UrlState::from), detail };
    let (seq, part) = shared
        .in_store(&session, move |reader, _| {
            let (seq, _) = reader.counters()?;
            Ok((seq, reader.listed(&wanted, after.unwrap_or(0), limit)?))
        })
        .await?;
    let pages = part.items.into_iter().map(PageView::from);
    // Asked for suspects alone, the other queued ones are left out here: both are few lines of one list.
    let pages = pages.filter(|page| outcome != Some(PageState::Suspect) || page.state == PageState::Suspect);
    Ok(Json(PagesPage { commit_seq: seq, pages: pages.collect(), next: part.next }))
}
