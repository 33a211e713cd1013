//! What everybody who watches is told from: one for the daemon, shared by all clients.
//!
//! Sessions hand over what they say without waiting (`crawl/announce.rs`). One thread writes each event once, puts what
//! is no page into the session's small files, and only then shows it to the watchers, who each have a place in a ring
//! that all share. Whoever is slower than the ring is long loses events and learns how many.

mod history;
mod keeper;
mod older;
pub mod recorder;
mod ring;
mod subscription;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, oneshot};
use tracing::warn;

use crate::crawl::announce::{Message, QUEUE, Said, Tag};
use crate::lock::lock;
use crate::model::event::{Event, EventId, What};
use crate::model::ids::{CommitSeq, Epoch, SessionId};
use crate::model::session::{SessionStatus, StopReason};
use crate::model::time::Timestamp;
use crate::state::StateDir;

use history::Memory;
use ring::{Entry, Ring};

pub use subscription::{Batch, Next, Older, Subscription};

/// Events of one session that are kept in memory, and their bytes. Older pages are read from the outputs.
const RING: (usize, usize) = (4_096, 2 << 20);
/// The same of all sessions together; their text is shared with those.
const RING_ALL: (usize, usize) = (8_192, 4 << 20);
/// For the thread to tell what is under way at the stop.
const SETTLE: Duration = Duration::from_secs(2);
/// All watchers together look for events so often a second at most: with many of them each looks less often.
const LOOKS_PER_SECOND: u32 = 4_000;
/// A watcher that found something looks again after this at the earliest, and after that at the latest.
const PACE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// Frames to all watchers together in a second at most; with many of them each gets fewer, and learns how many not.
const FRAMES_PER_SECOND: u64 = 200_000;
/// Frames that a watcher takes at once: least, most.
const BURST: (u64, u64) = (16, 256);

/// Where a session's watchers stand who learn of its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Over {
    /// As what it ended.
    pub status: SessionStatus,
    /// Why.
    pub stop_reason: Option<StopReason>,
}

/// The feed; clones share it.
#[derive(Debug, Clone)]
pub struct Feed {
    inner: Arc<Inner>,
    out: mpsc::Sender<Message>,
}

#[derive(Debug)]
struct Inner {
    state: std::sync::Mutex<State>,
    notify_all: Arc<Notify>,
    watchers: AtomicUsize,
    keep: Duration,
    dir: StateDir,
}

#[derive(Debug)]
struct State {
    streams: HashMap<SessionId, Stream>,
    all: Ring,
    /// The daemon's own events.
    own: (EventId, Memory),
}

/// One session, for as long as it runs or is watched.
#[derive(Debug)]
struct Stream {
    tag: Option<Arc<Tag>>,
    ring: Ring,
    memory: Memory,
    committed: CommitSeq,
    running: bool,
    over: Option<Over>,
    progress: Option<(EventId, Bytes)>,
    watchers: usize,
    notify: Arc<Notify>,
}

impl Stream {
    fn at_rest() -> Self {
        Stream {
            tag: None,
            ring: Ring::new(EventId::LAST, RING.0, RING.1),
            memory: Memory::default(),
            committed: 0,
            running: false,
            over: None,
            progress: None,
            watchers: 0,
            notify: Arc::new(Notify::new()),
        }
    }
}

impl Feed {
    /// A feed of a state directory, which remembers events that are no pages for `keep`; started `now`.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start(dir: &StateDir, keep: Duration, now: Timestamp) -> std::io::Result<Self> {
        let (out, inbox) = mpsc::channel(QUEUE);
        // Numbers of the daemon's own events begin with the second of its start: they go on growing after a restart.
        let epoch = Epoch::try_from(now.millis().max(0) / 1000).unwrap_or(Epoch::MAX);
        let mut own = Memory::default();
        own.gone(EventId::new(epoch, 0, 0));
        let state = State {
            streams: HashMap::new(),
            all: Ring::new(EventId::default(), RING_ALL.0, RING_ALL.1),
            own: (EventId::new(epoch, 0, 0), own),
        };
        let inner = Arc::new(Inner {
            state: std::sync::Mutex::new(state),
            notify_all: Arc::new(Notify::new()),
            watchers: AtomicUsize::new(0),
            keep,
            dir: dir.clone(),
        });
        let shared = inner.clone();
        // It ends when the last sender is gone.
        std::thread::Builder::new().name("feed".to_owned()).spawn(move || keeper::run(inbox, &shared))?;
        Ok(Feed { inner, out })
    }

    /// Where sessions announce.
    pub fn announce(&self) -> mpsc::Sender<Message> {
        self.out.clone()
    }

    /// Something happened to the whole daemon.
    pub fn happened(&self, at: Timestamp, what: What) {
        let mut state = lock(&self.inner.state);
        state.own.0.index += 1;
        let event = Event::new(state.own.0, None, at, what);
        let Ok(text) = serde_json::to_vec(&event).map(Bytes::from) else { return };
        state.own.1.push(event.id, at, text.clone(), self.inner.keep);
        state.all.push(Entry { id: event.id, text, fleeting: false });
        drop(state);
        self.inner.notify_all.notify_waiters();
    }

    /// Nobody runs the session any more; told after everything that it said.
    pub async fn ended(&self, session: &SessionId, status: SessionStatus, stop_reason: Option<StopReason>) {
        let tag = lock(&self.inner.state).streams.get(session).and_then(|stream| stream.tag.clone());
        let Some(tag) = tag else { return };
        let send = self.out.send(Message::From(tag, Said::Ended { status, stop_reason }));
        if tokio::time::timeout(SETTLE, send).await.is_err() {
            warn!(session_id = %session, "its watchers were not told that it ended: the feed hangs");
        }
    }

    /// Waits until everything said so far is told, 2 s at most.
    pub async fn settle(&self) {
        let (reply, told) = oneshot::channel();
        let settled = async {
            if self.out.send(Message::Settle(reply)).await.is_ok() {
                let _ = told.await;
            }
        };
        if tokio::time::timeout(SETTLE, settled).await.is_err() {
            warn!("the feed hangs: what was said last is not in its files");
        }
    }

    /// Watchers now.
    pub fn watchers(&self) -> usize {
        self.inner.watchers.load(Ordering::Relaxed)
    }

    /// How long a watcher rests after it found something, and how much it takes at once.
    pub fn pace(&self) -> (Duration, usize) {
        pace(self.watchers())
    }
}

/// The same for a number of watchers.
fn pace(watchers: usize) -> (Duration, usize) {
    let watchers = u32::try_from(watchers).unwrap_or(u32::MAX).max(1);
    let rest = (Duration::from_secs(1) / LOOKS_PER_SECOND).saturating_mul(watchers).clamp(PACE.0, PACE.1);
    let each = FRAMES_PER_SECOND * rest.as_millis() as u64 / 1000 / u64::from(watchers);
    (rest, usize::try_from(each.clamp(BURST.0, BURST.1)).unwrap_or(usize::MAX))
}
