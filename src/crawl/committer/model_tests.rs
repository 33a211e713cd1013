//! Random crawls with random crashes, held against a model that cannot forget.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write as _;

use proptest::prelude::*;

use super::tests::{World, at, ended, url};
use super::*;
use crate::model::lease::{Lease, VisitEnd};
use crate::model::outcome::{FailureClass, Outcome, SkipReason};
use crate::state::inflight::Started;

/// One thing that happens to a session.
#[derive(Debug, Clone)]
enum Step {
    /// Lease up to so many URLs.
    Lease(u32),
    /// The chosen visit ends as fetched and links to these pages.
    Fetch(usize, Vec<u8>),
    /// The chosen visit ends as failed, or skipped.
    Fail(usize, bool),
    /// The chosen visit is tried again; charged or not, as a suspect or not.
    Retry(usize, bool, bool),
    /// The chosen lease is given back.
    Release(usize),
    /// The operator wants failed URLs tried again.
    RetryFailed,
    /// The process dies: so many visits had started; so many bytes of a next group were in the outputs.
    Crash(usize, u8),
    /// The process stops cleanly and starts again.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let page = 0..40u8;
    prop_oneof![
        4 => (1..4u32).prop_map(Step::Lease),
        6 => (any::<usize>(), prop::collection::vec(page, 0..6)).prop_map(|(i, links)| Step::Fetch(i, links)),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(i, skip)| Step::Fail(i, skip)),
        1 => (any::<usize>(), any::<bool>(), any::<bool>()).prop_map(|(i, c, s)| Step::Retry(i, c, s)),
        1 => any::<usize>().prop_map(Step::Release),
        1 => Just(Step::RetryFailed),
        2 => (0..4usize, any::<u8>()).prop_map(|(started, torn)| Step::Crash(started, torn)),
        1 => Just(Step::Restart),
    ]
}

/// What must be true, whatever happened: known URLs, and how each ended last.
#[derive(Default)]
struct Model {
    known: BTreeSet<String>,
    ended: BTreeMap<String, &'static str>,
    records: u64,
    held: Vec<Lease>,
}

impl Model {
    fn take(&mut self, chosen: usize) -> Option<Lease> {
        (!self.held.is_empty()).then(|| self.held.swap_remove(chosen % self.held.len()))
    }

    fn end(&mut self, lease: &Lease, how: &'static str) {
        self.ended.insert(lease.url.as_str().to_owned(), how);
        self.records += 1;
    }
}

fn batch() -> Batch {
    Batch::new(at(10_000))
}

fn happen(world: &mut World, model: &mut Model, step: Step) {
    let mut batch = batch();
    match step {
        Step::Lease(count) => {
            for suspects in [false, true] {
                batch.leases.push(LeaseWish { host: 1, suspects, count });
            }
        }
        Step::Fetch(chosen, links) => {
            let Some(lease) = model.take(chosen) else { return };
            let paths: Vec<String> = links.iter().map(|page| format!("/{page}")).collect();
            let links: Vec<&str> = paths.iter().map(String::as_str).collect();
            model.known.extend(links.iter().map(|path| url(path).url.as_str().to_owned()));
            model.end(&lease, "fetched");
            batch.ends.push(ended(&lease, Outcome::Fetched, &links));
        }
        Step::Fail(chosen, skip) => {
            let Some(lease) = model.take(chosen) else { return };
            let (outcome, how) = match skip {
                true => (Outcome::Skipped(SkipReason::Robots), "skipped"),
                false => (Outcome::Failed(FailureClass::Timeout), "failed"),
            };
            model.end(&lease, how);
            batch.ends.push(ended(&lease, outcome, &[]));
        }
        Step::Retry(chosen, charged, suspect) => {
            let Some(lease) = model.take(chosen) else { return };
            batch.ends.push(VisitEnd::Retry { lease, not_before: at(0), charged, suspect, crash_alone: None });
        }
        Step::Release(chosen) => {
            let Some(lease) = model.take(chosen) else { return };
            batch.ends.push(VisitEnd::Released { lease });
        }
        Step::RetryFailed => {
            model.ended.retain(|_, how| *how != "failed");
            batch.ops.push(StoreOp::RetryFailed { class: None, quarantined: false });
        }
        Step::Crash(started, torn) => return crash(world, model, started, torn),
        Step::Restart => {
            world.close();
            model.held.clear();
            world.reopen(Some(Vec::new()));
            return;
        }
    }
    let committed = world.commit(batch).unwrap();
    assert!(committed.counters.balanced(), "{:?}", committed.counters);
    model.held.extend(committed.leases);
}

/// Dies with a torn group behind the committed bytes, and comes back.
fn crash(world: &mut World, model: &mut Model, started: usize, torn: u8) {
    world.crash();
    if torn > 0 {
        let garbage = format!("{{\"n\":{torn},\"url\":\"http://h.example/torn");
        for name in ["urls-00001.jsonl", "pages-00001.jsonl"] {
            let mut file = OpenOptions::new().append(true).create(true).open(world.out(name)).unwrap();
            file.write_all(&garbage.as_bytes()[..usize::from(torn) % garbage.len()]).unwrap();
        }
    }
    let already = model.held.iter().filter(|lease| lease.suspect).count();
    let started: Vec<Started> = model
        .held
        .drain(..)
        .take(started)
        .map(|lease| Started { no: lease.no, attempt: lease.attempt, solo: lease.suspect })
        .collect();
    let report = world.reopen(Some(started.clone()));
    assert!(report.suspects.len() <= started.len() + already, "only what had started becomes a suspect");
}

/// Lines of an output, each whole.
fn records(world: &World, name: &str) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(world.out(name)).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn judge(world: &World, model: &Model) {
    let urls = records(world, "urls-00001.jsonl");
    let numbers: Vec<u64> = urls.iter().map(|record| record["n"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=urls.len() as u64).collect::<Vec<_>>(), "numbers without gaps");
    let known: BTreeSet<String> = urls.iter().map(|record| record["url"].as_str().unwrap().to_owned()).collect();
    assert_eq!(known, model.known, "every URL once, none lost");
    assert_eq!(known.len(), urls.len(), "no URL twice");

    let pages = records(world, "pages-00001.jsonl");
    assert_eq!(pages.len() as u64, model.records, "every end has its record, and only one");
    let mut last: BTreeMap<String, (u64, String)> = BTreeMap::new();
    for page in &pages {
        let before = last.get(page["url"].as_str().unwrap()).map(|(seq, _)| *seq);
        assert_eq!(page["supersedes"].as_u64(), before, "a later record names the one it replaces");
        let now = (page["commit_seq"].as_u64().unwrap(), page["outcome"].as_str().unwrap().to_owned());
        last.insert(page["url"].as_str().unwrap().to_owned(), now);
    }
    for (url, how) in &model.ended {
        assert_eq!(&last[url].1, how, "{url}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_crash_loses_or_repeats_anything(steps in prop::collection::vec(step(), 1..60)) {
        let seeds = ["/0", "/1", "/2"];
        let mut world = World::new(&seeds);
        let mut model = Model::default();
        model.known.extend(seeds.iter().map(|path| url(path).url.as_str().to_owned()));
        for step in steps {
            happen(&mut world, &mut model, step);
        }
        // A last crash, so that every run is judged after one.
        crash(&mut world, &mut model, 0, 7);
        judge(&world, &model);
    }
}
