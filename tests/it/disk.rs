//! A full disk: crawling waits, says so, and goes on when there is room again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

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
    // It must stop by itself (waiting, or ended with an error that says what to do), not crash.
    let before = poll::expect("the crawl to stop at the full disk", Duration::from_secs(60), || {
        let recorded = world.lines("pages-");
        let still = poll::until(Duration::from_secs(2), || (world.lines("pages-") > recorded).then_some(())).is_none();
        (still || child.has_ended()).then_some(recorded)
    });
    fs::remove_file(&ballast).expect("ballast");
    let waited = !child.has_ended();
    let ended = child.wait(child::PATIENCE);
    println!("stopped at {before} pages; waited: {waited}; then: {:?}", ended.code);
    assert_ne!(ended.code, Some(70), "a panic; {}", ended.said());
    if ended.code == Some(0) {
        world.check_complete(&ended);
    } else {
        world.finish();
    }
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
