//! One connection from the browser: requests in a row, or a tunnel.

use std::convert::Infallible;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::body::Answer;
use super::cuts::Cuts;
use super::dial::dial;
use super::forward::{self, Upstream};
use super::meter::Metered;
use super::tally::Tally;
use super::trouble::Troubles;
use super::{Limits, tunnel};
use crate::fetch::CheckedResolver;
use crate::lock::lock;
use crate::model::outcome::{FailureClass, SkipReason};
use crate::model::proxy::Upstream as Proxy;
use crate::model::visit::Refusal;
use crate::policy::hosts::HostSet;

/// A connection on which no request comes for this long is closed: Chromium keeps idle ones no longer.
const UNUSED: Duration = Duration::from_secs(300);

/// Bytes of a request's head: Chromium's longest URLs and cookies fit.
const HEAD_BYTES: usize = 256 << 10;

/// Tells a person with a command line who answered.
const NAME: &str = "crawld-egress";

/// What all connections of a session share.
#[derive(Debug)]
pub(super) struct Shared {
    resolver: CheckedResolver,
    /// Hosts that the task blocks.
    blocked: HostSet,
    /// The task's proxy.
    proxy: Option<Proxy>,
    /// Deadlines and bounds.
    pub limits: Limits,
    /// Counters.
    pub tally: Arc<Tally>,
    /// Why connections came to nothing.
    pub troubles: Troubles<Refusal>,
    /// How bodies ended before their end.
    pub broken: Troubles<(FailureClass, String)>,
    /// What is not waited for any longer.
    pub cuts: Cuts,
}

impl Shared {
    pub(super) fn new(resolver: CheckedResolver, blocked: HostSet, proxy: Option<Proxy>, limits: Limits) -> Shared {
        let (tally, troubles, broken) = (Arc::default(), Troubles::default(), Troubles::default());
        Shared { resolver, blocked, proxy, limits, tally, troubles, broken, cuts: Cuts::default() }
    }

    /// A checked connection to a site. A failure is counted and remembered.
    pub(super) async fn dial(&self, host: &str, port: u16) -> Result<Metered, Refusal> {
        if self.blocked.contains(host) {
            // Nothing of the address: like a place that is not crawled at all.
            let why = Refusal::Skip(SkipReason::OutOfScope);
            Tally::add(&self.tally.blocked, 1);
            self.troubles.note(host, port, None, why.clone());
            return Err(why);
        }
        match dial(&self.resolver, self.proxy.as_ref(), host, port, self.limits.connect).await {
            Ok(stream) => {
                Tally::add(&self.tally.connections, 1);
                Ok(Metered::new(stream, Arc::clone(&self.tally)))
            }
            Err(why) => {
                self.failed(host, port, &why);
                Err(why)
            }
        }
    }

    /// Counts a failure and remembers why.
    pub(super) fn failed(&self, host: &str, port: u16, why: &Refusal) {
        let counter: &AtomicU64 = match why {
            Refusal::Skip(_) => &self.tally.refused,
            Refusal::Fail(..) => &self.tally.failed,
        };
        Tally::add(counter, 1);
        tracing::debug!(host = %host.escape_debug(), port, reason = ?why, "no connection for the browser");
        self.troubles.note(host, port, None, why.clone());
    }
}

/// A tunnel about to be opened.
struct Tunnel {
    upgrade: OnUpgrade,
    site: Metered,
    host: String,
    port: u16,
}

/// The connection's own state.
pub(super) struct Link {
    /// The session's.
    pub shared: Arc<Shared>,
    /// The site's connection of the last request: the browser asks the same site again on the same one.
    pub upstream: Mutex<Option<Upstream>>,
    tunnel: Mutex<Option<Tunnel>>,
}

/// Serves one connection to its end.
pub(super) async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let link = Arc::new(Link { shared, upstream: Mutex::default(), tunnel: Mutex::default() });
    let service = service_fn(|request| answer(Arc::clone(&link), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(UNUSED)
        .max_buf_size(HEAD_BYTES)
        .preserve_header_case(true)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    // An error is a browser that went away, or an answer of ours that is meant to be none.
    let _ = connection.await;
    let Some(Tunnel { upgrade, site, host, port }) = lock(&link.tunnel).take() else { return };
    let Ok(Ok(browser)) = timeout(link.shared.limits.connect, upgrade).await else { return };
    let end = tokio::select! {
        end = tunnel::carry(TokioIo::new(browser), site, &link.shared.limits) => end,
        () = link.shared.cuts.of(&host, port, None) => return,
    };
    let why = match end {
        tunnel::End::Closed => return,
        tunnel::End::Flood => (FailureClass::TooLarge, "the site sent more at a stretch than is allowed"),
        tunnel::End::Over => (FailureClass::Timeout, "the connection was cut at its time limit"),
    };
    Tally::add(&link.shared.tally.cut, 1);
    link.shared.broken.note(&host, port, None, (why.0, why.1.to_owned()));
}

/// Ends the connection without an answer: to the browser, a server that broke off.
#[derive(Debug, thiserror::Error)]
#[error("no answer")]
pub(super) struct NoAnswer;

async fn answer(link: Arc<Link>, request: Request<Incoming>) -> Result<Response<Answer>, NoAnswer> {
    if request.method() == Method::CONNECT {
        return Ok(connect(&link, request).await.unwrap_or_else(|never| match never {}));
    }
    if request.headers().get("sec-purpose").is_some_and(|purpose| purpose.as_bytes().starts_with(b"prefetch")) {
        // A page that the browser would ask for by itself, in case somebody goes there: without pace and robots.txt.
        return Ok(words(StatusCode::SERVICE_UNAVAILABLE, "prefetch", "nothing is asked for before it is visited"));
    }
    forward::forward(&link, request).await
}

/// Opens a tunnel. What goes wrong here never becomes a page: Chromium shows an error of its own.
async fn connect(link: &Link, mut request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
    let target = request.uri().authority().and_then(|to| Some((to.host().to_owned(), to.port_u16()?)));
    let Some((host, port)) = target else {
        return Ok(words(StatusCode::BAD_REQUEST, "no-target", "CONNECT needs a host and a port"));
    };
    match link.shared.dial(&host, port).await {
        Ok(site) => {
            *lock(&link.tunnel) = Some(Tunnel { upgrade: hyper::upgrade::on(&mut request), site, host, port });
            Ok(Response::new(Answer::Words(None)))
        }
        Err(why) => Ok(refusal(&why)),
    }
}

fn refusal(why: &Refusal) -> Response<Answer> {
    match why {
        Refusal::Skip(_) => words(StatusCode::FORBIDDEN, "refused", "this address may not be reached"),
        Refusal::Fail(FailureClass::Timeout, why) => words(StatusCode::GATEWAY_TIMEOUT, "failed", why),
        Refusal::Fail(_, why) => words(StatusCode::BAD_GATEWAY, "failed", why),
    }
}

/// An answer of the proxy's own.
pub(super) fn words(status: StatusCode, kind: &'static str, text: &str) -> Response<Answer> {
    let mut response = Response::new(Answer::Words(Some(format!("crawld: {text}\n").into())));
    *response.status_mut() = status;
    response.headers_mut().insert(NAME, HeaderValue::from_static(kind));
    response
}
