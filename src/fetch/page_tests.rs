//! Pages by plain HTTP against a scripted server.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::AsyncWriteExt as _;

use super::client::Deadlines;
use super::follow::OpenGate;
use super::page::HttpFetcher;
use super::resolve::SystemLookup;
use super::testing::*;
use super::{Cookies, Fetchers};
use crate::clock::Clock;
use crate::model::duration::Span;
use crate::model::kept::KeptKind;
use crate::model::outcome::{FailureClass, SkipReason};
use crate::model::task::{ExtractSpec, FetchMode, FetchSpec};
use crate::model::url::CanonicalUrl;
use crate::model::visit::{PageAnswer, Refusal, VisitFailure, VisitResult};
use crate::policy::address::AddressPolicy;

async fn visit(site: &Site, path: &str, fetch: FetchSpec, deadlines: Deadlines) -> VisitResult {
    let fetcher = HttpFetcher::new(client(&fetch, deadlines));
    fetcher.visit(&request(site.url(path), fetch, Arc::new(OpenGate))).await
}

async fn get(reply: Reply) -> VisitResult {
    let site = Site::start(move |_| reply.clone()).await;
    visit(&site, "/d/p", quick(), Deadlines::default()).await
}

#[track_caller]
fn answer(result: VisitResult) -> PageAnswer {
    match result {
        VisitResult::Answer(answer) => *answer,
        other => panic!("no answer: {other:?}"),
    }
}

#[track_caller]
fn failure(result: VisitResult) -> VisitFailure {
    match result {
        VisitResult::Failed(failure) => failure,
        other => panic!("no failure: {other:?}"),
    }
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn compressed(content_type: &str, body: &[u8]) -> Reply {
    Reply::with("200 OK", &[("Content-Type", content_type), ("Content-Encoding", "gzip")], body)
}

#[tokio::test]
async fn a_page_is_taken_apart() {
    let body = b"<title>A &amp; B</title><p>caf\xe9<script>no()</script><a href=x>x</a><a href=/y#f>y</a>";
    let answer = answer(get(Reply::ok("Text/HTML; charset=iso-8859-1", body)).await);
    assert_eq!((answer.http_status, answer.content_type.as_deref()), (200, Some("text/html")));
    assert_eq!((answer.title.as_deref(), answer.text.as_deref()), (Some("A & B"), Some("caféxy")));
    let paths: Vec<&str> = answer.links.iter().map(|l| l.href.rsplit_once(':').unwrap().1).collect();
    assert!(paths[0].ends_with("/d/x") && paths[1].ends_with("/y"), "{paths:?}");
    assert_eq!(answer.bytes, body.len() as u64);
    assert!(answer.digest.unwrap().starts_with("sha256:") && !answer.truncated && answer.ttfb.is_some());
}

#[tokio::test]
async fn requests_carry_the_agent_and_no_more_than_needed() {
    let site = Site::start(|_| Reply::ok("text/html", b"")).await;
    let fetch = FetchSpec { accept_language: Some("de".into()), ..quick() };
    visit(&site, "/p?q=1", fetch, Deadlines::default()).await;
    let head = site.asked()[0].to_ascii_lowercase();
    assert!(head.starts_with("get /p?q=1 http/1.1\r\n"), "{head}");
    assert!(head.contains("user-agent: crawld/") && head.contains("accept-language: de\r\n"), "{head}");
    assert!(head.contains("accept-encoding: ") && !head.contains("referer") && !head.contains("cookie"), "{head}");
}

#[tokio::test]
async fn kinds_of_answers() {
    let text = answer(get(Reply::ok("text/plain", b"a  b\n<c>")).await);
    assert_eq!((text.text.as_deref(), text.links.len()), (Some("a  b\n<c>"), 0));
    let feed = answer(get(Reply::ok("application/rss+xml", b"<rss><link>http://h/x</link></rss>")).await);
    assert_eq!((feed.text, feed.links[0].href.as_str()), (None, "http://h/x"));
    let json = answer(get(Reply::ok("application/json", b"{}")).await);
    assert_eq!((json.text, json.bytes), (None, 2));
    let untyped = answer(get(Reply::with("200 OK", &[], b" <a href=/z>z</a>")).await);
    assert_eq!((untyped.content_type, untyped.links.len()), (None, 1));
    let gone =
        answer(get(Reply::with("404 Not Found", &[("Content-Type", "text/html")], b"<a href=/h>home</a>")).await);
    assert_eq!((gone.http_status, gone.links.len()), (404, 1));
    let empty = answer(get(Reply::status("204 No Content")).await);
    assert_eq!((empty.http_status, empty.bytes), (204, 0));
}

#[tokio::test]
async fn downloads_are_not_read() {
    for headers in [
        &[("Content-Type", "application/pdf")][..],
        &[("Content-Type", "image/png")],
        &[("Content-Type", "text/html"), ("Content-Disposition", "attachment; filename=x")],
    ] {
        match get(Reply::with("200 OK", headers, b"%PDF")).await {
            VisitResult::Download(head) => assert_eq!((head.http_status, head.bytes), (200, 0)),
            other => panic!("{other:?}"),
        }
    }
    let gone = answer(get(Reply::with("404 Not Found", &[("Content-Type", "image/png")], b"png")).await);
    assert_eq!((gone.http_status, gone.bytes), (404, 0));
}

#[tokio::test]
async fn a_session_keeps_its_cookies_and_a_redirect_that_sets_one_is_no_loop() {
    let asked = AtomicU32::new(0);
    let site = Site::start(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::with("302 Found", &[("Location", "/p"), ("Set-Cookie", "seen=1; Path=/")], b""),
        _ => Reply::ok("text/html", b"<title>in</title>"),
    })
    .await;
    let temp = tempfile::tempdir().unwrap();
    let jar = temp.path().join("cookies.json");
    let fetchers = || {
        let client = Arc::into_inner(client(&quick(), Deadlines::default())).unwrap();
        let client = client.with_cookies(Cookies::new(jar.clone(), Clock::system()));
        Fetchers::new(HttpFetcher::new(Arc::new(client)), None)
    };
    let title = async |fetchers: &Fetchers| {
        let request = request(site.url("/p"), quick(), Arc::new(OpenGate));
        answer(fetchers.visit(FetchMode::Http, request).await.result).title
    };
    let first = fetchers();
    assert_eq!(title(&first).await.as_deref(), Some("in"));
    first.keep_cookies(true).await;
    assert_eq!(title(&fetchers()).await.as_deref(), Some("in"));
    let sent: Vec<bool> = site.asked().iter().map(|head| head.to_lowercase().contains("cookie: seen=1")).collect();
    assert_eq!(sent, [false, true, true], "the next life of the session has them");
}

#[tokio::test]
async fn downloads_are_kept_where_the_task_asks_for_them() {
    let reply = Reply::with("200 OK", &[("Content-Type", "application/pdf")], b"%PDF-1.4 all of it");
    let site = Site::start(move |_| reply.clone()).await;
    let keeping = async |most| {
        let fetcher = HttpFetcher::new(client(&quick(), Deadlines::default()));
        let mut request = request(site.url("/p"), quick(), Arc::new(OpenGate));
        request.extract = Arc::new(ExtractSpec { downloads: true, capture_max_bytes: most, ..ExtractSpec::default() });
        match fetcher.visit(&request).await {
            VisitResult::Download(head) => *head,
            other => panic!("{other:?}"),
        }
    };
    let kept = keeping(18).await;
    assert_eq!((kept.bytes, kept.raw.files), (18, vec![(KeptKind::Download, b"%PDF-1.4 all of it".to_vec())]));
    let large = keeping(17).await;
    assert!(large.raw.files.is_empty() && large.raw.left_out[0].reason.contains("larger"), "{large:?}");
}

#[tokio::test]
async fn nofollow_by_header_and_by_meta() {
    let tagged = Reply::with("200 OK", &[("Content-Type", "text/html"), ("X-Robots-Tag", "noindex, nofollow")], b"");
    assert!(answer(get(tagged).await).nofollow);
    assert!(answer(get(Reply::ok("text/html", b"<meta name=robots content='none'>")).await).nofollow);
    assert!(!answer(get(Reply::ok("text/html", b"<meta name=robots content='index'>")).await).nofollow);
}

#[tokio::test]
async fn statuses_that_are_failures() {
    let busy = failure(get(Reply::with("429 Too Many", &[("Retry-After", "7")], b"")).await);
    assert_eq!((busy.class, busy.http_status), (FailureClass::Throttled, Some(429)));
    assert_eq!(busy.retry_after, Some(std::time::Duration::from_secs(7)));
    let later = failure(get(Reply::with("503 Later", &[("Retry-After", "Sat, 01 Jan 2000 00:00:00 GMT")], b"")).await);
    assert_eq!((later.class, later.retry_after), (FailureClass::Throttled, Some(std::time::Duration::ZERO)));
    let broken = failure(get(Reply::status("500 Broken")).await);
    assert_eq!((broken.class, broken.http_status), (FailureClass::ServerError, Some(500)));
}

#[tokio::test]
async fn redirects_are_followed_and_recorded() {
    let site = Site::start(|path| match path {
        "/a" => Reply::redirect("/b#x"),
        "/b" => Reply::redirect("c?d"),
        _ => Reply::ok("text/html", b"<a href=rel>"),
    })
    .await;
    let answer = answer(visit(&site, "/a", quick(), Deadlines::default()).await);
    assert_eq!(answer.hops, [site.url("/b"), site.url("/c?d")]);
    assert_eq!(answer.links[0].href, site.url("/rel").as_str());
}

#[tokio::test]
async fn a_redirect_to_another_spelling_of_the_page_is_none() {
    let site = Site::start(|path| match path {
        "/a" => Reply::redirect("/a?sid=1"),
        "/endless" => Reply::redirect("/endless?sid=0"),
        path if path.starts_with("/endless") => Reply::redirect(&format!("{path}1")),
        _ => Reply::ok("text/html", b"<title>t</title>"),
    })
    .await;
    let found = answer(visit(&site, "/a", quick(), Deadlines::default()).await);
    assert_eq!((found.hops, found.title.as_deref()), (vec![], Some("t")));
    assert!(site.asked()[1].starts_with("GET /a?sid=1 "));
    let endless = failure(visit(&site, "/endless", quick(), Deadlines::default()).await);
    assert_eq!(endless.class, FailureClass::TooManyRedirects);
    assert_eq!(site.asked().len(), 2 + 21);
}

#[tokio::test]
async fn loops_and_long_chains_end() {
    let site = Site::start(|path| match path {
        "/self" => Reply::redirect("/self"),
        "/ping" => Reply::redirect("/pong"),
        "/pong" => Reply::redirect("/ping"),
        _ => Reply::redirect(&format!("{path}x")),
    })
    .await;
    for (path, hops) in [("/self", 0), ("/ping", 2), ("/x", 4)] {
        let fetch = FetchSpec { max_redirects: 3, ..quick() };
        let failure = failure(visit(&site, path, fetch, Deadlines::default()).await);
        assert_eq!((failure.class, failure.hops.len()), (FailureClass::TooManyRedirects, hops), "{path}");
    }
    assert_eq!(site.asked().len(), 1 + 2 + 4, "a refused hop is not asked");
}

#[tokio::test]
async fn every_hop_passes_the_gate_first() {
    let site =
        Site::start(|path| if path == "/a" { Reply::redirect("/private") } else { Reply::ok("text/html", b"") }).await;
    for (why, expected) in [
        (Refusal::Skip(SkipReason::Robots), None),
        (Refusal::Fail(FailureClass::RobotsUnreachable, "r".into()), Some(FailureClass::RobotsUnreachable)),
    ] {
        let fetcher = HttpFetcher::new(client(&quick(), Deadlines::default()));
        let gate = Arc::new(Except("private", why));
        match fetcher.visit(&request(site.url("/a"), quick(), gate)).await {
            VisitResult::Refused { hops, reason } => {
                assert_eq!((hops, reason, expected), (vec![site.url("/private")], SkipReason::Robots, None));
            }
            VisitResult::Failed(failure) => assert_eq!(Some(failure.class), expected),
            other => panic!("{other:?}"),
        }
    }
    assert!(site.asked().iter().all(|head| !head.contains("/private")));
}

#[tokio::test]
async fn redirects_to_other_schemes_are_refused() {
    for location in ["file:///etc/passwd", "javascript:alert(1)", "data:text/html,x", "ftp://127.0.0.1/"] {
        let refused = get(Reply::redirect(location)).await;
        assert_eq!(refused, VisitResult::Refused { hops: vec![], reason: SkipReason::OutOfScope }, "{location}");
    }
}

#[tokio::test]
async fn forbidden_addresses_are_never_connected_to() {
    let site = Site::start(|_| Reply::ok("text/html", b"secret")).await;
    let public_only = Arc::new(AddressPolicy::new(&[], &[]).unwrap());
    let fetcher = HttpFetcher::new(client_with(public_only, Arc::new(SystemLookup), &quick(), Deadlines::default()));
    let refused = VisitResult::Refused { hops: vec![], reason: SkipReason::AddressForbidden };
    for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "0.0.0.0"] {
        let url = CanonicalUrl::parse(&format!("http://{host}:{}/", site.port)).unwrap();
        assert_eq!(fetcher.visit(&request(url, quick(), Arc::new(OpenGate))).await, refused, "{host}");
    }
    assert!(site.asked().is_empty());
}

#[tokio::test]
async fn a_redirect_to_a_forbidden_address_is_refused() {
    let site = Site::start(|_| Reply::redirect("http://127.0.0.2/latest/meta-data")).await;
    let one: Arc<dyn super::AddressRules> = Arc::new(Rules(|_, _, address| address.to_string() == "127.0.0.1"));
    let fetcher = HttpFetcher::new(client_with(one, Arc::new(SystemLookup), &quick(), Deadlines::default()));
    match fetcher.visit(&request(site.url("/"), quick(), Arc::new(OpenGate))).await {
        VisitResult::Refused { hops, reason: SkipReason::AddressForbidden } => assert_eq!(hops.len(), 1),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_name_is_resolved_once_and_its_whole_set_is_judged() {
    let site = Site::start(|_| Reply::ok("text/html", b"<p>x")).await;
    let url = CanonicalUrl::parse(&format!("http://rebind.test:{}/", site.port)).unwrap();
    let one: Arc<dyn super::AddressRules> = Arc::new(Rules(|_, _, address| address.to_string() == "127.0.0.1"));
    for (answers, reached) in [
        (&[&["127.0.0.1"][..], &["127.0.0.2"]][..], true),
        (&[&["127.0.0.1", "127.0.0.2"]], false),
        (&[&["127.0.0.2"], &["127.0.0.1"]], false),
    ] {
        let names = Names::new(answers);
        let fetcher = HttpFetcher::new(client_with(Arc::clone(&one), names.clone(), &quick(), Deadlines::default()));
        let result = fetcher.visit(&request(url.clone(), quick(), Arc::new(OpenGate))).await;
        assert_eq!(matches!(result, VisitResult::Answer(_)), reached, "{answers:?}: {result:?}");
        assert_eq!(*names.asked.lock().unwrap(), ["rebind.test"]);
    }
}

#[tokio::test]
async fn the_resolver_judges_with_the_port_of_the_request() {
    let site = Site::start(|_| Reply::ok("text/html", b"")).await;
    let odd: Arc<dyn super::AddressRules> = Arc::new(Rules(|host, port, _| host == "named.test" && port > 1024));
    let fetcher = HttpFetcher::new(client_with(odd, Names::new(&[&["127.0.0.1"]]), &quick(), Deadlines::default()));
    let named = CanonicalUrl::parse(&format!("http://named.test:{}/", site.port)).unwrap();
    answer(fetcher.visit(&request(named, quick(), Arc::new(OpenGate))).await);
    let other = CanonicalUrl::parse("http://named.test/").unwrap();
    let refused = fetcher.visit(&request(other, quick(), Arc::new(OpenGate))).await;
    assert!(matches!(refused, VisitResult::Refused { reason: SkipReason::AddressForbidden, .. }), "{refused:?}");
}

#[tokio::test]
async fn large_bodies_are_cut() {
    let page =
        b"<p>start <a href=/first>x</a>".iter().copied().chain(std::iter::repeat_n(b'y', 100_000)).collect::<Vec<u8>>();
    let site =
        Site::start(move |path| Reply::ok(if path == "/j" { "application/json" } else { "text/html" }, &page)).await;
    let fetch = FetchSpec { max_body_bytes: 5000, ..quick() };
    let cut = answer(visit(&site, "/p", fetch.clone(), Deadlines::default()).await);
    assert_eq!((cut.bytes, cut.truncated, cut.links.len(), cut.digest), (5000, true, 1, None));
    let refused = failure(visit(&site, "/j", fetch, Deadlines::default()).await);
    assert_eq!((refused.class, refused.http_status), (FailureClass::TooLarge, Some(200)));
}

#[tokio::test]
async fn decompression_bombs_are_cut_after_decompression() {
    let bomb = gzip(&vec![b' '; 20 << 20]);
    assert!(bomb.len() < 40_000, "1:{}", (20 << 20) / bomb.len());
    let site = Site::start(move |_| compressed("text/html", &bomb)).await;
    let fetch = FetchSpec { max_body_bytes: 1 << 20, ..quick() };
    let cut = answer(visit(&site, "/", fetch, Deadlines::default()).await);
    assert_eq!((cut.bytes, cut.truncated), (1 << 20, true));
}

#[tokio::test]
async fn compressed_pages_are_read_and_broken_ones_fail() {
    let good = answer(get(compressed("text/html", &gzip(b"<title>t</title>"))).await);
    assert_eq!(good.title.as_deref(), Some("t"));
    let broken = failure(get(compressed("text/html", b"this is not gzip at all, is it?")).await);
    assert_eq!((broken.class, broken.http_status), (FailureClass::Protocol, Some(200)));
}

#[tokio::test]
async fn endless_bodies_end() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n".to_vec();
    let site = Site::start(move |_| Reply::Forever(head.clone(), vec![b'x'; 4096])).await;
    let fetch = FetchSpec { max_body_bytes: 1 << 20, ..quick() };
    let cut = answer(visit(&site, "/", fetch, Deadlines::default()).await);
    assert_eq!((cut.bytes, cut.truncated), (1 << 20, true));
}

#[tokio::test]
async fn silence_costs_its_own_deadline() {
    let stalled = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 9999\r\n\r\n<p>".to_vec();
    let flooding = b"HTTP/1.1 100 Continue\r\n\r\n".to_vec();
    for (name, reply, status) in [
        ("no answer", Reply::Stall(vec![]), None),
        ("half a header", Reply::Stall(b"HTTP/1.1 200 OK\r\nConte".to_vec()), None),
        ("interim answers only", Reply::Forever(flooding.clone(), flooding), None),
        ("a body that stalls", Reply::Stall(stalled), Some(200)),
    ] {
        let site = Site::start(move |_| reply.clone()).await;
        let deadlines = if status.is_some() { short_body() } else { short() };
        let failure = failure(visit(&site, "/", quick(), deadlines).await);
        assert_eq!(
            (failure.class, failure.http_status),
            (FailureClass::Timeout, status),
            "{name}: {}",
            failure.message
        );
    }
}

#[tokio::test]
async fn the_page_deadline_lies_over_all() {
    let site = Site::start(|_| Reply::Stall(vec![])).await;
    let fetch = FetchSpec { page_timeout: Span::millis(50), ..quick() };
    let failure = failure(visit(&site, "/", fetch, Deadlines::default()).await);
    assert_eq!(failure.class, FailureClass::Timeout);
    assert!(failure.message.contains("page's deadline"), "{}", failure.message);
}

#[tokio::test]
async fn broken_servers_have_a_class() {
    let fetcher = HttpFetcher::new(client(&quick(), Deadlines::default()));
    // Nothing listens on tcpmux.
    let closed = CanonicalUrl::parse("http://127.0.0.1:1/").unwrap();
    let refused = failure(fetcher.visit(&request(closed, quick(), Arc::new(OpenGate))).await);
    assert_eq!(refused.class, FailureClass::Connect, "{}", refused.message);
    for (name, bytes) in [
        ("not HTTP", &b"SSH-2.0-OpenSSH_9.6\r\n"[..]),
        ("closed at once", b""),
        ("half an answer", b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 50\r\n\r\n<p>"),
        ("bad chunks", b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    ] {
        let failure = failure(get(Reply::Bytes(bytes.to_vec())).await);
        assert!(matches!(failure.class, FailureClass::Protocol | FailureClass::Connect), "{name}: {failure:?}");
    }
}

#[tokio::test]
async fn a_server_without_tls_fails_as_tls() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = CanonicalUrl::parse(&format!("https://{}/", listener.local_addr().unwrap())).unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        // Until the client gives up: closing earlier could reset the connection before it has read.
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    });
    let fetcher = HttpFetcher::new(client(&quick(), Deadlines::default()));
    let failure = failure(fetcher.visit(&request(url, quick(), Arc::new(OpenGate))).await);
    assert_eq!(failure.class, FailureClass::Tls, "{}", failure.message);
    server.await.unwrap();
}

#[tokio::test]
async fn header_bombs_fail() {
    let many: String = (0..5000).map(|i| format!("X-{i}: y\r\n")).collect();
    let failure = failure(get(Reply::Bytes(format!("HTTP/1.1 200 OK\r\n{many}\r\n").into_bytes())).await);
    assert_eq!(failure.class, FailureClass::Protocol, "{}", failure.message);
}

#[tokio::test]
async fn a_hosts_own_headers_go_to_that_host_alone_also_on_redirects() {
    use crate::clock::Clock;
    use crate::model::conduct::{HeaderPlace, HostHeaders};
    let other = Site::start(|_| Reply::ok("text/html", b"there")).await;
    let away = format!("http://127.0.0.1:{}/there", other.port);
    let site = Site::start(move |_| Reply::redirect(&away)).await;
    let mut headers = HostHeaders::default();
    let place = HeaderPlace::parse(&format!("127.0.0.1:{}", site.port)).unwrap();
    headers.add(place, vec![("Authorization".to_owned(), "Basic bWU6eA==".to_owned())]);
    let client = super::client::HttpClient::with(
        loopback_only(),
        Arc::new(SystemLookup),
        &quick(),
        Clock::system(),
        Deadlines::default(),
    );
    let fetcher = HttpFetcher::new(Arc::new(client.unwrap().with_host_headers(headers)));
    answer(fetcher.visit(&request(site.url("/here"), quick(), Arc::new(OpenGate))).await);
    assert!(site.asked()[0].contains("Basic bWU6eA=="), "{:?}", site.asked());
    assert!(other.asked()[0].contains("/there") && !other.asked()[0].contains("bWU6"), "{:?}", other.asked());
}
