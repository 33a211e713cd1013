//! The registry keeps what it is told, and is replaced when it is damaged.

use super::*;
use crate::model::counters::Counters;
use crate::model::session::SessionStatus;
use std::os::unix::fs::PermissionsExt;

fn open(path: &Path) -> Result<(Registry, Opened), RegistryError> {
    Registry::open(path, &path.parent().unwrap().join("quarantine"))
}

fn row(id: &str, start: i64) -> SessionRow {
    SessionRow {
        id: id.parse().unwrap(),
        task_id: Some("task".parse().unwrap()),
        task_hash: Some("sha256:1".into()),
        is_active: true,
        status: SessionStatus::Active,
        stop_reason: None,
        session_start: Timestamp::from_millis(start),
        session_end: None,
        duration_seconds: 1.5,
        counters: Counters { discovered: 3, queued: 1, fetched: 2, bytes: u64::MAX, ..Default::default() },
        last_life: None,
    }
}

fn epoch(id: &str, epoch: Epoch) -> EpochRow {
    EpochRow {
        session_id: id.parse().unwrap(),
        epoch,
        pid: 1,
        boot_id: "b".into(),
        started_at: Timestamp::from_millis(1000),
        ended_at: None,
        commit_seq: 0,
        stop_reason: None,
        crash_reason: None,
        decision: None,
    }
}

#[test]
fn sessions_are_kept_newest_first_and_updated() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("crawld.db");
    let (registry, opened) = open(&path).unwrap();
    assert_eq!(opened, Opened::Fresh);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    registry.put_session(&row("a", 1)).unwrap();
    registry.put_session(&row("b", 2)).unwrap();
    let ended = SessionRow {
        is_active: false,
        status: SessionStatus::Completed,
        stop_reason: Some(StopReason::Finished),
        session_end: Some(Timestamp::from_millis(9)),
        task_hash: None,
        ..row("a", 1)
    };
    registry.put_session(&ended).unwrap();
    drop(registry);
    let (registry, opened) = open(&path).unwrap();
    assert_eq!(opened, Opened::Existing);
    let all = registry.sessions().unwrap();
    assert_eq!(all.iter().map(|s| s.id.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    let kept = SessionRow {
        task_hash: Some("sha256:1".into()),
        counters: Counters { bytes: i64::MAX as u64, ..ended.counters },
        ..ended
    };
    assert_eq!(registry.session(&"a".parse().unwrap()).unwrap(), Some(kept));
    assert_eq!(registry.session(&"none".parse().unwrap()).unwrap(), None);
    assert_eq!(registry.sessions_of("sha256:1").unwrap().len(), 2);
}

#[test]
fn epochs_are_closed_by_a_stop_or_at_the_last_sign_of_life() {
    let temp = tempfile::tempdir().unwrap();
    let (registry, _) = open(&temp.path().join("crawld.db")).unwrap();
    let a: SessionId = "a".parse().unwrap();
    for n in [1, 2, 3] {
        registry.put_epoch(&epoch("a", n)).unwrap();
    }
    registry.stop_epoch(&a, 1, Timestamp::from_millis(2000), 7, StopReason::Shutdown).unwrap();
    assert_eq!(registry.open_epochs().unwrap().len(), 2);
    assert_eq!(registry.close_stale(&a, Timestamp::from_millis(500), CrashReason::Killed).unwrap(), 2);
    registry.put_decision(&a, Decision::Resume, Cause::Crash).unwrap();
    let rows = registry.epochs(&a).unwrap();
    assert_eq!((rows[0].stop_reason, rows[0].commit_seq), (Some(StopReason::Shutdown), 7));
    assert_eq!(rows[1].crash_reason, Some(CrashReason::Killed));
    assert_eq!(rows[1].ended_at, Some(Timestamp::from_millis(1000)), "never before its start");
    assert_eq!((rows[1].decision, rows[2].decision), (None, Some((Decision::Resume, Cause::Crash))));
    assert!(registry.open_epochs().unwrap().is_empty());
}

#[test]
fn days_add_up() {
    let temp = tempfile::tempdir().unwrap();
    let (registry, _) = open(&temp.path().join("crawld.db")).unwrap();
    let by = DayNumbers { fetched: 2, active_seconds: 0.5, ..Default::default() };
    for day in ["2026-11-20", "2026-11-21", "2026-11-21"] {
        registry.add_to_day(day, &by).unwrap();
    }
    let days = registry.days(10).unwrap();
    assert_eq!(days[0], ("2026-11-21".into(), DayNumbers { fetched: 4, active_seconds: 1.0, ..Default::default() }));
    assert_eq!(days[1].1, by);
}

#[test]
fn a_damaged_registry_is_moved_aside_and_a_newer_one_left_alone() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("crawld.db");
    for n in 1..=2 {
        fs::write(&path, "this is no database, and long enough to be seen as one".repeat(100)).unwrap();
        let (registry, opened) = open(&path).unwrap();
        let moved_to = temp.path().join(format!("quarantine/crawld.db.damaged-{n}"));
        assert_eq!(opened, Opened::Rebuilt { moved_to: moved_to.clone() });
        assert!(moved_to.exists());
        registry.put_session(&row("a", 1)).unwrap();
        drop(registry);
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(open(&path), Ok((_, Opened::Rebuilt { .. }))), "a directory in its place");

    let newer = temp.path().join("newer.db");
    drop(open(&newer).unwrap());
    Connection::open(&newer).unwrap().pragma_update(None, "user_version", 2).unwrap();
    let before = fs::read(&newer).unwrap();
    assert!(matches!(open(&newer), Err(RegistryError::TooNew { found: 2, .. })));
    assert_eq!(fs::read(&newer).unwrap(), before);
}

#[test]
fn an_empty_file_becomes_a_registry() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("crawld.db");
    fs::write(&path, "").unwrap();
    assert!(matches!(open(&path), Ok((_, Opened::Existing))));
}
