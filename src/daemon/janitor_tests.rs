//! The janitor removes what is old, ended and proven, and nothing else.

use super::*;
use crate::state::checkpoint_file::CheckpointWriter;
use crate::state::{Durability, envelope};
use std::os::unix::fs::symlink;

/// Everything is "old" a year after it was written.
fn later() -> Timestamp {
    crate::clock::Clock::system().now() + Duration::from_secs(365 * 86_400)
}

fn options() -> RetentionOptions {
    RetentionOptions { max_age: Duration::from_secs(7 * 86_400), purge_outputs: false, purge_unfinished: false }
}

fn session(dir: &StateDir, id: &str, status: SessionStatus) -> SessionPaths {
    let paths = dir.session(&id.parse().unwrap());
    paths.create().unwrap();
    task_file::write(&paths, &task_file::sample(id)).unwrap();
    let mut checkpoint = checkpoint_file::sample(id, 1);
    checkpoint.progress_snapshot.status = status;
    CheckpointWriter::open(&paths).write(checkpoint.clone()).unwrap();
    CheckpointWriter::open(&paths).write(checkpoint).unwrap();
    let beat = crate::model::heartbeat::Heartbeat { status, ..heartbeat_file::sample(id, 1) };
    heartbeat_file::write(&paths, &beat, 1, Durability::Atomic).unwrap();
    fs::write(paths.store(), "store").unwrap();
    fs::write(paths.out().join("pages-00001.jsonl"), "page\n").unwrap();
    paths
}

fn state() -> (tempfile::TempDir, StateDir) {
    let temp = tempfile::tempdir().unwrap();
    let dir = StateDir::open(temp.path()).unwrap();
    (temp, dir)
}

#[test]
fn an_ended_session_loses_its_state_and_keeps_its_outputs() {
    let (_temp, dir) = state();
    let done = session(&dir, "done", SessionStatus::Completed);
    let running = session(&dir, "running", SessionStatus::Active);
    let dry = clean(&dir, later(), &options(), true).unwrap();
    assert!(done.store().exists() && done.checkpoint().exists(), "a dry run touches nothing");
    let report = clean(&dir, later(), &options(), false).unwrap();
    assert_eq!((&dry.removed, dry.freed_bytes), (&report.removed, report.freed_bytes));
    assert_eq!(
        report.removed.iter().map(|i| i.what.as_str()).collect::<Vec<_>>(),
        ["checkpoint", "heartbeat", "store"]
    );
    for gone in [done.checkpoint(), done.checkpoint_prev(), done.heartbeat(), done.store()] {
        assert!(!gone.exists(), "{gone:?}");
    }
    assert!(done.out().join("pages-00001.jsonl").exists() && done.task().exists());
    let note = end_note::read(&done);
    assert_eq!(note.good().unwrap().0.status, SessionStatus::Completed, "it must not be resumed from its outputs");
    assert!(running.store().exists() && running.checkpoint().exists());
    assert!(report.notes.iter().any(|note| note.contains("running")));
    assert_eq!(fs::read_dir(dir.trash()).unwrap().count(), 0);
    assert!(
        clean(&dir, later(), &options(), false).unwrap().removed.is_empty(),
        "a second time there is nothing to do"
    );
}

#[test]
fn outputs_go_only_when_asked_for() {
    let (_temp, dir) = state();
    let done = session(&dir, "done", SessionStatus::Cancelled);
    let all = RetentionOptions { purge_outputs: true, ..options() };
    assert_eq!(clean(&dir, later(), &all, false).unwrap().removed.len(), 3);
    assert!(!done.dir().exists() && !done.checkpoint().exists());
}

#[test]
fn young_owned_unproven_and_newer_sessions_stay() {
    let (_temp, dir) = state();
    let all = RetentionOptions { purge_outputs: true, purge_unfinished: true, ..options() };
    let now = crate::clock::Clock::system().now();
    let owned = session(&dir, "owned", SessionStatus::Completed);
    // Facts of an unknown boot, so that the year to come is no jump of the clock.
    let holder = Holder { boottime_ms: 0, ..Holder::me("run", now) };
    let lock = Lock::take(&owned.lock(), &holder).unwrap();
    fs::create_dir_all(dir.sessions().join("unproven/out")).unwrap();
    let newer = session(&dir, "newer", SessionStatus::Completed);
    let mut facts = envelope::Envelope::new::<crate::model::checkpoint::Checkpoint>(9, 1);
    facts.format = 99;
    fs::write(newer.checkpoint(), envelope::seal(&checkpoint_file::sample("newer", 1), &facts).unwrap()).unwrap();
    let report = clean(&dir, later(), &all, false).unwrap();
    assert_eq!(report.removed, [], "{report:?}");
    drop(lock);
    assert!(clean(&dir, now, &all, false).unwrap().removed.is_empty(), "young");
    assert!(dir.sessions().join("unproven").exists() && newer.store().exists());
}

#[test]
fn links_are_never_followed() {
    let (temp, dir) = state();
    let done = session(&dir, "done", SessionStatus::Completed);
    let outside = temp.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "").unwrap();
    symlink(&outside, done.out().join("link")).unwrap();
    fs::remove_file(done.store()).unwrap();
    symlink(outside.join("precious"), done.store()).unwrap();
    symlink(&outside, dir.sessions().join("linked")).unwrap();
    let all = RetentionOptions { purge_outputs: true, purge_unfinished: true, ..options() };
    clean(&dir, later(), &all, false).unwrap();
    assert!(!done.dir().exists() && outside.join("precious").exists());
    assert!(dir.sessions().join("linked").exists());
}

#[test]
fn an_interrupted_cleanup_is_finished_and_strangers_in_the_trash_stay() {
    let (_temp, dir) = state();
    fs::create_dir_all(dir.trash().join("done~directory~20261121T000000000Z-00000000/out")).unwrap();
    fs::write(dir.trash().join("mine.txt"), "").unwrap();
    let report = clean(&dir, later(), &options(), false).unwrap();
    assert_eq!(report.notes.len(), 1);
    assert_eq!(fs::read_dir(dir.trash()).unwrap().count(), 1);
}
