//! The feed's thread: writes each event once, then shows it.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tracing::warn;

use crate::crawl::announce::{Message, Said, Tag};
use crate::lock::lock;
use crate::model::event::{Event, EventId, PageNote, What};
use crate::model::ids::SessionId;
use crate::model::time::Timestamp;

use super::history::{self, Files};
use super::recorder::Recorder;
use super::ring::{Entry, Ring};
use super::{Inner, Over, RING, Stream};

/// Files of a session that runs.
struct Desk {
    tag: Arc<Tag>,
    files: Files,
    recorder: Option<Recorder>,
    complained: bool,
}

/// Tells until nobody can say anything any more.
pub(super) fn run(mut inbox: mpsc::Receiver<Message>, inner: &Inner) {
    let mut keeper = Keeper { inner, desks: HashMap::new() };
    while let Some(message) = inbox.blocking_recv() {
        keeper.take(message);
        while let Ok(message) = inbox.try_recv() {
            keeper.take(message);
        }
        keeper.flush();
    }
}

struct Keeper<'a> {
    inner: &'a Inner,
    desks: HashMap<SessionId, Desk>,
}

impl Keeper<'_> {
    fn take(&mut self, message: Message) {
        let (tag, said) = match message {
            Message::From(tag, said) => (tag, said),
            Message::Settle(reply) => {
                self.flush();
                // Who does not wait any more needs no answer.
                let _ = reply.send(());
                return;
            }
        };
        let known = self.desks.get(&tag.session).is_some_and(|desk| Arc::ptr_eq(&desk.tag, &tag));
        if !known && !matches!(said, Said::Ended { .. }) {
            self.open(&tag);
        }
        match said {
            Said::Opened => {}
            Said::Pages { seq, pages } => self.pages(&tag, seq, pages),
            Said::Event(event) => self.event(&tag, &event),
            Said::Decided(decided) => {
                if let Ok(text) = serde_json::to_vec(&decided) {
                    self.record(&tag.session, &[text.into()]);
                }
            }
            Said::Missed { to, count } => self.missed(&tag, to, count),
            Said::Ended { status, stop_reason } => {
                self.ended(&tag, status.ended().then_some(Over { status, stop_reason }))
            }
        }
    }

    /// A lifetime begins: what earlier ones left is read.
    fn open(&mut self, tag: &Arc<Tag>) {
        let memory = history::load(&tag.paths.events(), Some(tag.begin), self.inner.keep);
        let last = memory.floor();
        let desk = Desk {
            tag: tag.clone(),
            files: Files::new(tag.paths.events(), last),
            recorder: tag.record.then(|| Recorder::new(tag.paths.record())),
            complained: false,
        };
        self.desks.insert(tag.session.clone(), desk);
        let mut state = lock(&self.inner.state);
        let stream = state
            .streams
            .entry(tag.session.clone())
            .or_insert_with(|| Stream { ring: Ring::new(tag.begin, RING.0, RING.1), ..Stream::at_rest() });
        stream.ring.begin(tag.begin);
        stream.memory = memory;
        stream.committed = tag.begin.commit_seq;
        (stream.tag, stream.running, stream.over) = (Some(tag.clone()), true, None);
    }

    fn pages(&mut self, tag: &Tag, seq: u64, pages: Vec<(PageNote, Timestamp)>) {
        let entries: Vec<Entry> = (1..)
            .zip(pages)
            .filter_map(|(index, (page, at))| {
                let id = EventId::new(tag.begin.epoch, seq, index);
                let event = Event::new(id, Some(tag.session.clone()), at, What::Page { page });
                Some(Entry { id, text: serde_json::to_vec(&event).ok()?.into(), fleeting: false })
            })
            .collect();
        let texts: Vec<Bytes> = entries.iter().map(|entry| entry.text.clone()).collect();
        self.record(&tag.session, &texts);
        self.show(tag, entries, None);
    }

    fn event(&mut self, tag: &Tag, event: &Event) {
        let Ok(text) = serde_json::to_vec(event).map(Bytes::from) else { return };
        self.record(&tag.session, std::slice::from_ref(&text));
        let fleeting = matches!(event.what, What::Progress { .. });
        if !fleeting && let Some(desk) = self.desks.get_mut(&tag.session) {
            let written = desk.files.append(event.id, &text);
            complain(desk, "events", written);
        }
        let at = (!fleeting).then_some(event.at);
        self.show(tag, vec![Entry { id: event.id, text, fleeting }], at);
    }

    /// Shows entries to the watchers; what is to be remembered has its instant.
    fn show(&self, tag: &Tag, entries: Vec<Entry>, remember: Option<Timestamp>) {
        let mut state = lock(&self.inner.state);
        let super::State { streams, all, .. } = &mut *state;
        let Some(stream) = streams.get_mut(&tag.session) else { return };
        for entry in entries {
            stream.committed = stream.committed.max(entry.id.commit_seq);
            if let Some(at) = remember {
                stream.memory.push(entry.id, at, entry.text.clone(), self.inner.keep);
            }
            if entry.fleeting {
                stream.progress = Some((entry.id, entry.text.clone()));
            }
            all.push(entry.clone());
            stream.ring.push(entry);
        }
        let notify = stream.notify.clone();
        drop(state);
        notify.notify_waiters();
        self.inner.notify_all.notify_waiters();
    }

    fn missed(&mut self, tag: &Tag, to: EventId, count: u64) {
        warn!(session_id = %tag.session, count, "events came faster than they could be told: watchers miss them");
        if let Some(desk) = self.desks.get_mut(&tag.session) {
            desk.files.missed(to);
        }
        self.record(&tag.session, &[Bytes::from(format!("{{\"missed\":{count},\"upto\":\"{to}\"}}"))]);
        let mut state = lock(&self.inner.state);
        state.all.passed(count, EventId::default());
        if let Some(stream) = state.streams.get_mut(&tag.session) {
            stream.ring.passed(count, to);
            stream.memory.gone(to);
            stream.committed = stream.committed.max(to.commit_seq);
        }
    }

    fn ended(&mut self, tag: &Tag, over: Option<Over>) {
        self.flush();
        self.desks.remove(&tag.session);
        let mut state = lock(&self.inner.state);
        let Some(stream) = state.streams.get_mut(&tag.session) else { return };
        (stream.running, stream.over) = (false, over);
        stream.notify.notify_waiters();
        if stream.watchers == 0 {
            state.streams.remove(&tag.session);
        }
    }

    fn record(&mut self, session: &SessionId, texts: &[Bytes]) {
        let Some(desk) = self.desks.get_mut(session) else { return };
        let Some(recorder) = &mut desk.recorder else { return };
        let written = texts.iter().try_for_each(|text| recorder.append(text));
        complain(desk, "recording", written);
    }

    fn flush(&mut self) {
        for desk in self.desks.values_mut() {
            if let Some(recorder) = &mut desk.recorder {
                let written = recorder.flush();
                complain(desk, "recording", written);
            }
        }
    }
}

/// Once a lifetime: a full disk fails every write.
fn complain(desk: &mut Desk, what: &str, written: std::io::Result<()>) {
    if let Err(error) = written
        && !std::mem::replace(&mut desk.complained, true)
    {
        warn!(session_id = %desk.tag.session, %error, "the {what} of the session cannot be written; the crawl goes on");
    }
}
