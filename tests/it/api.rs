//! The API over TCP, of a real daemon with real crawls.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::site::Config;
use crate::support::http::Api;
use crate::support::world::Fetch;
use crate::support::{Child, World, child, poll, schema};

/// A daemon on a free port. It may crawl this machine, which is where the site is.
fn serve(world: &World) -> (Child, Api) {
    let daemon = world
        .crawld(&["run"])
        .env("CRAWLD_TASKS_DIR", world.path())
        .env("CRAWLD_API_LISTEN", "127.0.0.1:0")
        .env("CRAWLD_API_GRANTS", "private_networks")
        .spawn();
    let api = Api::of(&world.state);
    (daemon, api)
}

fn slow_world(pages: u32) -> World {
    World::new(Config { latency: Duration::from_millis(30), ..Config::plain(pages) }, Fetch::Http)
}

/// Starts the crawl of the world's site; its session.
#[track_caller]
fn submit(world: &World, api: &Api, id: &str) -> String {
    let task = json!({
        "id": id,
        "seeds": [world.site.at("/")],
        "fetch": { "mode": "http" },
        "politeness": { "delay": "0ms", "per_host": 4 },
        "allow_private_networks": ["127.0.0.0/8"],
    });
    let submitted = api.post("/api/v1/sessions", &json!({ "task": task }));
    submitted["session_id"].as_str().expect("a session").to_owned()
}

#[track_caller]
fn until(api: &Api, session: &str, what: &str, good: impl Fn(&Value) -> bool) -> Value {
    let path = format!("/api/v1/sessions/{session}");
    poll::expect(what, child::PATIENCE, || Some(api.get(&path)).filter(|now| good(now)))
}

fn stop(daemon: Child) {
    daemon.signal(Signal::TERM);
    daemon.wait(child::PATIENCE).expect_code(0);
}

#[test]
fn a_crawl_is_started_seen_steered_and_removed_over_the_network() {
    let world = slow_world(150);
    let (daemon, api) = serve(&world);
    for name in ["api-token", "api-token-readonly"] {
        let mode = std::fs::metadata(world.state.join(name)).expect("a token").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let id = submit(&world, &api, "a");
    let at = |rest: &str| format!("/api/v1/sessions/{id}{rest}");
    until(&api, &id, "some pages", |now| now["counters"]["fetched"].as_u64() > Some(5));
    assert_eq!(api.post(&at("/pause"), &json!({}))["status"], "paused");
    let listed = api.get("/api/v1/sessions?status=paused");
    assert_eq!(listed["sessions"][0]["session_id"], id.as_str(), "{listed}");
    assert_eq!(api.get("/api/v1/sessions?status=completed")["sessions"], json!([]));

    let before = api.get(&at(""))["counters"]["discovered"].as_u64();
    let seeds = api.post(&at("/seeds"), &json!({ "urls": [world.site.at("/only-by-hand")] }));
    assert_eq!(seeds["count"], 1, "{seeds}");
    until(&api, &id, "the seed", |now| now["counters"]["discovered"].as_u64() > before);
    let changed = api.ask("PATCH", &at(""), Some(&json!({ "exclude": ["/light/1[0-9]$"], "delay": "1ms" })));
    changed.expect(200);
    let task = std::fs::read_to_string(world.session_dir().join("task.json")).expect("the task");
    assert!(task.contains("only-by-hand") && task.contains("/light/1[0-9]$"), "{task}");
    api.ask("DELETE", &at(""), None).expect(409);

    api.post(&at("/resume"), &json!({}));
    let end = until(&api, &id, "the end", |now| now["status"] == "completed");
    assert!(end["counters"]["skipped"].as_u64() > Some(0), "what was queued and is excluded now is skipped: {end}");
    assert_eq!(api.post(&at("/verify"), &json!({}))["ok"], true);
    let removed = api.ask("DELETE", &at("?outputs=true"), None).expect(200).json();
    assert!(removed["freed_bytes"].as_u64() > Some(0), "{removed}");
    api.ask("GET", &at(""), None).expect(404);
    assert_eq!(api.get("/api/v1/sessions")["sessions"], json!([]));
    stop(daemon);
    assert!(!world.state.join("api-address").exists(), "a stopped daemon is reached nowhere");
}

#[test]
fn a_change_of_a_session_outlives_a_kill() {
    let world = slow_world(120);
    let (daemon, api) = serve(&world);
    let id = submit(&world, &api, "a");
    until(&api, &id, "some pages", |now| now["counters"]["fetched"].as_u64() > Some(3));
    let change = json!({ "exclude": ["/light/"] });
    api.ask("PATCH", &format!("/api/v1/sessions/{id}"), Some(&change)).expect(200);
    daemon.kill();
    let (daemon, api) = serve(&world);
    let end = until(&api, &id, "the end", |now| now["status"] == "completed");
    assert!(end["counters"]["skipped"].as_u64() > Some(0), "{end}");
    stop(daemon);
}

#[test]
fn pages_are_told_by_cursor_and_outputs_in_ranges() {
    let world = World::new(Config::plain(230), Fetch::Http);
    let (daemon, api) = serve(&world);
    let id = submit(&world, &api, "a");
    let end = until(&api, &id, "the end", |now| now["status"] == "completed");
    let (mut after, mut seen) = (0, BTreeSet::new());
    loop {
        let page = api.get(&format!("/api/v1/sessions/{id}/pages?outcome=fetched&limit=50&after={after}"));
        for page in page["pages"].as_array().expect("pages") {
            assert_eq!(page["state"], "fetched");
            assert!(seen.insert(page["n"].as_u64().expect("a number")), "{page} twice");
        }
        match page["next"].as_u64() {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(Some(seen.len() as u64), end["counters"]["fetched"].as_u64());

    let outputs = api.get(&format!("/api/v1/sessions/{id}/outputs"));
    let pages = outputs["outputs"].as_array().expect("outputs").iter().find(|one| one["name"] == "pages-00001.jsonl");
    let bytes = pages.expect("the pages")["bytes"].as_u64().expect("a length");
    let path = format!("/api/v1/sessions/{id}/outputs/pages-00001.jsonl");
    let whole = api.ask("GET", &path, None).expect(200);
    assert_eq!(whole.body.len() as u64, bytes);
    assert_eq!(whole.body, std::fs::read(world.session_dir().join("out/pages-00001.jsonl")).expect("the file"));
    let bearer = format!("Bearer {}", api.read_only);
    let range = |range: &str| api.ask_with("GET", &path, &[("Authorization", &bearer), ("Range", range)], None);
    let part = range("bytes=10-19").expect(206);
    assert_eq!(part.body, whole.body[10..20]);
    assert!(part.head.contains(&format!("content-range: bytes 10-19/{bytes}")), "{}", part.head);
    assert_eq!(range("bytes=-5").expect(206).body, whole.body[whole.body.len() - 5..]);
    let beyond = range(&format!("bytes={bytes}-")).expect(416);
    assert!(beyond.head.contains(&format!("content-range: bytes */{bytes}")), "{}", beyond.head);
    range("bytes=0-1,5-6,0-").expect(200);
    for name in
        ["..%2f..%2ftask.json", "task.json", "..", "pages-00009.jsonl", "%2e%2e/session.lock", "pages-00001.jsonl%00"]
    {
        api.ask("GET", &format!("/api/v1/sessions/{id}/outputs/{name}"), None).expect(404);
    }
    stop(daemon);
}

#[test]
fn the_document_is_true_of_every_answer() {
    let world = World::new(Config { lab: true, ..Config::plain(30) }, Fetch::Http);
    let (daemon, api) = serve(&world);
    let id = submit(&world, &api, "a");
    until(&api, &id, "the end", |now| now["status"] == "completed");
    let document = api.get("/api/v1/openapi.json");
    assert_eq!(document["openapi"], "3.1.0");
    let mut looked = 0;
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            let name = path.replace("{id}", &id).replace("{name}", "pages-00001.jsonl");
            let responses = operation["responses"].as_object().expect("responses");
            // What answers without a body to act upon: nothing here is changed by what it takes.
            let body = operation["requestBody"].is_object().then(|| json!({}));
            let destroys = method == "delete" || ["cancel", "recover", "cleanup"].iter().any(|end| name.ends_with(end));
            if destroys {
                continue;
            }
            let answer = api.ask(&method.to_uppercase(), &name, body.as_ref());
            let key = if responses.contains_key(&answer.status.to_string()) {
                answer.status.to_string()
            } else {
                "default".to_owned()
            };
            assert!(
                answer.status < 500,
                "{method} {path}: {} {}",
                answer.status,
                String::from_utf8_lossy(&answer.body)
            );
            let content = &responses[&key]["content"];
            let kind = answer.head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap_or_default();
            if content.is_null() || kind == "text/html; charset=utf-8" {
                continue;
            }
            let kind = kind.split(';').next().unwrap_or_default();
            let Some(schema) = content.get(kind).and_then(|content| content.get("schema")) else {
                assert!(
                    content["application/octet-stream"].is_object() || content.get(kind).is_some(),
                    "{method} {path}: {kind} is not in the document"
                );
                continue;
            };
            let complaints = schema::complaints(&document, schema, &answer.json());
            assert!(complaints.is_empty(), "{method} {path} ({}): {complaints:#?}", answer.status);
            looked += 1;
        }
    }
    assert!(looked >= 25, "only {looked} answers were compared");
    stop(daemon);
}

#[test]
fn a_taken_port_costs_no_crawl_and_is_said() {
    let world = World::new(Config::plain(20), Fetch::Http);
    let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = held.local_addr().expect("its address").to_string();
    let end = world.crawl().env("CRAWLD_API_LISTEN", &address).run().expect_code(0);
    world.check_complete(&end);
    let daemon =
        world.crawld(&["run"]).env("CRAWLD_TASKS_DIR", world.path()).env("CRAWLD_API_LISTEN", &address).spawn();
    let said = poll::expect("a warning", Duration::from_secs(20), || {
        Some(daemon.stderr()).filter(|said| said.contains("the API is served on the Unix socket only"))
    });
    assert!(said.contains(&address) && said.contains("api_listen"), "{said}");
    stop(daemon);
}

#[test]
fn a_crawl_that_stands_still_is_never_called_healthy() {
    let world = slow_world(200);
    let daemon = world
        .crawld(&["run"])
        .env("CRAWLD_TASKS_DIR", world.path())
        .env("CRAWLD_API_LISTEN", "127.0.0.1:0")
        .env("CRAWLD_API_GRANTS", "private_networks")
        .env("CRAWLD_DISK_RESERVE_PERCENT", "90")
        .env("CRAWLD_DISK_RESERVE_BYTES", u64::MAX.to_string())
        .spawn();
    let api = Api::of(&world.state);
    submit(&world, &api, "a");
    let probe = |headers: &[(&str, &str)]| api.ask_with("GET", "/healthz", headers, None);
    let bare =
        poll::expect("an unhealthy answer", child::PATIENCE, || Some(probe(&[])).filter(|now| now.status == 503));
    assert_eq!(bare.json(), json!({ "status": "unhealthy" }), "strangers learn no reason");
    let told = probe(&[("Authorization", &format!("Bearer {}", api.read_only))]).json();
    assert!(told["reasons"][0].as_str().is_some_and(|why| why.contains("disk")), "{told}");
    let health = api.ask("GET", "/api/v1/health", None).expect(503).json();
    assert_eq!((&health["status"], health["reasons"].as_array().map(Vec::len)), (&json!("unhealthy"), Some(1)));
    let command = world.crawld(&["sessions", "--json"]).run().expect_code(0).json();
    assert_eq!(command["sessions"].as_array().map(Vec::len), Some(1));
    stop(daemon);
}
