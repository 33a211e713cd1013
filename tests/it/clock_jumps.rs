//! The wall clock jumps under a running crawl: it goes on, ends complete, and its active time stays believable.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crawld::clock::Clock;
use crawld::crawl::governor::HostGovernor;
use crawld::crawl::handle::SessionHandle;
use crawld::crawl::load::Load;
use crawld::crawl::session::{self, Env, Opening, SessionEnd, Settings};
use crawld::fetch::RobotsCache;
use crawld::model::session::{SessionStatus, StopReason};
use crawld::model::task::StoredTask;
use crawld::state::StateDir;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc, watch};

use crate::site::{Config, Site};
use crate::support::oracle::Crawl;

const DAY_MS: i64 = 86_400_000;

#[test]
fn forth_and_back_by_weeks() {
    check("a month ahead, then back", &[(15, 30 * DAY_MS), (40, -30 * DAY_MS)]);
    check("back by a month", &[(15, -30 * DAY_MS)]);
    check("back and forth by an hour", &[(10, -3_600_000), (25, 3_600_000), (45, -3_600_000), (60, 3_600_000)]);
}

/// Crawls a site; at each number of fetched pages the clock moves by so many milliseconds.
#[track_caller]
fn check(name: &str, jumps: &[(u64, i64)]) {
    let latency = Duration::from_millis(5);
    let site = Site::start(Config { latency, ..Config::plain(80) }).expect("a free port on loopback");
    let temp = tempfile::tempdir().expect("temporary directory");
    let dir = StateDir::open(temp.path()).expect("state directory");
    let task = task(&site);
    let paths = dir.session(&task.session_id);
    let clock = Clock::system();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    let began = Instant::now();
    let (end, active) = runtime.block_on(async {
        let (_load, seen) = watch::channel(Load { share: 4, ..Load::default() });
        let opened = session::open(env(&clock, &dir, &task, seen), task, Opening::Create).await.expect("it opens");
        let running = tokio::spawn(opened.run);
        for (fetched, by_ms) in jumps {
            until_fetched(&opened.handle, *fetched).await;
            clock.shift(*by_ms);
        }
        let end = tokio::time::timeout(Duration::from_secs(30), running).await;
        let end: SessionEnd = end.unwrap_or_else(|_| panic!("{name}: it stands still")).expect("no panic");
        (end, opened.handle.snapshot().active_seconds)
    });
    assert_eq!((end.status, end.reason), (SessionStatus::Completed, StopReason::Finished), "{name}: {end:?}");
    assert!(active <= began.elapsed().as_secs_f64() + 2.0, "{name}: active for {active} s");
    let crawl = Crawl::read(&paths.out(), &site.url);
    crawl.check_consistent();
    crawl.check_against(&site, false);
}

async fn until_fetched(handle: &SessionHandle, pages: u64) {
    let enough = async {
        while handle.snapshot().counters.fetched < pages {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), enough).await.expect("the crawl goes on");
}

fn task(site: &Site) -> StoredTask {
    serde_json::from_value(json!({
        "format": crawld::model::task::TASK_FORMAT,
        "session_id": "session_1_aaaaaaaa",
        "task_id": "jumps",
        "task_hash": "sha256:00",
        "origin": "command",
        "created_at": "2026-01-01T00:00:00Z",
        "named_private": [],
        "spec": {
            "seeds": [site.at("/")],
            "fetch": { "mode": "http" },
            "politeness": { "delay": "10ms", "per_host": 4 },
            "allow_private_networks": ["127.0.0.0/8"],
        },
    }))
    .expect("a task")
}

fn env(clock: &Clock, dir: &StateDir, task: &StoredTask, load: watch::Receiver<Load>) -> Env {
    crawld::fetch::install_tls_provider();
    Env {
        clock: clock.clone(),
        paths: dir.session(&task.session_id),
        governor: HostGovernor::default(),
        robots: Arc::new(RobotsCache::default()),
        browsers: None,
        slots: Arc::new(Semaphore::new(8)),
        tabs: Arc::new(Semaphore::new(1)),
        load,
        settings: Settings {
            checkpoint_every: Duration::from_secs(300),
            heartbeat_every: Duration::from_secs(60),
            health_every: Duration::from_secs(30),
            max_duration: Duration::from_secs(86_400),
            inline_urls: 100,
            max_visits: 8,
            cache_bytes: 1 << 20,
            segment_bytes: 256 << 20,
            command: "crawl".to_owned(),
        },
        alerts: mpsc::channel(8).0,
        announce: None,
        turned: Box::new(|| {}),
    }
}
