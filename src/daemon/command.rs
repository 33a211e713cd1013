//! Commands to the owner of a state directory: a bounded queue in, one answer each, a deadline on both.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::browser::Browsers;
use crate::daemon::answers::{
    CleanupReport, Done, OwnerHealth, RecoveryReport, SessionDetail, SessionSummary, StatsReport, Submitted,
};
pub use crate::daemon::operator_error::OperatorError;
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
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

/// What is to be changed of a session that runs: what is not named stays.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Amendment {
    /// URLs that the crawl starts from as well.
    pub seeds: Vec<String>,
    /// Smallest pause between two requests to a host.
    pub delay: Option<Span>,
    /// Largest pause that the adaptive part may choose.
    pub max_delay: Option<Span>,
    /// Requests in flight on a host at most.
    pub per_host: Option<u32>,
    /// Regexes; a URL that matches one is outside. Takes the place of those that there were.
    pub exclude: Option<Vec<String>>,
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
    /// The sessions that run or wait for a place here.
    Running {
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
    /// Change a session that runs.
    Amend {
        /// Which.
        session: SessionId,
        /// What.
        amendment: Amendment,
        /// The answer; `count`: seeds taken.
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
    /// Remove a session that has ended.
    Delete {
        /// Which.
        session: SessionId,
        /// Its outputs as well.
        outputs: bool,
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
    /// The browsers, for whoever wants to see what their tabs show.
    Browsers {
        /// The answer; none: no session has needed one yet.
        reply: Reply<Option<Arc<Browsers>>>,
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

    /// The sessions that run or wait for a place in this process.
    pub async fn running(&self) -> Result<Vec<SessionSummary>, OperatorError> {
        self.call(ASK_DEADLINE, |reply| Command::Running { reply }).await
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

    /// Changes a session that runs.
    pub async fn amend(&self, session: SessionId, amendment: Amendment) -> Result<Done, OperatorError> {
        self.call(ORDER_DEADLINE, |reply| Command::Amend { session, amendment, reply }).await
    }

    /// Looks at sessions that nobody runs, decides, acts.
    pub async fn recover(&self, request: RecoverRequest) -> Result<RecoveryReport, OperatorError> {
        self.call(WORK_DEADLINE, |reply| Command::Recover { request, reply }).await
    }

    /// Removes what is old.
    pub async fn cleanup(&self, request: CleanupRequest) -> Result<CleanupReport, OperatorError> {
        self.call(WORK_DEADLINE, |reply| Command::Cleanup { request, reply }).await
    }

    /// Removes a session that has ended.
    pub async fn delete(&self, session: SessionId, outputs: bool) -> Result<CleanupReport, OperatorError> {
        self.call(WORK_DEADLINE, |reply| Command::Delete { session, outputs, reply }).await
    }

    /// Packs a session into a file.
    pub async fn export(&self, session: SessionId, file: PathBuf, copy: bool) -> Result<Done, OperatorError> {
        self.call(WORK_DEADLINE, |reply| Command::Export { session, file, copy, reply }).await
    }

    /// Unpacks a session from a file and continues it.
    pub async fn import(&self, file: PathBuf) -> Result<Submitted, OperatorError> {
        self.call(WORK_DEADLINE, |reply| Command::Import { file, reply }).await
    }

    /// The browsers; none where no session has needed one yet. To be given back soon: they end with their last owner.
    pub async fn browsers(&self) -> Result<Option<Arc<Browsers>>, OperatorError> {
        self.call(ASK_DEADLINE, |reply| Command::Browsers { reply }).await
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
