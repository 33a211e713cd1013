//! A panic in crawld itself: its own fault is named, and nothing but the panicking part pays for it.

use std::fs;
use std::time::Duration;

use crate::site::Config;
use crate::support::world::Fetch;
use crate::support::{World, child, poll, skip};

fn world() -> World {
    World::new(Config { latency: Duration::from_millis(30), ..Config::plain(400) }, Fetch::Http)
}

fn without_points(test: &str) -> bool {
    let without = !cfg!(feature = "failpoints");
    if without {
        skip::because(test, "built without the feature `failpoints`");
    }
    without
}

#[test]
fn of_the_daemon_s_loop_leaves_its_reason_for_the_next_start() {
    if without_points("panics::of_the_daemon_s_loop_leaves_its_reason_for_the_next_start") {
        return;
    }
    let world = world();
    let ended = world.crawl().failpoints("panic.daemon=1*off->panic").run().expect_code(70);
    assert!(ended.stderr.contains("crawld: bug:"), "{}", ended.said());
    let words = fs::read_to_string(world.session_dir().join("last-words.json")).expect("last words");
    assert!(words.contains("\"panic\""), "{words}");
    let looked = world.recover().args(&["--dry-run"]).run().expect_code(0).json();
    assert_eq!(looked["sessions"][0]["crash_reason"], "panic", "{looked}");
    let last = world.recover().run().expect_code(0);
    world.check_complete(&last);
    assert!(!world.session_dir().join("last-words.json").exists(), "the words are understood and gone");
}

#[test]
fn of_a_session_ends_that_session_which_is_recovered_once() {
    if without_points("panics::of_a_session_ends_that_session_which_is_recovered_once") {
        return;
    }
    let survived = world();
    let last = survived.crawl().failpoints("panic.session=1*off->1*panic->off").run().expect_code(0);
    survived.check_complete(&last);
    let record = fs::read_to_string(survived.session_dir().join("recovery.json")).expect("the decision");
    assert!(record.contains("\"panic\""), "{record}");
    let given_up = world();
    let ended = given_up.crawl().failpoints("panic.session=panic").run().expect_code(70);
    assert_eq!(ended.json()["status"], "crashed", "{}", ended.said());
    let last = given_up.recover().run().expect_code(0);
    given_up.check_complete(&last);
}

#[test]
fn of_a_visit_is_survived_and_speaks_for_no_dead_process() {
    if without_points("panics::of_a_visit_is_survived_and_speaks_for_no_dead_process") {
        return;
    }
    let world = world();
    let last = world.crawl().failpoints("panic.visit=20*off->1*panic->off").run().expect_code(0);
    assert!(last.stderr.contains("panic.visit"), "{}", last.said());
    assert!(!world.session_dir().join("last-words.json").exists());
    world.check_complete(&last);
}

#[test]
fn of_every_visit_of_a_page_sets_that_page_aside() {
    if without_points("panics::of_every_visit_of_a_page_sets_that_page_aside") {
        return;
    }
    let world = World::new(Config::plain(3), Fetch::Http);
    let last = world.crawl().failpoints("panic.visit=panic").run().expect_code(0).json();
    let counters = &last["counters"];
    assert_eq!((&counters["discovered"], &counters["skipped"]), (&1.into(), &1.into()), "{last}");
    let crawl = world.outputs();
    assert_eq!(crawl.pages[0]["skip_reason"], "poison", "{:?}", crawl.pages);
    world.verify();
    world.crawld(&["retry-failed", &world.session(), "--quarantined"]).run().expect_code(0);
    let last = world.recover().run().expect_code(0);
    world.check_complete(&last);
}

#[test]
fn over_one_session_at_recovery_leaves_that_one_alone_and_the_others_go_on() {
    if without_points("panics::over_one_session_at_recovery_leaves_that_one_alone_and_the_others_go_on") {
        return;
    }
    let world = world();
    world.crawl_and_kill(10);
    let first = world.session();
    let mut second = world.crawl().args(&["--new"]).spawn();
    poll::expect("the second session's start", child::PATIENCE, || {
        assert!(!second.has_ended(), "{}", second.said());
        (world.sessions().len() == 2 && world.state.join("crawld.sock").exists()).then_some(())
    });
    second.kill();
    let ended = world.recover().failpoints("panic.plan=1*panic->off").run().expect_code(73);
    let said = ended.json();
    let all = said["sessions"].as_array().expect("sessions");
    let of = |cause: &str| all.iter().find(|item| item["cause"] == cause).unwrap_or_else(|| panic!("{cause}: {said}"));
    let alone = of("environment");
    assert_eq!((&alone["session_id"], &alone["result"]), (&first.into(), &"skipped".into()), "{said}");
    assert!(alone["message"].as_str().unwrap_or_default().contains("panic.plan"), "{said}");
    assert_eq!(of("crash")["end"]["status"], "completed", "{said}");
    world.recover().run().expect_code(0);
}
