//! Connections through a proxy of the task's: what it is asked for, and what becomes of its answers.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use super::testing::Changing;
use super::*;
use crate::model::outcome::{FailureClass, SkipReason};
use crate::model::proxy::{ProxyKind, ProxyNames};
use crate::policy::address::AddressPolicy;

/// A proxy of somebody else's. Whatever it is asked for, it connects to `site`.
struct Theirs {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    _accepting: AbortOnDropHandle<()>,
}

impl Theirs {
    async fn start(kind: ProxyKind, site: u16, refuses: bool) -> Theirs {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let log = asked.clone();
        let accepting = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let log = log.clone();
                open.spawn(async move {
                    let spoken = match kind {
                        ProxyKind::Http => http(&mut stream, refuses).await,
                        ProxyKind::Socks5 => socks5(&mut stream, refuses).await,
                    };
                    let Some(target) = spoken else { return };
                    log.lock().unwrap().push(target);
                    if !refuses && let Ok(mut site) = TcpStream::connect((Ipv4Addr::LOCALHOST, site)).await {
                        let _ = copy_bidirectional(&mut stream, &mut site).await;
                    }
                });
            }
        });
        Theirs { port, asked, _accepting: AbortOnDropHandle::new(accepting) }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// Wants the password `sesame`.
async fn http(stream: &mut TcpStream, refuses: bool) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.strip_prefix("CONNECT ")?.split(' ').next()?.to_owned();
    let answer = match (head.contains("Basic bWU6c2VzYW1l\r\n"), refuses) {
        (false, _) => "407 Who are you",
        (true, true) => "502 Not today",
        // Its head comes in two parts.
        (true, false) => "200 Here you are\r\nX-Long: ",
    };
    stream.write_all(format!("HTTP/1.1 {answer}").as_bytes()).await.ok()?;
    tokio::task::yield_now().await;
    stream.write_all(b"\r\n\r\n").await.ok()?;
    Some(target)
}

async fn socks5(stream: &mut TcpStream, refuses: bool) -> Option<String> {
    let mut bytes = [0u8; 512];
    stream.read_exact(&mut bytes[..4]).await.ok()?;
    assert_eq!(bytes[..4], [5, 2, 0, 2]);
    stream.write_all(&[5, 2]).await.ok()?;
    stream.read_exact(&mut bytes[..11]).await.ok()?;
    let right = &bytes[..11] == b"\x01\x02me\x06sesame";
    stream.write_all(&[1, u8::from(!right)]).await.ok()?;
    stream.read_exact(&mut bytes[..4]).await.ok()?;
    let host = match bytes[3] {
        1 => Ipv4Addr::from(stream.read_u32().await.ok()?).to_string(),
        4 => std::net::Ipv6Addr::from(stream.read_u128().await.ok()?).to_string(),
        _ => {
            let length = usize::from(stream.read_u8().await.ok()?);
            stream.read_exact(&mut bytes[..length]).await.ok()?;
            String::from_utf8(bytes[..length].to_vec()).unwrap()
        }
    };
    let port = stream.read_u16().await.ok()?;
    stream.write_all(&[5, if refuses { 5 } else { 0 }, 0, 1, 127, 0, 0, 1, 0, 80]).await.ok()?;
    Some(format!("{host}:{port}"))
}

async fn site() -> (u16, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello").await;
        }
    });
    (port, AbortOnDropHandle::new(serving))
}

fn upstream(kind: ProxyKind, port: u16, password: &str, names: ProxyNames) -> Upstream {
    let credentials = Some(("me".to_owned(), password.to_owned()));
    Upstream { kind, host: "127.0.0.1".into(), port, credentials, names }
}

/// By public addresses that names are made to have.
async fn open(upstream: Upstream) -> Egress {
    let lookup = Changing::new(&[&["2001:4860:4860::8888", "8.8.8.8"]]);
    let resolver = CheckedResolver::new(Arc::new(AddressPolicy::default()), lookup).names_by(upstream.names);
    Egress::by(resolver, HostSet::default(), Some(upstream), Limits::of(&FetchSpec::default())).await.unwrap()
}

async fn get(proxy: SocketAddr, url: &str) -> String {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    stream.write_all(format!("GET {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut all = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut all)).await.expect("an end");
    String::from_utf8(all).unwrap()
}

#[tokio::test]
async fn the_proxy_is_asked_for_the_address_that_was_checked() {
    let (site, _serving) = site().await;
    for kind in [ProxyKind::Http, ProxyKind::Socks5] {
        let theirs = Theirs::start(kind, site, false).await;
        let egress = open(upstream(kind, theirs.port, "sesame", ProxyNames::Here)).await;
        assert!(get(egress.proxy(), "http://a.example:8080/x").await.ends_with("hello"), "{kind:?}");
        assert_eq!(theirs.asked(), ["8.8.8.8:8080"], "{kind:?}");
        let by_name = open(upstream(kind, theirs.port, "sesame", ProxyNames::Proxy)).await;
        assert!(get(by_name.proxy(), "http://only-there.example/").await.ends_with("hello"), "{kind:?}");
        assert_eq!(theirs.asked()[1..], ["only-there.example:80"], "{kind:?}");
    }
}

#[tokio::test]
async fn private_addresses_are_refused_before_any_proxy_is_asked() {
    let (site, _serving) = site().await;
    let theirs = Theirs::start(ProxyKind::Socks5, site, false).await;
    for names in [ProxyNames::Here, ProxyNames::Proxy] {
        let egress = open(upstream(ProxyKind::Socks5, theirs.port, "sesame", names)).await;
        let since = Instant::now();
        for host in ["127.0.0.1", "169.254.169.254", "[::1]", "0x7f.1", "10.0.0.1"] {
            assert_eq!(get(egress.proxy(), &format!("http://{host}:{site}/")).await, "", "{host}");
        }
        let url = CanonicalUrl::parse(&format!("http://10.0.0.1:{site}/")).unwrap();
        assert_eq!(egress.why(&url, since), Some(Refusal::Skip(SkipReason::AddressForbidden)));
    }
    let egress = open(upstream(ProxyKind::Socks5, theirs.port, "sesame", ProxyNames::Proxy)).await;
    for host in ["localhost", "x.localhost", "LOCALHOST."] {
        assert_eq!(get(egress.proxy(), &format!("http://{host}:{site}/")).await, "", "{host}");
    }
    assert!(theirs.asked().is_empty(), "{:?}", theirs.asked());
}

#[tokio::test]
async fn the_proxys_trouble_is_told_from_the_sites() {
    let (site, _serving) = site().await;
    let url = CanonicalUrl::parse("http://a.example/").unwrap();
    for kind in [ProxyKind::Http, ProxyKind::Socks5] {
        let refusing = Theirs::start(kind, site, true).await;
        let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port();
        let theirs = Theirs::start(kind, site, false).await;
        for (port, password, class, part) in [
            (refusing.port, "sesame", FailureClass::Connect, "the proxy"),
            (theirs.port, "wrong!", FailureClass::Proxy, "credentials"),
            (nobody, "sesame", FailureClass::Proxy, "no connection"),
            (site, "sesame", FailureClass::Proxy, "cannot be used"),
        ] {
            if port == site && kind == ProxyKind::Http {
                // It answers as a proxy would.
                continue;
            }
            let egress = open(upstream(kind, port, password, ProxyNames::Here)).await;
            let since = Instant::now();
            assert_eq!(get(egress.proxy(), url.as_str()).await, "");
            let why = egress.why(&url, since);
            let Some(Refusal::Fail(found, message)) = &why else { panic!("{kind:?} {port}: {why:?}") };
            assert!(*found == class && message.contains(part), "{kind:?}: {found} {message}");
            assert!(!message.contains(password), "{message}");
        }
    }
}

#[tokio::test]
async fn plain_http_goes_the_same_way() {
    use crate::clock::Clock;
    use crate::fetch::HttpClient;
    let (site, _serving) = site().await;
    let theirs = Theirs::start(ProxyKind::Http, site, false).await;
    let egress = Arc::new(open(upstream(ProxyKind::Http, theirs.port, "sesame", ProxyNames::Here)).await);
    let fetch = FetchSpec::default();
    let client = HttpClient::new(Arc::new(AddressPolicy::default()), &fetch, Clock::system()).unwrap();
    let client = client.through(egress, &fetch).unwrap();
    let robots = crate::fetch::robots::RobotsCache::new();
    let answer = robots.access(&client, "http://a.example").await.unwrap();
    assert_eq!(answer.fresh.and_then(|fresh| fresh.status), Some(200));
    assert_eq!(theirs.asked(), ["8.8.8.8:80"]);
    let lost = Arc::new(open(upstream(ProxyKind::Http, theirs.port, "wrong!", ProxyNames::Here)).await);
    let client = HttpClient::new(Arc::new(AddressPolicy::default()), &fetch, Clock::system()).unwrap();
    let client = client.through(lost, &fetch).unwrap();
    let refused = robots.access(&client, "http://b.example").await.unwrap_err();
    assert!(matches!(&refused, Refusal::Fail(FailureClass::Proxy, _)), "{refused:?}");
    let forbidden = robots.access(&client, "http://127.0.0.1:1").await.unwrap_err();
    assert_eq!(forbidden, Refusal::Skip(SkipReason::AddressForbidden));
}
