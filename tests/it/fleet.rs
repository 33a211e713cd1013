//! Fifty crawls at once in one daemon: all finish, each complete, in bounded memory.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::site::{Config, Site};
use crate::support::door::Door;
use crate::support::oracle::Crawl;
use crate::support::world::Fetch;
use crate::support::{Child, World, poll};

/// Crawls at once.
const CRAWLS: u32 = 50;
/// Pages of each site besides its first.
const PAGES: u32 = 30;
/// What fifty sessions with nothing to do may cost the daemon, as a share of one core. An optimised build is
/// bound to 0.5 % by the benchmark; this build is none, and its machine may be busy.
const IDLE_MAX: f64 = 0.05;
/// For how long it is watched: two and a half rounds of everything that goes round.
const WATCHED: Duration = Duration::from_secs(5);
/// Of `/proc/PID/stat`, on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;
/// What the daemon may take of memory in all: under 10 MiB a session.
const RESIDENT_MAX_KIB: u64 = 10 * 1024 * CRAWLS as u64;

#[test]
fn fifty_crawls_at_once_finish_in_one_daemon() {
    let world = World::new(Config::plain(1), Fetch::Http);
    let tasks = world.path().join("tasks");
    fs::create_dir(&tasks).expect("folder of the tasks");
    // One page of each site is held until all of them are crawled: none ends before the last has begun.
    let (sites, door) = sites();
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
    let in_state = |all: &[Value], status: &str| all.iter().filter(|session| session["status"] == status).count();
    door.expect_knocks(CRAWLS);
    poll::expect("all crawls to run at once", Duration::from_secs(10), || {
        (in_state(&sessions(&world), "active") == CRAWLS as usize).then_some(())
    });
    door.open();
    let done = poll::until(Duration::from_secs(120), || {
        let all = sessions(&world);
        (in_state(&all, "completed") == CRAWLS as usize).then_some(all)
    });
    let Some(all) = done else { panic!("not all finished: {:#?}\n{}", sessions(&world), daemon.said()) };
    let (now, peak) = resident_kib(&daemon);
    println!("{CRAWLS} crawls at once; resident {now} KiB, at most {peak} KiB");
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

/// The sites, each with a page behind the one door, which is dropped first.
fn sites() -> (BTreeMap<String, Site>, Door) {
    let door = Door::closed();
    let latency = Duration::from_millis(100);
    let site =
        || Site::start(door.before(Config { latency, ..Config::plain(PAGES) })).expect("a free port on loopback");
    let sites = (1..=CRAWLS).map(|n| (format!("site-{n:02}"), site())).collect();
    (sites, door)
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

#[test]
fn fifty_idle_sessions_cost_next_to_nothing() {
    let world = World::new(Config::plain(200), Fetch::Http);
    let tasks = world.path().join("tasks");
    fs::create_dir(&tasks).expect("folder of the tasks");
    // One page of one host, then nothing to do for an hour for all of them: they share its politeness.
    for n in 0..CRAWLS {
        let seed = world.site.at("/");
        let text = format!(
            "seeds = [\"{seed}\"]\n[fetch]\nmode = \"http\"\n[politeness]\ndelay = \"1h\"\nmax_delay = \"1h\"\nrobots = \"ignore\"\n"
        );
        fs::write(tasks.join(format!("idle-{n:02}.toml")), text).expect("task file");
    }
    let daemon = world
        .crawld(&["run"])
        .env("CRAWLD_TASKS_DIR", &tasks)
        .env("CRAWLD_SESSIONS_AT_ONCE", CRAWLS.to_string())
        .spawn();
    poll::expect("fifty sessions at rest", Duration::from_secs(120), || {
        let all = sessions(&world);
        let active = all.iter().filter(|session| session["status"] == "active").count();
        let fetched: u64 = all.iter().filter_map(|session| session["counters"]["fetched"].as_u64()).sum();
        (active == CRAWLS as usize && fetched > 0).then_some(())
    });
    let before = cpu_ticks(&daemon);
    std::thread::sleep(WATCHED);
    let used = (cpu_ticks(&daemon) - before) as f64 / TICKS_PER_SECOND;
    let share = used / WATCHED.as_secs_f64();
    println!("{CRAWLS} idle sessions: {:.2} % of a core", share * 100.0);
    assert!(share <= IDLE_MAX, "{:.1} % of a core for nothing", share * 100.0);
    daemon.signal(Signal::TERM);
    daemon.wait(Duration::from_secs(60)).expect_code(0);
}

/// CPU time of a process so far, user and system.
fn cpu_ticks(child: &Child) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.pid)).expect("a living process");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    [11, 12].iter().map(|at| fields[*at].parse::<u64>().expect("a number")).sum()
}
