//! Random histories in which the store itself is lost now and then, against a model of two sets.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write as _;

use proptest::prelude::*;

use super::*;
use crate::crawl::rebuild::{Remembered, rebuild};
use crate::crawl::verify::verify;

#[derive(Debug, Clone)]
enum Step {
    /// Leases so many.
    Lease(u32),
    /// Ends one of the leased URLs; the links that its page has.
    End(usize, bool, Vec<u8>),
    /// Gives one of the leased URLs back to be tried again.
    Retry(usize),
    /// Dies, with so many bytes of an uncommitted group behind the outputs, and opens again.
    Crash(u8),
    /// Dies and loses its store, which is rebuilt.
    LoseStore,
    /// Stops in order and opens again.
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..5u32).prop_map(Step::Lease),
        6 => (any::<usize>(), any::<bool>(), prop::collection::vec(0..40u8, 0..6))
            .prop_map(|(which, well, links)| Step::End(which, well, links)),
        1 => any::<usize>().prop_map(Step::Retry),
        2 => any::<u8>().prop_map(Step::Crash),
        1 => Just(Step::LoseStore),
        1 => Just(Step::Close),
    ]
}

/// The crawl as it must be.
struct Model {
    world: World,
    discovered: BTreeSet<String>,
    ended: BTreeMap<String, bool>,
    held: Vec<Lease>,
}

impl Model {
    fn new() -> Self {
        let discovered = ["/0".to_owned(), "/1".to_owned()].into();
        Model { world: World::new(&["/0", "/1"]), discovered, ended: BTreeMap::new(), held: Vec::new() }
    }

    fn lease(&mut self, count: u32) -> usize {
        let mut leases = self.world.lease_of(count, false, 5_000);
        leases.extend(self.world.lease_of(1, true, 5_000));
        for lease in &leases {
            let path = lease.url.path();
            assert!(self.discovered.contains(path) && !self.ended.contains_key(path), "{path} is not to be crawled");
            assert!(self.held.iter().all(|held| held.no != lease.no), "{path} is leased twice");
        }
        self.held.extend(leases.iter().cloned());
        leases.len()
    }

    fn end(&mut self, which: usize, well: bool, links: &[u8]) {
        if self.held.is_empty() {
            return;
        }
        let lease = self.held.swap_remove(which % self.held.len());
        let outcome = if well { Outcome::Fetched } else { Outcome::Failed(FailureClass::Timeout) };
        let links: Vec<String> = links.iter().map(|n| format!("/{n}")).collect();
        let texts: Vec<&str> = links.iter().map(String::as_str).collect();
        let done = self.world.end(vec![ended(&lease, outcome, &texts)]);
        assert!(done.refused.is_empty());
        self.ended.insert(lease.url.path().to_owned(), well);
        self.discovered.extend(links);
    }

    fn retry(&mut self, which: usize) {
        if self.held.is_empty() {
            return;
        }
        let lease = self.held.swap_remove(which % self.held.len());
        let not_before = at(0);
        let retry = VisitEnd::Retry { lease, not_before, charged: true, suspect: false, crash_alone: None };
        self.world.end(vec![retry]);
    }

    /// What was leased had started or not; either way it is leased again.
    fn reopen(&mut self) {
        let note = self.held.iter().step_by(2).map(|lease| started(lease, false)).collect();
        self.world.reopen(Some(note));
        self.held.clear();
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Lease(count) => drop(self.lease(*count)),
            Step::End(which, well, links) => self.end(*which, *well, links),
            Step::Retry(which) => self.retry(*which),
            Step::Crash(tail) => {
                self.world.crash();
                self.tail(usize::from(*tail));
                self.reopen();
            }
            Step::LoseStore => {
                self.world.crash();
                let paths = self.world.paths();
                rebuild(&paths, &Remembered::default(), at(0), &mut |_| {}).unwrap();
                self.reopen();
            }
            Step::Close => {
                self.world.close();
                self.reopen();
            }
        }
        let counters = self.world.counters();
        assert!(counters.balanced(), "{counters:?}");
        let found = (counters.discovered, counters.ended(), counters.in_flight);
        assert_eq!(found, (self.discovered.len() as u64, self.ended.len() as u64, self.held.len() as u64));
    }

    /// As a kill between writing and committing leaves it: the front of a group, cut anywhere.
    fn tail(&self, bytes: usize) {
        let line =
            "{\"n\":9000,\"url\":\"http://h.example/tail\",\"via\":null,\"depth\":1,\"commit_seq\":9000}\n".repeat(3);
        for name in ["urls-00001.jsonl", "pages-00001.jsonl"] {
            if let Ok(mut file) = OpenOptions::new().append(true).open(self.world.out(name)) {
                file.write_all(&line.as_bytes()[..bytes.min(line.len())]).unwrap();
            }
        }
    }

    /// Crawls what is left, and compares everything.
    fn finish(mut self) {
        while self.lease(8) > 0 || !self.held.is_empty() {
            while !self.held.is_empty() {
                self.end(0, true, &[]);
            }
        }
        self.world.close();
        let said: BTreeMap<String, bool> = self
            .world
            .pages()
            .into_iter()
            .map(|page| {
                let url = CanonicalUrl::parse(&page.url).unwrap();
                assert_eq!(page.supersedes, None, "{url} was written twice");
                (url.path().to_owned(), page.outcome == Outcome::Fetched.kind())
            })
            .collect();
        assert_eq!(said, self.ended);
        assert_eq!(self.ended.keys().cloned().collect::<BTreeSet<_>>(), self.discovered);
        let pages = self.world.pages().len();
        assert_eq!(pages, self.ended.len(), "each once");
        let report = verify(&self.world.paths()).unwrap();
        assert!(report.sound(), "{:?}", report.problems);
    }
}

proptest! {
    // Every case syncs files for each of its steps.
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_with_a_store_and_nothing_is_written_twice(steps in prop::collection::vec(step(), 1..40)) {
        let mut model = Model::new();
        for step in &steps {
            model.apply(step);
        }
        model.finish();
    }
}
