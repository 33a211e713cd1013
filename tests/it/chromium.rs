//! With a real Chromium: these tests fail when there is none.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::site::Config;
use crate::support::world::Fetch;
use crate::support::{World, child, poll, proc, skip};

/// For a crawl of hundreds of pages with a browser that dies on the way, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);
/// User and group `nobody`.
const NOBODY: u32 = 65534;

fn slow(pages: u32) -> Config {
    Config { latency: Duration::from_millis(30), ..Config::plain(pages) }
}

/// No process of the world's browsers is left: each has its profile's path on its command line.
#[track_caller]
fn expect_no_browser(world: &World) {
    let place = world.state.display().to_string();
    let gone = || proc::with_command(&place).is_empty().then_some(());
    if poll::until(Duration::from_secs(10), gone).is_none() {
        panic!("left behind: {:#?}", proc::with_command(&place));
    }
}

#[test]
fn a_whole_site_is_crawled_scripts_included() {
    let world = World::new(Config::full(30), Fetch::Chromium);
    let last = world.crawl().run().expect_code(3);
    world.check_complete(&last);
    expect_no_browser(&world);
}

#[test]
fn a_killed_daemon_loses_nothing_and_leaves_no_browser() {
    let world = World::new(slow(60), Fetch::Chromium);
    for pages in [5, 20, 40] {
        world.crawl_and_kill(pages);
        expect_no_browser(&world);
    }
    let crawl = world.finish();
    assert!(crawl.pages.iter().all(|page| page["skip_reason"] != "poison"), "an innocent page was quarantined");
    expect_no_browser(&world);
}

#[test]
fn killed_browsers_are_replaced() {
    survives(60, |daemon| proc::browsers(daemon).first().map(|browser| browser.pid));
}

#[test]
fn killed_renderers_are_survived() {
    survives(60, |daemon| proc::renderers(daemon).first().map(|renderer| renderer.pid));
}

/// Three times, with the crawl under way, kills the process that `victim` finds below the daemon.
#[track_caller]
fn survives(pages: u32, victim: impl Fn(u32) -> Option<u32>) {
    let world = World::new(slow(pages), Fetch::Chromium);
    let mut child = world.crawl().spawn();
    for recorded in [5, 20, 35] {
        world.until_recorded(&mut child, recorded);
        let found = poll::expect("a process to kill", Duration::from_secs(20), || victim(child.pid));
        proc::kill(found);
    }
    let last = child.wait(child::PATIENCE).expect_code(0);
    let crawl = world.check_complete(&last);
    assert!(crawl.pages.iter().all(|page| page["skip_reason"] != "poison"), "an innocent page was quarantined");
    assert!(crawl.pages.iter().all(|page| page["attempt"] == 1), "an innocent page was charged an attempt");
    expect_no_browser(&world);
}

/// The site itself kills whichever browser asks for the page, every time.
#[test]
fn a_page_that_kills_chromium_is_the_only_one_quarantined() {
    let daemon = Arc::new(OnceLock::<u32>::new());
    let kills = Arc::new(AtomicU32::new(0));
    let (of, counted) = (daemon.clone(), kills.clone());
    let on_poison = Arc::new(move || {
        for browser in of.get().map(|pid| proc::browsers(*pid)).unwrap_or_default() {
            proc::kill(browser.pid);
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let config = Config { poison: true, on_poison: Some(on_poison), ..Config::plain(199) };
    let world = World::new(config, Fetch::Chromium);
    let child = world.crawl().spawn();
    daemon.set(child.pid).expect("set once");
    let last = child.wait(PATIENCE);
    let crawl = world.check_complete(&last);
    let poisoned: Vec<_> = crawl.pages.iter().filter(|page| page["skip_reason"] == "poison").collect();
    assert_eq!(poisoned.len(), 1, "{poisoned:?}");
    assert_eq!(poisoned[0]["url"], world.site.at("/poison").as_str());
    expect_no_browser(&world);
    assert!(kills.load(Ordering::Relaxed) >= 3, "it was given its three chances alone");
}

#[test]
fn with_its_sandbox_on_as_an_unprivileged_user() {
    const NAME: &str = "chromium::with_its_sandbox_on_as_an_unprivileged_user";
    if !skip::root() {
        // Every test of this module runs with the sandbox then.
        return skip::because(NAME, "not root: the other tests of Chromium run with its sandbox");
    }
    let namespaces = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "unshare", "--user", "true"])
        .status();
    if !namespaces.is_ok_and(|status| status.success()) {
        return skip::because(NAME, "the kernel allows no user namespaces to unprivileged users");
    }
    let world = World::new(slow(20), Fetch::Chromium);
    // The binary's own place may be closed to others.
    let binary = world.path().join("crawld");
    fs::copy(env!("CARGO_BIN_EXE_crawld"), &binary).expect("copy of the binary");
    fs::set_permissions(world.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
    fs::create_dir(&world.state).expect("state directory");
    fs::set_permissions(&world.state, fs::Permissions::from_mode(0o700)).expect("permissions");
    chown(&world.state, Some(NOBODY), Some(NOBODY)).expect("owner of the state directory");
    let as_nobody = |command: crate::support::Crawld| {
        command.tweak(|command| {
            command.env_remove("CRAWLD_NO_SANDBOX").env("HOME", "/nonexistent").uid(NOBODY).gid(NOBODY);
        })
    };
    let mut child = as_nobody(world.crawl().program(&binary)).spawn();
    world.until_recorded(&mut child, 3);
    let renderers = proc::renderers(child.pid);
    let sandboxed = renderers.iter().any(|renderer| {
        let status = fs::read_to_string(format!("/proc/{}/status", renderer.pid)).unwrap_or_default();
        status.lines().any(|line| line.split_whitespace().eq(["Seccomp:", "2"]))
    });
    assert!(sandboxed, "no renderer runs under a seccomp filter: {renderers:?}");
    let last = child.wait(child::PATIENCE).expect_code(0);
    let crawl = world.outputs();
    crawl.check_consistent();
    crawl.check_against(&world.site, true);
    crawl.check_counters("the command", &last.json()["counters"]);
    expect_no_browser(&world);
}

/// A browser that is not there is said at once, with what to do, and nothing is begun.
#[test]
fn a_missing_chromium_is_said_loudly() {
    let world = World::new(Config::plain(3), Fetch::Chromium);
    let nowhere = world.path().join("no-chromium");
    let ended = world.crawl().env("CRAWLD_CHROME", &nowhere).run().expect_code(69);
    assert!(ended.stderr.contains("no-chromium"), "{}", ended.said());
    assert!(ended.stderr.contains("CRAWLD_CHROME"), "{}", ended.said());
}

#[test]
fn the_doctor_launches_it_and_says_what_to_do() {
    let world = World::new(Config::plain(1), Fetch::Chromium);
    let well = world.crawld(&["doctor", "--json"]).run();
    let findings = well.json()["findings"].as_array().cloned().unwrap_or_default();
    let found = |what: &str| findings.iter().find(|finding| finding["what"] == what).cloned().unwrap_or_default();
    assert_eq!(found("browser")["grade"], "good", "{}", well.said());
    assert!(found("browser")["found"].as_str().is_some_and(|text| text.contains("up in")), "{findings:#?}");
    for what in ["state directory", "disk", "open files", "clock", "user namespaces", "sandbox", "configuration"] {
        assert!(found(what)["grade"].is_string(), "{what} is not looked at: {findings:#?}");
    }
    let bad = findings.iter().any(|finding| finding["grade"] == "bad");
    assert_eq!(well.code, Some(if bad { 78 } else { 0 }), "{}", well.said());
    assert!(!world.state.exists(), "a look makes nothing");

    // A state directory that is none: said with what to do, though the browser is well.
    fs::write(&world.state, "in the way").expect("a file");
    let ill = world.crawld(&["doctor"]).run().expect_code(78);
    assert!(ill.stdout.contains("BAD") && ill.stdout.contains("--state-dir"), "{}", ill.said());

    let nowhere = world.path().join("no-chromium");
    let without = world.crawld(&["doctor"]).env("CRAWLD_CHROME", &nowhere).run().expect_code(69);
    assert!(without.stdout.contains("no-chromium") && without.stdout.contains("--fetch http"), "{}", without.said());
    if skip::root() {
        let root = world.crawld(&["doctor"]).env("CRAWLD_NO_SANDBOX", "false").run().expect_code(69);
        assert!(root.stdout.contains("CRAWLD_NO_SANDBOX") && root.stdout.contains("root"), "{}", root.said());
    }
}
