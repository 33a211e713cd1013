//! A real daemon with 1,000,000 URLs: memory, answers, restarts after kill -9, idling.

use std::time::{Duration, Instant};

use super::daemon::{Daemon, Place};
use super::idle;
use super::report::{Bar, Report};
use super::site::Site;

/// Hosts, each an address of loopback.
const HOSTS: u64 = 100;
/// Links on an index page.
const LINKS: u64 = 1_000;
/// Bytes of a URL.
const URL_BYTES: usize = 84;
/// Memory is watched for this long after the last URL was discovered.
const WATCHED: Duration = Duration::from_secs(10);
/// New connections to the socket.
const CONNECTIONS: usize = 200;
const RESTARTS: usize = 5;
/// For a start to fetch its first page, or a million URLs to be discovered: longer is stuck.
const STUCK: Duration = Duration::from_secs(900);

/// Measures at `CRAWLD_BENCH_URLS` URLs (1,000,000 unless told).
pub fn run(report: &mut Report) {
    let urls = super::store::urls();
    let site = Site::start(move |port, host, path| page(urls, port, host, path));
    let place = Place::new();
    let seed = format!("http://127.0.0.1:{}/", site.port());
    let args = [
        "crawl",
        &seed,
        "--fetch",
        "http",
        "--scope",
        "any",
        "--allow-private-networks",
        "127.0.0.0/8",
        "--delay",
        "0ms",
        "--per-host",
        "4",
        "--tabs",
        "32",
        "--json",
        "--quiet",
    ];
    let started = Instant::now();
    let mut daemon = place.spawn(&args);
    let all = |session: &serde_json::Value| session["counters"]["discovered"].as_u64() >= Some(urls);
    if daemon.until(STUCK, all).is_none() {
        panic!("{urls} URLs were not discovered: {:?} {}", daemon.session(), place.said());
    }
    let rate = urls as f64 / started.elapsed().as_secs_f64();
    report.number("discovered by a crawl over http", rate, "URLs/s", Bar::None);
    memory(report, &daemon);
    answers(report, &daemon);
    let daemon = restarts(report, &place, &site, &args, daemon);
    paused(report, &place, daemon);
}

/// The root names the index pages, an index page the pages behind it, a page its neighbours.
fn page(urls: u64, port: u16, host: &str, path: &str) -> Option<(&'static str, Vec<u8>)> {
    let indexes = (urls - 1).div_ceil(LINKS + 1);
    let leaves = urls - 1 - indexes;
    let n: Option<u64> = path.rsplit('-').next().and_then(|digits| digits.parse().ok());
    let links: Vec<String> = match n {
        None if path == "/" && host == "127.0.0.1" => (0..indexes).map(|i| url(port, i, "index", i)).collect(),
        Some(i) if path.starts_with("/index") => {
            (i * LINKS..((i + 1) * LINKS).min(leaves)).map(|n| url(port, n / LINKS, "leaves", n)).collect()
        }
        Some(n) if path.starts_with("/leaves") => {
            let around = n / LINKS * LINKS;
            (1..=16)
                .map(|k| around + (n + k * 31) % LINKS)
                .filter(|m| *m < leaves)
                .map(|m| url(port, m / LINKS, "leaves", m))
                .collect()
        }
        _ => return None,
    };
    let mut body = format!("<!doctype html><title>Page {path}</title><h1>Page</h1>\n");
    for link in links {
        body.push_str(&format!("<p>Some words around <a href=\"{link}\">a link</a> of this page.\n"));
    }
    Some(("text/html; charset=utf-8", body.into_bytes()))
}

fn url(port: u16, host: u64, kind: &str, n: u64) -> String {
    let start = format!("http://127.0.1.{}:{port}/{kind}/of-usual/length-with/page-", 1 + host % HOSTS);
    let width = URL_BYTES.saturating_sub(start.len());
    format!("{start}{n:0width$}")
}

fn memory(report: &mut Report, daemon: &Daemon) {
    let end = Instant::now() + WATCHED;
    let mut most = 0;
    while Instant::now() < end {
        most = most.max(daemon.memory().0);
        std::thread::sleep(Duration::from_millis(100));
    }
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    report.number("resident memory at 1 M URLs, crawling", mib(most), "MiB", Bar::AtMost(300.0));
    report.number("resident memory, peak of the life so far", mib(daemon.memory().1), "MiB", Bar::AtMost(300.0));
}

fn answers(report: &mut Report, daemon: &Daemon) {
    let mut took: Vec<f64> =
        (0..CONNECTIONS).map(|_| daemon.ask("GET", "/health").expect("an answer").1.as_secs_f64() * 1e3).collect();
    took.sort_by(f64::total_cmp);
    let at = |share: usize| took[(took.len() * share).div_ceil(100) - 1];
    report.number("connect and answer while crawling, median", at(50), "ms", Bar::AtMost(10.0));
    report.number("connect and answer while crawling, p99 of 200", at(99), "ms", Bar::AtMost(10.0));
}

/// Kills and starts again; the crawl goes on in the daemon that is returned.
fn restarts(report: &mut Report, place: &Place, site: &Site, args: &[&str], mut daemon: Daemon) -> Daemon {
    let mut slowest = Duration::ZERO;
    for _ in 0..RESTARTS {
        daemon.kill();
        // What the dead one had sent is answered before the clock starts.
        let quiet = site.asked();
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(site.asked(), quiet, "a killed crawl still asks");
        site.listen_for_next();
        let started = Instant::now();
        daemon = place.spawn(args);
        let end = started + STUCK;
        let first = loop {
            if let Some(at) = site.next_request() {
                break at - started;
            }
            assert!(Instant::now() < end && !daemon.ended(), "no page was asked for: {}", place.said());
            std::thread::sleep(Duration::from_millis(2));
        };
        slowest = slowest.max(first);
        // Some commits of its own, so that the next kill finds a log to fold in.
        std::thread::sleep(Duration::from_secs(3));
    }
    let what = format!("kill -9 to the first page asked for, worst of {RESTARTS}");
    report.number(what, slowest.as_secs_f64(), "s", Bar::AtMost(2.0));
    daemon
}

/// Pauses the session, stops, and watches the daemon that finds it so. The store is weighed in between.
fn paused(report: &mut Report, place: &Place, daemon: Daemon) {
    let session = daemon.session().expect("a session");
    let id = session["session_id"].as_str().expect("an id").to_owned();
    daemon.ask("POST", &format!("/sessions/{id}/pause")).expect("paused");
    let discovered = daemon.session().expect("a session")["counters"]["discovered"].as_f64().expect("a number");
    daemon.stop();
    let store = place.state().join("sessions").join(&id).join("frontier.db");
    let bytes = store.metadata().expect("a store").len() as f64;
    report.number("frontier.db after that crawl, 84-byte URLs", bytes / discovered, "bytes a URL", Bar::AtMost(200.0));
    let mut daemon = place.spawn(&["run", "--quiet"]);
    let is_paused = |session: &serde_json::Value| session["status"] == "paused";
    if daemon.until(Duration::from_secs(60), is_paused).is_none() {
        panic!("the session is not paused: {:?} {}", daemon.session(), place.said());
    }
    idle::watch(report, "idle daemon, one paused session of 1 M URLs", &daemon);
    daemon.stop();
}
