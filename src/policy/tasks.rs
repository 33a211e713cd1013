//! What a task file means, given the sessions that exist: start, continue, report, leave.

use crate::model::ids::{SessionId, TaskId};
use crate::model::session::SessionStatus;

/// What matters of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskSession {
    /// The session.
    pub session: SessionId,
    /// Its task.
    pub task: TaskId,
    /// Hash of the task's normalised content.
    pub hash: String,
    /// Where it stands.
    pub status: SessionStatus,
}

/// What is done about a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskAction {
    /// A new session.
    Start,
    /// This session of the same content is active or can be continued: join it.
    Join(SessionId),
    /// It ran already with this content.
    AlreadyRan(SessionId),
    /// It reached a limit: only an extension goes on, and starting over would not be what was asked for.
    Limit(SessionId),
    /// An unfinished session runs an older content; it is not touched.
    Changed(SessionId),
}

/// Decides about a submitted task.
///
/// `repeat` starts anew when the same content ran to its end: a file's `rerun`, or any command line.
pub fn plan(task: &TaskId, hash: &str, repeat: bool, sessions: &[TaskSession]) -> TaskAction {
    let newest = |wanted: &dyn Fn(&TaskSession) -> bool| sessions.iter().rfind(|s| &s.task == task && wanted(s));
    if let Some(found) = newest(&|s| !s.status.ended() && s.hash == hash) {
        return TaskAction::Join(found.session.clone());
    }
    if let Some(found) = newest(&|s| !s.status.ended()) {
        return TaskAction::Changed(found.session.clone());
    }
    match newest(&|s| s.hash == hash) {
        // It was not finished: an error of its own files ended it.
        Some(last) if last.status == SessionStatus::Failed => TaskAction::Join(last.session.clone()),
        Some(last) if repeat && last.status == SessionStatus::Expired => TaskAction::Limit(last.session.clone()),
        Some(last) if !repeat => TaskAction::AlreadyRan(last.session.clone()),
        _ => TaskAction::Start,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(id: &str, hash: &str, ended: bool) -> TaskSession {
        TaskSession {
            session: id.parse().unwrap(),
            task: "docs".parse().unwrap(),
            hash: hash.to_owned(),
            status: if ended { SessionStatus::Completed } else { SessionStatus::Active },
        }
    }

    #[track_caller]
    fn check(name: &str, sessions: &[TaskSession], repeat: bool, expected: TaskAction) {
        assert_eq!(plan(&"docs".parse().unwrap(), "new", repeat, sessions), expected, "{name}");
    }

    #[test]
    fn a_task_runs_once_per_content() {
        let id = |text: &str| text.parse().unwrap();
        check("never seen", &[], false, TaskAction::Start);
        check("ran", &[session("a", "new", true)], false, TaskAction::AlreadyRan(id("a")));
        check("ran, repeated", &[session("a", "new", true)], true, TaskAction::Start);
        check("edited after its end", &[session("a", "old", true)], false, TaskAction::Start);
        check("running", &[session("a", "new", false)], true, TaskAction::Join(id("a")));
        check("running older content", &[session("a", "old", false)], true, TaskAction::Changed(id("a")));
        check(
            "ended once, running now",
            &[session("a", "new", true), session("b", "new", false)],
            false,
            TaskAction::Join(id("b")),
        );
        let failed = || TaskSession { status: SessionStatus::Failed, ..session("a", "new", true) };
        check("failed by its files", &[failed()], true, TaskAction::Join(id("a")));
        check("failed once, completed later", &[failed(), session("b", "new", true)], true, TaskAction::Start);
        check("older content failed", &[TaskSession { hash: "old".into(), ..failed() }], true, TaskAction::Start);
        let expired = || TaskSession { status: SessionStatus::Expired, ..session("a", "new", true) };
        check("reached its limit, asked for again", &[expired()], true, TaskAction::Limit(id("a")));
        check("reached its limit, a task file", &[expired()], false, TaskAction::AlreadyRan(id("a")));
        let other = TaskSession { task: id2("other"), ..session("a", "new", false) };
        check("another task", &[other], false, TaskAction::Start);
    }

    fn id2(text: &str) -> TaskId {
        text.parse().unwrap()
    }
}
