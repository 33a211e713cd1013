//! Every named fault point, killed at and failed at: no crawl is lost at any of them.
//!
//! The points are read from the sources, so that none can be forgotten. Each is reached by the first
//! of the stories below that passes it; a point that no story passes fails the test by name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use crate::site::Config;
use crate::support::world::Fetch;
use crate::support::{Crawld, World, skip};

/// Points that an ordinary crawl cannot pass: see `housekeeping` and `orders`.
const ELSEWHERE: &[&str] = &["export.", "import.", "archive.", "janitor.", "ended."];

/// What the first format of the store had instead of the keys of the second and the tables of the third.
const AS_FORMAT_1: &str = "
    UPDATE urls SET state = 2 WHERE n IN (SELECT n FROM leases);
    DROP TABLE leases;
    DROP TABLE seen;
    DROP TABLE seen_upto;
    CREATE INDEX urls_in_flight ON urls(state) WHERE state = 2;
    ALTER TABLE urls RENAME COLUMN key TO hash;
    UPDATE urls SET hash = n * 1000003;
    CREATE UNIQUE INDEX urls_seen ON urls(host, hash);
    CREATE INDEX hosts_waiting ON hosts(no) WHERE queued > 0 OR suspects > 0;
    PRAGMA user_version = 1;";

/// A way to reach points: how the world is prepared, and the command that is armed.
struct Story {
    name: &'static str,
    prepare: fn(&World),
    armed: fn(&World) -> Crawld,
}

const STORIES: &[Story] = &[
    Story { name: "a crawl from its start", prepare: |_| {}, armed: World::crawl },
    Story { name: "a crawl into many small files", prepare: |_| {}, armed: small_files },
    Story { name: "recovery of a crash", prepare: |world| world.crawl_and_kill(15), armed: World::recover },
    Story {
        name: "recovery with the store gone",
        prepare: |world| {
            world.crawl_and_kill(15);
            for name in ["frontier.db", "frontier.db-wal", "frontier.db-shm"] {
                let _ = fs::remove_file(world.session_dir().join(name));
            }
        },
        armed: World::recover,
    },
    Story {
        name: "recovery with an output cut",
        prepare: |world| {
            world.crawl_and_kill(15);
            let pages = world.session_dir().join("out/pages-00001.jsonl");
            let body = fs::read(&pages).expect("pages file");
            fs::write(&pages, &body[..body.len() / 2]).expect("pages file");
        },
        armed: World::recover,
    },
    Story { name: "recovery with a store in an older format", prepare: put_back_to_format_1, armed: World::recover },
    Story { name: "a crawl that keeps files", prepare: |_| {}, armed: with_files },
    Story { name: "recovery of files that no record names", prepare: lose_the_end, armed: World::recover },
    Story {
        name: "restart on the operator's word",
        prepare: |world| world.crawl_and_kill(5),
        armed: |world| world.recover().args(&["--strategy", "restart"]),
    },
];

/// The points are dealt out to this many tests, which run beside each other.
const SHARES: usize = 3;

#[test]
fn a_kill_at_any_of_them_loses_nothing_first_share() {
    kills(0);
}

#[test]
fn a_kill_at_any_of_them_loses_nothing_second_share() {
    kills(1);
}

#[test]
fn a_kill_at_any_of_them_loses_nothing_third_share() {
    kills(2);
}

fn kills(share: usize) {
    if !cfg!(feature = "failpoints") {
        return skip::because("fault_points", "built without the feature `failpoints`");
    }
    let mut open: BTreeSet<String> = points().into_iter().skip(share).step_by(SHARES).collect();
    let mut reached: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut faults = Vec::new();
    let looked: Vec<BTreeSet<String>> = STORIES.iter().map(|story| passes(story, &open)).collect();
    // Some are passed by luck: those that a story did not pass when it was looked at are tried in all of them.
    let likely = STORIES.iter().zip(&looked).map(|(story, passed)| (story, Some(passed)));
    for (story, only) in likely.chain(STORIES.iter().map(|story| (story, None))) {
        for point in open.clone() {
            if only.is_some_and(|only| !only.contains(&point)) {
                continue;
            }
            let place = format!("{}, killed at {point}", story.name);
            let passed = all_of(&mut faults, &place, || kill_at(story, &point, 0));
            if passed == Some(false) {
                continue;
            }
            open.remove(&point);
            if passed.is_some() {
                // Once more, later: most points are passed many times.
                all_of(&mut faults, &format!("{place} later"), || kill_at(story, &point, 3));
            }
            reached.entry(story.name).or_default().push(point);
        }
    }
    println!("killed at: {reached:#?}");
    assert!(open.is_empty(), "no story reaches these fault points: {open:?}");
    assert!(faults.is_empty(), "not survived, details above: {faults:#?}");
}

/// Which of the points a story passes when nothing happens.
fn passes(story: &Story, points: &BTreeSet<String>) -> BTreeSet<String> {
    let world = small_world();
    (story.prepare)(&world);
    said_by((story.armed)(&world), points)
}

/// The points that a command passes.
pub fn said_by(command: Crawld, points: &BTreeSet<String>) -> BTreeSet<String> {
    let armed: Vec<String> = points.iter().map(|point| format!("{point}=1*return(say)->off")).collect();
    let ended = command.failpoints(&armed.join(";")).run();
    ended.stderr.lines().filter_map(|line| line.strip_prefix("passed ")).map(str::to_owned).collect()
}

fn put_back_to_format_1(world: &World) {
    world.crawl_and_kill(15);
    let store = rusqlite::Connection::open(world.session_dir().join("frontier.db")).expect("the store");
    store.execute_batch(AS_FORMAT_1).expect("as the first format was");
}

/// Every group finishes a file or two.
fn small_files(world: &World) -> Crawld {
    world.crawl().env("CRAWLD_OUTPUT_SEGMENT_BYTES", "600")
}

/// The HTML of every page is kept as a file.
fn with_files(world: &World) -> Crawld {
    world.crawl_keeping("html = true")
}

/// The last group was not committed, but its files have their names.
fn lose_the_end(world: &World) {
    let killed = with_files(world).failpoints("store.before_commit=12*off->return(kill)").run();
    assert_eq!(killed.signal, Some(9), "{}", killed.said());
}

#[test]
fn a_full_disk_at_any_of_them_loses_nothing_first_share() {
    errors("ENOSPC", 0);
}

#[test]
fn a_full_disk_at_any_of_them_loses_nothing_second_share() {
    errors("ENOSPC", 1);
}

#[test]
fn a_full_disk_at_any_of_them_loses_nothing_third_share() {
    errors("ENOSPC", 2);
}

#[test]
fn an_io_error_at_any_of_them_loses_nothing_first_share() {
    errors("EIO", 0);
}

#[test]
fn an_io_error_at_any_of_them_loses_nothing_second_share() {
    errors("EIO", 1);
}

#[test]
fn an_io_error_at_any_of_them_loses_nothing_third_share() {
    errors("EIO", 2);
}

/// Runs a story killed at its passage number `after` + 1 of the point; `false` when it was not passed.
fn kill_at(story: &Story, point: &str, after: u32) -> bool {
    let world = small_world();
    (story.prepare)(&world);
    let skip = if after > 0 { format!("{after}*off->") } else { String::new() };
    let ended = (story.armed)(&world).failpoints(&format!("{point}={skip}return(kill)")).run();
    let killed = ended.signal == Some(9);
    let expected = killed || matches!(ended.code, Some(0 | 3 | 5));
    assert!(expected, "{}, killed at {point} (passage {}): {}", story.name, after + 1, ended.said());
    if world.sessions().len() == 1 {
        println!("{}: {point}", story.name);
    }
    judge(&world);
    killed
}

/// Runs one check; a failure is noted and the others still run.
fn all_of<T>(faults: &mut Vec<String>, place: &str, check: impl FnOnce() -> T) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(check));
    if done.is_err() {
        faults.push(place.to_owned());
        eprintln!("NOT SURVIVED: {place}");
    }
    done.ok()
}

/// An ordinary crawl meets the error once at the first, then at a later passage of each point.
fn errors(error: &str, share: usize) {
    if !cfg!(feature = "failpoints") {
        return skip::because("fault_points", "built without the feature `failpoints`");
    }
    let mut faults = Vec::new();
    let all = points();
    let mut passed = said_by(small_world().crawl(), &all);
    passed.extend(said_by(with_files(&small_world()), &all));
    assert!(passed.len() > 20, "an ordinary crawl passes more than these: {passed:?}");
    for point in all.into_iter().skip(share).step_by(SHARES).filter(|point| passed.contains(point)) {
        for after in [0, 4] {
            let place = format!("{error} at {point}, passage {}", after + 1);
            all_of(&mut faults, &place, || fail_at(&point, error, after));
        }
    }
    assert!(faults.is_empty(), "not survived, details above: {faults:#?}");
}

fn fail_at(point: &str, error: &str, after: u32) {
    let world = small_world();
    let skip = if after > 0 { format!("{after}*off->") } else { String::new() };
    let crawl = if point.starts_with("files.") { with_files(&world) } else { world.crawl() };
    let ended = crawl.failpoints(&format!("{point}={skip}1*return({error})->off")).run();
    // Done all the same, or ended with a word about the disk. It may neither crash nor hang nor lose.
    assert!(matches!(ended.code, Some(0 | 73)), "{}", ended.said());
    // In the middle of a crawl a full disk is waited for; the passages before may be those of its opening.
    let waits = error == "ENOSPC" && after > 0 && !point.contains("open");
    assert!(!waits || ended.code == Some(0), "it must go on by itself; {}", ended.said());
    judge(&world);
}

fn judge(world: &World) {
    // A session that failed by its own I/O error has ended; the operator's word continues it.
    let again = world.continuation(false).run();
    if matches!(again.code, Some(0 | 3 | 5)) && !world.unfinished() {
        world.check_complete(&again);
        return;
    }
    let forced = world.recover().args(&["--strategy", "resume"]).run();
    assert!(matches!(forced.code, Some(0 | 3)), "{}\nthen, forced: {}", again.said(), forced.said());
    world.check_complete(&forced);
}

fn small_world() -> World {
    World::new(Config { latency: Duration::from_millis(1), ..Config::plain(40) }, Fetch::Http)
}

/// Every name of the form `area.before_step` or `area.after_step` in the sources.
pub fn points() -> BTreeSet<String> {
    let name = regex::Regex::new(r#""([a-z_]+\.(?:before|after)_[a-z_]+)""#).expect("a valid pattern");
    let mut found = BTreeSet::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("sources are readable") {
            let path = entry.expect("directory entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                let text = fs::read_to_string(&path).expect("sources are readable");
                found.extend(name.captures_iter(&text).map(|found| found[1].to_owned()));
            }
        }
    }
    found.retain(|point| !ELSEWHERE.iter().any(|area| point.starts_with(area)));
    assert!(found.len() > 20, "the pattern no longer fits the sources: {found:?}");
    found
}
