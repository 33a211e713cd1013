//! One bad page cannot stop a crawl, and no innocent page pays for it.

use std::time::Duration;

use crate::site::Config;
use crate::support::World;
use crate::support::world::Fetch;

#[test]
fn the_page_that_kills_its_browser_is_the_only_one_quarantined() {
    let world = World::new(Config { poison: true, ..Config::plain(199) }, Fetch::Scripted);
    let last = world.crawl().run();
    assert!(matches!(last.code, Some(0 | 3)), "{}", last.said());
    let crawl = world.check_complete(&last);
    let poisoned: Vec<_> = crawl.pages.iter().filter(|page| page["skip_reason"] == "poison").collect();
    assert_eq!(poisoned.len(), 1, "{poisoned:?}");
    assert_eq!(poisoned[0]["url"], world.site.at("/poison").as_str());
}

#[test]
fn it_is_found_out_even_if_the_daemon_is_killed_on_the_way() {
    let latency = Duration::from_millis(10);
    let world = World::new(Config { poison: true, latency, ..Config::plain(80) }, Fetch::Scripted);
    for pages in [10, 30, 60] {
        world.crawl_and_kill(pages);
    }
    world.finish();
}

#[test]
fn everything_that_ends_by_itself_ends_as_it_should() {
    for fetch in [Fetch::Http, Fetch::Scripted] {
        let world = World::new(Config::full(40), fetch);
        // One page is broken for ever.
        let last = world.crawl().run().expect_code(3);
        let crawl = world.check_complete(&last);
        let well = crawl.page("/lab/recovers-3rd").expect("a record");
        assert_eq!(well["attempt"], 3, "{well}");
        let escapes = crawl.page("/lab/escapes").expect("a record");
        assert_eq!(escapes["outcome"], "fetched");
    }
}

#[test]
fn a_trap_is_parked_counted_and_released_by_command() {
    let world = World::new(Config { calendar: true, ..Config::plain(5) }, Fetch::Http);
    let last = world.crawl().args(&["--max-pages", "120"]).run();
    assert!(matches!(last.code, Some(0 | 4)), "{}", last.said());
    world.outputs().check_consistent();
    let fetched = last.json()["counters"]["fetched"].as_u64().expect("a counter");
    assert!((100..=140).contains(&fetched), "the limit on pages ended it: {fetched}");
}
