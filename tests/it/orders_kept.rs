//! Orders that were answered outlive the store: it is lost after each, and the crawl does what was ordered.

use std::fs;
use std::time::Duration;

use crawld::model::time::Timestamp;
use serde_json::Value;

use crate::site::Config;
use crate::support::World;
use crate::support::world::Fetch;

fn slow_world(pages: u32) -> World {
    World::new(Config { latency: Duration::from_millis(20), ..Config::plain(pages) }, Fetch::Http)
}

#[track_caller]
fn order(world: &World, words: &[&str]) -> Value {
    let id = world.session();
    world.crawld(words).args(&[&id, "--json"]).run().expect_code(0).json()
}

fn status(world: &World) -> Value {
    let id = world.session();
    world.crawld(&["status", &id, "--json"]).run().json()
}

#[track_caller]
fn lose_the_store(world: &World) {
    for name in ["frontier.db", "frontier.db-wal", "frontier.db-shm"] {
        let _ = fs::remove_file(world.session_dir().join(name));
    }
    assert!(!world.session_dir().join("frontier.db").exists());
}

/// What recovery would do, and why.
fn decided(world: &World) -> (String, String) {
    let looked = world.recover().args(&["--dry-run"]).run().json();
    let text = |field: &str| looked["sessions"][0][field].as_str().unwrap_or_default().to_owned();
    (text("decision"), text("cause"))
}

fn fetched_at(page: &Value) -> Timestamp {
    serde_json::from_value(page["fetched_at"].clone()).expect("an instant")
}

#[test]
fn a_pause_and_its_end() {
    let world = slow_world(120);
    let mut first = world.crawl().spawn();
    world.until_recorded(&mut first, 5);
    assert_eq!(order(&world, &["pause"])["status"], "paused");
    first.kill();
    lose_the_store(&world);
    assert_eq!(status(&world)["status"], "paused");
    assert_eq!(decided(&world), ("resume".into(), "paused_by_operator".into()));
    order(&world, &["resume"]);
    lose_the_store(&world);
    assert_eq!(decided(&world), ("resume".into(), "rebuilt_from_outputs".into()));
    let last = world.recover().run().expect_code(0);
    world.check_complete(&last);
}

#[test]
fn a_cancel() {
    let world = slow_world(120);
    let mut first = world.crawl().spawn();
    world.until_recorded(&mut first, 5);
    assert_eq!(order(&world, &["cancel"])["status"], "cancelled");
    first.kill();
    lose_the_store(&world);
    let before = world.site.hits();
    assert_eq!(status(&world)["status"], "cancelled");
    world.recover().run();
    assert_eq!((world.site.hits(), &status(&world)["status"]), (before, &"cancelled".into()));
}

#[test]
fn an_extension_of_the_limits() {
    let world = slow_world(60);
    world.crawl().args(&["--max-pages", "20"]).run().expect_code(4);
    order(&world, &["resume", "--extend"]);
    lose_the_store(&world);
    let second = world.recover().run().expect_code(4);
    let fetched = second.json()["sessions"][0]["end"]["counters"]["fetched"].as_u64().unwrap_or(0);
    assert!((35..=48).contains(&fetched), "{}", second.said());
}

#[test]
fn failed_urls_that_were_queued_again() {
    let world = World::new(Config::full(10), Fetch::Http);
    let first = world.crawl().run().expect_code(3);
    let failed = first.json()["counters"]["failed"].as_u64().unwrap_or(0);
    assert_eq!(order(&world, &["retry-failed"])["count"], failed);
    lose_the_store(&world);
    let last = world.recover().run().expect_code(3);
    let crawl = world.outputs();
    crawl.check_consistent();
    let again = crawl.pages.iter().filter(|page| !page["supersedes"].is_null()).count() as u64;
    assert_eq!(again, failed, "each failed page has a record that supersedes its first: {}", last.said());
    // Lost once more: what failed after the order is not queued by it.
    lose_the_store(&world);
    let id = world.session();
    world.recover().args(&[&id]).run();
    assert_eq!(status(&world)["counters"]["failed"], failed, "{}", status(&world));
    world.verify();
}

#[test]
fn parked_urls_that_were_released() {
    let world = World::new(Config { calendar: true, ..Config::plain(5) }, Fetch::Http);
    let task = world.path().join("calendar.toml");
    let text = format!("seeds = [\"{}\"]\n[scope]\nquery_budget = 20\n", world.site.at("/"));
    fs::write(&task, text).expect("a task file");
    let flags = ["--fetch", "http", "--delay", "0ms", "--per-host", "4", "--tabs", "4", "--quiet"];
    world.crawld(&["crawl", &task.display().to_string()]).args(&flags).run();
    let parked = status(&world)["counters"]["parked"].as_u64().unwrap_or(0);
    assert!(parked > 0, "{}", status(&world));
    assert_eq!(order(&world, &["release-parked"])["count"], parked);
    lose_the_store(&world);
    world.recover().args(&["--no-run"]).run();
    let counters = status(&world)["counters"].clone();
    assert_eq!((&counters["parked"], &counters["queued"]), (&0.into(), &parked.into()), "{counters}");
    world.verify();
}

#[test]
fn no_host_is_asked_sooner_by_a_crawl_that_has_lost_its_store() {
    const DELAY: Duration = Duration::from_secs(3);
    let world = World::new(Config::plain(30), Fetch::Http);
    let seed = world.site.at("/");
    let crawl = || world.crawld(&["crawl", &seed, "--fetch", "http", "--delay", "3s", "--per-host", "1", "--quiet"]);
    let mut first = crawl().spawn();
    world.until_recorded(&mut first, 2);
    first.kill();
    let newest = |world: &World| {
        let all = world.outputs().pages;
        all.iter().map(fetched_at).max()
    };
    let before = newest(&world).expect("a page");
    lose_the_store(&world);
    let mut second = crawl().spawn();
    world.until_recorded(&mut second, 3);
    second.kill();
    let later = world.outputs().pages.iter().map(fetched_at).filter(|at| *at > before).min().expect("another page");
    let pause = later.since(before);
    assert!(pause >= DELAY - Duration::from_millis(50), "asked again after {pause:?}");
}
