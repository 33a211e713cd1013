//! What the daemon answers to an operator: the JSON of the API and of every `--json`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::exit_code::ExitCode;
use crate::model::checkpoint::{EgressFacts, OutputFile};
use crate::model::counters::{Counters, DayNumbers};
use crate::model::heartbeat::{HealthFactor, Heartbeat, Rates};
use crate::model::ids::{Epoch, SessionId, TaskId};
use crate::model::outcome::{FailureClass, ParkReason, SkipReason, closed_list};
use crate::model::session::{Cause, Decision, SessionRecoveryInfo, SessionStatus, StopReason};
use crate::model::time::Timestamp;
use crate::policy::alerts::AlertKind;
use crate::policy::health::UNHEALTHY_BELOW;

/// Where a session stands, as of its last commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionSummary {
    /// The session.
    pub session_id: SessionId,
    /// Its task; `None` when no copy of the task can be read.
    pub task_id: Option<TaskId>,
    /// As its owner, or without one a reader, sees it.
    pub status: SessionStatus,
    /// Why, where the status alone does not say it.
    pub status_reason: Option<String>,
    /// Why the last lifetime stopped, once it has.
    pub stop_reason: Option<StopReason>,
    /// Process lifetime, from 1.
    pub epoch: Epoch,
    /// Committed totals.
    pub counters: Counters,
    /// Ended / (discovered - parked), 0..1.
    pub estimated_progress: f64,
    /// Page rates; zero without an owner.
    pub rates: Rates,
    /// Estimated time to the end.
    pub eta_seconds: Option<u64>,
    /// 0..1; zero when the heartbeat is stale.
    pub health_score: f64,
    /// The score's factors.
    pub health_factors: Vec<HealthFactor>,
    /// When the session was created.
    pub session_start: Option<Timestamp>,
    /// When the present (or last) lifetime started.
    pub started_at: Option<Timestamp>,
    /// Active time over all epochs.
    pub active_seconds: f64,
    /// One URL in flight, its query redacted.
    pub current_url: Option<String>,
    /// When the newest heartbeat was written.
    pub last_heartbeat: Option<Timestamp>,
    /// When the newest checkpoint was written.
    pub last_checkpoint: Option<Timestamp>,
    /// Absolute path of the folder with the outputs.
    pub output_dir: String,
    /// The output files as committed.
    pub outputs: Vec<OutputFile>,
}

impl SessionSummary {
    /// Why its numbers are not known here: a newer crawld wrote what holds them.
    pub fn too_new(&self) -> Option<&str> {
        self.status_reason.as_deref().filter(|why| why.starts_with(Cause::FormatTooNew.as_str()))
    }

    /// Why a session that somebody runs does not get on, where it should; none while all is well.
    pub fn stands_still(&self) -> Option<String> {
        let id = &self.session_id;
        let why = || self.status_reason.clone().unwrap_or_else(|| "no reason is known".to_owned());
        let worst = || self.health_factors.iter().min_by(|a, b| a.value.total_cmp(&b.value));
        match self.status {
            SessionStatus::Paused if !self.held_by_operator() => Some(format!("session {id} is held: {}", why())),
            SessionStatus::Active if self.health_score < UNHEALTHY_BELOW => {
                let factor = worst().map(|factor| format!("{}: {}", factor.name, factor.reason)).unwrap_or_default();
                Some(format!("session {id} has a health of {:.2}: {factor}", self.health_score))
            }
            _ => None,
        }
    }

    /// Whether its operator has paused it. After a stop nothing else can have: other holds end with the process.
    pub fn held_by_operator(&self) -> bool {
        let named = |why: &str| why.starts_with("operator");
        self.status == SessionStatus::Paused && self.status_reason.as_deref().is_none_or(named)
    }
}

/// A session in full: `GET /sessions/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionDetail {
    /// Where it stands.
    #[serde(flatten)]
    pub summary: SessionSummary,
    /// URLs failed, by class.
    #[serde(default)]
    pub failures_by_class: BTreeMap<FailureClass, u64>,
    /// URLs skipped, by reason.
    #[serde(default)]
    pub skips_by_reason: BTreeMap<SkipReason, u64>,
    /// URLs parked, by reason.
    #[serde(default)]
    pub parked_by_reason: BTreeMap<ParkReason, u64>,
    /// Alerts that stand now; none without an owner.
    #[serde(default)]
    pub alerts: Vec<AlertKind>,
    /// What went through the proxy between browser and network, as of the last checkpoint; none without a browser.
    #[serde(default)]
    pub egress: Option<EgressFacts>,
    /// The newest heartbeat.
    pub heartbeat: Option<Heartbeat>,
}

/// Answer to a submitted task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Submitted {
    /// The session that crawls it.
    pub session_id: SessionId,
    /// Its task.
    pub task_id: TaskId,
    /// Whether a session that was active or recoverable is used instead of a new one.
    pub joined: bool,
    /// Whether it waits until its task is given again, with the permissions that an import did not take over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits: bool,
    /// What was not taken over from an import, in sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What recovery found and did, where the session had to be taken up again for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered: Option<RecoveryItem>,
}

/// Answer to an order that touched some URLs, or wrote a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Done {
    /// The session.
    pub session_id: SessionId,
    /// Its status afterwards.
    pub status: SessionStatus,
    /// URLs queued again or released; for a checkpoint its generation.
    pub count: u64,
}

closed_list! {
    /// What a recovery has done with one session.
    RecoveryResult {
        /// Nothing yet: a dry run, or `--no-run`.
        Planned = "planned",
        /// It is continued.
        Resumed = "resumed",
        /// It was moved to quarantine and its task started again.
        Restarted = "restarted",
        /// It was left as it is.
        Skipped = "skipped",
        /// The decision could not be carried out; `message` says why.
        Failed = "failed",
    }
}

/// One session in a recovery report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecoveryItem {
    /// What the analyzer found.
    #[serde(flatten)]
    pub info: SessionRecoveryInfo,
    /// What is done with it; equal to `recovery_strategy`.
    pub decision: Decision,
    /// What came of it.
    pub result: RecoveryResult,
    /// The new session after a restart.
    pub new_session_id: Option<SessionId>,
    /// In words, for a person: what was done, or what to do.
    pub message: Option<String>,
    /// For a decision that could not be carried out: the exit code that this asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<ExitCode>,
}

impl RecoveryItem {
    /// The exit code that this session asks for; `Ok` for one that is continued, or left for a reason that
    /// asks nothing of anybody.
    pub fn asks_for(&self) -> ExitCode {
        match (self.result, self.info.cause) {
            (RecoveryResult::Failed, _) => self.exit.unwrap_or(ExitCode::CannotWrite),
            (_, Cause::Environment) => ExitCode::CannotWrite,
            (_, Cause::NeedsOperator | Cause::FormatTooNew | Cause::CrashLoop) => ExitCode::BadConfig,
            (_, Cause::OwnerHung) => ExitCode::InUse,
            _ => ExitCode::Ok,
        }
    }
}

/// Answer of `recover`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct RecoveryReport {
    /// A line for each session looked at.
    pub sessions: Vec<RecoveryItem>,
    /// After a recovery that crawls nothing: the sessions that were opened, repaired and closed again, as they
    /// stand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(skip)]
    pub repaired: Vec<SessionSummary>,
}

/// One thing that the janitor removes or keeps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CleanupItem {
    /// The session.
    pub session_id: SessionId,
    /// What is removed, in words: checkpoint, heartbeat, store, outputs.
    pub what: String,
    /// Absolute path.
    pub path: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Why: age and status.
    pub reason: String,
}

/// Answer of `cleanup`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct CleanupReport {
    /// Whether nothing was touched.
    pub dry_run: bool,
    /// What is, or would be, removed.
    pub removed: Vec<CleanupItem>,
    /// Sentences about what was kept although it is old, and what could not be removed.
    pub notes: Vec<String>,
    /// Sum of `removed`.
    pub freed_bytes: u64,
}

/// One day (UTC) of the registry's statistics.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct DayStats {
    /// `2026-11-21`.
    pub day: String,
    /// What it came to.
    #[serde(flatten)]
    pub numbers: DayNumbers,
}

/// Answer of `stats`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct StatsReport {
    /// Newest day first.
    pub days: Vec<DayStats>,
}

/// Answer of `GET /health`: the owner is alive and its loop answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OwnerHealth {
    /// `ok`, `stopping`, or `unhealthy`: something stands still, see `reasons`.
    pub status: String,
    /// crawld's version.
    pub version: String,
    /// Process id of the owner.
    pub pid: u32,
    /// `run`, `crawl` or `recover`.
    pub mode: String,
    /// Absolute path of the state directory.
    pub state_dir: String,
    /// When the owner started.
    pub started_at: Timestamp,
    /// Sessions not ended.
    pub sessions: u32,
    /// What does not work as it should (registry not writable, reserve reached …).
    pub degraded: Vec<String>,
    /// Alerts of the whole process that stand now; those of a session are in its own answer.
    #[serde(default)]
    pub alerts: Vec<AlertKind>,
    /// What stands still: sessions that do not crawl although they should, loops that do not turn.
    #[serde(default)]
    pub reasons: Vec<String>,
    /// Lifetimes that stand open in the registry for more than two hours without an owner; counted once a minute.
    #[serde(default)]
    pub orphan_epochs: Option<u64>,
    /// Where the API is reached over TCP; none: on the Unix socket alone.
    #[serde(default)]
    pub listens: Option<String>,
}
