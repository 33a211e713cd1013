//! Through a real Chromium: names that move, and what a visit says of connections that came to nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::testing::{Changing, anywhere};
use super::*;
use crate::browser::{BrowserConfig, Browsers};
use crate::model::duration::Span;
use crate::model::ids::SessionId;
use crate::model::outcome::{FailureClass, SkipReason};
use crate::model::task::{ExtractSpec, NamedAddress};
use crate::model::visit::{BoxFuture, HopGate, VisitRequest, VisitResult};
use crate::policy::address::AddressPolicy;

/// Lets everything through, so that only the proxy stands in the way.
struct Open;

impl HopGate for Open {
    fn check<'a>(&'a self, _: &'a CanonicalUrl) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(async { Ok(()) })
    }
}

async fn browsers(profiles: &tempfile::TempDir) -> Browsers {
    let mut config = BrowserConfig::new(profiles.path().join("browsers"));
    config.no_sandbox = rustix::process::geteuid().is_root();
    Browsers::start(config).await.expect("these tests need Chromium")
}

async fn visit(pool: &Browsers, egress: Arc<Egress>, url: &str) -> VisitResult {
    let request = VisitRequest {
        session: SessionId::new(1, 1),
        url: CanonicalUrl::parse(url).unwrap(),
        solo: false,
        fetch: Arc::new(FetchSpec { page_timeout: Span(Duration::from_secs(30)), ..FetchSpec::default() }),
        extract: Arc::new(ExtractSpec::default()),
        conduct: Default::default(),
        gate: Arc::new(Open),
        way_out: Some(egress),
        long: Default::default(),
        document: None,
    };
    pool.visit(request).await.result
}

/// Counts connections, and answers each with a page that asks its own host again on a new one.
async fn serve(address: &str, port: u16) -> (u16, Arc<AtomicUsize>, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind((address, port)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let met = Arc::new(AtomicUsize::new(0));
    let counted = met.clone();
    let accepting = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let body = "<title>first</title><script>const x = new XMLHttpRequest(); x.open('GET', '/again', false); \
                        try { x.send(); document.title = 'reached' } catch (e) { document.title = 'refused' }</script>";
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nCache-Control: no-store\r\nConnection: close\r\n";
            let answer = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
            let mut request = [0u8; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (port, met, AbortOnDropHandle::new(accepting))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_moves_while_its_page_is_open_is_not_followed() {
    let (port, named, _serving) = serve("127.0.0.2", 0).await;
    let (_, canary, _waiting) = serve("127.0.0.1", port).await;
    let granted = NamedAddress { host: "named.test".into(), port, addresses: vec!["127.0.0.2".parse().unwrap()] };
    let policy = || Arc::new(AddressPolicy::new(&[], std::slice::from_ref(&granted)).unwrap());
    let profiles = tempfile::tempdir().unwrap();
    let pool = browsers(&profiles).await;
    let url = format!("http://named.test:{port}/");

    let moving = CheckedResolver::new(policy(), Changing::new(&[&["127.0.0.2"], &["127.0.0.1"]]));
    let egress = Arc::new(Egress::open(moving, Limits::of(&FetchSpec::default())).await.unwrap());
    match visit(&pool, egress.clone(), &url).await {
        VisitResult::Answer(answer) => assert_eq!(answer.title.as_deref(), Some("refused")),
        other => panic!("{other:?}"),
    }
    assert_eq!((named.load(Ordering::SeqCst), canary.load(Ordering::SeqCst)), (1, 0));
    assert!(egress.facts().addresses_refused > 0);
    // The page itself, asked for again: not a failure of the site, a refusal of ours.
    match visit(&pool, egress, &url).await {
        VisitResult::Refused { reason, .. } => assert_eq!(reason, SkipReason::AddressForbidden),
        other => panic!("{other:?}"),
    }
    pool.end_session(&SessionId::new(1, 1)).await;

    let mixed = CheckedResolver::new(policy(), Changing::new(&[&["127.0.0.2", "127.0.0.1"]]));
    let egress = Arc::new(Egress::open(mixed, Limits::of(&FetchSpec::default())).await.unwrap());
    match visit(&pool, egress, &url).await {
        VisitResult::Refused { reason, .. } => assert_eq!(reason, SkipReason::AddressForbidden),
        other => panic!("{other:?}"),
    }
    assert_eq!(canary.load(Ordering::SeqCst), 0);
    pool.shutdown(Duration::from_secs(15)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_keep_their_names_behind_the_proxy() {
    let profiles = tempfile::tempdir().unwrap();
    let (pool, egress) = (browsers(&profiles).await, anywhere().await);
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let (open, _, _serving) = serve("127.0.0.1", 0).await;
    for (url, expected) in [
        (format!("http://127.0.0.1:{closed}/"), FailureClass::Connect),
        (format!("https://127.0.0.1:{closed}/"), FailureClass::Connect),
        ("http://no-such-name.invalid/".to_owned(), FailureClass::Dns),
        ("https://no-such-name.invalid/".to_owned(), FailureClass::Dns),
        (format!("https://127.0.0.1:{open}/"), FailureClass::Tls),
    ] {
        match visit(&pool, egress.clone(), &url).await {
            VisitResult::Failed(failure) => assert_eq!(failure.class, expected, "{url}: {}", failure.message),
            other => panic!("{url}: {other:?}"),
        }
    }
    pool.shutdown(Duration::from_secs(15)).await;
}

/// A visit without a way out has none: the browser's own is a port that answers nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_way_out_nothing_is_reached() {
    let profiles = tempfile::tempdir().unwrap();
    let pool = browsers(&profiles).await;
    let (port, met, _serving) = serve("127.0.0.1", 0).await;
    let mut request = VisitRequest {
        session: SessionId::new(2, 2),
        url: CanonicalUrl::parse(&format!("http://127.0.0.1:{port}/")).unwrap(),
        solo: false,
        fetch: Arc::new(FetchSpec { page_timeout: Span(Duration::from_secs(30)), ..FetchSpec::default() }),
        extract: Arc::new(ExtractSpec::default()),
        conduct: Default::default(),
        gate: Arc::new(Open),
        way_out: None,
        long: Default::default(),
        document: None,
    };
    assert!(matches!(pool.visit(request.clone()).await.result, VisitResult::Failed(_)));
    assert_eq!(met.load(Ordering::SeqCst), 0);
    request.session = SessionId::new(3, 3);
    request.way_out = Some(anywhere().await);
    assert!(matches!(pool.visit(request).await.result, VisitResult::Answer(_)), "and with one it is");
    pool.shutdown(Duration::from_secs(15)).await;
}
