//! The read side of a session's store: short snapshots that stop no commit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Params, Row, params};

use crate::model::checkpoint::OutputFile;
use crate::model::counters::Counters;
use crate::model::host::{HostState, StoredRobots};
use crate::model::ids::{CommitSeq, UrlNo};
use crate::model::lease::{HostQueue, UrlKind};
use crate::model::time::Timestamp;
use crate::model::url::CanonicalUrl;
use crate::store::ask::Ask;
use crate::store::db;
use crate::store::error::StoreError;
use crate::store::migrate;
use crate::store::rows::{EpochEntry, HostRow, OutputRow, SuspectRow, UrlRow};
use crate::store::schema::UrlState;

type Result<T> = std::result::Result<T, StoreError>;

pub(crate) const HOST_COLUMNS: &str = "no, key, queued, suspects, delayed, parked, discovered";
/// The state is a row's own unless the URL is leased.
pub(crate) const URL_COLUMNS: &str = "n, host, path,
    CASE WHEN EXISTS (SELECT 1 FROM leases WHERE leases.n = urls.n) THEN 2 ELSE state END,
    kind, depth, via, turn, attempts, not_before, seq, detail, hops";
/// A row that is leased does not wait, whatever it says.
pub(crate) const NOT_LEASED: &str = "NOT EXISTS (SELECT 1 FROM leases WHERE leases.n = urls.n)";

/// A read connection of its own.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    path: PathBuf,
}

/// A URL with its host, for people and checkpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlView {
    /// The row.
    pub row: UrlRow,
    /// The whole URL.
    pub url: CanonicalUrl,
}

impl Ask for Reader {
    fn asked(&self) -> (&Connection, &Path) {
        (&self.connection, &self.path)
    }
}

impl Reader {
    /// Opens a store for reading; changes nothing.
    ///
    /// # Errors
    /// `Missing`, `Corrupt`, `TooNew`, and what the system says.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Reader { connection: db::open_reader(path)?, path: path.to_owned() })
    }

    /// Opens the store of a session that nobody runs: nothing on the disk changes, its log's index included.
    ///
    /// # Errors
    /// As for [`Reader::open`].
    pub fn at_rest(path: &Path) -> Result<Self> {
        Ok(Reader { connection: db::open_at_rest(path)?, path: path.to_owned() })
    }

    /// Reads several things as of one commit.
    ///
    /// # Errors
    /// What `read` says, or SQLite. So do all below.
    pub fn snapshot<T>(&self, read: impl FnOnce(&Reader) -> Result<T>) -> Result<T> {
        let sort = |e| StoreError::sort(&self.path, &e);
        self.connection.execute_batch("BEGIN").map_err(sort)?;
        let result = read(self);
        self.connection.execute_batch("ROLLBACK").map_err(sort)?;
        result
    }

    /// The store's format.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn format(&self) -> Result<i64> {
        migrate::check(&self.connection, &self.path)
    }

    /// Last commit and totals.
    ///
    /// # Errors
    /// What SQLite says; `Corrupt` when the row is gone.
    pub fn counters(&self) -> Result<(CommitSeq, Counters)> {
        self.one("SELECT * FROM counters", [], counters_of)?
            .ok_or_else(|| StoreError::Corrupt { path: self.path.clone(), message: "the counters are gone".to_owned() })
    }

    /// Counts by reason of one kind: `failed`, `skipped` or `parked`.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn tallies(&self, kind: &str) -> Result<BTreeMap<String, u64>> {
        let sql = "SELECT reason, urls FROM tallies WHERE kind = ?1 AND urls > 0";
        Ok(self.many(sql, [kind], |row| Ok((row.get(0)?, num(row, 1)?)))?.into_iter().collect())
    }

    /// Hosts with something queued.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn waiting_hosts(&self) -> Result<Vec<HostQueue>> {
        let sql = format!(
            "SELECT no, key, queued, suspects, CASE WHEN queued > delayed THEN NULL ELSE
            (SELECT min(not_before) FROM urls WHERE host = hosts.no AND state = 0 AND not_before > 0 AND {NOT_LEASED}) END
            FROM hosts WHERE queued > 0 OR suspects > 0"
        );
        self.many(&sql, [], |row| {
            Ok(HostQueue {
                no: row.get(0)?,
                key: row.get(1)?,
                queued: num(row, 2)?,
                suspects: num(row, 3)?,
                earliest_retry: row.get::<_, Option<i64>>(4)?.map(Timestamp::from_millis),
            })
        })
    }

    /// Politeness memory by host key, of hosts with URLs left first, at most `limit`.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn host_states(&self, limit: usize) -> Result<Vec<(String, HostState)>> {
        let sql = "SELECT key, state FROM hosts WHERE state IS NOT NULL ORDER BY queued + suspects DESC LIMIT ?1";
        let rows = self.many(sql, [limit as i64], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
        // A memory that does not read is worth less than a start: the host is asked with the defaults.
        Ok(rows.into_iter().filter_map(|(key, json)| Some((key, serde_json::from_str(&json).ok()?))).collect())
    }

    /// robots.txt answers by host key.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn robots(&self) -> Result<Vec<(String, StoredRobots)>> {
        self.many("SELECT host_key, asked_at, failing_since, status, body FROM robots", [], robots_of)
    }

    /// The robots.txt answer of one host.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn robots_of(&self, host_key: &str) -> Result<Option<StoredRobots>> {
        let sql = "SELECT host_key, asked_at, failing_since, status, body FROM robots WHERE host_key = ?1";
        Ok(self.one(sql, [host_key], robots_of)?.map(|(_, robots)| robots))
    }

    /// Number of hosts whose robots.txt is known.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn robots_known(&self) -> Result<u64> {
        Ok(self.one("SELECT count(*) FROM robots", [], |row| num(row, 0))?.unwrap_or(0))
    }

    /// Session-level values.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn meta(&self) -> Result<BTreeMap<String, String>> {
        Ok(self.many("SELECT key, value FROM meta", [], |row| Ok((row.get(0)?, row.get(1)?)))?.into_iter().collect())
    }

    /// Lifetimes, oldest first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn epochs(&self) -> Result<Vec<EpochEntry>> {
        let sql =
            "SELECT epoch, start_ms, first_lease_ms, end_ms, ended, first_seq, last_seq FROM epochs ORDER BY epoch";
        let at = |row: &Row<'_>, i: usize| row.get::<_, Option<i64>>(i).map(|ms| ms.map(Timestamp::from_millis));
        self.many(sql, [], |row| {
            Ok(EpochEntry {
                epoch: row.get(0)?,
                start: Timestamp::from_millis(row.get(1)?),
                first_lease: at(row, 2)?,
                end: at(row, 3)?,
                ended: row.get(4)?,
                first_seq: num(row, 5)?,
                last_seq: num(row, 6)?,
            })
        })
    }

    /// Output files as committed: URL records first, each by number.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn outputs(&self) -> Result<Vec<OutputRow>> {
        let sql = "SELECT kind, segment, length, group_start, group_hash, sealed, first_seq, last_seq
            FROM outputs ORDER BY kind DESC, segment";
        self.many(sql, [], |row| {
            let (kind, segment): (String, u32) = (row.get(0)?, row.get(1)?);
            let file = OutputFile {
                name: format!("{kind}-{segment:05}.jsonl"),
                committed_length: num(row, 2)?,
                last_group_start: num(row, 3)?,
                last_group_hash: row.get(4)?,
                sealed: row.get(5)?,
            };
            let (first_seq, last_seq) = (num(row, 6)?, num(row, 7)?);
            Ok(OutputRow { kind, segment, file, first_seq, last_seq })
        })
    }

    /// Leased URLs.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn in_flight(&self) -> Result<Vec<UrlView>> {
        self.views("n IN (SELECT n FROM leases) ORDER BY n", [])
    }

    /// The newest failed URLs, newest first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn newest_failed(&self, limit: usize) -> Result<Vec<UrlView>> {
        self.views("state = 5 ORDER BY seq DESC, n DESC LIMIT ?1", [limit as i64])
    }

    /// Parked URLs of one reason, or of all.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn parked(&self, reason: Option<&str>, limit: usize) -> Result<Vec<UrlView>> {
        self.views("state = 3 AND (?1 IS NULL OR detail = ?1) LIMIT ?2", params![reason, limit as i64])
    }

    /// URLs of one failure class, or of all.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn failed(&self, class: Option<&str>, limit: usize) -> Result<Vec<UrlView>> {
        self.views("state = 5 AND (?1 IS NULL OR detail = ?1) ORDER BY seq DESC LIMIT ?2", params![class, limit as i64])
    }

    /// URLs in order of their numbers, from `first` on: for paging and verification.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn page(&self, first: UrlNo, limit: usize) -> Result<Vec<UrlView>> {
        self.views("n >= ?1 ORDER BY n LIMIT ?2", params![first as i64, limit as i64])
    }

    /// Number, state and commit of the newest record, in order of the numbers.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn states(&self, first: UrlNo, limit: usize) -> Result<Vec<(UrlNo, UrlState, CommitSeq)>> {
        let sql = format!(
            "SELECT n, CASE WHEN {NOT_LEASED} THEN state ELSE 2 END, seq FROM urls WHERE n >= ?1 ORDER BY n LIMIT ?2"
        );
        self.many(&sql, params![first as i64, limit as i64], |row| {
            let code: i64 = row.get(1)?;
            let state = UrlState::from_code(code).ok_or(rusqlite::Error::IntegralValueOutOfRange(1, code))?;
            Ok((num(row, 0)?, state, num(row, 2)?))
        })
    }

    /// Suspects with what points at them.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn suspects(&self) -> Result<Vec<(UrlNo, SuspectRow)>> {
        self.many("SELECT n, explained, unexplained FROM suspects ORDER BY n", [], |row| {
            Ok((num(row, 0)?, SuspectRow { explained: row.get(1)?, unexplained: row.get(2)? }))
        })
    }

    /// A URL by its number.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn url(&self, n: UrlNo) -> Result<Option<UrlView>> {
        Ok(self.views("n = ?1", [n as i64])?.pop())
    }

    /// A URL by its text.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn find(&self, url: &CanonicalUrl) -> Result<Option<UrlView>> {
        let Some(host) =
            self.one("SELECT no FROM hosts WHERE key = ?1", [url.host_key()], |row| row.get::<_, i64>(0))?
        else {
            return Ok(None);
        };
        let number = "n = coalesce((SELECT n FROM seen WHERE host = ?1 AND key = ?2),
            (SELECT n FROM urls WHERE n > (SELECT n FROM seen_upto) AND host = ?1 AND key = ?2))";
        Ok(self.views(number, params![host, url.key()])?.pop())
    }

    /// How many sitemaps were discovered and how many of them have ended.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn sitemaps(&self) -> Result<(u64, u64)> {
        Ok(self
            .one(
                "SELECT urls, (SELECT urls FROM tallies WHERE kind = 'sitemaps' AND reason = 'ended') FROM tallies
                WHERE kind = 'sitemaps' AND reason = 'discovered'",
                [],
                |row| Ok((num(row, 0)?, row.get::<_, Option<i64>>(1)?.unwrap_or(0) as u64)),
            )?
            .unwrap_or_default())
    }

    /// Looks at the structure of the file; `full` compares the indexes with the rows as well. `None` when it
    /// is sound, else the first complaint.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn complaint(&self, full: bool) -> Result<Option<String>> {
        let sql = if full { "PRAGMA integrity_check(1)" } else { "PRAGMA quick_check(1)" };
        // Ours has none; a store from elsewhere could act through them.
        let active = "SELECT name FROM sqlite_schema WHERE type IN ('trigger', 'view') OR sql LIKE 'CREATE VIRTUAL%'";
        if let Some(name) = self.one(active, [], |row| row.get::<_, String>(0))? {
            return Ok(Some(format!("`{}` is no table of ours", name.escape_debug())));
        }
        let answer: Option<String> = self.one(sql, [], |row| row.get(0))?;
        match answer.filter(|text| text != "ok") {
            None if full => self.strange_keys(),
            complaint => Ok(complaint),
        }
    }

    /// What a check of indexes does not look for: that the seen-set, a table of its own, has the keys of the rows.
    fn strange_keys(&self) -> Result<Option<String>> {
        let unseen = "SELECT n FROM urls WHERE n <= (SELECT n FROM seen_upto)
            AND NOT EXISTS (SELECT 1 FROM seen WHERE seen.host = urls.host AND seen.key = urls.key) LIMIT 1";
        let unknown = "SELECT n FROM seen WHERE NOT EXISTS
            (SELECT 1 FROM urls WHERE urls.n = seen.n AND urls.host = seen.host AND urls.key = seen.key) LIMIT 1";
        for (sql, what) in [(unseen, "is not in the seen-set"), (unknown, "is something else in the seen-set")] {
            if let Some(n) = self.one(sql, [], |row| num(row, 0))? {
                return Ok(Some(format!("URL {n} {what}")));
            }
        }
        Ok(None)
    }

    pub(super) fn views(&self, condition: &str, values: impl Params) -> Result<Vec<UrlView>> {
        let sql =
            format!("SELECT {URL_COLUMNS}, (SELECT key FROM hosts WHERE no = urls.host) FROM urls WHERE {condition}");
        self.many(&sql, values, |row| {
            let key: String = row.get(13)?;
            let row = url_of(row)?;
            let url = CanonicalUrl::from_parts(&key, &row.path);
            Ok(UrlView { row, url })
        })
    }
}

fn robots_of(row: &Row<'_>) -> rusqlite::Result<(String, StoredRobots)> {
    let robots = StoredRobots {
        asked_at: Timestamp::from_millis(row.get(1)?),
        failing_since: row.get::<_, Option<i64>>(2)?.map(Timestamp::from_millis),
        status: row.get(3)?,
        body: row.get(4)?,
    };
    Ok((row.get(0)?, robots))
}

/// SQLite's integers are signed; none of ours is negative, and keys are compared bit by bit.
pub(crate) fn num(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|n| n as u64)
}

pub(crate) fn counters_of(row: &Row<'_>) -> rusqlite::Result<(CommitSeq, Counters)> {
    let counters = Counters {
        discovered: num(row, 2)?,
        queued: num(row, 3)?,
        in_flight: num(row, 4)?,
        parked: num(row, 5)?,
        fetched: num(row, 6)?,
        failed: num(row, 7)?,
        skipped: num(row, 8)?,
        out_of_scope: num(row, 9)?,
        links_seen: num(row, 10)?,
        visits: num(row, 11)?,
        bytes: num(row, 12)?,
    };
    Ok((num(row, 1)?, counters))
}

pub(crate) fn host_of(row: &Row<'_>) -> rusqlite::Result<HostRow> {
    Ok(HostRow {
        no: row.get(0)?,
        key: row.get(1)?,
        queued: num(row, 2)?,
        suspects: num(row, 3)?,
        delayed: num(row, 4)?,
        parked: num(row, 5)?,
        discovered: num(row, 6)?,
    })
}

pub(crate) fn url_of(row: &Row<'_>) -> rusqlite::Result<UrlRow> {
    let code: i64 = row.get(3)?;
    let state = UrlState::from_code(code).ok_or(rusqlite::Error::IntegralValueOutOfRange(3, code))?;
    Ok(UrlRow {
        n: num(row, 0)?,
        host: row.get(1)?,
        path: row.get(2)?,
        state,
        kind: if row.get::<_, i64>(4)? == 1 { UrlKind::Sitemap } else { UrlKind::Page },
        depth: row.get(5)?,
        via: row.get::<_, Option<i64>>(6)?.map(|n| n as u64),
        turn: row.get(7)?,
        attempts: row.get(8)?,
        not_before: Timestamp::from_millis(row.get(9)?),
        seq: num(row, 10)?,
        detail: row.get(11)?,
        hops: row.get(12)?,
    })
}
