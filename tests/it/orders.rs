//! Orders to sessions, with an owner and without: what was answered is kept.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::site::Config;
use crate::support::world::Fetch;
use crate::support::{Child, World, child, poll};

fn slow_world(pages: u32) -> World {
    World::new(Config { latency: Duration::from_millis(30), ..Config::plain(pages) }, Fetch::Http)
}

/// Gives an order about the world's one session; it must be carried out.
#[track_caller]
fn order(world: &World, words: &[&str]) -> Value {
    let id = world.session();
    world.crawld(words).args(&[&id, "--json"]).run().expect_code(0).json()
}

#[track_caller]
fn refused(world: &World, words: &[&str], code: i32) {
    let id = world.session();
    world.crawld(words).args(&[&id]).run().expect_code(code);
}

fn status(world: &World) -> Value {
    let id = world.session();
    world.crawld(&["status", &id, "--json"]).run().json()
}

#[track_caller]
fn until_status(world: &World, wanted: &str) -> Value {
    poll::expect(wanted, child::PATIENCE, || Some(status(world)).filter(|now| now["status"] == wanted))
}

#[track_caller]
fn stop(daemon: Child) {
    daemon.signal(Signal::TERM);
    daemon.wait(child::PATIENCE).expect_code(0);
}

#[test]
fn a_pause_survives_a_kill_and_is_lifted_by_command() {
    let world = slow_world(150);
    let mut first = world.crawl().spawn();
    world.until_recorded(&mut first, 5);
    assert_eq!(order(&world, &["pause"])["status"], "paused");
    first.kill();
    let looked = world.recover().args(&["--dry-run"]).run().json();
    assert_eq!(looked["sessions"][0]["cause"], "paused_by_operator", "{looked}");
    let second = world.recover().spawn();
    until_status(&world, "paused");
    let before = world.site.hits();
    order(&world, &["checkpoint"]);
    assert_eq!(world.site.hits(), before, "a paused session asks nobody");
    order(&world, &["resume"]);
    let last = second.wait(child::PATIENCE).expect_code(0);
    world.check_complete(&last);
}

#[test]
fn pause_and_resume_without_an_owner() {
    let world = slow_world(60);
    world.crawl_and_kill(5);
    let before = world.site.hits();
    assert_eq!(order(&world, &["pause"])["status"], "paused");
    assert_eq!(status(&world)["status"], "paused");
    let looked = world.recover().args(&["--dry-run"]).run().json();
    assert_eq!(looked["sessions"][0]["cause"], "paused_by_operator", "{looked}");
    order(&world, &["resume"]);
    assert_eq!(world.site.hits(), before, "orders crawl nothing");
    world.finish();
}

#[test]
fn a_cancel_that_was_answered_is_kept() {
    let world = slow_world(150);
    let mut first = world.crawl().spawn();
    world.until_recorded(&mut first, 5);
    assert_eq!(order(&world, &["cancel"])["status"], "cancelled");
    first.kill();
    assert_eq!(status(&world)["status"], "cancelled", "what was ordered, before anybody opens it again");
    let before = world.site.hits();
    world.recover().run();
    assert_eq!(world.site.hits(), before);
    assert_eq!(status(&world)["status"], "cancelled");
    assert_eq!(world.recover().run().code, Some(5));
    refused(&world, &["pause"], 5);
    world.outputs().check_consistent();
    world.verify();
}

#[test]
fn a_cancel_without_an_owner() {
    let world = slow_world(60);
    world.crawl_and_kill(5);
    assert_eq!(order(&world, &["cancel"])["status"], "cancelled");
    assert_eq!(status(&world)["status"], "cancelled");
    assert_eq!(world.recover().run().code, Some(5));
}

#[test]
fn a_limit_ends_cleanly_and_is_extended_by_command() {
    let world = slow_world(60);
    let first = world.crawl().args(&["--max-pages", "20"]).run().expect_code(4);
    assert_eq!((&first.json()["status"], &first.json()["stop_reason"]), (&"expired".into(), &"page_limit".into()));
    assert_eq!(world.recover().run().code, Some(5), "a limit is no crash");
    refused(&world, &["resume"], 5);
    order(&world, &["resume", "--extend"]);
    let second = world.recover().run().expect_code(4);
    let fetched = second.json()["sessions"][0]["end"]["counters"]["fetched"].as_u64().unwrap_or(0);
    assert!((35..=48).contains(&fetched), "{}", second.said());
    let daemon = world.daemon();
    order(&world, &["resume", "--extend"]);
    until_status(&world, "expired");
    order(&world, &["resume", "--extend"]);
    until_status(&world, "completed");
    stop(daemon);
    world.outputs().check_against(&world.site, false);
}

#[test]
fn active_time_is_limited_over_all_lifetimes() {
    let world = slow_world(1200);
    let limited = || world.crawl().args(&["--max-session-duration", "3s"]);
    let mut first = limited().spawn();
    world.until_recorded(&mut first, 30);
    order(&world, &["checkpoint"]);
    first.signal(Signal::TERM);
    first.wait(child::PATIENCE).expect_code(4);
    let last = limited().run().expect_code(4);
    assert_eq!(last.json()["stop_reason"], "time_limit", "{}", last.said());
    let active = status(&world)["active_seconds"].as_f64().unwrap_or(0.0);
    assert!((2.9..6.0).contains(&active), "{active}");
    order(&world, &["resume", "--extend"]);
    let again = world.recover().run().expect_code(4);
    assert_eq!(again.json()["sessions"][0]["end"]["stop_reason"], "time_limit", "{}", again.said());
}

#[test]
fn failed_urls_are_queued_again_with_an_owner_and_without() {
    let world = World::new(Config::full(10), Fetch::Http);
    let first = world.crawl().run().expect_code(3);
    let failed = first.json()["counters"]["failed"].as_u64().unwrap_or(0);
    assert!(failed > 0, "{}", first.said());
    assert_eq!(order(&world, &["retry-failed"])["count"], failed);
    let counters = &status(&world)["counters"];
    assert_eq!((counters["failed"].as_u64(), counters["queued"].as_u64()), (Some(0), Some(failed)), "{counters}");
    world.recover().run().expect_code(3);
    let crawl = world.outputs();
    crawl.check_consistent();
    let again = crawl.pages.iter().filter(|page| !page["supersedes"].is_null()).count() as u64;
    assert_eq!(again, failed, "each failed page has a record that supersedes its first");
    let daemon = world.daemon();
    assert_eq!(order(&world, &["retry-failed"])["count"], failed);
    until_status(&world, "completed");
    stop(daemon);
    world.outputs().check_consistent();
    world.verify();
}

#[test]
fn quarantined_urls_are_queued_again_only_when_named() {
    let world = World::new(Config { poison: true, ..Config::plain(5) }, Fetch::Scripted);
    world.crawl().run();
    assert_eq!(order(&world, &["retry-failed"])["count"], 0);
    assert_eq!(status(&world)["status"], "completed", "an order that finds nothing changes nothing");
    assert_eq!(order(&world, &["retry-failed", "--quarantined"])["count"], 1);
    let last = world.recover().run();
    assert!(matches!(last.code, Some(0 | 3)), "{}", last.said());
    world.check_complete(&last);
}

#[test]
fn a_cancelled_session_is_brought_back_by_no_order() {
    let world = World::new(Config::full(10), Fetch::Http);
    world.crawl().run().expect_code(3);
    let id = world.session();
    // Failed URLs are there to be queued again; then it is unfinished, and is cancelled.
    order(&world, &["retry-failed"]);
    assert_eq!(order(&world, &["cancel"])["status"], "cancelled");
    for words in [&["retry-failed"][..], &["release-parked"], &["resume"], &["resume", "--extend"]] {
        let said = world.crawld(words).args(&[&id]).run().expect_code(5);
        assert!(said.stderr.contains("was cancelled") && said.stderr.contains("starts another"), "{}", said.said());
        assert_eq!(status(&world)["status"], "cancelled", "{words:?}");
    }
    world.recover().args(&[&id]).run().expect_code(5);
    assert_eq!(status(&world)["status"], "cancelled");
}

#[test]
fn parked_urls_are_released_by_command() {
    let world = World::new(Config { calendar: true, ..Config::plain(5) }, Fetch::Http);
    let task = world.path().join("calendar.toml");
    let text = format!("seeds = [\"{}\"]\n[scope]\nquery_budget = 20\n", world.site.at("/"));
    std::fs::write(&task, text).expect("a task file");
    let flags = ["--fetch", "http", "--delay", "0ms", "--per-host", "4", "--tabs", "4", "--quiet"];
    world.crawld(&["crawl", &task.display().to_string()]).args(&flags).run();
    let parked = status(&world)["counters"]["parked"].as_u64().unwrap_or(0);
    assert!(parked > 0, "{}", status(&world));
    assert_eq!(order(&world, &["release-parked"])["count"], parked);
    let counters = &status(&world)["counters"];
    assert_eq!(counters["parked"], 0, "{counters}");
    world.outputs().check_consistent();
    world.verify();
}

#[test]
fn a_session_that_was_cleaned_up_lives_again_by_an_order() {
    for point in ["ended.before_remove", "ended.after_remove", ""] {
        let world = World::new(Config { calendar: true, ..Config::plain(5) }, Fetch::Http);
        let task = world.path().join("calendar.toml");
        let text = format!("seeds = [\"{}\"]\n[scope]\nquery_budget = 20\n", world.site.at("/"));
        std::fs::write(&task, text).expect("a task file");
        let flags = ["--fetch", "http", "--delay", "0ms", "--per-host", "4", "--tabs", "4", "--quiet"];
        let crawl = || world.crawld(&["crawl", &task.display().to_string()]).args(&flags);
        crawl().run();
        let counters = status(&world)["counters"].clone();
        let parked = counters["parked"].as_u64().unwrap_or(0);
        assert!(parked > 0, "{counters}");
        world.crawld(&["cleanup", "--older-than", "0s"]).run().expect_code(0);
        assert_eq!(status(&world)["status"], "completed");
        if !point.is_empty() {
            if !cfg!(feature = "failpoints") {
                return crate::support::skip::because("orders", "built without the feature `failpoints`");
            }
            let release = world.crawld(&["release-parked", &world.session()]);
            let killed = release.failpoints(&format!("{point}=return(kill)")).run();
            assert_eq!(killed.signal, Some(9), "{point} is not passed; {}", killed.said());
        }
        assert_eq!(order(&world, &["release-parked"])["count"], parked, "{point}");
        let now = status(&world);
        assert_eq!((&now["status"], &now["counters"]["queued"]), (&"recoverable".into(), &parked.into()), "{point}");
        assert!(!world.session_dir().join("ended.json").exists(), "{point}");
        let id = world.session();
        let mut again = crawl().spawn();
        poll::expect("the crawl's going on", child::PATIENCE, || {
            let left = status(&world)["counters"]["fetched"].as_u64() > counters["fetched"].as_u64();
            assert!(left || !again.has_ended(), "{point}: {}", again.said());
            left.then_some(())
        });
        again.kill();
        assert_eq!(world.session(), id, "{point}: the same session goes on");
    }
}

#[test]
fn a_limit_that_is_reached_with_the_last_page_has_stopped_nothing() {
    let pages = World::new(Config::plain(12), Fetch::Http);
    pages.crawl().run().expect_code(0);
    let all = pages.checkpoint()["progress_snapshot"]["counters"]["fetched"].to_string();
    let world = pages.beside();
    let ended = world.crawl().args(&["--max-pages", &all]).run().expect_code(0).json();
    assert_eq!((&ended["status"], &ended["stop_reason"]), (&"completed".into(), &"finished".into()), "{ended}");
}

#[test]
fn checkpoints_on_request_with_an_owner_and_without() {
    let world = slow_world(120);
    let mut first = world.crawl().spawn();
    world.until_recorded(&mut first, 5);
    let one = order(&world, &["checkpoint"])["count"].as_u64().unwrap_or(0);
    let two = order(&world, &["checkpoint"])["count"].as_u64().unwrap_or(0);
    assert!(one > 0 && two > one, "{one}, {two}");
    first.kill();
    let three = order(&world, &["checkpoint"])["count"].as_u64().unwrap_or(0);
    assert!(three > two, "{three}");
    assert!(world.checkpoint()["generation"].as_u64().unwrap_or(0) >= three, "{}", world.checkpoint());
    world.finish();
}

#[test]
fn a_stop_leaves_a_session_that_can_be_recovered() {
    let world = slow_world(120);
    let mut child = world.crawl().spawn();
    world.until_recorded(&mut child, 10);
    child.signal(Signal::TERM);
    let stopped = child.wait(child::PATIENCE).expect_code(4);
    let said = stopped.json();
    assert_eq!((&said["status"], &said["stop_reason"]), (&"recoverable".into(), &"shutdown".into()), "{said}");
    assert_eq!(world.checkpoint()["progress_snapshot"]["status"], "active", "what the owner declared");
    assert_eq!(status(&world)["status"], "recoverable");
}

#[test]
fn a_session_at_rest_shows_no_rate_of_its_last_moment() {
    let world = slow_world(60);
    world.crawl().args(&["--max-pages", "20"]).run().expect_code(4);
    let seen = status(&world);
    assert_eq!(seen["rates"]["pages_per_second_1m"], 0.0, "{seen}");
    assert!(seen["eta_seconds"].is_null() && seen["current_url"].is_null(), "{seen}");
    assert!(seen["health_factors"].as_array().is_some_and(Vec::is_empty), "{seen}");
    let page = world.crawld(&["status", &world.session()]).run().expect_code(0).stdout;
    assert!(!page.contains("pages/s") && !page.contains("eta"), "{page}");
}

#[test]
fn an_owner_that_hangs_costs_an_order_seconds_and_is_named() {
    let world = slow_world(150);
    let mut first = world.crawl().spawn();
    world.until_recorded(&mut first, 5);
    first.signal(Signal::STOP);
    let begun = Instant::now();
    let ended = world.crawld(&["pause", &world.session()]).run();
    let took = begun.elapsed();
    first.signal(Signal::CONT);
    assert_eq!(ended.code, Some(75), "{}", ended.said());
    assert!(ended.stderr.contains("hangs"), "{}", ended.said());
    assert!(took < Duration::from_secs(20), "{took:?}");
    let last = first.wait(child::PATIENCE).expect_code(0);
    world.check_complete(&last);
}

/// The crawl as a person gives it, who reads what is said.
fn by_hand(world: &World) -> crate::support::Crawld {
    let flags = ["--fetch", "http", "--delay", "0ms", "--per-host", "4", "--tabs", "4", "--id", "lights"];
    world.crawld(&["crawl", &world.site.at("/")]).args(&flags)
}

#[test]
fn a_paused_crawl_that_is_stopped_or_given_again_names_what_lets_it_go_on() {
    let world = slow_world(150);
    let mut first = by_hand(&world).spawn();
    world.until_recorded(&mut first, 5);
    order(&world, &["pause"]);
    first.signal(Signal::INT);
    let (stopped, id) = (first.wait(child::PATIENCE).expect_code(4), world.session());
    let next = format!("crawld resume {id}, then crawld recover {id}");
    assert!(stopped.stdout.contains(&next), "{}", stopped.said());
    let again = by_hand(&world).spawn();
    poll::expect("what it says", child::PATIENCE, || {
        again.stderr().contains("stays paused, as its operator ordered: `crawld resume").then_some(())
    });
    until_status(&world, "paused");
    assert!(status(&world)["eta_seconds"].is_null(), "{}", status(&world));
    order(&world, &["resume"]);
    again.wait(child::PATIENCE).expect_code(0);
    world.verify();
}

#[test]
fn what_the_state_of_a_session_does_not_allow_is_no_directory_in_use() {
    let world = slow_world(60);
    let mut first = by_hand(&world).spawn();
    world.until_recorded(&mut first, 5);
    first.kill();
    let other = by_hand(&world).args(&["--max-depth", "1"]).run().expect_code(78);
    assert!(other.stderr.contains("was started with other settings"), "{}", other.said());
    by_hand(&world).run().expect_code(0);
    let extend = world.crawld(&["resume", &world.session(), "--extend"]).run().expect_code(5);
    assert!(extend.stderr.contains("is completed: there is nothing to extend"), "{}", extend.said());
    let before = world.site.hits();
    world.crawld(&["cleanup", "--older-than", "0s"]).run().expect_code(0);
    for quarantined in [&["retry-failed"][..], &["release-parked"]] {
        assert_eq!(order(&world, quarantined)["count"], 0);
        assert!(!world.session_dir().join("frontier.db").exists(), "nothing was rebuilt for nothing");
    }
    assert_eq!(world.site.hits(), before);
}

#[test]
fn a_crawl_that_is_cancelled_under_its_command_has_nothing_left_to_continue() {
    let world = slow_world(150);
    let mut first = by_hand(&world).spawn();
    world.until_recorded(&mut first, 5);
    order(&world, &["cancel"]);
    first.wait(child::PATIENCE).expect_code(5);
}
