//! Follows live events and comes back by itself, as far as that makes sense: `policy/reconnect.rs` decides.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::api::client::socket_path;
use crate::model::event::{Event, EventId, Notice};
use crate::model::ids::SessionId;
use crate::policy::reconnect::{Ending, RECEIVE_TIMEOUT, Reconnect, Step};

/// For a connection and its handshake.
const CONNECT: Duration = Duration::from_secs(10);
/// Sessions whose last number is remembered; the server takes a hundred.
const SESSIONS_MAX: usize = 90;
/// Bytes of a frame at most: none of ours comes near it.
const FRAME_MAX: usize = 1 << 20;

/// Where the daemon is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// On this machine: its state directory. No token is needed.
    StateDir(PathBuf),
    /// By plain TCP: `HOST:PORT`, and a token.
    Address {
        /// Host and port.
        address: String,
        /// What `api-token` or `api-token-readonly` holds.
        token: String,
    },
}

/// What a watcher learns.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// Something happened.
    Event(Box<Event>, Utf8Bytes),
    /// The connection says something of itself.
    Notice(Notice, Utf8Bytes),
    /// A frame of a kind that this version does not know.
    Unknown(Utf8Bytes),
    /// The connection ended, and is tried again after a pause.
    Reconnecting {
        /// How it ended.
        ending: Ending,
        /// What was said of it.
        reason: String,
        /// How long it waits.
        pause: Duration,
        /// Tries in a row so far.
        tries: u32,
    },
}

/// Why there is nothing more to learn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{ending}: {reason}")]
pub struct Over {
    /// How the last connection ended.
    pub ending: Ending,
    /// What was said of it.
    pub reason: String,
    /// It was tried ten times in a row.
    pub gave_up: bool,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

struct Connected {
    ws: WebSocketStream<Box<dyn Stream>>,
    since: Instant,
    frames: u64,
}

/// A hold on live events. Dropped, it hangs up.
pub struct Watcher {
    place: Place,
    session: Option<SessionId>,
    last: BTreeMap<Option<SessionId>, EventId>,
    machine: Reconnect,
    connected: Option<Connected>,
    resume_at: Option<Instant>,
}

impl Watcher {
    /// Watches one session, or all; from now on, or after a number of that session.
    pub fn new(place: Place, session: Option<SessionId>, after: Option<EventId>) -> Self {
        let last = after.map(|after| (session.clone(), after)).into_iter().collect();
        Watcher { place, session, last, machine: Reconnect::default(), connected: None, resume_at: None }
    }

    /// What comes next. It waits for news, never for ever for a server.
    ///
    /// # Errors
    /// There is nothing more: the session has ended, or trying again makes no sense.
    pub async fn next(&mut self) -> Result<News, Over> {
        if let Some(at) = self.resume_at {
            sleep_until(at).await;
            self.resume_at = None;
        }
        let Some(connected) = &mut self.connected else {
            let (ending, reason, asked) = match timeout(CONNECT, self.connect()).await {
                Ok(Ok(ws)) => {
                    self.connected = Some(Connected { ws, since: Instant::now(), frames: 0 });
                    return Box::pin(self.next()).await;
                }
                Ok(Err(failed)) => failed,
                Err(_) => (Ending::ConnectTimeout, format!("no answer for {} s", CONNECT.as_secs()), None),
            };
            return self.ended(ending, reason, asked, false);
        };
        let frame = loop {
            match timeout(RECEIVE_TIMEOUT, connected.ws.next()).await {
                Ok(Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)))) => {}
                Ok(frame) => break Some(frame),
                Err(_) => break None,
            }
        };
        let (ending, reason, asked) = match frame {
            Some(Some(Ok(Message::Text(text)))) => {
                connected.frames += 1;
                return Ok(self.read(text));
            }
            Some(Some(Ok(Message::Close(frame)))) => {
                // The answer to a goodbye; the server may be gone already.
                let _ = timeout(Duration::from_secs(1), connected.ws.close(None)).await;
                said(frame)
            }
            Some(Some(Ok(_))) => (Ending::Protocol, "a frame that is no text".to_owned(), None),
            Some(Some(Err(error))) => (Ending::Lost, error.to_string(), None),
            Some(None) => (Ending::Lost, "the connection broke".to_owned(), None),
            None => (Ending::Silent, format!("nothing came for {} s", RECEIVE_TIMEOUT.as_secs()), None),
        };
        let good = Reconnect::was_good(connected.since.elapsed(), connected.frames);
        self.connected = None;
        self.ended(ending, reason, asked, good)
    }

    /// Says goodbye.
    pub async fn close(mut self) {
        if let Some(connected) = &mut self.connected {
            let _ = timeout(Duration::from_secs(1), connected.ws.send(Message::Close(None))).await;
        }
    }

    fn ended(&mut self, ending: Ending, reason: String, asked: Option<Duration>, good: bool) -> Result<News, Over> {
        let (machine, step) = self.machine.after(ending, good, asked, fastrand::f64());
        self.machine = machine;
        match step {
            Step::Wait(pause) => {
                self.resume_at = Some(Instant::now() + pause);
                Ok(News::Reconnecting { ending, reason, pause, tries: machine.tries() })
            }
            Step::Stop(ending) => Err(Over { ending, reason, gave_up: false }),
            Step::GiveUp(ending) => Err(Over { ending, reason, gave_up: true }),
        }
    }

    fn read(&mut self, text: Utf8Bytes) -> News {
        if let Ok(event) = serde_json::from_str::<Event>(&text) {
            let last = self.last.entry(event.session_id.clone()).or_default();
            *last = event.id.max(*last);
            // Ids begin with the time: the oldest sessions are those that say nothing any more.
            while self.last.len() > SESSIONS_MAX {
                let oldest = self.last.keys().find(|session| session.is_some()).cloned();
                self.last.remove(&oldest.unwrap_or_default());
            }
            return News::Event(Box::new(event), text);
        }
        match serde_json::from_str::<Notice>(&text) {
            Ok(notice) => {
                // Who has seen nothing yet begins where the first connection began.
                if let (Notice::Hello { newest: Some(newest), .. }, Some(_)) = (&notice, &self.session) {
                    self.last.entry(self.session.clone()).or_insert(*newest);
                }
                News::Notice(notice, text)
            }
            Err(_) => News::Unknown(text),
        }
    }

    async fn connect(&self) -> Result<WebSocketStream<Box<dyn Stream>>, (Ending, String, Option<Duration>)> {
        let unreachable = |error: io::Error| (Ending::Refused, error.to_string(), None);
        let (stream, host, token): (Box<dyn Stream>, &str, Option<&str>) = match &self.place {
            Place::StateDir(dir) => {
                let (path, _directory) = socket_path(dir).map_err(unreachable)?;
                (Box::new(UnixStream::connect(&path).await.map_err(unreachable)?), "crawld", None)
            }
            Place::Address { address, token } => {
                (Box::new(TcpStream::connect(address).await.map_err(unreachable)?), address, Some(token))
            }
        };
        let wrong = |error: String| (Ending::Handshake, error, None);
        let mut request = self.url(host).into_client_request().map_err(|error| wrong(error.to_string()))?;
        if let Some(token) = token {
            let value = HeaderValue::from_str(&format!("Bearer {}", token.trim()));
            let value = value.map_err(|_| wrong("the token has a character that no token has".to_owned()))?;
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        let limits = WebSocketConfig::default().max_message_size(Some(FRAME_MAX)).max_frame_size(Some(FRAME_MAX));
        match client_async_with_config(request, stream, Some(limits)).await {
            Ok((ws, _)) => Ok(ws),
            Err(Error::Http(answer)) => {
                let status = answer.status().as_u16();
                Err((Ending::of_status(status), format!("the server answered {status}"), None))
            }
            Err(Error::Io(error)) => Err((Ending::Lost, error.to_string(), None)),
            Err(error) => Err(wrong(error.to_string())),
        }
    }

    fn url(&self, host: &str) -> String {
        let (path, after) = match &self.session {
            Some(session) => {
                let after = self.last.get(&Some(session.clone())).map(ToString::to_string);
                (format!("/sessions/{session}/events"), after.unwrap_or_default())
            }
            None => {
                let one = |(session, id): (&Option<SessionId>, &EventId)| {
                    format!("{}@{id}", session.as_ref().map_or("", SessionId::as_str))
                };
                ("/events".to_owned(), self.last.iter().map(one).collect::<Vec<_>>().join(","))
            }
        };
        let query = if after.is_empty() { String::new() } else { format!("?after={after}") };
        format!("ws://{host}/api/v1{path}{query}")
    }
}

/// What a close frame says: the ending, its reason, and the pause that it asks for.
fn said(frame: Option<CloseFrame>) -> (Ending, String, Option<Duration>) {
    let ending = Ending::of_code(frame.as_ref().map(|frame| frame.code.into()));
    let reason = frame.map(|frame| frame.reason.to_string()).unwrap_or_default();
    let asked = reason.strip_prefix("retry-after: ").and_then(|text| text.parse().ok()).map(Duration::from_secs);
    (ending, reason, asked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

    #[test]
    fn it_comes_back_with_the_last_number_of_each_session() {
        let place = || Place::StateDir("/nowhere".into());
        let mut all = Watcher::new(place(), None, None);
        assert_eq!(all.url("h"), "ws://h/api/v1/events");
        for (session, id) in [(r#""s1""#, "1.2.3"), (r#""s2""#, "4.5.6"), ("null", "7.0.1"), (r#""s1""#, "1.2.4")] {
            let parts: Vec<_> = id.split('.').collect();
            let [epoch, seq, index] = parts[..] else { panic!() };
            let text = format!(
                r#"{{"id":"{id}","epoch":{epoch},"commit_seq":{seq},"index":{index},"session_id":{session},
                    "at":"2026-01-01T00:00:00Z","kind":"checkpoint","checkpoint":{{"generation":1}}}}"#
            );
            assert!(matches!(all.read(text.into()), News::Event(..)));
        }
        assert_eq!(all.url("h"), "ws://h/api/v1/events?after=@7.0.1,s1@1.2.4,s2@4.5.6");

        let session = "s1".parse().ok();
        let mut one = Watcher::new(place(), session.clone(), None);
        let hello = r#"{"kind":"hello","server":"crawld","version":"0","newest":"1.9.1"}"#;
        assert!(matches!(one.read(hello.into()), News::Notice(..)));
        assert_eq!(one.url("h"), "ws://h/api/v1/sessions/s1/events?after=1.9.1");
        let asked = Watcher::new(place(), session, "1.1.1".parse().ok());
        assert_eq!(asked.url("h"), "ws://h/api/v1/sessions/s1/events?after=1.1.1");
        assert!(matches!(one.read(r#"{"kind":"novel"}"#.into()), News::Unknown(_)));
    }

    #[test]
    fn a_close_frame_is_read_with_the_pause_that_it_asks_for() {
        let frame =
            |code: u16, reason: &str| said(Some(CloseFrame { code: CloseCode::from(code), reason: reason.into() }));
        assert_eq!(frame(4100, "retry-after: 17").2, Some(Duration::from_secs(17)));
        assert_eq!((frame(4105, "x").0, frame(4105, "x").2), (Ending::SessionEnded, None));
        assert_eq!(said(None).0, Ending::Lost);
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_is_not_there_is_tried_ten_times_and_then_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let mut watcher = Watcher::new(Place::StateDir(dir.path().into()), None, None);
        let mut pauses = 0;
        let over = loop {
            match watcher.next().await {
                Ok(News::Reconnecting { ending, .. }) => {
                    assert_eq!(ending, Ending::Refused);
                    pauses += 1;
                }
                Ok(other) => panic!("{other:?}"),
                Err(over) => break over,
            }
        };
        assert_eq!((pauses, over.gave_up), (10, true));
    }
}
