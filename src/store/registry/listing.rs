//! Lists of sessions for people, a page at a time, and what each day's sessions came to.

use rusqlite::params;

use crate::model::ids::{Epoch, SessionId};
use crate::model::session::SessionStatus;
use crate::model::time::Timestamp;
use crate::store::registry::rows::session_row;
use crate::store::registry::{Registry, RegistryError, SessionRow, sql};

/// The order of lists, kept: newest first.
pub(super) const INDEX: &str = "CREATE INDEX IF NOT EXISTS sessions_by_start ON sessions (session_start DESC, id DESC)";

/// Which sessions a list is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// Only of this task.
    pub task: Option<String>,
    /// Only with this declared status.
    pub status: Option<SessionStatus>,
    /// Only those whose owner has not declared an end.
    pub unfinished: bool,
    /// Only those that come after this one in the list: its start and its id.
    pub after: Option<(Timestamp, String)>,
}

/// A session in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedSession {
    /// As the registry knows it.
    pub row: SessionRow,
    /// Its newest lifetime, and when that began.
    pub epoch: Option<(Epoch, Timestamp)>,
}

/// What the sessions that began on a day came to.
#[derive(Debug, Clone, PartialEq)]
pub struct DaySessions {
    /// `2026-11-21`, in UTC.
    pub day: String,
    /// How many began.
    pub sessions: u64,
    /// Their mean active time, in seconds.
    pub mean_duration_seconds: f64,
    /// How many of them run.
    pub still_active: u64,
}

impl Registry {
    /// Some sessions, newest first, at most `limit`.
    ///
    /// # Errors
    /// What SQLite said. So do all below.
    pub fn listed(&self, filter: &SessionFilter, limit: usize) -> Result<Vec<ListedSession>, RegistryError> {
        let ended: Vec<String> =
            SessionStatus::ALL.iter().filter(|status| status.ended()).map(|status| format!("'{status}'")).collect();
        let unfinished =
            if filter.unfinished { format!("AND status NOT IN ({})", ended.join(",")) } else { String::new() };
        // The newest lifetime by the primary key of the lifetimes: one row.
        let newest = |column| {
            format!("(SELECT {column} FROM epochs WHERE session_id = sessions.id ORDER BY epoch DESC LIMIT 1)")
        };
        let text = format!(
            "SELECT id, task_id, task_hash, is_active, status, stop_reason, session_start, session_end,
               duration_seconds, last_life, discovered, queued, in_flight, parked, fetched, failed, skipped,
               out_of_scope, links_seen, visits, bytes, {}, {} FROM sessions
             WHERE (?1 IS NULL OR task_id = ?1) AND (?2 IS NULL OR status = ?2) {unfinished}
               AND (?3 IS NULL OR (session_start, id) < (?3, ?4))
             ORDER BY session_start DESC, id DESC LIMIT ?5",
            newest("epoch"),
            newest("started_at")
        );
        let (start, id) = match &filter.after {
            Some((start, id)) => (Some(start.millis()), id.as_str()),
            None => (None, ""),
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let values = params![filter.task, filter.status.map(SessionStatus::as_str), start, id, limit];
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&text).map_err(sql("list sessions"))?;
        let rows = statement.query_map(values, |row| {
            let epoch: Option<(Epoch, i64)> = row.get::<_, Option<Epoch>>(21)?.zip(row.get(22)?);
            let epoch = epoch.map(|(epoch, start)| (epoch, Timestamp::from_millis(start)));
            Ok(session_row(row)?.map(|row| ListedSession { row, epoch }))
        });
        let rows = rows.map_err(sql("list sessions"))?;
        rows.filter_map(|row| row.transpose()).collect::<rusqlite::Result<_>>().map_err(sql("list sessions"))
    }

    /// The ids of all sessions.
    ///
    /// # Errors
    /// What SQLite said.
    pub fn ids(&self) -> Result<Vec<SessionId>, RegistryError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached("SELECT id FROM sessions").map_err(sql("list sessions"))?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).map_err(sql("list sessions"))?;
        let ids: Vec<String> = rows.collect::<rusqlite::Result<_>>().map_err(sql("list sessions"))?;
        Ok(ids.into_iter().filter_map(|id| id.parse().ok()).collect())
    }

    /// What the sessions of each day came to, newest day first, at most `limit` days.
    ///
    /// # Errors
    /// What SQLite said.
    pub fn sessions_by_day(&self, limit: u32) -> Result<Vec<DaySessions>, RegistryError> {
        let connection = self.lock();
        let text =
            "SELECT date(session_start / 1000, 'unixepoch') AS day, count(*), avg(duration_seconds), sum(is_active)
            FROM sessions GROUP BY day ORDER BY day DESC LIMIT ?1";
        let mut statement = connection.prepare_cached(text).map_err(sql("count sessions"))?;
        let rows = statement.query_map([limit], |row| {
            let number = |at| row.get::<_, i64>(at).map(|n| u64::try_from(n).unwrap_or(0));
            Ok(DaySessions {
                day: row.get::<_, Option<String>>(0)?.unwrap_or_default(),
                sessions: number(1)?,
                mean_duration_seconds: row.get(2)?,
                still_active: number(3)?,
            })
        });
        let rows = rows.map_err(sql("count sessions"))?;
        rows.collect::<rusqlite::Result<_>>().map_err(sql("count sessions"))
    }
}
