//! The heartbeat document: small proof of progress, with the health score and its reasons.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::ids::{CommitSeq, Epoch, SessionId};
use crate::model::long::LongOperation;
use crate::model::session::SessionStatus;
use crate::model::time::Timestamp;

/// One factor of the health score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HealthFactor {
    /// Stable name: success, progress, oldest_visit, browser, breakers, memory, disk, commit_latency.
    pub name: String,
    /// 0..1.
    pub value: f64,
    /// Why it has this value, in words.
    pub reason: String,
}

/// Pages per second.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Rates {
    /// Over the last minute.
    pub pages_per_second_1m: f64,
    /// Over the last 15 minutes.
    pub pages_per_second_15m: f64,
}

/// `heartbeat_{session_id}.json`. The file adds `format`, `writer`, `generation`, `boot_id`,
/// `commit_seq` and `checksum` around these fields; see `state::envelope`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Heartbeat {
    /// The session.
    pub session_id: SessionId,
    /// When this heartbeat was written.
    pub timestamp: Timestamp,
    /// Status as its owner sees it.
    pub status: SessionStatus,
    /// Why it is paused or ended, where it is.
    pub status_reason: Option<String>,
    /// URLs with a final outcome.
    pub urls_processed: u64,
    /// Queued and in flight.
    pub urls_remaining: u64,
    /// Set aside by trap budgets.
    pub urls_parked: u64,
    /// A URL in flight, its query redacted.
    pub current_url: Option<String>,
    /// Resident memory of the daemon and its browsers, in MiB.
    pub memory_usage_mb: f64,
    /// Tabs with a visit in them.
    pub browser_pages_active: u32,
    /// 0..1.
    pub health_score: f64,
    /// The score's factors.
    pub health_factors: Vec<HealthFactor>,
    /// After this instant the heartbeat is stale and reads as health 0.
    pub stale_after: Timestamp,
    /// Process lifetime.
    pub epoch: Epoch,
    /// The writer's process id.
    pub pid: u32,
    /// The writer's start time in clock ticks since boot (field 22 of its `stat`).
    pub pid_start_ticks: u64,
    /// When this lifetime started.
    pub started_at: Timestamp,
    /// Page rates.
    pub rates: Rates,
    /// Estimated time to the end.
    pub eta_seconds: Option<u64>,
    /// Age of the oldest visit in flight.
    pub oldest_visit_seconds: f64,
    /// What takes longer than 30 s with a page and lives: each said so in the last 30 s. The oldest first.
    #[serde(default)]
    pub long_operations: Vec<LongOperation>,
    /// The last commit.
    pub last_commit_seq: CommitSeq,
    /// Browser restarts in this lifetime.
    pub browser_restarts: u32,
    /// Open breakers: hosts, and the browser's own.
    pub breakers_open: u32,
    /// Generation of the last checkpoint.
    pub checkpoint_generation: u64,
    /// Its age.
    pub checkpoint_age_seconds: u64,
}
