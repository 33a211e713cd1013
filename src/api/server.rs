//! Connections: taken at the doors, read as HTTP within their limits, ended with the process.

use std::convert::Infallible;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use axum::middleware;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::api::doors::{Doors, forget_address};
use crate::api::events::Watchers;
use crate::api::guard::{Connection, Door, Refusals, guard};
use crate::api::listener::{self, Busy};
use crate::api::looks::READERS;
use crate::api::routes;
use crate::api::tcp::{HANDSHAKE, Tcp};
use crate::api::token::Keys;
use crate::clock::Clock;
use crate::config::Config;
use crate::daemon::ApiGround;
use crate::daemon::command::Operator;
use crate::daemon::pulse::Liveness;
use crate::model::time::Timestamp;
use crate::state::paths::StateDir;
use crate::store::registry::Registry;

/// A head must have come whole in this time, and the next one on the same connection too.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// Bytes of a head at most: request line and headers.
const HEAD_MAX_BYTES: usize = 32 << 10;
/// Headers of a request at most.
const HEADERS_MAX: usize = 64;
/// At a stop, answers under way have this long to get out.
const STOP_DEADLINE: Duration = Duration::from_secs(3);

/// What every handler needs.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) operator: Operator,
    pub(super) config: Arc<Config>,
    /// Where the sessions are: not always what the configuration says.
    pub(super) state_dir: Arc<Path>,
    pub(super) clock: Clock,
    /// What is known of all sessions; none: it cannot be used.
    pub(super) registry: Option<Arc<Registry>>,
    /// What opens the TCP address; none: only the Unix socket is served.
    pub(super) keys: Option<Arc<Keys>>,
    pub(super) refusals: Arc<Refusals>,
    pub(super) about: Arc<About>,
    pub(super) readers: Arc<Semaphore>,
    /// Those who watch live events.
    pub(super) watchers: Watchers,
    /// One reader of whole files.
    pub(super) long: Arc<Semaphore>,
}

/// What does not change while the process lives, and whether its loops turn.
pub(super) struct About {
    pub(super) mode: &'static str,
    pub(super) started_at: Timestamp,
    pub(super) liveness: Liveness,
    /// The TCP address as a URL.
    pub(super) listens: Option<String>,
    /// Why there is none although one is wanted.
    pub(super) deaf: Option<String>,
}

impl Shared {
    fn new(ground: &ApiGround, config: Arc<Config>, doors: &Doors) -> Shared {
        let about = About {
            mode: ground.mode,
            started_at: ground.started_at,
            liveness: ground.liveness.clone(),
            listens: doors.tcp.as_ref().map(|(tcp, _)| tcp.url()),
            deaf: doors.deaf.clone(),
        };
        Shared {
            operator: ground.operator.clone(),
            config,
            state_dir: ground.state_dir.as_path().into(),
            clock: ground.clock.clone(),
            registry: ground.registry.clone(),
            keys: None,
            refusals: Arc::default(),
            about: Arc::new(about),
            readers: Arc::new(Semaphore::new(READERS)),
            watchers: Watchers::new(ground.feed.clone(), ground.stop.clone()),
            long: Arc::new(Semaphore::new(1)),
        }
    }
}

/// Serves the API until the ground's token is cancelled; answers under way get 3 s more.
pub async fn serve(doors: Doors, config: Arc<Config>, ground: ApiGround) {
    let mut shared = Shared::new(&ground, config, &doors);
    let Doors { unix, tcp, .. } = doors;
    let (tcp, keys) = tcp.map_or((None, None), |(tcp, keys)| (Some(tcp), Some(Arc::new(keys))));
    shared.keys = keys;
    let watchers = shared.watchers.clone();
    let app = routes::router(&shared).layer(middleware::from_fn_with_state(shared, guard));
    let unix = listener::Door::new(unix);
    let stop = ground.stop;
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            (stream, standing) = unix.accept() => {
                let connection = Connection { busy: stream.busy(), door: Door::Unix(standing) };
                clients.spawn(talk(stream, connection, app.clone(), stop.clone()));
            }
            (stream, local, peer) = knock(tcp.as_ref()) => {
                let tls = tcp.as_ref().and_then(Tcp::tls);
                let busy: Busy = stream.busy();
                let connection = Connection { busy, door: Door::Tcp { local, peer, tls: tls.is_some() } };
                let (app, stop) = (app.clone(), stop.clone());
                clients.spawn(async move {
                    let Some(tls) = tls else { return talk(stream, connection, app, stop).await };
                    // A client that does not get this far has learned nothing and is told nothing.
                    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
                        talk(stream, connection, app, stop).await;
                    }
                });
            }
            Some(ended) = clients.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "an API connection ended badly");
                }
            }
        }
    }
    if tcp.is_some()
        && let Ok(state) = StateDir::existing(&ground.state_dir)
    {
        forget_address(&state);
    }
    let all_ended = async {
        watchers.close().await;
        while clients.join_next().await.is_some() {}
    };
    let _ = tokio::time::timeout(STOP_DEADLINE, all_ended).await;
}

/// The next client of the TCP address; never, where there is none.
async fn knock(
    tcp: Option<&Tcp>,
) -> (listener::Guarded<tokio::net::TcpStream>, std::net::SocketAddr, std::net::SocketAddr) {
    match tcp {
        Some(tcp) => tcp.accept().await,
        None => std::future::pending().await,
    }
}

/// One connection to its end. What breaks it ends it alone.
async fn talk<S>(stream: S, connection: Connection, app: Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answer = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(connection.clone());
        let answered = app.clone().oneshot(request.map(Body::new));
        async move { Ok::<Response<Body>, Infallible>(answered.await.unwrap_or_else(|never| match never {})) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(HEAD_MAX_BYTES)
        .max_headers(HEADERS_MAX)
        .half_close(false);
    let mut conversation = pin!(http.serve_connection(TokioIo::new(stream), answer).with_upgrades());
    tokio::select! {
        // A client that goes away, or is sent away, is no news.
        _ = conversation.as_mut() => {}
        () = stop.cancelled() => {
            conversation.as_mut().graceful_shutdown();
            let _ = conversation.await;
        }
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
