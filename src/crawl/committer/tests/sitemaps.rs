//! URLs that were taken for pages before somebody named them as sitemaps.

use super::*;
use crate::crawl::verify::verify;

fn sitemap(path: &str, indexes_above: u32) -> NewUrl {
    NewUrl { kind: UrlKind::Sitemap, hops: indexes_above, depth: 0, ..url(path) }
}

fn name(world: &World, path: &str) -> Committed {
    world.commit(Batch { seeds: vec![sitemap(path, 2)], ..Batch::new(at(0)) }).unwrap()
}

#[track_caller]
fn fetched(world: &World, lease: &Lease) -> Committed {
    world.end(vec![ended(lease, Outcome::Fetched, &[])])
}

#[test]
fn a_queued_page_is_read_as_the_sitemap_it_is() {
    let world = World::new(&["/map.xml"]);
    let done = name(&world, "/map.xml");
    assert_eq!((done.counters.discovered, done.counters.queued), (1, 1));
    let lease = &world.lease(1, 0)[0];
    assert_eq!((lease.kind, lease.hops, lease.depth), (UrlKind::Sitemap, 2, 1), "its URL record stands");
    let done = fetched(&world, lease);
    assert_eq!((done.counters.fetched, done.sitemaps), (1, 1));
    assert_eq!(name(&world, "/map.xml").counters.queued, 0, "once");
    assert_eq!(world.reader().sitemaps().unwrap(), (1, 1));
}

#[test]
fn one_that_was_fetched_as_a_page_is_fetched_again() {
    let mut world = World::new(&["/a.xml", "/b.xml", "/c.xml", "/d.xml"]);
    let leases = world.lease(4, 0);
    let ends = [
        Outcome::Fetched,
        Outcome::Skipped(SkipReason::Download),
        Outcome::Skipped(SkipReason::Robots),
        Outcome::Failed(FailureClass::Timeout),
    ];
    let first = world.end(leases.iter().zip(ends).map(|(lease, end)| ended(lease, end, &[])).collect());
    for path in ["/a.xml", "/b.xml", "/c.xml", "/d.xml"] {
        name(&world, path);
    }
    assert_eq!(world.counters().queued, 2, "robots.txt and a failure say no more of a sitemap than of a page");
    let again = world.lease(4, 0);
    assert_eq!(again.iter().map(|lease| (lease.kind, lease.attempt)).collect::<Vec<_>>(), [(UrlKind::Sitemap, 1); 2]);
    let done = world.end(again.iter().map(|lease| ended(lease, Outcome::Fetched, &[])).collect());
    assert_eq!((done.counters.fetched, done.sitemaps), (2, 2));
    assert_eq!(world.pages().last().unwrap().supersedes, Some(first.seq));
    assert_eq!(world.reader().sitemaps().unwrap(), (4, 4));
    world.close();
    world.reopen(Some(Vec::new()));
    assert_eq!(world.opened.as_ref().unwrap().sitemaps, 2);
    assert!(verify(&world.paths()).unwrap().sound());
}

#[test]
fn a_visit_under_way_did_not_end_what_is_a_sitemap_by_now() {
    let mut world = World::new(&["/map.xml"]);
    let lease = world.lease(1, 0).remove(0);
    assert_eq!(name(&world, "/map.xml").counters.in_flight, 1);
    let done = fetched(&world, &lease);
    assert_eq!((done.counters.queued, done.counters.fetched), (1, 0));
    assert!(world.pages().is_empty());
    world.crash();
    world.reopen(Some(Vec::new()));
    let lease = world.lease(1, 0).remove(0);
    assert_eq!(lease.kind, UrlKind::Sitemap);
    assert_eq!(fetched(&world, &lease).sitemaps, 1);
}
