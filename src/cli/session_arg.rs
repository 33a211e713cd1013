//! A session as an operator writes it: its id, or the composite key `{id}:{task_id}`, whose task is checked.

use std::str::FromStr;

use crate::cli::failure::Failure;
use crate::exit_code::ExitCode;
use crate::model::ids::{IdError, SessionId, TaskId};
use crate::state::paths::StateDir;
use crate::state::task_file;

/// A session named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SessionArg {
    id: SessionId,
    task: Option<TaskId>,
}

impl FromStr for SessionArg {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let task = text.split_once(':').map(|(_, task)| task.parse()).transpose()?;
        Ok(SessionArg { id: text.parse()?, task })
    }
}

impl SessionArg {
    /// The session, if it is of the task that was named. One whose task cannot be read is believed: what is
    /// asked of it says more.
    pub(super) fn of(self, state: &StateDir) -> Result<SessionId, Failure> {
        let reading = task_file::read(&state.session(&self.id));
        let known = reading.good().map(|(task, _)| &task.task_id);
        match (self.task, known) {
            (Some(named), Some(known)) if named != *known => Err(Failure::new(
                ExitCode::Nothing,
                format!("no session `{}:{named}`: session `{}` is of task `{known}`", self.id, self.id),
            )),
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
        let read = |text: &str| text.parse::<SessionArg>().unwrap().of(&state);
        assert_eq!(read("s1"), Ok(task.session_id.clone()));
        assert_eq!(read(&task.session_id.composite_key(&task.task_id)), Ok(task.session_id.clone()));
        assert_eq!(read("unknown:any"), Ok("unknown".parse().unwrap()), "whoever looks for it says so");
        let wrong = read("s1:another").unwrap_err();
        assert_eq!(wrong.code.code(), 5);
        assert!(
            wrong.text().contains("s1:another") && wrong.text().contains(task.task_id.as_str()),
            "{}",
            wrong.text()
        );
        assert!("s1:Not A Task".parse::<SessionArg>().is_err());
    }
}
