//! Recovery on disk: plan (read-only), then act, one session at a time; every step can be repeated.

use std::any::Any;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::daemon::clock_seen::clock_facts;
use crate::daemon::evidence::{Gathered, Sources, gather};
use crate::daemon::mend;
use crate::daemon::records::day;
use crate::daemon::restart::restart;
pub use crate::daemon::restart::{Intent, StartOrder, finish_intents};
use crate::exit_code::ExitCode;
use crate::faults::point;
use crate::model::counters::DayNumbers;
use crate::model::ids::SessionId;
use crate::model::session::{Cause, CrashReason, Decision, SessionRecoveryInfo, SessionStatus, Strategy};
use crate::model::task::StoredTask;
use crate::model::text::escape_control;
use crate::model::time::Timestamp;
use crate::policy::recovery::{Options, Owner, Repair, Verdict, decide};
use crate::policy::retention::clock_sane;
use crate::state::atomic_file::{FileError, sync_dir};
use crate::state::lock::{Holder, Lock, LockError};
use crate::state::paths::{SessionPaths, StateDir, compact};
use crate::state::recovery_file::{self, RecoveryRecord};
use crate::state::task_file;
use crate::store::registry::{Registry, RegistryError};

/// Kill points of acting on a decision.
pub const POINTS: &[&str] = &[
    "recover.before_record",
    "recover.after_record",
    "recover.before_repair",
    "recover.after_repair",
    "recover.before_intent",
    "recover.after_intent",
    "recover.before_move",
    "recover.after_move",
    "recover.before_task",
    "recover.after_task",
    "recover.after_restart",
];

/// Why recovery could not act.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// Somebody took the session meanwhile, or its lock cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A state file could not be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The store could not be repaired.
    #[error("cannot repair session {session}: {why}")]
    Repair {
        /// Which.
        session: SessionId,
        /// In words.
        why: String,
    },
    /// A bug of crawld, met in this session's state.
    #[error(
        "a bug was met while session {session} was recovered ({what}): please report it; nothing committed is lost"
    )]
    Bug {
        /// Which.
        session: SessionId,
        /// What the panic said.
        what: String,
    },
    /// The state directory could not be read.
    #[error("cannot read `{path}`: {source}")]
    Read {
        /// What.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl RecoverError {
    /// For the shell.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            RecoverError::Lock(LockError::Held { .. }) => ExitCode::InUse,
            RecoverError::Bug { .. } => ExitCode::Bug,
            _ => ExitCode::CannotWrite,
        }
    }
}

/// One session, looked at and decided about.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The report.
    pub info: SessionRecoveryInfo,
    /// What is to be done.
    pub verdict: Verdict,
    /// On what grounds.
    pub gathered: Gathered,
}

/// Looks at sessions and decides. Changes nothing.
///
/// # Errors
/// The folder of the sessions cannot be read.
pub fn plan(
    dir: &StateDir,
    only: &[SessionId],
    sources: Sources<'_>,
    options: &Options,
) -> Result<Vec<Planned>, RecoverError> {
    let listing = dir.list().map_err(|source| RecoverError::Read { path: dir.sessions(), source })?;
    let sources = Sources { clock_sane: clock_sane(&clock_facts(dir, sources.now)), ..sources };
    let wanted = listing.sessions.into_iter().filter(|s| only.is_empty() || only.contains(&s.id));
    Ok(wanted.map(|session| plan_one(&dir.session(&session.id), sources, options)).collect())
}

/// Looks at one session; a panic on the way leaves that session alone, and the others go on.
fn plan_one(paths: &SessionPaths, sources: Sources<'_>, options: &Options) -> Planned {
    let look = || {
        let _ = point("panic.plan");
        gather(paths, sources)
    };
    let gathered = catch_unwind(AssertUnwindSafe(look)).unwrap_or_else(|panic| {
        let why = format!("looking at it met a bug of crawld ({}), please report it", panic_text(&*panic));
        Gathered::nothing(sources.now, why)
    });
    let verdict = decide(&gathered.evidence, options);
    Planned { info: info(paths.id(), &gathered, &verdict, options), verdict, gathered }
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    escape_control(text.unwrap_or("no message")).to_string()
}

fn info(id: &SessionId, gathered: &Gathered, verdict: &Verdict, options: &Options) -> SessionRecoveryInfo {
    let evidence = &gathered.evidence;
    let by = |strategy| decide(evidence, &Options { strategy, ..*options }).decision != Decision::Skip;
    let possible = verdict.decision != Decision::Skip || by(Strategy::Resume) || by(Strategy::Restart);
    let status = match evidence.status {
        Some(status) if status.ended() || evidence.owner != Owner::None => status,
        _ if evidence.migrated => SessionStatus::Migrated,
        _ if possible => SessionStatus::Recoverable,
        Some(status) if evidence.end.clean => status,
        _ => SessionStatus::Crashed,
    };
    SessionRecoveryInfo {
        session_id: id.clone(),
        task_id: gathered.task_id.clone(),
        last_checkpoint: gathered.last_checkpoint,
        last_heartbeat: gathered.last_heartbeat,
        status,
        recovery_possible: possible,
        estimated_progress: evidence.progress(),
        urls_remaining: evidence.counters.map_or(0, |c| c.remaining()),
        crash_reason: gathered.crash_reason,
        recovery_strategy: verdict.decision,
        cause: verdict.cause,
    }
}

/// With what a plan is carried out.
#[derive(Debug, Clone, Copy)]
pub struct Acting<'a> {
    /// The state directory, locked by the caller.
    pub dir: &'a StateDir,
    /// The registry, when it can be used; its errors are logged and do not stop recovery.
    pub registry: Option<&'a Registry>,
    /// The wall clock.
    pub now: Timestamp,
    /// Written into the session's lock: `run`, `crawl`, `recover`.
    pub command: &'a str,
}

/// What is left to do for the caller.
#[derive(Debug)]
pub enum Outcome {
    /// Open the session and go on.
    Resume(ResumeOrder),
    /// Open a new session; its directory and `task.json` are there.
    Start(StartOrder),
    /// Nothing.
    Skip,
}

/// A session ready to be opened again.
#[derive(Debug)]
pub struct ResumeOrder {
    /// The session.
    pub session_id: SessionId,
    /// Its task.
    pub task: StoredTask,
    /// Its lock, held since before the first repair.
    pub lock: Lock,
    /// Open it, but do not crawl until the operator says so.
    pub as_paused: bool,
    /// How the lifetime before ended; decides what a suspect's crash counts.
    pub crash_reason: CrashReason,
    /// There is no store yet and nothing to build one from: make it, with the task's seeds.
    pub fresh: bool,
    /// What was repaired.
    pub repair: Repair,
    /// What the repair came to, in words.
    pub repaired: Option<String>,
}

/// Carries out what was decided about one session.
///
/// # Errors
/// The session was taken meanwhile, or a step could not be done; calling again (or the next start)
/// goes on where this one stopped.
pub fn act(planned: &Planned, acting: Acting<'_>) -> Result<Outcome, RecoverError> {
    let paths = acting.dir.session(&planned.info.session_id);
    match (planned.verdict.decision, &planned.gathered.task) {
        (Decision::Resume, Some(task)) => resume(planned, task, &paths, acting).map(Outcome::Resume),
        (Decision::Restart, Some(task)) => restart(planned, task, &paths, acting).map(Outcome::Start),
        // Without a task the table decides to skip.
        _ => {
            let untouched = matches!(
                planned.verdict.cause,
                Cause::OwnerAlive | Cause::OwnerHung | Cause::Environment | Cause::FormatTooNew
            );
            if !untouched {
                settle(planned, acting);
            }
            Ok(Outcome::Skip)
        }
    }
}

fn resume(
    planned: &Planned,
    task: &StoredTask,
    paths: &SessionPaths,
    acting: Acting<'_>,
) -> Result<ResumeOrder, RecoverError> {
    let lock = take_lock(paths, acting)?;
    write_record(planned, paths, acting.now)?;
    settle(planned, acting);
    let edited = planned.gathered.changed_to.as_ref().filter(|_| planned.verdict.new_scope);
    let edited = edited.map(|now| StoredTask { rescoped: true, ..task.edited(now) });
    let task = edited.as_ref().unwrap_or(task);
    if !planned.gathered.task_file_good || edited.is_some() {
        step(&paths.task(), "recover.before_task")?;
        if !planned.gathered.task_file_good {
            set_aside(paths, &paths.task(), acting.now)?;
        }
        task_file::write(paths, task)?;
        step(&paths.task(), "recover.after_task")?;
    }
    let fresh = planned.gathered.evidence.never_begun;
    step(&paths.store(), "recover.before_repair")?;
    if fresh {
        // Half made: it holds nothing, and its opener makes it anew.
        for suffix in ["-journal", "-wal", "-shm", ""] {
            set_aside(paths, &beside(&paths.store(), suffix), acting.now)?;
        }
    }
    let failed = |why| RecoverError::Repair { session: paths.id().clone(), why };
    if planned.verdict.repair == Repair::Outputs {
        mend::cut(paths, &planned.gathered.outputs_bad, acting.now).map_err(failed)?;
    }
    let repaired =
        mend::repair(paths, planned.verdict.repair, planned.verdict.as_paused, acting.now).map_err(failed)?;
    step(&paths.store(), "recover.after_repair")?;
    Ok(ResumeOrder {
        session_id: paths.id().clone(),
        task: task.clone(),
        lock,
        as_paused: planned.verdict.as_paused,
        crash_reason: planned.gathered.crash_reason,
        fresh,
        repair: planned.verdict.repair,
        repaired,
    })
}

/// The path of a file that SQLite keeps beside a store.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub(super) fn step(path: &Path, name: &'static str) -> Result<(), FileError> {
    point(name).map_err(|e| FileError::at("recover", path, e))
}

/// Takes the session's lock. What is no file in the place of one (a directory, a FIFO, a link) is set
/// aside: nothing could be written there.
pub(super) fn take_lock(paths: &SessionPaths, acting: Acting<'_>) -> Result<Lock, RecoverError> {
    private_dir(&paths.dir()).map_err(|e| FileError::at("make the directory of", &paths.dir(), e))?;
    if fs::symlink_metadata(paths.out()).is_ok_and(|meta| !meta.is_dir()) {
        set_aside(paths, &paths.out(), acting.now)?;
    }
    paths.create().map_err(|e| FileError::at("make the directory of", &paths.dir(), e))?;
    clear(paths, &paths.lock(), acting.now)?;
    let lock = Lock::take(&paths.lock(), &Holder::me(acting.command, acting.now))?;
    let beside = [paths.checkpoint(), paths.checkpoint_prev(), paths.heartbeat()];
    let inside = [paths.in_flight(), paths.recovery(), paths.last_words(), paths.ended()];
    for file in beside.iter().chain(&inside) {
        clear(paths, file, acting.now)?;
    }
    Ok(lock)
}

/// Sets aside what lies in the place of a file and is none.
pub(super) fn clear(paths: &SessionPaths, file: &Path, now: Timestamp) -> Result<(), FileError> {
    match fs::symlink_metadata(file) {
        Ok(meta) if !meta.is_file() => set_aside(paths, file, now),
        _ => Ok(()),
    }
}

/// Moves a damaged part of a session into its `damaged/`; nothing is deleted.
pub fn set_aside(paths: &SessionPaths, what: &Path, now: Timestamp) -> Result<(), FileError> {
    let at = |e| FileError::at("set aside", what, e);
    if fs::symlink_metadata(what).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
        return Ok(());
    }
    let to = paths.damaged();
    private_dir(&to).map_err(at)?;
    let name = what.file_name().unwrap_or_default().to_string_lossy().into_owned();
    fs::rename(what, free_name(&to, &format!("{name}-{}", compact(now)))).map_err(at)?;
    sync_dir(&to).and_then(|()| sync_dir(what.parent().unwrap_or(&paths.dir()))).map_err(at)
}

pub(super) fn private_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    match fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// `name` in `dir`, or the first of `name.2`, `name.3`, … that is free.
pub(super) fn free_name(dir: &Path, name: &str) -> PathBuf {
    let taken = |path: &PathBuf| fs::symlink_metadata(path).is_ok();
    let plain = dir.join(name);
    if !taken(&plain) {
        return plain;
    }
    (2..).map(|n: u64| dir.join(format!("{name}.{n}"))).find(|path| !taken(path)).unwrap_or(plain)
}

pub(super) fn write_record(planned: &Planned, paths: &SessionPaths, now: Timestamp) -> Result<(), RecoverError> {
    step(&paths.recovery(), "recover.before_record")?;
    let record = RecoveryRecord {
        session_id: paths.id().clone(),
        decided_at: now,
        decision: planned.verdict.decision,
        cause: planned.verdict.cause,
        crash_reason: planned.gathered.crash_reason,
        evidence: planned.gathered.notes.clone(),
        // Released by the operator: counting begins anew.
        unclean_ends: match planned.verdict.cause {
            Cause::Operator => Vec::new(),
            _ => planned.gathered.unclean_ends.clone(),
        },
    };
    recovery_file::write(paths, &record)?;
    step(&paths.recovery(), "recover.after_record")?;
    Ok(())
}

/// Closes what dead processes left open in the registry and writes the decision there.
pub(super) fn settle(planned: &Planned, acting: Acting<'_>) {
    let Some(registry) = acting.registry else { return };
    let id = &planned.info.session_id;
    let life = planned.gathered.evidence.last_life.unwrap_or(acting.now);
    let written = close(registry, id, life, planned.gathered.crash_reason)
        .and_then(|_| registry.put_decision(id, planned.verdict.decision, planned.verdict.cause));
    if let Err(error) = written {
        warn!(session_id = %id, %error, "decision not written into the registry");
    }
}

fn close(registry: &Registry, id: &SessionId, life: Timestamp, reason: CrashReason) -> Result<usize, RegistryError> {
    let closed = registry.close_stale(id, life, reason)?;
    if closed > 0 && reason != CrashReason::Clean {
        registry.add_to_day(&day(life), &DayNumbers { crashes: closed as u64, ..DayNumbers::default() })?;
    }
    Ok(closed)
}

/// Closes the lifetimes that dead processes left open in the registry. For the directory's owner: nobody
/// else runs sessions here, so every one that it does not run itself is dead.
///
/// # Errors
/// The registry cannot be read or written.
pub fn close_dead_epochs(
    dir: &StateDir,
    registry: &Registry,
    running: &[SessionId],
    now: Timestamp,
) -> Result<usize, RegistryError> {
    let sources = Sources { now, clock_sane: true, registry: None, task_file: &|_| None, whole_outputs: false };
    let mut closed = 0;
    for epoch in registry.open_epochs()? {
        let paths = dir.session(&epoch.session_id);
        if running.contains(&epoch.session_id) {
            continue;
        }
        let (life, reason) = match paths.dir().is_dir() {
            true => {
                let gathered = gather(&paths, sources);
                (gathered.evidence.last_life.unwrap_or(epoch.started_at), gathered.crash_reason)
            }
            false => (epoch.started_at, CrashReason::Unknown),
        };
        closed += close(registry, &epoch.session_id, life, reason)?;
    }
    Ok(closed)
}

#[cfg(test)]
#[path = "recover_tests.rs"]
mod tests;
