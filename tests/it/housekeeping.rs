//! Cleaning up, exporting and importing, killed at each of their steps: nothing is lost, nothing lives twice.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::site::Config;
use crate::support::world::Fetch;
use crate::support::{Crawld, World, skip};

/// Runs a command killed at a fault point; `false` where the points are not built in.
#[track_caller]
fn killed_at(command: Crawld, point: &str) -> bool {
    if !cfg!(feature = "failpoints") {
        skip::because("housekeeping", "built without the feature `failpoints`");
        return false;
    }
    let ended = command.failpoints(&format!("{point}=return(kill)")).run();
    assert_eq!(ended.signal, Some(9), "{point} is not passed; {}", ended.said());
    true
}

fn small() -> World {
    World::new(Config { latency: Duration::from_millis(2), ..Config::plain(60) }, Fetch::Http)
}

#[test]
fn a_killed_cleanup_is_finished_by_the_next() {
    for point in ["janitor.before_note", "janitor.before_trash", "janitor.after_trash", "janitor.after_delete"] {
        let world = small();
        world.crawl().run().expect_code(0);
        let cleanup = || world.crawld(&["cleanup", "--older-than", "0s"]);
        if !killed_at(cleanup(), point) {
            return;
        }
        cleanup().run().expect_code(0);
        let dir = world.session_dir();
        assert!(!dir.join("frontier.db").exists(), "{point}: the store is gone");
        assert_eq!(fs::read_dir(world.state.join("trash")).expect("trash").count(), 0, "{point}: the trash is empty");
        world.outputs().check_consistent();
        world.outputs().check_against(&world.site, false);
        world.recover().run().expect_code(5);
    }
}

#[test]
fn a_killed_export_leaves_one_home() {
    for point in
        ["export.before_write", "export.before_rename", "export.before_mark", "export.after_mark", "export.after_marks"]
    {
        let home = small();
        home.crawl_and_kill(20);
        let id = home.session();
        let file = home.path().join("first.tar");
        if !killed_at(home.crawld(&["export", &id, text(&file)]), point) {
            return;
        }
        let again = home.path().join("second.tar");
        let ended = home.crawld(&["export", &id, text(&again)]).run();
        let moved = if ended.code == Some(0) { again } else { file };
        assert!(moved.exists(), "{point}: marked as moved without a whole file; {}", ended.said());
        home.recover().run().expect_code(5);
        continued_elsewhere(&home, &moved, None);
    }
}

#[test]
fn a_killed_import_is_done_again_or_continued() {
    let home = small();
    home.crawl_and_kill(20);
    let file = home.path().join("session.tar");
    home.crawld(&["export", &home.session(), text(&file)]).run().expect_code(0);
    for step in ["before_unpack", "after_unpack", "before_rename", "after_rename", "after_checkpoint"] {
        let point = &format!("import.{step}");
        continued_elsewhere(&home, &file, Some(point));
    }
}

/// Imports into a new place, perhaps killed on the way, and crawls there to the end.
#[track_caller]
fn continued_elsewhere(home: &World, file: &Path, killed: Option<&str>) {
    let away = home.beside();
    let import = || away.crawld(&["import", text(file)]);
    if let Some(point) = killed
        && !killed_at(import(), point)
    {
        return;
    }
    if away.sessions().is_empty() {
        import().run().expect_code(0);
    }
    // A file from elsewhere brings no right to reach this machine's own network: nothing is used up meanwhile.
    away.recover().run().expect_code(78);
    away.crawl().run().expect_code(0);
    let crawl = away.outputs();
    crawl.check_consistent();
    let latest = crawl.latest();
    assert_eq!(latest.len(), crawl.urls.len(), "{killed:?}: every URL has ended");
    assert!(latest.values().all(|page| page["outcome"] == "fetched"), "{killed:?}: {latest:?}");
    // What had been recorded when it was killed, less an uncommitted tail.
    let along = latest.values().filter(|page| page["epoch"] == 1).count();
    assert!(along >= 10, "{killed:?}: {along} pages came along");
    away.verify();
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
