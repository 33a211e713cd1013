//! A task file that was changed while its crawl was unfinished: started over once, or continued with the new scope.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::site::Config;
use crate::support::world::Fetch;
use crate::support::{Child, World, child, poll, skip};

fn world() -> World {
    World::new(Config { latency: Duration::from_millis(40), ..Config::plain(300) }, Fetch::Http)
}

/// Writes the world's one task file: what it says besides its seed.
fn write(world: &World, top: &str, scope: &str) -> PathBuf {
    let file = world.path().join("lights.toml");
    let seed = world.site.at("/");
    let task = format!(
        "seeds = [\"{seed}\"]\n{top}\n[fetch]\nmode = \"http\"\n[politeness]\ndelay = \"0ms\"\nper_host = 4\n[scope]\n{scope}\n"
    );
    fs::write(&file, task).expect("a task file");
    file
}

/// `task.json` of the one session.
#[track_caller]
fn task(world: &World) -> Value {
    serde_json::from_slice(&fs::read(world.session_dir().join("task.json")).expect("task.json")).expect("JSON")
}

/// The one session of a daemon that has just started, once it has recorded so many pages.
#[track_caller]
fn until(world: &World, daemon: &mut Child, pages: usize) -> String {
    world.until_recorded(daemon, pages);
    world.session()
}

fn quarantined(world: &World) -> usize {
    fs::read_dir(world.state.join("quarantine")).map_or(0, |entries| entries.count())
}

#[track_caller]
fn decided(world: &World) -> (String, String) {
    let looked = world.recover().args(&["--dry-run"]).run().json();
    let text = |field: &str| looked["sessions"][0][field].as_str().unwrap_or_default().to_owned();
    (text("decision"), text("cause"))
}

#[test]
fn a_changed_task_file_starts_over_once_and_runs_what_it_says() {
    for point in [None, Some("recover.after_intent"), Some("recover.after_task")] {
        if point.is_some() && !cfg!(feature = "failpoints") {
            return skip::because("changed_tasks", "built without the feature `failpoints`");
        }
        let world = world();
        write(&world, "", "");
        let mut first = world.daemon();
        let old = until(&world, &mut first, 10);
        first.kill();
        write(&world, "", "exclude = [\"/light/2$\"]");
        assert_eq!(decided(&world), ("restart".into(), "task_changed".into()), "{point:?}");
        if let Some(point) = point {
            let killed = world.crawld(&["run"]).env("CRAWLD_TASKS_DIR", world.path());
            let ended = killed.failpoints(&format!("{point}=return(kill)")).run();
            assert_eq!(ended.signal, Some(9), "{point} is not passed; {}", ended.said());
        }
        let mut second = world.daemon();
        let new = poll::expect("the session in its place", child::PATIENCE, || {
            assert!(!second.has_ended(), "{}", second.said());
            world.sessions().into_iter().find(|id| *id != old).filter(|_| world.sessions().len() == 1)
        });
        until(&world, &mut second, 10);
        second.kill();
        assert_eq!(task(&world)["spec"]["scope"]["exclude"][0], "/light/2$", "{point:?}: {}", task(&world));
        assert_eq!(decided(&world), ("resume".into(), "crash".into()), "{point:?}: it has taken place");
        let mut third = world.daemon();
        assert_eq!(until(&world, &mut third, 15), new, "{point:?}: not started over a second time");
        assert_eq!(quarantined(&world), 1, "{point:?}: the old session, once");
        third.kill();
        world.recover().run().expect_code(0);
        let crawl = world.outputs();
        crawl.check_consistent();
        assert!(crawl.page("/light/2").is_none() && crawl.page("/light/1").is_some(), "{point:?}");
    }
}

#[test]
fn a_task_that_asks_for_it_is_continued_with_the_new_scope() {
    for point in ["recover.before_task", "recover.after_task", "store.before_open_commit", ""] {
        if !point.is_empty() && !cfg!(feature = "failpoints") {
            return skip::because("changed_tasks", "built without the feature `failpoints`");
        }
        let world = world();
        write(&world, "resume_with_new_scope = true", "");
        let mut first = world.daemon();
        let id = until(&world, &mut first, 10);
        first.kill();
        let known = world.outputs();
        let (fetched, queued) = (known.latest().len(), known.urls.len());
        let before = world.site.hits();
        write(&world, "resume_with_new_scope = true", "exclude = [\"/light/[0-9]*[02468]$\"]");
        if !point.is_empty() {
            let ended = world.recover().failpoints(&format!("{point}=return(kill)")).run();
            assert_eq!(ended.signal, Some(9), "{point} is not passed; {}", ended.said());
        }
        // What was in flight may have been asked for just now.
        let mut second = world.recover().spawn();
        world.until_recorded(&mut second, fetched + 8);
        second.kill();
        assert_eq!((world.session(), quarantined(&world)), (id.clone(), 0), "{point}");
        assert_eq!(task(&world)["spec"]["scope"]["exclude"][0], "/light/[0-9]*[02468]$", "{point}");
        assert_eq!(decided(&world), ("resume".into(), "crash".into()), "{point}");
        let last = world.recover().run().expect_code(0);
        let crawl = world.outputs();
        crawl.check_consistent();
        let left_out = |page: &&&Value| page["skip_reason"] == "out_of_scope";
        let latest = crawl.latest();
        let skipped: Vec<_> = latest.values().filter(left_out).collect();
        assert!(!skipped.is_empty() && skipped.len() <= queued, "{point}: {}", last.said());
        for page in skipped {
            let path = page["url"].as_str().and_then(|url| url.strip_prefix(&world.site.url)).expect("a path");
            assert!(path.ends_with(['0', '2', '4', '6', '8']), "{point}: {path}");
            assert_eq!(world.site.hits().get(path), before.get(path), "{point}: {path} is not asked for");
        }
        assert_eq!(latest.len(), crawl.urls.len(), "{point}: every URL has ended");
        world.verify();
    }
}

#[test]
fn what_a_scope_had_left_out_is_judged_anew_by_the_next() {
    let world = world();
    let scoped = |scope: &str| write(&world, "resume_with_new_scope = true", scope);
    scoped("");
    let mut first = world.daemon();
    until(&world, &mut first, 10);
    first.kill();
    scoped("exclude = [\"/light/[0-9]*[02468]$\"]");
    let mut second = world.recover().spawn();
    poll::expect("URLs left out", child::PATIENCE, || {
        let pages = fs::read_to_string(world.session_dir().join("out/pages-00001.jsonl")).unwrap_or_default();
        let left_out = pages.contains("\"out_of_scope\"");
        assert!(left_out || !second.has_ended(), "{}", second.said());
        left_out.then_some(())
    });
    second.kill();
    scoped("max_depth = 900");
    world.recover().run().expect_code(0);
    let crawl = world.outputs();
    crawl.check_consistent();
    assert!(crawl.latest().values().all(|page| page["outcome"] == "fetched"), "all of them are inside again");
    world.verify();
}

#[test]
fn a_file_that_a_command_named_is_said_to_have_changed() {
    let world = world();
    let file = write(&world, "", "");
    let mut first = world.crawld(&["crawl", &file.display().to_string(), "--json", "--quiet"]).spawn();
    world.until_recorded(&mut first, 10);
    first.kill();
    write(&world, "", "max_depth = 1");
    let said = world.recover().run().expect_code(0).json();
    let message = said["sessions"][0]["message"].as_str().unwrap_or_default();
    assert!(message.contains("lights.toml` was changed since"), "{said}");
    world.outputs().check_against(&world.site, false);
}
