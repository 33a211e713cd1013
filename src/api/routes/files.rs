//! A session's small files as they were written.

use std::path::PathBuf;

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::api::access::Access;
use crate::api::problem::Refused;
use crate::api::routes::Route;
use crate::api::server::Shared;
use crate::daemon::command::OperatorError;
use crate::model::checkpoint::Checkpoint;
use crate::model::heartbeat::Heartbeat;
use crate::state::atomic_file::{Content, read_bounded};
use crate::state::paths::SessionPaths;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/sessions/{id}/heartbeat", Access::Read, "The newest heartbeat as written", || get(heartbeat))
        .answers::<Heartbeat>(),
    Route::get("/sessions/{id}/checkpoint", Access::Read, "The newest checkpoint as written", || get(checkpoint))
        .answers::<Checkpoint>(),
];

/// What a small file of ours may have; a checkpoint stays below 1 MiB.
const FILE_MAX: u64 = 16 << 20;

async fn heartbeat(State(shared): State<Shared>, Path(session): Path<String>) -> Result<Response, Refused> {
    written(&shared, &session, "heartbeat", SessionPaths::heartbeat).await
}

async fn checkpoint(State(shared): State<Shared>, Path(session): Path<String>) -> Result<Response, Refused> {
    written(&shared, &session, "checkpoint", SessionPaths::checkpoint).await
}

async fn written(
    shared: &Shared,
    session: &str,
    what: &'static str,
    place: fn(&SessionPaths) -> PathBuf,
) -> Result<Response, Refused> {
    let look = move |paths: &SessionPaths| {
        let path = place(paths);
        match read_bounded(&path, FILE_MAX) {
            Content::Bytes(bytes) => Ok(bytes),
            Content::Missing => Err(OperatorError::NotNow(format!("session `{}` has no {what}", paths.id()))),
            Content::Wrong(why) => Err(OperatorError::Io(format!("`{}` is {why}", path.display()))),
            Content::Refused(error) => Err(OperatorError::Io(format!("`{}`: {error}", path.display()))),
        }
    };
    let bytes = shared.at_session(session, look).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], bytes).into_response())
}
