//! Scenarios of opening, committing, crashing, damage and repair.

mod damage;
mod lost_stores;
mod sitemaps;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{RwLock, RwLockReadGuard};

use super::*;
use crate::model::counters::Counters;
use crate::model::lease::{HostUpdate, Lease, Links, NewUrl, RedirectTarget, UrlKind, VisitEnd};
use crate::model::outcome::{FailureClass, Outcome, SkipReason};
use crate::model::record::PageRecord;
use crate::model::task::ScopeSpec;
use crate::model::time::Timestamp;
use crate::model::url::CanonicalUrl;
use crate::state::inflight::Started;
use crate::store::reader::Reader;
use crate::store::schema::UrlState;

/// A test that makes calls fail has the points for itself: they belong to the whole process.
static POINTS_IN_USE: RwLock<()> = RwLock::new(());

enum Turn {
    #[expect(dead_code, reason = "held, not read")]
    Shared(RwLockReadGuard<'static, ()>),
    #[cfg(feature = "failpoints")]
    #[expect(dead_code, reason = "held, not read")]
    Alone(std::sync::RwLockWriteGuard<'static, ()>),
}

pub(super) struct World {
    dir: tempfile::TempDir,
    _turn: Turn,
    pub(super) opened: Option<Opened>,
    pub(super) segment_bytes: u64,
    pub(super) scope: ScopeSpec,
}

pub(super) fn url(text: &str) -> NewUrl {
    let url = CanonicalUrl::parse(&format!("http://h.example{text}")).unwrap();
    NewUrl { key: url.key(), url, kind: UrlKind::Page, depth: 1, hops: 0, park: None, template: None, query: None }
}

pub(super) fn record(lease: &Lease) -> PageRecord {
    PageRecord {
        n: lease.no,
        kind: lease.kind,
        http_status: Some(200),
        title: Some("A title".to_owned()),
        depth: lease.depth,
        via: lease.via,
        attempt: lease.attempt,
        epoch: lease.epoch,
        duration_ms: 1,
        bytes: Some(10),
        ..PageRecord::new(&lease.url, Outcome::Fetched, Timestamp::from_millis(1))
    }
}

pub(in crate::crawl) fn ended(lease: &Lease, outcome: Outcome, links: &[&str]) -> VisitEnd {
    let mut record = record(lease);
    record.outcome = outcome.kind();
    match outcome {
        Outcome::Failed(class) => record.failure_class = Some(class),
        Outcome::Skipped(reason) => record.skip_reason = Some(reason),
        Outcome::Fetched => {}
    }
    let accepted = links.iter().map(|l| url(l)).collect::<Vec<_>>();
    let links = Links { seen: accepted.len() as u64 + 1, out_of_scope: 1, accepted };
    VisitEnd::Ended { lease: lease.clone(), outcome, record: Box::new(record), links, target: None }
}

pub(in crate::crawl) fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

impl World {
    pub(super) fn new(seeds: &[&str]) -> Self {
        // A panic in another test leaves nothing behind that matters here.
        Self::in_turn(seeds, Turn::Shared(POINTS_IN_USE.read().unwrap_or_else(std::sync::PoisonError::into_inner)))
    }

    fn in_turn(seeds: &[&str], turn: Turn) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut world = World { dir, _turn: turn, opened: None, segment_bytes: 1 << 20, scope: ScopeSpec::default() };
        let open = world.how(seeds, Some(Vec::new()), None);
        world.opened = Some(create_session(open).unwrap());
        world
    }

    pub(super) fn paths(&self) -> StorePaths {
        let root = self.dir.path();
        StorePaths { db: root.join("frontier.db"), out: root.join("out"), quarantine: root.join("q") }
    }

    pub(super) fn out(&self, name: &str) -> PathBuf {
        self.paths().out.join(name)
    }

    fn how(&self, seeds: &[&str], started: Option<Vec<Started>>, blame: Option<bool>) -> OpenSession {
        OpenSession {
            rescoped: None,
            paths: self.paths(),
            scope: self.scope.clone(),
            seeds: seeds.iter().map(|s| url(s)).collect(),
            started,
            blame,
            epoch_known: 0,
            cache_bytes: 1 << 20,
            segment_bytes: self.segment_bytes,
            now: at(1_000),
        }
    }

    /// Ends the process as a kill would, without closing anything.
    pub(super) fn crash(&mut self) {
        let Opened { handle, committer, .. } = self.opened.take().unwrap();
        drop(handle);
        drop(committer);
    }

    pub(super) fn try_reopen(
        &mut self,
        started: Option<Vec<Started>>,
        blame: Option<bool>,
    ) -> Result<OpenReport, OpenError> {
        let opened = open_session(self.how(&[], started, blame))?;
        let report = opened.report.clone();
        self.opened = Some(opened);
        Ok(report)
    }

    pub(super) fn reopen(&mut self, started: Option<Vec<Started>>) -> OpenReport {
        self.try_reopen(started, None).unwrap()
    }

    pub(super) fn commit(&self, batch: Batch) -> Result<Committed, CommitError> {
        let handle = self.opened.as_ref().unwrap().handle.clone();
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(handle.commit(batch))
    }

    pub(super) fn close(&mut self) {
        let committer = self.opened.take().unwrap().committer;
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(committer.close()).unwrap();
    }

    pub(super) fn lease(&self, count: u32, now: i64) -> Vec<Lease> {
        self.lease_of(count, false, now)
    }

    fn lease_of(&self, count: u32, suspects: bool, now: i64) -> Vec<Lease> {
        let mut batch = Batch::new(at(now));
        batch.leases.push(LeaseWish { host: 1, suspects, count });
        self.commit(batch).unwrap().leases
    }

    pub(super) fn end(&self, ends: Vec<VisitEnd>) -> Committed {
        self.commit(Batch { ends, ..Batch::new(at(2_000)) }).unwrap()
    }

    pub(super) fn counters(&self) -> Counters {
        self.reader().counters().unwrap().1
    }

    pub(super) fn reader(&self) -> Reader {
        Reader::open(&self.paths().db).unwrap()
    }

    pub(super) fn pages(&self) -> Vec<PageRecord> {
        lines(&self.out("pages-00001.jsonl"))
    }
}

pub(super) fn lines<T: serde::de::DeserializeOwned>(path: &Path) -> Vec<T> {
    let Ok(text) = fs::read_to_string(path) else { return Vec::new() };
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

fn started(lease: &Lease, solo: bool) -> Started {
    Started { no: lease.no, attempt: lease.attempt, solo }
}

#[test]
fn a_crawl_of_three_pages_balances_and_closes_clean() {
    let mut world = World::new(&["/"]);
    let leases = world.lease(4, 0);
    assert_eq!(leases.len(), 1);
    let mut batch = Batch::new(at(5));
    batch.ends.push(ended(&leases[0], Outcome::Fetched, &["/a", "/b", "/a", "/"]));
    batch.leases.push(LeaseWish { host: 1, suspects: false, count: 5 });
    let done = world.commit(batch).unwrap();
    assert_eq!(done.leases.iter().map(|l| l.url.path()).collect::<Vec<_>>(), ["/a", "/b"]);
    assert_eq!((done.counters.discovered, done.counters.in_flight, done.counters.fetched), (3, 2, 1));
    assert_eq!((done.counters.links_seen, done.counters.out_of_scope), (5, 1));
    let ends = vec![
        ended(&done.leases[0], Outcome::Failed(FailureClass::Timeout), &[]),
        ended(&done.leases[1], Outcome::Skipped(SkipReason::Robots), &[]),
    ];
    let done = world.end(ends);
    assert!(done.counters.balanced() && done.counters.remaining() == 0);
    let pages = world.pages();
    assert_eq!(pages.iter().map(|p| (p.n, p.links_added)).collect::<Vec<_>>(), [(1, 2), (2, 0), (3, 0)]);
    assert_eq!(pages[1].commit_seq, done.seq);
    assert_eq!(world.reader().tallies("failed").unwrap().get("timeout"), Some(&1));
    world.close();
    assert!(!world.paths().db.with_extension("db-wal").exists(), "the log is folded in");
    let report = world.reopen(Some(Vec::new()));
    assert!(report.clean);
    assert_eq!(world.opened.as_ref().unwrap().epoch, 2);
}

#[test]
fn what_was_leased_comes_back_marked_only_if_it_had_started() {
    let mut world = World::new(&["/a", "/b", "/c"]);
    let leases = world.lease(3, 0);
    world.crash();
    let report = world.reopen(Some(vec![started(&leases[1], false)]));
    assert_eq!((report.requeued, report.suspects, report.clean), (2, vec![2], false));
    let refused = world.end(vec![ended(&leases[0], Outcome::Fetched, &[])]);
    assert_eq!((refused.refused, refused.counters.fetched), (vec![1], 0), "of a dead epoch");
    assert_eq!(world.lease(9, 0).iter().map(|l| l.no).collect::<Vec<_>>(), [1, 3]);
    let alone = world.lease_of(9, true, 0).remove(0);
    assert!(alone.suspect && alone.no == 2 && alone.attempt == 1 && alone.crashes == (0, 0));
    world.crash();
    world.try_reopen(Some(vec![started(&alone, true)]), Some(true)).unwrap();
    assert_eq!(world.lease_of(1, true, 0)[0].crashes, (1, 0));
    world.crash();
    let report = world.reopen(None);
    assert_eq!(report.suspects, [2], "an unreadable note: all that was leased");
    assert_eq!(world.lease_of(1, true, 0)[0].crashes, (1, 0), "no blame, no count");
}

#[test]
fn retries_wait_for_their_instant_and_come_after_new_urls() {
    let world = World::new(&["/a", "/b"]);
    let lease = world.lease(1, 0).remove(0);
    let retry = |lease: Lease, charged| VisitEnd::Retry {
        lease,
        not_before: at(9_000),
        charged,
        suspect: false,
        crash_alone: None,
    };
    let done = world.end(vec![retry(lease, true)]);
    assert_eq!(done.hosts[0].earliest_retry, None, "a new URL can go at once");
    let other = world.lease(5, 0);
    assert_eq!(other.iter().map(|l| l.no).collect::<Vec<_>>(), [2]);
    let done = world.end(vec![ended(&other[0], Outcome::Fetched, &["/c"])]);
    assert_eq!((done.hosts[0].queued, done.hosts[0].earliest_retry), (2, None));
    let other = world.lease(5, 0);
    assert_eq!(other.iter().map(|l| l.no).collect::<Vec<_>>(), [3]);
    let done = world.end(vec![VisitEnd::Released { lease: other[0].clone() }]);
    assert_eq!(done.counters.visits, 2);
    let other = world.lease(1, 0);
    let done = world.end(vec![ended(&other[0], Outcome::Fetched, &[])]);
    assert_eq!(done.hosts[0].earliest_retry, Some(at(9_000)));
    assert!(world.lease(5, 8_999).is_empty());
    let again = world.lease(5, 9_000).remove(0);
    assert_eq!((again.no, again.attempt), (1, 2));
    assert!(world.lease(5, 9_000).is_empty(), "leased once");
    let done = world.end(vec![retry(again, true)]);
    assert_eq!((done.hosts[0].queued, done.hosts[0].earliest_retry), (1, Some(at(9_000))));
}

#[test]
fn what_is_in_flight_keeps_no_other_waiting() {
    let mut world = World::new(&["/a", "/b"]);
    let retry =
        |(lease, ms)| VisitEnd::Retry { lease, not_before: at(ms), charged: true, suspect: false, crash_alone: None };
    world.end(world.lease(2, 0).into_iter().zip([9_000, 50_000]).map(retry).collect());
    let first = world.lease(2, 9_000);
    assert_eq!(first.iter().map(|lease| lease.no).collect::<Vec<_>>(), [1]);
    let queues = world.reader().waiting_hosts().unwrap();
    assert_eq!((queues[0].queued, queues[0].earliest_retry), (1, Some(at(50_000))));
    assert_eq!(world.commit(Batch::new(at(9_000))).unwrap().hosts, []);
    let states: Vec<_> = world.reader().states(1, 9).unwrap().into_iter().map(|(_, state, _)| state).collect();
    assert_eq!(states, [UrlState::InFlight, UrlState::Queued]);
    assert_eq!(world.reader().in_flight().unwrap().iter().map(|url| url.row.n).collect::<Vec<_>>(), [1]);
    world.crash();
    assert_eq!(world.reopen(Some(Vec::new())).requeued, 1);
    assert!(world.reader().in_flight().unwrap().is_empty());
    assert_eq!(world.lease(2, 9_000).iter().map(|lease| lease.no).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_redirect_target_gets_its_own_record_once() {
    let world = World::new(&["/old", "/new2"]);
    let leases = world.lease(2, 0);
    let redirect = |lease: &Lease, to: &str, links: &[&str]| {
        let mut end = ended(lease, Outcome::Skipped(SkipReason::Redirect), &[]);
        if let VisitEnd::Ended { target, .. } = &mut end {
            let accepted = links.iter().map(|l| url(l)).collect();
            let links = Links { accepted, out_of_scope: 0, seen: 3 };
            *target = Some(Box::new(RedirectTarget { url: url(to), record: record(lease), links }));
        }
        end
    };
    let done = world.end(vec![redirect(&leases[0], "/new", &["/x", "/old"]), redirect(&leases[1], "/new", &["/y"])]);
    assert_eq!(done.targets, [3]);
    assert_eq!((done.counters.discovered, done.counters.fetched, done.counters.skipped), (4, 1, 2));
    let pages = world.pages();
    let brief: Vec<_> = pages.iter().map(|p| (p.n, p.links_added)).collect();
    assert_eq!(brief, [(1, 1), (3, 1), (2, 0)], "the target's URL record is its source's");
}

#[test]
fn commands_release_retry_and_give_up() {
    let world = World::new(&["/a", "/b"]);
    let mut parked = url("/p");
    parked.park = Some(crate::model::outcome::ParkReason::TooLong);
    let done = world.commit(Batch { seeds: vec![parked], ..Batch::new(at(0)) }).unwrap();
    assert_eq!((done.counters.parked, done.counters.queued), (1, 2));
    let ops = |op| Batch { ops: vec![op], ..Batch::new(at(0)) };
    let done = world.commit(ops(StoreOp::FailHost { host: 1 })).unwrap();
    assert_eq!((done.touched, done.counters.failed, done.unfinished.len()), (2, 2, 0));
    let first = world.pages();
    let retry = StoreOp::RetryFailed { class: Some(FailureClass::HostUnreachable), quarantined: false };
    let done = world.commit(ops(retry)).unwrap();
    assert_eq!((done.touched, done.counters.queued), (2, 2));
    let leases = world.lease(1, 0);
    assert_eq!((leases[0].supersedes, leases[0].attempt), (Some(first[0].commit_seq), 1));
    world.end(vec![ended(&leases[0], Outcome::Skipped(SkipReason::Poison), &[])]);
    assert_eq!(world.pages()[2].supersedes, Some(first[0].commit_seq));
    let done = world.commit(ops(StoreOp::ReleaseParked { reason: None })).unwrap();
    assert_eq!((done.touched, done.counters.parked), (1, 0));
    let done = world.commit(ops(StoreOp::RetryFailed { class: None, quarantined: true })).unwrap();
    assert_eq!((done.touched, done.hosts[0].suspects), (1, 1));
    world.commit(ops(StoreOp::paused(true))).unwrap();
    assert_eq!(world.reader().meta().unwrap().get(META_PAUSED).map(String::as_str), Some("1"));
}

#[test]
fn pages_that_were_fetched_are_asked_for_again_before_all_that_is_new() {
    let mut world = World::new(&["/a", "/b", "/c"]);
    let leases = world.lease(3, 0);
    let timeout = Outcome::Failed(FailureClass::Timeout);
    let first = world.end(vec![ended(&leases[0], Outcome::Fetched, &["/d"]), ended(&leases[1], timeout, &[])]);
    let urls = ["/a", "/b", "/c", "/d", "/unknown"].map(|path| url(path).url).to_vec();
    let done = world.commit(Batch { ops: vec![StoreOp::AskAgain { urls }], ..Batch::new(at(0)) }).unwrap();
    assert_eq!((done.touched, done.counters.fetched, done.counters.queued, done.counters.in_flight), (1, 0, 2, 1));
    assert_eq!((done.counters.discovered, done.counters.failed), (4, 1));
    // Its old record stands until the new one takes its place, whatever happens between.
    world.crash();
    world.reopen(Some(Vec::new()));
    let again = world.lease(1, 0).remove(0);
    assert_eq!((again.no, again.attempt, again.supersedes), (1, 1, Some(first.seq)));
    let done = world.end(vec![ended(&again, Outcome::Fetched, &["/d", "/e"])]);
    assert_eq!((done.counters.fetched, done.counters.discovered), (1, 5));
    let page = world.pages().pop().unwrap();
    assert_eq!((page.n, page.supersedes, page.links_added), (1, Some(first.seq), 1));
    world.close();
    assert!(crate::crawl::verify::verify(&world.paths()).unwrap().sound());
}

#[test]
fn budgets_park_only_what_is_new() {
    let mut world = World::new(&["/"]);
    world.crash();
    world.scope = ScopeSpec { host_budget: 100, pattern_budget: 3, query_budget: 2, ..ScopeSpec::default() };
    world.reopen(Some(Vec::new()));
    let template = |path: &str, query| NewUrl { template: Some(7), query, ..url(path) };
    let seeds = vec![
        template("/t?1", Some(1)),
        template("/t?2", Some(2)),
        template("/t?3", Some(3)),
        template("/u?2", Some(2)),
        template("/v?2", Some(2)),
        template("/t?1", Some(1)),
    ];
    let done = world.commit(Batch { seeds: seeds.clone(), ..Batch::new(at(0)) }).unwrap();
    assert_eq!((done.counters.discovered, done.counters.parked), (6, 2));
    let tallies = world.reader().tallies("parked").unwrap();
    assert_eq!((tallies.get("query_explosion"), tallies.get("pattern_budget")), (Some(&1), Some(&1)));
    let again = world.commit(Batch { seeds, ..Batch::new(at(0)) }).unwrap();
    assert_eq!(again.counters, done.counters);
}

#[test]
fn partial_links_are_counted_with_the_end_even_after_a_crash() {
    let mut world = World::new(&["/map"]);
    let lease = world.lease(1, 0).remove(0);
    let part = |links: &[&str]| Links { accepted: links.iter().map(|l| url(l)).collect(), out_of_scope: 0, seen: 2 };
    let batch = Batch { links: vec![(lease.clone(), part(&["/a", "/b"]))], ..Batch::new(at(0)) };
    world.commit(batch).unwrap();
    world.crash();
    world.reopen(Some(Vec::new()));
    let again = world.lease(1, 0).remove(0);
    world.end(vec![ended(&again, Outcome::Fetched, &["/b", "/c"])]);
    assert_eq!(world.pages()[0].links_added, 3);
}

#[test]
fn politeness_and_robots_survive() {
    let mut world = World::new(&["/"]);
    let state = crate::model::host::HostState { delay_ms: 700, ..Default::default() };
    let robots = crate::model::host::StoredRobots {
        asked_at: at(3),
        failing_since: None,
        status: Some(200),
        body: Some(b"x".to_vec()),
    };
    let mut batch = Batch::new(at(0));
    batch.hosts.push(HostUpdate { host_key: "http://h.example".to_owned(), state });
    batch.robots.push(("http://other.example".to_owned(), robots.clone()));
    world.commit(batch).unwrap();
    world.crash();
    world.reopen(Some(Vec::new()));
    let opened = world.opened.as_ref().unwrap();
    assert_eq!(opened.host_states, [("http://h.example".to_owned(), state)]);
    assert_eq!(opened.robots, [("http://other.example".to_owned(), robots)]);
}
