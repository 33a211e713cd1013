//! `task.json`: the task as accepted, written once and durably before anything else of a session.

use crate::model::task::{StoredTask, TASK_FORMAT};
use crate::state::atomic_file::{Durability, FileError, replace};
use crate::state::envelope::{self, Document, Envelope, Reading, seal};
use crate::state::paths::SessionPaths;

impl Document for StoredTask {
    const FORMAT: u32 = TASK_FORMAT;
    const CARRIES_FORMAT: bool = true;
    const CAP: u64 = 64 << 20;
}

/// Writes a session's task. Its directory must exist ([`SessionPaths::create`]).
///
/// # Errors
/// What the system said.
pub fn write(paths: &SessionPaths, task: &StoredTask) -> Result<(), FileError> {
    let path = paths.task();
    let bytes =
        seal(task, &Envelope::new::<StoredTask>(1, 0)).map_err(|e| FileError::at("write as JSON", &path, e.into()))?;
    replace(&path, &bytes, Durability::Full)
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
        named_private: Vec::new(),
        spec: serde_json::from_str(r#"{"seeds": ["http://example.test/"]}"#).unwrap(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::paths::StateDir;

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
