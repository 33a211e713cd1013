//! Whatever happens to the files of a killed crawl: recovery says what it saw, and nothing is lost.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::site::Config;
use crate::support::world::Fetch;
use crate::support::{World, child, poll, skip};

/// What is done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    Missing,
    Empty,
    Cut,
    Flipped,
    Directory,
    Fifo,
    Newer,
}

const EVERY: &[Damage] =
    &[Damage::Missing, Damage::Empty, Damage::Cut, Damage::Flipped, Damage::Directory, Damage::Fifo];

impl Damage {
    fn apply(self, path: &Path) {
        let body = fs::read(path).unwrap_or_default();
        match self {
            Damage::Empty => fs::write(path, b"").expect("truncate"),
            Damage::Cut => fs::write(path, &body[..body.len() / 2]).expect("cut"),
            Damage::Flipped => flip(path, body.len() as u64 / 2),
            Damage::Missing => remove(path),
            Damage::Directory => {
                remove(path);
                fs::create_dir(path).expect("directory in place of the file");
            }
            Damage::Fifo => {
                remove(path);
                rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0)
                    .expect("FIFO in place of the file");
            }
            Damage::Newer => {
                let mut document: Value = serde_json::from_slice(&body).expect("a JSON document");
                document["format"] = 999.into();
                fs::write(path, serde_json::to_vec_pretty(&document).expect("JSON")).expect("rewrite");
            }
        }
    }
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{}: {error}", path.display()),
        _ => {}
    }
}

fn flip(path: &Path, at: u64) {
    let mut file = OpenOptions::new().read(true).write(true).open(path).expect("file to flip a bit in");
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).expect("seek");
    if file.read(&mut byte).expect("read") == 1 {
        file.seek(SeekFrom::Start(at)).expect("seek");
        file.write_all(&[byte[0] ^ 0x10]).expect("write");
    }
}

/// A crawl killed in its middle, to be copied for each row.
fn killed() -> World {
    let world = World::new(Config { latency: Duration::from_millis(3), ..Config::plain(120) }, Fetch::Http);
    world.crawl_and_kill(40);
    world
}

/// Damages a copy, recovers it, and judges: one of the expected causes, and unless it was left alone
/// for the operator, the complete crawl.
#[track_caller]
fn check(from: &World, row: &str, damage: impl FnOnce(&World), expected: &[&str]) {
    let world = from.fork();
    damage(&world);
    let looked = world.recover().args(&["--dry-run"]).run();
    let ended = world.recover().run();
    assert!(matches!(ended.code, Some(0 | 4 | 5 | 78)), "{row}: {}", ended.said());
    for field in ["decision", "cause"] {
        let (said, done) = (&looked.json()["sessions"][0][field], &ended.json()["sessions"][0][field]);
        assert_eq!(said, done, "{row}: the dry run said another {field}");
    }
    let said = ended.json();
    let session = &said["sessions"][0];
    let cause = session["cause"].as_str().unwrap_or("none");
    assert!(expected.contains(&cause), "{row}: cause {cause}, expected one of {expected:?}; {}", ended.said());
    if session["decision"] == "skip" {
        return;
    }
    // A restart has a new session; its old directory lies in quarantine.
    world.check_complete(&ended);
    println!("{row}: {} ({cause})", session["decision"]);
}

#[test]
fn of_the_store() {
    let from = killed();
    let store = |world: &World| world.session_dir().join("frontier.db");
    let files = |world: &World| -> Vec<PathBuf> {
        ["frontier.db", "frontier.db-wal", "frontier.db-shm"].map(|name| world.session_dir().join(name)).into()
    };
    let rebuilt = &["rebuilt_from_outputs"][..];
    check(&from, "deleted", |w| files(w).iter().for_each(|file| remove(file)), rebuilt);
    check(
        &from,
        "only a directory",
        |w| {
            files(w).iter().for_each(|file| remove(file));
            fs::create_dir(store(w)).expect("directory");
        },
        rebuilt,
    );
    check(
        &from,
        "a journal of its making left behind",
        |w| fs::write(w.session_dir().join("frontier.db-journal"), [7; 512]).expect("journal"),
        rebuilt,
    );
    // The log may hold a good first page, which is then the one that is read.
    check(&from, "head flipped", |w| flip(&store(w), 3), &["rebuilt_from_outputs", "crash"]);
    check(
        &from,
        "head flipped, without a log",
        |w| {
            remove(&files(w)[1]);
            flip(&store(w), 3);
        },
        &["rebuilt_from_outputs", "store_lost_commits"],
    );
    check(
        &from,
        "emptied",
        |w| {
            files(w).iter().for_each(|file| {
                if file.exists() {
                    fs::write(file, b"").expect("truncate");
                }
            })
        },
        rebuilt,
    );
    // The write-ahead log may hold all of it, or nothing that matters.
    let any = &["rebuilt_from_outputs", "store_lost_commits", "crash"][..];
    check(&from, "cut", |w| Damage::Cut.apply(&store(w)), any);
    check(&from, "flipped in the middle", |w| Damage::Flipped.apply(&store(w)), any);
    check(&from, "log removed", |w| remove(&files(w)[1]), any);
    check(&from, "log cut", |w| Damage::Cut.apply(&files(w)[1]), any);
}

#[test]
fn by_an_older_copy_of_the_store() {
    let from = World::new(Config { latency: Duration::from_millis(3), ..Config::plain(150) }, Fetch::Http);
    from.crawl_and_kill(20);
    let older = from.fork();
    let mut child = from.crawl().spawn();
    from.until_recorded(&mut child, 90);
    child.kill();
    check(
        &from,
        "rolled back",
        |world| {
            for name in ["frontier.db", "frontier.db-wal", "frontier.db-shm"] {
                let (old, new) = (older.session_dir().join(name), world.session_dir().join(name));
                remove(&new);
                if old.exists() {
                    fs::copy(old, new).expect("copy");
                }
            }
        },
        &["store_lost_commits"],
    );
}

#[test]
fn of_the_outputs() {
    let from = killed();
    let out = |world: &World, name: &str| world.session_dir().join("out").join(name);
    let damaged = &["outputs_damaged"][..];
    // A flipped bit in an older line is what `verify` reads all lines for.
    for damage in EVERY.iter().filter(|damage| **damage != Damage::Flipped) {
        check(&from, &format!("pages {damage:?}"), |w| damage.apply(&out(w, "pages-00001.jsonl")), damaged);
        let world = from.fork();
        damage.apply(&out(&world, "urls-00001.jsonl"));
        let ended = world.recover().run();
        assert_eq!(ended.json()["sessions"][0]["cause"], damaged[0], "urls {damage:?}: {}", ended.said());
        // What is written again from the store is younger than the pages that it was found on.
        world.outputs().check_against(&world.site, false);
        world.verify();
    }
    let torn = |w: &World, name: &str| {
        let mut file = OpenOptions::new().append(true).open(out(w, name)).expect("output");
        file.write_all(b"{\"n\":9999,\"url\":\"http://torn").expect("append");
    };
    check(&from, "a torn tail of pages", |w| torn(w, "pages-00001.jsonl"), &["crash"]);
    check(&from, "a torn tail of urls", |w| torn(w, "urls-00001.jsonl"), &["crash"]);
}

#[test]
fn of_the_summaries() {
    of_derived(&["sessions/checkpoint_ID.json", "sessions/heartbeat_ID.json", "sessions/checkpoint_ID.json.prev"]);
}

#[test]
fn of_the_small_files() {
    of_derived(&["sessions/ID/in-flight", "sessions/ID/session.lock", "crawld.db"]);
}

/// Where the lock of the whole directory is no file, nobody can be its owner: that is said, and nothing happens.
#[test]
fn of_the_directory_s_lock() {
    let from = killed();
    for damage in [Damage::Missing, Damage::Flipped] {
        let row = format!("crawld.lock {damage:?}");
        check(&from, &row, |world| damage.apply(&world.state.join("crawld.lock")), &["crash"]);
    }
    for damage in [Damage::Directory, Damage::Fifo] {
        let world = from.fork();
        let lock = world.state.join("crawld.lock");
        damage.apply(&lock);
        for command in [world.recover(), world.crawl(), world.crawld(&["run"])] {
            let refused = command.run().expect_code(73);
            assert!(refused.stderr.contains("crawld.lock"), "{damage:?}: {}", refused.said());
            assert!(refused.stderr.contains("remove it"), "what to do is not said: {}", refused.said());
        }
        if fs::remove_dir(&lock).is_err() {
            remove(&lock);
        }
        world.finish();
    }
}

/// A restart killed in its middle, whose intent is damaged besides: the old session is still there, or lies whole
/// in quarantine; a start neither fails nor hangs, and says what it could not read.
#[test]
fn of_the_intent_of_a_restart() {
    if !cfg!(feature = "failpoints") {
        return skip::because("damage::of_the_intent_of_a_restart", "built without the feature `failpoints`");
    }
    for (point, moved) in [("recover.after_intent", false), ("recover.after_move", true)] {
        let from = killed();
        let id = from.session();
        let restart = from.recover().args(&["--strategy", "restart"]).failpoints(&format!("{point}=return(kill)"));
        assert_eq!(restart.run().signal, Some(9));
        for damage in [Damage::Missing, Damage::Cut, Damage::Directory, Damage::Fifo] {
            let world = from.fork();
            damage.apply(&world.state.join("intents").join(format!("{id}.json")));
            let ended = world.recover().run();
            let said = damage == Damage::Missing || ended.stderr.contains("intent of a restart not readable");
            assert!(said, "{point} {damage:?}: {}", ended.said());
            if moved {
                assert_eq!(ended.code, Some(5), "{point} {damage:?}: {}", ended.said());
                let kept = fs::read_dir(world.state.join("quarantine")).expect("quarantine").count();
                assert_eq!(kept, 1, "{point} {damage:?}: the old session is kept");
                let last = world.crawl().run().expect_code(0);
                world.check_complete(&last);
            } else {
                assert_eq!(ended.code, Some(0), "{point} {damage:?}: {}", ended.said());
                world.check_complete(&ended);
            }
            if !moved && damage == Damage::Directory {
                // The broken one is in nobody's way: a restart of the same session writes its own.
                let again = from.fork();
                damage.apply(&again.state.join("intents").join(format!("{id}.json")));
                let restarted = again.recover().args(&["--strategy", "restart"]).run().expect_code(0);
                again.check_complete(&restarted);
            }
        }
    }
}

/// The note of an ended session: it only speaks where store and checkpoint are gone, and then the outputs do.
#[test]
fn of_the_note_of_an_end() {
    let from = World::new(Config::plain(40), Fetch::Http);
    from.crawl().run().expect_code(0);
    from.crawld(&["cleanup", "--older-than", "0s"]).run().expect_code(0);
    let note = format!("sessions/{}/ended.json", from.session());
    assert!(from.state.join(&note).exists());
    for damage in EVERY {
        let world = from.fork();
        damage.apply(&world.state.join(&note));
        let before = world.site.hits();
        let ended = world.recover().run();
        assert!(matches!(ended.code, Some(0 | 5)), "{damage:?}: {}", ended.said());
        assert_eq!(world.site.hits(), before, "{damage:?}: what is finished is not crawled again");
        world.outputs().check_consistent();
        world.outputs().check_against(&world.site, false);
    }
}

#[test]
fn of_the_notes() {
    of_derived(&["sessions/ID/recovery.json", "sessions/ID/last-words.json"]);
}

/// Derived files: without them the crawl goes on as if nothing had happened.
fn of_derived(files: &[&str]) {
    let from = killed();
    for file in files.iter().map(|file| file.replace("ID", &from.session())) {
        for damage in EVERY {
            if from.state.join(&file).exists() || !matches!(damage, Damage::Cut | Damage::Flipped) {
                let row = format!("{file} {damage:?}");
                check(&from, &row, |world| damage.apply(&world.state.join(&file)), &["crash", "store_lost_commits"]);
            }
        }
    }
}

#[test]
fn of_the_task() {
    // It is known by the registry too; else the operator must say what was to be crawled.
    let from = killed();
    let task = format!("sessions/{}/task.json", from.session());
    for damage in EVERY {
        let row = format!("task.json {damage:?}");
        check(&from, &row, |world| damage.apply(&world.state.join(&task)), &["crash"]);
    }
    let everywhere = |world: &World| {
        Damage::Missing.apply(&world.state.join(&task));
        for name in ["crawld.db", "crawld.db-wal", "crawld.db-shm"] {
            remove(&world.state.join(name));
        }
    };
    check(&from, "task.json and the registry gone", everywhere, &["needs_operator"]);
}

#[test]
fn by_a_newer_format() {
    let from = killed();
    let id = from.session();
    for file in [
        format!("sessions/checkpoint_{id}.json"),
        format!("sessions/heartbeat_{id}.json"),
        format!("sessions/{id}/task.json"),
    ] {
        if from.state.join(&file).exists() {
            let row = format!("{file} from a newer format");
            check(&from, &row, |world| Damage::Newer.apply(&world.state.join(&file)), &["format_too_new"]);
        }
    }
}

/// Left as they are to the last byte, whether the newer crawld ended well or its log is still beside the store.
#[test]
fn by_a_newer_format_of_the_store() {
    let from = killed();
    let id = from.session();
    let names = ["frontier.db", "frontier.db-wal", "frontier.db-shm"];
    for clean in [true, false] {
        let (newer, world) = (from.fork(), from.fork());
        let store = rusqlite::Connection::open(newer.session_dir().join(names[0])).expect("the store");
        store.execute_batch("PRAGMA wal_autocheckpoint = 0; PRAGMA user_version = 999").expect("a newer format");
        match clean {
            true => drop(store),
            // As if it had been killed.
            false => std::mem::forget(store),
        }
        for name in names {
            let (made, place) = (newer.session_dir().join(name), world.session_dir().join(name));
            remove(&place);
            if made.exists() {
                fs::copy(made, place).expect("copy");
            }
        }
        assert_eq!(clean, !world.session_dir().join(names[1]).exists(), "the log decides which row this is");
        let before = tree(&world.session_dir());
        let looked = world.recover().args(&["--dry-run"]).run();
        assert_eq!(looked.json()["sessions"][0]["cause"], "format_too_new", "{}", looked.said());
        let ended = world.recover().run().expect_code(78);
        assert_eq!(ended.json()["sessions"][0]["decision"], "skip", "{}", ended.said());
        let refused = world.crawl().run().expect_code(78);
        assert!(refused.stderr.contains("newer"), "{}", refused.said());
        world.crawld(&["status", &id]).run().expect_code(78);
        world.crawld(&["verify"]).run();
        let after = tree(&world.session_dir());
        let of = |path: &&PathBuf| before.get(*path) != after.get(*path);
        let changed: Vec<_> = before.keys().chain(after.keys()).filter(of).collect();
        assert!(changed.is_empty(), "its store was closed well: {clean}; changed: {changed:?}");
    }
}

/// Every file of a session with its bytes, without what readers leave: the lock, a log's index, an empty log.
fn tree(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("directory") {
        let path = entry.expect("entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(tree(&path));
        } else if name != "session.lock" && !name.ends_with("-shm") {
            let body = fs::read(&path).expect("file");
            if !(body.is_empty() && name.ends_with("-wal")) {
                found.insert(path, body);
            }
        }
    }
    found
}

#[test]
fn a_stale_lock_of_a_foreign_process_holds_nobody_up() {
    let from = killed();
    let id = from.session();
    for file in ["crawld.lock".to_owned(), format!("sessions/{id}/session.lock")] {
        check(
            &from,
            &file,
            |world| {
                // Process 1 lives, and has nothing to do with us.
                fs::write(world.state.join(&file), "{\"pid\":1,\"pid_start_ticks\":1}\n").expect("lock file");
            },
            &["crash"],
        );
    }
}

#[test]
fn recovering_twice_is_recovering_once() {
    let world = killed();
    let looked = world.recover().args(&["--dry-run"]).run().expect_code(0);
    let again = world.recover().args(&["--dry-run"]).run().expect_code(0);
    assert_eq!(looked.json(), again.json(), "a dry run changes nothing");
    let done = world.recover().run().expect_code(0);
    world.check_complete(&done);
    let nothing = world.recover().run();
    assert!(matches!(nothing.code, Some(0 | 5)), "{}", nothing.said());
    world.outputs().check_against(&world.site, false);
}

#[test]
fn without_a_run_what_was_lost_is_reported_and_repaired_and_nothing_is_crawled() {
    repaired_without_a_run(false);
}

#[test]
fn a_running_crawld_repairs_without_a_run_as_none_does() {
    repaired_without_a_run(true);
}

fn repaired_without_a_run(beside_a_daemon: bool) {
    let world = World::new(Config { latency: Duration::from_millis(15), ..Config::plain(80) }, Fetch::Http);
    world.crawl_and_kill(30);
    Damage::Cut.apply(&world.session_dir().join("out/pages-00001.jsonl"));
    let before = world.site.hits();
    let daemon = beside_a_daemon.then(|| {
        let run = world.crawld(&["run"]).env("CRAWLD_TASKS_DIR", world.path());
        let mut daemon = run.env("CRAWLD_SESSION_RECOVERY_ENABLED", "false").spawn();
        poll::expect("the daemon's answer", child::PATIENCE, || {
            assert!(!daemon.has_ended(), "{}", daemon.said());
            UnixStream::connect(world.state.join("crawld.sock")).is_ok().then_some(())
        });
        daemon
    });
    let looked = world.recover().args(&["--dry-run"]).run().expect_code(0).json();
    let repaired = world.recover().args(&["--no-run"]).run().expect_code(0).json();
    for said in [&looked, &repaired] {
        let item = &said["sessions"][0];
        assert_eq!(item["cause"], "outputs_damaged", "{said}");
        assert!(item["message"].as_str().is_some_and(|text| text.contains("pages-00001.jsonl")), "{said}");
    }
    let end = &repaired["sessions"][0]["end"];
    assert_eq!(end["status"], "recoverable", "it says how the session was left: {repaired}");
    assert_eq!(world.site.hits(), before, "nothing is crawled");
    assert!(world.unfinished());
    world.verify();
    if let Some(daemon) = daemon {
        let shown = world.recover().args(&["--dry-run"]).run().json();
        assert_eq!(shown["sessions"][0]["cause"], "clean_stop", "{shown}");
        daemon.signal(rustix::process::Signal::TERM);
        daemon.wait(child::PATIENCE).expect_code(0);
    }
    assert_eq!(world.recover().args(&["--dry-run"]).run().json()["sessions"][0]["cause"], "clean_stop");
    world.finish();
}

#[test]
fn a_link_in_place_of_the_outputs_is_said_before_anything_is_done_and_never_written_through() {
    let world = World::new(Config { latency: Duration::from_millis(15), ..Config::plain(40) }, Fetch::Http);
    world.crawl_and_kill(10);
    let (out, elsewhere) = (world.session_dir().join("out"), world.path().join("elsewhere"));
    fs::rename(&out, &elsewhere).expect("moved");
    std::os::unix::fs::symlink(&elsewhere, &out).expect("a link");
    let bytes = || fs::read(elsewhere.join("pages-00001.jsonl")).expect("an output");
    let before = bytes();
    let item = world.recover().args(&["--dry-run"]).run().json()["sessions"][0].clone();
    assert_eq!(item["cause"], "outputs_damaged", "{item}");
    assert!(item["message"].as_str().is_some_and(|text| text.contains("is no directory")), "{item}");
    world.finish();
    assert_eq!(bytes(), before, "what the link leads to stays as it is");
}
