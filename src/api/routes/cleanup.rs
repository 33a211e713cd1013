//! What is old: what the janitor would remove, and removing it.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;

use crate::api::access::Access;
use crate::api::routes::{Answer, Route, Within, body};
use crate::api::server::Shared;
use crate::daemon::answers::CleanupReport;
use crate::daemon::command::CleanupRequest;

pub(super) const ROUTES: &[Route] =
    &[Route::post("/cleanup", Access::Full, "Remove what is old; `dry_run`: say only what would be", || post(cleanup))
        .within(Within::Work)
        .takes::<CleanupRequest>()
        .answers::<CleanupReport>()];

async fn cleanup(State(shared): State<Shared>, bytes: Bytes) -> Answer<CleanupReport> {
    Ok(Json(shared.operator.cleanup(body(&bytes)?).await?))
}
