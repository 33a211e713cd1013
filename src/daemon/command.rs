//! Commands to the owner of a state directory: a bounded queue in, one answer each, a deadline on both.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::daemon::answers::{
    CleanupReport, Done, OwnerHealth, RecoveryReport, SessionDetail, SessionSummary, StatsReport, Submitted,
};
use crate::exit_code::ExitCode;
use crate::model::duration::Span;
use crate::model::ids::SessionId;
use crate::model::outcome::closed_list;
pub use crate::model::problem::Problem;
pub use crate::model::session::Strategy;
use crate::model::task::PreparedTask;

/// Commands that may wait for a busy daemon; more is a client in a loop.
const QUEUE: usize = 64;
/// Questions are answered from memory.
pub const ASK_DEADLINE: Duration = Duration::from_secs(10);
/// Orders wait for a commit and a checkpoint at most.
pub const ORDER_DEADLINE: Duration = Duration::from_secs(60);
/// A session that hears no orders any more is over within this time: its last commit and its books.
const ENDS_WITHIN: Duration = Duration::from_secs(10);
/// And it is looked again this often.
const ENDS_POLL: Duration = Duration::from_millis(50);
/// Recovery, cleanup and archives read and move files.
pub const WORK_DEADLINE: Duration = Duration::from_secs(600);

closed_list! {
    /// How the owner is told to stop.
    StopLevel {
        /// Finish the visits in flight, checkpoint, stop.
        Drain = "drain",
        /// Abandon the visits in flight, checkpoint, stop.
        Abandon = "abandon",
    }
}

/// Where a command's answer goes; a gone listener is no error.
pub type Reply<T> = oneshot::Sender<Result<T, OperatorError>>;

/// What `cleanup` may remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CleanupRequest {
    /// Older than this; none: `auto_session_cleanup_age`.
    pub older_than: Option<Span>,
    /// Say only what would be done.
    pub dry_run: bool,
    /// The outputs as well.
    pub purge_outputs: bool,
}

/// What `recover` looks at and does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoverRequest {
    /// These only; empty: all.
    pub sessions: Vec<SessionId>,
    /// What the operator prefers.
    pub strategy: Strategy,
    /// Say only what would be done.
    pub dry_run: bool,
    /// Repair but do not crawl.
    pub no_run: bool,
    /// Continue sessions that reached a limit; the limits count anew.
    pub extend: bool,
    /// An order gives ended sessions new work.
    pub revive: bool,
    /// An order waits for the session: it is opened even while all places are taken.
    pub at_once: bool,
}

impl Default for RecoverRequest {
    fn default() -> Self {
        RecoverRequest {
            sessions: Vec::new(),
            strategy: Strategy::Auto,
            dry_run: false,
            no_run: false,
            extend: false,
            revive: false,
            at_once: false,
        }
    }
}

/// An order about one session; all of them answer `Done`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionOrder {
    /// Write a checkpoint now; `count` is its generation.
    Checkpoint,
    /// Hold; survives restarts.
    Pause,
    /// Go on; `extend`: also past a reached limit (the limit counts anew).
    Resume {
        /// Continue an expired session.
        extend: bool,
    },
    /// End it.
    Cancel,
    /// Queue failed URLs again.
    RetryFailed {
        /// Poisoned ones as well.
        quarantined: bool,
    },
    /// Queue parked URLs.
    ReleaseParked,
}

impl SessionOrder {
    /// The word of the command line and of the API's path.
    pub const fn name(self) -> &'static str {
        match self {
            SessionOrder::Checkpoint => "checkpoint",
            SessionOrder::Pause => "pause",
            SessionOrder::Resume { .. } => "resume",
            SessionOrder::Cancel => "cancel",
            SessionOrder::RetryFailed { .. } => "retry-failed",
            SessionOrder::ReleaseParked => "release-parked",
        }
    }
}

/// What the owner of a state directory can be told. Executed by the daemon's loop.
#[derive(Debug)]
pub enum Command {
    /// Crawl a task.
    Submit {
        /// The task, checked and normalised.
        task: Box<PreparedTask>,
        /// Start another session although one of the same task is unfinished.
        new: bool,
        /// The answer.
        reply: Reply<Submitted>,
    },
    /// Every session known, newest first.
    Sessions {
        /// The answer.
        reply: Reply<Vec<SessionSummary>>,
    },
    /// One session in full.
    Status {
        /// Which.
        session: SessionId,
        /// The answer.
        reply: Reply<Box<SessionDetail>>,
    },
    /// An order about one session.
    Order {
        /// Which.
        session: SessionId,
        /// What.
        order: SessionOrder,
        /// The answer.
        reply: Reply<Done>,
    },
    /// Look at sessions that nobody runs, decide, act.
    Recover {
        /// What.
        request: RecoverRequest,
        /// The answer.
        reply: Reply<RecoveryReport>,
    },
    /// Remove what is old.
    Cleanup {
        /// What.
        request: CleanupRequest,
        /// The answer.
        reply: Reply<CleanupReport>,
    },
    /// Pack a session that is not running into a file.
    Export {
        /// Which.
        session: SessionId,
        /// Absolute path of the file to write.
        file: PathBuf,
        /// Leave the session as it is at home instead of marking it migrated.
        copy: bool,
        /// The answer.
        reply: Reply<Done>,
    },
    /// Unpack a session from a file and continue it.
    Import {
        /// Absolute path of the file.
        file: PathBuf,
        /// The answer.
        reply: Reply<Submitted>,
    },
    /// Daily statistics.
    Stats {
        /// The answer.
        reply: Reply<StatsReport>,
    },
    /// Whether the loop answers.
    Health {
        /// The answer.
        reply: Reply<OwnerHealth>,
    },
    /// Stop the process.
    Shutdown {
        /// How.
        level: StopLevel,
        /// Answered when the stop has begun.
        reply: Reply<()>,
    },
}

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

/// The operator's hold on the owner of a state directory; cheap to clone.
#[derive(Debug, Clone)]
pub struct Operator {
    commands: mpsc::Sender<Command>,
}

/// An operator, and the end at which the daemon's loop takes the commands.
pub fn channel() -> (Operator, mpsc::Receiver<Command>) {
    let (commands, inbox) = mpsc::channel(QUEUE);
    (Operator { commands }, inbox)
}

impl Operator {
    async fn call<T>(&self, deadline: Duration, make: impl FnOnce(Reply<T>) -> Command) -> Result<T, OperatorError> {
        let (reply, answer) = oneshot::channel();
        let gone = || OperatorError::Gone("crawld is stopping".to_owned());
        let asked = async {
            self.commands.send(make(reply)).await.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())?
        };
        tokio::time::timeout(deadline, asked).await.unwrap_or_else(|_| {
            Err(OperatorError::Gone(format!("crawld did not answer within {} s", deadline.as_secs())))
        })
    }

    /// Crawls a task, or joins the unfinished session of it.
    pub async fn submit(&self, task: PreparedTask, new: bool) -> Result<Submitted, OperatorError> {
        self.call(ORDER_DEADLINE, |reply| Command::Submit { task: Box::new(task), new, reply }).await
    }

    /// Every session known, newest first.
    pub async fn sessions(&self) -> Result<Vec<SessionSummary>, OperatorError> {
        self.call(ASK_DEADLINE, |reply| Command::Sessions { reply }).await
    }

    /// One session in full.
    pub async fn status(&self, session: SessionId) -> Result<SessionDetail, OperatorError> {
        self.call(ASK_DEADLINE, |reply| Command::Status { session, reply }).await.map(|detail| *detail)
    }

    /// Gives an order about one session. One that was just ending is asked again where it then rests.
    pub async fn order(&self, session: SessionId, order: SessionOrder) -> Result<Done, OperatorError> {
        let give_up = Instant::now() + ENDS_WITHIN;
        loop {
            let id = session.clone();
            let done = self.call(ORDER_DEADLINE, |reply| Command::Order { session: id, order, reply }).await;
            let lives = !self.commands.is_closed() && Instant::now() < give_up;
            match done {
                Err(OperatorError::Gone(_)) if lives => tokio::time::sleep(ENDS_POLL).await,
                done => return done,
            }
        }
    }

    /// Looks at sessions that nobody runs, decides, acts.
    pub async fn recover(&self, request: RecoverRequest) -> Result<RecoveryReport, OperatorError> {
        self.call(WORK_DEADLINE, |reply| Command::Recover { request, reply }).await
    }

    /// Removes what is old.
    pub async fn cleanup(&self, request: CleanupRequest) -> Result<CleanupReport, OperatorError> {
        self.call(WORK_DEADLINE, |reply| Command::Cleanup { request, reply }).await
    }

    /// Packs a session into a file.
    pub async fn export(&self, session: SessionId, file: PathBuf, copy: bool) -> Result<Done, OperatorError> {
        self.call(WORK_DEADLINE, |reply| Command::Export { session, file, copy, reply }).await
    }

    /// Unpacks a session from a file and continues it.
    pub async fn import(&self, file: PathBuf) -> Result<Submitted, OperatorError> {
        self.call(WORK_DEADLINE, |reply| Command::Import { file, reply }).await
    }

    /// Daily statistics.
    pub async fn stats(&self) -> Result<StatsReport, OperatorError> {
        self.call(ASK_DEADLINE, |reply| Command::Stats { reply }).await
    }

    /// Whether the loop answers.
    pub async fn health(&self) -> Result<OwnerHealth, OperatorError> {
        self.call(ASK_DEADLINE, |reply| Command::Health { reply }).await
    }

    /// Stops the process; answers when the stop has begun.
    pub async fn shutdown(&self, level: StopLevel) -> Result<(), OperatorError> {
        self.call(ASK_DEADLINE, |reply| Command::Shutdown { level, reply }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_does_not_answer_costs_its_deadline_and_no_more() {
        let (operator, inbox) = channel();
        let error = operator.sessions().await.unwrap_err();
        assert_eq!(error, OperatorError::Gone("crawld did not answer within 10 s".to_owned()));
        drop(inbox);
        assert_eq!(operator.sessions().await.unwrap_err(), OperatorError::Gone("crawld is stopping".to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_was_just_ending_is_asked_again() {
        let (operator, mut inbox) = channel();
        let id = SessionId::new(1, 1);
        let asked =
            tokio::spawn(async move { operator.order(SessionId::new(1, 1), SessionOrder::ReleaseParked).await });
        let answers = [Err(OperatorError::Gone("it ended".to_owned())), Err(OperatorError::Ended(id.to_string()))];
        for answer in answers {
            let Some(Command::Order { reply, .. }) = inbox.recv().await else { panic!("another command") };
            reply.send(answer).expect("it waits for the answer");
        }
        assert_eq!(asked.await.unwrap(), Err(OperatorError::Ended(id.to_string())));
    }

    #[test]
    fn every_error_has_an_exit_code_and_a_status() {
        for (error, exit, status) in [
            (OperatorError::UnknownSession("a".into()), 5, 404),
            (OperatorError::OtherTask("a is of b".into()), 5, 404),
            (OperatorError::NotNow("paused".into()), 78, 409),
            (OperatorError::InUse("crawld is at work with it".into()), 75, 409),
            (OperatorError::NoBrowser("no Chromium found".into()), 69, 503),
            (OperatorError::Ended("a".into()), 5, 409),
            (OperatorError::Completed("a".into()), 5, 409),
            (OperatorError::Cancelled("a".into()), 5, 409),
            (OperatorError::Invalid(vec![Problem::new("seeds", "is empty")]), 78, 422),
            (OperatorError::Io("disk".into()), 73, 507),
            (OperatorError::Gone("x".into()), 75, 503),
        ] {
            assert_eq!(error.exit_code().code(), exit, "{error}");
            assert_eq!(error.http_status(), status, "{error}");
        }
    }
}
