//! A session as an operator sees it: from its owner's snapshot, or from its files.

use std::time::Duration;

use crate::crawl::committer::META_PAUSED;
use crate::crawl::handle::Snapshot;
use crate::crawl::phase::Hold;
use crate::crawl::session::META_CANCELLED;
use crate::daemon::answers::{SessionDetail, SessionSummary};
use crate::daemon::command::SessionOrder;
use crate::daemon::store_seen;
use crate::model::checkpoint::{Checkpoint, Orders};
use crate::model::counters::Counters;
use crate::model::heartbeat::{Heartbeat, Rates};
use crate::model::outcome::SkipReason;
use crate::model::session::{Cause, SessionStatus};
use crate::model::time::Timestamp;
use crate::state::end_note::EndNote;
use crate::state::heartbeat_file::{self, fresh};
use crate::state::lock::{Probe, probe};
use crate::state::paths::SessionPaths;
use crate::state::{checkpoint_file, end_note, task_file};
use crate::store::reader::Reader;

/// What an imported session waits for.
pub(super) const NEEDS_GRANT: &str =
    "its permissions to reach private networks were left where it came from: give the same task again to grant them";

/// What a session waits for that a newer crawld has run.
const WRITTEN_BY_NEWER: &str = "written by a newer crawld: use that one, nothing was touched";

/// What is said of a session at rest whose numbers are only those of its last checkpoint.
const NO_STORE: &str =
    "its store cannot be read, the numbers are those of its last checkpoint: see `crawld recover --dry-run`";

/// What is said of what has only the name of a session.
const NOTHING_LEFT: &str = "nothing readable is left of it: look into its directory, and remove what you do not need";

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
        estimated_progress: snapshot.counters.progress(),
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

/// What the store of a session without an owner has committed: more than its last checkpoint tells.
struct Committed {
    counters: Counters,
    paused: bool,
    cancelled: bool,
}

fn committed(paths: &SessionPaths) -> Option<Committed> {
    let reader = Reader::open(&paths.store()).ok()?;
    let (meta, (_, counters)) = (reader.meta().ok()?, reader.counters().ok()?);
    let has = |key| meta.contains_key(key);
    Some(Committed { counters, paused: has(META_PAUSED), cancelled: has(META_CANCELLED) })
}

/// How many URLs an order to an ended session would give work on: by the store, or by what was noted when that was
/// cleaned up; `None` where neither tells.
pub(super) fn awaiting(paths: &SessionPaths, order: SessionOrder) -> Option<u64> {
    if !paths.store().exists()
        && let Some((note, _)) = end_note::read(paths).good()
    {
        return waiting(&note.counters, order, None);
    }
    let reader = Reader::open(&paths.store()).ok()?;
    let (_, counters) = reader.counters().ok()?;
    let poisoned =
        || reader.tallies("skipped").ok().map(|by| by.get(SkipReason::Poison.as_str()).copied().unwrap_or(0));
    waiting(&counters, order, poisoned())
}

/// The same by numbers; of the skipped ones, `poisoned` were poison, where that is known.
fn waiting(counters: &Counters, order: SessionOrder, poisoned: Option<u64>) -> Option<u64> {
    match order {
        SessionOrder::RetryFailed { quarantined: false } => Some(counters.failed),
        SessionOrder::RetryFailed { quarantined: true } if counters.skipped == 0 => Some(counters.failed),
        SessionOrder::RetryFailed { quarantined: true } => poisoned.map(|poisoned| counters.failed + poisoned),
        SessionOrder::ReleaseParked => Some(counters.parked),
        SessionOrder::Resume { extend: true } => Some(counters.remaining()),
        _ => None,
    }
}

/// Where a session stands that nobody owns, from what was declared last: what is active there is to be
/// continued, and a pause is the operator's or over.
fn without_owner(declared: Option<SessionStatus>, stopped: bool, paused: bool, cancelled: bool) -> SessionStatus {
    match declared {
        Some(status) if status.ended() || status == SessionStatus::Queued => status,
        // Killed between the order and the end that it asked for: the order stands.
        _ if cancelled => SessionStatus::Cancelled,
        Some(_) if paused => SessionStatus::Paused,
        Some(_) if stopped => SessionStatus::Recoverable,
        _ => SessionStatus::Crashed,
    }
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
    let ended_reading = end_note::read(paths);
    let ended = ended_reading.good().map(|(note, _)| note);
    let declared = declared_status(heartbeat.map(|(beat, _)| beat), checkpoint, ended);
    let at_rest = !owned && !declared.is_some_and(SessionStatus::ended);
    // The last checkpoint of one that has ended tells as much, where it can be read.
    let asks_store = at_rest || (!owned && checkpoints.current.good().is_none());
    let committed = asks_store.then(|| committed(paths)).flatten();
    let by_operator = heartbeat.and_then(|(beat, _)| beat.status_reason.as_deref());
    let by_operator = by_operator.is_some_and(|why| why.starts_with(Hold::Operator.as_str()));
    let ordered = checkpoint.and_then(|checkpoint| checkpoint.recovery_metadata.orders.as_ref());
    let ordered = |order: fn(&Orders) -> bool| ordered.is_some_and(order);
    let ungranted = task.good().is_some_and(|(task, _)| task.ungranted) && !owned;
    let status = match declared {
        Some(status) if owned => status,
        _ => without_owner(
            declared,
            checkpoint.is_some_and(|c| c.progress_snapshot.stop_reason.is_some()),
            ungranted
                || committed.as_ref().map_or_else(
                    || (declared == Some(SessionStatus::Paused) && by_operator) || ordered(|orders| orders.paused),
                    |c| c.paused,
                ),
            committed.as_ref().map_or_else(|| ordered(|orders| orders.cancelled), |c| c.cancelled),
        ),
    };
    let lives = lives && owned && !status.ended();
    let told = checkpoint.map(|c| c.progress_snapshot.counters).or(ended.map(|note| note.counters));
    let counters = committed.as_ref().map(|committed| committed.counters).or(told).unwrap_or_default();
    let beat = heartbeat.map(|(beat, _)| beat.clone());
    let newer = [
        ("task.json", task.too_new()),
        ("its checkpoint", checkpoints.too_new()),
        ("its heartbeat", heartbeat_reading.too_new()),
        ("ended.json", ended_reading.too_new()),
        ("frontier.db", !owned && store_seen::too_new(paths)),
    ];
    let newer = newer.into_iter().find(|(_, newer)| *newer).map(|(name, _)| name);
    let trouble = match (&committed, checkpoint) {
        (None, Some(_)) if at_rest => Some(NO_STORE.to_owned()),
        (None, None) if task.good().is_none() && beat.is_none() && ended.is_none() => Some(NOTHING_LEFT.to_owned()),
        _ => None,
    };
    let ungranted = ungranted && status == SessionStatus::Paused;
    let summary = SessionSummary {
        session_id: paths.id().clone(),
        task_id: task.good().map(|(task, _)| task.task_id.clone()).or(checkpoint.map(|c| c.task_id.clone())),
        status,
        status_reason: match newer {
            Some(name) => Some(format!("{}: {name} was {WRITTEN_BY_NEWER}", Cause::FormatTooNew)),
            None if ungranted => Some(format!("{}: {NEEDS_GRANT}", Cause::NeedsOperator)),
            None => trouble.or_else(|| beat.as_ref().and_then(|b| b.status_reason.clone())),
        },
        stop_reason: checkpoint.and_then(|c| c.progress_snapshot.stop_reason),
        epoch: beat.as_ref().map(|b| b.epoch).max(checkpoint.map(|c| c.crawler_state.epoch)).unwrap_or(0),
        counters,
        estimated_progress: counters.progress(),
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
        egress: checkpoint.and_then(|c| c.crawler_state.egress),
        heartbeat,
    }
}

/// What the newest of heartbeat, checkpoint and end note says. A session that was exported has left, whatever
/// its other files say.
fn declared_status(
    heartbeat: Option<&Heartbeat>,
    checkpoint: Option<&Checkpoint>,
    ended: Option<&EndNote>,
) -> Option<SessionStatus> {
    let beat = heartbeat.map(|h| (h.timestamp, h.status));
    let check = checkpoint.map(|c| (c.checkpoint_time, c.progress_snapshot.status));
    let note = ended.map(|note| (note.at, note.status));
    let left = note.filter(|(_, status)| *status == SessionStatus::Migrated);
    let newest = [beat, check, note].into_iter().flatten().max_by_key(|(at, _)| *at);
    left.or(newest).map(|(_, status)| status)
}

/// How long a reader waits for a heartbeat before it calls a session hung: three intervals.
pub const STALE_INTERVALS: u32 = 3;

/// When a heartbeat written now becomes stale.
pub fn stale_after(now: Timestamp, interval: Duration) -> Timestamp {
    now + interval * STALE_INTERVALS
}

#[cfg(test)]
mod tests {
    use super::*;
    use SessionStatus::{Active, Cancelled, Completed, Crashed, Paused, Queued, Recoverable};

    #[test]
    fn what_an_order_would_find_is_known_after_a_cleanup_too() {
        #[track_caller]
        fn check(order: SessionOrder, skipped: u64, poisoned: Option<u64>, expected: Option<u64>) {
            let counters = Counters { discovered: 20, queued: 2, parked: 3, failed: 4, skipped, ..Counters::default() };
            assert_eq!(waiting(&counters, order, poisoned), expected, "{order:?} {skipped} {poisoned:?}");
        }
        check(SessionOrder::RetryFailed { quarantined: false }, 5, None, Some(4));
        check(SessionOrder::RetryFailed { quarantined: true }, 5, Some(1), Some(5));
        check(SessionOrder::RetryFailed { quarantined: true }, 5, None, None);
        check(SessionOrder::RetryFailed { quarantined: true }, 0, None, Some(4));
        check(SessionOrder::ReleaseParked, 5, None, Some(3));
        check(SessionOrder::Resume { extend: true }, 5, None, Some(2));
        check(SessionOrder::Pause, 5, None, None);
    }

    #[test]
    fn a_session_without_an_owner_is_paused_only_by_its_operator() {
        #[track_caller]
        fn check(name: &str, declared: Option<SessionStatus>, facts: [bool; 3], expected: SessionStatus) {
            let [stopped, paused, cancelled] = facts;
            assert_eq!(without_owner(declared, stopped, paused, cancelled), expected, "{name}");
        }
        check("killed", Some(Active), [false; 3], Crashed);
        check("killed while the disk was full", Some(Paused), [false; 3], Crashed);
        check("stopped while the disk was full", Some(Paused), [true, false, false], Recoverable);
        check("killed, paused by the operator", Some(Paused), [false, true, false], Paused);
        check("killed before the pause was in any file", Some(Active), [false, true, false], Paused);
        check("stopped", Some(Active), [true, false, false], Recoverable);
        check("cancelled and killed", Some(Active), [false, false, true], Cancelled);
        check("ended", Some(Completed), [true, true, false], Completed);
        check("waits for a place", Some(Queued), [false; 3], Queued);
        check("nothing is known", None, [false; 3], Crashed);
    }
}
