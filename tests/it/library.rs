//! The four calls of the library, on a real session; and every format ever written, by today's readers.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crawld::model::ids::SessionId;
use crawld::model::record::{PageRecord, UrlRecord};
use crawld::model::session::{Cause, Decision, SessionStatus, Strategy};
use crawld::policy::retention::RetentionOptions;
use crawld::state::{StateDir, checkpoint_file, heartbeat_file, task_file};
use crawld::{cleanup_old_sessions, create_session_checkpoint, list_recoverable_sessions, recover_session};
use serde_json::Value;

use crate::site::Config;
use crate::support::World;
use crate::support::world::Fetch;

fn world() -> World {
    World::new(Config { latency: Duration::from_millis(10), ..Config::plain(60) }, Fetch::Http)
}

fn id(world: &World) -> SessionId {
    world.session().parse().expect("a session id")
}

#[test]
fn a_killed_session_is_listed_recovered_and_continued() {
    let world = world();
    world.crawl_and_kill(15);
    let listed = list_recoverable_sessions(&world.state).expect("a list");
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].session_id.clone(), listed[0].cause), (id(&world), Cause::Crash));
    assert_eq!(listed[0].status, SessionStatus::Recoverable);
    assert!(listed[0].urls_remaining > 0 && listed[0].estimated_progress > 0.0);
    let (info, outcome) = recover_session(&world.state, &id(&world), Strategy::Auto).expect("recovered");
    assert_eq!(info.recovery_strategy, Decision::Resume);
    drop(outcome);
    world.finish();
    assert!(list_recoverable_sessions(&world.state).expect("a list").is_empty());
}

#[test]
fn a_checkpoint_of_a_session_at_rest_is_newer_than_the_last() {
    let world = world();
    world.crawl_and_kill(15);
    let before = world.checkpoint()["generation"].as_u64().expect("a generation");
    let written = create_session_checkpoint(&world.state, &id(&world)).expect("a checkpoint");
    assert!(written > before, "{written} after {before}");
    assert_eq!(world.checkpoint()["generation"].as_u64(), Some(written));
    let unknown = "session_1_abcdefgh".parse().expect("an id");
    assert!(create_session_checkpoint(&world.state, &unknown).is_err());
    world.finish();
}

#[test]
fn what_ended_long_ago_is_cleaned_up_and_its_outputs_stay() {
    let world = world();
    world.crawl().run().expect_code(0);
    let options = RetentionOptions { max_age: Duration::ZERO, purge_outputs: false, purge_unfinished: false };
    let planned = cleanup_old_sessions(&world.state, &options, true).expect("a plan");
    assert!(!planned.removed.is_empty());
    assert!(world.session_dir().join("frontier.db").exists(), "a dry run removes nothing");
    cleanup_old_sessions(&world.state, &options, false).expect("cleaned up");
    assert!(!world.session_dir().join("frontier.db").exists());
    world.outputs().check_against(&world.site, false);
}

#[test]
fn every_format_ever_written_is_read() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/samples");
    let temp = tempfile::tempdir().expect("temporary directory");
    let state = StateDir::open(temp.path()).expect("state directory");
    let place = |path: &Path| {
        let document: Value = serde_json::from_slice(&fs::read(path).expect("a sample")).expect("JSON");
        let paths = state.session(&document["session_id"].as_str().expect("an id").parse().expect("an id"));
        paths.create().expect("session directory");
        paths
    };
    let mut read = 0;
    for entry in fs::read_dir(&samples).expect("samples") {
        let path = entry.expect("directory entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let kind = name.split('-').next().unwrap_or_default();
        let put = |place: &Path| assert!(fs::copy(&path, place).expect("copy") > 0);
        match kind {
            "checkpoint" => {
                let paths = place(&path);
                put(&paths.checkpoint());
                assert!(checkpoint_file::read(&paths).current.good().is_some(), "{name}");
            }
            "heartbeat" => {
                let paths = place(&path);
                put(&paths.heartbeat());
                assert!(heartbeat_file::read(&paths).good().is_some(), "{name}");
            }
            "task" => {
                let paths = place(&path);
                put(&paths.task());
                assert!(task_file::read(&paths).good().is_some(), "{name}");
            }
            "pages" => lines(&path, |line| serde_json::from_str::<PageRecord>(line).map(drop)),
            "urls" => lines(&path, |line| serde_json::from_str::<UrlRecord>(line).map(drop)),
            "config" => {
                let text = fs::read_to_string(&path).expect("a config");
                toml::from_str::<crawld::config::Config>(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
            }
            _ => panic!("`{name}` is a sample of nothing"),
        }
        read += 1;
    }
    assert!(read >= 6, "only {read} samples");
}

#[track_caller]
fn lines(path: &Path, read: impl Fn(&str) -> serde_json::Result<()>) {
    let text = fs::read_to_string(path).expect("records");
    assert!(!text.is_empty());
    for line in text.lines() {
        read(line).unwrap_or_else(|e| panic!("{}: {e}\n{line}", path.display()));
    }
}
