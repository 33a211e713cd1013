//! Without a registry crawling goes on and says so; without persistence nothing is left, and it says so.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::Value;

use crate::site::Config;
use crate::support::world::Fetch;
use crate::support::{World, child, poll};

fn world() -> World {
    World::new(Config { latency: Duration::from_millis(15), ..Config::plain(120) }, Fetch::Http)
}

/// `GET /api/v1/health` of whoever owns the state directory.
#[track_caller]
fn health(world: &World) -> Value {
    let mut stream = UnixStream::connect(world.state.join("crawld.sock")).expect("the owner's socket");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
    stream.write_all(b"GET /api/v1/health HTTP/1.0\r\nhost: localhost\r\n\r\n").expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {answer}"))
}

fn degraded(health: &Value) -> bool {
    let all = health["degraded"].as_array().expect("a list");
    all.iter().any(|why| why.as_str().is_some_and(|why| why.starts_with("registry: ")))
}

#[test]
fn a_registry_that_cannot_be_written_stops_nothing_and_is_said() {
    let world = world();
    let mut child = world.crawl().spawn();
    world.until_recorded(&mut child, 5);
    assert!(!degraded(&health(&world)));
    // Somebody else's transaction, for as long as the crawl lasts.
    let other = Connection::open(world.state.join("crawld.db")).expect("the registry");
    other.execute_batch("BEGIN IMMEDIATE").expect("a transaction of ours");
    let last = child.wait(child::PATIENCE).expect_code(0);
    assert!(last.stderr.contains("the registry cannot be written: crawling goes on"), "{}", last.said());
    other.execute_batch("ROLLBACK").expect("the end of it");
    world.check_complete(&last);
}

#[test]
fn a_registry_of_a_newer_crawld_is_left_byte_for_byte_and_crawling_goes_on() {
    let world = world();
    fs::create_dir(&world.state).expect("state directory");
    fs::set_permissions(&world.state, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("permissions");
    let registry = world.state.join("crawld.db");
    let newer = Connection::open(&registry).expect("a database");
    newer
        .execute_batch("CREATE TABLE later (x); INSERT INTO later VALUES (1); PRAGMA user_version = 999")
        .expect("sql");
    drop(newer);
    let before = fs::read(&registry).expect("the registry");
    let mut child = world.crawl().spawn();
    world.until_recorded(&mut child, 5);
    assert!(degraded(&health(&world)), "{}", health(&world));
    let last = child.wait(child::PATIENCE).expect_code(0);
    assert!(last.stderr.contains("format 999") && last.stderr.contains("goes on without it"), "{}", last.said());
    world.check_complete(&last);
    assert_eq!(fs::read(&registry).expect("the registry"), before, "not a byte of it may change");
}

#[test]
fn without_persistence_nothing_survives_and_it_says_so() {
    let world = world();
    let place = world.path().join("tmp");
    fs::create_dir(&place).expect("directory");
    let crawl = || {
        let crawl = world.crawl().env("TMPDIR", &place).env("CRAWLD_ENABLE_SESSION_PERSISTENCE", "false");
        crawl.spawn()
    };
    let left =
        || fs::read_dir(&place).expect("directory").map(|entry| entry.expect("entry").path()).collect::<Vec<PathBuf>>();
    let last = crawl().wait(child::PATIENCE).expect_code(0);
    assert!(last.stderr.contains("nothing of this run survives"), "{}", last.said());
    assert_eq!(last.json()["counters"]["fetched"], 121, "{}", last.said());
    assert!(left().is_empty() && !world.state.exists(), "left: {:?}", left());
    // Stopped on the way it leaves nothing either, and the next one begins from the beginning.
    let requests = || world.site.hits().values().sum::<u32>();
    let before = requests();
    let mut child = crawl();
    poll::expect("some pages", Duration::from_secs(30), || {
        assert!(!child.has_ended(), "{}", child.said());
        (requests() > before + 30).then_some(())
    });
    child.signal(rustix::process::Signal::INT);
    child.wait(child::PATIENCE).expect_code(4);
    assert!(left().is_empty() && !world.state.exists(), "left: {:?}", left());
}
