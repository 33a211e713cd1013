//! The write side of a session's store: one statement a function, no decisions.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rusqlite::{Connection, Params, params};

use crate::model::counters::Counters;
use crate::model::host::{HostState, StoredRobots};
use crate::model::ids::{CommitSeq, Epoch, HostNo, UrlNo};
use crate::model::time::Timestamp;
use crate::model::url::UrlKey;
use crate::store::ask::Ask;
use crate::store::db;
use crate::store::error::StoreError;
use crate::store::newest::Newest;
use crate::store::reader::{HOST_COLUMNS, NOT_LEASED, URL_COLUMNS, counters_of, host_of, num, url_of};
use crate::store::rows::{HostRow, OutputRow, SuspectRow, TemplateRow, UrlRow};
use crate::store::schema::UrlState;

type Result<T> = std::result::Result<T, StoreError>;

/// The one write connection of a session's store.
#[derive(Debug)]
pub struct Writer {
    connection: Connection,
    path: PathBuf,
    /// Read when it is asked for first.
    pub(super) newest: RefCell<Option<Newest>>,
}

impl Ask for Writer {
    fn asked(&self) -> (&Connection, &Path) {
        (&self.connection, &self.path)
    }
}

impl Writer {
    /// Takes over a connection made by [`crate::store::db`].
    pub fn new(connection: Connection, path: &Path) -> Self {
        Writer { connection, path: path.to_owned(), newest: RefCell::default() }
    }

    /// The store's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The connection, for reading inside the writer's transaction.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Gives the connection back.
    pub fn into_connection(self) -> Connection {
        self.connection
    }

    /// Keeps account of how much the log holds; see [`db::watch_log`].
    ///
    /// # Errors
    /// What SQLite says.
    pub fn watch_log(&mut self) -> Result<Arc<AtomicU64>> {
        db::watch_log(&mut self.connection, &self.path)
    }

    /// Starts a transaction that may write.
    ///
    /// # Errors
    /// What SQLite says, here and below.
    pub fn begin(&self) -> Result<()> {
        self.execute("BEGIN IMMEDIATE", []).map(drop)
    }

    /// Makes the transaction durable.
    ///
    /// # Errors
    /// After `Full` the transaction is still open or already rolled back; `roll_back` handles both.
    pub fn commit(&self) -> Result<()> {
        self.execute("COMMIT", []).map(drop)
    }

    /// Forgets the transaction, when there still is one.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn roll_back(&self) -> Result<()> {
        self.newest.replace(None);
        if self.connection.is_autocommit() {
            return Ok(());
        }
        self.execute("ROLLBACK", []).map(drop)
    }

    /// A host by its key.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn host_by_key(&self, key: &str) -> Result<Option<HostRow>> {
        self.one(&format!("SELECT {HOST_COLUMNS} FROM hosts WHERE key = ?1"), [key], host_of)
    }

    /// A host by its number.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn host_by_no(&self, no: HostNo) -> Result<Option<HostRow>> {
        self.one(&format!("SELECT {HOST_COLUMNS} FROM hosts WHERE no = ?1"), [no], host_of)
    }

    /// Adds a host without URLs.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn add_host(&self, key: &str) -> Result<HostRow> {
        let sql = "INSERT INTO hosts(key, queued, suspects, delayed, parked, discovered) VALUES(?1, 0, 0, 0, 0, 0)";
        self.execute(sql, [key])?;
        let no = u32::try_from(self.connection.last_insert_rowid()).map_err(|_| self.bug("too many hosts"))?;
        Ok(HostRow { no, key: key.to_owned(), ..HostRow::default() })
    }

    /// Stores a host's counts.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn save_host(&self, host: &HostRow) -> Result<()> {
        let sql =
            "UPDATE hosts SET queued = ?2, suspects = ?3, delayed = ?4, parked = ?5, discovered = ?6 WHERE no = ?1";
        let row = params![
            host.no,
            host.queued as i64,
            host.suspects as i64,
            host.delayed as i64,
            host.parked as i64,
            host.discovered as i64
        ];
        self.execute(sql, row).map(drop)
    }

    /// Stores a host's politeness memory.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn save_host_state(&self, no: HostNo, state: &HostState) -> Result<()> {
        let json = serde_json::to_string(state).map_err(|e| self.bug(&e.to_string()))?;
        self.execute("UPDATE hosts SET state = ?2 WHERE no = ?1", params![no, json]).map(drop)
    }

    /// The earliest instant for which a queued URL of the host waits.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn earliest_retry(&self, host: HostNo) -> Result<Option<Timestamp>> {
        let sql = format!(
            "SELECT min(not_before) FROM urls WHERE host = ?1 AND state = 0 AND not_before > 0 AND {NOT_LEASED}"
        );
        self.one(&sql, [host], |row| row.get::<_, Option<i64>>(0))
            .map(|found| found.flatten().map(Timestamp::from_millis))
    }

    /// A URL by its number.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn url(&self, n: UrlNo) -> Result<Option<UrlRow>> {
        self.one(&format!("SELECT {URL_COLUMNS} FROM urls WHERE n = ?1"), [n as i64], url_of)
    }

    /// The largest number given to a URL.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn last_url(&self) -> Result<UrlNo> {
        self.one("SELECT max(n) FROM urls", [], |row| row.get::<_, Option<i64>>(0))
            .map(|found| found.flatten().unwrap_or(0) as u64)
    }

    /// Adds a URL.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn add_url(&self, row: &UrlRow, key: &UrlKey) -> Result<()> {
        let sql = "INSERT INTO urls(n, host, key, path, state, kind, depth, via, turn, attempts, not_before, seq, detail, hops)
            VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
        let values = params![
            row.n as i64,
            row.host,
            key,
            row.path,
            row.state.code(),
            kind_code(row),
            row.depth,
            row.via.map(|n| n as i64),
            row.turn,
            row.attempts,
            row.not_before.millis(),
            row.seq as i64,
            row.detail,
            row.hops,
        ];
        self.execute(sql, values)?;
        if let Some(newest) = self.newest.borrow_mut().as_mut() {
            newest.add((row.host, *key), row.n);
        }
        Ok(())
    }

    /// Puts a URL in flight.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn lease(&self, n: UrlNo) -> Result<()> {
        self.execute("INSERT INTO leases VALUES(?1)", [n as i64]).map(drop)
    }

    /// Stores what can change about a URL. One that is in flight stays so; any other state ends its lease.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn save_url(&self, row: &UrlRow) -> Result<()> {
        let sql =
            "UPDATE urls SET state = coalesce(?2, state), turn = ?3, attempts = ?4, not_before = ?5, seq = ?6, detail = ?7
            WHERE n = ?1";
        let state = (row.state != UrlState::InFlight).then_some(row.state.code());
        let (waits, seq) = (row.not_before.millis(), row.seq as i64);
        let values = params![row.n as i64, state, row.turn, row.attempts, waits, seq, row.detail];
        self.execute(sql, values)?;
        match state {
            Some(_) => self.execute("DELETE FROM leases WHERE n = ?1", [row.n as i64]).map(drop),
            None => Ok(()),
        }
    }

    /// Stores what a URL is read as: its kind, and the indexes above it.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn save_kind(&self, row: &UrlRow) -> Result<()> {
        let sql = "UPDATE urls SET kind = ?2, hops = ?3 WHERE n = ?1";
        self.execute(sql, params![row.n as i64, kind_code(row), row.hops]).map(drop)
    }

    /// Sitemaps that were fetched.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn sitemaps_fetched(&self) -> Result<u64> {
        let sql = "SELECT urls FROM tallies WHERE kind = 'sitemaps' AND reason = 'fetched'";
        Ok(self.one(sql, [], |row| num(row, 0))?.unwrap_or(0))
    }

    /// The next URLs of a host's queue that are due, in order: new ones, then retries by turn.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn due(&self, host: HostNo, now: Timestamp, count: u32) -> Result<Vec<UrlRow>> {
        let sql = format!(
            "SELECT {URL_COLUMNS} FROM urls WHERE host = ?1 AND state = 0 AND not_before <= ?2 AND {NOT_LEASED}
            ORDER BY turn, n LIMIT ?3"
        );
        self.many(&sql, params![host, now.millis(), count], url_of)
    }

    /// Suspects of a host, by number.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn suspects(&self, host: HostNo, count: u32) -> Result<Vec<UrlRow>> {
        let sql = format!(
            "SELECT {URL_COLUMNS} FROM urls WHERE host = ?1 AND state = 1 AND {NOT_LEASED} ORDER BY n LIMIT ?2"
        );
        self.many(&sql, params![host, count], url_of)
    }

    /// Leased URLs.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn in_flight(&self) -> Result<Vec<UrlRow>> {
        self.many(&format!("SELECT {URL_COLUMNS} FROM urls WHERE n IN (SELECT n FROM leases) ORDER BY n"), [], url_of)
    }

    /// URLs in one of the states that are listed by an index, oldest number first after `after`.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn listed(&self, state: UrlState, detail: Option<&str>, count: u32) -> Result<Vec<UrlRow>> {
        let sql = format!(
            "SELECT {URL_COLUMNS} FROM urls WHERE state = {} AND (?1 IS NULL OR detail = ?1) LIMIT ?2",
            state.code()
        );
        self.many(&sql, params![detail, count], url_of)
    }

    /// URLs that ended as skipped(poison).
    ///
    /// # Errors
    /// What SQLite says.
    pub fn poisoned(&self, count: u32) -> Result<Vec<UrlRow>> {
        let sql = format!("SELECT {URL_COLUMNS} FROM urls WHERE state = 6 AND detail = 'poison' LIMIT ?1");
        self.many(&sql, [count], url_of)
    }

    /// URLs whose newest record belongs to one of these commits.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn recorded_between(&self, first: CommitSeq, last: CommitSeq) -> Result<Vec<UrlRow>> {
        let sql = format!("SELECT {URL_COLUMNS} FROM urls WHERE seq BETWEEN ?1 AND ?2 ORDER BY n");
        self.many(&sql, params![first as i64, last as i64], url_of)
    }

    /// Tells of every URL that others were found on how many those are. Reads the whole table.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn each_parent(&self, mut told: impl FnMut(UrlNo, u64)) -> Result<()> {
        let sql = "SELECT via, COUNT(*) FROM urls WHERE via IS NOT NULL GROUP BY via";
        let mut run = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                told(num(row, 0)?, num(row, 1)?);
            }
            Ok(())
        };
        run().map_err(|e| StoreError::sort(&self.path, &e))
    }

    /// What points at a suspect; `None` for a URL that is none.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn suspect(&self, n: UrlNo) -> Result<Option<SuspectRow>> {
        self.one("SELECT explained, unexplained FROM suspects WHERE n = ?1", [n as i64], |row| {
            Ok(SuspectRow { explained: row.get(0)?, unexplained: row.get(1)? })
        })
    }

    /// Marks a suspect, or stores what points at it.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn save_suspect(&self, n: UrlNo, row: SuspectRow) -> Result<()> {
        let sql =
            "INSERT INTO suspects VALUES(?1, ?2, ?3) ON CONFLICT(n) DO UPDATE SET explained = ?2, unexplained = ?3";
        self.execute(sql, params![n as i64, row.explained, row.unexplained]).map(drop)
    }

    /// Whether there is a suspect.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn any_suspect(&self) -> Result<bool> {
        Ok(self.one("SELECT 1 FROM suspects LIMIT 1", [], |_| Ok(()))?.is_some())
    }

    /// Whether there are counts of visits that go on.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn any_partial(&self) -> Result<bool> {
        Ok(self.one("SELECT 1 FROM partial LIMIT 1", [], |_| Ok(()))?.is_some())
    }

    /// Forgets a suspect.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn clear_suspect(&self, n: UrlNo) -> Result<()> {
        self.execute("DELETE FROM suspects WHERE n = ?1", [n as i64]).map(drop)
    }

    /// Counts URL records written by a visit that goes on.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn add_partial(&self, n: UrlNo, added: u64) -> Result<()> {
        let sql = "INSERT INTO partial VALUES(?1, ?2) ON CONFLICT(n) DO UPDATE SET added = added + ?2";
        self.execute(sql, params![n as i64, added as i64]).map(drop)
    }

    /// Takes the count of URL records that earlier commits wrote for an unfinished visit.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn take_partial(&self, n: UrlNo) -> Result<u64> {
        // Hardly a URL has one, and RETURNING sets a temporary table up even for none.
        let added = self.one("SELECT added FROM partial WHERE n = ?1", [n as i64], |row| num(row, 0))?;
        if added.is_some() {
            self.execute("DELETE FROM partial WHERE n = ?1", [n as i64])?;
        }
        Ok(added.unwrap_or(0))
    }

    /// A path template's budget.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn template(&self, host: HostNo, hash: u64) -> Result<Option<TemplateRow>> {
        let sql = "SELECT id, urls, queries FROM templates WHERE host = ?1 AND hash = ?2";
        self.one(sql, params![host, hash as i64], |row| {
            Ok(TemplateRow { id: row.get(0)?, urls: num(row, 1)?, queries: num(row, 2)? })
        })
    }

    /// Adds a path template.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn add_template(&self, host: HostNo, hash: u64) -> Result<TemplateRow> {
        let sql = "INSERT INTO templates(host, hash, urls, queries) VALUES(?1, ?2, 0, 0)";
        self.execute(sql, params![host, hash as i64])?;
        Ok(TemplateRow { id: self.connection.last_insert_rowid(), urls: 0, queries: 0 })
    }

    /// Stores a path template's counts.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn save_template(&self, row: &TemplateRow) -> Result<()> {
        let sql = "UPDATE templates SET urls = ?2, queries = ?3 WHERE id = ?1";
        self.execute(sql, params![row.id, row.urls as i64, row.queries as i64]).map(drop)
    }

    /// Whether a parameter set has been counted under a template.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn has_query(&self, template: i64, query: u64) -> Result<bool> {
        let sql = "SELECT 1 FROM template_queries WHERE template = ?1 AND query = ?2";
        self.one(sql, params![template, query as i64], |_| Ok(())).map(|found| found.is_some())
    }

    /// Counts a parameter set under a template.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn add_query(&self, template: i64, query: u64) -> Result<()> {
        self.execute("INSERT OR IGNORE INTO template_queries VALUES(?1, ?2)", params![template, query as i64]).map(drop)
    }

    /// Keeps a robots.txt answer.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn save_robots(&self, host_key: &str, robots: &StoredRobots) -> Result<()> {
        let sql = "INSERT OR REPLACE INTO robots VALUES(?1, ?2, ?3, ?4, ?5)";
        let since = robots.failing_since.map(Timestamp::millis);
        self.execute(sql, params![host_key, robots.asked_at.millis(), since, robots.status, robots.body]).map(drop)
    }

    /// Keeps an output file's committed state.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn save_output(&self, row: &OutputRow) -> Result<()> {
        let sql = "INSERT INTO outputs VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT(kind, segment) DO UPDATE
            SET length = ?3, group_start = ?4, group_hash = ?5, sealed = ?6, last_seq = ?8";
        let file = &row.file;
        let values = params![
            row.kind,
            row.segment,
            file.committed_length as i64,
            file.last_group_start as i64,
            file.last_group_hash,
            file.sealed,
            row.first_seq as i64,
            row.last_seq as i64,
        ];
        self.execute(sql, values).map(drop)
    }

    /// Marks a segment as finished.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn seal_output(&self, kind: &str, segment: u32) -> Result<()> {
        self.execute("UPDATE outputs SET sealed = 1 WHERE kind = ?1 AND segment = ?2", params![kind, segment]).map(drop)
    }

    /// Last commit and totals.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn counters(&self) -> Result<(CommitSeq, Counters)> {
        self.one("SELECT * FROM counters", [], counters_of)?.ok_or_else(|| self.corrupt("the counters are gone"))
    }

    /// Stores last commit and totals.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn save_counters(&self, seq: CommitSeq, c: &Counters) -> Result<()> {
        let sql =
            "UPDATE counters SET seq = ?1, discovered = ?2, queued = ?3, in_flight = ?4, parked = ?5, fetched = ?6,
            failed = ?7, skipped = ?8, out_of_scope = ?9, links_seen = ?10, visits = ?11, bytes = ?12";
        let values = params![
            seq as i64,
            c.discovered as i64,
            c.queued as i64,
            c.in_flight as i64,
            c.parked as i64,
            c.fetched as i64,
            c.failed as i64,
            c.skipped as i64,
            c.out_of_scope as i64,
            c.links_seen as i64,
            c.visits as i64,
            c.bytes as i64,
        ];
        self.execute(sql, values).map(drop)
    }

    /// Adds to the count of a failure class, skip reason or park reason.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn tally(&self, kind: &str, reason: &str, by: i64) -> Result<()> {
        let sql = "INSERT INTO tallies VALUES(?1, ?2, max(?3, 0)) ON CONFLICT(kind, reason) DO UPDATE SET urls = max(urls + ?3, 0)";
        self.execute(sql, params![kind, reason, by]).map(drop)
    }

    /// Keeps or forgets a session-level value.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn set_meta(&self, key: &str, value: Option<&str>) -> Result<()> {
        match value {
            Some(value) => self.execute("INSERT OR REPLACE INTO meta VALUES(?1, ?2)", [key, value]).map(drop),
            None => self.execute("DELETE FROM meta WHERE key = ?1", [key]).map(drop),
        }
    }

    /// Opens a lifetime, and closes as unclean those that nobody closed.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn open_epoch(&self, epoch: Epoch, now: Timestamp, seq: CommitSeq) -> Result<()> {
        self.execute("UPDATE epochs SET ended = 'unclean', end_ms = ?1 WHERE ended IS NULL", [now.millis()])?;
        let sql = "INSERT INTO epochs(epoch, start_ms, first_seq, last_seq) VALUES(?1, ?2, ?3, ?3)";
        self.execute(sql, params![epoch, now.millis(), seq as i64]).map(drop)
    }

    /// Notes a lifetime's commit, and the instant of its first lease.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn epoch_commit(&self, epoch: Epoch, seq: CommitSeq, lease: Option<Timestamp>) -> Result<()> {
        let sql = "UPDATE epochs SET last_seq = ?2, first_lease_ms = coalesce(first_lease_ms, ?3) WHERE epoch = ?1";
        self.execute(sql, params![epoch, seq as i64, lease.map(Timestamp::millis)]).map(drop)
    }

    /// Closes a lifetime cleanly.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn close_epoch(&self, epoch: Epoch, now: Timestamp) -> Result<()> {
        let sql = "UPDATE epochs SET ended = 'clean', end_ms = ?2 WHERE epoch = ?1";
        self.execute(sql, params![epoch, now.millis()]).map(drop)
    }

    pub(super) fn execute(&self, sql: &str, values: impl Params) -> Result<usize> {
        let run = || self.connection.prepare_cached(sql)?.execute(values);
        run().map_err(|e| StoreError::sort(&self.path, &e))
    }

    fn bug(&self, message: &str) -> StoreError {
        StoreError::Bug { path: self.path.clone(), message: message.to_owned() }
    }

    fn corrupt(&self, message: &str) -> StoreError {
        StoreError::Corrupt { path: self.path.clone(), message: message.to_owned() }
    }
}

fn kind_code(row: &UrlRow) -> i64 {
    match row.kind {
        crate::model::lease::UrlKind::Page => 0,
        crate::model::lease::UrlKind::Sitemap => 1,
    }
}
