//! A full disk: crawling waits, says so, and goes on when there is room again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::site::Config;
use crate::support::world::Fetch;
use crate::support::{World, child, poll, skip};

/// A small file system in memory, unmounted when dropped.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(at).expect("mount point");
        let options = format!("size={size},mode=0700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).output();
        mounted.is_ok_and(|done| done.status.success()).then(|| Small(at.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn is_waited_for_and_loses_nothing() {
    let world = World::new(Config { latency: Duration::from_millis(5), ..Config::plain(300) }, Fetch::Http);
    let Some(_small) = Small::mount(&world.state, "64m") else {
        return skip::because("disk::is_waited_for_and_loses_nothing", "mounting a tmpfs is not allowed here");
    };
    let mut child = world.crawl().spawn();
    world.until_recorded(&mut child, 20);
    let ballast = world.state.join("ballast");
    fill(&ballast);
    // It must hold by itself, and say why: to whoever asks, and in its heartbeat.
    let id = world.session();
    let status = || {
        assert!(!child.has_ended(), "a full disk ends no crawl; {}", child.said());
        world.crawld(&["status", &id, "--json"]).run().json()
    };
    let mut status = status;
    let held = poll::expect("the crawl to hold at the full disk", Duration::from_secs(60), || {
        Some(status()).filter(|now| now["status"] == "paused")
    });
    assert!(held["status_reason"].as_str().is_some_and(|why| why.starts_with("disk: ")), "{held}");
    let before = world.lines("pages-");
    assert!(before < 301, "it was over before the disk was full");
    fs::remove_file(&ballast).expect("ballast");
    // With room again it goes on without a word from anybody.
    let ended = child.wait(child::PATIENCE).expect_code(0);
    world.check_complete(&ended);
    assert!(world.lines("pages-") > before);
}

/// Writes until nothing more fits.
fn fill(path: &Path) {
    use std::io::Write as _;
    let mut file = fs::File::create(path).expect("ballast");
    let mut block = vec![7u8; 1 << 16];
    while !block.is_empty() {
        if file.write_all(&block).is_err() {
            block.truncate(block.len() / 2);
        }
    }
}

#[test]
fn too_small_from_the_start_is_said_clearly() {
    let world = World::new(Config::plain(50), Fetch::Http);
    let Some(_small) = Small::mount(&world.state, "64k") else {
        return skip::because("disk::too_small_from_the_start_is_said_clearly", "mounting a tmpfs is not allowed here");
    };
    let mut child = world.crawl().spawn();
    let ended = poll::until(Duration::from_secs(20), || child.has_ended().then_some(())).is_some();
    let said = child.said();
    let code = if ended { child.wait(child::PATIENCE).code } else { child.kill().code };
    assert_ne!(code, Some(70), "a panic; {said}");
    assert_ne!(code, Some(0), "it cannot have fitted; {said}");
}

#[test]
fn is_no_reason_not_to_stop() {
    let world = World::new(Config { latency: Duration::from_millis(5), ..Config::plain(300) }, Fetch::Http);
    let Some(_small) = Small::mount(&world.state, "64m") else {
        return skip::because("disk::is_no_reason_not_to_stop", "mounting a tmpfs is not allowed here");
    };
    let mut child = world.crawl().spawn();
    world.until_recorded(&mut child, 20);
    let ballast = world.state.join("ballast");
    fill(&ballast);
    let id = world.session();
    poll::expect("the crawl to hold at the full disk", Duration::from_secs(60), || {
        let status = world.crawld(&["status", &id, "--json"]).run().json();
        (status["status"] == "paused").then_some(())
    });
    child.signal(Signal::INT);
    // Far less than the deadline at which a stop is given up.
    child.wait(Duration::from_secs(20)).expect_code(4);
    fs::remove_file(&ballast).expect("ballast");
    let ended = world.crawl().run().expect_code(0);
    world.check_complete(&ended);
}

#[test]
fn below_its_reserve_when_a_session_opens_nothing_is_fetched() {
    let world = World::new(Config::plain(50), Fetch::Http);
    let everything = u64::MAX.to_string();
    let reserve = |crawld: child::Crawld| {
        crawld.env("CRAWLD_DISK_RESERVE_BYTES", &everything[..18]).env("CRAWLD_DISK_RESERVE_PERCENT", "90")
    };
    let mut child = reserve(world.crawl()).spawn();
    poll::expect("the crawl to hold", Duration::from_secs(60), || {
        assert!(!child.has_ended(), "it waits; {}", child.said());
        let id = world.sessions().pop()?;
        let status = world.crawld(&["status", &id, "--json"]).run();
        (status.code == Some(0) && status.json()["status"] == "paused").then_some(())
    });
    assert_eq!(world.lines("pages-"), 0, "the first sample counts as well");
    child.kill();
}
