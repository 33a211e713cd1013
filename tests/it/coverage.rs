//! Pages whose links show only after something has happened, by kind and many of each: one crawl with a real Chromium,
//! and how many of each kind's links it found.
//!
//! A case's page has `add(i)`, which appends its link number `i`, and `echo(body, type, delay)`, the address of an answer
//! like that. Neither its links nor those answers are asked for as pages: robots.txt forbids them.

mod documents;
mod elements;
mod scripts;
mod server;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use crate::site::Config;
use crate::support::World;
use crate::support::oracle::Crawl;
use crate::support::world::Fetch;
use server::Server;

/// For a crawl of some two hundred pages, many of which wait for something, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// One page: its kind, its name, the rest of its document (`~` is where its links begin: `~1`), and how many links it
/// brings, numbered from 1.
pub struct Case {
    kind: &'static str,
    name: &'static str,
    html: &'static str,
    links: u32,
}

/// A row of a table.
pub const fn case(kind: &'static str, name: &'static str, html: &'static str, links: u32) -> Case {
    Case { kind, name, html, links }
}

/// Cases that bring nothing, and why that is meant so.
const NOT_FOUND: &[(&str, &str)] = &[
    ("timer-6s", "timers of more than a second are not waited for"),
    ("timer-interval-slow", "intervals of more than a quarter of a second are not waited for"),
    ("event-click-by-person", "nobody clicks where no behaviour is asked for"),
    ("event-hover-by-person", "nobody moves a pointer either"),
    ("event-scroll-by-person", "nor scrolls"),
    ("template-unused", "what no script takes out of a template is in no page"),
    ("data-href-unread", "an attribute that no script reads is no link"),
    ("json-unread", "nor is what stands in JSON"),
    ("worker-service", "service workers are refused: they would answer instead of the site"),
    ("shadow-declarative-closed", "closed shadow roots that are written in the HTML are not looked into"),
    ("socket-second", "of what goes on and on, only the first word is waited for"),
    ("removed-text", "an address that is only text is no link"),
];

fn cases() -> impl Iterator<Item = &'static Case> {
    [waiting::CASES, scripts::CASES, documents::CASES, elements::CASES].into_iter().flatten()
}

type Found = BTreeMap<String, BTreeSet<u32>>;

/// Crawls all cases, and adds which of their links were discovered, by the case's name.
fn crawl(server: &Server, found: &mut Found) {
    let world = World::new(Config::plain(0), Fetch::Chromium);
    let task = world.path().join("coverage.toml");
    let text = format!(
        "seeds = [\"{}/\", \"{}/nothing\"]\n[fetch]\nmode = \"browser\"\ntabs = 4\n[extract]\nhash_routes = true\n\
         [politeness]\ndelay = \"0ms\"\nper_host = 4\n",
        server.base,
        // Named, so that frames and requests of another origin may go there.
        server.base.replace("127.0.0.1", "localhost")
    );
    std::fs::write(&task, text).expect("a task file");
    let command = world.crawld(&["crawl", &task.display().to_string(), "--json", "--quiet", "--log-level", "warn"]);
    command.spawn().wait(PATIENCE).expect_code(0);
    let crawl = Crawl::read(&world.session_dir().join("out"), &server.base);
    let failed: Vec<&Value> = crawl.pages.iter().filter(|page| page["outcome"] == "failed").collect();
    assert!(failed.is_empty(), "{failed:?}");
    for url in &crawl.urls {
        let path = url["url"].as_str().and_then(|url| url.strip_prefix(&server.base)).unwrap_or_default();
        let Some((name, number)) = path.strip_prefix("/found/").and_then(|rest| rest.split_once('/')) else { continue };
        if let Ok(number) = number.parse() {
            found.entry(name.to_owned()).or_default().insert(number);
        }
    }
}

/// What is not as the tables say, and the score of each kind.
fn judge(found: &Found) -> (Vec<String>, String) {
    let mut kinds = BTreeMap::<&str, (u32, u32)>::new();
    let mut faults = Vec::new();
    for case in cases() {
        let meant = NOT_FOUND.iter().find(|(name, _)| *name == case.name).map(|(_, why)| *why);
        let of_case = found.get(case.name).cloned().unwrap_or_default();
        let (score, most) = kinds.entry(case.kind).or_default();
        *score += of_case.len() as u32;
        *most += case.links;
        let wanted: BTreeSet<u32> = (1..=case.links).collect();
        match meant {
            None if of_case != wanted => faults.push(format!("{}: {of_case:?} instead of {wanted:?}", case.name)),
            Some(why) if !of_case.is_empty() => faults.push(format!("{}: found, though {why}", case.name)),
            _ => {}
        }
    }
    let scores = kinds.iter().map(|(kind, (score, most))| format!("{kind} {score}/{most}"));
    (faults, scores.collect::<Vec<_>>().join("\n"))
}

#[test]
fn links_are_found_whatever_brings_them() {
    let server = Server::start(cases());
    let mut found = Found::new();
    let mut judged = (Vec::new(), String::new());
    // On a starved machine a frame or an answer can come after a page's bounds: what is lost every time is lost.
    for _ in 0..3 {
        crawl(&server, &mut found);
        judged = judge(&found);
        if judged.0.is_empty() {
            break;
        }
    }
    let (faults, scores) = judged;
    println!("{scores}");
    assert!(faults.is_empty(), "{} cases:\n{}\n{scores}", faults.len(), faults.join("\n"));
}

#[test]
fn every_case_has_a_name_of_its_own_and_every_exception_is_a_case() {
    let names: BTreeSet<&str> = cases().map(|case| case.name).collect();
    assert_eq!(names.len(), cases().count());
    for (name, _) in NOT_FOUND {
        assert!(names.contains(name), "{name}");
    }
}
