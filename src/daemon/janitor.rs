//! The janitor: removes what is old and ended. Plan, then act: into the trash first, then delete.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::warn;

use crate::config::Config;
use crate::daemon::answers::{CleanupItem, CleanupReport};
use crate::daemon::archive;
use crate::daemon::clock_seen::clock_facts;
use crate::daemon::command::CleanupRequest;
use crate::faults::point;
use crate::model::counters::Counters;
use crate::model::ids::SessionId;
use crate::model::session::SessionStatus;
use crate::model::time::Timestamp;
use crate::policy::retention::{Candidate, ClockFacts, Kept, Part, Purge, RetentionOptions, RetentionPlan, plan};
use crate::state::atomic_file::{FileError, sweep_temporaries, sync_dir};
use crate::state::end_note::{self, EndNote};
use crate::state::lock::{Holder, Lock, LockError, Probe, probe};
use crate::state::paths::{SessionPaths, StateDir, compact};
use crate::state::remove::remove_beneath;
use crate::state::{checkpoint_file, heartbeat_file, task_file};

/// Kill points of a cleanup.
pub const POINTS: &[&str] =
    &["janitor.before_note", "janitor.before_trash", "janitor.after_trash", "janitor.after_delete"];

/// A temporary that has not changed for so long is nobody's any more.
const LEFTOVER_AGE: Duration = Duration::from_secs(3600);

/// Why a session could not be cleaned up.
#[derive(Debug, thiserror::Error)]
pub enum JanitorError {
    /// It is owned after all.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A file could not be moved or deleted.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Looks at every session's small files.
///
/// # Errors
/// The folder of the sessions cannot be read.
pub fn inventory(dir: &StateDir) -> io::Result<Vec<Candidate>> {
    Ok(dir.list()?.sessions.iter().map(|session| candidate(&dir.session(&session.id)).0).collect())
}

fn candidate(paths: &SessionPaths) -> (Candidate, Counters) {
    let (task, beat) = (task_file::read(paths), heartbeat_file::read(paths));
    let (checkpoints, ended) = (checkpoint_file::read(paths), end_note::read(paths));
    let check = checkpoints.best().map(|(checkpoint, _)| checkpoint);
    let sources = [
        beat.good().map(|(beat, _)| (beat.timestamp, beat.status)),
        check.map(|c| (c.checkpoint_time, c.progress_snapshot.status)),
        ended.good().map(|(note, _)| (note.at, note.status)),
    ];
    let newest = sources.into_iter().flatten().max_by_key(|(at, _)| *at);
    let newer = task.too_new() || beat.too_new() || checkpoints.too_new() || ended.too_new();
    let counters = check.map(|c| c.progress_snapshot.counters).or(ended.good().map(|(note, _)| note.counters));
    let candidate = Candidate {
        id: paths.id().clone(),
        status: newest.map(|(_, status)| status),
        // A lock that cannot be looked at may be held.
        owned: !matches!(probe(&paths.lock()), Ok(Probe::Free(_))),
        proven: !newer && (task.good().is_some() || check.is_some() || beat.good().is_some()),
        last_life: newest.map(|(at, _)| at).or(task.good().map(|(task, _)| task.created_at)),
        last_change: last_change(paths),
        parts: Part::ALL.iter().copied().filter(|part| files(paths, *part).iter().any(|f| exists(f))).collect(),
    };
    (candidate, counters.unwrap_or_default())
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// The files that make a part.
fn files(paths: &SessionPaths, part: Part) -> Vec<PathBuf> {
    let store = |suffix: &str| {
        let mut name = paths.store().into_os_string();
        name.push(suffix);
        PathBuf::from(name)
    };
    match part {
        Part::Checkpoint => vec![paths.checkpoint(), paths.checkpoint_prev()],
        Part::Heartbeat => vec![paths.heartbeat()],
        // The store first: a store without its journal would be an older store.
        Part::Store => {
            let journals = ["-journal", "-wal", "-shm"].map(store);
            let told = [paths.events_prev(), paths.events(), paths.record()];
            let all = std::iter::once(paths.store()).chain(journals).chain([paths.in_flight(), paths.cookies()]);
            all.chain(told).collect()
        }
        Part::Outputs => vec![paths.out()],
        Part::Directory => vec![paths.dir()],
    }
}

fn last_change(paths: &SessionPaths) -> Option<Timestamp> {
    let all = [Part::Checkpoint, Part::Heartbeat, Part::Store].into_iter().flat_map(|part| files(paths, part));
    all.chain([paths.task()])
        .filter_map(|path| fs::symlink_metadata(path).ok())
        .map(|meta| Timestamp::from_millis(meta.mtime().saturating_mul(1000)))
        .max()
}

/// What the configuration and an order together ask for.
pub fn options(config: &Config, request: &CleanupRequest) -> RetentionOptions {
    RetentionOptions {
        max_age: request.older_than.unwrap_or(config.auto_session_cleanup_age).0,
        purge_outputs: request.purge_outputs || config.purge_outputs,
        purge_unfinished: config.purge_unfinished,
    }
}

/// Plans, and unless `dry_run` carries out, a cleanup of the whole state directory. The caller holds
/// the directory's lock.
///
/// # Errors
/// The folder of the sessions cannot be read; everything else is a note in the report.
pub fn clean(dir: &StateDir, now: Timestamp, options: &RetentionOptions, dry_run: bool) -> io::Result<CleanupReport> {
    let clock = clock_facts(dir, now);
    let planned = plan(&inventory(dir)?, &clock, options);
    let mut report = CleanupReport { dry_run, ..CleanupReport::default() };
    if !dry_run {
        sweep_leftovers(dir);
        report.notes.extend(empty_trash(dir));
    }
    note_kept(&planned, &mut report);
    for purges in planned.purge.chunk_by(|a, b| a.session == b.session) {
        let items: Vec<CleanupItem> = purges.iter().map(|purge| item(dir, purge)).collect();
        let done = if dry_run { Ok(()) } else { purge(dir, &clock, options, purges) };
        match done {
            Ok(()) => {
                report.freed_bytes += items.iter().map(|item| item.bytes).sum::<u64>();
                report.removed.extend(items);
            }
            Err(error) => report.notes.push(format!("session {} stays: {error}", purges[0].session)),
        }
    }
    Ok(report)
}

/// Removes one session by order: what the crawl goes on by, and with `outputs` everything. The caller has seen that it
/// has ended, and that nobody runs it.
///
/// # Errors
/// Somebody owns it after all, or a file could not be moved; what was moved before is in the trash.
pub fn remove(dir: &StateDir, id: &SessionId, outputs: bool, now: Timestamp) -> Result<CleanupReport, JanitorError> {
    let paths = dir.session(id);
    let lock = if exists(&paths.dir()) { Some(Lock::take(&paths.lock(), &Holder::me("delete", now))?) } else { None };
    let (found, counters) = candidate(&paths);
    let last = if outputs { Part::Directory } else { Part::Store };
    let wanted = [Part::Checkpoint, Part::Heartbeat, last];
    let parts = wanted.into_iter().filter(|part| found.parts.contains(part));
    let purges: Vec<Purge> =
        parts.map(|part| Purge { session: id.clone(), part, why: "by order".to_owned() }).collect();
    let removed: Vec<CleanupItem> = purges.iter().map(|purge| item(dir, purge)).collect();
    if !outputs && exists(&paths.dir()) && !exists(&paths.ended()) {
        write_note(&paths, found.status, counters, now)?;
    }
    let mut trashed = Vec::new();
    for purge in &purges {
        for file in files(&paths, purge.part).into_iter().filter(|file| exists(file)) {
            trashed.push(to_trash(dir, &paths, purge.part, &file, now)?);
        }
    }
    drop(lock);
    for name in trashed {
        remove_beneath(&dir.trash(), &name).map_err(|e| FileError::at("delete", &dir.trash(), e))?;
    }
    let freed_bytes = removed.iter().map(|item| item.bytes).sum();
    Ok(CleanupReport { removed, freed_bytes, ..CleanupReport::default() })
}

/// Removes what killed processes left half written.
fn sweep_leftovers(dir: &StateDir) {
    archive::sweep(dir, LEFTOVER_AGE);
    sweep_temporaries(&dir.sessions(), LEFTOVER_AGE);
    for session in dir.list().map(|listing| listing.sessions).unwrap_or_default() {
        sweep_temporaries(&dir.session(&session.id).dir(), LEFTOVER_AGE);
    }
}

fn note_kept(planned: &RetentionPlan, report: &mut CleanupReport) {
    for (id, kept) in &planned.kept {
        let why = match kept {
            Kept::Young | Kept::NothingLeft | Kept::Owned => continue,
            Kept::Unfinished => "it has not ended (purge_unfinished removes it as well)",
            Kept::Unproven => "nothing readable in it says that it is a session of crawld",
            Kept::ClockNotSane => {
                "nothing speaks for the clock (an hour since the boot would, or the network's time), so its age is not known"
            }
        };
        report.notes.push(format!("session {id} stays: {why}"));
    }
}

fn item(dir: &StateDir, purge: &Purge) -> CleanupItem {
    let paths = dir.session(&purge.session);
    let files = files(&paths, purge.part);
    CleanupItem {
        session_id: purge.session.clone(),
        what: purge.part.to_string(),
        path: files[0].display().to_string(),
        bytes: files.iter().map(|file| size(file, 0)).sum(),
        reason: purge.why.clone(),
    }
}

/// Bytes used below a path, links not followed.
fn size(path: &Path, depth: u32) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
    if !meta.is_dir() || depth > 8 {
        return meta.len();
    }
    let inner = fs::read_dir(path).into_iter().flatten().flatten();
    inner.map(|entry| size(&entry.path(), depth + 1)).sum()
}

fn purge(dir: &StateDir, clock: &ClockFacts, options: &RetentionOptions, purges: &[Purge]) -> Result<(), JanitorError> {
    let paths = dir.session(&purges[0].session);
    let lock =
        if exists(&paths.dir()) { Some(Lock::take(&paths.lock(), &Holder::me("cleanup", clock.now))?) } else { None };
    // Between plan and lock somebody may have worked on it.
    let (mut found, counters) = candidate(&paths);
    found.owned = false;
    let still = plan(std::slice::from_ref(&found), clock, options);
    if still.purge != purges {
        return Ok(());
    }
    let whole = purges.iter().any(|purge| purge.part == Part::Directory);
    if !whole && exists(&paths.dir()) && !exists(&paths.ended()) {
        step("janitor.before_note", &paths.ended())?;
        write_note(&paths, found.status, counters, clock.now)?;
    }
    let mut trashed = Vec::new();
    for purge in purges {
        for file in files(&paths, purge.part).into_iter().filter(|file| exists(file)) {
            step("janitor.before_trash", &file)?;
            trashed.push(to_trash(dir, &paths, purge.part, &file, clock.now)?);
        }
    }
    drop(lock);
    for name in trashed {
        let at = |e| FileError::at("delete", &dir.trash(), e);
        remove_beneath(&dir.trash(), &name).map_err(at)?;
    }
    step("janitor.after_delete", &dir.trash())?;
    Ok(())
}

fn step(name: &'static str, path: &Path) -> Result<(), FileError> {
    point(name).map_err(|e| FileError::at("clean up", path, e))
}

/// Says how the session ended for as long as its outputs stay.
fn write_note(
    paths: &SessionPaths,
    status: Option<SessionStatus>,
    counters: Counters,
    now: Timestamp,
) -> Result<(), FileError> {
    let status = status.filter(|status| status.ended()).unwrap_or(SessionStatus::Cancelled);
    let note = "its store was removed by the cleanup; the outputs are what is left".to_owned();
    end_note::write(paths, &EndNote { session_id: paths.id().clone(), status, at: now, counters, note })
}

/// Moves one file or folder into the trash, durably, and returns its name there.
fn to_trash(
    dir: &StateDir,
    paths: &SessionPaths,
    part: Part,
    file: &Path,
    now: Timestamp,
) -> Result<CString, FileError> {
    let at = |e| FileError::at("move to the trash", file, e);
    let name = format!("{}~{part}~{}-{:08x}", paths.id(), compact(now), fastrand::u32(..));
    fs::rename(file, dir.trash().join(&name)).map_err(at)?;
    sync_dir(&dir.trash()).map_err(at)?;
    sync_dir(file.parent().unwrap_or(dir.root())).map_err(at)?;
    step("janitor.after_trash", file)?;
    CString::new(name).map_err(|e| at(e.into()))
}

/// Deletes what an interrupted cleanup left in the trash; says what could not be deleted.
pub fn empty_trash(dir: &StateDir) -> Vec<String> {
    let mut notes = Vec::new();
    for entry in fs::read_dir(dir.trash()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if !ours(&name.to_string_lossy()) {
            notes.push(format!("`{}` is not of crawld's making and stays", entry.path().display()));
            continue;
        }
        let Ok(name) = CString::new(name.as_bytes()) else { continue };
        if let Err(error) = remove_beneath(&dir.trash(), &name) {
            warn!(path = %entry.path().display(), %error, "trash not deleted");
            notes.push(format!("`{}` could not be deleted: {error}", entry.path().display()));
        }
    }
    notes
}

/// `{session}~{part}~{time}`.
fn ours(name: &str) -> bool {
    let mut words = name.split('~');
    let id = words.next().is_some_and(|id| id.parse::<SessionId>().is_ok_and(|parsed| parsed.as_str() == id));
    let part = words.next().is_some_and(|part| Part::parse(part).is_some());
    id && part && words.next().is_some() && words.next().is_none()
}

#[cfg(test)]
#[path = "janitor_tests.rs"]
mod tests;
