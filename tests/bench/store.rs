//! The store's numbers: full steps a second, bytes a URL, reopening, and what a checkpoint costs a commit.

use std::path::Path;
use std::time::{Duration, Instant};

use crawld::crawl::committer::{Batch, LeaseWish, OpenSession, Opened, StorePaths, create_session, open_session};
use crawld::crawl::rebuild::{Remembered, rebuild};
use crawld::crawl::verify::verify;
use crawld::model::ids::{HostNo, SessionId};
use crawld::model::lease::{Lease, Links, NewUrl, UrlKind, VisitEnd};
use crawld::model::outcome::Outcome;
use crawld::model::record::PageRecord;
use crawld::model::task::ScopeSpec;
use crawld::model::time::Timestamp;
use crawld::model::url::CanonicalUrl;
use crawld::state::StateDir;
use crawld::state::paths::SessionPaths;
use crawld::store::reader::Reader;

use super::checkpoint;
use super::daemon::Place;
use super::report::{Bar, Report};

const HOSTS: u64 = 1_000;
const STEPS: usize = 40_000;
const GROUP: usize = 64;
/// What the daemon gives a crawl that it has to itself.
const CACHE_BYTES: u64 = 64 << 20;

/// The number of URLs to measure with: `CRAWLD_BENCH_URLS`, or 1,000,000.
pub fn urls() -> u64 {
    std::env::var("CRAWLD_BENCH_URLS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000)
}

/// The committer alone, grouped as in a crawl, with the page cache that a session of the daemon gets.
pub fn run(report: &mut Report) {
    let urls = urls();
    let place = Place::new();
    let dir = session(place.path());
    dir.create().expect("a directory for the session");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let opened = create_session(how(&dir)).expect("a new session");
    let started = Instant::now();
    runtime.block_on(fill(&opened, urls));
    let rate = urls as f64 / started.elapsed().as_secs_f64();
    report.number("store: new URLs, groups of 1,000", rate, "/s", Bar::None);
    let (rate, mut steps) = runtime.block_on(full_speed(&opened, urls));
    report.number("store: full steps at 1 M URLs, groups of 64", rate, "/s", Bar::AtLeast(4_000.0));
    report.number("store: CPU of the one writer a full step", steps.cpu_us, "us", Bar::None);
    checkpoint::measure(report, &runtime, &opened, &dir, &mut steps);
    runtime.block_on(steps.release(&opened));
    runtime.block_on(opened.committer.close()).expect("a clean close");
    let db = dir.store();
    let (_, counters) = Reader::open(&db).and_then(|reader| reader.counters()).expect("counters");
    let bytes = db.metadata().expect("the store").len() as f64 / counters.discovered as f64;
    report.number("store: frontier.db, 84-byte URLs", bytes, "bytes a URL", Bar::AtMost(200.0));
    let started = Instant::now();
    let opened = open_session(how(&dir)).expect("opens again");
    let mut batch = Batch::new(now());
    batch.leases.push(LeaseWish { host: 1, suspects: false, count: 1 });
    runtime.block_on(opened.handle.commit(batch)).expect("a lease");
    report.number("store: reopening to first lease", started.elapsed().as_secs_f64(), "s", Bar::AtMost(2.0));
    drop(opened.handle);
    drop(opened.committer);
    let started = Instant::now();
    let sound = verify(&paths(&dir)).expect("verifies");
    assert!(sound.sound(), "{:#?}", sound.problems);
    report.number("store: verify", started.elapsed().as_secs_f64(), "s", Bar::None);
    let started = Instant::now();
    let rebuilt = rebuild(&paths(&dir), &Remembered::default(), now(), &mut |_| {}).expect("rebuilds");
    assert_eq!(rebuilt.urls, counters.discovered);
    report.number("store: rebuild from the outputs", started.elapsed().as_secs_f64(), "s", Bar::None);
}

pub(super) fn now() -> Timestamp {
    Timestamp::from_millis(1_763_720_000_000)
}

fn session(root: &Path) -> SessionPaths {
    let dir = StateDir::open(&root.join("state")).expect("a state directory");
    dir.session(&SessionId::new(now().millis(), 7))
}

fn paths(dir: &SessionPaths) -> StorePaths {
    StorePaths { db: dir.store(), out: dir.out(), quarantine: dir.damaged() }
}

fn how(dir: &SessionPaths) -> OpenSession {
    OpenSession {
        rescoped: None,
        paths: paths(dir),
        scope: ScopeSpec::default(),
        seeds: Vec::new(),
        started: Some(Vec::new()),
        blame: None,
        epoch_known: 0,
        cache_bytes: CACHE_BYTES,
        segment_bytes: 256 << 20,
        now: now(),
    }
}

/// An 84-byte URL.
fn url(host: u64, n: u64) -> NewUrl {
    let text = format!("https://host{host:06}.example/a-directory-name/of-usual/length-with/page-number-{n:012}");
    let url = CanonicalUrl::parse(&text).expect("a URL");
    NewUrl { key: url.key(), url, kind: UrlKind::Page, depth: 1, hops: 0, park: None, template: None, query: None }
}

async fn fill(opened: &Opened, urls: u64) {
    for first in (0..urls).step_by(1_000) {
        let mut batch = Batch::new(now());
        batch.seeds = (first..(first + 1_000).min(urls)).map(|i| url(i / 1_000 % HOSTS, i)).collect();
        opened.handle.commit(batch).await.expect("seeds");
    }
}

async fn full_speed(opened: &Opened, urls: u64) -> (f64, Steps) {
    let random = fastrand::Rng::with_seed(7);
    let mut steps = Steps { urls, next: urls, leases: Vec::new(), ended: Vec::new(), random, cpu_us: 0.0 };
    let (mut done, started, before) = (0, Instant::now(), writers_cpu());
    while done < STEPS {
        done += steps.commit(opened).await.0;
    }
    steps.cpu_us = (writers_cpu() - before).as_secs_f64() * 1e6 / done as f64;
    (done as f64 / started.elapsed().as_secs_f64(), steps)
}

/// CPU time of the committer's thread in this process so far.
fn writers_cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("threads").flatten();
    let writers = tasks.filter(|task| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim_end() == "committer")
    });
    let ran = writers.filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
    ran.filter_map(|stat| stat.split(' ').next()?.parse().ok()).map(Duration::from_nanos).sum()
}

/// A crawl without a network: what is leased is ended by the next commit.
pub(super) struct Steps {
    urls: u64,
    next: u64,
    leases: Vec<Lease>,
    ended: Vec<VisitEnd>,
    random: fastrand::Rng,
    cpu_us: f64,
}

impl Steps {
    /// Ends what is leased, each with 20 links of which 16 are known and most on the same host, and leases
    /// as much again. Answers how many ended, and how long the commit took from arrival to durability.
    pub(super) async fn commit(&mut self, opened: &Opened) -> (usize, Duration) {
        let mut batch = Batch::new(now());
        batch.ends = std::mem::take(&mut self.ended);
        let ended = batch.ends.len();
        let hosts = HOSTS.min(self.urls.div_ceil(1_000));
        for _ in 0..GROUP {
            batch.wish(HostNo::try_from(self.random.u64(1..=hosts)).expect("few hosts"), false);
        }
        let leases = std::mem::take(&mut self.leases);
        // As in a crawl: while one group is committed, the workers sort the links of the next.
        let next = async { leases.into_iter().map(|lease| self.end(lease)).collect() };
        let (committed, next) = tokio::join!(opened.handle.commit(batch), next);
        let committed = committed.expect("a commit");
        self.ended = next;
        self.leases = committed.leases;
        (ended, committed.latency)
    }

    /// Gives back what is leased.
    async fn release(self, opened: &Opened) {
        let ends = self.leases.into_iter().map(|lease| VisitEnd::Released { lease }).chain(self.ended).collect();
        opened.handle.commit(Batch { ends, ..Batch::new(now()) }).await.expect("released");
    }

    fn end(&mut self, lease: Lease) -> VisitEnd {
        let host = u64::from(lease.host) - 1;
        let mut accepted = Vec::with_capacity(20);
        for i in 0..20 {
            let of = if i < 15 { host } else { self.random.u64(..HOSTS.min(self.urls.div_ceil(1_000))) };
            let n = if i % 5 == 0 {
                self.next += 1;
                self.next
            } else {
                of * 1_000 + self.random.u64(..1_000)
            };
            accepted.push(url(of, n));
        }
        let links = Links { accepted, out_of_scope: 2, seen: 22 };
        let record = Box::new(record(&lease));
        VisitEnd::Ended { lease, outcome: Outcome::Fetched, record, links, target: None }
    }
}

fn record(lease: &Lease) -> PageRecord {
    PageRecord {
        n: lease.no,
        kind: lease.kind,
        http_status: Some(200),
        content_type: Some("text/html".to_owned()),
        title: Some("A title of usual length for a page".to_owned()),
        depth: lease.depth,
        via: lease.via,
        attempt: lease.attempt,
        epoch: lease.epoch,
        duration_ms: 250,
        ttfb_ms: Some(80),
        bytes: Some(40_000),
        links_found: 22,
        ..PageRecord::new(&lease.url, Outcome::Fetched, now())
    }
}
