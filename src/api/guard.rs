//! What stands around every route: who asks, from where, how much, for how long; and what every answer carries.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;

use crate::api::access::{Access, Standing, Verdict, decide};
use crate::api::listener::Busy;
use crate::api::origin::Place;
use crate::api::problem::{ProblemBody, Refused};
use crate::api::server::Shared;
use crate::api::token::Grade;
use crate::model::text::escape_control;

/// A task with its seeds fits; anything larger is no request.
pub(super) const BODY_MAX_BYTES: usize = 1 << 20;
/// A whole body must arrive in this time.
const BODY_DEADLINE: Duration = Duration::from_secs(10);
/// Bytes of a framework's own words about an error.
const WORDS_MAX: usize = 4 << 10;
/// Names of query parameters that carry secrets elsewhere: here a URL is logged, kept and shown.
const SECRETS_IN_QUERIES: &[&str] = &["token", "access_token", "api_key", "apikey", "key", "auth", "authorization"];
/// Refused clients are logged at the first, and then at every one of so many.
const LOG_ONE_IN: u64 = 1_000;

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// The Unix socket, and who the kernel says is at its other end.
    Unix(Standing),
    /// TCP: our end of the connection, its other end, and whether it is TLS.
    Tcp {
        /// Ours.
        local: SocketAddr,
        /// Theirs.
        peer: SocketAddr,
        /// Encrypted.
        tls: bool,
    },
}

/// What is known of a connection before its first request.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) busy: Busy,
    pub(super) door: Door,
}

/// Who asks. In a request's extensions once the guard has let it in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    pub(super) standing: Standing,
    /// The cookie that a login sets on this connection is `Secure`.
    pub(super) secure: bool,
    /// Our port, which is part of the cookie's name: cookies of one host are shared by all its ports.
    pub(super) port: u16,
}

impl Caller {
    /// The login cookie's name.
    pub(super) fn cookie_name(self) -> String {
        cookie_name(self.port)
    }
}

fn cookie_name(port: u16) -> String {
    format!("crawld_login_{port}")
}

/// Clients that were sent away, by this process.
#[derive(Debug, Default)]
pub struct Refusals(AtomicU64);

impl Refusals {
    fn count(&self, door: Door, why: &str) {
        let so_far = self.0.fetch_add(1, Ordering::Relaxed);
        if so_far.is_multiple_of(LOG_ONE_IN) {
            // Nothing that the client has sent is logged: it may be a token, or written for the log's reader.
            tracing::warn!(?door, reason = why, refused = so_far + 1, "API request refused");
        }
    }
}

/// Finds out who asks, reads the body within its limits, and lets the route take its own time.
pub(super) async fn guard(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let Some(connection) = request.extensions().get::<Connection>().cloned() else {
        return ProblemBody::request(StatusCode::INTERNAL_SERVER_ERROR, "the connection is not known").into_response();
    };
    let (mut head, body) = request.into_parts();
    let caller = match caller(&shared, connection.door, &head) {
        Ok(caller) => caller,
        Err(refused) => {
            shared.refusals.count(connection.door, refused.0);
            return carry(ProblemBody::request(refused.1, refused.0).into_response());
        }
    };
    head.extensions.insert(caller);
    let body = match whole(body).await {
        Ok(body) => body,
        // The rest of the body is not read: the connection ends with this answer.
        Err(refused) => return carry(closing(refused.into_response())),
    };
    connection.busy.set(true);
    let response = next.run(Request::from_parts(head, body)).await;
    // An upgraded connection keeps time by itself.
    connection.busy.set(response.status() == StatusCode::SWITCHING_PROTOCOLS);
    carry(in_words(response).await)
}

/// Answers of the framework (a path that is no text, say) become problems like ours.
async fn in_words(response: Response) -> Response {
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("text/plain");
    if !(status.is_client_error() || status.is_server_error()) || !kind.starts_with("text/plain") {
        return response;
    }
    let text = axum::body::to_bytes(response.into_body(), WORDS_MAX).await.unwrap_or_default();
    let text = escape_control(&String::from_utf8_lossy(&text)).into_owned();
    ProblemBody::request(status, text).into_response()
}

/// Whether this client may use a route; the problem to answer with where it may not.
pub(super) fn admit(shared: &Shared, head: &HeaderMap, caller: Caller, access: Access) -> Result<(), Refused> {
    let (status, detail) = match decide(access, caller.standing, shared.config.api_metrics_open) {
        Verdict::Pass => return Ok(()),
        Verdict::WhoIsThat if head.contains_key(header::AUTHORIZATION) => (
            StatusCode::UNAUTHORIZED,
            "this is not the token of this crawld: it stands in `api-token` of its state directory",
        ),
        Verdict::WhoIsThat => (
            StatusCode::UNAUTHORIZED,
            "a token is needed: `Authorization: Bearer` and what `api-token` of the state directory holds",
        ),
        Verdict::ReadOnly => (StatusCode::FORBIDDEN, "this token is for reading: use the one in `api-token`"),
        Verdict::NotFromThere => (
            StatusCode::FORBIDDEN,
            "this is done over the Unix socket of the state directory only, as crawld's commands do",
        ),
    };
    let code = if status == StatusCode::UNAUTHORIZED { "unauthorised" } else { "forbidden" };
    Err(ProblemBody::coded(code, status, detail).into())
}

type Refusal = (&'static str, StatusCode);

fn caller(shared: &Shared, door: Door, head: &Parts) -> Result<Caller, Refusal> {
    let (local, tls) = match door {
        Door::Unix(standing) => return Ok(Caller { standing, secure: false, port: 0 }),
        Door::Tcp { local, tls, .. } => (local, tls),
    };
    let place = Place { local, tls, origins: &shared.config.api_origins };
    let host = one(&head.headers, header::HOST)
        .map_err(|()| ("the request names more than one Host", StatusCode::BAD_REQUEST))?
        .ok_or(("the request names no Host", StatusCode::BAD_REQUEST))?;
    let target = head.uri.authority().map(|authority| authority.as_str());
    if !place.is_host(host) || target.is_some_and(|target| !place.is_host(target)) {
        let why = "the Host is none of this crawld: use its address, or name this one in `api_origins`";
        return Err((why, StatusCode::MISDIRECTED_REQUEST));
    }
    if head.headers.contains_key(header::TRANSFER_ENCODING) && head.headers.contains_key(header::CONTENT_LENGTH) {
        return Err(("the request has two lengths", StatusCode::BAD_REQUEST));
    }
    if head.uri.query().is_some_and(names_secret) {
        let why = "a token does not belong into a URL, which is logged and kept: send it as `Authorization: Bearer`";
        return Err((why, StatusCode::BAD_REQUEST));
    }
    let foreign = ("the request comes from a page of another origin", StatusCode::FORBIDDEN);
    let origin = one(&head.headers, header::ORIGIN).map_err(|()| foreign)?;
    if origin.is_some_and(|origin| !place.is_origin(origin)) {
        return Err(foreign);
    }
    let by_token = bearer(&head.headers)?.and_then(|given| shared.keys.as_ref()?.grade_of(given));
    let by_cookie = || login(shared, &head.headers, local.port());
    let (grade, by_cookie) = match head.headers.contains_key(header::AUTHORIZATION) {
        true => (by_token, false),
        false => by_cookie().map_or((None, false), |grade| (Some(grade), true)),
    };
    if by_cookie && !own_page(head, origin.is_some()) {
        return Err(("a browser's request that does not come from the dashboard", StatusCode::FORBIDDEN));
    }
    Ok(Caller { standing: grade.into(), secure: place.is_secure(host), port: local.port() })
}

/// Whether a request with the login cookie is the dashboard's own doing. The cookie alone proves nothing: pages on
/// other ports of the same host send it along.
fn own_page(head: &Parts, has_origin: bool) -> bool {
    let safe = matches!(head.method, Method::GET | Method::HEAD);
    let upgrades = head.headers.contains_key(header::UPGRADE);
    let site = head.headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    let navigates = head.headers.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate");
    match site {
        // A link that somebody follows may show the dashboard, which cannot be framed, and nothing else.
        Some(b"same-origin" | b"none") => has_origin || (safe && !upgrades),
        Some(_) => safe && !upgrades && navigates && !head.uri.path().starts_with("/api/"),
        None => has_origin || (safe && !upgrades),
    }
}

/// The one value of a header; an error where there are several, or it is no text.
fn one(headers: &HeaderMap, name: header::HeaderName) -> Result<Option<&str>, ()> {
    let mut all = headers.get_all(name).iter();
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}

fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let given = one(headers, header::AUTHORIZATION)
        .map_err(|()| ("the request has more than one Authorization", StatusCode::BAD_REQUEST))?;
    Ok(given.and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }))
}

fn login(shared: &Shared, headers: &HeaderMap, port: u16) -> Option<Grade> {
    let name = cookie_name(port);
    let texts = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut values = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let value = values.find_map(|(key, value)| (key == name).then_some(value))?;
    shared.keys.as_ref()?.grade_of_cookie(value, shared.clock.now().millis())
}

fn names_secret(query: &str) -> bool {
    query.split('&').any(|pair| {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name).to_ascii_lowercase();
        // A name with escapes in it is none of our parameters either.
        SECRETS_IN_QUERIES.contains(&name.as_str()) || name.contains('%')
    })
}

async fn whole(body: Body) -> Result<Body, Refused> {
    let too_large = || {
        let detail = format!("the body is larger than {BODY_MAX_BYTES} bytes");
        Refused::from(ProblemBody::request(StatusCode::PAYLOAD_TOO_LARGE, detail))
    };
    let late = || {
        let detail = format!("the body did not arrive within {} s", BODY_DEADLINE.as_secs());
        Refused::from(ProblemBody::request(StatusCode::REQUEST_TIMEOUT, detail))
    };
    if body.size_hint().lower() > BODY_MAX_BYTES as u64 {
        return Err(too_large());
    }
    let read = async {
        let (mut pieces, mut whole) = (body.into_data_stream(), Vec::new());
        while let Some(piece) = pieces.next().await {
            // Broken off, or silent for so long that its connection was ended.
            let piece = piece.map_err(|_| late())?;
            if whole.len() + piece.len() > BODY_MAX_BYTES {
                return Err(too_large());
            }
            whole.extend_from_slice(&piece);
        }
        Ok(Body::from(whole))
    };
    tokio::time::timeout(BODY_DEADLINE, read).await.unwrap_or_else(|_| Err(late()))
}

fn closing(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// What every answer carries, unless its route has said otherwise: it is kept by nobody, taken for nothing else, shown
/// in no frame, and reveals no address.
fn carry(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // With `no-referrer` browsers would send our own forms without saying where they come from.
        (header::REFERRER_POLICY, "same-origin"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'; sandbox"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
