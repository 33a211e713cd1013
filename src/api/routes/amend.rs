//! Changes of a session that runs: more seeds, another pace, other exclusions.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::routing::{patch, post};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::access::Access;
use crate::api::problem::ProblemBody;
use crate::api::routes::sessions::id;
use crate::api::routes::{Answer, Route, body};
use crate::api::server::Shared;
use crate::daemon::answers::Done;
use crate::daemon::command::Amendment;

pub(super) const ROUTES: &[Route] = &[
    Route::post("/sessions/{id}/seeds", Access::Full, "Add seeds to a session that runs; `count`: those taken", || {
        post(seeds)
    })
    .takes::<SeedsBody>()
    .answers::<Done>(),
    Route::patch("/sessions/{id}", Access::Full, "Change pace and exclusions of a session that runs", || patch(change))
        .takes::<Amendment>()
        .answers::<Done>(),
];

/// More to start from.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SeedsBody {
    /// http and https URLs. They belong to the crawl, and its scope grows by what it makes of seeds.
    pub urls: Vec<String>,
}

async fn seeds(State(shared): State<Shared>, Path(session): Path<String>, bytes: Bytes) -> Answer<Done> {
    let SeedsBody { urls } = body(&bytes)?;
    if urls.is_empty() {
        return Err(ProblemBody::field("body", "body: urls", "is empty: name at least one URL").into());
    }
    let amendment = Amendment { seeds: urls, ..Amendment::default() };
    Ok(Json(shared.operator.amend(id(&shared, &session).await?, amendment).await?))
}

async fn change(State(shared): State<Shared>, Path(session): Path<String>, bytes: Bytes) -> Answer<Done> {
    let amendment: Amendment = body(&bytes)?;
    if amendment == Amendment::default() {
        let message = "names nothing to change: delay, max_delay, per_host, exclude or seeds";
        return Err(ProblemBody::field("body", "body", message).into());
    }
    Ok(Json(shared.operator.amend(id(&shared, &session).await?, amendment).await?))
}
