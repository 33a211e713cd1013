//! One watcher's place: what it has been told, and what comes next.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::lock::lock;
use crate::model::event::EventId;
use crate::model::ids::SessionId;

use super::older::{self, Asked};
use super::{Feed, Over, State, Stream};

/// What there is for a watcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The batch was filled.
    Events,
    /// What comes next is not in memory: `older` reads it.
    Older,
    /// Nothing now.
    Nothing,
    /// Nothing any more: the session has ended, and all of it is told.
    Over(Over),
}

/// What a watcher is told next.
#[derive(Debug, Default)]
pub struct Batch {
    /// So many events were left out before these: it was too slow.
    pub lost: u64,
    /// Events, each a frame's text.
    pub texts: Vec<Bytes>,
}

/// A stretch that was read again.
#[derive(Debug)]
pub struct Older {
    /// Of which session.
    pub session: Option<SessionId>,
    /// Between these numbers only pages can be told; the rest is gone.
    pub gone: Option<(EventId, EventId)>,
    /// Events, each a frame's text.
    pub texts: Vec<Bytes>,
}

/// A watcher of one session, or of all.
#[derive(Debug)]
pub struct Subscription {
    feed: Feed,
    followed: Followed,
    notify: Arc<Notify>,
}

#[derive(Debug)]
enum Followed {
    One(One),
    /// All sessions from a place on, after what is still to be told of some.
    All {
        place: u64,
        before: VecDeque<One>,
        own: Option<EventId>,
    },
}

#[derive(Debug)]
struct One {
    session: SessionId,
    last: EventId,
    place: Option<u64>,
    /// It named no number to begin after.
    begins_now: bool,
    /// Before this place only history is told, not what the state was then.
    joined: u64,
    /// What is gone up to here has been said.
    gone: EventId,
    /// Only up to here.
    until: EventId,
}

impl Feed {
    /// Watches a session: from now on, or from after a number. `over`: as what it has ended, if it has.
    pub fn watch(&self, session: &SessionId, after: Option<EventId>, over: Option<Over>) -> Subscription {
        let mut state = lock(&self.inner.state);
        let stream = state.streams.entry(session.clone()).or_insert_with(Stream::at_rest);
        stream.watchers += 1;
        // Of one that has run in this process the feed knows better.
        if stream.tag.is_none() {
            stream.over = over;
        }
        let notify = stream.notify.clone();
        let one = One::new(session, stream, after, EventId::LAST);
        drop(state);
        self.subscribed(Followed::One(one), notify)
    }

    /// Watches everything: from now on, after what these sessions have said since a number each, and the daemon itself
    /// since `own`.
    pub fn watch_all(&self, after: &[(SessionId, EventId)], own: Option<EventId>) -> Subscription {
        let mut state = lock(&self.inner.state);
        let place = state.all.next();
        let mut before = VecDeque::new();
        for (session, after) in after {
            let stream = state.streams.entry(session.clone()).or_insert_with(Stream::at_rest);
            stream.watchers += 1;
            let newest = stream.ring.newest().unwrap_or(stream.ring.floor());
            before.push_back(One::new(session, stream, Some(*after), newest));
        }
        drop(state);
        self.subscribed(Followed::All { place, before, own }, self.inner.notify_all.clone())
    }

    fn subscribed(&self, followed: Followed, notify: Arc<Notify>) -> Subscription {
        self.inner.watchers.fetch_add(1, Ordering::Relaxed);
        Subscription { feed: self.clone(), followed, notify }
    }
}

impl One {
    fn new(session: &SessionId, stream: &Stream, after: Option<EventId>, until: EventId) -> Self {
        let joined = stream.ring.next();
        let newest = stream.ring.newest().unwrap_or_default();
        One {
            session: session.clone(),
            last: after.unwrap_or(newest),
            place: after.is_none().then_some(joined),
            begins_now: after.is_none(),
            joined,
            gone: EventId::default(),
            until,
        }
    }

    fn take(&mut self, stream: &Stream, most: usize, batch: &mut Batch) -> Next {
        if self.last >= self.until {
            return Next::Nothing;
        }
        if self.place.is_none() {
            self.place = stream.ring.place_after(self.last).filter(|_| stream.tag.is_some());
        }
        let Some(place) = &mut self.place else { return Next::Older };
        let (lost, entries) = stream.ring.from(*place, most);
        batch.lost += lost;
        *place += lost;
        let mut moved = lost > 0;
        for entry in entries.take_while(|entry| entry.id <= self.until) {
            moved = true;
            if !entry.fleeting || *place >= self.joined {
                batch.texts.push(entry.text.clone());
            }
            self.last = entry.id;
            *place += 1;
        }
        match stream.over {
            _ if moved => Next::Events,
            Some(over) => Next::Over(over),
            None => Next::Nothing,
        }
    }

    fn asked(&self, feed: &Feed, stream: &Stream) -> Asked {
        let running = stream.tag.is_some();
        let upto = if running { stream.ring.floor() } else { EventId::LAST }.min(self.until);
        let known = running
            .then(|| (stream.committed, stream.memory.between(self.last, upto).collect(), stream.memory.floor()));
        let paths = feed.inner.dir.session(&self.session);
        Asked { paths, after: self.last, upto, running: known, keep: feed.inner.keep }
    }

    /// Takes note of a stretch that was read; `was_running` when it was asked for.
    fn told(&mut self, stream: &Stream, last: EventId, end: bool, was_running: bool) {
        self.last = self.last.max(last);
        if end && !was_running && stream.tag.is_none() {
            self.place = Some(stream.ring.next());
        }
    }
}

impl Subscription {
    /// The newest number so far, of one session.
    pub fn newest(&self) -> Option<EventId> {
        let Followed::One(one) = &self.followed else { return None };
        let state = lock(&self.feed.inner.state);
        let stream = state.streams.get(&one.session)?;
        stream.ring.newest().or(stream.tag.as_ref().map(|tag| tag.begin))
    }

    /// Where the sessions stand, each in the text of its last progress event. Whoever was told of something newer is
    /// not told: a number that a client keeps never falls back.
    pub fn progress(&self) -> Vec<Bytes> {
        let state = lock(&self.feed.inner.state);
        let newest = |stream: &Stream| stream.progress.clone();
        let found: Vec<(EventId, Bytes)> = match &self.followed {
            Followed::One(one) => {
                let told = |id: EventId| !one.begins_now && id <= one.last;
                state.streams.get(&one.session).and_then(newest).filter(|(id, _)| !told(*id)).into_iter().collect()
            }
            Followed::All { .. } => state.streams.values().filter_map(newest).collect(),
        };
        found.into_iter().map(|(_, text)| text).collect()
    }

    /// Completes at the next news after this call; made before `take`, nothing falls between.
    pub fn changed(&self) -> OwnedNotified {
        self.notify.clone().notified_owned()
    }

    /// Puts what comes next into the batch, at most `most` events. Never waits.
    pub fn take(&mut self, most: usize, batch: &mut Batch) -> Next {
        let mut state = lock(&self.feed.inner.state);
        let State { streams, all, own } = &mut *state;
        match &mut self.followed {
            Followed::One(one) => match streams.get(&one.session) {
                Some(stream) => one.take(stream, most, batch),
                None => Next::Nothing,
            },
            Followed::All { place, before, own: after } => {
                if let Some(after) = after.take() {
                    batch.texts.extend(own.1.between(after, EventId::LAST).map(|(_, text)| text));
                }
                while let Some(one) = before.front_mut() {
                    let Some(stream) = streams.get_mut(&one.session) else { break };
                    match one.take(stream, most, batch) {
                        found @ (Next::Events | Next::Older) => return found,
                        Next::Nothing | Next::Over(_) => release(streams, before.pop_front().map(|one| one.session)),
                    }
                }
                let (lost, entries) = all.from(*place, most);
                batch.lost += lost;
                *place += lost;
                for entry in entries {
                    batch.texts.push(entry.text.clone());
                    *place += 1;
                }
                if lost > 0 || !batch.texts.is_empty() { Next::Events } else { Next::Nothing }
            }
        }
    }

    /// Reads what is not in memory any more, a stretch at a time.
    ///
    /// # Errors
    /// What the system says.
    pub async fn older(&mut self) -> io::Result<Older> {
        let asked = {
            let state = lock(&self.feed.inner.state);
            let one = match &self.followed {
                Followed::One(one) => Some(one),
                Followed::All { before, .. } => before.front(),
            };
            one.and_then(|one| Some(one.asked(&self.feed, state.streams.get(&one.session)?)))
        };
        let Some(asked) = asked else { return Ok(Older { session: None, gone: None, texts: Vec::new() }) };
        let was_running = asked.running.is_some();
        let found = tokio::task::spawn_blocking(move || older::read(&asked)).await.map_err(io::Error::other)??;
        let state = lock(&self.feed.inner.state);
        let one = match &mut self.followed {
            Followed::One(one) => Some(one),
            Followed::All { before, .. } => before.front_mut(),
        };
        let Some((one, stream)) = one.and_then(|one| state.streams.get(&one.session).map(|stream| (one, stream)))
        else {
            return Ok(Older { session: None, gone: None, texts: Vec::new() });
        };
        one.told(stream, found.last, found.end, was_running);
        let gone = found.gone.filter(|(_, to)| *to > one.gone);
        if let Some((_, to)) = gone {
            one.gone = to;
        }
        Ok(Older { session: Some(one.session.clone()), gone, texts: found.texts })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.feed.inner.watchers.fetch_sub(1, Ordering::Relaxed);
        let mut state = lock(&self.feed.inner.state);
        let sessions: Vec<SessionId> = match &self.followed {
            Followed::One(one) => vec![one.session.clone()],
            Followed::All { before, .. } => before.iter().map(|one| one.session.clone()).collect(),
        };
        for session in sessions {
            release(&mut state.streams, Some(session));
        }
    }
}

/// One watcher less; a session that nobody runs and nobody watches is forgotten.
fn release(streams: &mut std::collections::HashMap<SessionId, Stream>, session: Option<SessionId>) {
    let Some(session) = session else { return };
    if let Some(stream) = streams.get_mut(&session) {
        stream.watchers -= 1;
        if stream.watchers == 0 && !stream.running {
            streams.remove(&session);
        }
    }
}
