//! One owner for a state directory, and what the others are told.

use std::time::Duration;

use rustix::process::Signal;

use crate::site::Config;
use crate::support::world::Fetch;
use crate::support::{World, child, poll, proc};

fn slow_world() -> World {
    World::new(Config { latency: Duration::from_millis(40), ..Config::plain(150) }, Fetch::Http)
}

#[test]
fn a_second_daemon_is_turned_away() {
    let world = slow_world();
    let mut first = world.crawl().spawn();
    world.until_recorded(&mut first, 5);
    world.crawld(&["run"]).run().expect_code(75);
    let last = first.wait(child::PATIENCE).expect_code(0);
    world.check_complete(&last);
}

#[test]
fn recover_beside_a_living_owner_changes_nothing() {
    let world = slow_world();
    let mut first = world.crawl().spawn();
    world.until_recorded(&mut first, 5);
    let beside = world.recover().run();
    assert_ne!(beside.code, Some(70), "{}", beside.said());
    let last = first.wait(child::PATIENCE).expect_code(0);
    world.check_complete(&last);
}

#[test]
fn the_first_signal_drains_and_the_same_command_continues() {
    for signal in [Signal::TERM, Signal::INT] {
        let world = slow_world();
        let mut child = world.crawl().spawn();
        world.until_recorded(&mut child, 20);
        child.signal(signal);
        let stopped = child.wait(Duration::from_secs(30)).expect_code(4);
        assert_eq!(stopped.json()["stop_reason"], "shutdown", "{}", stopped.said());
        let before = world.site.hits();
        let dry = world.recover().args(&["--dry-run"]).run();
        assert_eq!(dry.json()["sessions"][0]["cause"], "clean_stop", "{}", dry.said());
        assert_eq!(before, world.site.hits(), "a dry run asks nobody");
        let last = world.crawl().run().expect_code(0);
        world.check_complete(&last);
        assert_eq!(crate::support::oracle::refetches(&world.site), 0, "a drained crawl fetches nothing again");
    }
}

#[test]
fn nothing_to_recover_is_said_with_the_place() {
    let world = World::new(Config::plain(1), Fetch::Http);
    let ended = world.crawld(&["recover"]).run().expect_code(5);
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(said.contains(&world.state.display().to_string()), "{said}");
}

#[test]
fn no_browser_outlives_a_killed_daemon() {
    let latency = Duration::from_millis(30);
    let world = World::new(Config { latency, ..Config::plain(100) }, Fetch::Scripted);
    let mut child = world.crawl().spawn();
    world.until_recorded(&mut child, 5);
    let browsers = proc::browsers(child.pid);
    assert!(!browsers.is_empty(), "a browser was running; {}", child.said());
    child.kill();
    let place = world.state.display().to_string();
    poll::expect("the browsers' end", Duration::from_secs(5), || proc::with_command(&place).is_empty().then_some(()));
    world.finish();
}
