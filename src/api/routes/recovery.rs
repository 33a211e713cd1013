//! Sessions that nobody runs: which there are, what would be done with them, and doing it.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::{get, post};

use crate::api::RecoverBody;
use crate::api::access::Access;
use crate::api::routes::sessions::known;
use crate::api::routes::{Answer, Route, Within, body};
use crate::api::server::Shared;
use crate::daemon::answers::RecoveryReport;
use crate::daemon::command::RecoverRequest;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/recoverable", Access::Read, "Sessions that nobody runs, each with decision and cause", || {
        get(recoverable)
    })
    .within(Within::Work)
    .answers::<RecoveryReport>(),
    Route::post("/recover", Access::Full, "Look at sessions that nobody runs, decide, act", || post(recover))
        .within(Within::Work)
        .takes::<RecoverBody>()
        .answers::<RecoveryReport>(),
];

async fn recoverable(State(shared): State<Shared>) -> Answer<RecoveryReport> {
    let request = RecoverRequest { dry_run: true, ..RecoverRequest::default() };
    Ok(Json(shared.operator.recover(request).await?))
}

async fn recover(State(shared): State<Shared>, bytes: Bytes) -> Answer<RecoveryReport> {
    let mut asked: RecoverBody = body(&bytes)?;
    let mut sessions = Vec::new();
    for key in std::mem::take(&mut asked.sessions) {
        sessions.push(known(&shared, key).await?);
    }
    Ok(Json(shared.operator.recover(asked.about(sessions)).await?))
}
