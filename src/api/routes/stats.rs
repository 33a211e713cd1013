//! Numbers by day.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::routing::get;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::access::Access;
use crate::api::routes::epochs::no_registry;
use crate::api::routes::{Answer, Route};
use crate::api::server::Shared;
use crate::daemon::answers::DayStats;
use crate::daemon::command::OperatorError;
use crate::store::registry::DaySessions;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/stats", Access::Read, "Daily statistics, newest day first", || get(stats)).answers::<DailyStats>(),
    Route::get("/orphans", Access::Read, "Lifetimes that stand open without an owner", || get(orphans))
        .answers::<Orphans>(),
];

/// Days told at most.
const DAYS: u32 = 366;

/// One day (UTC).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DayView {
    /// What was done on it.
    #[serde(flatten)]
    pub stats: DayStats,
    /// Sessions that began on it.
    pub sessions: u64,
    /// Their mean active time, in seconds.
    pub mean_duration_seconds: f64,
    /// How many of them still run.
    pub still_active: u64,
}

/// Statistics by day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DailyStats {
    /// Newest day first.
    pub days: Vec<DayView>,
}

/// Lifetimes without an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Orphans {
    /// Open for more than two hours, of sessions that nobody runs; counted once a minute. None: there is no registry.
    pub open_epochs: Option<u64>,
}

async fn stats(State(shared): State<Shared>) -> Answer<DailyStats> {
    let done = shared.operator.stats().await?.days;
    let registry = shared.registry.clone().ok_or_else(no_registry)?;
    let look = move || registry.sessions_by_day(DAYS).map_err(|error| OperatorError::Io(error.to_string()));
    let mut began: BTreeMap<String, DaySessions> =
        shared.look(look).await??.into_iter().map(|day| (day.day.clone(), day)).collect();
    let view = |stats: DayStats| {
        let began = began.remove(&stats.day);
        DayView {
            sessions: began.as_ref().map_or(0, |day| day.sessions),
            mean_duration_seconds: began.as_ref().map_or(0.0, |day| day.mean_duration_seconds),
            still_active: began.as_ref().map_or(0, |day| day.still_active),
            stats,
        }
    };
    Ok(Json(DailyStats { days: done.into_iter().map(view).collect() }))
}

async fn orphans(State(shared): State<Shared>) -> Answer<Orphans> {
    Ok(Json(Orphans { open_epochs: shared.operator.health().await?.orphan_epochs }))
}
