//! `ended.json`: how a session ended, for the time when its store and checkpoint are gone.

use std::fs;
use std::io;

use serde::{Deserialize, Serialize};

use crate::faults::point;
use crate::model::counters::Counters;
use crate::model::ids::SessionId;
use crate::model::session::SessionStatus;
use crate::model::time::Timestamp;
use crate::state::atomic_file::{Durability, FileError, replace, sync_dir};
use crate::state::envelope::{self, Document, Envelope, Reading, seal};
use crate::state::paths::SessionPaths;

/// Written before a cleanup removes the store, and when a session moves to another machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndNote {
    /// The session.
    pub session_id: SessionId,
    /// Completed, cancelled, failed, expired or migrated.
    pub status: SessionStatus,
    /// When the note was written.
    pub at: Timestamp,
    /// Committed totals.
    pub counters: Counters,
    /// In words: where it was exported to, or that it was cleaned up.
    pub note: String,
}

impl Document for EndNote {
    const FORMAT: u32 = 1;
    const CAP: u64 = 64 << 10;
}

/// Writes the note durably.
///
/// # Errors
/// What the system said.
pub fn write(paths: &SessionPaths, note: &EndNote) -> Result<(), FileError> {
    let path = paths.ended();
    let bytes =
        seal(note, &Envelope::new::<EndNote>(1, 0)).map_err(|e| FileError::at("write as JSON", &path, e.into()))?;
    replace(&path, &bytes, Durability::Full)
}

/// Kill points of taking the note back.
pub const POINTS: &[&str] = &["ended.before_remove", "ended.after_remove"];

/// Takes the note back, durably: the session lives again, and speaks for itself. Without one nothing happens.
///
/// # Errors
/// What the system said.
pub fn remove(paths: &SessionPaths) -> Result<(), FileError> {
    let path = paths.ended();
    if fs::symlink_metadata(&path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Ok(());
    }
    let at = |error| FileError::at("remove", &path, error);
    point("ended.before_remove").map_err(at)?;
    fs::remove_file(&path).and_then(|()| sync_dir(&paths.dir())).map_err(at)?;
    point("ended.after_remove").map_err(at)
}

/// Reads the note.
pub fn read(paths: &SessionPaths) -> Reading<EndNote> {
    envelope::read::<EndNote>(&paths.ended()).filter(|n| n.session_id == *paths.id(), "it belongs to another session")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_reads_back() {
        let temp = tempfile::tempdir().unwrap();
        let paths = crate::state::StateDir::open(temp.path()).unwrap().session(&"s1".parse().unwrap());
        paths.create().unwrap();
        let note = EndNote {
            session_id: "s1".parse().unwrap(),
            status: SessionStatus::Completed,
            at: Timestamp::from_millis(1),
            counters: Counters::default(),
            note: "cleaned up".into(),
        };
        write(&paths, &note).unwrap();
        assert_eq!(read(&paths).good().unwrap().0, &note);
        for _ in 0..2 {
            remove(&paths).unwrap();
            assert_eq!(read(&paths), Reading::Missing);
        }
    }
}
