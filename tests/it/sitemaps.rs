//! Sitemaps: what is read of them, whatever the scope of the pages is.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::site::Config;
use crate::support::World;
use crate::support::oracle::Crawl;
use crate::support::small::{Answer, Small};
use crate::support::world::Fetch;

/// Crawls the site from `/docs/` in mode `http`; what was recorded, by path.
fn crawl(site: &Small, args: &[&str], code: i32) -> (World, BTreeMap<String, Value>) {
    let world = World::new(Config::plain(0), Fetch::Http);
    let seed = format!("{}/docs/", site.base);
    let common = ["crawl", &seed, "--fetch", "http", "--delay", "0ms", "--json", "--quiet"];
    world.crawld(&[&common, args].concat()).run().expect_code(code);
    world.verify();
    let outputs = Crawl::read(&world.session_dir().join("out"), &site.base);
    outputs.check_consistent();
    let path = |page: &Value| page["url"].as_str().and_then(|url| url.strip_prefix(&site.base)).map(str::to_owned);
    let pages = outputs.latest().into_values().filter_map(|page| Some((path(page)?, page.clone()))).collect();
    (world, pages)
}

fn paths(pages: &BTreeMap<String, Value>) -> Vec<&str> {
    pages.keys().map(String::as_str).collect()
}

fn index(base: &str, maps: &[&str]) -> Answer {
    let maps: String = maps.iter().map(|map| format!("<sitemap><loc>{base}{map}</loc></sitemap>")).collect();
    Answer::of("application/xml", format!("<sitemapindex>{maps}</sitemapindex>"))
}

fn urlset(base: &str, pages: &[&str]) -> Answer {
    let pages: String = pages.iter().map(|page| format!("<url><loc>{base}{page}</loc></url>")).collect();
    Answer::of("application/xml", format!("<urlset>{pages}</urlset>"))
}

fn robots(base: &str) -> Answer {
    Answer::of("text/plain", format!("User-agent: *\nAllow: /\nSitemap: {base}/index.xml\n"))
}

/// An index of a sitemap that has moved, beside the pages; its pages lie in two folders.
fn site() -> Small {
    Small::start(|base, path| match path {
        "/robots.txt" => Some(robots(base)),
        "/index.xml" => Some(index(base, &["/maps/old.xml"])),
        "/maps/old.xml" => Some(Answer::redirect("/maps/1.xml")),
        "/maps/1.xml" => Some(urlset(base, &["/docs/a", "/docs/b", "/blog/c"])),
        "/docs/" | "/docs/a" | "/docs/b" | "/blog/c" => Some(Answer::page(&[])),
        _ => None,
    })
}

#[test]
fn an_index_beside_the_scope_and_at_the_depth_limit_is_read() {
    let site = site();
    let all = ["/docs/", "/docs/a", "/docs/b", "/index.xml", "/maps/1.xml", "/maps/old.xml"];
    for args in [&["--scope", "prefix"][..], &["--include", "/docs/"], &["--scope", "prefix", "--max-depth", "1"]] {
        let (_, pages) = crawl(&site, args, 0);
        assert_eq!(paths(&pages), all, "{args:?}");
        assert_eq!((&pages["/docs/a"]["depth"], &pages["/index.xml"]["links_found"]), (&1.into(), &1.into()));
        assert_eq!(pages["/maps/1.xml"]["links_found"], 3, "{args:?}");
    }
    let (_, pages) = crawl(&site, &["--scope", "prefix", "--exclude", "/maps/"], 0);
    assert_eq!(paths(&pages), ["/docs/", "/index.xml"]);
}

#[test]
fn sitemaps_are_no_pages_to_a_limit() {
    let (_, pages) = crawl(&site(), &["--max-pages", "3"], 4);
    let kinds = pages.values().filter(|page| page["outcome"] == "fetched" && page["kind"] == "page");
    assert_eq!(kinds.count(), 3, "{:?}", paths(&pages));
}

#[test]
fn a_sitemap_that_a_page_linked_to_first_is_read() {
    let site = Small::start(|base, path| match path {
        "/robots.txt" => Some(robots(base)),
        "/index.xml" => Some(index(base, &["/map.xml"])),
        "/map.xml" => Some(urlset(base, &["/only-here"])),
        "/docs/" => Some(Answer::page(&["/map.xml", "/index.xml"])),
        "/only-here" => Some(Answer::page(&[])),
        _ => None,
    });
    let (_, pages) = crawl(&site, &[], 0);
    assert_eq!(paths(&pages), ["/docs/", "/index.xml", "/map.xml", "/only-here"]);
    assert_eq!(pages["/map.xml"]["kind"], "sitemap");
}

#[test]
fn an_endless_chain_of_indexes_is_set_aside() {
    let site = Small::start(|base, path| match path {
        "/robots.txt" => Some(robots(base)),
        "/docs/" => Some(Answer::page(&[])),
        path => Some(index(base, &[&format!("{path}x")])),
    });
    let (world, pages) = crawl(&site, &[], 0);
    assert_eq!(paths(&pages), ["/docs/", "/index.xml", "/index.xmlx", "/index.xmlxx", "/index.xmlxxx"]);
    let parked = &world.checkpoint()["progress_snapshot"]["parked_by_reason"];
    assert_eq!(parked["sitemap_depth"], 1, "{}", world.checkpoint());
}
