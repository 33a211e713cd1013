//! Plain HTTP requests: passed on to the site, the answer passed back.

use std::error::Error as _;
use std::io;
use std::sync::Arc;

use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::{PathAndQuery, Scheme};
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::body::{Answer, Origin, Passing, Upload};
use super::dial::class_of;
use super::link::{Link, NoAnswer, words};
use crate::lock::lock;
use crate::model::outcome::FailureClass;
use crate::model::visit::{HOP_BY_HOP, Refusal};

/// Header fields of an answer; Chromium's own bound is one of bytes.
const MOST_FIELDS: usize = 512;

/// A connection to a site that can carry one more request.
pub(super) struct Upstream {
    host: String,
    port: u16,
    sender: SendRequest<Upload>,
    _driver: AbortOnDropHandle<()>,
}

/// What a request is for.
struct Target {
    host: String,
    port: u16,
}

/// Passes a request on. `Err`, which ends the browser's connection, when there is no answer to pass
/// back: a failure must look like one and never become the content of a page.
pub(super) async fn forward(link: &Link, request: Request<Incoming>) -> Result<Response<Answer>, NoAnswer> {
    let Some(target) = target(request.uri()) else {
        let what = "this is the proxy of a browser: it takes absolute http:// URLs and CONNECT";
        return Ok(words(StatusCode::BAD_REQUEST, "no-target", what));
    };
    let (mut parts, body) = request.into_parts();
    address(&mut parts);
    let bodiless = body.is_end_stream();
    // A request that cannot be repeated is not put on a connection that the site may be closing.
    let kept =
        lock(&link.upstream).take().filter(|kept| bodiless && kept.host == target.host && kept.port == target.port);
    if let Some(mut upstream) = kept
        && is_safe(&parts.method)
        && matches!(timeout(link.shared.limits.connect, upstream.sender.ready()).await, Ok(Ok(())))
    {
        match send(link, upstream, Request::from_parts(parts.clone(), Upload(None))).await {
            Err(Broken::Closed(_)) => {}
            sent => return finish(link, &target, sent),
        }
    }
    let stream = link.shared.dial(&target.host, target.port).await.map_err(|_| NoAnswer)?;
    let upload = Upload((!bodiless).then_some(body));
    let sent = match open(target.host.clone(), target.port, stream).await {
        Ok(upstream) => send(link, upstream, Request::from_parts(parts, upload)).await,
        Err(error) => Err(Broken::of(&error)),
    };
    finish(link, &target, sent)
}

async fn open(host: String, port: u16, stream: super::meter::Metered) -> hyper::Result<Upstream> {
    let (sender, connection) = http1::Builder::new()
        .preserve_header_case(true)
        .title_case_headers(true)
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .ignore_invalid_headers_in_responses(true)
        .max_headers(MOST_FIELDS)
        .handshake(TokioIo::new(stream))
        .await?;
    // What it ends with is told to the request, or the body, that was on it.
    let driver = AbortOnDropHandle::new(tokio::spawn(async move { drop(connection.await) }));
    Ok(Upstream { host, port, sender, _driver: driver })
}

/// Why there is no answer.
enum Broken {
    /// The connection ended before a byte of an answer.
    Closed(String),
    /// Anything else.
    Failed(FailureClass, String),
}

impl Broken {
    fn of(error: &hyper::Error) -> Broken {
        let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        match cause {
            _ if error.is_incomplete_message() || error.is_canceled() || error.is_closed() => {
                Broken::Closed("the server closed the connection without an answer".to_owned())
            }
            Some(cause) if class_of(cause) == FailureClass::Timeout => {
                Broken::Failed(FailureClass::Timeout, cause.to_string())
            }
            Some(cause) => Broken::Closed(format!("the connection broke: {cause}")),
            None => Broken::Failed(FailureClass::Protocol, error.to_string()),
        }
    }
}

async fn send(link: &Link, mut upstream: Upstream, request: Request<Upload>) -> Result<Response<Answer>, Broken> {
    let limits = &link.shared.limits;
    let path = request.uri().path_and_query().map_or_else(|| "/".to_owned(), |path| path.as_str().to_owned());
    let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let shown = accept.is_some_and(|accept| accept.starts_with("text/html"));
    let origin = Origin { host: upstream.host.clone(), port: upstream.port, path, shown };
    let sent = tokio::select! {
        sent = timeout(limits.first_byte, upstream.sender.send_request(request)) => sent,
        () = link.shared.cuts.of(&origin.host, origin.port, Some(&origin.path)) => {
            return Ok(words(StatusCode::GATEWAY_TIMEOUT, "cut", "its page does not wait for this any longer"));
        }
    };
    let response = match sent {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Err(Broken::of(&error)),
        Err(_) => return Err(Broken::Failed(FailureClass::Timeout, "no answer from the server in time".to_owned())),
    };
    let (mut parts, body) = response.into_parts();
    if parts.status.is_informational() || parts.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        // Between a browser and its proxy these mean something else; no site has a say in that.
        return Err(Broken::Failed(FailureClass::Protocol, format!("the server answered {}", parts.status.as_u16())));
    }
    *lock(&link.upstream) = Some(upstream);
    strip(&mut parts.headers);
    parts.version = Version::HTTP_11;
    if shown && body.size_hint().lower() > limits.body_bytes {
        parts.headers.remove(CONTENT_LENGTH);
    }
    let passing = Passing::new(body, Arc::clone(&link.shared), origin);
    Ok(Response::from_parts(parts, Answer::Passing(Box::new(passing))))
}

fn finish(link: &Link, target: &Target, sent: Result<Response<Answer>, Broken>) -> Result<Response<Answer>, NoAnswer> {
    sent.map_err(|broken| {
        let why = match broken {
            Broken::Closed(words) => Refusal::Fail(FailureClass::Connect, words),
            Broken::Failed(class, words) => Refusal::Fail(class, words),
        };
        link.shared.failed(&target.host, target.port, &why);
        NoAnswer
    })
}

fn target(uri: &Uri) -> Option<Target> {
    (uri.scheme() == Some(&Scheme::HTTP)).then_some(())?;
    let authority = uri.authority()?;
    (!authority.as_str().contains('@')).then_some(())?;
    Some(Target { host: authority.host().to_owned(), port: authority.port_u16().unwrap_or(80) })
}

/// Turns a request to a proxy into one to the site.
fn address(parts: &mut Parts) {
    let authority = parts.uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
    strip(&mut parts.headers);
    if let Ok(host) = HeaderValue::from_str(&authority) {
        parts.headers.insert(HOST, host);
    }
    parts.headers.insert(CONNECTION, HeaderValue::from_static("keep-alive"));
    let path = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    parts.uri = Uri::from(path);
    parts.version = Version::HTTP_11;
}

/// Removes what was meant for a neighbour.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| *name != CONTENT_LENGTH && *name != HOST)
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(*name);
    }
}

/// Methods that may be sent twice (RFC 9110, 9.2.1).
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}
