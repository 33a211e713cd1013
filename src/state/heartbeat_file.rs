//! Heartbeat files: replaced atomically, synced only where it matters.

use crate::model::heartbeat::Heartbeat;
use crate::model::time::Timestamp;
use crate::state::atomic_file::{Durability, FileError, replace_shared};
use crate::state::envelope::{self, Document, Envelope, Reading, seal};
use crate::state::paths::SessionPaths;
use crate::state::process;

/// The newest heartbeat format.
pub const HEARTBEAT_FORMAT: u32 = 1;

impl Document for Heartbeat {
    const FORMAT: u32 = HEARTBEAT_FORMAT;
    const CAP: u64 = 256 << 10;
}

/// Writes one heartbeat. `generation` counts them within this process; `Durability::Full` belongs to
/// changes of status.
///
/// # Errors
/// What the system said; a heartbeat that cannot be written must never stop a crawl.
pub fn write(
    paths: &SessionPaths,
    heartbeat: &Heartbeat,
    generation: u64,
    durability: Durability,
) -> Result<(), FileError> {
    let path = paths.heartbeat();
    let facts = Envelope::new::<Heartbeat>(generation, heartbeat.last_commit_seq);
    let bytes = seal(heartbeat, &facts).map_err(|e| FileError::at("write as JSON", &path, e.into()))?;
    replace_shared(&path, &bytes, durability)
}

/// Reads a session's heartbeat.
pub fn read(paths: &SessionPaths) -> Reading<Heartbeat> {
    envelope::read::<Heartbeat>(&paths.heartbeat())
        .filter(|h| h.session_id == *paths.id(), "it belongs to another session")
}

/// Whether a heartbeat proves life at `now`: not past its `stale_after`, not from the far future
/// (a clock that was set back), written in this boot.
pub fn fresh(heartbeat: &Heartbeat, envelope: &Envelope, now: Timestamp) -> bool {
    let span = heartbeat.stale_after.since(heartbeat.timestamp);
    envelope.boot_id == process::boot_id() && now <= heartbeat.stale_after && heartbeat.timestamp <= now + span
}

/// A small whole heartbeat for the tests of this and other modules.
#[cfg(test)]
pub(crate) fn sample(id: &str, commit_seq: u64) -> Heartbeat {
    use crate::model::session::SessionStatus;
    Heartbeat {
        session_id: id.parse().unwrap(),
        timestamp: Timestamp::from_millis(1_763_719_200_000),
        status: SessionStatus::Active,
        status_reason: None,
        urls_processed: 4,
        urls_remaining: 6,
        urls_parked: 0,
        current_url: None,
        memory_usage_mb: 1.0,
        browser_pages_active: 0,
        health_score: 1.0,
        health_factors: Vec::new(),
        stale_after: Timestamp::from_millis(1_763_719_380_000),
        epoch: 1,
        pid: 1,
        pid_start_ticks: 1,
        started_at: Timestamp::from_millis(1_763_719_000_000),
        rates: Default::default(),
        eta_seconds: None,
        oldest_visit_seconds: 0.0,
        long_operations: Vec::new(),
        last_commit_seq: commit_seq,
        browser_restarts: 0,
        breakers_open: 0,
        checkpoint_generation: 1,
        checkpoint_age_seconds: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::paths::StateDir;
    use std::time::Duration;

    #[test]
    fn heartbeats_read_back_and_grow_stale() {
        let temp = tempfile::tempdir().unwrap();
        let paths = StateDir::open(temp.path()).unwrap().session(&"s1".parse().unwrap());
        assert_eq!(read(&paths), Reading::Missing);
        for durability in [Durability::Atomic, Durability::Full] {
            write(&paths, &sample("s1", 3), 1, durability).unwrap();
        }
        let Reading::Good(back, envelope) = read(&paths) else { panic!() };
        assert_eq!((&back, envelope.commit_seq), (&sample("s1", 3), 3));
        let at = back.timestamp;
        assert!(fresh(&back, &envelope, at));
        assert!(fresh(&back, &envelope, at + Duration::from_secs(180)));
        assert!(!fresh(&back, &envelope, at + Duration::from_secs(181)), "three intervals on");
        assert!(!fresh(&back, &envelope, Timestamp::from_millis(0)), "from the future");
        assert!(!fresh(&back, &Envelope { boot_id: "other".into(), ..envelope }, at), "another boot");
    }
}
