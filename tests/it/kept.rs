//! What pages leave behind by option: in the record, and in files that are there exactly once.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::site::Config;
use crate::support::World;
use crate::support::world::Fetch;

fn world() -> World {
    World::new(Config { latency: Duration::from_millis(1), ..Config::plain(30) }, Fetch::Http)
}

fn unpacked(path: &Path) -> String {
    let mut text = String::new();
    let packed = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).expect("gzip");
    text
}

/// The name of a record's file of a kind.
fn file<'a>(page: &'a Value, kind: &str) -> Option<&'a str> {
    page["files"].as_array()?.iter().find(|file| file["kind"] == kind)?["name"].as_str()
}

#[test]
fn the_html_is_what_was_received_and_the_record_says_what_the_page_is_about() {
    let world = world();
    let ended = world.crawl_keeping("html = true\nmarkdown = true\nmetadata = true").run().expect_code(0);
    let crawl = world.check_complete(&ended);
    let out = world.session_dir().join("out");
    for page in crawl.latest().into_values() {
        let html = unpacked(&out.join(file(page, "html").expect("a file")));
        let title = page["title"].as_str().expect("a title");
        assert!(html.contains(&format!("<title>{title}</title>")), "{html}");
        assert_eq!(page["metadata"]["title"], title);
        assert!(page["markdown"].is_string() && page["left_out"].is_null(), "{page:#}");
    }
}

#[test]
fn what_is_too_large_is_left_out_and_said() {
    let world = world();
    let ended = world.crawl_keeping("html = true\ncapture_max_bytes = 100").run().expect_code(0);
    let crawl = world.check_complete(&ended);
    assert!(crawl.pages.iter().all(|page| page["left_out"][0]["kind"] == "html" && page["files"].is_null()));
}

#[test]
fn verify_misses_them_and_finds_others() {
    let world = world();
    world.crawl_keeping("html = true").run().expect_code(0);
    let crawl = world.outputs();
    let out = world.session_dir().join("out");
    let names: Vec<&str> = crawl.pages.iter().filter_map(|page| file(page, "html")).collect();
    let stray = out.join(names[0].replace("00000001-", "00000777-"));
    fs::copy(out.join(names[0]), &stray).expect("copied");
    fs::remove_file(out.join(names[1])).expect("removed");
    fs::write(out.join(names[2]), "another").expect("written");
    let said = world.crawld(&["verify"]).run();
    assert_ne!(said.code, Some(0), "{}", said.said());
    for part in [names[1], names[2], "no record names"] {
        assert!(said.stdout.contains(part) || said.stderr.contains(part), "{part}: {}", said.said());
    }
}

#[test]
fn they_move_with_their_session() {
    let world = world();
    world.crawl_keeping("html = true").run().expect_code(0);
    let file = world.path().join("kept.tar.gz");
    world.crawld(&["export", &world.session(), &file.display().to_string()]).run().expect_code(0);
    let there = world.beside();
    there.crawld(&["import", &file.display().to_string()]).run().expect_code(0);
    there.outputs().check_files();
    assert!(there.outputs().pages.iter().all(|page| page["files"].is_array()));
    there.verify();
}

#[test]
fn records_that_are_lost_take_their_files_with_them() {
    let world = world();
    world.crawl_keeping("html = true").failpoints("store.before_commit=8*off->return(kill)").run();
    let pages = world.session_dir().join("out/pages-00001.jsonl");
    let body = fs::read(&pages).expect("pages file");
    fs::write(&pages, &body[..body.len() / 2]).expect("pages file");
    world.finish();
}

/// Every picture of a finished crawl is that of its page; the scripted browser's say whose they are.
#[track_caller]
fn check_pictures(world: &World) {
    let crawl = world.finish();
    let out = world.session_dir().join("out");
    for page in
        crawl.latest().into_values().filter(|page| page["fetched_with"] == "browser" && page["http_status"] == 200)
    {
        for (kind, head) in [("screenshot", "\u{89}PNG"), ("pdf", "%PDF")] {
            let body = fs::read(out.join(file(page, kind).expect("a picture"))).expect("a file");
            assert_eq!(String::from_utf8_lossy(&body), format!("{head} {}", page["final_url"].as_str().unwrap_or("?")));
        }
        assert!(page["left_out"].is_null() && page["requests"].is_array(), "{page:#}");
    }
}

#[test]
fn pictures_are_there_exactly_once_whenever_it_is_killed() {
    if !cfg!(feature = "failpoints") {
        return crate::support::skip::because("kept", "built without the feature `failpoints`");
    }
    for point in [
        "files.after_write=5",
        "files.before_place=4",
        "files.after_place=7",
        "store.before_commit=6",
        "store.after_commit=6",
    ] {
        let world = World::new(Config { latency: Duration::from_millis(1), ..Config::plain(12) }, Fetch::Scripted);
        let keeping = "screenshot = \"viewport\"\npdf = true\nrequests = true";
        let killed = world.crawl_keeping(keeping).failpoints(&format!("{point}*off->return(kill)")).run();
        assert_ne!(killed.code, Some(0), "{point} was not passed");
        check_pictures(&world);
    }
}

/// The one download of the full site, whole and named by its record.
#[track_caller]
fn check_download(world: &World) {
    let crawl = world.finish();
    let page = crawl.page("/lab/file.zip").expect("its record");
    assert_eq!(page["skip_reason"], "download", "{page:#}");
    let body = fs::read(world.session_dir().join("out").join(file(page, "download").expect("a file"))).expect("a file");
    assert_eq!(page["bytes"], body.len(), "{page:#}");
    assert!(!body.is_empty());
}

fn world_with_a_download(fetch: Fetch) -> World {
    World::new(Config { latency: Duration::from_millis(1), ..Config::full(20) }, fetch)
}

#[test]
fn downloads_are_kept_by_option_also_when_it_is_killed() {
    let world = world_with_a_download(Fetch::Http);
    if cfg!(feature = "failpoints") {
        let killed = world.crawl_keeping("downloads = true").failpoints("files.before_place=return(kill)").run();
        assert_ne!(killed.code, Some(0), "the point was not passed");
    } else {
        world.crawl_keeping("downloads = true").run();
    }
    check_download(&world);
}

#[test]
fn downloads_of_a_browser_are_kept_by_option() {
    let world = world_with_a_download(Fetch::Chromium);
    world.crawl_keeping("downloads = true").run();
    check_download(&world);
}
