//! What an operator is told afterwards: of a kill, of damage found long after the end, of another version's work.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::fault_points;
use crate::site::Config;
use crate::support::world::Fetch;
use crate::support::{World, skip};

fn world() -> World {
    World::new(Config { latency: Duration::from_millis(15), ..Config::plain(60) }, Fetch::Http)
}

/// A world whose crawl has completed.
fn completed() -> World {
    let world = World::new(Config::plain(30), Fetch::Http);
    world.check_complete(&world.crawl().run().expect_code(0));
    world
}

/// Sums of the daily statistics.
#[track_caller]
fn stats(world: &World) -> impl Fn(&str) -> u64 {
    let said = world.crawld(&["stats", "--json"]).run().expect_code(0).json();
    move |name| said["days"].as_array().expect("days").iter().map(|day| day[name].as_u64().expect("a number")).sum()
}

#[test]
fn statistics_know_what_a_killed_crawl_had_done() {
    let world = world();
    world.crawl_and_kill(20);
    let id = world.session();
    let committed = world.crawld(&["status", "--json", &id]).run().expect_code(0).json();
    let fetched = committed["counters"]["fetched"].as_u64().expect("a number");
    for time in ["first", "second"] {
        let day = stats(&world);
        let seen = (day("fetched"), day("sessions_started"), day("sessions_ended"), day("crashes"));
        assert_eq!(seen, (fetched, 1, 0, 1), "the {time} time");
    }
    world.check_complete(&world.crawl().run().expect_code(0));
    let day = stats(&world);
    let counters = world.checkpoint()["progress_snapshot"]["counters"].clone();
    assert_eq!(Some(day("fetched")), counters["fetched"].as_u64(), "{counters}");
    assert_eq!(Some(day("bytes")), counters["bytes"].as_u64(), "{counters}");
    assert_eq!((day("sessions_ended"), day("crashes")), (1, 1));
}

#[test]
fn statistics_survive_the_loss_of_the_registry() {
    let world = completed();
    let names = ["fetched", "skipped", "failed", "bytes", "sessions_started", "sessions_ended", "crashes"];
    let numbers = || names.map(stats(&world));
    let before = numbers();
    fs::write(world.state.join("crawld.db"), "rubbish").expect("writable");
    assert_eq!(numbers(), before);
    let registry = rusqlite::Connection::open(world.state.join("crawld.db")).expect("the registry");
    registry.execute_batch("PRAGMA user_version = 999").expect("a newer format");
    drop(registry);
    let refused = world.crawld(&["stats"]).run().expect_code(78);
    assert!(refused.stderr.contains("has format 999, this crawld reads up to"), "{}", refused.said());
}

/// What lies about in a state directory is named for what it is.
#[test]
fn rubbish_in_the_state_directory_is_called_by_its_name() {
    let world = completed();
    let id = world.session();
    let sessions = world.state.join("sessions");
    let said = |args: &[&str], code: i32, words: &str| {
        let ended = world.crawld(args).run().expect_code(code);
        assert!(format!("{}{}", ended.stdout, ended.stderr).contains(words), "no `{words}`: {}", ended.said());
    };
    fs::write(sessions.join(format!("checkpoint_{id}.json")), "rubbish").expect("writable");
    said(&["status", &id], 0, "31 of 31 URLs (100 %)");
    fs::create_dir(sessions.join("session_5_aaaaaaaa")).expect("a directory");
    said(&["status", "--check"], 4, "crashed (nothing readable is left of it");
    said(&["recover", "--dry-run"], 78, "no copy of its task is left");
    fs::remove_dir(sessions.join("session_5_aaaaaaaa")).expect("empty");

    let dir = world.session_dir();
    fs::rename(&dir, world.path().join("away")).expect("moved away");
    fs::write(&dir, "a file").expect("writable");
    said(&["verify", &id], 78, "is no directory: nothing is left to verify");
    said(&["recover", &id], 5, "nothing is left to repair it from");
    fs::remove_dir_all(world.state.join("sessions")).expect("removable");
    fs::write(&sessions, "a file").expect("writable");
    for args in [&["sessions"][..], &["status"], &["verify"], &["recover", "--dry-run"], &["recover"]] {
        said(args, 73, "sessions` is not a plain directory");
    }
}

#[test]
fn a_killed_session_whose_store_cannot_be_read_is_not_called_barely_begun() {
    let world = world();
    world.crawl_and_kill(20);
    let id = world.session();
    for name in ["frontier.db", "frontier.db-wal", "frontier.db-shm"] {
        fs::write(world.session_dir().join(name), "rubbish").expect("writable");
    }
    let shown = world.crawld(&["status", &id]).run().expect_code(0);
    assert!(shown.stdout.contains("crashed (its store cannot be read"), "{}", shown.said());
    world.check_complete(&world.crawl().run().expect_code(0));
}

#[test]
fn the_same_command_says_what_became_of_the_crawl_that_it_continues() {
    let world = world();
    let seed = world.site.at("/");
    let again =
        || world.crawld(&["crawl", &seed, "--fetch", "http", "--delay", "0ms", "--tabs", "4", "--per-host", "4"]);
    let fresh = {
        let mut child = again().spawn();
        world.until_recorded(&mut child, 20);
        child.kill().stderr
    };
    assert!(!fresh.contains("decision"), "nothing is continued yet: {fresh}");
    let ended = again().run().expect_code(0);
    let line = ended.stderr.lines().find(|line| line.contains("decision")).unwrap_or_default().to_owned();
    let id = world.session();
    let begin = format!("crawld: session {id} was killed (killed): decision resume, cause crash; ");
    assert!(line.starts_with(&begin) && line.ends_with(" URLs left"), "{}", ended.said());
    world.verify();
}

/// The outputs of that name, and the middle of the first: inside a line, far from the last group.
fn middle(world: &World, prefix: &str) -> (PathBuf, usize) {
    let path = world.session_dir().join(format!("out/{prefix}-00001.jsonl"));
    let length = fs::read(&path).expect("an output").len();
    (path, length / 2)
}

fn overwrite(path: &Path, at: usize, with: &[u8]) {
    let mut bytes = fs::read(path).expect("an output");
    bytes[at..at + with.len()].copy_from_slice(with);
    fs::write(path, bytes).expect("writable");
}

/// Damages a completed session, which `verify` sees and `recover` of everything leaves alone; then names it.
#[track_caller]
fn repaired(name: &str, args: &[&str], damage: impl FnOnce(&World)) {
    let world = completed();
    damage(&world);
    let id = world.session();
    let found = world.crawld(&["verify"]).run().expect_code(78);
    assert!(found.stderr.contains("crawld recover"), "{name}: {}", found.said());
    let left = world.recover().run().expect_code(5);
    assert!(left.stderr.contains("nothing to recover"), "{name}: {}", left.said());
    let done = world.recover().args(&[&id]).args(args).run();
    assert_eq!(done.code, Some(0), "{name}: {}", done.said());
    let said = done.json();
    assert_eq!(
        (&said["sessions"][0]["decision"], &said["sessions"][0]["result"]),
        (&"resume".into(), &"resumed".into())
    );
    assert_eq!(said["sessions"][0]["end"]["status"], "completed", "{name}: {said}");
    world.verify();
    let outputs = world.outputs();
    let counts = (outputs.latest().len(), outputs.pages.len());
    assert_eq!(counts, (outputs.urls.len(), outputs.urls.len()), "{name}: every URL has its one record again");
}

#[test]
fn an_ended_session_with_damaged_outputs_is_repaired_when_it_is_named() {
    repaired("URL records cut", &[], |world| {
        let (path, at) = middle(world, "urls");
        fs::File::options().write(true).open(path).and_then(|file| file.set_len(at as u64)).expect("cut");
    });
    repaired("a line in the middle is none", &[], |world| {
        let (path, at) = middle(world, "pages");
        overwrite(&path, at, b"\0\0\0");
    });
    repaired("URL records, by a process that crawls nothing", &["--no-run"], |world| {
        let (path, at) = middle(world, "urls");
        overwrite(&path, at, b"\0\0\0");
    });
    repaired("the store is gone", &[], |world| {
        for name in ["frontier.db", "frontier.db-wal", "frontier.db-shm"] {
            let _ = fs::remove_file(world.session_dir().join(name));
        }
    });
    repaired("the store is rubbish", &[], |world| {
        fs::write(world.session_dir().join("frontier.db"), "rubbish").expect("writable");
    });
}

/// Of packed outputs what can still be unpacked is kept.
#[test]
fn a_kill_at_any_point_of_the_repair_of_a_packed_output_is_mended_by_naming_the_session_again() {
    kills("urls-00001.jsonl.gz");
}

#[test]
fn a_kill_at_any_point_of_the_repair_of_page_records_is_mended_by_naming_the_session_again() {
    kills("pages-00002.jsonl");
}

/// Cuts this output of a session that has ended, and kills its repair at every point that it passes.
fn kills(name: &str) {
    if !cfg!(feature = "failpoints") {
        return skip::because("afterwards::kills", "built without the feature `failpoints`");
    }
    let sound = World::new(Config::plain(40), Fetch::Http);
    sound.crawl().env("CRAWLD_OUTPUT_SEGMENT_BYTES", "600").run().expect_code(0);
    let id = sound.session();
    let damaged = || {
        let world = sound.fork();
        let path = world.session_dir().join("out").join(name);
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        fs::write(&path, &bytes[..bytes.len() / 2]).expect("writable");
        world
    };
    let recover = |world: &World| world.recover().args(&[&id]);
    let passed = fault_points::said_by(recover(&damaged()), &fault_points::points());
    assert!(passed.len() > 10, "{passed:?}");
    for point in passed {
        let world = damaged();
        let killed = recover(&world).failpoints(&format!("{point}=return(kill)")).run();
        let again = recover(&world).run();
        let place = format!("killed at {point}: {}\nthen {}", killed.said(), again.said());
        assert_eq!(killed.signal, Some(9), "{place}");
        assert!(matches!(again.code, Some(0 | 5)), "{place}");
        assert_eq!(world.crawld(&["verify"]).run().code, Some(0), "{place}");
        let outputs = world.outputs();
        let counts = (outputs.latest().len(), outputs.pages.len());
        assert_eq!(counts, (outputs.urls.len(), outputs.urls.len()), "{place}");
    }
}

#[test]
fn a_named_session_that_has_ended_and_is_whole_is_told_so() {
    let world = completed();
    let id = world.session();
    let mut daemon = None;
    for place in ["alone", "beside a daemon"] {
        let said = world.crawld(&["recover", &id]).run().expect_code(5);
        let words = format!("session {id} has already ended (completed), and is whole");
        assert!(said.stderr.contains(&words), "{place}: {}", said.said());
        daemon.get_or_insert_with(|| world.daemon());
    }
    daemon.expect("started").kill();
    let out = world.session_dir().join("out");
    fs::rename(&out, world.path().join("moved")).expect("moved away");
    let hits = world.site.hits().len();
    let said = world.crawld(&["recover", &id]).run().expect_code(5);
    assert!(said.stderr.contains("its outputs are not where they were"), "{}", said.said());
    assert_eq!(world.site.hits().len(), hits, "nothing is fetched unasked");
}

#[test]
fn a_store_of_a_newer_crawld_is_named_by_status() {
    let world = world();
    world.crawl_and_kill(20);
    let id = world.session();
    let store = rusqlite::Connection::open(world.session_dir().join("frontier.db")).expect("the store");
    store.execute_batch("PRAGMA user_version = 999").expect("a newer format");
    drop(store);
    let why = "format_too_new: frontier.db was written by a newer crawld";
    let one = world.crawld(&["status", &id]).run().expect_code(78);
    assert!(one.stdout.contains(why) && one.stderr.contains(why), "{}", one.said());
    assert!(one.stdout.contains("not known to this crawld") && !one.stdout.contains('%'), "{}", one.said());
    for args in [&["status"][..], &["sessions"]] {
        let all = world.crawld(args).run().expect_code(0);
        assert!(all.stdout.contains(why) && !all.stdout.contains('%'), "{args:?}: {}", all.said());
    }
    world.crawld(&["status", "--check"]).run().expect_code(78);
    let verified = world.crawld(&["verify"]).run().expect_code(78);
    assert!(verified.stderr.contains("use the crawld that wrote them"), "{}", verified.said());
    let table = world.crawld(&["recover", "--dry-run"]).run().expect_code(78);
    assert!(table.stdout.contains("format_too_new: a newer crawld wrote it"), "{}", table.said());
    assert!(!table.stdout.contains('%'), "{}", table.said());
    let listed: Value = world.crawld(&["sessions", "--json"]).run().expect_code(0).json();
    let reason = listed["sessions"][0]["status_reason"].as_str().unwrap_or_default();
    assert!(reason.starts_with(why), "{listed}");
}
