//! Hosts of a session, with what is remembered about them, and what failed there.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::routing::get;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::access::Access;
use crate::api::routes::pages::LIMIT;
use crate::api::routes::{Answer, Route, query};
use crate::api::server::Shared;
use crate::model::host::Breaker;
use crate::model::ids::HostNo;
use crate::model::time::Timestamp;
use crate::store::listing::HostSeen;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/sessions/{id}/hosts", Access::Read, "Hosts of a session with queue, delay and breaker", || get(hosts))
        .query::<HostsQuery>()
        .answers::<HostsPage>(),
    Route::get("/sessions/{id}/failures", Access::Read, "Failed URLs by class, and the newest by host", || {
        get(failures)
    })
    .answers::<Failures>(),
];

/// Failed URLs that are grouped by host: the newest.
const GROUPED: usize = 20_000;
/// Groups told.
const GROUPS: usize = 500;

/// Which hosts.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HostsQuery {
    /// Only those after this one: `next` of the page before.
    pub after: Option<HostNo>,
    /// At most so many: 100 unless said, 1,000 at most.
    pub limit: Option<usize>,
}

/// A host of a session, as committed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HostView {
    /// `scheme://host[:port]`.
    pub host: String,
    /// URLs waiting.
    pub queued: u64,
    /// URLs waiting to be visited last and alone.
    pub suspects: u64,
    /// Those of the queued ones that wait for an instant.
    pub delayed: u64,
    /// URLs set aside.
    pub parked: u64,
    /// URLs in all.
    pub discovered: u64,
    /// URLs in flight.
    pub in_flight: u64,
    /// The pause between two requests, in milliseconds; none before the first visit.
    pub delay_ms: Option<u64>,
    /// Smoothed time to first byte, in milliseconds.
    pub ema_ttfb_ms: Option<f64>,
    /// `Crawl-delay` of its robots.txt after capping, in milliseconds.
    pub crawl_delay_ms: Option<u64>,
    /// No request starts before this instant.
    pub next_at: Option<Timestamp>,
    /// Its circuit breaker.
    pub breaker: Breaker,
}

impl From<HostSeen> for HostView {
    fn from(seen: HostSeen) -> Self {
        let HostSeen { row, state, in_flight } = seen;
        HostView {
            host: row.key,
            queued: row.queued,
            suspects: row.suspects,
            delayed: row.delayed,
            parked: row.parked,
            discovered: row.discovered,
            in_flight,
            delay_ms: state.map(|state| state.delay_ms),
            ema_ttfb_ms: state.and_then(|state| state.ema_ttfb_ms),
            crawl_delay_ms: state.and_then(|state| state.crawl_delay_ms),
            next_at: state.map(|state| state.next_at),
            breaker: state.map(|state| state.breaker).unwrap_or_default(),
        }
    }
}

/// Some hosts of a session.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct HostsPage {
    /// In order of their discovery.
    pub hosts: Vec<HostView>,
    /// `after` of the next page; none: this is the last one.
    pub next: Option<HostNo>,
}

/// Failed URLs of a host and a class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostFailures {
    /// `scheme://host[:port]`.
    pub host: String,
    /// The class.
    pub class: String,
    /// How many.
    pub urls: u64,
}

/// What failed in a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failures {
    /// URLs failed.
    pub total: u64,
    /// By class.
    pub by_class: BTreeMap<String, u64>,
    /// The newest by host and class, the largest groups first.
    pub by_host: Vec<HostFailures>,
    /// How many of the newest `by_host` is made of.
    pub sampled: u64,
}

async fn hosts(State(shared): State<Shared>, Path(session): Path<String>, uri: Uri) -> Answer<HostsPage> {
    let HostsQuery { after, limit } = query(&uri)?;
    let limit = limit.unwrap_or(LIMIT.0).clamp(1, LIMIT.1);
    let part = shared.in_store(&session, move |reader, _| reader.hosts_listed(after.unwrap_or(0), limit)).await?;
    Ok(Json(HostsPage { hosts: part.items.into_iter().map(HostView::from).collect(), next: part.next }))
}

async fn failures(State(shared): State<Shared>, Path(session): Path<String>) -> Answer<Failures> {
    let read = |reader: &crate::store::reader::Reader, _: &_| {
        let (_, counters) = reader.counters()?;
        Ok((counters.failed, reader.tallies("failed")?, reader.failed_groups(GROUPED, GROUPS)?))
    };
    let (total, by_class, groups) = shared.in_store(&session, read).await?;
    let by_host = groups.into_iter();
    let by_host = by_host.map(|group| HostFailures { host: group.host, class: group.class, urls: group.urls });
    Ok(Json(Failures { total, by_class, by_host: by_host.collect(), sampled: total.min(GROUPED as u64) }))
}
