//! Sessions as their owner tells them, or as their files show them without one.

use crate::api::client::Client;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::daemon::answers::{OwnerHealth, SessionDetail, SessionSummary};
use crate::daemon::command::OperatorError;
use crate::daemon::summary;
use crate::exit_code::ExitCode;
use crate::model::ids::SessionId;
use crate::model::time::Timestamp;
use crate::state::paths::{Listing, StateDir};

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
    let known = listing(state)?.sessions.iter().any(|on_disk| on_disk.id == *id);
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

/// What lies in the folder of the sessions.
pub(super) fn listing(state: &StateDir) -> Result<Listing, Failure> {
    let refused = |error| format!("cannot list `{}`: {error}", state.sessions().display());
    state.list().map_err(|error| Failure::new(ExitCode::CannotWrite, refused(error)))
}

fn sessions(state: &StateDir, now: Timestamp) -> Result<Vec<SessionSummary>, Failure> {
    let listing = listing(state)?;
    let read = |id: &SessionId| summary::offline(&state.session(id), now).summary;
    let mut all: Vec<SessionSummary> = listing.sessions.iter().map(|on_disk| read(&on_disk.id)).collect();
    all.sort_by(|a, b| b.session_start.cmp(&a.session_start).then_with(|| b.session_id.cmp(&a.session_id)));
    Ok(all)
}
