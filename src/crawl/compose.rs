//! A checkpoint, composed from a read snapshot of the store: crawling does not stop for it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::checkpoint::{BrowserInfo, Checkpoint};
use crate::model::ids::{Epoch, SessionId, TaskId};
use crate::model::session::{SessionStatus, StopReason};
use crate::model::task::FetchMode;
use crate::model::time::Timestamp;
use crate::state::paths::SessionPaths;

/// What the store does not know.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The session.
    pub session: SessionId,
    /// Its task.
    pub task: TaskId,
    /// When.
    pub now: Timestamp,
    /// Where it stands.
    pub status: SessionStatus,
    /// Why it stopped, at a stop.
    pub stop_reason: Option<StopReason>,
    /// Over the last minute.
    pub pages_per_second: f64,
    /// Over all epochs.
    pub active: Duration,
    /// When the session was created.
    pub session_start: Timestamp,
    /// This lifetime.
    pub epoch: Epoch,
    /// The task's way to fetch.
    pub fetch_mode: FetchMode,
    /// Name → (used, limit).
    pub limits_used: BTreeMap<String, (u64, Option<u64>)>,
    /// Items in each list at most.
    pub inline_urls: usize,
    /// The browser in use.
    pub browser: Option<BrowserInfo>,
}

/// Composes a checkpoint.
///
/// # Errors
/// The store cannot be read; says why.
pub fn compose(_paths: &SessionPaths, _facts: Facts) -> Result<Checkpoint, String> {
    Err("in work".to_owned())
}
