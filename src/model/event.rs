//! What is told to those who watch: events, their numbers, and what a connection says of itself.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::counters::Counters;
use crate::model::heartbeat::{HealthFactor, Rates};
use crate::model::host::BreakerState;
use crate::model::ids::{CommitSeq, Epoch, SessionId, UrlNo};
use crate::model::outcome::{FailureClass, OutcomeKind, SkipReason};
use crate::model::record::PageRecord;
use crate::model::session::{SessionStatus, StopReason};
use crate::model::time::Timestamp;

/// Bytes of a string from outside in an event at most; what is longer is cut and ends in `…`.
pub const TEXT_MAX: usize = 2048;

/// An event's number: lifetime, commit, place after that commit. Written `3.1841.2`, ordered like the three.
///
/// A page event is the n-th page record of its commit, so its number can be read from the outputs again. An event
/// that no commit made carries the last commit and the next place after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EventId {
    /// The process lifetime of the session; of the daemon's own events, when it started (unix seconds).
    pub epoch: Epoch,
    /// The last commit before it, or its own.
    pub commit_seq: CommitSeq,
    /// From 1 after each commit.
    pub index: u32,
}

impl EventId {
    /// The number with these parts.
    pub const fn new(epoch: Epoch, commit_seq: CommitSeq, index: u32) -> Self {
        EventId { epoch, commit_seq, index }
    }

    /// After every event of a session.
    pub const LAST: EventId = EventId::new(Epoch::MAX, CommitSeq::MAX, u32::MAX);
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.epoch, self.commit_seq, self.index)
    }
}

impl FromStr for EventId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "an event's number is EPOCH.COMMIT.INDEX, such as 3.1841.2".to_owned();
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let parts: Vec<&str> = text.split('.').collect();
        let [epoch, commit_seq, index] = parts[..] else { return Err(wrong()) };
        if ![epoch, commit_seq, index].into_iter().all(digits) {
            return Err(wrong());
        }
        Ok(EventId {
            epoch: epoch.parse().map_err(|_| wrong())?,
            commit_seq: commit_seq.parse().map_err(|_| wrong())?,
            index: index.parse().map_err(|_| wrong())?,
        })
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for EventId {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "EventId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[0-9]+\\.[0-9]+\\.[0-9]+$"})
    }
}

/// Something that happened and stays true. One JSON object a frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Its number.
    pub id: EventId,
    /// The first part of the number.
    pub epoch: Epoch,
    /// The second.
    pub commit_seq: CommitSeq,
    /// The third.
    pub index: u32,
    /// Whose; `null` for the whole daemon.
    pub session_id: Option<SessionId>,
    /// When. Of a page: when its visit ended.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

impl Event {
    /// An event with this number.
    pub fn new(id: EventId, session_id: Option<SessionId>, at: Timestamp, what: What) -> Self {
        Event { id, epoch: id.epoch, commit_seq: id.commit_seq, index: id.index, session_id, at, what }
    }
}

/// What happened: `kind` names it, and the key of the same name holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// A URL has ended; its record is durable.
    Page {
        /// The page.
        page: PageNote,
    },
    /// The session's status changed.
    Status {
        /// The change.
        status: StatusNote,
    },
    /// The health score changed by 0.05 or more, or its level did.
    Health {
        /// The new health.
        health: HealthNote,
    },
    /// A host's breaker changed.
    Breaker {
        /// The breaker.
        breaker: BreakerNote,
    },
    /// The browser was lost and started again.
    BrowserRestart {
        /// The loss.
        browser_restart: RestartNote,
    },
    /// A checkpoint is on the disk.
    Checkpoint {
        /// The checkpoint.
        checkpoint: CheckpointNote,
    },
    /// An alert crossed its threshold, one way or the other.
    Alert {
        /// The alert.
        alert: AlertNote,
    },
    /// Where the session stands; at most once a second. State, not history: only the newest is told to who comes later.
    Progress {
        /// The numbers.
        progress: ProgressNote,
    },
}

impl What {
    /// The word in `kind`.
    pub const fn name(&self) -> &'static str {
        match self {
            What::Page { .. } => "page",
            What::Status { .. } => "status",
            What::Health { .. } => "health",
            What::Breaker { .. } => "breaker",
            What::BrowserRestart { .. } => "browser_restart",
            What::Checkpoint { .. } => "checkpoint",
            What::Alert { .. } => "alert",
            What::Progress { .. } => "progress",
        }
    }
}

/// A URL that ended: what a watcher needs of its record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PageNote {
    /// The URL's number in the session.
    pub n: UrlNo,
    /// The URL.
    pub url: String,
    /// Fetched, failed or skipped.
    pub outcome: OutcomeKind,
    /// Why it failed.
    pub failure_class: Option<FailureClass>,
    /// Why it was skipped.
    pub skip_reason: Option<SkipReason>,
    /// The HTTP status of the final answer.
    pub http_status: Option<u16>,
    /// The document's title.
    pub title: Option<String>,
    /// How long the visit took.
    pub duration_ms: u64,
    /// Body bytes after decompression.
    pub bytes: Option<u64>,
    /// Links followed from the nearest seed.
    pub depth: u32,
    /// The visit that ended it: 1 for the first try.
    pub attempt: u32,
}

impl PageNote {
    /// What of a record is told, and when its visit ended.
    pub fn of(record: &PageRecord) -> (PageNote, Timestamp) {
        let note = PageNote {
            n: record.n,
            url: cut(&record.url),
            outcome: record.outcome,
            failure_class: record.failure_class,
            skip_reason: record.skip_reason,
            http_status: record.http_status,
            title: record.title.as_deref().map(cut),
            duration_ms: record.duration_ms,
            bytes: record.bytes,
            depth: record.depth,
            attempt: record.attempt,
        };
        (note, record.fetched_at + Duration::from_millis(record.duration_ms))
    }
}

/// A line of `pages-*.jsonl`, as far as an event needs it.
#[derive(Debug, Clone, Deserialize)]
pub struct PageLine {
    n: UrlNo,
    url: String,
    outcome: OutcomeKind,
    failure_class: Option<FailureClass>,
    skip_reason: Option<SkipReason>,
    http_status: Option<u16>,
    title: Option<String>,
    duration_ms: u64,
    bytes: Option<u64>,
    depth: u32,
    attempt: u32,
    epoch: Epoch,
    commit_seq: CommitSeq,
    fetched_at: Timestamp,
}

impl PageLine {
    /// The commit that wrote it.
    pub fn commit(&self) -> (Epoch, CommitSeq) {
        (self.epoch, self.commit_seq)
    }

    /// The event that was told of it, the `index`-th of its commit.
    pub fn event(self, session: &SessionId, index: u32) -> Event {
        let page = PageNote {
            n: self.n,
            url: cut(&self.url),
            outcome: self.outcome,
            failure_class: self.failure_class,
            skip_reason: self.skip_reason,
            http_status: self.http_status,
            title: self.title.as_deref().map(cut),
            duration_ms: self.duration_ms,
            bytes: self.bytes,
            depth: self.depth,
            attempt: self.attempt,
        };
        let id = EventId::new(self.epoch, self.commit_seq, index);
        let at = self.fetched_at + Duration::from_millis(self.duration_ms);
        Event::new(id, Some(session.clone()), at, What::Page { page })
    }
}

/// A change of status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusNote {
    /// Before; `null` at the opening of a lifetime.
    pub from: Option<SessionStatus>,
    /// Now.
    pub to: SessionStatus,
    /// Why, where the status alone does not say it.
    pub reason: Option<String>,
}

/// A health score with what made it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HealthNote {
    /// 0..1.
    pub score: f64,
    /// `healthy`, `degraded` or `unhealthy`.
    pub level: String,
    /// Its factors.
    pub factors: Vec<HealthFactor>,
}

/// A host's breaker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BreakerNote {
    /// `scheme://host[:port]`.
    pub host: String,
    /// Where it stands.
    pub state: BreakerState,
    /// Failures in a row.
    pub failures: u32,
    /// Until when it is open.
    pub open_until: Option<Timestamp>,
}

/// A lost browser.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RestartNote {
    /// Restarts in this lifetime of the daemon.
    pub restarts: u32,
    /// Why no new one could be started, where that is so.
    pub cause: Option<String>,
}

/// A checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckpointNote {
    /// Its number.
    pub generation: u64,
}

/// An alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AlertNote {
    /// Which.
    pub alert: String,
    /// The value that crossed; `null` when it is over.
    pub value: Option<f64>,
    /// What it crossed.
    pub threshold: Option<f64>,
    /// `true`: it began. `false`: it is over.
    pub raised: bool,
}

/// Where a session stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProgressNote {
    /// Committed totals.
    pub counters: Counters,
    /// Page rates.
    pub rates: Rates,
    /// Estimated time to the end.
    pub eta_seconds: Option<u64>,
    /// Visits running now.
    pub visits_active: u32,
}

/// What a connection says of itself: no event, so without a number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Notice {
    /// The first frame of a connection.
    Hello {
        /// `crawld`.
        server: String,
        /// Its version.
        version: String,
        /// The newest event so far, of one session.
        newest: Option<EventId>,
    },
    /// Events after `from`, up to `to`, that are not pages cannot be told any more.
    Gone {
        /// After this one.
        from: EventId,
        /// Up to this one.
        to: EventId,
        /// Of which session.
        session_id: Option<SessionId>,
    },
    /// The client read too slowly: so many events were left out before the next frame.
    Lost {
        /// How many.
        count: u64,
    },
    /// The session has ended; the connection closes with 4105.
    Ended {
        /// As what.
        status: SessionStatus,
        /// Why.
        stop_reason: Option<StopReason>,
    },
    /// Nothing happened, and the connection lives: browsers see no pings. Also the answer to `{"kind":"ping"}`.
    Alive {},
    /// Something that the client sent was not understood; the connection goes on.
    Error {
        /// What was wrong with it.
        problem: String,
    },
}

/// At most `TEXT_MAX` bytes of a text.
pub fn cut(text: &str) -> String {
    if text.len() <= TEXT_MAX {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(TEXT_MAX - '…'.len_utf8());
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_ordered_by_lifetime_commit_and_place() {
        let id = |text: &str| text.parse::<EventId>().unwrap();
        assert!(id("1.900.7") < id("2.3.1") && id("2.3.1") < id("2.10.0") && id("2.10.1") < id("2.10.2"));
        assert_eq!(id("3.1841.2").to_string(), "3.1841.2");
        for wrong in ["", "1", "1.2", "1.2.3.4", "1.2.x", "-1.2.3", "1.+2.3", "4294967296.1.1", "1..2"] {
            assert!(wrong.parse::<EventId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_event_is_one_flat_object_and_reads_back() {
        let status = StatusNote { from: None, to: SessionStatus::Paused, reason: Some("asked".into()) };
        let session = "s1".parse().ok();
        let event = Event::new(EventId::new(3, 7, 2), session, Timestamp::from_millis(0), What::Status { status });
        let text = serde_json::to_value(&event).unwrap();
        let expected = serde_json::json!({
            "id": "3.7.2", "epoch": 3, "commit_seq": 7, "index": 2, "session_id": "s1",
            "at": "1970-01-01T00:00:00.000Z", "kind": "status",
            "status": {"from": null, "to": "paused", "reason": "asked"},
        });
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_value::<Event>(text).unwrap(), event);
        let lost = serde_json::to_value(Notice::Lost { count: 3 }).unwrap();
        assert_eq!(lost, serde_json::json!({"kind": "lost", "count": 3}));
    }

    #[test]
    fn a_page_event_read_from_the_outputs_is_the_one_that_was_told() {
        let session: SessionId = "s1".parse().unwrap();
        let url = crate::model::url::CanonicalUrl::parse("http://h.example/").unwrap();
        let record = PageRecord {
            n: 4,
            title: Some("é".repeat(3000)),
            text: Some("long".into()),
            duration_ms: 250,
            epoch: 2,
            commit_seq: 9,
            http_status: Some(200),
            ..PageRecord::new(&url, crate::model::outcome::Outcome::Fetched, Timestamp::from_millis(1000))
        };
        let (page, at) = PageNote::of(&record);
        let told = Event::new(EventId::new(2, 9, 1), Some(session.clone()), at, What::Page { page });
        let line: PageLine = serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
        assert_eq!(line.commit(), (2, 9));
        assert_eq!(line.event(&session, 1), told);
        let What::Page { page } = told.what else { panic!() };
        assert!(page.title.unwrap().len() <= TEXT_MAX);
        assert_eq!(told.at.millis(), 1250);
    }
}
