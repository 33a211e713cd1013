//! `task.json`: the task as accepted, written once and durably before anything else of a session.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use crate::model::task::{StoredTask, TASK_FORMAT};
use crate::state::atomic_file::{Durability, FileError, replace, sync_dir, temporary_name};
use crate::state::envelope::{self, Document, Envelope, Reading, seal};
use crate::state::paths::SessionPaths;

impl Document for StoredTask {
    const FORMAT: u32 = TASK_FORMAT;
    const CARRIES_FORMAT: bool = true;
    const CAP: u64 = 64 << 20;
}

/// Makes a session: its directory, with `out/` and its task in it, appears whole or not at all. A
/// death on the way leaves a temporary that the janitor sweeps.
///
/// # Errors
/// What the system said; nothing of the session is there then.
pub fn begin(paths: &SessionPaths, task: &StoredTask) -> Result<(), FileError> {
    let dir = paths.dir();
    if fs::symlink_metadata(&dir).is_ok() {
        paths.create().map_err(|e| FileError::at("make the directory of", &dir, e))?;
        return write(paths, task);
    }
    let temp = temporary_name(paths.parent());
    let made = fill(&temp, task).and_then(|()| {
        fs::rename(&temp, &dir).and_then(|()| sync_dir(paths.parent())).map_err(|e| FileError::at("make", &dir, e))
    });
    if made.is_err() {
        discard(&temp);
    }
    made
}

fn fill(temp: &Path, task: &StoredTask) -> Result<(), FileError> {
    let make = |path: &Path| fs::DirBuilder::new().mode(0o700).create(path);
    make(temp).and_then(|()| make(&temp.join("out"))).map_err(|e| FileError::at("make", temp, e))?;
    put(&temp.join("task.json"), task)
}

/// Takes a half made session back; what cannot be removed is left to the janitor.
fn discard(temp: &Path) {
    let _ = fs::remove_file(temp.join("task.json"));
    let _ = fs::remove_dir(temp.join("out"));
    let _ = fs::remove_dir(temp);
}

/// Writes the task of a session whose directory exists.
///
/// # Errors
/// What the system said.
pub fn write(paths: &SessionPaths, task: &StoredTask) -> Result<(), FileError> {
    put(&paths.task(), task)
}

fn put(path: &Path, task: &StoredTask) -> Result<(), FileError> {
    let bytes = seal(task, &Envelope::new::<StoredTask>(1, 0))
        .map_err(|e| FileError::at("write as JSON", path, io::Error::from(e)))?;
    replace(path, &bytes, Durability::Full)
}

/// Reads a session's task.
pub fn read(paths: &SessionPaths) -> Reading<StoredTask> {
    envelope::read::<StoredTask>(&paths.task())
        .filter(|task| task.session_id == *paths.id(), "it belongs to another session")
}

/// A small task for the tests of this and other modules.
#[cfg(test)]
pub(crate) fn sample(id: &str) -> StoredTask {
    StoredTask {
        format: TASK_FORMAT,
        session_id: id.parse().unwrap(),
        task_id: "task".parse().unwrap(),
        task_hash: "sha256:00".into(),
        origin: crate::model::task::TaskOrigin::Command,
        file: None,
        created_at: crate::model::time::Timestamp::from_millis(1_763_719_000_000),
        ungranted: false,
        rescoped: false,
        named_private: Vec::new(),
        spec: serde_json::from_str(r#"{"seeds": ["http://example.test/"]}"#).unwrap(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::paths::StateDir;

    #[test]
    fn a_session_begins_whole() {
        let temp = tempfile::tempdir().unwrap();
        let dir = StateDir::open(temp.path()).unwrap();
        let paths = dir.session(&"s1".parse().unwrap());
        begin(&paths, &sample("s1")).unwrap();
        assert!(read(&paths).good().is_some() && paths.out().is_dir());
        begin(&paths, &sample("s1")).unwrap();
        assert_eq!(fs::read_dir(dir.sessions()).unwrap().count(), 1, "no temporary is left");
    }

    #[test]
    fn a_task_reads_back_and_its_format_stands_once() {
        let temp = tempfile::tempdir().unwrap();
        let paths = StateDir::open(temp.path()).unwrap().session(&"s1".parse().unwrap());
        paths.create().unwrap();
        write(&paths, &sample("s1")).unwrap();
        let Reading::Good(back, _) = read(&paths) else { panic!("{:?}", read(&paths)) };
        assert_eq!(back, sample("s1"));
        let text = std::fs::read_to_string(paths.task()).unwrap();
        assert_eq!(text.matches("\"format\"").count(), 1, "{text}");
    }

    #[test]
    fn a_newer_task_is_recognised() {
        let mut task = sample("s1");
        task.format = TASK_FORMAT + 1;
        let bytes = seal(&task, &Envelope::new::<StoredTask>(1, 0)).unwrap();
        assert_eq!(envelope::unseal::<StoredTask>(&bytes), Reading::TooNew { format: TASK_FORMAT + 1 });
    }
}
