//! Repairs of a session's store before it is opened again.
//!
//! Cutting outputs and queueing again what they lost is done by every opening; only a store that is
//! gone, damaged or behind what was announced is built anew here.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use tracing::info;

use crate::crawl::committer::{META_ACTIVE_MS, StorePaths};
use crate::crawl::rebuild::{Remembered, rebuild};
use crate::daemon::evidence::modified;
use crate::daemon::recover::set_aside;
use crate::model::checkpoint::{Checkpoint, Orders};
use crate::model::heartbeat::Heartbeat;
use crate::model::session::SessionStatus;
use crate::model::time::Timestamp;
use crate::output::cut::truncate_to;
use crate::output::lines::Lines;
use crate::policy::recovery::Repair;
use crate::state::atomic_file::sync_dir;
use crate::state::paths::SessionPaths;
use crate::state::{checkpoint_file, heartbeat_file, task_file};

/// Records between two lines of progress in the log.
const SAY_EVERY: u64 = 1_000_000;

/// Brings a session's store into a state that can be opened; says what it came to. Repeating it is
/// harmless: the old store stays until the new one is whole.
///
/// # Errors
/// A sentence: what could not be repaired.
pub fn repair(paths: &SessionPaths, repair: Repair, paused: bool, now: Timestamp) -> Result<Option<String>, String> {
    if repair != Repair::Rebuild {
        return Ok(None);
    }
    if fs::symlink_metadata(paths.store()).is_ok_and(|meta| !meta.is_file()) {
        set_aside(paths, &paths.store(), now).map_err(|error| error.to_string())?;
    }
    let store = StorePaths { db: paths.store(), out: paths.out(), quarantine: paths.damaged() };
    let mut said = 0;
    let mut progress = |records: u64| {
        if records / SAY_EVERY > said {
            said = records / SAY_EVERY;
            info!(session_id = %paths.id(), records, "rebuilding the store from the outputs");
        }
    };
    let report =
        rebuild(&store, &remembered(paths, paused, now), now, &mut progress).map_err(|error| error.to_string())?;
    Ok(Some(format!(
        "the store was rebuilt from the outputs: {} URLs, {} of them ended, {} queued ({} of these had ended and are fetched again), {} lines not readable",
        report.urls, report.ended, report.queued, report.requeued, report.bad_lines
    )))
}

/// Cuts each of these output files behind its last good line: opening the session sees them too short, and queues
/// again what they lost. What is cut is kept; repeating it is harmless.
///
/// # Errors
/// A sentence: what could not be cut.
pub fn cut(paths: &SessionPaths, bad: &[(String, u64)], now: Timestamp) -> Result<(), String> {
    for (name, good) in bad {
        let plain = paths.out().join(name);
        if !plain.exists() {
            let packed = paths.out().join(format!("{name}.gz"));
            unpack(&packed, &plain, *good).map_err(|error| format!("`{}`: {error}", packed.display()))?;
            set_aside(paths, &packed, now).map_err(|error| error.to_string())?;
        }
        truncate_to(&plain, *good, &paths.damaged()).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Writes the first `length` bytes of a packed file's text, whole lines, beside it.
fn unpack(packed: &Path, plain: &Path, length: u64) -> io::Result<()> {
    let mut lines = Lines::open(packed)?;
    let dir = plain.parent().unwrap_or(Path::new("/"));
    // As a compression names what it makes: left over, it is swept at the next opening.
    let mut file = tempfile::Builder::new().prefix(".").suffix(".jsonl.gz.tmp").tempfile_in(dir)?;
    while lines.offset() < length {
        let Some(line) = lines.next_line()? else { break };
        file.write_all(line)?;
        file.write_all(b"\n")?;
    }
    file.as_file().sync_all()?;
    file.persist(plain)?;
    sync_dir(dir)
}

/// What the outputs do not say.
fn remembered(paths: &SessionPaths, paused: bool, now: Timestamp) -> Remembered {
    let checkpoints = checkpoint_file::read(paths);
    let last = checkpoints.best().map(|(checkpoint, _)| checkpoint);
    let beat = heartbeat_file::read(paths).good().map(|(beat, _)| beat.clone());
    let mut meta = BTreeMap::new();
    if let Some(checkpoint) = last {
        let active_ms = (checkpoint.progress_snapshot.active_seconds.max(0.0) * 1000.0) as u64;
        meta.insert(META_ACTIVE_MS.to_owned(), active_ms.to_string());
    }
    let cancelled = last.is_some_and(|checkpoint| checkpoint.progress_snapshot.status == SessionStatus::Cancelled);
    let known = last.map(|checkpoint| &checkpoint.recovery_metadata);
    let orders = known.and_then(|known| known.orders.clone()).unwrap_or_default();
    let said = [known.map(|known| known.commit_seq), beat.as_ref().map(|beat| beat.last_commit_seq)];
    Remembered {
        counters: last.map(|checkpoint| checkpoint.progress_snapshot.counters),
        meta,
        epoch: last.map(|checkpoint| checkpoint.crawler_state.epoch).max(beat.as_ref().map(|b| b.epoch)).unwrap_or(0),
        seq: said.into_iter().flatten().max().unwrap_or(0),
        orders: Orders { paused, cancelled: orders.cancelled || cancelled, ..orders },
        suspects: known.map(|known| known.suspects.clone()).unwrap_or_default(),
        hosts: last.map(|checkpoint| checkpoint.adaptive_delays_state.clone()).unwrap_or_default(),
        asked_last: asked_last(paths, last, beat.as_ref(), now),
    }
}

/// The last moment at which a request may have been made, and the pause that the task asks for after it.
fn asked_last(
    paths: &SessionPaths,
    last: Option<&Checkpoint>,
    beat: Option<&Heartbeat>,
    now: Timestamp,
) -> Option<(Timestamp, Duration)> {
    // Written whenever a visit begins.
    let noted = modified(&paths.in_flight());
    let at = noted.max(last.map(|c| c.checkpoint_time)).max(beat.map(|beat| beat.timestamp))?;
    let task = task_file::read(paths);
    let least = task.good().map_or(Duration::ZERO, |(task, _)| task.spec.politeness.delay.0);
    Some((at.min(now), least))
}
