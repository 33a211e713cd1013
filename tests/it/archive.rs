//! A session moves from one state directory to another, by a file that nobody vouches for.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use rustix::process::Signal;

use crate::site::Config;
use crate::support::oracle::Crawl;
use crate::support::world::Fetch;
use crate::support::{Crawld, Ended, World, child, skip};

fn world() -> World {
    World::new(Config { latency: Duration::from_millis(20), ..Config::plain(100) }, Fetch::Http)
}

/// A command on another state directory beside the world's.
fn away(world: &World, name: &str, args: &[&str]) -> Crawld {
    let dir = world.path().to_owned();
    Crawld::new(&dir.join("logs"), &dir.join(name), args).tweak(|command| {
        command.current_dir(&dir);
    })
}

fn export(world: &World, name: &str, flags: &[&str]) -> (PathBuf, Ended) {
    let file = world.path().join(name);
    let ended = world.crawld(&["export", &world.session(), &file.display().to_string()]).args(flags).run();
    (file, ended)
}

fn import(world: &World, name: &str, file: &Path) -> Ended {
    away(world, name, &["import", &file.display().to_string()]).run()
}

#[test]
fn a_running_session_is_not_exported() {
    let world = world();
    let mut child = world.crawl().spawn();
    world.until_recorded(&mut child, 5);
    let (file, ended) = export(&world, "running.tar.gz", &[]);
    assert_eq!(ended.code, Some(78), "{}", ended.said());
    assert!(ended.stderr.contains("is active") && ended.stderr.contains("stop the command"), "{}", ended.said());
    assert!(!file.exists());
    let last = child.wait(child::PATIENCE).expect_code(0);
    world.check_complete(&last);
}

#[test]
fn a_copy_leaves_the_session_at_home() {
    let world = world();
    world.crawl_and_kill(20);
    export(&world, "copy.tar.gz", &["--copy"]).1.expect_code(0);
    world.finish();
}

#[test]
fn an_exported_session_goes_on_where_it_is_imported_and_not_at_home() {
    let world = world();
    world.crawl_and_kill(20);
    let id = world.session();
    let (file, ended) = export(&world, "moved.tar.gz", &[]);
    ended.expect_code(0);
    let looked = world.recover().args(&["--dry-run"]).run().json();
    assert_eq!(looked["sessions"][0]["cause"], "migrated", "{looked}");
    assert_eq!(world.recover().run().code, Some(5), "it is not continued at home");

    let before = world.site.hits();
    import(&world, "away", &file).expect_code(0);
    assert_eq!(world.site.hits(), before, "an import without an owner crawls nothing");
    assert_ne!(import(&world, "away", &file).code, Some(0), "it is here already");

    // Without the permissions that it had, nothing of it is used up.
    let status = || away(&world, "away", &["status", &id, "--json"]).run().expect_code(0).json();
    let waits = status();
    assert_eq!(waits["status"], "paused", "{waits}");
    assert!(waits["status_reason"].as_str().is_some_and(|why| why.contains("give the same task again")), "{waits}");
    for words in [&["recover"][..], &["recover", &id], &["recover", "--dry-run"]] {
        away(&world, "away", words).run().expect_code(78);
    }
    let refused = away(&world, "away", &["resume", &id]).run().expect_code(78);
    assert!(refused.stderr.contains("give the same task again"), "{}", refused.said());
    assert_eq!((&status()["counters"], world.site.hits()), (&waits["counters"], before));

    // What the operator allowed at home (a loopback address) is to be allowed here: the same command does it.
    let tabs = crate::support::world::TABS.to_string();
    let seed = world.site.at("/");
    let flags = ["--fetch", "http", "--delay", "0ms", "--per-host", &tabs, "--tabs", &tabs, "--json", "--quiet"];
    let last = away(&world, "away", &["crawl", &seed]).args(&flags).run().expect_code(0);
    assert_eq!(last.json()["session_id"], id.as_str(), "{}", last.said());
    let out = world.path().join("away/sessions").join(&id).join("out");
    let crawl = Crawl::read(&out, &world.site.url);
    crawl.check_consistent();
    crawl.check_against(&world.site, false);
    crawl.check_counters("the command", &last.json()["counters"]);
    away(&world, "away", &["verify"]).run().expect_code(0);
}

/// Loses a file of an exported session: gone, or half of it.
fn lose(file: &Path, whole: bool) {
    match fs::read(file) {
        Ok(body) if !whole => fs::write(file, &body[..body.len() / 2]).expect("write"),
        Ok(_) => fs::remove_file(file).expect("remove"),
        Err(_) => {}
    }
}

#[test]
fn an_exported_session_stays_away_whatever_is_lost_at_home() {
    let world = world();
    world.crawl_and_kill(20);
    let id = world.session();
    let (file, ended) = export(&world, "moved.tar.gz", &[]);
    ended.expect_code(0);
    let lost: [(&str, &[&str]); 5] = [
        ("the note", &["ID/ended.json"]),
        ("the checkpoints", &["ID/ended.json", "checkpoint_ID.json", "checkpoint_ID.json.prev"]),
        ("the store", &["ID/ended.json", "ID/frontier.db", "ID/frontier.db-wal", "checkpoint_ID.json.prev"]),
        (
            "all but the outputs",
            &[
                "ID/ended.json",
                "ID/frontier.db",
                "ID/frontier.db-wal",
                "checkpoint_ID.json",
                "checkpoint_ID.json.prev",
                "heartbeat_ID.json",
            ],
        ),
        ("nothing", &[]),
    ];
    for (what, files) in lost {
        for whole in [true, false] {
            let fork = world.fork();
            for name in files {
                lose(&fork.state.join("sessions").join(name.replace("ID", &id)), whole);
            }
            let looked = fork.recover().args(&["--dry-run"]).run().json();
            assert_eq!(looked["sessions"][0]["cause"], "migrated", "lost, {whole}: {what}; {looked}");
            assert_eq!(fork.recover().run().code, Some(5), "lost, {whole}: {what}");
        }
    }
    // It comes home, which the registry hears of, and is finished there.
    import(&world, "state", &file).expect_code(0);
    let last = world.crawl().run().expect_code(0);
    assert_eq!(last.json()["session_id"], id.as_str(), "{}", last.said());
    world.check_complete(&last);
}

#[test]
fn permissions_of_the_former_home_are_not_taken_over() {
    let world = world();
    world.crawl_and_kill(20);
    let (file, ended) = export(&world, "moved.tar.gz", &[]);
    ended.expect_code(0);
    let said = import(&world, "away", &file).expect_code(0).stderr;
    let seed = world.site.url.trim_start_matches("http://");
    assert!(said.contains("not taken over") && said.contains(seed), "{said}");
    let before: u32 = world.site.hits().values().sum();
    away(&world, "away", &["recover", "--json"]).run().expect_code(78);
    let after: u32 = world.site.hits().values().sum();
    assert_eq!(after, before, "loopback was allowed elsewhere, not here");
}

#[test]
fn a_store_from_elsewhere_is_believed_in_nothing() {
    let world = world();
    world.crawl_and_kill(20);
    // A trigger would act with every commit of the new home.
    let store = Connection::open(world.session_dir().join("frontier.db")).expect("the store");
    store.execute_batch("CREATE TRIGGER evil AFTER UPDATE ON urls BEGIN DELETE FROM urls; END").expect("a trigger");
    drop(store);
    let (file, ended) = export(&world, "hostile.tar.gz", &[]);
    ended.expect_code(0);
    let dir = world.path().join("away");
    import(&world, "away", &file);
    away(&world, "away", &["recover", "--no-run", "--strategy", "resume"]).run().expect_code(0);
    let store = dir.join("sessions").join(world.session()).join("frontier.db");
    let triggers: u32 = Connection::open(&store)
        .and_then(|store| {
            store.query_row("SELECT count(*) FROM sqlite_schema WHERE type = 'trigger'", [], |row| row.get(0))
        })
        .expect("the store in use");
    assert_eq!(triggers, 0, "a new store is built from the outputs instead");
}

#[test]
fn files_that_are_no_export_are_refused_and_leave_nothing() {
    let world = world();
    let file = world.path().join("file");
    for (what, body) in [("empty", &b""[..]), ("text", b"hello"), ("half a gzip", b"\x1f\x8b\x08\0\0\0\0\0")] {
        fs::write(&file, body).expect("write");
        let ended = import(&world, "away", &file);
        assert!(matches!(ended.code, Some(73 | 78)), "{what}: {}", ended.said());
        assert!(ended.stderr.contains("not a session export"), "{what}: {}", ended.said());
        let left = fs::read_dir(world.path().join("away/sessions")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{what}");
    }
    assert_eq!(import(&world, "away", &world.path().join("none")).code, Some(5));
}

#[test]
fn a_paused_session_is_exported_beside_a_running_daemon() {
    let world = world();
    world.crawl_and_kill(20);
    let id = world.session();
    let daemon = world.daemon();
    world.crawld(&["pause", &id]).run().expect_code(0);
    export(&world, "copy.tar.gz", &["--copy"]).1.expect_code(0);
    let status = || world.crawld(&["status", &id, "--json"]).run().json()["status"].clone();
    assert_eq!(status(), "paused", "a copy changes nothing at home");
    let (file, ended) = export(&world, "moved.tar.gz", &[]);
    ended.expect_code(0);
    assert_eq!(status(), "migrated");
    daemon.signal(Signal::TERM);
    daemon.wait(child::PATIENCE).expect_code(0);
    assert_eq!(world.recover().run().code, Some(5));
    import(&world, "away", &file).expect_code(0);
}

#[test]
fn with_migration_switched_off_a_session_from_elsewhere_is_neither_taken_in_nor_continued() {
    let world = world();
    world.crawl_and_kill(20);
    let (file, ended) = export(&world, "moved.tar.gz", &[]);
    ended.expect_code(0);
    let off = |args: &[&str]| away(&world, "away", args).env("CRAWLD_ENABLE_SESSION_MIGRATION", "false").run();
    let refused = off(&["import", &file.display().to_string()]).expect_code(78);
    assert!(refused.stderr.contains("enable_session_migration"), "{}", refused.said());
    if !cfg!(feature = "failpoints") {
        return skip::because("archive::with_migration_switched_off…", "built without the feature `failpoints`");
    }
    // Taken in before, and killed before it lived here.
    let import = away(&world, "away", &["import", &file.display().to_string()]);
    assert_eq!(import.failpoints("import.after_rename=return(kill)").run().signal, Some(9));
    let looked = off(&["recover", "--dry-run", "--json"]).json();
    assert_eq!(looked["sessions"][0]["cause"], "disabled", "{looked}");
    // Switched on it is taken, and waits for what its new operator permits.
    let looked = away(&world, "away", &["recover", "--dry-run", "--json"]).run().json();
    assert_eq!(looked["sessions"][0]["cause"], "needs_operator", "{looked}");
}
