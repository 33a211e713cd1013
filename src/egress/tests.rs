//! The proxy as a browser sees it: raw bytes in, raw bytes out, sites on loopback.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use super::testing::{Changing, anywhere};
use super::*;
use crate::fetch::{CheckedResolver, SystemLookup};
use crate::model::outcome::{FailureClass, SkipReason};
use crate::model::task::NamedAddress;
use crate::policy::address::AddressPolicy;

/// Everything here is over in this time, or stuck.
const BOUND: Duration = Duration::from_secs(20);

/// A site that answers each head by a script; an empty answer closes the connection.
struct Site {
    port: u16,
    connections: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
    accepting: AbortHandle,
}

impl Site {
    async fn start(script: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Site {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (connections, heads) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (script, counted, log) = (Arc::new(script), connections.clone(), heads.clone());
        let accepting = tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let (script, log) = (script.clone(), log.clone());
                open.spawn(async move {
                    while let Some(head) = head_of(&mut stream).await {
                        let answer = script(&head);
                        log.lock().unwrap().push(head);
                        if answer.is_empty() || stream.write_all(&answer).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Site { port, connections, heads, accepting: accepting.abort_handle() }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn url(&self, path: &str) -> CanonicalUrl {
        CanonicalUrl::parse(&format!("http://127.0.0.1:{}{path}", self.port)).unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn head_of(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// Sends to the proxy and reads until it closes, or until what came ends with `end`.
async fn say(proxy: SocketAddr, bytes: &[u8], end: &str) -> String {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    read(&mut stream, end).await
}

async fn read(stream: &mut TcpStream, end: &str) -> String {
    let mut got = Vec::new();
    let reading = async {
        let mut part = [0u8; 4096];
        while end.is_empty() || !got.ends_with(end.as_bytes()) {
            match stream.read(&mut part).await {
                Ok(0) | Err(_) => break,
                Ok(length) => got.extend_from_slice(&part[..length]),
            }
        }
    };
    tokio::time::timeout(BOUND, reading).await.expect("the proxy ends what it begins");
    String::from_utf8(got).unwrap()
}

fn get(site: &Site, path: &str) -> String {
    format!(
        "GET http://127.0.0.1:{0}{path} HTTP/1.1\r\nHost: 127.0.0.1:{0}\r\nProxy-Connection: keep-alive\r\n\r\n",
        site.port
    )
}

fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nX-Own: Yes\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

async fn open(policy: AddressPolicy, limits: Limits) -> Egress {
    Egress::open(CheckedResolver::new(Arc::new(policy), Arc::new(SystemLookup)), limits).await.unwrap()
}

fn limits() -> Limits {
    Limits::of(&FetchSpec::default())
}

#[tokio::test]
async fn a_request_goes_out_as_the_site_expects_it_and_its_answer_comes_back() {
    let site = Site::start(|_| ok("hello")).await;
    let proxy = anywhere().await;
    let got = say(proxy.proxy(), get(&site, "/a?b=c").as_bytes(), "hello").await;
    assert!(got.starts_with("HTTP/1.1 200 OK\r\n") && got.contains("X-Own: Yes\r\n"), "{got}");
    let head = site.heads.lock().unwrap()[0].clone();
    assert!(head.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("Host: 127.0.0.1:{}\r\n", site.port)), "{head}");
    assert!(!head.contains("Proxy-") && head.contains("Connection: keep-alive\r\n"), "{head}");
    let facts = proxy.facts();
    assert_eq!((facts.connections, facts.addresses_refused, facts.connections_failed), (1, 0, 0));
    assert!(facts.bytes_received > 40 && facts.bytes_sent > 40, "{facts:?}");
}

#[tokio::test]
async fn a_connection_is_used_again_and_replaced_when_the_site_closed_it() {
    let site = Site::start(|head| if head.contains("/last") { [ok("end"), vec![]].concat() } else { ok("body") }).await;
    let proxy = anywhere().await;
    let mut browser = TcpStream::connect(proxy.proxy()).await.unwrap();
    for _ in 0..3 {
        browser.write_all(get(&site, "/x").as_bytes()).await.unwrap();
        assert!(read(&mut browser, "body").await.ends_with("body"));
    }
    assert_eq!(site.connections(), 1);

    // Closes without an answer when asked a second time on a connection.
    let shy = AtomicUsize::new(0);
    let shy = Site::start(move |_| if shy.fetch_add(1, Ordering::SeqCst) == 1 { vec![] } else { ok("body") }).await;
    for _ in 0..2 {
        browser.write_all(get(&shy, "/y").as_bytes()).await.unwrap();
        assert!(read(&mut browser, "body").await.ends_with("body"));
    }
    assert_eq!(shy.connections(), 2);
}

#[tokio::test]
async fn bodies_and_their_absence_pass_unchanged() {
    let site = Site::start(|head| {
        let answer: &[u8] = match head.split(' ').nth(1).unwrap_or_default() {
            "/head" => b"HTTP/1.1 200 OK\r\nContent-Length: 4321\r\n\r\n",
            "/none" => b"HTTP/1.1 204 No Content\r\n\r\n",
            "/same" => b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n",
            "/chunks" => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "/odd" => b"HTTP/1.1 299 Quite Fine\r\nContent-Length: 0\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n",
            _ => b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
        };
        answer.to_vec()
    })
    .await;
    let proxy = anywhere().await;
    let mut browser = TcpStream::connect(proxy.proxy()).await.unwrap();
    let mut ask = async |method: &str, path: &str, end: &str| {
        let request = get(&site, path).replacen("GET", method, 1);
        browser.write_all(request.as_bytes()).await.unwrap();
        read(&mut browser, end).await.to_ascii_lowercase()
    };
    assert!(ask("HEAD", "/head", "\r\n\r\n").await.contains("content-length: 4321\r\n"));
    assert!(ask("GET", "/none", "\r\n\r\n").await.starts_with("http/1.1 204"));
    assert!(ask("GET", "/same", "\r\n\r\n").await.contains("etag: \"x\""));
    assert!(ask("GET", "/chunks", "0\r\n\r\n").await.contains("3\r\nabc\r\n"));
    let odd = ask("GET", "/odd", "\r\n\r\n").await;
    assert!(odd.starts_with("http/1.1 299 quite fine") && !odd.contains("x-hop"), "{odd}");
    assert_eq!(site.connections(), 1, "and nothing broke the connection");
}

#[tokio::test]
async fn what_the_policy_forbids_is_not_connected_to_in_any_spelling() {
    let site = Site::start(|_| ok("secret")).await;
    let proxy = open(AddressPolicy::default(), limits()).await;
    let since = Instant::now();
    let port = site.port;
    let spellings = [
        "127.0.0.1",
        "localhost",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "2130706433",
        "0x7f.1",
        "127.1",
        "0177.0.0.1",
        "127.0.0.1.",
        "169.254.169.254",
        "10.0.0.1",
        "192.168.0.1",
        "[fe80::1]",
        "[fd00::1]",
    ];
    for host in spellings {
        let got =
            say(proxy.proxy(), format!("GET http://{host}:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes(), "").await;
        assert_eq!(got, "", "{host}: no answer at all");
        let got =
            say(proxy.proxy(), format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes(), "\n").await;
        assert!(got.starts_with("HTTP/1.1 403") && got.contains("crawld-egress: refused"), "{host}: {got}");
    }
    assert_eq!(proxy.facts().addresses_refused, 2 * spellings.len() as u64);
    assert_eq!(proxy.why(&site.url("/"), since), Some(Refusal::Skip(SkipReason::AddressForbidden)));
    assert_eq!(site.connections(), 0);
}

/// A proxy for `named.test`, granted only as 127.0.0.2, with the answers that its names have in turn.
async fn rebinding(port: u16, sets: &[&[&str]]) -> Egress {
    let granted: IpAddr = "127.0.0.2".parse().unwrap();
    let named = [NamedAddress { host: "named.test".into(), port, addresses: vec![granted] }];
    let policy = AddressPolicy::new(&[], &named).unwrap();
    Egress::open(CheckedResolver::new(Arc::new(policy), Changing::new(sets)), limits()).await.unwrap()
}

#[tokio::test]
async fn a_name_that_moves_to_a_forbidden_address_is_refused_when_it_has_moved() {
    let (listener, canary) =
        (TcpListener::bind("127.0.0.2:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let port = listener.local_addr().unwrap().port();
    let request = format!("GET http://named.test:{port}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let proxy = rebinding(port, &[&["127.0.0.2"], &["127.0.0.1"]]).await;
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        head_of(&mut stream).await.unwrap();
        stream.write_all(&ok("mine")).await.unwrap();
    });
    assert!(say(proxy.proxy(), request.as_bytes(), "mine").await.ends_with("mine"), "what was named is reached");
    served.await.unwrap();
    assert_eq!(say(proxy.proxy(), request.as_bytes(), "").await, "", "what it moved to is not");

    let mixed = rebinding(port, &[&["127.0.0.2", "127.0.0.1"]]).await;
    assert_eq!(say(mixed.proxy(), request.as_bytes(), "").await, "", "one forbidden address forbids them all");
    assert_eq!(mixed.facts().addresses_refused, 1);
    let elsewhere = rebinding(port.wrapping_add(1), &[&["127.0.0.2"]]).await;
    assert_eq!(say(elsewhere.proxy(), request.as_bytes(), "").await, "", "another port was not named");
    assert!(futures_util::FutureExt::now_or_never(canary.accept()).is_none());
}

#[tokio::test]
async fn our_own_listeners_are_never_reached() {
    let proxy = anywhere().await;
    for host in ["127.0.0.1", "0.0.0.0", "[::ffff:127.0.0.1]"] {
        let request = format!("CONNECT {host}:{} HTTP/1.1\r\nHost: x\r\n\r\n", proxy.proxy().port());
        let got = say(proxy.proxy(), request.as_bytes(), "\n").await;
        assert!(got.starts_with("HTTP/1.1 403"), "{host}: {got}");
    }
    let direct = say(proxy.proxy(), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\n").await;
    assert!(direct.starts_with("HTTP/1.1 400"), "{direct}");
}

#[tokio::test]
async fn a_tunnel_carries_bytes_both_ways() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let echo = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut from, mut to) = stream.split();
        tokio::io::copy(&mut from, &mut to).await.unwrap()
    });
    let proxy = anywhere().await;
    let mut browser = TcpStream::connect(proxy.proxy()).await.unwrap();
    let hello = format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    browser.write_all(hello.as_bytes()).await.unwrap();
    assert!(read(&mut browser, "\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    browser.write_all(b"there and back").await.unwrap();
    assert_eq!(read(&mut browser, "back").await, "there and back");
    browser.shutdown().await.unwrap();
    assert_eq!(read(&mut browser, "").await, "");
    assert_eq!(echo.await.unwrap(), 14);
}

#[tokio::test]
async fn floods_and_standstills_are_cut() {
    let site = Site::start(|head| match head.contains("/long") {
        true => [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 5000]].concat(),
        false => b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".to_vec(),
    })
    .await;
    let tight = Limits { body_bytes: 1000, burst_bytes: 1000, idle: Duration::from_millis(100), ..limits() };
    let policy = AddressPolicy::new(&["127.0.0.1".to_owned()], &[]).unwrap();
    let proxy = open(policy, tight).await;
    let long = say(proxy.proxy(), get(&site, "/long").as_bytes(), "").await;
    assert!(long.len() < 2000 && !long.ends_with("0\r\n\r\n"), "cut, and it shows: {}", long.len());
    let still = say(proxy.proxy(), get(&site, "/still").as_bytes(), "").await;
    assert!(still.ends_with("half"), "{still}");
    let tunnel = format!("CONNECT 127.0.0.1:{} HTTP/1.1\r\nHost: x\r\n\r\nGET /long HTTP/1.1\r\n\r\n", site.port);
    let flood = say(proxy.proxy(), tunnel.as_bytes(), "").await;
    assert!(flood.starts_with("HTTP/1.1 200") && flood.len() < 2000, "{}", flood.len());
    let quiet = format!("CONNECT 127.0.0.1:{} HTTP/1.1\r\nHost: x\r\n\r\n", site.port);
    assert!(say(proxy.proxy(), quiet.as_bytes(), "").await.starts_with("HTTP/1.1 200"));
    assert_eq!(proxy.facts().cut_at_limit, 4);
}

#[tokio::test]
async fn a_failure_has_its_reason_and_no_answer() {
    let proxy = anywhere().await;
    #[track_caller]
    fn class(why: Option<Refusal>) -> FailureClass {
        match why {
            Some(Refusal::Fail(class, _)) => class,
            other => panic!("{other:?}"),
        }
    }
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let ask = async |url: &str| {
        let since = Instant::now();
        let got = say(proxy.proxy(), format!("GET {url} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes(), "").await;
        assert_eq!(got, "", "{url}");
        class(proxy.why(&CanonicalUrl::parse(url).unwrap(), since))
    };
    assert_eq!(ask(&format!("http://127.0.0.1:{closed}/")).await, FailureClass::Connect);
    assert_eq!(ask("http://no-such-name.invalid/").await, FailureClass::Dns);
    let site = Site::start(|head| match head.split(' ').nth(1).unwrap_or_default() {
        "/silent" => vec![],
        "/auth" => b"HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n".to_vec(),
        _ => b"this is no HTTP at all\r\n\r\n".to_vec(),
    })
    .await;
    assert_eq!(ask(site.url("/silent").as_str()).await, FailureClass::Connect);
    assert_eq!(ask(site.url("/auth").as_str()).await, FailureClass::Protocol);
    assert_eq!(ask(site.url("/noise").as_str()).await, FailureClass::Protocol);
}

#[tokio::test]
async fn hosts_that_the_task_blocks_are_not_connected_to_and_counted_apart() {
    use crate::policy::hosts::HostSet;
    let site = Site::start(|_| ok("hello")).await;
    let policy = AddressPolicy::new(&["127.0.0.1".to_owned()], &[]).unwrap();
    let resolver = CheckedResolver::new(Arc::new(policy), Arc::new(SystemLookup));
    let proxy = Egress::by(resolver, HostSet::new(["localhost"]), None, limits()).await.unwrap();
    let blocked = get(&site, "/a").replace("127.0.0.1", "sub.localhost");
    assert_eq!(say(proxy.proxy(), blocked.as_bytes(), "").await, "", "no answer, like a host that is not there");
    assert!(say(proxy.proxy(), get(&site, "/a").as_bytes(), "hello").await.contains("hello"));
    let facts = proxy.facts();
    assert_eq!((facts.blocked_hosts, facts.addresses_refused, facts.connections), (1, 0, 1));
}
