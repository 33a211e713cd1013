//! Nothing that a page does reaches an address that the operator did not mean: every spelling, every way.
//!
//! One loopback port is named as the seed. Another one, a canary, is what pages of hostile intent try to
//! reach. To show that the ways are open where they may be, each is also tried on the named port.

mod canary;
mod hostile;

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::site::Config;
use crate::support::world::Fetch;
use crate::support::{World, poll};
use canary::Canary;
use hostile::{Hostile, VECTORS};

/// Ways that leave no trace on a TCP server of the named port.
const UNSEEN: &[&str] = &["webrtc", "webtransport"];

#[test]
fn no_page_reaches_what_was_not_named() {
    let canary = Canary::start();
    let site = Hostile::start(canary.port);
    let world = World::new(Config::plain(1), Fetch::Chromium);
    let crawl = world.crawld(&["crawl", &site.at("/"), "--fetch", "browser", "--delay", "0ms", "--per-host", "4"]);
    let last = crawl.args(&["--json", "--quiet"]).run();
    let ended = last.json();
    assert_eq!(ended["counters"]["queued"], 0, "{}", last.said());
    assert!(ended["counters"]["fetched"].as_u64() > Some(VECTORS.len() as u64 / 2), "{ended}");

    assert_eq!(canary.hits(), BTreeSet::new(), "connections or datagrams to the canary");
    let asked = site.asked();
    let works = |way: &str| match way {
        // This way is shut for good.
        "serviceworker" => !asked.contains(hostile::SERVICE_WORKER),
        // What sends something by itself is not sent.
        "form" => !asked.contains("/own/form"),
        way => UNSEEN.contains(&way) || asked.contains(&format!("/own/{way}")),
    };
    let shut: Vec<_> = VECTORS.iter().filter(|way| !works(way)).collect();
    assert!(shut.is_empty(), "ways that do not even work where they may: {shut:?} of {asked:?}");
    let egress = &world.checkpoint()["crawler_state"]["egress"];
    assert!(egress["addresses_refused"].as_u64() >= Some(100), "{egress}");
    assert!(egress["bytes_received"].as_u64() >= Some(10_000), "{egress}");
    canary.expect_alive();
}

/// The same pages in a browser that nobody holds: without this, a test that finds nothing proves nothing.
#[test]
fn the_same_pages_reach_the_canary_where_nothing_stops_them() {
    let canary = Canary::start();
    let site = Hostile::start(canary.port);
    let shell = crawld::browser::find_executable(None).expect("these tests need Chromium");
    let profile = tempfile::tempdir().expect("temporary directory");
    let mut browser = Command::new(shell)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(site.at("/all"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("Chromium starts");
    let enough = || (canary.hits().len() >= 14).then_some(());
    let reached = poll::until(Duration::from_secs(30), enough);
    browser.kill().expect("it ran");
    browser.wait().expect("its end");
    assert!(reached.is_some(), "only these: {:?}", canary.hits());
}
