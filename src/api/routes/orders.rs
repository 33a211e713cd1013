//! Orders about one session.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::routing::post;

use crate::api::OrderBody;
use crate::api::access::Access;
use crate::api::routes::sessions::id;
use crate::api::routes::{Answer, Route, body};
use crate::api::server::Shared;
use crate::daemon::answers::Done;
use crate::daemon::command::SessionOrder;

pub(super) const ROUTES: &[Route] = &[
    order("/sessions/{id}/pause", "Hold a session; survives restarts", || post(pause)),
    order("/sessions/{id}/resume", "Let a session go on; `extend`: past a reached limit too", || post(resume)),
    order("/sessions/{id}/cancel", "End a session for good; what it has fetched stays", || post(cancel)),
    order("/sessions/{id}/checkpoint", "Write a checkpoint now; `count` is its generation", || post(checkpoint)),
    order("/sessions/{id}/retry-failed", "Queue failed URLs again; `quarantined`: poisoned ones too", || {
        post(retry_failed)
    }),
    order("/sessions/{id}/release-parked", "Queue the URLs that trap budgets have set aside", || post(release_parked)),
];

const fn order(
    path: &'static str,
    summary: &'static str,
    handler: fn() -> axum::routing::MethodRouter<Shared>,
) -> Route {
    Route::post(path, Access::Full, summary, handler).takes::<OrderBody>().answers::<Done>()
}

async fn give(shared: &Shared, session: &str, order: SessionOrder) -> Answer<Done> {
    let id = id(shared, session).await?;
    Ok(Json(shared.operator.order(id, order).await?))
}

async fn pause(State(shared): State<Shared>, Path(session): Path<String>, bytes: Bytes) -> Answer<Done> {
    let OrderBody { .. } = body(&bytes)?;
    give(&shared, &session, SessionOrder::Pause).await
}

async fn resume(State(shared): State<Shared>, Path(session): Path<String>, bytes: Bytes) -> Answer<Done> {
    let OrderBody { extend, .. } = body(&bytes)?;
    give(&shared, &session, SessionOrder::Resume { extend }).await
}

async fn cancel(State(shared): State<Shared>, Path(session): Path<String>, bytes: Bytes) -> Answer<Done> {
    let OrderBody { .. } = body(&bytes)?;
    give(&shared, &session, SessionOrder::Cancel).await
}

async fn checkpoint(State(shared): State<Shared>, Path(session): Path<String>, bytes: Bytes) -> Answer<Done> {
    let OrderBody { .. } = body(&bytes)?;
    give(&shared, &session, SessionOrder::Checkpoint).await
}

async fn retry_failed(State(shared): State<Shared>, Path(session): Path<String>, bytes: Bytes) -> Answer<Done> {
    let OrderBody { quarantined, .. } = body(&bytes)?;
    give(&shared, &session, SessionOrder::RetryFailed { quarantined }).await
}

async fn release_parked(State(shared): State<Shared>, Path(session): Path<String>, bytes: Bytes) -> Answer<Done> {
    let OrderBody { .. } = body(&bytes)?;
    give(&shared, &session, SessionOrder::ReleaseParked).await
}
