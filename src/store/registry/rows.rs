//! What the registry's rows hold, and how they are read.

use rusqlite::Row;

use crate::model::counters::{Counters, DayNumbers};
use crate::model::ids::{CommitSeq, Epoch, SessionId, TaskId};
use crate::model::session::{Cause, CrashReason, Decision, SessionStatus, StopReason};
use crate::model::time::Timestamp;

/// A session as the registry knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionRow {
    /// The session.
    pub id: SessionId,
    /// Its task.
    pub task_id: Option<TaskId>,
    /// The task's hash.
    pub task_hash: Option<String>,
    /// A process runs it, as far as the registry knows. No decision reads this.
    pub is_active: bool,
    /// As declared last.
    pub status: SessionStatus,
    /// Why the last lifetime stopped.
    pub stop_reason: Option<StopReason>,
    /// When it was created.
    pub session_start: Timestamp,
    /// When it ended.
    pub session_end: Option<Timestamp>,
    /// Active time over all epochs.
    pub duration_seconds: f64,
    /// Committed totals.
    pub counters: Counters,
    /// Last sign of life.
    pub last_life: Option<Timestamp>,
}

/// A process lifetime of a session.
#[derive(Debug, Clone, PartialEq)]
pub struct EpochRow {
    /// The session.
    pub session_id: SessionId,
    /// Which lifetime.
    pub epoch: Epoch,
    /// Process id.
    pub pid: u32,
    /// Its boot.
    pub boot_id: String,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended; `None` while it runs.
    pub ended_at: Option<Timestamp>,
    /// The last commit when it ended.
    pub commit_seq: CommitSeq,
    /// Why it stopped, when it stopped by itself.
    pub stop_reason: Option<StopReason>,
    /// How it ended, when it did not.
    pub crash_reason: Option<CrashReason>,
    /// What recovery decided then, and why.
    pub decision: Option<(Decision, Cause)>,
}

/// SQLite's integers are signed; a count beyond that is clamped.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn uint(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(at)?).unwrap_or(0))
}

fn time(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(at)?.map(Timestamp::from_millis))
}

fn word<T>(row: &Row<'_>, at: usize, parse: impl Fn(&str) -> Option<T>) -> rusqlite::Result<Option<T>> {
    Ok(row.get::<_, Option<String>>(at)?.and_then(|text| parse(&text)))
}

pub(super) fn session_row(row: &Row<'_>) -> rusqlite::Result<Option<SessionRow>> {
    let (Some(id), Some(status)) = (word(row, 0, |text| text.parse().ok())?, word(row, 4, SessionStatus::parse)?)
    else {
        return Ok(None);
    };
    Ok(Some(SessionRow {
        id,
        task_id: word(row, 1, |text| text.parse().ok())?,
        task_hash: row.get(2)?,
        is_active: row.get(3)?,
        status,
        stop_reason: word(row, 5, StopReason::parse)?,
        session_start: time(row, 6)?.unwrap_or_default(),
        session_end: time(row, 7)?,
        duration_seconds: row.get(8)?,
        last_life: time(row, 9)?,
        counters: Counters {
            discovered: uint(row, 10)?,
            queued: uint(row, 11)?,
            in_flight: uint(row, 12)?,
            parked: uint(row, 13)?,
            fetched: uint(row, 14)?,
            failed: uint(row, 15)?,
            skipped: uint(row, 16)?,
            out_of_scope: uint(row, 17)?,
            links_seen: uint(row, 18)?,
            visits: uint(row, 19)?,
            bytes: uint(row, 20)?,
        },
    }))
}

pub(super) fn epoch_row(row: &Row<'_>) -> rusqlite::Result<Option<EpochRow>> {
    let Some(session_id) = word(row, 0, |text| text.parse().ok())? else { return Ok(None) };
    Ok(Some(EpochRow {
        session_id,
        epoch: row.get(1)?,
        pid: row.get::<_, Option<u32>>(2)?.unwrap_or(0),
        boot_id: row.get::<_, Option<String>>(3)?.unwrap_or_default(),
        started_at: time(row, 4)?.unwrap_or_default(),
        ended_at: time(row, 5)?,
        commit_seq: uint(row, 6)?,
        stop_reason: word(row, 7, StopReason::parse)?,
        crash_reason: word(row, 8, CrashReason::parse)?,
        decision: word(row, 9, Decision::parse)?.zip(word(row, 10, Cause::parse)?),
    }))
}

pub(super) fn day_row(row: &Row<'_>) -> rusqlite::Result<(String, DayNumbers)> {
    let numbers = DayNumbers {
        sessions_started: uint(row, 1)?,
        sessions_ended: uint(row, 2)?,
        crashes: uint(row, 3)?,
        fetched: uint(row, 4)?,
        failed: uint(row, 5)?,
        skipped: uint(row, 6)?,
        bytes: uint(row, 7)?,
        active_seconds: row.get(8)?,
    };
    Ok((row.get(0)?, numbers))
}
