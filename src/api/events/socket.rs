//! One watcher's connection, to its end: what it is sent, what it may say, and how long it may be silent.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;

use crate::api::events::close::Close;
use crate::daemon::feed::{Batch, Feed, Next, Over, Subscription};
use crate::model::event::Notice;
use crate::model::text::escape_control;

/// Between two pings.
const PING: Duration = Duration::from_secs(20);
/// A client from which nothing came for this long, no answer to a ping either, is gone.
const SILENT: Duration = Duration::from_secs(30);
/// A client that lets frames lie for this long reads too slowly.
const SEND: Duration = Duration::from_secs(10);
/// For a goodbye to get out.
const FAREWELL: Duration = Duration::from_secs(1);
/// Frames of a client that are not understood, in one connection.
const NONSENSE: u32 = 50;
/// Bytes of a client's frame: it has little to say.
const IN_MAX: usize = 4 << 10;
/// Read and write buffers of a connection, in bytes: most are idle, and a thousand are to cost little.
const BUFFERS: (usize, usize) = (1 << 10, 4 << 10);
/// Bytes that may wait to be written; beyond it nothing is added until the client reads.
const OUT_MAX: usize = 256 << 10;

/// The frames' limits.
pub(super) fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(BUFFERS.0)
        .write_buffer_size(BUFFERS.1)
        .max_write_buffer_size(OUT_MAX)
        .max_message_size(Some(IN_MAX))
        .max_frame_size(Some(IN_MAX))
}

/// What a client may say.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Asked {
    /// Answered with `alive`: browsers see no pings.
    Ping {},
}

/// One connection.
pub(super) struct Socket<S> {
    ws: WebSocketStream<S>,
    heard: Instant,
    /// When a frame with text was last sent.
    said: Instant,
    ping_at: Instant,
    nonsense: u32,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    pub(super) fn new(ws: WebSocketStream<S>) -> Self {
        let now = Instant::now();
        Socket { ws, heard: now, said: now, ping_at: now + PING, nonsense: 0 }
    }

    /// Tells a watcher everything until one of the two sides ends it. `replays`: it named a number to begin after.
    pub(super) async fn serve(
        &mut self,
        watch: &mut Subscription,
        (feed, readers): (&Feed, &Semaphore),
        replays: bool,
        stop: &CancellationToken,
    ) -> Close {
        match self.tell(watch, (feed, readers), replays, stop).await {
            Ok(never) => match never {},
            Err(close) => close,
        }
    }

    async fn tell(
        &mut self,
        watch: &mut Subscription,
        (feed, readers): (&Feed, &Semaphore),
        replays: bool,
        stop: &CancellationToken,
    ) -> Result<std::convert::Infallible, Close> {
        let hello = Notice::Hello {
            server: "crawld".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            newest: watch.newest(),
        };
        self.notice(&hello).await?;
        // Where it stands comes after what is told again: numbers that a client sees only grow.
        let mut state_told = false;
        if !replays {
            self.texts(watch.progress()).await?;
            state_told = true;
        }
        loop {
            let changed = watch.changed();
            let (pace, most) = feed.pace();
            let mut batch = Batch::default();
            let rest = match watch.take(most, &mut batch) {
                Next::Events => {
                    if batch.lost > 0 {
                        self.feed_notice(&Notice::Lost { count: batch.lost }).await?;
                    }
                    self.texts(batch.texts).await?;
                    // Who catches up is not held back.
                    if state_told { pace } else { Duration::ZERO }
                }
                Next::Older => {
                    self.older(watch, readers).await?;
                    Duration::ZERO
                }
                Next::Over(over) => return Err(self.over(over).await?),
                Next::Nothing => {
                    if !state_told {
                        self.texts(watch.progress()).await?;
                        state_told = true;
                    }
                    Duration::MAX
                }
            };
            let until = Instant::now().checked_add(rest).filter(|_| rest < PING);
            self.wait(until, changed, stop).await?;
        }
    }

    /// Waits for news or, if there is one, for an instant; meanwhile it listens and pings.
    async fn wait(
        &mut self,
        until: Option<Instant>,
        changed: impl Future<Output = ()>,
        stop: &CancellationToken,
    ) -> Result<(), Close> {
        let mut changed = std::pin::pin!(changed);
        loop {
            let wake = self.ping_at.min(self.heard + SILENT);
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(Close::Stopping),
                frame = self.ws.next() => self.heard(frame).await?,
                () = sleep_until(until.unwrap_or(wake)), if until.is_some() => return Ok(()),
                () = changed.as_mut(), if until.is_none() => return Ok(()),
                () = sleep_until(wake) => self.ping().await?,
            }
        }
    }

    async fn ping(&mut self) -> Result<(), Close> {
        let now = Instant::now();
        if now >= self.heard + SILENT {
            return Err(Close::Gone { badly: true });
        }
        if now >= self.ping_at {
            self.ping_at = now + PING;
            self.send(Message::Ping(Bytes::new()), true).await?;
            if now >= self.said + PING / 2 {
                self.notice(&Notice::Alive {}).await?;
            }
        }
        Ok(())
    }

    async fn heard(
        &mut self,
        frame: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>,
    ) -> Result<(), Close> {
        use tokio_tungstenite::tungstenite::Error;
        self.heard = Instant::now();
        let text = match frame {
            None | Some(Err(Error::ConnectionClosed | Error::AlreadyClosed | Error::Io(_))) => {
                return Err(Close::Gone { badly: false });
            }
            Some(Err(Error::Protocol(
                tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
            ))) => {
                return Err(Close::Gone { badly: false });
            }
            Some(Err(_)) => return Err(Close::Gone { badly: true }),
            Some(Ok(Message::Close(_))) => return Err(Close::Goodbye),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => return Ok(()),
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Binary(_))) => return self.misunderstood("frames of a watcher are text".to_owned()).await,
        };
        match serde_json::from_str::<Asked>(&text) {
            Ok(Asked::Ping {}) => self.notice(&Notice::Alive {}).await,
            Err(error) => {
                let why = escape_control(&error.to_string()).into_owned();
                self.misunderstood(format!("not understood ({why}); a watcher may send {{\"kind\":\"ping\"}}")).await
            }
        }
    }

    async fn misunderstood(&mut self, problem: String) -> Result<(), Close> {
        self.nonsense += 1;
        if self.nonsense > NONSENSE {
            return Err(Close::Nonsense);
        }
        self.notice(&Notice::Error { problem }).await
    }

    async fn older(&mut self, watch: &mut Subscription, readers: &Semaphore) -> Result<(), Close> {
        let older = {
            let _place = readers.acquire().await.map_err(|_| Close::Stopping)?;
            watch.older().await.map_err(|error| Close::Fault(format!("the events cannot be read: {error}")))?
        };
        if let Some((from, to)) = older.gone {
            self.feed_notice(&Notice::Gone { from, to, session_id: older.session }).await?;
        }
        self.texts(older.texts).await
    }

    async fn over(&mut self, over: Over) -> Result<Close, Close> {
        self.notice(&Notice::Ended { status: over.status, stop_reason: over.stop_reason }).await?;
        Ok(Close::Ended)
    }

    async fn texts(&mut self, texts: Vec<Bytes>) -> Result<(), Close> {
        for text in texts {
            self.text(text).await?;
        }
        self.flush().await
    }

    async fn text(&mut self, text: Bytes) -> Result<(), Close> {
        let text = Utf8Bytes::try_from(text).map_err(|_| Close::Fault("an event is no text".to_owned()))?;
        self.said = Instant::now();
        self.send(Message::Text(text), false).await
    }

    async fn feed_notice(&mut self, notice: &Notice) -> Result<(), Close> {
        let text = serde_json::to_vec(notice).map_err(|error| Close::Fault(error.to_string()))?;
        self.text(text.into()).await
    }

    async fn notice(&mut self, notice: &Notice) -> Result<(), Close> {
        self.feed_notice(notice).await?;
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), Close> {
        sent(timeout(SEND, self.ws.flush()).await)
    }

    async fn send(&mut self, message: Message, now: bool) -> Result<(), Close> {
        sent(timeout(SEND, self.ws.feed(message)).await)?;
        if now { self.flush().await } else { Ok(()) }
    }

    /// Says goodbye as it ended, where somebody may still hear it.
    pub(super) async fn close(mut self, close: &Close) {
        if let Some(frame) = close.frame() {
            let goodbye = async {
                let _ = self.ws.send(Message::Close(Some(frame))).await;
                // Its own goodbye ends the connection without a reset.
                while let Some(Ok(_)) = self.ws.next().await {}
            };
            let _ = timeout(FAREWELL, goodbye).await;
        }
    }
}

fn sent(
    result: Result<Result<(), tokio_tungstenite::tungstenite::Error>, tokio::time::error::Elapsed>,
) -> Result<(), Close> {
    match result {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Close::Gone { badly: false }),
        Err(_) => Err(Close::SlowReader),
    }
}
