//! The robots.txt cache against a scripted server.

use std::sync::Arc;
use std::time::Duration;

use super::client::{Deadlines, HttpClient};
use super::resolve::SystemLookup;
use super::robots::{RobotsAnswer, RobotsCache};
use super::testing::*;
use crate::clock::Clock;
use crate::model::outcome::SkipReason;
use crate::model::visit::Refusal;
use crate::policy::robots::RobotsAccess;

const RULES: &[u8] = b"User-agent: *\nDisallow: /no\nSitemap: http://h/s.xml\n";

fn clocked(clock: &Clock) -> HttpClient {
    HttpClient::with(loopback_only(), Arc::new(SystemLookup), &quick(), clock.clone(), Deadlines::default()).unwrap()
}

fn word(access: &RobotsAccess) -> &'static str {
    match access {
        RobotsAccess::Rules(robots) if robots.allowed("crawld", "http://h/no").allowed => "rules that allow",
        RobotsAccess::Rules(_) => "rules",
        RobotsAccess::AllowAll => "all",
        RobotsAccess::DisallowAll => "nothing",
        RobotsAccess::Unreachable => "unreachable",
    }
}

async fn ask(reply: impl Fn(&str) -> Reply + Send + Sync + 'static, deadlines: Deadlines) -> RobotsAnswer {
    let site = Site::start(reply).await;
    RobotsCache::new().access(&client(&quick(), deadlines), &site.host_key()).await.unwrap()
}

#[tokio::test]
async fn answers_have_their_meaning() {
    for (status, expected) in [
        ("200 OK", "rules"),
        ("404 Not Found", "all"),
        ("403 Forbidden", "all"),
        ("401 Who", "all"),
        ("500 Broken", "unreachable"),
        ("503 Later", "unreachable"),
        ("429 Busy", "unreachable"),
    ] {
        let answer =
            ask(move |_| Reply::with(status, &[("Content-Type", "text/plain")], RULES), Deadlines::default()).await;
        assert_eq!(word(answer.access()), expected, "{status}");
        let stored = answer.fresh.unwrap();
        assert_eq!(stored.body.is_some(), expected == "rules", "{status}");
    }
    let silent = ask(|_| Reply::Stall(vec![]), short()).await;
    assert_eq!(word(silent.access()), "unreachable");
    let garbage = ask(|_| Reply::Bytes(b"SSH-2.0\r\n".to_vec()), Deadlines::default()).await;
    assert_eq!(word(garbage.access()), "unreachable");
}

#[tokio::test]
async fn a_pause_that_is_asked_for_is_told_once() {
    let site = Site::start(|_| Reply::with("503 Later", &[("Retry-After", "20")], b"")).await;
    let (cache, client, host) = (RobotsCache::new(), client(&quick(), Deadlines::default()), site.host_key());
    let asked = cache.access(&client, &host).await.unwrap();
    assert_eq!((word(asked.access()), asked.retry_after), ("unreachable", Some(Duration::from_secs(20))));
    assert_eq!(cache.access(&client, &host).await.unwrap().retry_after, None, "by whom it was asked");
}

#[tokio::test]
async fn five_redirects_are_followed_to_any_host() {
    let other = Site::start(|_| Reply::ok("text/plain", RULES)).await;
    let away = other.url("/elsewhere").as_str().to_owned();
    let chain = move |path: &str| match path {
        "/robots.txt" => Reply::redirect("/1"),
        "/4" => Reply::redirect(&away),
        path => Reply::redirect(&format!("/{}", path[1..].parse::<u32>().unwrap() + 1)),
    };
    assert_eq!(word(ask(chain, Deadlines::default()).await.access()), "rules");
    let endless = |path: &str| Reply::redirect(&format!("{path}x"));
    assert_eq!(word(ask(endless, Deadlines::default()).await.access()), "all");
    let inwards =
        |path: &str| if path == "/robots.txt" { Reply::redirect("http://10.0.0.1/") } else { Reply::status("200 OK") };
    assert_eq!(word(ask(inwards, Deadlines::default()).await.access()), "all");
}

#[tokio::test]
async fn a_huge_file_is_read_up_to_its_limit() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nUser-agent: *\nDisallow: /no\n".to_vec();
    let answer = ask(move |_| Reply::Forever(head.clone(), b"# nothing\n".repeat(500)), Deadlines::default()).await;
    assert_eq!(word(answer.access()), "rules");
    assert_eq!(answer.fresh.unwrap().body.unwrap().len(), crate::policy::robots::MAX_BYTES + 1);
}

#[tokio::test]
async fn many_ask_at_once_and_one_request_is_sent() {
    let site = Site::start(|_| Reply::ok("text/plain", RULES)).await;
    let (cache, client, host) = (RobotsCache::new(), client(&quick(), Deadlines::default()), site.host_key());
    let answers = futures_util::future::join_all((0..20).map(|_| cache.access(&client, &host))).await;
    assert!(answers.iter().all(|answer| word(answer.as_ref().unwrap().access()) == "rules"));
    assert_eq!(answers.iter().filter(|answer| answer.as_ref().unwrap().fresh.is_some()).count(), 1);
    assert_eq!(site.asked().len(), 1);
    assert_eq!(cache.known(), 1);
}

#[tokio::test]
async fn a_copy_lasts_a_day_and_survives_restarts_and_outages() {
    let site = Site::start(|_| Reply::ok("text/plain", RULES)).await;
    let clock = Clock::system();
    let (client, host) = (clocked(&clock), site.host_key());
    let stored = RobotsCache::new().access(&client, &host).await.unwrap().fresh.unwrap();
    drop(site);

    let restarted = RobotsCache::new();
    restarted.restore(&host, stored.clone());
    let answer = restarted.access(&client, &host).await.unwrap();
    assert_eq!((word(answer.access()), answer.fresh), ("rules", None));

    clock.shift(25 * 3600 * 1000);
    // Nobody answers any more (the port may even belong to another test's site by now: then its answer
    // is not asked for here).
    let gone = "http://127.0.0.1:1";
    restarted.restore(gone, stored);
    let answer = restarted.access(&client, gone).await.unwrap();
    assert_eq!(word(answer.access()), "rules", "the old copy stays in force");
    let kept = answer.fresh.unwrap();
    assert!(kept.failing_since.is_some() && kept.body.is_some());
    let again = RobotsCache::new();
    again.restore(gone, kept);
    assert_eq!(word(again.access(&client, gone).await.unwrap().access()), "rules");
}

#[tokio::test]
async fn a_forbidden_host_is_refused_and_not_remembered() {
    let site = Site::start(|_| Reply::ok("text/plain", RULES)).await;
    let cache = RobotsCache::new();
    let nothing = client_with(Arc::new(Rules(|_, _, _| false)), Arc::new(SystemLookup), &quick(), Deadlines::default());
    let refused = cache.access(&nothing, &site.host_key()).await.unwrap_err();
    assert_eq!(refused, Refusal::Skip(SkipReason::AddressForbidden));
    let other = client(&quick(), Deadlines::default());
    assert_eq!(word(cache.access(&other, &site.host_key()).await.unwrap().access()), "rules");
}

#[tokio::test]
async fn an_abandoned_question_is_asked_again() {
    let site = Site::start(|_| Reply::Stall(vec![])).await;
    let (cache, client) = (RobotsCache::new(), client(&quick(), short()));
    let host = site.host_key();
    let abandoned = tokio::time::timeout(Duration::ZERO, cache.access(&client, &host)).await;
    assert!(abandoned.is_err());
    assert_eq!(word(cache.access(&client, &host).await.unwrap().access()), "unreachable");
}

#[test]
fn the_least_recently_used_hosts_are_forgotten() {
    let cache = RobotsCache::with_limit(100);
    for i in 0..1000 {
        let stored = super::robots::StoredRobots {
            asked_at: Clock::system().now(),
            failing_since: None,
            status: Some(404),
            body: None,
        };
        cache.restore("http://always", stored.clone());
        cache.restore(&format!("http://h{i}"), stored);
    }
    assert!(cache.known() <= 101, "{}", cache.known());
    assert!(cache.knows("http://always") && cache.knows("http://h999") && !cache.knows("http://h0"));
}
