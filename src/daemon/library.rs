//! The four calls for programs that embed crawld or look after its state directory.

use std::path::Path;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::Config;
use crate::crawl::compose::{Facts, compose};
use crate::daemon::answers::CleanupReport;
use crate::daemon::desk_recover::name_private;
use crate::daemon::evidence::Sources;
use crate::daemon::janitor::{self, JanitorError};
use crate::daemon::recover::{self, Acting, Outcome, RecoverError};
use crate::daemon::store_seen;
use crate::model::checkpoint::BROWSER_KEY;
use crate::model::ids::SessionId;
use crate::model::session::{SessionRecoveryInfo, SessionStatus, Strategy};
use crate::model::task::PreparedTask;
use crate::model::time::Timestamp;
use crate::policy::recovery::{Options, StoreState};
use crate::policy::retention::RetentionOptions;
use crate::state::checkpoint_file::CheckpointWriter;
use crate::state::lock::{Holder, Lock, LockError};
use crate::state::paths::{SessionPaths, StateDir, StateDirError};
use crate::state::{FileError, checkpoint_file, task_file};
use crate::store::registry::Registry;

/// Items in each list of a checkpoint: the default of `checkpoint_inline_urls`.
const INLINE_URLS: usize = 1000;

/// Why a call did nothing.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The state directory cannot be used.
    #[error(transparent)]
    Dir(#[from] StateDirError),
    /// Somebody else has the directory or the session: ask the owner (`crawld … --state-dir`).
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Recovery failed.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// Cleaning up failed.
    #[error(transparent)]
    Janitor(#[from] JanitorError),
    /// A file could not be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The sessions cannot be listed.
    #[error("cannot list the sessions: {0}")]
    List(std::io::Error),
    /// There is no such session.
    #[error("session {0} is not in this state directory")]
    Unknown(SessionId),
    /// The store gives no checkpoint.
    #[error("no checkpoint of session {0}: {1}")]
    NoCheckpoint(SessionId, String),
}

/// What a task file says now, by the daemon's default settings.
pub fn task_file(path: &Path) -> Option<PreparedTask> {
    crate::config::task::load(path, &Config::default()).ok()
}

fn sources(registry: Option<&Registry>) -> Sources<'_> {
    Sources { now: Clock::system().now(), clock_sane: true, registry, task_file: &task_file, whole_outputs: false }
}

/// Sessions that nobody runs and that can be resumed or started over. Changes nothing.
///
/// # Errors
/// The state directory cannot be read.
pub fn list_recoverable_sessions(state_dir: &Path) -> Result<Vec<SessionRecoveryInfo>, StateError> {
    let dir = StateDir::existing(state_dir)?;
    let planned = recover::plan(&dir, &[], sources(None), &Options::default())?;
    Ok(planned.into_iter().map(|planned| planned.info).filter(|info| info.recovery_possible).collect())
}

/// Decides about one session and does what is to be done on disk: repairs it, or moves it to quarantine
/// and sets its successor up. Crawling goes on with the next `crawld run`.
///
/// # Errors
/// The directory is in use, there is no such session, or a step could not be done.
pub fn recover_session(
    state_dir: &Path,
    session: &SessionId,
    strategy: Strategy,
) -> Result<(SessionRecoveryInfo, Outcome), StateError> {
    let dir = StateDir::existing(state_dir)?;
    let now = Clock::system().now();
    let _owner = Lock::take(&dir.lock(), &Holder::me("recover", now))?;
    let registry = Registry::open(&dir.registry(), &dir.quarantine()).ok().map(|(registry, _)| registry);
    recover::finish_intents(&dir)?;
    let options = Options { strategy, ..Options::default() };
    let planned = recover::plan(&dir, std::slice::from_ref(session), sources(registry.as_ref()), &options)?;
    let mut planned = planned.into_iter().next().ok_or_else(|| StateError::Unknown(session.clone()))?;
    name_private(&mut planned);
    let acting = Acting { dir: &dir, registry: registry.as_ref(), now, command: "recover" };
    let outcome = recover::act(&planned, acting)?;
    Ok((planned.info, outcome))
}

/// Removes what ended long ago; see [`RetentionOptions`].
///
/// # Errors
/// The directory is in use or cannot be read.
pub fn cleanup_old_sessions(
    state_dir: &Path,
    options: &RetentionOptions,
    dry_run: bool,
) -> Result<CleanupReport, StateError> {
    let dir = StateDir::existing(state_dir)?;
    let now = Clock::system().now();
    let _owner = if dry_run { None } else { Some(Lock::take(&dir.lock(), &Holder::me("cleanup", now))?) };
    janitor::clean(&dir, now, options, dry_run).map_err(StateError::List)
}

/// Writes a fresh checkpoint of a session that nobody runs, from its store; returns its generation.
///
/// # Errors
/// The session runs, is not there, or its store cannot be read.
pub fn create_session_checkpoint(state_dir: &Path, session: &SessionId) -> Result<u64, StateError> {
    let paths = StateDir::existing(state_dir)?.session(session);
    if !paths.dir().is_dir() {
        return Err(StateError::Unknown(session.clone()));
    }
    let now = Clock::system().now();
    let _lock = Lock::take(&paths.lock(), &Holder::me("checkpoint", now))?;
    let none = |why: String| StateError::NoCheckpoint(session.clone(), why);
    let facts = facts(&paths, now).map_err(none)?;
    let checkpoint = compose(&paths, facts).map_err(none)?;
    Ok(CheckpointWriter::open(&paths).write(checkpoint)?)
}

/// What the store does not know, from the task and the last checkpoint.
fn facts(paths: &SessionPaths, now: Timestamp) -> Result<Facts, String> {
    let task = task_file::read(paths);
    let (task, _) = task.good().ok_or("its task.json is not usable")?;
    let seen = store_seen::look(paths, false);
    if !matches!(seen.state, StoreState::Good(_)) {
        return Err(format!("its store is {}", seen.describe()));
    }
    let checkpoints = checkpoint_file::read(paths);
    let last = checkpoints.best().map(|(checkpoint, _)| checkpoint);
    Ok(Facts {
        session: task.session_id.clone(),
        task: task.task_id.clone(),
        now,
        status: last.map_or(SessionStatus::Active, |c| c.progress_snapshot.status),
        stop_reason: last.and_then(|c| c.progress_snapshot.stop_reason),
        pages_per_second: 0.0,
        active: Duration::from_millis(seen.active_ms),
        session_start: task.created_at,
        epoch: seen.epoch.map_or(0, |(epoch, _)| epoch),
        fetch_mode: task.spec.fetch.mode,
        fetch_modes: last.map(|c| c.crawler_state.fetch_modes.clone()).unwrap_or_default(),
        sites: last.map(|c| c.crawler_state.sites.clone()).unwrap_or_default(),
        browsers: None,
        limits_used: last.map(|c| c.crawler_state.limits_used.clone()).unwrap_or_default(),
        inline_urls: INLINE_URLS,
        browser: None,
        browser_breaker: last.and_then(|c| c.circuit_breaker_state.get(BROWSER_KEY)).map(|seen| seen.breaker),
        egress: None,
    })
}
