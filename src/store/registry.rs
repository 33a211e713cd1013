//! The registry: every session and process lifetime in one place, derived from the session directories.
//!
//! No decision depends on it alone, and an error of it never stops a crawl: the caller reports it as
//! degraded and goes on.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

use crate::lock::lock;
use crate::model::counters::DayNumbers;
use crate::model::ids::{CommitSeq, Epoch, SessionId, TaskId};
use crate::model::session::{Cause, CrashReason, Decision, StopReason};
use crate::model::task::StoredTask;
use crate::model::time::Timestamp;

mod listing;
mod place;
mod rows;

pub use listing::{DaySessions, ListedSession, SessionFilter};
use place::{beside, damaged, kind, move_aside};
pub use rows::{EpochRow, SessionRow};
use rows::{day_row, epoch_row, int, session_row};

/// Format of the registry, kept in `user_version`.
pub const REGISTRY_FORMAT: i64 = 1;

/// A writer elsewhere (somebody's sqlite3 shell) is waited for this long: the daemon's loop does the waiting.
const BUSY: Duration = Duration::from_millis(500);

/// A registry beyond this many bytes is not copied for a look at it.
const LOOK_MAX: u64 = 256 << 20;

const SCHEMA: &str = "
CREATE TABLE sessions (
  id TEXT PRIMARY KEY, task_id TEXT, task_hash TEXT, task_json TEXT,
  is_active INTEGER NOT NULL, status TEXT NOT NULL, stop_reason TEXT,
  session_start INTEGER NOT NULL, session_end INTEGER, duration_seconds REAL NOT NULL,
  discovered INTEGER NOT NULL, queued INTEGER NOT NULL, in_flight INTEGER NOT NULL, parked INTEGER NOT NULL,
  fetched INTEGER NOT NULL, failed INTEGER NOT NULL, skipped INTEGER NOT NULL,
  out_of_scope INTEGER NOT NULL, links_seen INTEGER NOT NULL, visits INTEGER NOT NULL, bytes INTEGER NOT NULL,
  last_life INTEGER
) STRICT;
CREATE TABLE epochs (
  session_id TEXT NOT NULL, epoch INTEGER NOT NULL, pid INTEGER, boot_id TEXT,
  started_at INTEGER NOT NULL, ended_at INTEGER, commit_seq INTEGER NOT NULL DEFAULT 0,
  stop_reason TEXT, crash_reason TEXT, decision TEXT, cause TEXT,
  PRIMARY KEY (session_id, epoch)
) STRICT, WITHOUT ROWID;
CREATE TABLE daily (
  day TEXT PRIMARY KEY, sessions_started INTEGER NOT NULL DEFAULT 0, sessions_ended INTEGER NOT NULL DEFAULT 0,
  crashes INTEGER NOT NULL DEFAULT 0, fetched INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0,
  skipped INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0, active_seconds REAL NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
";

/// Why the registry cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A newer crawld wrote it.
    #[error(
        "the registry `{path}` has format {found}, this crawld reads up to {REGISTRY_FORMAT}: use the newer crawld"
    )]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
    },
    /// SQLite refused.
    #[error("cannot {step} in the registry: {source}")]
    Sql {
        /// What was being done.
        step: &'static str,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The file system refused.
    #[error("cannot use the registry `{path}`: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn sql(step: &'static str) -> impl Fn(rusqlite::Error) -> RegistryError {
    move |source| RegistryError::Sql { step, source }
}

/// How the registry was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// As it was left.
    Existing,
    /// There was none.
    Fresh,
    /// It was damaged and moved aside; the caller puts the sessions in again.
    Rebuilt {
        /// Where the damaged file is now.
        moved_to: PathBuf,
    },
}

/// The registry, usable from every thread; calls are short.
#[derive(Debug)]
pub struct Registry {
    connection: Mutex<Connection>,
}

impl Registry {
    /// Opens the registry at `path`, creating it (0600) when missing. A damaged one is moved into
    /// `quarantine`, never deleted.
    ///
    /// # Errors
    /// A newer format (left as it is), or what the system said.
    pub fn open(path: &Path, quarantine: &Path) -> Result<(Registry, Opened), RegistryError> {
        let found = match kind(path)? {
            None => Opened::Fresh,
            Some(true) => match Self::connect(path) {
                Ok(registry) => return Ok((registry, Opened::Existing)),
                Err(error) if damaged(&error) => Opened::Rebuilt { moved_to: move_aside(path, quarantine)? },
                Err(error) => return Err(error),
            },
            Some(false) => Opened::Rebuilt { moved_to: move_aside(path, quarantine)? },
        };
        // The journals beside it take over its mode.
        let at = |source| RegistryError::Io { path: path.to_owned(), source };
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(at)?;
        Self::connect(path).map(|registry| (registry, found))
    }

    /// A copy of the registry in `scratch`, to be read: the registry itself is not touched. `None` when there
    /// is none, or none that can be used.
    pub fn look(path: &Path, scratch: &Path) -> Option<Registry> {
        let copy = scratch.join("registry.db");
        if kind(path).ok()? != Some(true) || fs::metadata(path).ok()?.len() > LOOK_MAX {
            return None;
        }
        fs::copy(path, &copy).ok()?;
        let log = (beside(path, "-wal"), beside(&copy, "-wal"));
        if kind(&log.0).ok()? == Some(true) {
            fs::copy(log.0, log.1).ok()?;
        }
        Self::connect(&copy).ok()
    }

    fn connect(path: &Path) -> Result<Registry, RegistryError> {
        let mut connection = Connection::open(path).map_err(sql("open"))?;
        connection.busy_timeout(BUSY).map_err(sql("open"))?;
        let version: i64 = connection.query_row("PRAGMA user_version", [], |r| r.get(0)).map_err(sql("open"))?;
        if version > REGISTRY_FORMAT {
            return Err(RegistryError::TooNew { path: path.to_owned(), found: version });
        }
        connection.query_row("PRAGMA journal_mode=WAL", [], |_| Ok(())).map_err(sql("open"))?;
        connection.execute_batch("PRAGMA synchronous=NORMAL").map_err(sql("open"))?;
        if version == 0 {
            let transaction = connection.transaction().map_err(sql("create"))?;
            transaction.execute_batch(SCHEMA).map_err(sql("create"))?;
            transaction.pragma_update(None, "user_version", REGISTRY_FORMAT).map_err(sql("create"))?;
            transaction.commit().map_err(sql("create"))?;
        }
        // Not part of the format: whoever does not know it keeps it up all the same.
        connection.execute_batch(listing::INDEX).map_err(sql("prepare"))?;
        let check: String = connection.query_row("PRAGMA quick_check(1)", [], |r| r.get(0)).map_err(sql("check"))?;
        if check != "ok" {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
            return Err(sql("check")(rusqlite::Error::SqliteFailure(code, Some(check))));
        }
        Ok(Registry { connection: Mutex::new(connection) })
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic inside a call left no transaction open: every call is one statement.
        lock(&self.connection)
    }

    /// Puts a session in, or replaces what is known about it. A task given before stays.
    ///
    /// # Errors
    /// What SQLite said.
    pub fn put_session(&self, row: &SessionRow) -> Result<(), RegistryError> {
        let c = &row.counters;
        let ints = [
            c.discovered,
            c.queued,
            c.in_flight,
            c.parked,
            c.fetched,
            c.failed,
            c.skipped,
            c.out_of_scope,
            c.links_seen,
            c.visits,
            c.bytes,
        ]
        .map(int);
        self.lock()
            .prepare_cached(
                "INSERT INTO sessions (id, task_id, task_hash, is_active, status, stop_reason, session_start,
                   session_end, duration_seconds, last_life, discovered, queued, in_flight, parked, fetched,
                   failed, skipped, out_of_scope, links_seen, visits, bytes)
                 VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21)
                 ON CONFLICT (id) DO UPDATE SET task_id = coalesce(excluded.task_id, task_id),
                   task_hash = coalesce(excluded.task_hash, task_hash), is_active = excluded.is_active,
                   status = excluded.status, stop_reason = excluded.stop_reason,
                   session_start = excluded.session_start, session_end = excluded.session_end,
                   duration_seconds = excluded.duration_seconds, last_life = excluded.last_life,
                   discovered = excluded.discovered, queued = excluded.queued, in_flight = excluded.in_flight,
                   parked = excluded.parked, fetched = excluded.fetched, failed = excluded.failed,
                   skipped = excluded.skipped, out_of_scope = excluded.out_of_scope,
                   links_seen = excluded.links_seen, visits = excluded.visits, bytes = excluded.bytes",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    row.id.as_str(),
                    row.task_id.as_ref().map(TaskId::as_str),
                    row.task_hash,
                    row.is_active,
                    row.status.as_str(),
                    row.stop_reason.map(StopReason::as_str),
                    row.session_start.millis(),
                    row.session_end.map(Timestamp::millis),
                    row.duration_seconds,
                    row.last_life.map(Timestamp::millis),
                    ints[0],
                    ints[1],
                    ints[2],
                    ints[3],
                    ints[4],
                    ints[5],
                    ints[6],
                    ints[7],
                    ints[8],
                    ints[9],
                    ints[10],
                ])
            })
            .map(drop)
            .map_err(sql("write a session"))
    }

    /// Keeps a copy of a session's task; its session must have been put in before.
    ///
    /// # Errors
    /// What SQLite said; there is no such session.
    pub fn put_task(&self, task: &StoredTask) -> Result<(), RegistryError> {
        let json = serde_json::to_string(task).unwrap_or_default();
        self.lock()
            .execute(
                "UPDATE sessions SET task_json = ?2, task_id = ?3, task_hash = ?4 WHERE id = ?1",
                params![task.session_id.as_str(), json, task.task_id.as_str(), task.task_hash],
            )
            .and_then(|rows| if rows == 0 { Err(rusqlite::Error::QueryReturnedNoRows) } else { Ok(()) })
            .map_err(sql("write a task"))
    }

    /// The copy of a session's task; `None` when there is none that can be understood.
    ///
    /// # Errors
    /// What SQLite said.
    pub fn task(&self, id: &SessionId) -> Result<Option<StoredTask>, RegistryError> {
        let json: Option<Option<String>> = self
            .lock()
            .query_row("SELECT task_json FROM sessions WHERE id = ?1", [id.as_str()], |r| r.get(0))
            .optional()
            .map_err(sql("read a task"))?;
        Ok(json.flatten().and_then(|json| serde_json::from_str(&json).ok()))
    }

    /// One session.
    ///
    /// # Errors
    /// What SQLite said.
    pub fn session(&self, id: &SessionId) -> Result<Option<SessionRow>, RegistryError> {
        Ok(self.select("WHERE id = ?1", [id.as_str()])?.into_iter().next())
    }

    /// Every session, newest first.
    ///
    /// # Errors
    /// What SQLite said.
    pub fn sessions(&self) -> Result<Vec<SessionRow>, RegistryError> {
        self.select("", [])
    }

    /// The sessions of one task content, newest first.
    ///
    /// # Errors
    /// What SQLite said.
    pub fn sessions_of(&self, task_hash: &str) -> Result<Vec<SessionRow>, RegistryError> {
        self.select("WHERE task_hash = ?1", [task_hash])
    }

    fn select(&self, filter: &str, values: impl rusqlite::Params) -> Result<Vec<SessionRow>, RegistryError> {
        let text = format!(
            "SELECT id, task_id, task_hash, is_active, status, stop_reason, session_start, session_end,
               duration_seconds, last_life, discovered, queued, in_flight, parked, fetched, failed, skipped,
               out_of_scope, links_seen, visits, bytes FROM sessions {filter} ORDER BY session_start DESC, id DESC"
        );
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&text).map_err(sql("read sessions"))?;
        let rows = statement.query_map(values, session_row).map_err(sql("read sessions"))?;
        // A row that cannot be understood is left out: the registry is derived.
        rows.filter_map(|row| row.transpose()).collect::<rusqlite::Result<_>>().map_err(sql("read sessions"))
    }

    /// Writes a lifetime down, or replaces what is known about it.
    ///
    /// # Errors
    /// What SQLite said.
    pub fn put_epoch(&self, row: &EpochRow) -> Result<(), RegistryError> {
        self.lock()
            .execute(
                "INSERT OR REPLACE INTO epochs (session_id, epoch, pid, boot_id, started_at, ended_at, commit_seq,
                   stop_reason, crash_reason, decision, cause) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)",
                params![
                    row.session_id.as_str(),
                    row.epoch,
                    row.pid,
                    row.boot_id,
                    row.started_at.millis(),
                    row.ended_at.map(Timestamp::millis),
                    int(row.commit_seq),
                    row.stop_reason.map(StopReason::as_str),
                    row.crash_reason.map(CrashReason::as_str),
                    row.decision.map(|(decision, _)| decision.as_str()),
                    row.decision.map(|(_, cause)| cause.as_str()),
                ],
            )
            .map(drop)
            .map_err(sql("write an epoch"))
    }

    /// Closes a lifetime that stopped by itself.
    ///
    /// # Errors
    /// What SQLite said.
    pub fn stop_epoch(
        &self,
        id: &SessionId,
        epoch: Epoch,
        at: Timestamp,
        commit_seq: CommitSeq,
        reason: StopReason,
    ) -> Result<(), RegistryError> {
        self.lock()
            .execute(
                "UPDATE epochs SET ended_at = ?3, commit_seq = ?4, stop_reason = ?5
                 WHERE session_id = ?1 AND epoch = ?2",
                params![id.as_str(), epoch, at.millis(), int(commit_seq), reason.as_str()],
            )
            .map(drop)
            .map_err(sql("close an epoch"))
    }

    /// Closes every open lifetime of a session that died: end = its last sign of life.
    ///
    /// # Errors
    /// What SQLite said.
    pub fn close_stale(&self, id: &SessionId, life: Timestamp, reason: CrashReason) -> Result<usize, RegistryError> {
        self.lock()
            .execute(
                "UPDATE epochs SET ended_at = max(started_at, ?2), crash_reason = ?3
                 WHERE session_id = ?1 AND ended_at IS NULL",
                params![id.as_str(), life.millis(), reason.as_str()],
            )
            .map_err(sql("close stale epochs"))
    }

    /// Writes the recovery decision into the newest lifetime of a session.
    ///
    /// # Errors
    /// What SQLite said.
    pub fn put_decision(&self, id: &SessionId, decision: Decision, cause: Cause) -> Result<(), RegistryError> {
        self.lock()
            .execute(
                "UPDATE epochs SET decision = ?2, cause = ?3 WHERE session_id = ?1
                 AND epoch = (SELECT max(epoch) FROM epochs WHERE session_id = ?1)",
                params![id.as_str(), decision.as_str(), cause.as_str()],
            )
            .map(drop)
            .map_err(sql("write a decision"))
    }

    /// The lifetimes of a session, oldest first.
    ///
    /// # Errors
    /// What SQLite said.
    pub fn epochs(&self, id: &SessionId) -> Result<Vec<EpochRow>, RegistryError> {
        self.select_epochs("WHERE session_id = ?1", [id.as_str()])
    }

    /// Lifetimes without an end, of all sessions.
    ///
    /// # Errors
    /// What SQLite said.
    pub fn open_epochs(&self) -> Result<Vec<EpochRow>, RegistryError> {
        self.select_epochs("WHERE ended_at IS NULL", [])
    }

    fn select_epochs(&self, filter: &str, values: impl rusqlite::Params) -> Result<Vec<EpochRow>, RegistryError> {
        let text = format!(
            "SELECT session_id, epoch, pid, boot_id, started_at, ended_at, commit_seq, stop_reason, crash_reason,
               decision, cause FROM epochs {filter} ORDER BY session_id, epoch"
        );
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&text).map_err(sql("read epochs"))?;
        let rows = statement.query_map(values, epoch_row).map_err(sql("read epochs"))?;
        rows.filter_map(|row| row.transpose()).collect::<rusqlite::Result<_>>().map_err(sql("read epochs"))
    }

    /// Adds to a day (UTC, `2026-11-21`).
    ///
    /// # Errors
    /// What SQLite said.
    pub fn add_to_day(&self, day: &str, by: &DayNumbers) -> Result<(), RegistryError> {
        self.lock()
            .execute(
                "INSERT INTO daily VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9) ON CONFLICT (day) DO UPDATE SET
                   sessions_started = sessions_started + excluded.sessions_started,
                   sessions_ended = sessions_ended + excluded.sessions_ended, crashes = crashes + excluded.crashes,
                   fetched = fetched + excluded.fetched, failed = failed + excluded.failed,
                   skipped = skipped + excluded.skipped, bytes = bytes + excluded.bytes,
                   active_seconds = active_seconds + excluded.active_seconds",
                params![
                    day,
                    int(by.sessions_started),
                    int(by.sessions_ended),
                    int(by.crashes),
                    int(by.fetched),
                    int(by.failed),
                    int(by.skipped),
                    int(by.bytes),
                    by.active_seconds,
                ],
            )
            .map(drop)
            .map_err(sql("write statistics"))
    }

    /// Statistics by day, newest first, at most `limit` days.
    ///
    /// # Errors
    /// What SQLite said.
    pub fn days(&self, limit: u32) -> Result<Vec<(String, DayNumbers)>, RegistryError> {
        let connection = self.lock();
        let mut statement = connection
            .prepare_cached("SELECT * FROM daily ORDER BY day DESC LIMIT ?1")
            .map_err(sql("read statistics"))?;
        let rows = statement.query_map([limit], day_row).map_err(sql("read statistics"))?;
        rows.collect::<rusqlite::Result<_>>().map_err(sql("read statistics"))
    }
}

#[cfg(test)]
mod tests;
