//! What a site sees of the pauses: where requests arrive, not where they were planned.

use std::time::Duration;

use crate::site::Config;
use crate::support::World;
use crate::support::oracle::Crawl;
use crate::support::small::{Answer, Small};
use crate::support::world::Fetch;

/// What timers and threads may take from a gap on its way.
const SLACK: Duration = Duration::from_millis(100);

fn crawl(site: &Small, delay: &str) -> Crawl {
    let world = World::new(Config::plain(0), Fetch::Http);
    let seeds = [format!("{}/", site.base), format!("{}/b", site.base)];
    let common = ["--fetch", "http", "--delay", delay, "--no-sitemaps", "--json", "--quiet"];
    world.crawld(&["crawl"]).args(&seeds.each_ref().map(String::as_str)).args(&common).run().expect_code(0);
    world.verify();
    let outputs = Crawl::read(&world.session_dir().join("out"), &site.base);
    outputs.check_consistent();
    outputs
}

fn pages(site: &Small) -> Vec<(std::time::Instant, String)> {
    site.asked().into_iter().filter(|(_, path)| path != "/robots.txt").collect()
}

#[test]
fn a_crawl_delay_holds_from_the_first_page_on_and_over_redirects() {
    let site = Small::start(|_, path| match path {
        "/robots.txt" => {
            let rules = Answer::of("text/plain", "User-agent: *\nCrawl-delay: 1\n");
            Some(rules.after(Duration::from_millis(700)))
        }
        "/" => Some(Answer::page(&["/moved"])),
        "/moved" => Some(Answer::redirect("/here")),
        "/b" | "/here" => Some(Answer::page(&[])),
        _ => None,
    });
    crawl(&site, "100ms");
    let asked = pages(&site);
    assert_eq!(asked.len(), 4, "{asked:?}");
    for pair in asked.windows(2) {
        assert!(pair[1].0 - pair[0].0 >= Duration::from_secs(1) - SLACK, "{asked:?}");
    }
}

#[test]
fn what_robots_txt_forbids_holds_up_nobody() {
    let forbidden: Vec<String> = (0..30).map(|n| format!("/no/{n}")).collect();
    let site = Small::start(move |_, path| match path {
        "/robots.txt" => Some(Answer::of("text/plain", "User-agent: *\nDisallow: /no/\n")),
        "/" => {
            let links = forbidden.iter().map(String::as_str).chain(["/hop", "/last"]);
            Some(Answer::page(&links.collect::<Vec<_>>()))
        }
        "/hop" => Some(Answer::redirect("/no/where")),
        "/b" | "/last" => Some(Answer::page(&[])),
        _ => None,
    });
    let outputs = crawl(&site, "1s");
    let asked = pages(&site);
    let all = asked[asked.len() - 1].0 - asked[0].0;
    assert!(all < Duration::from_secs(20), "30 forbidden pages at a second each: {asked:?}");
    let reason = |path: &str| outputs.page(path).map(|page| page["skip_reason"].clone());
    assert_eq!((reason("/hop"), reason("/no/where")), (Some("redirect".into()), Some("robots".into())));
}
