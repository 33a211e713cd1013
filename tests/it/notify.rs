//! The daemon and its service manager: what it says when, a reload, and a stop that leaves nothing open.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use crawld::store::reader::Reader;
use crawld::store::registry::Registry;
use rustix::process::Signal;

use crate::site::Config;
use crate::support::world::Fetch;
use crate::support::{World, poll};

/// The default `stop_timeout`: a stop may not take longer.
const STOP_BUDGET: Duration = Duration::from_secs(45);

/// The service manager's end of the socket.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
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
    let manager = Manager { socket: UnixDatagram::bind(&place).expect("socket") };
    manager.socket.set_read_timeout(Some(Duration::from_secs(1))).expect("timeout");
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
