//! Why the process was started, and what it leaves behind: the contract between `cli` and `daemon::run`.

use crate::daemon::answers::{RecoveryReport, SessionSummary};
use crate::daemon::command::{Operator, Strategy};
use crate::exit_code::ExitCode;
use crate::model::ids::SessionId;
use crate::model::task::PreparedTask;

/// What the owner of the state directory is there for.
#[derive(Debug, Clone)]
pub enum RunMode {
    /// `crawld run`: until it is told to stop.
    Daemon,
    /// `crawld crawl`: one task in the foreground, then the end.
    Crawl {
        /// What to crawl.
        task: Box<PreparedTask>,
        /// Start another session although one of the same task is unfinished.
        new: bool,
    },
    /// `crawld recover`: what is to be continued, then the end.
    Recover {
        /// These only; empty: all.
        sessions: Vec<SessionId>,
        /// What the operator prefers.
        strategy: Strategy,
        /// Decide and repair, but crawl nothing.
        no_run: bool,
    },
    /// A command on a directory without an owner (`pause`, `cancel`, `retry-failed`, `cleanup`, `export`,
    /// `recover --dry-run` …): take the lock, recover nothing, crawl nothing, carry out what comes
    /// through the operator, end at `Shutdown`. An order for a session is written into its state, for
    /// the next owner that runs it.
    Once {
        /// The command's word.
        command: &'static str,
    },
}

impl RunMode {
    /// As `crawld.lock` and `GET /health` say it.
    pub fn name(&self) -> &'static str {
        match self {
            RunMode::Daemon => "run",
            RunMode::Crawl { .. } => "crawl",
            RunMode::Recover { .. } => "recover",
            RunMode::Once { command } => command,
        }
    }
}

/// Said once by `daemon::run`, after lock, recovery and submission, when crawling starts.
#[derive(Debug)]
pub struct Started {
    /// For the foreground display.
    pub operator: Operator,
    /// `Crawl`: its session. `Recover`: the sessions that are continued. `Daemon`: those recovered.
    pub sessions: Vec<SessionId>,
    /// `Crawl`: an unfinished session was continued.
    pub joined: bool,
    /// What recovery did at start.
    pub recovery: RecoveryReport,
}

/// How `daemon::run` ended.
#[derive(Debug)]
pub struct RunEnd {
    /// For the shell.
    pub exit: ExitCode,
    /// Every session of this run as it was left.
    pub sessions: Vec<SessionSummary>,
    /// What went wrong, in words, with what to do; printed by the CLI (never logged as well).
    pub error: Option<RunError>,
}

/// A sentence and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RunError {
    /// What happened, and where.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl RunEnd {
    /// An end before anything was crawled.
    pub fn failed(exit: ExitCode, message: impl Into<String>, hint: impl Into<String>) -> Self {
        let hint = Some(hint.into()).filter(|hint| !hint.is_empty());
        RunEnd { exit, sessions: Vec::new(), error: Some(RunError { message: message.into(), hint }) }
    }
}
