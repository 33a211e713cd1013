//! A session as an operator sees it: from its owner's snapshot, or from its files.

use std::time::Duration;

use crate::crawl::handle::Snapshot;
use crate::crawl::session::META_CANCELLED;
use crate::daemon::answers::{SessionDetail, SessionSummary};
use crate::model::checkpoint::Checkpoint;
use crate::model::counters::Counters;
use crate::model::heartbeat::{Heartbeat, Rates};
use crate::model::session::SessionStatus;
use crate::model::time::Timestamp;
use crate::state::heartbeat_file::{self, fresh};
use crate::state::lock::{Probe, probe};
use crate::state::paths::SessionPaths;
use crate::state::{checkpoint_file, end_note, task_file};
use crate::store::reader::Reader;

/// Ended / discovered, 0..1.
pub fn progress(counters: &Counters) -> f64 {
    if counters.discovered == 0 { 0.0 } else { counters.ended() as f64 / counters.discovered as f64 }
}

/// From the snapshot of a session that this process runs.
pub fn online(snapshot: &Snapshot, paths: &SessionPaths, now: Timestamp) -> SessionSummary {
    SessionSummary {
        session_id: snapshot.session_id.clone(),
        task_id: Some(snapshot.task_id.clone()),
        status: snapshot.status,
        status_reason: snapshot.status_reason.clone(),
        stop_reason: snapshot.stop_reason,
        epoch: snapshot.epoch,
        counters: snapshot.counters,
        estimated_progress: progress(&snapshot.counters),
        rates: snapshot.rates,
        eta_seconds: snapshot.eta_seconds,
        health_score: snapshot.health_score,
        health_factors: snapshot.health_factors.clone(),
        session_start: Some(snapshot.session_start),
        started_at: Some(snapshot.started_at),
        active_seconds: snapshot.active_seconds,
        current_url: snapshot.current_url.clone(),
        last_heartbeat: Some(now),
        last_checkpoint: snapshot.checkpoint.1,
        output_dir: paths.out().display().to_string(),
        outputs: snapshot.outputs.clone(),
    }
}

/// Takes away what only a session that runs can have: the last moment's rates say nothing about it now.
pub fn at_rest(summary: &mut SessionSummary) {
    summary.rates = Rates::default();
    summary.eta_seconds = None;
    summary.health_score = 0.0;
    summary.health_factors.clear();
    summary.current_url = None;
}

/// What the store of a session without an owner has committed: more than its last checkpoint tells. Totals,
/// and whether the operator's order to cancel it is among it.
fn committed(paths: &SessionPaths, status: SessionStatus) -> Option<(Counters, bool)> {
    let at_rest = matches!(status, SessionStatus::Crashed | SessionStatus::Recoverable);
    let reader = at_rest.then(|| Reader::open(&paths.store()).ok()).flatten()?;
    let (_, counters) = reader.counters().ok()?;
    let cancelled = reader.meta().is_ok_and(|meta| meta.contains_key(META_CANCELLED));
    Some((counters, cancelled))
}

/// From the files of a session that this process does not run.
pub fn offline(paths: &SessionPaths, now: Timestamp) -> SessionDetail {
    let heartbeat_reading = heartbeat_file::read(paths);
    let heartbeat = heartbeat_reading.good();
    let checkpoints = checkpoint_file::read(paths);
    let checkpoint = checkpoints.best().map(|(checkpoint, _)| checkpoint);
    let task = task_file::read(paths);
    let lives = heartbeat.is_some_and(|(beat, envelope)| fresh(beat, envelope, now));
    let owned = matches!(probe(&paths.lock()), Ok(Probe::Held(_)));
    // Outlives the store and the checkpoint of a session that was cleaned up or exported.
    let ended = end_note::read(paths);
    let ended = ended.good().map(|(note, _)| note);
    let declared = declared_status(heartbeat.map(|(beat, _)| beat), checkpoint);
    let declared = ended.map(|note| note.status).or(declared);
    let status = match declared {
        Some(status) if status.ended() => status,
        Some(status) if owned || status == SessionStatus::Paused || status == SessionStatus::Queued => status,
        Some(_) if checkpoint.is_some_and(|c| c.progress_snapshot.stop_reason.is_some()) => SessionStatus::Recoverable,
        Some(_) | None => SessionStatus::Crashed,
    };
    let lives = lives && owned && !status.ended();
    let told = checkpoint.map(|c| c.progress_snapshot.counters).or(ended.map(|note| note.counters));
    let committed = committed(paths, status);
    // Killed between the order and the end that it asked for: the order stands.
    let status = if committed.is_some_and(|(_, cancelled)| cancelled) { SessionStatus::Cancelled } else { status };
    let counters = committed.map(|(counters, _)| counters).or(told).unwrap_or_default();
    let beat = heartbeat.map(|(beat, _)| beat.clone());
    let summary = SessionSummary {
        session_id: paths.id().clone(),
        task_id: task.good().map(|(task, _)| task.task_id.clone()).or(checkpoint.map(|c| c.task_id.clone())),
        status,
        status_reason: beat.as_ref().and_then(|b| b.status_reason.clone()),
        stop_reason: checkpoint.and_then(|c| c.progress_snapshot.stop_reason),
        epoch: beat.as_ref().map(|b| b.epoch).max(checkpoint.map(|c| c.crawler_state.epoch)).unwrap_or(0),
        counters,
        estimated_progress: progress(&counters),
        rates: if lives { beat.as_ref().map(|b| b.rates).unwrap_or_default() } else { Rates::default() },
        eta_seconds: beat.as_ref().filter(|_| lives).and_then(|b| b.eta_seconds),
        health_score: beat.as_ref().filter(|_| lives).map_or(0.0, |b| b.health_score),
        health_factors: beat.as_ref().filter(|_| lives).map(|b| b.health_factors.clone()).unwrap_or_default(),
        session_start: checkpoint
            .map(|c| c.progress_snapshot.session_start)
            .or(task.good().map(|(task, _)| task.created_at)),
        started_at: beat.as_ref().map(|b| b.started_at),
        active_seconds: checkpoint.map_or(0.0, |c| c.progress_snapshot.active_seconds),
        current_url: None,
        last_heartbeat: beat.as_ref().map(|b| b.timestamp),
        last_checkpoint: checkpoint.map(|c| c.checkpoint_time),
        output_dir: paths.out().display().to_string(),
        outputs: checkpoint.map(|c| c.recovery_metadata.output_files.clone()).unwrap_or_default(),
    };
    detail(summary, checkpoint, beat)
}

/// Completes a summary with what only the last checkpoint counts.
pub fn detail(summary: SessionSummary, checkpoint: Option<&Checkpoint>, heartbeat: Option<Heartbeat>) -> SessionDetail {
    let progress = checkpoint.map(|c| &c.progress_snapshot);
    SessionDetail {
        summary,
        failures_by_class: progress.map(|p| p.failures_by_class.clone()).unwrap_or_default(),
        skips_by_reason: progress.map(|p| p.skips_by_reason.clone()).unwrap_or_default(),
        parked_by_reason: progress.map(|p| p.parked_by_reason.clone()).unwrap_or_default(),
        alerts: Vec::new(),
        heartbeat,
    }
}

/// The newer of what heartbeat and checkpoint say.
fn declared_status(heartbeat: Option<&Heartbeat>, checkpoint: Option<&Checkpoint>) -> Option<SessionStatus> {
    let beat = heartbeat.map(|h| (h.timestamp, h.status));
    let check = checkpoint.map(|c| (c.checkpoint_time, c.progress_snapshot.status));
    [beat, check].into_iter().flatten().max_by_key(|(at, _)| *at).map(|(_, status)| status)
}

/// How long a reader waits for a heartbeat before it calls a session hung: three intervals.
pub const STALE_INTERVALS: u32 = 3;

/// When a heartbeat written now becomes stale.
pub fn stale_after(now: Timestamp, interval: Duration) -> Timestamp {
    now + interval * STALE_INTERVALS
}
