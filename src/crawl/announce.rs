//! What a session tells its watchers: numbered here, after the commit, and handed on without ever waiting.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::model::decision::{Decided, Decision};
use crate::model::event::{BreakerNote, Event, EventId, PageNote, What};
use crate::model::host::{Breaker, BreakerState};
use crate::model::ids::{CommitSeq, Epoch, SessionId};
use crate::model::session::{SessionStatus, StopReason};
use crate::model::time::Timestamp;
use crate::state::paths::SessionPaths;

/// Messages that may wait for the feed, over all sessions: seconds of a fast crawl. Beyond it they are left out and
/// counted, and the feed reads the pages among them from the outputs.
pub const QUEUE: usize = 4_096;

/// Whose announcements these are.
#[derive(Debug)]
pub struct Tag {
    /// The session.
    pub session: SessionId,
    /// Its files.
    pub paths: SessionPaths,
    /// Where its lifetime began.
    pub begin: EventId,
    /// Whether it keeps a recording.
    pub record: bool,
}

/// What is handed on.
#[derive(Debug)]
pub enum Said {
    /// The lifetime begins.
    Opened,
    /// The pages of a commit, from index 1 on.
    Pages {
        /// The commit.
        seq: CommitSeq,
        /// Its records in their order, each with when its visit ended.
        pages: Vec<(PageNote, Timestamp)>,
    },
    /// Something else happened.
    Event(Box<Event>),
    /// Something was decided; for the recording.
    Decided(Box<Decided>),
    /// Nobody runs the session any more.
    Ended {
        /// Where it stands.
        status: SessionStatus,
        /// Why it stopped.
        stop_reason: Option<StopReason>,
    },
    /// Room was short: these were left out.
    Missed {
        /// The last of them.
        to: EventId,
        /// How many events.
        count: u64,
    },
}

/// What goes to the feed.
#[derive(Debug)]
pub enum Message {
    /// A session says something.
    From(Arc<Tag>, Said),
    /// Answered once everything before it is told.
    Settle(oneshot::Sender<()>),
}

/// A session's way to its watchers. Owned by its controller; nothing here waits or fails.
#[derive(Debug)]
pub struct Announcer {
    out: Option<mpsc::Sender<Message>>,
    tag: Arc<Tag>,
    last: EventId,
    /// Events left out since the last message that found room.
    missed: Option<u64>,
    /// Breakers that are not closed, as last told.
    breakers: HashMap<String, BreakerState>,
}

impl Announcer {
    /// The announcer of a lifetime that begins; `None`: nobody listens.
    pub fn new(
        out: Option<mpsc::Sender<Message>>,
        paths: &SessionPaths,
        begin: (Epoch, CommitSeq),
        record: bool,
    ) -> Self {
        let begin = EventId::new(begin.0, begin.1, 0);
        let tag = Tag { session: paths.id().clone(), paths: paths.clone(), begin, record };
        let mut announcer = Announcer { out, tag: Arc::new(tag), last: begin, missed: None, breakers: HashMap::new() };
        announcer.send(Said::Opened, 0);
        announcer
    }

    /// A commit is durable: from here on events carry its number.
    pub fn committed(&mut self, seq: CommitSeq, pages: Vec<(PageNote, Timestamp)>) {
        let count = u32::try_from(pages.len()).unwrap_or(u32::MAX);
        self.last = EventId::new(self.last.epoch, seq, count);
        if count > 0 {
            self.send(Said::Pages { seq, pages }, u64::from(count));
        }
    }

    /// Something happened now.
    pub fn happened(&mut self, at: Timestamp, what: What) {
        self.last.index += 1;
        let event = Event::new(self.last, Some(self.tag.session.clone()), at, what);
        self.send(Said::Event(Box::new(event)), 1);
    }

    /// A host's breaker was committed so; tells whether that is a change.
    pub fn breaker(&mut self, at: Timestamp, host: String, breaker: &Breaker) {
        let before = self.breakers.get(&host).copied().unwrap_or(BreakerState::Closed);
        if before == breaker.state {
            return;
        }
        match breaker.state {
            BreakerState::Closed => self.breakers.remove(&host),
            state => self.breakers.insert(host.clone(), state),
        };
        let (state, failures, open_until) = (breaker.state, breaker.failures, breaker.open_until);
        self.happened(at, What::Breaker { breaker: BreakerNote { host, state, failures, open_until } });
    }

    /// Whether a breaker so committed is news.
    pub fn is_news(&self, host: &str, breaker: &Breaker) -> bool {
        self.breakers.get(host).copied().unwrap_or(BreakerState::Closed) != breaker.state
    }

    /// Whether decisions are written down.
    pub fn records(&self) -> bool {
        self.tag.record && self.out.is_some()
    }

    /// Something was decided now; made only where it is written down.
    pub fn decided(&mut self, at: Timestamp, decision: impl FnOnce() -> Decision) {
        if self.records() {
            let decided = Decided { after: self.last, at, decision: decision() };
            self.send(Said::Decided(Box::new(decided)), 0);
        }
    }

    fn send(&mut self, said: Said, events: u64) {
        let Some(out) = &self.out else { return };
        let said = match self.missed {
            // What it would have said is among them.
            Some(missed) => Said::Missed { to: self.last, count: missed + events },
            None => said,
        };
        match out.try_send(Message::From(self.tag.clone(), said)) {
            Ok(()) => self.missed = None,
            Err(TrySendError::Full(_)) => self.missed = Some(self.missed.unwrap_or(0) + events),
            Err(TrySendError::Closed(_)) => self.out = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::CheckpointNote;
    use crate::state::paths::StateDir;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn checkpoint() -> What {
        What::Checkpoint { checkpoint: CheckpointNote { generation: 1 } }
    }

    fn announcer(room: usize) -> (Announcer, mpsc::Receiver<Message>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let paths = StateDir::open(dir.path()).unwrap().session(&"s1".parse().unwrap());
        let (out, inbox) = mpsc::channel(room);
        (Announcer::new(Some(out), &paths, (2, 40), false), inbox, dir)
    }

    fn page() -> (PageNote, Timestamp) {
        let url = crate::model::url::CanonicalUrl::parse("http://h.example/").unwrap();
        PageNote::of(&crate::model::record::PageRecord::new(&url, crate::model::outcome::Outcome::Fetched, at(0)))
    }

    fn said(inbox: &mut mpsc::Receiver<Message>) -> String {
        let Message::From(_, said) = inbox.try_recv().unwrap() else { panic!() };
        match said {
            Said::Opened => "opened".into(),
            Said::Pages { seq, pages } => format!("pages {seq} {}", pages.len()),
            Said::Event(event) => event.id.to_string(),
            Said::Decided(decided) => format!("decided after {}", decided.after),
            Said::Ended { status, .. } => status.to_string(),
            Said::Missed { to, count } => format!("missed {count} to {to}"),
        }
    }

    #[test]
    fn pages_come_first_after_their_commit_and_the_rest_after_them() {
        let (mut announcer, mut inbox, _dir) = announcer(16);
        announcer.happened(at(0), checkpoint());
        announcer.committed(41, vec![page(), page()]);
        announcer.happened(at(0), checkpoint());
        announcer.committed(42, Vec::new());
        announcer.happened(at(0), checkpoint());
        announcer.decided(at(0), || unreachable!("it keeps no recording"));
        let all: Vec<String> = (0..5).map(|_| said(&mut inbox)).collect();
        assert_eq!(all, ["opened", "2.40.1", "pages 41 2", "2.41.3", "2.42.1"]);
    }

    #[test]
    fn what_finds_no_room_is_counted_and_told_later() {
        let (mut announcer, mut inbox, _dir) = announcer(1);
        announcer.committed(41, vec![page(), page()]);
        announcer.happened(at(0), checkpoint());
        assert_eq!(said(&mut inbox), "opened");
        announcer.happened(at(0), checkpoint());
        assert_eq!(said(&mut inbox), "missed 4 to 2.41.4");
        announcer.happened(at(0), checkpoint());
        assert_eq!(said(&mut inbox), "2.41.5");
    }

    #[test]
    fn a_breaker_is_told_when_it_changes() {
        let (mut announcer, mut inbox, _dir) = announcer(16);
        let breaker = |state| Breaker { state, ..Breaker::default() };
        for (state, news) in [
            (BreakerState::Closed, false),
            (BreakerState::Open, true),
            (BreakerState::Open, false),
            (BreakerState::HalfOpen, true),
            (BreakerState::Closed, true),
        ] {
            assert_eq!(announcer.is_news("h", &breaker(state)), news, "{state}");
            announcer.breaker(at(0), "h".into(), &breaker(state));
        }
        let all: Vec<String> = (0..4).map(|_| said(&mut inbox)).collect();
        assert_eq!(all, ["opened", "2.40.1", "2.40.2", "2.40.3"]);
    }
}
