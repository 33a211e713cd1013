//! Beside a running daemon: what is handed over to it, joined, and followed.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::site::Config;
use crate::support::world::Fetch;
use crate::support::{Child, Crawld, World, child, poll};

fn slow(pages: u32) -> World {
    World::new(Config { latency: Duration::from_millis(30), ..Config::plain(pages) }, Fetch::Http)
}

/// A task file of the world's site, outside the folder that the daemon looks into.
fn task_file(world: &World) -> String {
    let place = world.path().join("handed");
    fs::create_dir_all(&place).expect("folder");
    let seed = world.site.at("/");
    let text = format!("seeds = [\"{seed}\"]\n[fetch]\nmode = \"http\"\n[politeness]\ndelay = \"0ms\"\nper_host = 4\n");
    let file = place.join("lights.toml");
    fs::write(&file, text).expect("task file");
    file.display().to_string()
}

fn submit(world: &World, file: &str) -> Crawld {
    world.crawld(&["submit", file, "--json"])
}

fn status(world: &World, id: &str) -> Value {
    world.crawld(&["status", id, "--json"]).run().json()
}

#[track_caller]
fn stop(daemon: Child) {
    daemon.signal(Signal::TERM);
    daemon.wait(child::PATIENCE).expect_code(0);
}

#[test]
fn a_task_file_is_submitted_once_joined_and_followed_to_its_end() {
    let world = slow(120);
    let file = task_file(&world);
    let alone = submit(&world, &file).run().expect_code(5);
    assert!(alone.stderr.contains("crawld run"), "{}", alone.said());
    let daemon = world.daemon();
    let first = submit(&world, &file).run().expect_code(0).json();
    assert_eq!((&first["task_id"], &first["joined"]), (&"lights".into(), &false.into()), "{first}");
    let again = submit(&world, &file).run().expect_code(0).json();
    assert_eq!((&again["session_id"], &again["joined"]), (&first["session_id"], &true.into()), "{again}");
    // The same task by the other command joins too, and looks on until the end.
    let followed = world.crawld(&["crawl", &file, "--json"]).run().expect_code(0);
    assert_eq!(followed.json()["session_id"], first["session_id"], "{}", followed.said());
    assert_eq!(followed.json()["status"], "completed", "{}", followed.said());
    stop(daemon);
    world.check_complete(&followed);
    assert_eq!(world.sessions().len(), 1);
}

#[test]
fn a_follower_ends_with_the_exit_code_of_the_crawl() {
    let world = World::new(Config::full(10), Fetch::Http);
    let daemon = world.daemon();
    // The workshop has a page that is broken for ever.
    let last = world.crawl().run().expect_code(3);
    assert!(status(&world, &world.session())["status"] == "completed");
    stop(daemon);
    world.check_complete(&last);
}

#[test]
fn ctrl_c_ends_the_following_and_not_the_crawl() {
    let world = slow(150);
    let daemon = world.daemon();
    let mut follower = world.crawl().spawn();
    world.until_recorded(&mut follower, 10);
    follower.signal(Signal::INT);
    let left = follower.wait(Duration::from_secs(10)).expect_code(4);
    let id = world.session();
    assert_eq!((&left.json()["session_id"], &left.json()["status"]), (&id.as_str().into(), &"active".into()));
    // Whoever comes back sees the end.
    let back = world.crawl().run().expect_code(0);
    assert_eq!(back.json()["session_id"], id.as_str(), "{}", back.said());
    stop(daemon);
    world.check_complete(&back);
}

#[test]
fn a_daemon_that_dies_under_a_follower_is_said_with_what_continues_the_crawl() {
    let world = slow(150);
    let daemon = world.daemon();
    let mut follower = world.crawl().spawn();
    world.until_recorded(&mut follower, 10);
    daemon.kill();
    let left = follower.wait(Duration::from_secs(20)).expect_code(4);
    assert!(left.stderr.contains("no longer following") && left.stderr.contains("crawld recover"), "{}", left.said());
    world.finish();
}

#[test]
fn what_cannot_be_submitted_is_refused_with_its_place() {
    let world = slow(3);
    let daemon = world.daemon();
    let file = world.path().join("bad.toml.sample");
    fs::write(&file, "seeds = [\"http://127.0.0.1:1/\"]\nno_such_key = 1\n").expect("write");
    let refused = submit(&world, &file.display().to_string()).run().expect_code(78);
    assert!(refused.stderr.contains("no_such_key") && refused.stderr.contains("bad.toml"), "{}", refused.said());
    submit(&world, "nowhere.toml").run().expect_code(78);
    assert!(world.sessions().is_empty());
    poll::expect("the daemon's health", Duration::from_secs(5), || {
        (world.crawld(&["sessions", "--json"]).run().code == Some(0)).then_some(())
    });
    stop(daemon);
}
