//! Sessions as their owner tells them, or as their files show them without one.

use crate::api::client::Client;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::daemon::answers::{OwnerHealth, SessionDetail, SessionSummary};
use crate::daemon::command::OperatorError;
use crate::daemon::summary;
use crate::model::ids::SessionId;
use crate::model::time::Timestamp;
use crate::state::paths::StateDir;

/// Every session, newest first. Reading needs no owner, and does not fail with one that hangs.
pub(super) async fn sessions_or_files(context: &Context, state: &StateDir) -> Result<Vec<SessionSummary>, Failure> {
    if let Ok(Some(client)) = Client::find(state.root()).await {
        match client.sessions().await {
            Ok(all) => return Ok(all),
            Err(error) => hung(context, &error)?,
        }
    }
    sessions(state, context.now())
}

/// What the owner says of itself, when there is one that answers.
pub(super) async fn owner(state: &StateDir) -> Option<OwnerHealth> {
    Client::find(state.root()).await.ok()??.health().await.ok()
}

/// One session in full.
pub(super) async fn session_or_files(
    context: &Context,
    state: &StateDir,
    id: &SessionId,
) -> Result<SessionDetail, Failure> {
    if let Ok(Some(client)) = Client::find(state.root()).await {
        match client.status(id).await {
            Ok(detail) => return Ok(detail),
            Err(error) => hung(context, &error)?,
        }
    }
    let known = state.list()?.sessions.iter().any(|on_disk| on_disk.id == *id);
    if !known {
        return Err(OperatorError::UnknownSession(id.to_string()).into());
    }
    Ok(summary::offline(&state.session(id), context.now()))
}

/// An owner that does not answer is worth a word, not an end.
fn hung(context: &Context, error: &OperatorError) -> Result<(), Failure> {
    match error {
        OperatorError::Gone(_) => {
            context.say(&format!("crawld: warning: {error}; this is what the files say"));
            Ok(())
        }
        other => Err(other.clone().into()),
    }
}

fn sessions(state: &StateDir, now: Timestamp) -> Result<Vec<SessionSummary>, Failure> {
    let listing = state.list()?;
    let read = |id: &SessionId| summary::offline(&state.session(id), now).summary;
    let mut all: Vec<SessionSummary> = listing.sessions.iter().map(|on_disk| read(&on_disk.id)).collect();
    all.sort_by(|a, b| b.session_start.cmp(&a.session_start).then_with(|| b.session_id.cmp(&a.session_id)));
    Ok(all)
}
