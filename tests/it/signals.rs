//! Ctrl-C, a second and a third one: each harsher than the one before, and none of them loses anything.

use std::time::Duration;

use rustix::process::Signal;

use crate::site::Config;
use crate::support::door::{self, Door};
use crate::support::world::{Fetch, TABS};
use crate::support::{Child, World, child, oracle, poll, skip};

/// A stop that waits for nobody takes no longer, on a busy machine either; the page deadline is 90 s.
const SOON: Duration = Duration::from_secs(20);

#[track_caller]
fn until_said(child: &mut Child, words: &str) {
    poll::expect(words, SOON, || {
        assert!(!child.has_ended(), "it ended before it said `{words}`; {}", child.said());
        child.stderr().contains(words).then_some(())
    });
}

#[test]
fn a_second_one_abandons_the_visits_in_flight_and_still_checkpoints() {
    let (world, door) = Door::world(Config::plain(30));
    let mut child = world.crawl().spawn();
    door.expect_knocks(1);
    world.until_recorded(&mut child, 10);
    let opened = world.checkpoint()["generation"].as_u64();
    child.signal(Signal::INT);
    until_said(&mut child, "a second signal abandons them");
    child.signal(Signal::INT);
    let stopped = child.wait(SOON).expect_code(4);
    assert!(stopped.stderr.contains("abandoning the visits in flight"), "{}", stopped.said());
    let said = stopped.json();
    assert_eq!((&said["status"], &said["counters"]["in_flight"]), (&"recoverable".into(), &0.into()), "{said}");
    let checkpoint = world.checkpoint();
    assert!(checkpoint["generation"].as_u64() > opened, "no checkpoint was written at the stop");
    assert_eq!(checkpoint["progress_snapshot"]["counters"]["in_flight"], 0);
    let looked = world.recover().args(&["--dry-run"]).run().json();
    assert_eq!(looked["sessions"][0]["cause"], "clean_stop", "the epoch was closed: {looked}");
    door.open();
    let last = world.crawl().run().expect_code(0);
    world.check_complete(&last);
    assert_eq!(world.site.hits()[door::PAGE], 2, "the abandoned page, and nothing else, is fetched again");
    assert!(oracle::refetches(&world.site) < u64::from(TABS));
}

#[test]
fn a_third_one_just_dies_and_nothing_is_lost() {
    const NAME: &str = "signals::a_third_one_just_dies_and_nothing_is_lost";
    if !cfg!(feature = "failpoints") {
        return skip::because(NAME, "built without the feature `failpoints`");
    }
    let world = World::new(Config { latency: Duration::from_millis(15), ..Config::plain(120) }, Fetch::Http);
    // Only the second checkpoint, that of the stop, has one before it to keep: there it hangs.
    let mut child = world.crawl().failpoints("file.before_rotate=sleep(60000)").spawn();
    world.until_recorded(&mut child, 20);
    child.signal(Signal::INT);
    until_said(&mut child, "a second signal abandons them");
    child.signal(Signal::INT);
    until_said(&mut child, "abandoning the visits in flight");
    child.signal(Signal::INT);
    // Before it would give up by itself, which takes 8 s.
    let died = child.wait(Duration::from_secs(6)).expect_code(4);
    assert!(died.stderr.contains("third signal"), "{}", died.said());
    world.finish();
}

#[test]
fn a_stop_that_hangs_is_given_up_by_itself() {
    const NAME: &str = "signals::a_stop_that_hangs_is_given_up_by_itself";
    if !cfg!(feature = "failpoints") {
        return skip::because(NAME, "built without the feature `failpoints`");
    }
    let world = World::new(Config { latency: Duration::from_millis(15), ..Config::plain(120) }, Fetch::Http);
    let stop = world.crawl().env("CRAWLD_STOP_TIMEOUT", "1s");
    let mut child = stop.failpoints("file.before_rotate=sleep(60000)").spawn();
    world.until_recorded(&mut child, 20);
    child.signal(Signal::TERM);
    let died = child.wait(child::PATIENCE / 3).expect_code(4);
    assert!(died.stderr.contains("did not stop in time"), "{}", died.said());
    world.finish();
}

/// What waits for files hears no signal: a recovery on a mount that hangs, say.
#[test]
fn a_recovery_that_hangs_does_not_outlive_the_stop_budget() {
    const NAME: &str = "signals::a_recovery_that_hangs_does_not_outlive_the_stop_budget";
    if !cfg!(feature = "failpoints") {
        return skip::because(NAME, "built without the feature `failpoints`");
    }
    let world = World::new(Config { latency: Duration::from_millis(15), ..Config::plain(120) }, Fetch::Http);
    let mut child = world.crawl().spawn();
    world.until_recorded(&mut child, 20);
    child.kill();
    let hangs = "recover.before_record=return(say);recover.after_record=sleep(60000)";
    let mut child = world.recover().env("CRAWLD_STOP_TIMEOUT", "1s").failpoints(hangs).spawn();
    until_said(&mut child, "passed recover.before_record");
    child.signal(Signal::TERM);
    let died = child.wait(child::PATIENCE / 3).expect_code(4);
    assert!(died.stderr.contains("did not end in time"), "{}", died.said());
    world.finish();
}
