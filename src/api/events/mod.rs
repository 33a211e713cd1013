//! Live events over WebSocket: `/api/v1/events` and `/api/v1/sessions/{id}/events`.
//!
//! Frames are JSON texts, uncompressed (the WebSocket library speaks no permessage-deflate). Everybody is let as far as
//! the upgrade, and then told by a close code what is wrong.

mod close;
mod socket;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Extension, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::access::{Access, Standing};
use crate::api::guard::{Caller, Connection, Door};
use crate::api::problem::{ProblemBody, Refused};
use crate::api::routes::sessions::id;
use crate::api::routes::{Route, query};
use crate::api::server::Shared;
use crate::daemon::command::OperatorError;
use crate::daemon::feed::{Feed, Over, Subscription};
use crate::lock::lock;
use crate::model::event::EventId;
use crate::model::ids::SessionId;
use crate::policy::admission::{Admission, Visitor};

use close::Close;
use socket::Socket;

/// The answer to an upgrade must be on its way in this time.
const UPGRADE: Duration = Duration::from_secs(10);
/// Addresses with something to remember; beyond it all are forgiven.
const ADDRESSES: usize = 4_096;
/// Sessions that one watcher of everything may name to begin after.
const NAMED_MAX: usize = 100;

pub(super) const ROUTES: &[Route] = &[
    Route::get("/events", Access::Read, "Live events of all sessions, over WebSocket", || get(all))
        .query::<EventsQuery>()
        .upgrades(),
    Route::get("/sessions/{id}/events", Access::Read, "Live events of one session, over WebSocket", || get(one))
        .query::<EventsQuery>()
        .upgrades(),
];

/// Where to begin.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct EventsQuery {
    /// The last number seen, such as `3.1841.2`: what came after it is told first. Of `/events`: `SESSION@3.1841.2` for
    /// each session, with commas between; `@NUMBER` for the daemon's own events.
    after: Option<String>,
}

/// The watchers of this process.
#[derive(Clone)]
pub(super) struct Watchers {
    feed: Feed,
    doorman: Arc<Mutex<HashMap<Address, Visitor>>>,
    connections: TaskTracker,
    stop: CancellationToken,
}

/// Who is held to the same breaker: those without a token are not mixed up with those who have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Address {
    /// None on the Unix socket.
    ip: Option<IpAddr>,
    authorised: bool,
}

impl Watchers {
    pub(super) fn new(feed: Feed, stop: CancellationToken) -> Self {
        Watchers { feed, doorman: Arc::default(), connections: TaskTracker::new(), stop }
    }

    /// Waits for every connection to have said goodbye; the stop has been said.
    pub(super) async fn close(&self) {
        self.connections.close();
        self.connections.wait().await;
    }

    fn knock(&self, address: Address, shared: &Shared) -> Admission {
        let mut doorman = lock(&self.doorman);
        let (visitor, said) = doorman.get(&address).copied().unwrap_or_default().knock(shared.clock.now());
        remember(&mut doorman, address, visitor);
        said
    }

    fn left(&self, address: Address, close: &Close, shared: &Shared) {
        // Who was not let in has not left.
        if matches!(close, Close::NotNow(_)) {
            return;
        }
        let mut doorman = lock(&self.doorman);
        let visitor = doorman.get(&address).copied().unwrap_or_default().left(close.is_well(), shared.clock.now());
        remember(&mut doorman, address, visitor);
    }
}

fn remember(doorman: &mut HashMap<Address, Visitor>, address: Address, visitor: Visitor) {
    if visitor.is_blank() {
        doorman.remove(&address);
        return;
    }
    if doorman.len() >= ADDRESSES {
        doorman.clear();
    }
    doorman.insert(address, visitor);
}

/// What somebody asks to watch.
enum Asked {
    /// Everything; after a number of each of these sessions, and of the daemon's own events.
    All(Vec<(SessionId, EventId)>, Option<EventId>),
    /// A session, as the path names it; after a number.
    One(String, Option<EventId>),
}

async fn all(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Extension(connection): Extension<Connection>,
    request: Request,
) -> Result<Response, Refused> {
    let EventsQuery { after } = query(request.uri())?;
    let (sessions, own) =
        named(after.as_deref().unwrap_or_default()).map_err(|why| ProblemBody::field("query", "query: after", why))?;
    upgrade(shared, caller, connection.door, request, Asked::All(sessions, own))
}

async fn one(
    State(shared): State<Shared>,
    Extension(caller): Extension<Caller>,
    Extension(connection): Extension<Connection>,
    Path(session): Path<String>,
    request: Request,
) -> Result<Response, Refused> {
    let EventsQuery { after } = query(request.uri())?;
    let after = after.map(|text| text.parse()).transpose();
    let after = after.map_err(|why: String| ProblemBody::field("query", "query: after", why))?;
    upgrade(shared, caller, connection.door, request, Asked::One(session, after))
}

/// Answers an upgrade; the connection is served beside it.
fn upgrade(
    shared: Shared,
    caller: Caller,
    door: Door,
    mut request: Request,
    asked: Asked,
) -> Result<Response, Refused> {
    let Some(accept) = accept_key(request.headers()) else {
        let detail = "events come over WebSocket: ask with `Connection: Upgrade`, `Upgrade: websocket`, version 13";
        return Err(ProblemBody::request(StatusCode::UPGRADE_REQUIRED, detail).into());
    };
    let upgraded = hyper::upgrade::on(&mut request);
    let ip = match door {
        Door::Unix(_) => None,
        Door::Tcp { peer, .. } => Some(peer.ip()),
    };
    let address = Address { ip, authorised: caller.standing != Standing::Nobody };
    let connections = shared.watchers.connections.clone();
    connections.spawn(converse(shared, address, upgraded, asked));
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
    ];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

/// The key to answer a handshake with; `None`: it is none.
fn accept_key(headers: &HeaderMap) -> Option<HeaderValue> {
    let has = |name: header::HeaderName, word: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    let asked = has(header::CONNECTION, "upgrade") && has(header::UPGRADE, "websocket");
    let version = headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| asked && version)?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()
}

async fn converse(shared: Shared, address: Address, upgraded: OnUpgrade, asked: Asked) {
    let Ok(Ok(upgraded)) = tokio::time::timeout(UPGRADE, upgraded).await else { return };
    let ws = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(socket::limits())).await;
    let mut socket = Socket::new(ws);
    let watchers = &shared.watchers;
    let close = match watchers.knock(address, &shared) {
        Admission::Welcome if !address.authorised => Close::NotAuthorised,
        Admission::Welcome => match subscribe(&shared, asked).await {
            Err(close) => close,
            Ok((mut watch, replays)) => {
                socket.serve(&mut watch, (&watchers.feed, &shared.readers), replays, &watchers.stop).await
            }
        },
        said => Close::NotNow(said),
    };
    watchers.left(address, &close, &shared);
    socket.close(&close).await;
}

/// The place of a watcher, and whether it begins in the past.
async fn subscribe(shared: &Shared, asked: Asked) -> Result<(Subscription, bool), Close> {
    let feed = &shared.watchers.feed;
    let (session, after) = match asked {
        Asked::All(sessions, own) => {
            return Ok((feed.watch_all(&sessions, own), !sessions.is_empty() || own.is_some()));
        }
        Asked::One(session, after) => (session, after),
    };
    let detail = match id(shared, &session).await {
        Ok(session) => shared.operator.status(session).await,
        Err(error) => Err(error),
    };
    let summary = detail.map_err(|error| match error {
        OperatorError::UnknownSession(_) | OperatorError::OtherTask(_) => Close::UnknownSession(error.to_string()),
        error => Close::Fault(error.to_string()),
    })?;
    let (status, stop_reason) = (summary.summary.status, summary.summary.stop_reason);
    let over = status.ended().then_some(Over { status, stop_reason });
    Ok((feed.watch(&summary.summary.session_id, after, over), after.is_some()))
}

/// The last number of each session that a client names, and of what belongs to none.
type Named = (Vec<(SessionId, EventId)>, Option<EventId>);

/// Reads `SESSION@NUMBER,…`.
fn named(text: &str) -> Result<Named, String> {
    let (mut sessions, mut own) = (Vec::new(), None);
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (session, number) =
            part.rsplit_once('@').ok_or("say SESSION@NUMBER for each session, with commas between")?;
        let number = number.parse()?;
        if session.is_empty() {
            own = Some(number);
            continue;
        }
        sessions.push((session.parse().map_err(|error: crate::model::ids::IdError| error.to_string())?, number));
        if sessions.len() > NAMED_MAX {
            return Err(format!("at most {NAMED_MAX} sessions can be named"));
        }
    }
    Ok((sessions, own))
}
