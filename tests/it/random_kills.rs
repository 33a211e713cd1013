//! kill -9 at random instants: whatever happens, the crawl ends with every page exactly once.
//!
//! `IT_KILLS` sets the number of kills of each test (default: 80; `make soak` sets more),
//! `IT_SEED` repeats a run whose seed a failure printed.

use std::time::{Duration, Instant};

use crate::site::Config;
use crate::support::world::{Fetch, TABS};
use crate::support::{World, oracle, poll};

/// Kills that one crawl has to live through.
const KILLS_PER_CRAWL: u32 = 20;
/// The salt of the test whose crawls keep a file of every page.
const KEEPING: u64 = 6;

#[test]
fn of_the_daemon_over_http_first_half() {
    survive(Fetch::Http, 1);
}

#[test]
fn of_the_daemon_over_http_second_half() {
    survive(Fetch::Http, 2);
}

#[test]
fn of_the_daemon_with_a_scripted_browser_first_half() {
    survive(Fetch::Scripted, 3);
}

#[test]
fn of_the_daemon_with_a_scripted_browser_second_half() {
    survive(Fetch::Scripted, 4);
}

#[test]
fn of_the_daemon_in_mode_auto() {
    survive(Fetch::AutoScripted, 5);
}

#[test]
fn of_the_daemon_while_it_keeps_files() {
    survive(Fetch::Http, KEEPING);
}

#[test]
fn twenty_on_one_crawl() {
    let latency = Duration::from_millis(80);
    let world = World::new(Config { latency, ..Config::plain(400) }, Fetch::Http);
    let mut random = fastrand::Rng::new();
    for kill in 1..=KILLS_PER_CRAWL {
        let mut child = world.continuation(random.bool()).spawn();
        let life = Duration::from_millis(random.u64(50..450));
        let ended = poll::until(life, || child.has_ended().then_some(()));
        assert!(ended.is_none(), "it was over before kill {kill}; {}", child.said());
        child.kill();
    }
    finish(&world, KILLS_PER_CRAWL);
}

/// Crawls and kills until the number of kills is reached; each crawl is then finished and judged.
fn survive(fetch: Fetch, salt: u64) {
    let wanted = from_environment("IT_KILLS").unwrap_or(80);
    let seed = from_environment("IT_SEED").unwrap_or_else(|| fastrand::u64(..) >> 16) ^ salt;
    println!("repeat with IT_SEED={}", seed ^ salt);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut kills = 0;
    while kills < wanted {
        kills += u64::from(one_crawl(fetch, salt, &mut random));
    }
}

/// One crawl, killed up to [`KILLS_PER_CRAWL`] times; returns how often it was.
fn one_crawl(fetch: Fetch, salt: u64, random: &mut fastrand::Rng) -> u32 {
    let latency = Duration::from_millis(random.u64(0..25));
    let world = World::new(Config { latency, ..Config::plain(random.u32(60..240)) }, fetch);
    let mut longest = 30;
    let mut kills = 0;
    while kills < KILLS_PER_CRAWL {
        let from_scratch = world.sessions().is_empty() && salt == KEEPING;
        let next = if from_scratch { world.crawl_keeping("html = true") } else { world.continuation(random.bool()) };
        let mut child = next.spawn();
        let end = Instant::now() + Duration::from_micros(random.u64(0..longest * 1000));
        let ended = poll::until(end.saturating_duration_since(Instant::now()), || child.has_ended().then_some(()));
        if ended.is_some() {
            break;
        }
        child.kill();
        kills += 1;
        // A machine may be slow to start a process: look further on, so that every part is hit.
        longest = (longest + 40).min(700);
    }
    finish(&world, kills);
    kills
}

#[track_caller]
fn finish(world: &World, kills: u32) {
    let crawl = world.finish();
    assert!(crawl.pages.iter().all(|page| page["skip_reason"] != "poison"), "an innocent page was quarantined");
    let again = oracle::refetches(&world.site);
    let bound = u64::from(kills * TABS);
    assert!(again <= bound, "{again} pages were fetched again after {kills} kills of at most {TABS} visits in flight");
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}
