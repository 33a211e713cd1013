//! Sessions as their files show them, without an owner.

use crate::cli::failure::Failure;
use crate::daemon::answers::{SessionDetail, SessionSummary};
use crate::model::ids::SessionId;
use crate::model::time::Timestamp;
use crate::state::paths::StateDir;

/// Every session in the directory, newest first.
pub(super) fn sessions(state: &StateDir, now: Timestamp) -> Result<Vec<SessionSummary>, Failure> {
    let listing = state.list()?;
    let mut all: Vec<SessionSummary> =
        listing.sessions.iter().map(|on_disk| read(state, &on_disk.id, now).summary).collect();
    all.sort_by(|a, b| b.session_start.cmp(&a.session_start).then_with(|| b.session_id.cmp(&a.session_id)));
    Ok(all)
}

/// One session; `None` when nothing of it is there.
pub(super) fn session(state: &StateDir, id: &SessionId, now: Timestamp) -> Result<Option<SessionDetail>, Failure> {
    let known = state.list()?.sessions.iter().any(|on_disk| on_disk.id == *id);
    Ok(known.then(|| read(state, id, now)))
}

fn read(state: &StateDir, id: &SessionId, now: Timestamp) -> SessionDetail {
    crate::daemon::summary::offline(&state.session(id), now)
}
