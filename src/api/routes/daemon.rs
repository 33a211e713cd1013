//! What concerns the process and files of this machine, over the Unix socket only; and what the API says of itself.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::access::Access;
use crate::api::openapi;
use crate::api::routes::sessions::known;
use crate::api::routes::{Answer, Route, Within, body};
use crate::api::server::Shared;
use crate::api::{ExportBody, ImportBody, ShutdownBody};
use crate::daemon::answers::{Done, Submitted};

pub(super) const ROUTES: &[Route] = &[
    Route::get("/openapi.json", Access::Read, "This API as an OpenAPI 3.1 document", || get(document))
        .serves("application/json"),
    Route::post("/export", Access::Local, "Pack a session that is not running into a file", || post(export))
        .within(Within::Work)
        .takes::<ExportBody>()
        .answers::<Done>(),
    Route::post("/import", Access::Local, "Unpack a session from a file and continue it", || post(import))
        .within(Within::Work)
        .takes::<ImportBody>()
        .answers::<Submitted>(),
    Route::post("/shutdown", Access::Local, "Stop the process", || post(shutdown))
        .takes::<ShutdownBody>()
        .answers::<Stopping>(),
];

/// The stop has begun.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Stopping {
    /// Always true.
    pub stopping: bool,
}

async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], openapi::text())
}

async fn export(State(shared): State<Shared>, bytes: Bytes) -> Answer<Done> {
    let ExportBody { session, file, copy } = body(&bytes)?;
    let session = known(&shared, session).await?;
    Ok(Json(shared.operator.export(session, file, copy).await?))
}

async fn import(State(shared): State<Shared>, bytes: Bytes) -> Answer<Submitted> {
    let ImportBody { file } = body(&bytes)?;
    Ok(Json(shared.operator.import(file).await?))
}

async fn shutdown(State(shared): State<Shared>, bytes: Bytes) -> Answer<Stopping> {
    let ShutdownBody { level } = body(&bytes)?;
    shared.operator.shutdown(level).await?;
    Ok(Json(Stopping { stopping: true }))
}
