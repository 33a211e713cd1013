//! A dry run tells what would be done and changes nothing: not a name, not a byte.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::site::Config;
use crate::support::world::Fetch;
use crate::support::{World, child};

fn world() -> World {
    World::new(Config { latency: Duration::from_millis(10), ..Config::plain(80) }, Fetch::Http)
}

/// Every name below a folder, with what the files hold.
fn tree(root: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the state").map(|entry| entry.expect("an entry")) {
            let path = entry.path();
            let kind = entry.file_type().expect("its kind");
            let bytes = kind.is_file().then(|| fs::read(&path).expect("a file of the state"));
            if kind.is_dir() {
                folders.push(path.clone());
            }
            found.insert(path, bytes);
        }
    }
    found
}

/// What a start would put right before anything is recovered.
fn leave_leftovers(world: &World) {
    let profile = world.state.join("browsers/browser-1-1");
    fs::create_dir_all(profile.join("Default")).expect("a profile");
    fs::write(profile.with_extension("json"), "{}").expect("its record");
    fs::write(world.state.join("sessions/.tmp-leftover"), "half").expect("half a file");
    fs::create_dir_all(world.state.join("trash/session_1_aaaaaaaa")).expect("half a cleanup");
}

#[track_caller]
fn changes_nothing(world: &World, name: &str) {
    leave_leftovers(world);
    let before = tree(&world.state);
    let looked = world.crawld(&["recover", "--dry-run", "--json"]).run().expect_code(0).json();
    assert_eq!(looked["sessions"][0]["decision"], "resume", "{name}: {looked}");
    world.crawld(&["cleanup", "--dry-run", "--older-than", "0s"]).run().expect_code(0);
    let after = tree(&world.state);
    let names = |tree: &BTreeMap<PathBuf, _>| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&before), names(&after), "{name}");
    let changed: Vec<_> = before.iter().filter(|(path, bytes)| after[*path] != **bytes).map(|(path, _)| path).collect();
    assert!(changed.is_empty(), "{name}: {changed:?}");
}

#[test]
fn of_a_killed_session_with_a_healthy_and_a_damaged_registry() {
    let killed = world();
    killed.crawl_and_kill(15);
    changes_nothing(&killed, "healthy registry");
    let registry = killed.state.join("crawld.db");
    for log in ["crawld.db-wal", "crawld.db-shm"] {
        let _ = fs::remove_file(killed.state.join(log));
    }
    fs::write(&registry, "this is no database, and long enough to be seen as one".repeat(100)).expect("write");
    changes_nothing(&killed, "damaged registry");
    let last = killed.recover().run().expect_code(0);
    killed.check_complete(&last);
    assert!(killed.state.join("quarantine/crawld.db.damaged-1").exists(), "kept in quarantine");
}

#[test]
fn of_a_session_that_stopped_cleanly() {
    let stopped = world();
    let mut first = stopped.crawl().spawn();
    stopped.until_recorded(&mut first, 5);
    first.signal(Signal::TERM);
    first.wait(child::PATIENCE).expect_code(4);
    changes_nothing(&stopped, "clean stop");
    stopped.finish();
}
