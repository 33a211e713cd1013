//! A scripted server on loopback, and rules and names as tests need them.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use super::client::{Deadlines, HttpClient};
use super::resolve::{AddressRules, Lookup, SystemLookup};
use crate::clock::Clock;
use crate::model::duration::Span;
use crate::model::ids::SessionId;
use crate::model::task::{ExtractSpec, FetchSpec};
use crate::model::url::CanonicalUrl;
use crate::model::visit::{BoxFuture, HopGate, Refusal, VisitRequest};

/// What the server does with one request.
#[derive(Clone)]
pub(super) enum Reply {
    /// Sends the bytes and closes.
    Bytes(Vec<u8>),
    /// Sends the bytes and then nothing, with the connection open.
    Stall(Vec<u8>),
    /// Sends the first bytes, then the second over and over until the client has enough.
    Forever(Vec<u8>, Vec<u8>),
}

impl Reply {
    pub(super) fn ok(content_type: &str, body: &[u8]) -> Reply {
        Reply::with("200 OK", &[("Content-Type", content_type)], body)
    }

    pub(super) fn status(status: &str) -> Reply {
        Reply::with(status, &[], b"")
    }

    pub(super) fn redirect(location: &str) -> Reply {
        Reply::with("302 Found", &[("Location", location)], b"")
    }

    pub(super) fn with(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut bytes = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
        for (name, value) in headers {
            bytes.push_str(&format!("{name}: {value}\r\n"));
        }
        bytes.push_str("\r\n");
        Reply::Bytes([bytes.as_bytes(), body].concat())
    }
}

/// A server on a free port; ends when dropped.
pub(super) struct Site {
    pub(super) port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    accepting: AbortHandle,
}

impl Site {
    /// Answers every path (with query) by `script`.
    pub(super) async fn start(script: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Site {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (log, script) = (Arc::clone(&asked), Arc::new(script));
        let accepting = tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.spawn(serve(stream, Arc::clone(&log), Arc::clone(&script)));
            }
        });
        Site { port, asked, accepting: accepting.abort_handle() }
    }

    pub(super) fn url(&self, path: &str) -> CanonicalUrl {
        CanonicalUrl::parse(&format!("http://127.0.0.1:{}{path}", self.port)).unwrap()
    }

    pub(super) fn host_key(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The heads of all requests so far.
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve<S: Fn(&str) -> Reply>(
    mut stream: TcpStream,
    log: Arc<Mutex<Vec<String>>>,
    script: Arc<S>,
) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    log.lock().unwrap().push(head);
    match script(&path) {
        Reply::Bytes(bytes) => stream.write_all(&bytes).await?,
        Reply::Stall(bytes) => {
            stream.write_all(&bytes).await?;
            // Until the client gives up.
            let _ = stream.read_u8().await;
        }
        Reply::Forever(first, then) => {
            stream.write_all(&first).await?;
            loop {
                stream.write_all(&then).await?;
            }
        }
    }
    stream.shutdown().await
}

/// Rules by a function.
pub(super) struct Rules(pub(super) fn(&str, u16, IpAddr) -> bool);

impl AddressRules for Rules {
    fn permits(&self, host: &str, port: u16, address: IpAddr) -> bool {
        (self.0)(host, port, address)
    }
}

/// Loopback and nothing else, so that a mistake in a test cannot leave the machine.
pub(super) fn loopback_only() -> Arc<dyn AddressRules> {
    Arc::new(Rules(|_, _, address| address.to_canonical().is_loopback()))
}

/// Names with scripted answers: the n-th lookup gets the n-th, later ones the last.
pub(super) struct Names {
    answers: Vec<Vec<IpAddr>>,
    pub(super) asked: Mutex<Vec<String>>,
}

impl Names {
    pub(super) fn new(answers: &[&[&str]]) -> Arc<Names> {
        let answers = answers.iter().map(|set| set.iter().map(|a| a.parse().unwrap()).collect()).collect();
        Arc::new(Names { answers, asked: Mutex::default() })
    }
}

impl Lookup for Names {
    fn lookup(&self, host: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let mut asked = self.asked.lock().unwrap();
        let answer = self.answers[asked.len().min(self.answers.len() - 1)].clone();
        asked.push(host);
        Box::pin(async move { Ok(answer) })
    }
}

/// Short deadlines for servers that never answer: such a test's outcome is the same however slow the machine.
pub(super) fn short() -> Deadlines {
    Deadlines { connect: Duration::from_millis(50), first_byte: Duration::from_millis(50), ..short_body() }
}

/// As [`short`], for servers that stop in the middle of a body.
pub(super) fn short_body() -> Deadlines {
    Deadlines { rate_window: Duration::from_millis(50), ..Deadlines::default() }
}

pub(super) fn client(fetch: &FetchSpec, deadlines: Deadlines) -> Arc<HttpClient> {
    client_with(loopback_only(), Arc::new(SystemLookup), fetch, deadlines)
}

pub(super) fn client_with(
    rules: Arc<dyn AddressRules>,
    lookup: Arc<dyn Lookup>,
    fetch: &FetchSpec,
    deadlines: Deadlines,
) -> Arc<HttpClient> {
    Arc::new(HttpClient::with(rules, lookup, fetch, Clock::system(), deadlines).unwrap())
}

/// A gate that refuses every hop whose URL contains the text.
pub(super) struct Except(pub(super) &'static str, pub(super) Refusal);

impl HopGate for Except {
    fn check<'a>(&'a self, url: &'a CanonicalUrl) -> BoxFuture<'a, Result<(), Refusal>> {
        let refused = !self.0.is_empty() && url.as_str().contains(self.0);
        Box::pin(async move { if refused { Err(self.1.clone()) } else { Ok(()) } })
    }
}

pub(super) fn request(url: CanonicalUrl, fetch: FetchSpec, gate: Arc<dyn HopGate>) -> VisitRequest {
    VisitRequest {
        session: SessionId::new(1_763_719_200_007, 7),
        url,
        solo: false,
        fetch: Arc::new(fetch),
        extract: Arc::new(ExtractSpec::default()),
        conduct: Default::default(),
        gate,
        document: None,
        way_out: None,
        long: Default::default(),
    }
}

pub(super) fn quick() -> FetchSpec {
    FetchSpec { page_timeout: Span::secs(30), ..FetchSpec::default() }
}
