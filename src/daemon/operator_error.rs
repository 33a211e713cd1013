//! Why a command came to nothing: in words, for the shell, for the API.

use crate::exit_code::ExitCode;
use crate::model::problem::Problem;

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperatorError {
    /// No such session.
    #[error("no session `{0}`")]
    UnknownSession(String),
    /// There is such a session, but it is not of the task that was named with it; says of which it is.
    #[error("{0}")]
    OtherTask(String),
    /// The session or the daemon is in a state that does not allow it; says which and what to do.
    #[error("not now: {0}")]
    NotNow(String),
    /// Somebody is at work with it at this moment; says who. The same command does later what it does not do now.
    #[error("not now: {0}")]
    InUse(String),
    /// No browser can be had, or not with its sandbox; says why and what to do.
    #[error("{0}")]
    NoBrowser(String),
    /// The session has ended, so there is nothing to order.
    #[error("session `{0}` has ended")]
    Ended(String),
    /// Nothing of the session is left that it could be extended for.
    #[error("session `{0}` is completed: there is nothing to extend")]
    Completed(String),
    /// The operator ended the session for good.
    #[error("session `{0}` was cancelled, which ends it for good")]
    Cancelled(String),
    /// The request is wrong.
    #[error("{}", join(.0))]
    Invalid(Vec<Problem>),
    /// State could not be read or written; says what and where.
    #[error("{0}")]
    Io(String),
    /// Nobody answers: the owner has gone or did not answer in time.
    #[error("{0}")]
    Gone(String),
}

fn join(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

impl OperatorError {
    /// What to do about it, where there is something general to say.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            OperatorError::UnknownSession(_) | OperatorError::OtherTask(_) => Some("list them with `crawld sessions`"),
            OperatorError::NotNow(_) | OperatorError::InUse(_) | OperatorError::NoBrowser(_) => None,
            OperatorError::Ended(_) => Some(
                "`crawld resume SESSION --extend` continues one that reached a limit; `crawld crawl --new` starts another",
            ),
            OperatorError::Completed(_) => Some(
                "`crawld retry-failed` and `crawld release-parked` give it work, `crawld crawl --new` starts another",
            ),
            OperatorError::Cancelled(_) => {
                Some("its outputs stay where they are; `crawld crawl` starts another session of the same task")
            }
            OperatorError::Invalid(_) => None,
            OperatorError::Io(_) => Some("check space and permissions of the state directory with `crawld doctor`"),
            OperatorError::Gone(_) => Some("look at its log; `crawld status` works without it"),
        }
    }

    /// For the shell.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            OperatorError::UnknownSession(_)
            | OperatorError::OtherTask(_)
            | OperatorError::Ended(_)
            | OperatorError::Completed(_)
            | OperatorError::Cancelled(_) => ExitCode::Nothing,
            OperatorError::NotNow(_) => ExitCode::BadConfig,
            OperatorError::InUse(_) => ExitCode::InUse,
            OperatorError::NoBrowser(_) => ExitCode::NoBrowser,
            OperatorError::Invalid(_) => ExitCode::BadConfig,
            OperatorError::Io(_) => ExitCode::CannotWrite,
            OperatorError::Gone(_) => ExitCode::InUse,
        }
    }

    /// For the API.
    pub fn http_status(&self) -> u16 {
        match self {
            OperatorError::UnknownSession(_) | OperatorError::OtherTask(_) => 404,
            OperatorError::NotNow(_)
            | OperatorError::InUse(_)
            | OperatorError::Ended(_)
            | OperatorError::Completed(_)
            | OperatorError::Cancelled(_) => 409,
            OperatorError::Invalid(_) => 422,
            OperatorError::Io(_) => 507,
            OperatorError::NoBrowser(_) | OperatorError::Gone(_) => 503,
        }
    }

    /// Stable word for machines.
    pub fn code(&self) -> &'static str {
        match self {
            OperatorError::UnknownSession(_) => "unknown_session",
            OperatorError::OtherTask(_) => "other_task",
            OperatorError::NotNow(_) => "not_now",
            OperatorError::InUse(_) => "in_use",
            OperatorError::NoBrowser(_) => "no_browser",
            OperatorError::Ended(_) => "ended",
            OperatorError::Completed(_) => "completed",
            OperatorError::Cancelled(_) => "cancelled",
            OperatorError::Invalid(_) => "invalid",
            OperatorError::Io(_) => "io",
            OperatorError::Gone(_) => "gone",
        }
    }
}
