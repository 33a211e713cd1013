//! Against the real Chromium: pages that behave, and pages and browsers that do not.
//!
//! Needs Chromium; without it every test here fails and says so.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::model::duration::Span;
use crate::model::ids::SessionId;
use crate::model::outcome::{FailureClass, SkipReason};
use crate::model::task::{ExtractSpec, FetchSpec, FieldSpec};
use crate::model::url::CanonicalUrl;
use crate::model::visit::{BoxFuture, HopGate, PageAnswer, Refusal, VisitFailure, VisitRequest, VisitResult};

/// Every test ends within this time.
const BOUND: Duration = Duration::from_secs(60);

/// A server with bad manners on loopback.
struct Site {
    base: String,
    asked: Arc<Mutex<Vec<String>>>,
    _task: tokio::task::JoinHandle<()>,
}

impl Site {
    async fn start() -> Site {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            let mut clients = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                clients.spawn(serve(stream, Arc::clone(&log)));
            }
        });
        Site { base, asked, _task: task }
    }

    fn url(&self, path: &str) -> CanonicalUrl {
        CanonicalUrl::parse(&format!("{}{path}", self.base)).unwrap()
    }

    fn was_asked(&self, path: &str) -> bool {
        self.asked.lock().unwrap().iter().any(|asked| asked == path)
    }
}

async fn serve(mut stream: TcpStream, log: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split_whitespace().nth(1).unwrap_or("/").to_owned();
    log.lock().unwrap().push(path.clone());
    let _ = answer(&mut stream, &path, &head).await;
}

async fn answer(stream: &mut TcpStream, path: &str, head: &str) -> std::io::Result<()> {
    let html = |body: &str| format!("<!doctype html><title>{path}</title>{body}");
    let page = match path {
        "/plain" => html(
            r##"<meta name=robots content="index, nofollow"><link rel=next href=/next>
               <p class=price data-sum=7>seven <b>7</b></p><p class=price data-sum=8>eight</p>
               <a href="a#x">a</a><a href="a">again</a><a href="mailto:x@y">m</a><a href="http://other.example/z">z</a>
               <iframe src=/frame></iframe><div style="display:none">hidden</div>"##,
        ),
        "/frame" => html("<p>frame"),
        "/late" => html(
            "<div id=d></div><script>fetch('/slowdata').then(r => r.text()).then(t => { d.innerHTML = t; })</script>",
        ),
        "/slowdata" => {
            tokio::time::sleep(Duration::from_millis(300)).await;
            "<a href=/found-late>late</a>".to_owned()
        }
        "/agent" => html(&format!("<pre>{head}</pre>")),
        "/alerts" => html("<a href=/x>x</a><script>alert(1); confirm(2); prompt(3)</script>"),
        "/alertstorm" => html("<script>while (true) alert(1)</script>"),
        "/loopbefore" => html("<a href=/x>x</a><script>while (true) {}</script>"),
        "/loopafter" => {
            html("<a href=/x>x</a><script>onload = () => setTimeout(() => { while (true) {} }, 0)</script>")
        }
        "/popup" => html("<script>open('/popped'); open('/popped2')</script><a href=/x>x</a>"),
        "/popped" | "/popped2" => html("popped"),
        "/meta" => html("<meta http-equiv=refresh content='0; url=/plain'>"),
        "/script" => html("<script>location = '/plain'</script>"),
        "/scriptlater" => html("<script>onload = () => setTimeout(() => location = '/plain', 5)</script>"),
        "/scriptforever" => html("<script>location = '/scriptforever?' + Math.random()</script>"),
        "/frameloop" => html("<iframe src=/hang></iframe><a href=/x>x</a>"),
        "/hangingimage" => html("<a href=/x>x</a><img src=/hang>"),
        "/closer" => html("<script>window.close()</script><a href=/x>x</a>"),
        "/toofile" => html("<script>location = 'file:///etc/passwd'</script><a href=/x>x</a>"),
        "/back" => html("<script>onload = () => history.back()</script>"),
        "/worker" => html(
            "<script>navigator.serviceWorker.register('/sw.js').then(() => navigator.serviceWorker.ready).then(() => { document.title = 'ready' })</script>",
        ),
        "/sw.js" => {
            let script = "onfetch = (e) => e.respondWith(new Response('<title>fake</title>', {headers: {'content-type': 'text/html'}}));\
                onactivate = (e) => e.waitUntil(clients.claim())";
            return respond(stream, "200 OK", "content-type: text/javascript\r\n", script.as_bytes()).await;
        }
        "/form" => html(
            "<a href=/x>x</a><form method=post action=/posted></form><script>onload = () => document.forms[0].submit()</script>",
        ),
        "/memory" => html("<p>stay</p>"),
        _ if path.starts_with("/scriptforever?") => {
            html("<script>location = '/scriptforever?' + Math.random()</script>")
        }
        _ => return special(stream, path).await,
    };
    respond(stream, "200 OK", "content-type: text/html\r\n", page.as_bytes()).await
}

async fn special(stream: &mut TcpStream, path: &str) -> std::io::Result<()> {
    let html = "content-type: text/html\r\n";
    match path {
        "/204" => respond(stream, "204 No Content", "", b"").await,
        "/404empty" => respond(stream, "404 Not Found", html, b"").await,
        "/404" => respond(stream, "404 Not Found", html, b"<title>no</title><a href=/x>x</a>").await,
        "/500" => respond(stream, "500 Oh", html, b"broken").await,
        "/429" => respond(stream, "429 Slow", "retry-after: 7\r\n", b"").await,
        "/attachment" => {
            respond(
                stream,
                "200 OK",
                "content-type: text/html\r\ncontent-disposition: attachment; filename=a.html\r\n",
                b"x",
            )
            .await
        }
        "/binary" => respond(stream, "200 OK", "", &[0u8, 1, 2, 3, 0xff, 0xfe, 0, 0, 9]).await,
        "/r1" => respond(stream, "302 Found", "location: /r2\r\n", b"").await,
        "/r2" => respond(stream, "301 Moved", "location: /plain\r\n", b"").await,
        "/rloop" => respond(stream, "302 Found", "location: /rloop\r\n", b"").await,
        "/rforbidden" => respond(stream, "302 Found", "location: /forbidden\r\n", b"").await,
        "/rtofile" => respond(stream, "302 Found", "location: file:///etc/passwd\r\n", b"").await,
        "/endless" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n<a href=/x>x</a>").await?;
            loop {
                stream.write_all(b"<p>more</p>").await?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        "/hang" => {
            tokio::time::sleep(BOUND).await;
            Ok(())
        }
        "/reset" => Ok(()),
        _ => respond(stream, "404 Not Found", html, b"?").await,
    }
}

async fn respond(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) -> std::io::Result<()> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    stream.shutdown().await
}

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
    profiles: tempfile::TempDir,
}

impl Stage {
    async fn open() -> Stage {
        let profiles = tempfile::tempdir().unwrap();
        let mut config = BrowserConfig::new(profiles.path().join("browsers"));
        config.no_sandbox = rustix::process::geteuid().is_root();
        let pool = Browsers::start(config).await.expect("these tests need Chromium");
        Stage { site: Site::start().await, pool, profiles }
    }

    fn request(&self, path: &str, timeout: Duration) -> VisitRequest {
        VisitRequest {
            session: SessionId::new(1, 1),
            url: self.site.url(path),
            solo: false,
            fetch: Arc::new(FetchSpec { page_timeout: Span(timeout), max_redirects: 5, ..FetchSpec::default() }),
            extract: Arc::new(ExtractSpec::default()),
            gate: Arc::new(Gate),
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
    stage.page("/worker").await;
    assert_eq!(stage.page("/plain").await.title.as_deref(), Some("/plain"), "service workers do not answer for pages");
    let agent = stage.page("/agent").await.text.unwrap();
    assert!(agent.contains("Chrome/") && agent.contains("crawld/"), "{agent}");
    let info = stage.pool.info().unwrap();
    assert!(info.version.contains("Chrome/") && info.tabs == 1, "{info:?}");
    assert_eq!(stage.pool.status().borrow().unparsed_messages, 0);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_of_every_kind_are_followed_and_gated() {
    let stage = Stage::open().await;
    for (path, hops) in [
        ("/r1", vec!["/r2", "/plain"]),
        ("/meta", vec!["/plain"]),
        ("/script", vec!["/plain"]),
        ("/scriptlater", vec!["/plain"]),
    ] {
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
    let answer = stage.page("/back").await;
    assert_eq!((answer.title.as_deref(), answer.hops.len()), (Some("/back"), 0), "no way back to the page before");
    let short = Duration::from_secs(4);
    for path in
        ["/alertstorm", "/loopbefore", "/loopafter", "/endless", "/hang", "/hangingimage", "/frameloop", "/closer"]
    {
        let began = Instant::now();
        let visit = stage.visit_within(path, short).await;
        assert!(began.elapsed() < short + Duration::from_secs(8), "{path} took {:?}", began.elapsed());
        eprintln!("{path}: {:?} {}", began.elapsed(), kind(&visit.result));
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
async fn crashes_are_seen_at_once_and_survived() {
    use rustix::process::Signal;
    let stage = Stage::open().await;
    stage.page("/plain").await;
    let browser = stage.pool.info().unwrap().processes[0].0;
    let score = std::fs::read_to_string(format!("/proc/{browser}/oom_score_adj")).unwrap();
    assert_eq!(score.trim(), "200");

    let pool = &stage.pool;
    let hang = pool.visit(stage.request("/loopbefore", Duration::from_secs(50)));
    let killer = async {
        until("the page is asked for", || stage.site.was_asked("/loopbefore")).await;
        let is_renderer = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains("--type=renderer")
        };
        for renderer in children(browser).into_iter().filter(is_renderer) {
            kill(renderer, Signal::KILL);
        }
    };
    let began = Instant::now();
    let (visit, ()) = tokio::join!(hang, killer);
    assert_eq!(visit.crash, Some(CrashScope::Renderer), "{visit:?}");
    assert!(began.elapsed() < Duration::from_secs(10));
    stage.page("/plain").await;
    assert_eq!(pool.info().unwrap().processes[0].0, browser, "the browser outlives a renderer");

    let hang = pool.visit(stage.request("/hang", Duration::from_secs(50)));
    let killer = async {
        until("the page is asked for", || stage.site.was_asked("/hang")).await;
        kill(browser, Signal::KILL);
    };
    let began = Instant::now();
    let (visit, ()) = tokio::join!(hang, killer);
    assert_eq!(visit.crash, Some(CrashScope::Browser), "{visit:?}");
    assert!(began.elapsed() < Duration::from_secs(5));
    stage.page("/plain").await;
    assert_eq!(pool.status().borrow().restarts, 1);

    let stopped = pool.info().unwrap().processes[0].0;
    kill(stopped, Signal::STOP);
    let visit = stage.visit_within("/plain", Duration::from_secs(3)).await;
    assert_eq!(visit.crash, Some(CrashScope::Browser), "a hung browser is not blamed on the host: {visit:?}");
    stage.page("/plain").await;
    stage.close().await;
    assert!(!std::path::Path::new(&format!("/proc/{stopped}")).exists(), "a stopped browser is killed");
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
    let group: u32 = stage.pool.info().unwrap().processes[0].0;
    let browser_cpu = || -> f64 {
        let mut pids = children(group);
        pids.push(group);
        let ticks: f64 = pids
            .iter()
            .filter_map(|pid| {
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
                Some(
                    stat.rsplit_once(')')?
                        .1
                        .split_whitespace()
                        .skip(11)
                        .take(2)
                        .map(|n| n.parse::<f64>().unwrap())
                        .sum::<f64>(),
                )
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
