//! Restart: the old session moves whole to quarantine, a new one for the same task takes its place.
//!
//! The intent is written first and removed last, so that the next start finishes what was begun.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::daemon::recover::{
    Acting, Planned, RecoverError, clear, free_name, private_dir, settle, step, take_lock, write_record,
};
use crate::model::ids::SessionId;
use crate::model::session::Cause;
use crate::model::task::{PreparedTask, StoredTask, TaskOrigin};
use crate::model::time::Timestamp;
use crate::state::atomic_file::{Durability, FileError, replace, sync_dir};
use crate::state::envelope::{self, Document, Envelope, Reading, seal};
use crate::state::paths::{SessionPaths, StateDir};
use crate::state::task_file;

/// A new session in the place of an old one.
#[derive(Debug)]
pub struct StartOrder {
    /// The new session.
    pub session_id: SessionId,
    /// Its task, with the new session's id in it.
    pub task: StoredTask,
    /// The old session, now in quarantine.
    pub replaces: SessionId,
    /// Where it is.
    pub quarantine: PathBuf,
    /// Open it, but do not crawl until the operator says so.
    pub as_paused: bool,
}

/// A restart that has been decided: written before its first step, removed after its last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// The session that is replaced.
    pub replaces: SessionId,
    /// The session that replaces it.
    pub session_id: SessionId,
    /// Why.
    pub cause: Cause,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// Name of the folder in `quarantine/`.
    pub quarantine: String,
    /// The new session stays paused.
    pub as_paused: bool,
    /// The new session's task.
    pub task: serde_json::Value,
}

impl Document for Intent {
    const FORMAT: u32 = 1;
    const CAP: u64 = 64 << 20;
}

/// Carries out a restart.
pub(super) fn restart(
    planned: &Planned,
    task: &StoredTask,
    paths: &SessionPaths,
    acting: Acting<'_>,
) -> Result<StartOrder, RecoverError> {
    let lock = take_lock(paths, acting)?;
    write_record(planned, paths, acting.now)?;
    settle(planned, acting);
    let session_id = SessionId::new(acting.now.millis(), fastrand::u64(..));
    let task = anew(task, planned.gathered.changed_to.as_ref());
    let task = StoredTask { session_id: session_id.clone(), created_at: acting.now, ..task };
    let place = acting.dir.quarantine_for(paths.id(), acting.now);
    let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let place = free_name(&acting.dir.quarantine(), &name);
    let intent = Intent {
        replaces: paths.id().clone(),
        session_id,
        cause: planned.verdict.cause,
        decided_at: acting.now,
        quarantine: place.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        as_paused: planned.verdict.as_paused,
        task: serde_json::to_value(&task).map_err(|e| FileError::at("write as JSON", &paths.task(), e.into()))?,
    };
    let path = intent_path(acting.dir, paths.id());
    step(&path, "recover.before_intent")?;
    private_dir(&acting.dir.intents()).map_err(|e| FileError::at("make the folder of", &path, e))?;
    clear(paths, &path, acting.now)?;
    let bytes =
        seal(&intent, &Envelope::new::<Intent>(1, 0)).map_err(|e| FileError::at("write as JSON", &path, e.into()))?;
    replace(&path, &bytes, Durability::Full)?;
    sync_dir(acting.dir.root()).map_err(|e| FileError::at("sync the folder of", &path, e))?;
    step(&path, "recover.after_intent")?;
    let order = finish(&intent, task, acting.dir)?;
    drop(lock);
    Ok(order)
}

/// The task that a new session begins with: as its file says it now, or the next start would find it changed again.
/// What a command line named was changed by flags perhaps, and stays as it was given.
fn anew(task: &StoredTask, changed_to: Option<&PreparedTask>) -> StoredTask {
    let now = changed_to.filter(|_| task.origin == TaskOrigin::File);
    StoredTask { rescoped: false, ..now.map_or_else(|| task.clone(), |now| task.edited(now)) }
}

fn intent_path(dir: &StateDir, old: &SessionId) -> PathBuf {
    dir.intents().join(format!("{old}.json"))
}

/// Does what an intent says, skipping what is done already.
fn finish(intent: &Intent, task: StoredTask, dir: &StateDir) -> Result<StartOrder, RecoverError> {
    let old = dir.session(&intent.replaces);
    let quarantine = dir.quarantine().join(&intent.quarantine);
    step(&quarantine, "recover.before_move")?;
    move_whole(&old, &quarantine).map_err(|e| FileError::at("move to quarantine", &old.dir(), e))?;
    step(&quarantine, "recover.after_move")?;
    let new = dir.session(&intent.session_id);
    step(&new.task(), "recover.before_task")?;
    if task_file::read(&new).good().is_none() {
        task_file::begin(&new, &task)?;
    }
    step(&new.task(), "recover.after_task")?;
    let path = intent_path(dir, &intent.replaces);
    fs::remove_file(&path).map_err(|e| FileError::at("remove", &path, e))?;
    sync_dir(&dir.intents()).map_err(|e| FileError::at("sync the folder of", &path, e))?;
    step(&path, "recover.after_restart")?;
    Ok(StartOrder {
        session_id: intent.session_id.clone(),
        task,
        replaces: intent.replaces.clone(),
        quarantine,
        as_paused: intent.as_paused,
    })
}

/// Moves a session that left this state directory into quarantine; says where it is.
pub(super) fn move_aside(dir: &StateDir, old: &SessionPaths, now: Timestamp) -> io::Result<PathBuf> {
    let place = dir.quarantine_for(old.id(), now);
    let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let place = free_name(&dir.quarantine(), &name);
    move_whole(old, &place)?;
    Ok(place)
}

/// Moves a session's directory, and then its files beside it, into quarantine.
fn move_whole(old: &SessionPaths, quarantine: &Path) -> io::Result<()> {
    let gone = |moved: io::Result<()>| match moved {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    if fs::symlink_metadata(quarantine).is_err() {
        gone(fs::rename(old.dir(), quarantine))?;
    }
    private_dir(quarantine)?;
    for file in [old.checkpoint(), old.checkpoint_prev(), old.heartbeat()] {
        if let Some(name) = file.file_name() {
            gone(fs::rename(&file, quarantine.join(name)))?;
        }
    }
    sync_dir(quarantine)?;
    sync_dir(quarantine.parent().unwrap_or(quarantine))?;
    sync_dir(old.parent())
}

/// Finishes restarts that a killed process left half done. Call it at start, before [`plan`](super::recover::plan), and
/// start what it returns: the plan will name these sessions as well (to be resumed, with nothing begun).
///
/// # Errors
/// A step could not be done; the intent stays. An intent that cannot be understood stays as well.
pub fn finish_intents(dir: &StateDir) -> Result<Vec<StartOrder>, RecoverError> {
    let entries = match fs::read_dir(dir.intents()) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(RecoverError::Read { path: dir.intents(), source }),
    };
    let mut orders = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|ext| ext != "json") {
            continue;
        }
        match envelope::read::<Intent>(&path) {
            Reading::Good(intent, _) => match serde_json::from_value::<StoredTask>(intent.task.clone()) {
                Ok(task) => orders.push(finish(&intent, task, dir)?),
                Err(error) => warn!(path = %path.display(), %error, "intent of a restart not understood"),
            },
            // Not written to its end: nothing of it was done.
            other => warn!(path = %path.display(), reason = ?other, "intent of a restart not readable"),
        }
    }
    Ok(orders)
}
