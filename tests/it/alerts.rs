//! Alerts reach the operator's address, each once; a monitor's question is answered by an exit code.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use serde_json::Value;

use crate::site::Config;
use crate::support::door::{self, Door};
use crate::support::world::Fetch;
use crate::support::{World, child, poll};

/// Pages that nobody serves: more than the visits below which an error rate says nothing.
const DEAD: u32 = 30;

/// Takes deliveries on a free port of loopback, and hands their bodies on. Its thread ends with the tests.
fn receiver() -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/hook", listener.local_addr().expect("its address"));
    let (send, bodies) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if let Some(body) = take(stream)
                && send.send(body).is_err()
            {
                return;
            }
        }
    });
    (url, bodies)
}

fn take(stream: TcpStream) -> Option<Value> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let mut reader = BufReader::new(&stream);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).ok()?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim().to_ascii_lowercase().split_once(':') {
            Some(("content-length", value)) => length = value.trim().parse().ok()?,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    (&stream).write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").ok()?;
    assert!(first.starts_with("POST /hook "), "{first}");
    serde_json::from_slice(&body).ok()
}

/// A port of loopback where nobody listens.
fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

#[test]
fn every_alert_is_delivered_once_and_the_score_is_an_exit_code() {
    let (world, door) = Door::world(Config::plain(3));
    let (url, bodies) = receiver();
    let port = closed_port();
    let mut seeds: Vec<String> = (0..DEAD).map(|n| format!("http://127.0.0.1:{port}/{n}")).collect();
    seeds.push(world.site.at(door::PAGE));
    let mut args = vec!["crawl"];
    args.extend(seeds.iter().map(String::as_str));
    args.extend(["--fetch", "http", "--delay", "0ms", "--per-host", "4", "--tabs", "4", "--attempts", "1"]);
    args.extend(["--robots", "ignore", "--no-sitemaps", "--scope", "page", "--json", "--quiet", "--log-level", "warn"]);
    let crawl = world
        .crawld(&args)
        .env("CRAWLD_ALERT_WEBHOOK", &url)
        .env("CRAWLD_BREAKER_FAILURE_THRESHOLD", "1000")
        .env("CRAWLD_SESSION_HEALTH_CHECK_INTERVAL", "1s")
        .env("CRAWLD_SESSION_HEARTBEAT_INTERVAL", "1s")
        .spawn();
    door.expect_knocks(1);
    let first = bodies.recv_timeout(child::PATIENCE).expect("an alert");
    let id = world.session();
    assert_eq!(first["session_id"], id.as_str(), "{first}");

    // The failures are all there, and the score stands still: only the page behind the door is left.
    let score = poll::expect("a score under 0.7", Duration::from_secs(30), || {
        let status = world.crawld(&["status", &id, "--json"]).run().json();
        let settled = status["counters"]["failed"] == DEAD && status["health_factors"].is_array();
        status["health_score"].as_f64().filter(|score| settled && *score < 0.7)
    });
    let check = |threshold: f64| {
        let threshold = format!("{threshold:.4}");
        world.crawld(&["status", &id, "--check", "--threshold", &threshold]).run()
    };
    check((score - 0.05).max(0.0)).expect_code(0);
    let below = check(score + 0.05).expect_code(4);
    assert!(below.stderr.contains("success"), "the reason is not named: {}", below.said());
    world.crawld(&["status", "--check"]).run().expect_code(4);
    world.crawld(&["status", "--check", "--threshold", "1.5"]).run().expect_code(2);

    door.open();
    let last = crawl.wait(child::PATIENCE).expect_code(3);
    world.crawld(&["status", "--check"]).run().expect_code(0);
    let mut all: Vec<Value> = vec![first];
    all.extend(bodies.try_iter());
    let mut kinds: Vec<&str> = all.iter().map(|body| body["alert"].as_str().expect("a kind")).collect();
    kinds.sort_unstable();
    let many = kinds.len();
    kinds.dedup();
    assert_eq!(kinds.len(), many, "once per crossing: {all:#?}; {}", last.said());
    assert!(kinds.contains(&"error_rate") && kinds.iter().any(|kind| kind.starts_with("health_")), "{all:#?}");
    for body in all {
        let (value, threshold) = (body["value"].as_f64(), body["threshold"].as_f64());
        let crossed = if body["alert"] == "error_rate" { value > threshold } else { value < threshold };
        assert!(crossed && value.is_some() && body["timestamp"].is_string(), "{body}");
    }
}

#[test]
fn a_receiver_that_is_not_there_stops_nothing() {
    let world = World::new(Config::full(10), Fetch::Http);
    let nowhere = format!("http://127.0.0.1:{}/hook", closed_port());
    let crawl = world.crawl().env("CRAWLD_ALERT_WEBHOOK", nowhere);
    let last = crawl.env("CRAWLD_SESSION_HEALTH_CHECK_INTERVAL", "1s").run().expect_code(3);
    world.check_complete(&last);
}

#[test]
fn a_killed_crawl_fails_the_check_and_a_finished_one_passes_it() {
    let world = World::new(Config { latency: Duration::from_millis(10), ..Config::plain(60) }, Fetch::Http);
    let check = |args: &[&str]| world.crawld(&["status", "--check"]).args(args).run();
    let mut child = world.crawl().spawn();
    world.until_recorded(&mut child, 10);
    check(&[]).expect_code(0);
    child.kill();
    let crashed = check(&[]).expect_code(4);
    assert!(crashed.stderr.contains("crashed") && crashed.stderr.contains(&world.session()), "{}", crashed.said());
    check(&["--threshold", "0"]).expect_code(0);
    world.finish();
    check(&["--threshold", "1"]).expect_code(0);
}
