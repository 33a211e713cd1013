//! Fifty crawls at once in one daemon: all finish, each complete, in bounded memory.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::site::{Config, Site};
use crate::support::oracle::Crawl;
use crate::support::world::Fetch;
use crate::support::{Child, World, poll};

/// Crawls at once.
const CRAWLS: u32 = 50;
/// Pages of each site besides its first.
const PAGES: u32 = 30;
/// What the daemon may take of memory in all: under 10 MiB a session.
const RESIDENT_MAX_KIB: u64 = 10 * 1024 * CRAWLS as u64;

#[test]
fn fifty_crawls_at_once_finish_in_one_daemon() {
    let world = World::new(Config::plain(1), Fetch::Http);
    let tasks = world.path().join("tasks");
    fs::create_dir(&tasks).expect("folder of the tasks");
    let sites: BTreeMap<String, Site> = (1..=CRAWLS).map(|n| (format!("site-{n:02}"), site())).collect();
    for (name, site) in &sites {
        let text = format!(
            "seeds = [\"{}\"]\n[fetch]\nmode = \"http\"\n[politeness]\ndelay = \"0ms\"\nper_host = 2\n",
            site.at("/")
        );
        fs::write(tasks.join(format!("{name}.toml")), text).expect("task file");
    }
    let daemon = world
        .crawld(&["run"])
        .env("CRAWLD_TASKS_DIR", &tasks)
        .env("CRAWLD_SESSIONS_AT_ONCE", CRAWLS.to_string())
        .spawn();
    let mut at_once = 0;
    let done = poll::until(Duration::from_secs(120), || {
        let all = sessions(&world);
        let with = |status: &str| all.iter().filter(|session| session["status"] == status).count();
        at_once = at_once.max(with("active"));
        (with("completed") == CRAWLS as usize).then_some(all)
    });
    let Some(all) = done else { panic!("not all finished: {:#?}\n{}", sessions(&world), daemon.said()) };
    let (now, peak) = resident_kib(&daemon);
    println!("{CRAWLS} crawls, {at_once} seen active at once; resident {now} KiB, at most {peak} KiB");
    assert!(at_once > CRAWLS as usize / 2, "only {at_once} ran at once");
    assert!(peak < RESIDENT_MAX_KIB, "{peak} KiB for {CRAWLS} crawls");
    daemon.signal(Signal::TERM);
    daemon.wait(Duration::from_secs(30)).expect_code(0);
    for session in all {
        let (id, task) = (session["session_id"].as_str().expect("id"), session["task_id"].as_str().expect("task"));
        let site = &sites[task];
        let crawl = Crawl::read(&world.state.join("sessions").join(id).join("out"), &site.url);
        crawl.check_consistent();
        crawl.check_against(site, false);
        crawl.check_counters(task, &session["counters"]);
    }
    world.verify();
}

fn site() -> Site {
    let latency = Duration::from_millis(100);
    Site::start(Config { latency, ..Config::plain(PAGES) }).expect("a free port on loopback")
}

fn sessions(world: &World) -> Vec<Value> {
    let asked = world.crawld(&["sessions", "--json"]).run();
    let document: Value = serde_json::from_str(&asked.stdout).unwrap_or_default();
    document["sessions"].as_array().cloned().unwrap_or_default()
}

/// Resident memory of a process, now and at most ever.
fn resident_kib(child: &Child) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{}/status", child.pid)).expect("a living process");
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).expect("a field of /proc/PID/status");
        line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number")
    };
    (field("VmRSS:"), field("VmHWM:"))
}
