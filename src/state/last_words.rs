//! `last-words.json`: what a dying process says about its end, so that the next one need not guess.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, TryLockError};

use serde::{Deserialize, Serialize};

use crate::lock::lock;
use crate::model::ids::{Epoch, SessionId};
use crate::model::session::CrashReason;
use crate::model::time::Timestamp;
use crate::state::atomic_file::{Content, Durability, FileError, read_bounded, replace};
use crate::state::paths::SessionPaths;
use crate::state::process;

/// Longest message kept, in bytes.
const MESSAGE_MAX: usize = 4096;

/// A note written by the panic hook, the watchdog or the loss of the browser. Which visits were under
/// way then is told by the in-flight note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastWords {
    /// Panic, watchdog, browser loss, out of memory.
    pub reason: CrashReason,
    /// When.
    pub at: Timestamp,
    /// Whose lifetime ended.
    pub epoch: Epoch,
    /// In words.
    pub message: String,
    /// The writer's process id.
    pub pid: u32,
    /// The writer's boot.
    pub boot_id: String,
}

impl LastWords {
    /// A note by this process.
    pub fn new(reason: CrashReason, at: Timestamp, epoch: Epoch, message: &str) -> Self {
        let mut end = message.len().min(MESSAGE_MAX);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        LastWords {
            reason,
            at,
            epoch,
            message: message[..end].to_owned(),
            pid: std::process::id(),
            boot_id: process::boot_id(),
        }
    }
}

/// Leaves a note. Not synced: a dying process has no time, and a power loss explains itself.
///
/// # Errors
/// What the system said; nothing can be done about it.
pub fn write(paths: &SessionPaths, words: &LastWords) -> Result<(), FileError> {
    let path = paths.last_words();
    let bytes = serde_json::to_vec_pretty(words).map_err(|e| FileError::at("write as JSON", &path, e.into()))?;
    replace(&path, &bytes, Durability::Atomic)
}

/// The sessions that run in this process, for the moment in which it dies.
static RUNNING: Mutex<BTreeMap<SessionId, (SessionPaths, Epoch)>> = Mutex::new(BTreeMap::new());

/// A session's place among those that run here; given up when dropped.
#[derive(Debug)]
pub struct Enrolled(SessionId);

/// Has a session spoken for by [`leave_all`] for as long as the answer is kept.
pub fn enroll(paths: &SessionPaths, epoch: Epoch) -> Enrolled {
    running().insert(paths.id().clone(), (paths.clone(), epoch));
    Enrolled(paths.id().clone())
}

impl Drop for Enrolled {
    fn drop(&mut self) {
        running().remove(&self.0);
    }
}

fn running() -> MutexGuard<'static, BTreeMap<SessionId, (SessionPaths, Epoch)>> {
    lock(&RUNNING)
}

/// Leaves a note in every running session. For a process that is about to die: waits for nothing, and
/// what cannot be written is left unsaid.
pub fn leave_all(reason: CrashReason, at: Timestamp, message: &str) {
    let sessions = match RUNNING.try_lock() {
        Ok(sessions) => sessions,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return,
    };
    for (paths, epoch) in sessions.values() {
        let _ = write(paths, &LastWords::new(reason, at, *epoch, message));
    }
}

/// Reads the note; an unreadable one says nothing.
pub fn read(paths: &SessionPaths) -> Option<LastWords> {
    match read_bounded(&paths.last_words(), 64 << 10) {
        Content::Bytes(bytes) => serde_json::from_slice(&bytes).ok(),
        _ => None,
    }
}

/// Removes the note, once it has been understood and written down elsewhere.
pub fn clear(paths: &SessionPaths) {
    let _ = std::fs::remove_file(paths.last_words());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::paths::StateDir;

    #[test]
    fn a_dying_process_speaks_for_the_sessions_that_run_and_for_no_other() {
        let temp = tempfile::tempdir().unwrap();
        let dir = StateDir::open(temp.path()).unwrap();
        let [runs, ended] = ["runs-here", "ended-here"].map(|id| dir.session(&id.parse().unwrap()));
        runs.create().unwrap();
        ended.create().unwrap();
        let _place = enroll(&runs, 3);
        drop(enroll(&ended, 4));
        leave_all(CrashReason::Panic, Timestamp::from_millis(9), "index out of bounds");
        let words = read(&runs).unwrap();
        assert_eq!((words.reason, words.epoch), (CrashReason::Panic, 3));
        assert_eq!(read(&ended), None);
    }

    #[test]
    fn words_are_read_back_bounded_and_cleared() {
        let temp = tempfile::tempdir().unwrap();
        let paths = StateDir::open(temp.path()).unwrap().session(&"s1".parse().unwrap());
        paths.create().unwrap();
        assert_eq!(read(&paths), None);
        let words = LastWords::new(CrashReason::Panic, Timestamp::from_millis(5), 2, &"ä".repeat(MESSAGE_MAX));
        write(&paths, &words).unwrap();
        assert_eq!(read(&paths).as_ref(), Some(&words));
        assert!(words.message.len() <= MESSAGE_MAX);
        clear(&paths);
        assert_eq!(read(&paths), None);
    }
}
