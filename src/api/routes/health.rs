//! Whether the process lives and its crawls go on: bare for everybody, with reasons for who may look.

use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::access::{Access, Standing};
use crate::api::guard::Caller;
use crate::api::routes::Route;
use crate::api::server::Shared;
use crate::clock::uptime;
use crate::daemon::answers::OwnerHealth;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/healthz", Access::Open, "Whether the process lives and its crawls go on; 503 where not", || {
        get(alive)
    })
    .at_root()
    .answers::<Probe>(),
    Route::get("/readyz", Access::Open, "Whether commands are taken; 503 where not", || get(ready))
        .at_root()
        .answers::<Probe>(),
    Route::get("/health", Access::Read, "The process and what does not work as it should; 503 when unhealthy", || {
        get(health)
    })
    .answers::<OwnerHealth>(),
];

/// The daemon's loop answers from memory: in this time or it is busy with something else.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// A loop that has not turned for so long stands still. They wake every second or two.
const STANDS_STILL: Duration = Duration::from_secs(30);

/// The answer of a probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Probe {
    /// `ok`, `stopping` or `unhealthy`.
    pub status: String,
    /// Why, for who has a token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// How things stand; always an answer.
async fn look(shared: &Shared) -> OwnerHealth {
    let about = &shared.about;
    let asked = tokio::time::timeout(ANSWERS_WITHIN, shared.operator.health()).await;
    let mut health = match asked {
        Ok(Ok(health)) => health,
        failed => OwnerHealth {
            status: "unhealthy".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            mode: about.mode.to_owned(),
            state_dir: shared.state_dir.display().to_string(),
            started_at: about.started_at,
            sessions: 0,
            degraded: Vec::new(),
            alerts: Vec::new(),
            reasons: vec![match failed {
                Ok(Err(error)) => error.to_string(),
                _ => format!(
                    "the daemon has not answered for {} s: it starts, recovers, or hangs",
                    ANSWERS_WITHIN.as_secs()
                ),
            }],
            orphan_epochs: None,
            listens: None,
        },
    };
    if !about.liveness.all_turning(uptime(), STANDS_STILL) {
        health.reasons.push(format!("a loop has not turned for {} s", STANDS_STILL.as_secs()));
    }
    if !health.reasons.is_empty() && health.status == "ok" {
        health.status = "unhealthy".to_owned();
    }
    health.listens.clone_from(&about.listens);
    health.degraded.extend(about.deaf.iter().map(|why| format!("api: {why}")));
    health
}

fn code(healthy: bool) -> StatusCode {
    if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

fn probe(caller: Caller, healthy: bool, health: OwnerHealth) -> Response {
    let told = caller.standing != Standing::Nobody;
    let reasons = if told { health.reasons } else { Vec::new() };
    (code(healthy), Json(Probe { status: health.status, reasons })).into_response()
}

async fn alive(State(shared): State<Shared>, Extension(caller): Extension<Caller>) -> Response {
    let health = look(&shared).await;
    probe(caller, health.status != "unhealthy", health)
}

async fn ready(State(shared): State<Shared>, Extension(caller): Extension<Caller>) -> Response {
    let health = look(&shared).await;
    probe(caller, health.status == "ok", health)
}

async fn health(State(shared): State<Shared>) -> Response {
    let health = look(&shared).await;
    (code(health.status != "unhealthy"), Json(health)).into_response()
}
