//! A session as an operator names it: its id, or the composite key `{id}:{task_id}`, whose task is checked.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::daemon::command::OperatorError;
use crate::model::ids::{IdError, SessionId, TaskId};
use crate::state::paths::StateDir;
use crate::state::task_file;

/// A session named on the command line or in a request: a string, its id or `id:task`.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub struct SessionKey {
    id: SessionId,
    task: Option<TaskId>,
}

impl From<SessionId> for SessionKey {
    fn from(id: SessionId) -> Self {
        SessionKey { id, task: None }
    }
}

impl FromStr for SessionKey {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let task = text.split_once(':').map(|(_, task)| task.parse()).transpose()?;
        Ok(SessionKey { id: text.parse()?, task })
    }
}

impl fmt::Display for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.task {
            Some(task) => f.write_str(&self.id.composite_key(task)),
            None => self.id.fmt(f),
        }
    }
}

impl Serialize for SessionKey {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SessionKey {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl SessionKey {
    /// The session, if it is of the task that was named. One whose task cannot be read is believed: what is
    /// asked of it says more. Reads a small file where a task was named.
    ///
    /// # Errors
    /// [`OperatorError::OtherTask`].
    pub fn of(self, state: &StateDir) -> Result<SessionId, OperatorError> {
        let Some(named) = self.task else { return Ok(self.id) };
        let reading = task_file::read(&state.session(&self.id));
        match reading.good().map(|(task, _)| &task.task_id) {
            Some(known) if *known != named => Err(OperatorError::OtherTask(format!(
                "no session `{}`: session `{}` is of task `{known}`",
                self.id.composite_key(&named),
                self.id
            ))),
            _ => Ok(self.id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_composite_key_is_compared_with_the_session_s_task() {
        let temp = tempfile::tempdir().unwrap();
        let state = StateDir::open(&temp.path().join("state")).unwrap();
        let paths = state.session(&"s1".parse().unwrap());
        paths.create().unwrap();
        let task = task_file::sample("s1");
        task_file::write(&paths, &task).unwrap();
        let read = |text: &str| text.parse::<SessionKey>().unwrap().of(&state);
        assert_eq!(read("s1"), Ok(task.session_id.clone()));
        assert_eq!(read(&task.session_id.composite_key(&task.task_id)), Ok(task.session_id.clone()));
        assert_eq!(read("unknown:any"), Ok("unknown".parse().unwrap()), "whoever looks for it says so");
        let wrong = read("s1:another").unwrap_err();
        assert_eq!((wrong.exit_code().code(), wrong.http_status()), (5, 404));
        let said = wrong.to_string();
        assert!(said.contains("`s1:another`") && said.contains(task.task_id.as_str()), "{said}");
        assert!("s1:Not A Task".parse::<SessionKey>().is_err());
    }

    #[test]
    fn a_key_survives_the_wire() {
        for text in ["s1", "s1:docs"] {
            let key: SessionKey = text.parse().unwrap();
            let json = serde_json::to_string(&key).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<SessionKey>(&json).unwrap(), key);
        }
        assert!(serde_json::from_str::<SessionKey>("\"../x\"").is_err());
    }
}
