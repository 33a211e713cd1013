//! A browser that cannot be started: crawling pauses, says so, and loses nothing.

use std::fs;

use serde_json::Value;

use crate::site::Config;
use crate::support::world::Fetch;
use crate::support::{World, child, poll};

/// A program that ends at once instead of being a browser.
const NO_BROWSER: &str = "/bin/false";

/// One that says why.
const TALKS: &str = "/bin/ls";

fn heartbeat(world: &World) -> Option<Value> {
    let [session] = &world.sessions()[..] else { return None };
    let text = fs::read(world.state.join(format!("sessions/heartbeat_{session}.json"))).ok()?;
    serde_json::from_slice(&text).ok()
}

#[test]
fn an_open_browser_breaker_is_said_in_heartbeat_and_checkpoint_and_forgotten_by_a_browser_that_starts() {
    let world = World::new(Config::plain(30), Fetch::Scripted);
    let mut crawl = world
        .crawl()
        .env("CRAWLD_CHROME", NO_BROWSER)
        .env("CRAWLD_BROWSER_MAX_CONNECTION_ATTEMPTS", "2")
        .env("CRAWLD_SESSION_HEALTH_CHECK_INTERVAL", "1s")
        .env("CRAWLD_SESSION_HEARTBEAT_INTERVAL", "1s")
        .spawn();
    let beat = poll::expect("a paused heartbeat with the health of it", child::PATIENCE, || {
        assert!(!crawl.has_ended(), "{}", crawl.said());
        let factor =
            |beat: &Value| beat["health_factors"].as_array()?.iter().find(|f| f["name"] == "breakers").cloned();
        heartbeat(&world).filter(|beat| beat["status"] == "paused" && factor(beat).is_some_and(|f| f["value"] == 0.2))
    });
    let reason = beat["status_reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with("browser: the browser could not be started 2 times in a row"), "{beat}");
    assert_eq!(beat["breakers_open"], 1, "{beat}");
    let id = world.session();
    world.crawld(&["checkpoint", &id]).run().expect_code(0);
    let seen = world.checkpoint()["circuit_breaker_state"]["browser"].clone();
    assert_eq!((&seen["state"], &seen["failures"]), (&"open".into(), &2.into()), "{seen}");
    assert!((1..=60_000).contains(&seen["remaining_open_ms"].as_u64().unwrap_or(0)), "{seen}");

    // A lifetime that has tried no browser yet shows what the one before knew, and is not held by it.
    crawl.kill();
    world.crawld(&["pause", &id]).run().expect_code(0);
    let shown = world.checkpoint()["circuit_breaker_state"]["browser"].clone();
    assert_eq!((&shown["state"], &shown["failures"]), (&"open".into(), &2.into()), "{shown}");
    world.crawld(&["resume", &id]).run().expect_code(0);
    let last = world.recover().run().expect_code(0);
    world.check_complete(&last);
    let closed = world.checkpoint()["circuit_breaker_state"]["browser"].clone();
    assert_eq!((&closed["state"], &closed["failures"]), (&"closed".into(), &0.into()), "{closed}");
}

/// In the foreground nobody waits for a browser that has never come up; the session does.
#[test]
fn a_first_browser_that_never_comes_up_ends_the_command_with_its_words_and_loses_nothing() {
    let world = World::new(Config::plain(5), Fetch::Scripted);
    for command in [world.crawl(), world.recover()] {
        let ended = command.env("CRAWLD_CHROME", TALKS).run().expect_code(69);
        assert!(ended.stderr.contains("no browser could be started in 3 tries"), "{}", ended.said());
        assert!(ended.stderr.contains("unrecognized option"), "{}", ended.said());
    }
    let last = world.crawl().run().expect_code(0);
    let crawl = world.check_complete(&last);
    assert!(crawl.pages.iter().all(|page| page["attempt"] == 1), "a start that failed was charged to a page");
}
