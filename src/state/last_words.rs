//! `last-words.json`: what a dying process says about its end, so that the next one need not guess.

use serde::{Deserialize, Serialize};

use crate::model::ids::{Epoch, UrlNo};
use crate::model::session::CrashReason;
use crate::model::time::Timestamp;
use crate::state::atomic_file::{Content, Durability, FileError, read_bounded, replace};
use crate::state::paths::SessionPaths;
use crate::state::process;

/// Longest message kept, in bytes.
const MESSAGE_MAX: usize = 4096;

/// A note written by the panic hook, the watchdog or the loss of the browser.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastWords {
    /// Panic, watchdog, browser loss, out of memory.
    pub reason: CrashReason,
    /// When.
    pub at: Timestamp,
    /// Whose lifetime ended.
    pub epoch: Epoch,
    /// The visit in which it happened, when it was one.
    pub url_no: Option<UrlNo>,
    /// In words.
    pub message: String,
    /// The writer's process id.
    pub pid: u32,
    /// The writer's boot.
    pub boot_id: String,
}

impl LastWords {
    /// A note by this process.
    pub fn new(reason: CrashReason, at: Timestamp, epoch: Epoch, url_no: Option<UrlNo>, message: &str) -> Self {
        let mut end = message.len().min(MESSAGE_MAX);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        LastWords {
            reason,
            at,
            epoch,
            url_no,
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
    fn words_are_read_back_bounded_and_cleared() {
        let temp = tempfile::tempdir().unwrap();
        let paths = StateDir::open(temp.path()).unwrap().session(&"s1".parse().unwrap());
        paths.create().unwrap();
        assert_eq!(read(&paths), None);
        let words = LastWords::new(CrashReason::Panic, Timestamp::from_millis(5), 2, Some(7), &"ä".repeat(MESSAGE_MAX));
        write(&paths, &words).unwrap();
        assert_eq!(read(&paths).as_ref(), Some(&words));
        assert!(words.message.len() <= MESSAGE_MAX);
        clear(&paths);
        assert_eq!(read(&paths), None);
    }
}
