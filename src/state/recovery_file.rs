//! `recovery.json`: what the last recovery saw and decided, and the run of unclean ends before it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::ids::{Epoch, SessionId};
use crate::model::session::{Cause, CrashReason, Decision};
use crate::model::time::Timestamp;
use crate::state::atomic_file::{Durability, FileError, replace};
use crate::state::envelope::{self, Document, Envelope, Reading, seal};
use crate::state::paths::SessionPaths;

/// Ends remembered; more than make a crash loop are not needed.
const ENDS_MAX: usize = 32;

/// The last recovery of a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecoveryRecord {
    /// The session.
    pub session_id: SessionId,
    /// When it was decided.
    pub decided_at: Timestamp,
    /// Resume, restart or skip.
    pub decision: Decision,
    /// Why.
    pub cause: Cause,
    /// How the lifetime before ended.
    pub crash_reason: CrashReason,
    /// What was seen, in sentences.
    pub evidence: Vec<String>,
    /// Unclean ends in a row without progress between them, oldest first, the last one included.
    pub unclean_ends: Vec<UncleanEnd>,
}

/// A lifetime that ended without a word.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct UncleanEnd {
    /// Which lifetime.
    pub epoch: Epoch,
    /// How it ended.
    pub reason: CrashReason,
    /// From its start to its last sign of life.
    pub lived_seconds: f64,
    /// Grows with every committed visit; two ends with the same mark had none between them.
    pub mark: u64,
}

impl UncleanEnd {
    /// How the end counts for a crash loop.
    pub fn counted(&self) -> (CrashReason, Duration) {
        (self.reason, Duration::try_from_secs_f64(self.lived_seconds).unwrap_or_default())
    }
}

/// Adds the latest end to the run: progress since the last one starts a new run, an end that is
/// known already is not counted twice.
pub fn add_end(run: &[UncleanEnd], end: UncleanEnd) -> Vec<UncleanEnd> {
    let mut ends: Vec<UncleanEnd> = run.iter().filter(|e| e.mark == end.mark).copied().collect();
    if end.reason == CrashReason::Clean {
        return Vec::new();
    }
    if ends.last().is_none_or(|last| last.epoch < end.epoch) {
        ends.push(end);
    }
    let surplus = ends.len().saturating_sub(ENDS_MAX);
    ends.split_off(surplus)
}

impl Document for RecoveryRecord {
    const FORMAT: u32 = 1;
    const CAP: u64 = 1 << 20;
}

/// Writes the record durably.
///
/// # Errors
/// What the system said.
pub fn write(paths: &SessionPaths, record: &RecoveryRecord) -> Result<(), FileError> {
    let path = paths.recovery();
    let bytes = seal(record, &Envelope::new::<RecoveryRecord>(1, 0))
        .map_err(|e| FileError::at("write as JSON", &path, e.into()))?;
    replace(&path, &bytes, Durability::Full)
}

/// Reads the record.
pub fn read(paths: &SessionPaths) -> Reading<RecoveryRecord> {
    envelope::read::<RecoveryRecord>(&paths.recovery())
        .filter(|r| r.session_id == *paths.id(), "it belongs to another session")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(epoch: Epoch, mark: u64) -> UncleanEnd {
        UncleanEnd { epoch, reason: CrashReason::Panic, lived_seconds: 20.0, mark }
    }

    #[test]
    fn ends_run_until_there_is_progress() {
        let run = add_end(&[], end(1, 7));
        let run = add_end(&run, end(2, 7));
        assert_eq!(add_end(&run, end(2, 7)).len(), 2, "the same lifetime once");
        assert_eq!(add_end(&run, end(3, 7)).len(), 3);
        assert_eq!(add_end(&run, end(3, 8)), [end(3, 8)], "progress between");
        let clean = UncleanEnd { reason: CrashReason::Clean, ..end(3, 7) };
        assert_eq!(add_end(&run, clean), []);
        let long = (1..=100).fold(Vec::new(), |run, n| add_end(&run, end(n, 7)));
        assert_eq!((long.len(), long[0].epoch), (ENDS_MAX, 69));
    }

    #[test]
    fn a_record_reads_back() {
        let temp = tempfile::tempdir().unwrap();
        let paths = crate::state::StateDir::open(temp.path()).unwrap().session(&"s1".parse().unwrap());
        paths.create().unwrap();
        let record = RecoveryRecord {
            session_id: "s1".parse().unwrap(),
            decided_at: Timestamp::from_millis(1),
            decision: Decision::Resume,
            cause: Cause::Crash,
            crash_reason: CrashReason::Killed,
            evidence: vec!["the store is good".into()],
            unclean_ends: vec![end(1, 2)],
        };
        write(&paths, &record).unwrap();
        assert_eq!(read(&paths).good().unwrap().0, &record);
    }
}
