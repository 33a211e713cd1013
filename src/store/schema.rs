//! The shape of a session's store, and its states.

/// Marks the file as ours: "crwl".
pub const APPLICATION_ID: i32 = 0x6372_776c;

/// The format that this version writes; see [`super::migrate`].
pub const FORMAT: i64 = 3;

/// Format 3. Host names stand once; a URL row holds path and query only. `urls.key` is a [`crate::model::url::UrlKey`];
/// `seen` has the keys of all URLs up to number `seen_upto.n`, see `store::seen`. `urls.detail` is a failure class, a skip
/// reason or a park reason; `urls.seq` the commit of its newest record, 0 without one. A URL in `leases` is in flight, whatever
/// its row says: a lease that changed the row would write its page twice for a visit.
pub const CREATE: &str = "
CREATE TABLE hosts(
  no INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE,
  queued INTEGER NOT NULL, suspects INTEGER NOT NULL, delayed INTEGER NOT NULL,
  parked INTEGER NOT NULL, discovered INTEGER NOT NULL, state TEXT);
CREATE TABLE urls(
  n INTEGER PRIMARY KEY, host INTEGER NOT NULL, key BLOB NOT NULL, path TEXT NOT NULL,
  state INTEGER NOT NULL, kind INTEGER NOT NULL, depth INTEGER NOT NULL, hops INTEGER NOT NULL, via INTEGER,
  turn INTEGER NOT NULL, attempts INTEGER NOT NULL, not_before INTEGER NOT NULL,
  seq INTEGER NOT NULL, detail TEXT);
CREATE TABLE leases(n INTEGER PRIMARY KEY);
CREATE TABLE suspects(n INTEGER PRIMARY KEY, explained INTEGER NOT NULL, unexplained INTEGER NOT NULL);
CREATE TABLE partial(n INTEGER PRIMARY KEY, added INTEGER NOT NULL);
CREATE TABLE templates(
  id INTEGER PRIMARY KEY, host INTEGER NOT NULL, hash INTEGER NOT NULL,
  urls INTEGER NOT NULL, queries INTEGER NOT NULL, UNIQUE(host, hash));
CREATE TABLE template_queries(template INTEGER NOT NULL, query INTEGER NOT NULL, PRIMARY KEY(template, query)) WITHOUT ROWID;
CREATE TABLE robots(
  host_key TEXT PRIMARY KEY, asked_at INTEGER NOT NULL, failing_since INTEGER, status INTEGER, body BLOB);
CREATE TABLE outputs(
  kind TEXT NOT NULL, segment INTEGER NOT NULL, length INTEGER NOT NULL, group_start INTEGER NOT NULL,
  group_hash TEXT NOT NULL, sealed INTEGER NOT NULL, first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL,
  PRIMARY KEY(kind, segment)) WITHOUT ROWID;
CREATE TABLE counters(
  one INTEGER PRIMARY KEY CHECK(one = 1), seq INTEGER NOT NULL,
  discovered INTEGER NOT NULL, queued INTEGER NOT NULL, in_flight INTEGER NOT NULL, parked INTEGER NOT NULL,
  fetched INTEGER NOT NULL, failed INTEGER NOT NULL, skipped INTEGER NOT NULL,
  out_of_scope INTEGER NOT NULL, links_seen INTEGER NOT NULL, visits INTEGER NOT NULL, bytes INTEGER NOT NULL);
CREATE TABLE tallies(
  kind TEXT NOT NULL, reason TEXT NOT NULL, urls INTEGER NOT NULL, PRIMARY KEY(kind, reason)) WITHOUT ROWID;
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE epochs(
  epoch INTEGER PRIMARY KEY, start_ms INTEGER NOT NULL, first_lease_ms INTEGER, end_ms INTEGER,
  ended TEXT, first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL);
CREATE TABLE seen(host INTEGER NOT NULL, key BLOB NOT NULL, n INTEGER NOT NULL, PRIMARY KEY(host, key)) WITHOUT ROWID;
CREATE TABLE seen_upto(one INTEGER PRIMARY KEY CHECK(one = 1), n INTEGER NOT NULL);
INSERT INTO seen_upto VALUES(1, 0);
INSERT INTO counters VALUES(1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
";

/// The indexes over `urls`; a rebuild makes them last.
pub const INDEXES: &str = "
CREATE INDEX urls_queue ON urls(host, turn) WHERE state = 0;
CREATE INDEX urls_retry ON urls(host, not_before) WHERE state = 0 AND not_before > 0;
CREATE INDEX urls_suspect ON urls(host) WHERE state = 1;
CREATE INDEX urls_parked ON urls(detail) WHERE state = 3;
CREATE INDEX urls_failed ON urls(seq) WHERE state = 5;
CREATE INDEX urls_poison ON urls(detail) WHERE state = 6 AND detail = 'poison';
";

/// Where a URL stands; the numbers are part of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum UrlState {
    /// Waiting.
    Queued = 0,
    /// Waiting, to be visited last and alone.
    Suspect = 1,
    /// Leased: in `leases`, while its row goes on saying what it was.
    InFlight = 2,
    /// Set aside.
    Parked = 3,
    /// Ended: fetched.
    Fetched = 4,
    /// Ended: failed.
    Failed = 5,
    /// Ended: skipped.
    Skipped = 6,
}

impl UrlState {
    /// Every state, by its number.
    pub const ALL: [UrlState; 7] = [
        UrlState::Queued,
        UrlState::Suspect,
        UrlState::InFlight,
        UrlState::Parked,
        UrlState::Fetched,
        UrlState::Failed,
        UrlState::Skipped,
    ];

    /// The number in the store.
    pub const fn code(self) -> i64 {
        self as i64
    }

    /// Reads the number back.
    pub fn from_code(code: i64) -> Option<Self> {
        usize::try_from(code).ok().and_then(|i| Self::ALL.get(i)).copied()
    }

    /// Whether it has a final outcome.
    pub const fn ended(self) -> bool {
        matches!(self, UrlState::Fetched | UrlState::Failed | UrlState::Skipped)
    }
}

/// Meta key: the last lifetime closed everything (`1`).
pub const META_CLEAN: &str = "clean";
/// Meta key: version of the canonicalisation rules under which the URLs were stored.
pub const META_CANONICAL: &str = "canonical_version";
/// Meta key: the store was rebuilt from the outputs and not opened since (`1`).
pub const META_REBUILT: &str = "rebuilt";
/// Meta key: records known to be lost from the outputs.
pub const META_LOST: &str = "lost_records";
/// Meta key: the session lives on another machine now (`1`).
pub const META_MIGRATED: &str = "migrated";
