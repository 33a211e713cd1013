//! Sessions as their files show them, without an owner.

use crate::cli::failure::Failure;
use crate::daemon::answers::{SessionDetail, SessionSummary};
use crate::model::ids::SessionId;
use crate::model::session::SessionStatus;
use crate::model::time::Timestamp;
use crate::state::paths::StateDir;
use crate::state::{checkpoint_file, heartbeat_file, task_file};

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
    let paths = state.session(id);
    let beat = heartbeat_file::read(&paths);
    let checkpoints = checkpoint_file::read(&paths);
    let checkpoint = checkpoints.best().map(|(checkpoint, _)| checkpoint);
    let task = task_file::read(&paths);
    let lives = beat.good().is_some_and(|(beat, envelope)| heartbeat_file::fresh(beat, envelope, now));
    let beat = beat.good().map(|(beat, _)| beat.clone());
    let progress = checkpoint.map(|checkpoint| &checkpoint.progress_snapshot);
    let counters = progress.map(|progress| progress.counters).unwrap_or_default();
    let declared = beat.as_ref().map(|beat| beat.status).or(progress.map(|progress| progress.status));
    let status = declared.filter(|status| lives || status.ended()).unwrap_or(SessionStatus::Crashed);
    let summary = SessionSummary {
        session_id: id.clone(),
        task_id: task.good().map(|(task, _)| task.task_id.clone()),
        status,
        status_reason: beat.as_ref().and_then(|beat| beat.status_reason.clone()),
        stop_reason: progress.and_then(|progress| progress.stop_reason),
        epoch: beat.as_ref().map_or(0, |beat| beat.epoch),
        counters,
        estimated_progress: progress.map_or(0.0, |progress| progress.estimated_progress),
        rates: beat.as_ref().filter(|_| lives).map(|beat| beat.rates).unwrap_or_default(),
        eta_seconds: beat.as_ref().filter(|_| lives).and_then(|beat| beat.eta_seconds),
        health_score: beat.as_ref().filter(|_| lives).map_or(0.0, |beat| beat.health_score),
        health_factors: beat.as_ref().map(|beat| beat.health_factors.clone()).unwrap_or_default(),
        session_start: progress.map(|progress| progress.session_start),
        started_at: beat.as_ref().map(|beat| beat.started_at),
        active_seconds: progress.map_or(0.0, |progress| progress.active_seconds),
        current_url: None,
        last_heartbeat: beat.as_ref().map(|beat| beat.timestamp),
        last_checkpoint: checkpoint.map(|checkpoint| checkpoint.checkpoint_time),
        output_dir: paths.out().display().to_string(),
        outputs: checkpoint.map(|checkpoint| checkpoint.recovery_metadata.output_files.clone()).unwrap_or_default(),
    };
    SessionDetail {
        summary,
        failures_by_class: progress.map(|progress| progress.failures_by_class.clone()).unwrap_or_default(),
        skips_by_reason: progress.map(|progress| progress.skips_by_reason.clone()).unwrap_or_default(),
        parked_by_reason: progress.map(|progress| progress.parked_by_reason.clone()).unwrap_or_default(),
        heartbeat: beat,
    }
}
