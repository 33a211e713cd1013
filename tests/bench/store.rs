//! The store's numbers: full steps a second, bytes a URL, reopening, and what a reader costs.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use crawld::crawl::committer::{Batch, LeaseWish, OpenSession, Opened, StorePaths, create_session, open_session};
use crawld::crawl::rebuild::{Remembered, rebuild};
use crawld::crawl::verify::verify;
use crawld::model::ids::HostNo;
use crawld::model::lease::{Lease, Links, NewUrl, UrlKind, VisitEnd};
use crawld::model::outcome::{Outcome, OutcomeKind};
use crawld::model::record::{PAGE_FORMAT, PageRecord};
use crawld::model::task::ScopeSpec;
use crawld::model::time::Timestamp;
use crawld::model::url::CanonicalUrl;
use crawld::store::reader::Reader;

const HOSTS: u64 = 1_000;
const STEPS: usize = 40_000;
const GROUP: usize = 64;

/// Measures at `CRAWLD_BENCH_URLS` URLs (1,000,000 unless told) and prints each number with its bar.
pub fn run() {
    let urls = std::env::var("CRAWLD_BENCH_URLS").ok().and_then(|v| v.parse().ok()).unwrap_or(1_000_000u64);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let opened = create_session(how(dir.path())).expect("a new session");
    let started = Instant::now();
    runtime.block_on(fill(&opened, urls));
    let rate = urls as f64 / started.elapsed().as_secs_f64();
    println!("store: filled {urls} URLs at {rate:.0}/s");
    let slowest = runtime.block_on(steps(&opened, dir.path(), urls));
    runtime.block_on(opened.committer.close()).expect("a clean close");
    let db = paths(dir.path()).db;
    let (_, counters) = Reader::open(&db).and_then(|reader| reader.counters()).expect("counters");
    let bytes = db.metadata().expect("the store").len() as f64 / counters.discovered as f64;
    bar("store bytes a URL (84-byte URLs)", bytes, 200.0, false);
    bar("slowest commit beside a reader, ms", slowest.as_secs_f64() * 1e3, 50.0, false);
    let started = Instant::now();
    let opened = open_session(how(dir.path())).expect("opens again");
    let mut batch = Batch::new(now());
    batch.leases.push(LeaseWish { host: 1, suspects: false, count: 1 });
    runtime.block_on(opened.handle.commit(batch)).expect("a lease");
    bar("reopening to first lease, s", started.elapsed().as_secs_f64(), 2.0, false);
    drop(opened.handle);
    opened.committer.abandon();
    let started = Instant::now();
    let report = verify(&paths(dir.path())).expect("verifies");
    assert!(report.sound(), "{:#?}", report.problems);
    bar("verify, s", started.elapsed().as_secs_f64(), 60.0, false);
    let started = Instant::now();
    let report = rebuild(&paths(dir.path()), &Remembered::default(), now(), &mut |_| {}).expect("rebuilds");
    assert_eq!(report.urls, counters.discovered);
    bar("rebuild, s", started.elapsed().as_secs_f64(), 60.0, false);
}

fn bar(what: &str, value: f64, bar: f64, at_least: bool) {
    let met = if at_least { value >= bar } else { value <= bar };
    let sign = if at_least { ">=" } else { "<=" };
    println!("store: {what}: {value:.1} (bar {sign} {bar:.0}) {}", if met { "met" } else { "MISSED" });
}

fn now() -> Timestamp {
    Timestamp::from_millis(1_763_720_000_000)
}

fn paths(root: &Path) -> StorePaths {
    StorePaths { db: root.join("frontier.db"), out: root.join("out"), quarantine: root.join("quarantine") }
}

fn how(root: &Path) -> OpenSession {
    OpenSession {
        paths: paths(root),
        scope: ScopeSpec::default(),
        seeds: Vec::new(),
        started: Some(Vec::new()),
        blame: None,
        epoch_known: 0,
        cache_bytes: 256 << 20,
        segment_bytes: 256 << 20,
        now: now(),
    }
}

/// An 84-byte URL.
fn url(host: u64, n: u64) -> NewUrl {
    let text = format!("https://host{host:06}.example/a-directory-name/of-usual/length-with/page-number-{n:012}");
    let url = CanonicalUrl::parse(&text).expect("a URL");
    NewUrl { url, kind: UrlKind::Page, depth: 1, hops: 0, park: None, template: None, query: None }
}

async fn fill(opened: &Opened, urls: u64) {
    for first in (0..urls).step_by(1_000) {
        let mut batch = Batch::new(now());
        batch.seeds = (first..(first + 1_000).min(urls)).map(|i| url(i / 1_000 % HOSTS, i)).collect();
        opened.handle.commit(batch).await.expect("seeds");
    }
}

/// Full steps: lease, end, 20 links of which 16 are known and most on the same host. Answers the slowest
/// commit while a reader took snapshots.
async fn steps(opened: &Opened, root: &Path, urls: u64) -> Duration {
    let mut next = urls;
    let mut leases: Vec<Lease> = Vec::new();
    let mut done = 0;
    let mut slowest = Duration::ZERO;
    let reader = Reader::open(&paths(root).db).expect("a reader");
    let started = Instant::now();
    let mut random = fastrand::Rng::with_seed(7);
    while done < STEPS {
        let mut batch = Batch::new(now());
        for lease in leases.drain(..) {
            done += 1;
            batch.ends.push(end(lease, &mut random, &mut next, urls));
        }
        for _ in 0..GROUP {
            let host = HostNo::try_from(random.u64(1..=HOSTS.min(urls.div_ceil(1_000)))).expect("few hosts");
            batch.wish(host, false);
        }
        let beside = random.usize(..50) == 0;
        let committed = if beside {
            let commit = opened.handle.commit(batch);
            let snapshot =
                async { reader.snapshot(|r| r.waiting_hosts().and(r.newest_failed(1_000)).and(r.in_flight())) };
            let (committed, seen) = tokio::join!(commit, snapshot);
            seen.expect("a snapshot");
            committed
        } else {
            opened.handle.commit(batch).await
        };
        let committed = committed.expect("a commit");
        slowest = slowest.max(if beside { committed.latency } else { Duration::ZERO });
        leases = committed.leases;
    }
    bar("full steps a second, groups of 64", done as f64 / started.elapsed().as_secs_f64(), 4_000.0, true);
    let batch =
        Batch { ends: leases.into_iter().map(|lease| VisitEnd::Released { lease }).collect(), ..Batch::new(now()) };
    opened.handle.commit(batch).await.expect("released");
    slowest
}

fn end(lease: Lease, random: &mut fastrand::Rng, next: &mut u64, urls: u64) -> VisitEnd {
    let host = u64::from(lease.host) - 1;
    let mut accepted = Vec::with_capacity(20);
    for i in 0..20 {
        let of = if i < 15 { host } else { random.u64(..HOSTS.min(urls.div_ceil(1_000))) };
        let n = if i % 5 == 0 {
            *next += 1;
            *next
        } else {
            of * 1_000 + random.u64(..1_000)
        };
        accepted.push(url(of, n));
    }
    let links = Links { accepted, out_of_scope: 2, seen: 22 };
    let record = Box::new(record(&lease));
    VisitEnd::Ended { lease, outcome: Outcome::Fetched, record, links, target: None }
}

fn record(lease: &Lease) -> PageRecord {
    PageRecord {
        format: PAGE_FORMAT,
        n: lease.no,
        url: lease.url.as_str().to_owned(),
        final_url: None,
        outcome: OutcomeKind::Fetched,
        failure_class: None,
        skip_reason: None,
        kind: lease.kind,
        http_status: Some(200),
        content_type: Some("text/html".to_owned()),
        title: Some("A title of usual length for a page".to_owned()),
        text: None,
        depth: lease.depth,
        via: lease.via,
        attempt: lease.attempt,
        epoch: lease.epoch,
        fetched_at: now(),
        duration_ms: 250,
        ttfb_ms: Some(80),
        bytes: Some(40_000),
        links_found: 22,
        links_added: 0,
        digest: None,
        fields: BTreeMap::new(),
        error: None,
        truncated: false,
        supersedes: None,
        commit_seq: 0,
    }
}
