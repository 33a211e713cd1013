//! What a start puts right before anything is crawled, and what it leaves alone.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use rustix::process::Signal;

use crate::site::Config;
use crate::support::world::Fetch;
use crate::support::{World, child, poll, skip};

fn killed() -> World {
    let world = World::new(Config { latency: Duration::from_millis(10), ..Config::plain(100) }, Fetch::Http);
    world.crawl_and_kill(15);
    world
}

#[test]
fn a_lost_registry_is_filled_from_the_sessions_again() {
    for damage in ["missing", "no database"] {
        let world = killed();
        let registry = world.state.join("crawld.db");
        for suffix in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(PathBuf::from(format!("{}{suffix}", registry.display())));
        }
        if damage != "missing" {
            fs::write(&registry, "not a database").expect("write");
        }
        // Any command on the directory makes a new one.
        world.crawld(&["stats"]).run();
        // A session is opened to be repaired: a lifetime of its own.
        world.crawld(&["recover", "--no-run", "--json"]).run();
        assert_eq!(registered(&registry), (1, 2, 0), "{damage}");
        let last = world.recover().run().expect_code(0);
        world.check_complete(&last);
        assert_eq!(registered(&registry), (1, 3, 0), "{damage}");
    }
}

/// Sessions with a copy of their task; lifetimes; lifetimes without an end.
fn registered(path: &Path) -> (u32, u32, u32) {
    let registry = Connection::open(path).expect("the registry");
    let count = |sql| registry.query_row(sql, [], |row| row.get(0)).expect("a count");
    (
        count("SELECT count(*) FROM sessions WHERE task_json IS NOT NULL"),
        count("SELECT count(*) FROM epochs"),
        count("SELECT count(*) FROM epochs WHERE ended_at IS NULL"),
    )
}

#[test]
fn lifetimes_left_open_by_the_dead_are_closed() {
    let world = killed();
    assert_eq!(registered(&world.state.join("crawld.db")).2, 1);
    let daemon = world.crawld(&["run"]).env("CRAWLD_SESSION_RECOVERY_ENABLED", "false").spawn();
    poll::expect("the lifetime's end", Duration::from_secs(20), || {
        (registered(&world.state.join("crawld.db")).2 == 0).then_some(())
    });
    daemon.signal(Signal::TERM);
    daemon.wait(child::PATIENCE).expect_code(0);
}

#[test]
fn recovery_that_is_switched_off_reports_and_waits_for_a_command() {
    let world = killed();
    let before = world.site.hits();
    let mut daemon = world
        .crawld(&["run", "--log-level", "info"])
        .env("CRAWLD_SESSION_RECOVERY_ENABLED", "false")
        .env("CRAWLD_TASKS_DIR", world.path())
        .spawn();
    poll::expect("the report", Duration::from_secs(20), || {
        assert!(!daemon.has_ended(), "{}", daemon.said());
        let said = daemon.stderr();
        (said.contains("recovery decided") && said.contains("disabled")).then_some(())
    });
    let id = world.session();
    let status = world.crawld(&["status", &id, "--json"]).run().expect_code(0).json();
    assert_eq!(status["status"], "crashed", "{status}");
    assert_eq!(world.site.hits(), before, "nothing is crawled without a command");
    world.recover().run().expect_code(0);
    poll::expect("the end of the crawl", child::PATIENCE, || {
        let status = world.crawld(&["status", &id, "--json"]).run().json();
        (status["status"] == "completed").then_some(())
    });
    daemon.signal(Signal::TERM);
    daemon.wait(child::PATIENCE).expect_code(0);
    world.outputs().check_against(&world.site, false);
}

#[test]
fn a_group_may_read_heartbeats_and_checkpoints_and_nothing_else() {
    let group = if skip::root() { 1 } else { rustix::process::getegid().as_raw() };
    let world = World::new(Config::plain(5), Fetch::Http);
    world.crawl().env("CRAWLD_STATE_GROUP", group.to_string()).run().expect_code(0);
    let id = world.session();
    let sessions = world.state.join("sessions");
    let mode = |path: &Path| {
        let meta = fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        (meta.mode() & 0o777, (meta.mode() & 0o070 != 0).then(|| meta.gid()))
    };
    for folder in [&world.state, &sessions] {
        assert_eq!(mode(folder), (0o750, Some(group)), "{}", folder.display());
    }
    for file in [format!("checkpoint_{id}.json"), format!("heartbeat_{id}.json")] {
        assert_eq!(mode(&sessions.join(&file)), (0o640, Some(group)), "{file}");
    }
    for closed in [world.session_dir(), world.session_dir().join("out"), world.state.join("quarantine")] {
        assert_eq!(mode(&closed), (0o700, None), "{}", closed.display());
    }
    for closed in [world.session_dir().join("task.json"), world.session_dir().join("frontier.db")] {
        assert_eq!(mode(&closed), (0o600, None), "{}", closed.display());
    }
    // Taken back with the setting.
    world.crawl().args(&["--new"]).run().expect_code(0);
    assert_eq!(mode(&sessions), (0o700, None));
}

#[test]
fn a_group_that_is_not_there_is_a_mistake_in_the_configuration() {
    let world = World::new(Config::plain(1), Fetch::Http);
    let ended = world.crawl().env("CRAWLD_STATE_GROUP", "no-such-group").run().expect_code(78);
    assert!(ended.stderr.contains("state_group") && ended.stderr.contains("no-such-group"), "{}", ended.said());
    assert!(world.sessions().is_empty());
}
