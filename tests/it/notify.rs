//! The daemon and its service manager: what it says when, a reload, and a stop that leaves nothing open.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use crawld::store::reader::Reader;
use crawld::store::registry::Registry;
use rustix::process::Signal;

use crate::site::Config;
use crate::support::world::Fetch;
use crate::support::{World, child, poll, skip};

/// The default `stop_timeout`: a stop may not take longer.
const STOP_BUDGET: Duration = Duration::from_secs(45);

/// The service manager's end of the socket.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    fn bind(place: &Path) -> Self {
        let socket = UnixDatagram::bind(place).expect("socket");
        socket.set_read_timeout(Some(Duration::from_secs(1))).expect("timeout");
        Manager { socket }
    }

    /// Every message up to the one that says READY, that one included.
    #[track_caller]
    fn until_ready(&self) -> Vec<String> {
        let end = Instant::now() + Duration::from_secs(60);
        let mut heard = Vec::new();
        let mut buffer = [0; 4096];
        while Instant::now() < end {
            let Ok(size) = self.socket.recv(&mut buffer) else { continue };
            heard.push(String::from_utf8_lossy(&buffer[..size]).into_owned());
            if heard.last().is_some_and(|message| message.starts_with("READY=1")) {
                return heard;
            }
        }
        panic!("never ready; heard {heard:?}");
    }

    /// Waits for a message that holds each of `lines` as the beginning of a line.
    #[track_caller]
    fn expect(&self, lines: &[&str]) {
        let end = Instant::now() + Duration::from_secs(30);
        let mut heard = Vec::new();
        let mut buffer = [0; 4096];
        while Instant::now() < end {
            let Ok(size) = self.socket.recv(&mut buffer) else { continue };
            let message = String::from_utf8_lossy(&buffer[..size]).into_owned();
            if lines.iter().all(|wanted| message.lines().any(|line| line.starts_with(wanted))) {
                return;
            }
            heard.push(message);
        }
        panic!("waited in vain for {lines:?}; heard {heard:?}");
    }
}

/// A task of the site that stays unfinished for a while.
fn add_task(world: &World, name: &str) {
    let seed = world.site.at("/");
    let text =
        format!("seeds = [\"{seed}\"]\n[politeness]\ndelay = \"200ms\"\nper_host = 1\n[fetch]\nmode = \"http\"\n");
    fs::write(world.path().join("tasks").join(name), text).expect("task file");
}

#[test]
fn ready_watchdog_reload_and_a_stop_that_closes_every_epoch() {
    let world = World::new(Config::plain(200), Fetch::Http);
    fs::create_dir(world.path().join("tasks")).expect("tasks directory");
    add_task(&world, "first.toml");
    let place = world.path().join("notify");
    let manager = Manager::bind(&place);
    let tasks = world.path().join("tasks").display().to_string();
    let child = world
        .crawld(&["run", "--tasks-dir", &tasks])
        .env("NOTIFY_SOCKET", &place)
        .env("WATCHDOG_USEC", "10000000")
        .spawn();

    manager.expect(&["READY=1", "STATUS="]);
    manager.expect(&["WATCHDOG=1"]);
    poll::expect("the first task's session", Duration::from_secs(20), || begun(&world, 1));

    add_task(&world, "second.toml");
    child.signal(Signal::HUP);
    manager.expect(&["RELOADING=1", "MONOTONIC_USEC="]);
    manager.expect(&["READY=1"]);
    poll::expect("the second task's session", Duration::from_secs(20), || begun(&world, 2));

    child.signal(Signal::TERM);
    manager.expect(&["STOPPING=1"]);
    child.wait(STOP_BUDGET).expect_code(0);
    let (registry, _) =
        Registry::open(&world.state.join("crawld.db"), &world.state.join("quarantine")).expect("the registry");
    assert_eq!(registry.open_epochs().expect("rows").len(), 0, "every lifetime has its end");
    for session in world.sessions() {
        let rows = registry.epochs(&session.parse().expect("a session id")).expect("rows");
        assert!(!rows.is_empty() && rows.iter().all(|row| row.stop_reason.is_some()), "{session}: {rows:?}");
        let store = Reader::open(&world.state.join("sessions").join(&session).join("frontier.db")).expect("the store");
        let (last_commit, _) = store.counters().expect("the counters");
        assert_eq!(rows.last().map(|row| row.commit_seq), Some(last_commit), "{session}");
    }
}

/// There, once exactly that many sessions have begun to crawl.
fn begun(world: &World, count: usize) -> Option<()> {
    let has_outputs = |session: &&String| world.state.join("sessions").join(session).join("out").exists();
    (world.sessions().iter().filter(has_outputs).count() == count).then_some(())
}

/// Nothing is ready before the lock is held, every decision is written down and every store is open; a long
/// rebuild on the way asks for more time, and keeps the watchdog quiet.
#[test]
fn a_long_rebuild_asks_for_time_and_ready_comes_after_it() {
    const NAME: &str = "notify::a_long_rebuild_asks_for_time_and_ready_comes_after_it";
    if !cfg!(feature = "failpoints") {
        return skip::because(NAME, "built without the feature `failpoints`");
    }
    let world = World::new(Config { latency: Duration::from_millis(20), ..Config::plain(120) }, Fetch::Http);
    world.crawl_and_kill(20);
    let dir = world.session_dir();
    for name in ["frontier.db", "frontier.db-wal", "frontier.db-shm"] {
        let _ = fs::remove_file(dir.join(name));
    }
    let place = world.path().join("notify");
    let manager = Manager::bind(&place);
    let before = world.site.hits();
    let daemon = world
        .crawld(&["run", "--tasks-dir", &world.path().display().to_string()])
        .env("NOTIFY_SOCKET", &place)
        .env("WATCHDOG_USEC", "10000000")
        .failpoints("store.before_rebuild_rename=1*sleep(6000)->off")
        .spawn();
    let heard = manager.until_ready();
    let said = |words: &str| heard.iter().position(|message| message.lines().any(|line| line == words));
    let (asked, quiet) = (said("EXTEND_TIMEOUT_USEC=60000000"), said("WATCHDOG=1"));
    assert!(asked.is_some() && quiet.is_some() && asked < quiet, "{heard:?}");
    assert!(quiet < Some(heard.len() - 1), "both come before READY: {heard:?}");
    assert_eq!(world.site.hits(), before, "crawling begins after READY");
    let decision = fs::read_to_string(dir.join("recovery.json")).expect("the decision");
    assert!(decision.contains("rebuilt_from_outputs"), "{decision}");
    assert!(dir.join("frontier.db").exists(), "the store is there");
    world.crawld(&["run"]).run().expect_code(75);
    let id = world.session();
    poll::expect("the end of the crawl", child::PATIENCE, || {
        let status = world.crawld(&["status", &id, "--json"]).run().json();
        (status["status"] == "completed").then_some(())
    });
    daemon.signal(Signal::TERM);
    daemon.wait(STOP_BUDGET).expect_code(0);
    world.outputs().check_against(&world.site, false);
}
