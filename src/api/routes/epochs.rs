//! Lifetimes of a session: when each began and ended, how, and what recovery decided then.

use axum::Json;
use axum::extract::{Path, State};
use axum::routing::get;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::access::Access;
use crate::api::routes::sessions::id;
use crate::api::routes::{Answer, Route};
use crate::api::server::Shared;
use crate::daemon::command::OperatorError;
use crate::model::ids::{CommitSeq, Epoch};
use crate::model::session::{Cause, CrashReason, Decision, StopReason};
use crate::model::time::Timestamp;
use crate::store::registry::EpochRow;

pub(super) const ROUTES: &[Route] = &[Route::get(
    "/sessions/{id}/epochs",
    Access::Read,
    "Lifetimes of a session, oldest first: how each ended, what recovery decided",
    || get(epochs),
)
.answers::<Epochs>()];

/// A process lifetime of a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EpochView {
    /// Its number, from 1.
    pub epoch: Epoch,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended, or was last seen alive; none while it runs.
    pub ended_at: Option<Timestamp>,
    /// Its last commit.
    pub commit_seq: CommitSeq,
    /// Why it stopped, where it stopped by itself.
    pub stop_reason: Option<StopReason>,
    /// How it ended, where it did not.
    pub crash_reason: Option<CrashReason>,
    /// What recovery decided after it.
    pub decision: Option<Decision>,
    /// Why.
    pub cause: Option<Cause>,
    /// Its process.
    pub pid: u32,
}

impl From<EpochRow> for EpochView {
    fn from(row: EpochRow) -> Self {
        let (decision, cause) = row.decision.unzip();
        EpochView {
            epoch: row.epoch,
            started_at: row.started_at,
            ended_at: row.ended_at,
            commit_seq: row.commit_seq,
            stop_reason: row.stop_reason,
            crash_reason: row.crash_reason,
            decision,
            cause,
            pid: row.pid,
        }
    }
}

/// All lifetimes of a session.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Epochs {
    /// Oldest first.
    pub epochs: Vec<EpochView>,
}

/// No registry can be read.
pub(super) fn no_registry() -> OperatorError {
    OperatorError::Io("there is no registry that can be read: `crawld doctor` says why".to_owned())
}

async fn epochs(State(shared): State<Shared>, Path(session): Path<String>) -> Answer<Epochs> {
    let id = id(&shared, &session).await?;
    let registry = shared.registry.clone().ok_or_else(no_registry)?;
    let look = move || registry.epochs(&id).map_err(|error| OperatorError::Io(error.to_string()));
    let rows = shared.look(look).await??;
    Ok(Json(Epochs { epochs: rows.into_iter().map(EpochView::from).collect() }))
}
