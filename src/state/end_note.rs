//! `ended.json`: how a session ended, for the time when its store and checkpoint are gone.

use serde::{Deserialize, Serialize};

use crate::model::counters::Counters;
use crate::model::ids::SessionId;
use crate::model::session::SessionStatus;
use crate::model::time::Timestamp;
use crate::state::atomic_file::{Durability, FileError, replace};
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
    }
}
