//! Against the real Chromium, without which every test here fails: good and bad pages, good and bad browsers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::tests_site::Site;
use super::*;
use crate::egress::{Egress, Limits, testing};
use crate::model::duration::Span;
use crate::model::ids::SessionId;
use crate::model::outcome::{FailureClass, SkipReason};
use crate::model::task::{ExtractSpec, FetchSpec, FieldSpec};
use crate::model::url::CanonicalUrl;
use crate::model::visit::{BoxFuture, HopGate, PageAnswer, Refusal, VisitFailure, VisitRequest, VisitResult};

mod attach;
mod behave;
mod conduct;
mod cookies;
mod crashes;
mod finding;
mod frames;
mod held_up;
pub(super) mod hostile;
pub(super) mod kinds;
mod known;
mod pictures;
mod routes;
mod sending;
mod succession;
mod watched;
mod workers;

/// Every test ends within this time.
const BOUND: Duration = Duration::from_secs(60);

/// Lets everything through but paths with `forbidden`.
struct Gate;

impl HopGate for Gate {
    fn check<'a>(&'a self, url: &'a CanonicalUrl) -> BoxFuture<'a, Result<(), Refusal>> {
        let refused = url.path().contains("forbidden");
        Box::pin(async move { if refused { Err(Refusal::Skip(SkipReason::Robots)) } else { Ok(()) } })
    }
}

struct Stage {
    site: Site,
    pool: Browsers,
    egress: Arc<Egress>,
    profiles: tempfile::TempDir,
}

impl Stage {
    async fn open() -> Stage {
        let profiles = tempfile::tempdir().unwrap();
        let mut config = BrowserConfig::new(profiles.path().join("browsers"));
        config.no_sandbox = rustix::process::geteuid().is_root();
        let pool = Browsers::start(config).await.expect("these tests need Chromium");
        Stage { site: Site::start().await, pool, egress: testing::anywhere().await, profiles }
    }

    fn request(&self, path: &str, timeout: Duration) -> VisitRequest {
        VisitRequest {
            session: SessionId::new(1, 1),
            url: self.site.url(path),
            solo: false,
            fetch: Arc::new(FetchSpec { page_timeout: Span(timeout), max_redirects: 5, ..FetchSpec::default() }),
            extract: Arc::new(ExtractSpec::default()),
            conduct: Default::default(),
            gate: Arc::new(Gate),
            document: None,
            way_out: Some(self.egress.clone()),
            long: Default::default(),
        }
    }

    async fn visit(&self, path: &str) -> BrowserVisit {
        self.visit_within(path, Duration::from_secs(20)).await
    }

    async fn visit_within(&self, path: &str, timeout: Duration) -> BrowserVisit {
        let visit = self.pool.visit(self.request(path, timeout));
        tokio::time::timeout(BOUND, visit).await.expect("a visit ends within its deadline")
    }

    async fn page(&self, path: &str) -> PageAnswer {
        match self.visit(path).await.result {
            VisitResult::Answer(answer) => *answer,
            other => panic!("{path}: {other:?}"),
        }
    }

    #[track_caller]
    fn hops(&self, hops: &[CanonicalUrl], expected: &[&str]) {
        let expected: Vec<_> = expected.iter().map(|path| self.site.url(path)).collect();
        assert_eq!(hops, expected);
    }

    async fn close(self) {
        self.pool.shutdown(Duration::from_secs(15)).await;
        let left = std::fs::read_dir(self.profiles.path().join("browsers")).unwrap().count();
        assert_eq!(left, 0, "profiles and records are removed");
    }
}

fn links(answer: &PageAnswer) -> Vec<&str> {
    answer.links.iter().map(|link| link.href.as_str()).collect()
}

#[track_caller]
fn failure(visit: BrowserVisit) -> VisitFailure {
    match visit.result {
        VisitResult::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_is_read_whole() {
    let stage = Stage::open().await;
    let mut request = stage.request("/plain", Duration::from_secs(20));
    request.extract = Arc::new(ExtractSpec {
        fields: BTreeMap::from([
            ("price".to_owned(), FieldSpec::Selector("p.price".to_owned())),
            ("sum".to_owned(), FieldSpec::Attribute { selector: ".price".into(), attribute: "data-sum".into() }),
            ("bad".to_owned(), FieldSpec::Selector(":::".to_owned())),
        ]),
        ..ExtractSpec::default()
    });
    let VisitResult::Answer(answer) = stage.pool.visit(request).await.result else { panic!("no answer") };
    assert_eq!((answer.http_status, answer.content_type.as_deref()), (200, Some("text/html")));
    assert_eq!(answer.title.as_deref(), Some("/plain"));
    let base = &stage.site.base;
    let expected =
        [format!("{base}/next"), format!("{base}/a"), "http://other.example/z".into(), format!("{base}/frame")];
    assert_eq!(links(&answer), expected);
    assert!(answer.nofollow && answer.hops.is_empty() && !answer.truncated);
    assert!(answer.text.as_deref().is_some_and(|text| text.contains("seven 7") && !text.contains("hidden")));
    assert_eq!(answer.fields["price"], ["seven 7", "eight"]);
    assert_eq!(answer.fields["sum"], ["7", "8"]);
    assert!(answer.fields["bad"].is_empty());
    assert!(answer.bytes > 100 && answer.ttfb.is_some());
    assert!(answer.digest.as_deref().is_some_and(|digest| digest.starts_with("sha256:")));
    assert_eq!(links(&stage.page("/late").await), [format!("{base}/found-late")], "content that a script fetched");
    let agent = stage.page("/agent").await.text.unwrap();
    assert!(agent.contains("Chrome/") && agent.contains("crawld/"), "{agent}");
    let info = stage.pool.info().unwrap();
    assert!(info.version.contains("Chrome/") && info.tabs <= 2, "{info:?}");
    assert_eq!(stage.pool.status().borrow().unparsed_messages, 0);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_of_every_kind_are_followed_and_gated() {
    let stage = Stage::open().await;
    for (path, hops) in [("/r1", vec!["/r2", "/plain"]), ("/script", vec!["/plain"]), ("/scriptlater", vec!["/plain"])]
    {
        let answer = stage.page(path).await;
        stage.hops(&answer.hops, &hops);
        assert_eq!(answer.title.as_deref(), Some("/plain"), "{path}");
    }
    let refused = stage.visit("/rforbidden").await.result;
    let hops = vec![stage.site.url("/forbidden")];
    assert_eq!(refused, VisitResult::Refused { hops, reason: SkipReason::Robots });
    assert!(!stage.site.was_asked("/forbidden"), "a refused hop is never asked for");
    for path in ["/rloop", "/scriptforever"] {
        assert_eq!(failure(stage.visit(path).await).class, FailureClass::TooManyRedirects, "{path}");
    }
    assert_eq!(failure(stage.visit("/rtofile").await).class, FailureClass::Protocol);
    for path in ["/toofile", "/form"] {
        let answer = stage.page(path).await;
        assert_eq!(links(&answer), [format!("{}/x", stage.site.base)], "{path}");
    }
    assert!(!stage.site.was_asked("/posted"), "nothing is submitted");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_without_a_page_have_names() {
    let stage = Stage::open().await;
    assert_eq!(stage.page("/204").await.http_status, 204);
    assert_eq!(stage.page("/404empty").await.http_status, 404);
    assert_eq!(stage.page("/404").await.links.len(), 1);
    let down = failure(stage.visit("/500").await);
    assert_eq!((down.class, down.http_status), (FailureClass::ServerError, Some(500)));
    let busy = failure(stage.visit("/429").await);
    assert_eq!((busy.class, busy.retry_after), (FailureClass::Throttled, Some(Duration::from_secs(7))));
    for path in ["/attachment", "/binary"] {
        let result = stage.visit(path).await.result;
        assert!(matches!(&result, VisitResult::Download(answer) if answer.http_status == 200), "{path}: {result:?}");
    }
    assert_eq!(failure(stage.visit("/reset").await).class, FailureClass::Connect);
    let mut gone = stage.request("/", Duration::from_secs(10));
    gone.url = CanonicalUrl::parse("http://127.0.0.1:1/").unwrap();
    let refused = failure(stage.pool.visit(gone).await);
    assert!(matches!(refused.class, FailureClass::Connect | FailureClass::Protocol), "{refused:?}");
    let mut unknown = stage.request("/", Duration::from_secs(15));
    unknown.url = CanonicalUrl::parse("http://no-such-name.invalid/").unwrap();
    assert_eq!(failure(stage.pool.visit(unknown).await).class, FailureClass::Dns);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_pages_cost_their_own_deadline_and_nothing_else() {
    let stage = Stage::open().await;
    let x = [format!("{}/x", stage.site.base)];
    assert_eq!(links(&stage.page("/alerts").await), x, "dialogs are dismissed");
    let answer = stage.page("/popup").await;
    assert_eq!(answer.links.len(), 3, "addresses of popups are links: {:?}", links(&answer));
    assert!(!stage.site.was_asked("/popped"), "popups are not asked for");
    let answer = stage.page("/odd").await;
    assert_eq!((answer.title.as_deref(), links(&answer)), (Some("/odd"), x.iter().map(String::as_str).collect()));
    assert!(answer.text.is_some_and(|text| text.contains("half \u{fffd} pair")));
    let answer = stage.page("/back").await;
    assert_eq!((answer.title.as_deref(), answer.hops.len()), (Some("/back"), 0), "no way back to the page before");
    let short = Duration::from_secs(4);
    for path in
        ["/alertstorm", "/loopbefore", "/loopafter", "/endless", "/hang", "/hangingimage", "/frameloop", "/closer"]
    {
        let began = Instant::now();
        let visit = stage.visit_within(path, short).await;
        assert!(began.elapsed() < short + Duration::from_secs(8), "{path} took {:?}", began.elapsed());
        if let "/endless" | "/hang" = path {
            assert_eq!(failure(visit).class, FailureClass::Timeout, "{path}");
        } else if let "/hangingimage" | "/frameloop" | "/loopbefore" = path {
            assert!(
                matches!(&visit.result, VisitResult::Answer(answer) if links(answer).contains(&x[0].as_str())),
                "{path}: {:?}",
                visit.result
            );
        }
        assert_eq!(stage.page("/plain").await.http_status, 200, "after {path}");
    }
    assert_eq!(stage.pool.status().borrow().restarts, 0);
    stage.close().await;
}

fn kind(result: &VisitResult) -> String {
    match result {
        VisitResult::Failed(failure) => format!("{} ({})", failure.class, failure.message),
        other => format!("{other:?}").chars().take(60).collect(),
    }
}

fn children(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(child) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        let group = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(2)?.parse::<u32>().ok());
        if group == Some(pid) && child != pid {
            found.push(child);
        }
    }
    found
}

fn kill(pid: u32, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspect_is_alone() {
    let stage = Stage::open().await;
    stage.page("/plain").await;
    let mut request = stage.request("/memory", Duration::from_secs(20));
    request.solo = true;
    let visit = stage.pool.visit(request).await;
    assert!(matches!(visit.result, VisitResult::Answer(_)), "{visit:?}");
    let profiles = std::fs::read_dir(stage.profiles.path().join("browsers")).unwrap().count();
    assert_eq!(profiles, 2, "only the shared browser's profile and record are left");
    stage.pool.recycle().await;
    stage.page("/plain").await;
    stage.pool.end_session(&SessionId::new(1, 1)).await;
    stage.page("/plain").await;
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_that_does_not_come_up_is_nobodys_fault() {
    let profiles = tempfile::tempdir().unwrap();
    let mut config = BrowserConfig::new(profiles.path().join("browsers"));
    config.no_sandbox = true;
    config.executable = Some("/bin/true".into());
    let stage = Stage {
        site: Site::start().await,
        pool: Browsers::start(config).await.unwrap(),
        egress: testing::anywhere().await,
        profiles,
    };
    for failures in 1..=2 {
        let visit = stage.visit("/plain").await;
        assert_eq!(visit.crash, None);
        assert_eq!(failure(visit).class, FailureClass::BrowserLost);
        let breaker = stage.pool.status().borrow().breaker.clone();
        assert_eq!(matches!(breaker, BreakerView::Waiting { .. }), failures > 1, "{breaker:?}");
    }
    stage.close().await;
}

/// The part of a daemon that is about to be killed: a child of the test below, told where by this variable.
const HOLDER: &str = "CRAWLD_TEST_HOLDS_BROWSER_UNDER";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holder() {
    let Some(root) = std::env::var_os(HOLDER) else { return };
    let mut config = BrowserConfig::new(root.into());
    config.no_sandbox = rustix::process::geteuid().is_root();
    let pool = Browsers::start(config).await.unwrap();
    let (egress, profiles) = (testing::anywhere().await, tempfile::tempdir().unwrap());
    let stage = Stage { site: Site::start().await, pool, egress, profiles };
    stage.page("/plain").await;
    tokio::time::sleep(BOUND).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_daemon_leaves_no_browser() {
    use rustix::process::Signal;
    let root = tempfile::tempdir().unwrap();
    let launch = |stop: bool| {
        let mut daemon = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "browser::tests_real::holder", "--nocapture"])
            .env(HOLDER, root.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let recorded = || {
            let entries = std::fs::read_dir(root.path()).unwrap().flatten();
            let record =
                entries.map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "json"))?;
            let identity: serde_json::Value = serde_json::from_slice(&std::fs::read(record).ok()?).ok()?;
            let pid = identity["pid"].as_u64()? as u32;
            // Two children and more: it renders.
            (children(pid).len() > 3).then_some(pid)
        };
        let end = Instant::now() + Duration::from_secs(20);
        let pid = loop {
            if let Some(pid) = recorded() {
                break pid;
            }
            assert!(Instant::now() < end, "no browser came up");
            std::thread::yield_now();
        };
        if stop {
            kill(pid, Signal::STOP);
        }
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        pid
    };
    let gone = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
    };
    let pid = launch(false);
    until("the browser ends with its pipe", || gone(pid)).await;
    let reaped = reap_leftovers(root.path());
    assert!(reaped.len() == 1 && reaped[0].killed_pid.is_none(), "{reaped:?}");

    let pid = launch(true);
    // Stopped, it cannot notice by itself; the kernel wakes an orphaned group, or else it is reaped.
    assert_eq!(reap_leftovers(root.path()).len(), 1);
    until("the leftover is gone", || gone(pid)).await;
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_self_test_passes() {
    let profiles = tempfile::tempdir().unwrap();
    let mut config = BrowserConfig::new(profiles.path().join("browsers"));
    config.no_sandbox = rustix::process::geteuid().is_root();
    let report = self_test(config.clone()).await.expect("these tests need Chromium");
    assert!(report.script_ran && report.problems.is_empty(), "{report:?}");
    if config.no_sandbox {
        config.no_sandbox = false;
        let refused = Browsers::start(config).await.unwrap_err();
        assert!(refused.to_string().contains("CRAWLD_NO_SANDBOX=1"), "{refused}");
        assert_eq!(refused.exit_code().code(), 69);
    }
}

/// Prints what a page costs: `MEASURE=http://host/en/index.html cargo test … measure -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn measure() {
    let stage = Stage::open().await;
    let start = CanonicalUrl::parse(&std::env::var("MEASURE").unwrap()).unwrap();
    let mut first = stage.request("/plain", Duration::from_secs(60));
    first.url = start.clone();
    let VisitResult::Answer(answer) = stage.pool.visit(first.clone()).await.result else { panic!() };
    let mut urls: Vec<CanonicalUrl> = answer.links.iter().filter_map(|l| CanonicalUrl::parse(&l.href).ok()).collect();
    urls.retain(|url| url.host_key() == start.host_key());
    urls.truncate(200);
    let cpu = || -> f64 {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<f64> =
            stat.rsplit_once(')').unwrap().1.split_whitespace().skip(11).take(2).map(|n| n.parse().unwrap()).collect();
        fields.iter().sum::<f64>() * 10.0
    };
    let group: u32 = stage.pool.info().unwrap().processes[0].pid;
    let browser_cpu = || -> f64 {
        let mut pids = children(group);
        pids.push(group);
        let ticks: f64 = pids
            .iter()
            .filter_map(|pid| {
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
                let times = stat.rsplit_once(')')?.1.split_whitespace().skip(11).take(2);
                Some(times.map(|n| n.parse::<f64>().unwrap()).sum::<f64>())
            })
            .sum();
        ticks * 10.0
    };
    let (began, before, before_browser) = (Instant::now(), cpu(), browser_cpu());
    let queue = Arc::new(Mutex::new(urls.clone()));
    let worker = || async {
        loop {
            let Some(url) = queue.lock().unwrap().pop() else { return };
            let mut req = first.clone();
            req.url = url.clone();
            let at = Instant::now();
            let visit = stage.pool.visit(req).await;
            if at.elapsed() > Duration::from_secs(1) || !matches!(visit.result, VisitResult::Answer(_)) {
                eprintln!("{url} {:?} {}", at.elapsed(), kind(&visit.result));
            }
        }
    };
    tokio::join!(worker(), worker());
    let n = urls.len() as f64;
    eprintln!(
        "{n} pages, {:.1} ms/page wall, {:.1} ms/page daemon CPU, {:.1} ms/page browser CPU, status {:?}",
        began.elapsed().as_secs_f64() * 1000.0 / n,
        (cpu() - before) / n,
        (browser_cpu() - before_browser) / n,
        stage.pool.status().borrow().clone()
    );
    stage.close().await;
}
