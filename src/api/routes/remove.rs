//! A session looked through, or removed.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::routing::{delete, post};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::access::Access;
use crate::api::routes::sessions::id;
use crate::api::routes::{Answer, Route, Within, query};
use crate::api::server::Shared;
use crate::daemon::answers::CleanupReport;
use crate::daemon::verified::{Verified, verified};
use crate::state::paths::SessionPaths;

pub(super) const ROUTES: &[Route] = &[
    Route::post("/sessions/{id}/verify", Access::Full, "Compare every record and counter with the store", || {
        post(verify)
    })
    .within(Within::Work)
    .answers::<Verified>(),
    Route::delete("/sessions/{id}", Access::Full, "Remove a session that has ended; its outputs only if asked", || {
        delete(remove)
    })
    .query::<RemoveQuery>()
    .answers::<CleanupReport>(),
];

/// What is removed.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RemoveQuery {
    /// The outputs as well: nothing of the session stays.
    pub outputs: bool,
}

async fn verify(State(shared): State<Shared>, Path(session): Path<String>) -> Answer<Verified> {
    let turn = shared.long_turn().await?;
    let look = move |paths: &SessionPaths| {
        let _turn = turn;
        Ok(verified(paths))
    };
    Ok(Json(shared.at_session(&session, look).await?))
}

async fn remove(State(shared): State<Shared>, Path(session): Path<String>, uri: Uri) -> Answer<CleanupReport> {
    let RemoveQuery { outputs } = query(&uri)?;
    Ok(Json(shared.operator.delete(id(&shared, &session).await?, outputs).await?))
}
