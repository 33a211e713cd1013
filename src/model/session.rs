//! The life of a session as its owner, a reader and the recovery analyzer see it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::ids::{SessionId, TaskId};
use crate::model::outcome::closed_list;
use crate::model::time::Timestamp;

closed_list! {
    /// A session's status.
    SessionStatus {
        /// Waiting for a free session slot.
        Queued = "queued",
        /// Crawling.
        Active = "active",
        /// Held by the operator, or by a condition that ends by itself (disk, memory, browser).
        Paused = "paused",
        /// Every URL has ended.
        Completed = "completed",
        /// Ended by the operator.
        Cancelled = "cancelled",
        /// Ended by an error of its own (an I/O error on its files, a login that did not work).
        Failed = "failed",
        /// A limit was reached; continued with `resume --extend`.
        Expired = "expired",
        /// Said by a reader: the heartbeat is stale and the lock is free.
        Crashed = "crashed",
        /// Said by the analyzer: not ended, not owned, can be continued.
        Recoverable = "recoverable",
        /// Exported to another machine.
        Migrated = "migrated",
    }
}

impl SessionStatus {
    /// Whether the owner has declared an end.
    pub const fn ended(self) -> bool {
        matches!(
            self,
            SessionStatus::Completed
                | SessionStatus::Cancelled
                | SessionStatus::Failed
                | SessionStatus::Expired
                | SessionStatus::Migrated
        )
    }
}

closed_list! {
    /// Why a process lifetime of a session stopped.
    StopReason {
        /// Every URL has ended.
        Finished = "finished",
        /// SIGTERM or the first Ctrl-C: drained.
        Shutdown = "shutdown",
        /// The second signal: visits in flight were abandoned.
        Abandoned = "abandoned",
        /// Cancelled by the operator.
        Cancelled = "cancelled",
        /// `max_pages` reached.
        PageLimit = "page_limit",
        /// `max_bytes` reached.
        ByteLimit = "byte_limit",
        /// `max_session_duration` of active time reached.
        TimeLimit = "time_limit",
        /// `max_failures` reached.
        FailureLimit = "failure_limit",
        /// An I/O error on the session's own files.
        IoError = "io_error",
        /// The task's login did not work.
        LoginFailed = "login_failed",
        /// A panic in the session's own task.
        Panic = "panic",
        /// Exported with its state.
        Exported = "exported",
    }
}

closed_list! {
    /// How the previous process lifetime ended, worked out from evidence.
    CrashReason {
        /// It closed everything.
        Clean = "clean",
        /// The boot id changed: power loss or reboot.
        Reboot = "reboot",
        /// The kernel killed it for memory.
        Oom = "oom",
        /// The panic hook left a note.
        Panic = "panic",
        /// The watchdog aborted it.
        Watchdog = "watchdog",
        /// It disappeared without a word: SIGKILL or the like.
        Killed = "killed",
        /// The browser was lost with it.
        BrowserLoss = "browser_loss",
        /// Nothing tells.
        Unknown = "unknown",
    }
}

closed_list! {
    /// What recovery does with a session.
    Decision {
        /// Continue it.
        Resume = "resume",
        /// Move it to quarantine and start its task again under a new id.
        Restart = "restart",
        /// Leave it as it is.
        Skip = "skip",
    }
}

closed_list! {
    /// Why recovery decided so; the rows of the recovery table, in order.
    Cause {
        /// Its lock is held and its heartbeat is fresh.
        OwnerAlive = "owner_alive",
        /// Its lock is held and its heartbeat is stale; reported, never stolen.
        OwnerHung = "owner_hung",
        /// It cannot be read for a reason outside it; tried again at the next start.
        Environment = "environment",
        /// Written by a newer crawld; left byte-identical.
        FormatTooNew = "format_too_new",
        /// Completed, cancelled, failed, or expired without `--extend`.
        AlreadyEnded = "already_ended",
        /// Exported elsewhere.
        Migrated = "migrated",
        /// No usable `task.json`, and the registry knows none.
        NeedsOperator = "needs_operator",
        /// Unclean ends in a row without a commit between.
        CrashLoop = "crash_loop",
        /// Recovery is switched off.
        Disabled = "disabled",
        /// The task file it came from has changed.
        TaskChanged = "task_changed",
        /// Old, and hardly begun.
        StaleBarelyBegun = "stale_barely_begun",
        /// No sign of life for `auto_session_cleanup_age`; continued by `--strategy resume`.
        TooOld = "too_old",
        /// Paused by the operator: resumed as paused.
        PausedByOperator = "paused_by_operator",
        /// The store is behind what was announced: rebuilt from the outputs.
        StoreLostCommits = "store_lost_commits",
        /// It stopped cleanly.
        CleanStop = "clean_stop",
        /// It crashed; everything committed is there.
        Crash = "crash",
        /// An output is shorter than committed or differs: what is missing is queued again.
        OutputsDamaged = "outputs_damaged",
        /// The store is damaged or gone: rebuilt from the outputs.
        RebuiltFromOutputs = "rebuilt_from_outputs",
        /// Nothing usable is left but the task.
        NothingUsable = "nothing_usable",
        /// The operator asked for this strategy.
        Operator = "operator",
    }
}

closed_list! {
    /// What was seen of the first browser of a process once a page had come through it.
    SelfTestResult {
        /// Its pages are kept in by its sandbox.
        Sandboxed = "sandboxed",
        /// The sandbox is off, as the configuration asks.
        SandboxOff = "sandbox_off",
        /// The sandbox was asked for, and is not in force.
        NotInForce = "sandbox_not_in_force",
        /// It is somebody else's, which cannot be seen into.
        Attached = "attached",
    }
}

closed_list! {
    /// What `recover --strategy` prefers.
    Strategy {
        /// What the recovery table says.
        Auto = "auto",
        /// Continue, also what the table would leave alone for age or a crash loop.
        Resume = "resume",
        /// Start over.
        Restart = "restart",
        /// Leave alone.
        Skip = "skip",
    }
}

/// What the analyzer found out about one session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionRecoveryInfo {
    /// The session.
    pub session_id: SessionId,
    /// Its task; `None` when no copy of the task can be read.
    pub task_id: Option<TaskId>,
    /// Time of its last good checkpoint.
    pub last_checkpoint: Option<Timestamp>,
    /// Time of its last readable heartbeat.
    pub last_heartbeat: Option<Timestamp>,
    /// As a reader sees it.
    pub status: SessionStatus,
    /// Whether resume or restart is possible at all.
    pub recovery_possible: bool,
    /// 0..1; ended / discovered.
    pub estimated_progress: f64,
    /// Queued and in flight.
    pub urls_remaining: u64,
    /// How its last lifetime ended.
    pub crash_reason: CrashReason,
    /// What recovery does (resume, restart, skip).
    pub recovery_strategy: Decision,
    /// Why.
    pub cause: Cause,
}
