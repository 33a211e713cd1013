//! Lists of a store for people, a page at a time. None of them reads more than a bounded part of the store, so that a
//! question about a million URLs costs no more than one about a thousand.

use rusqlite::params;

use crate::model::host::HostState;
use crate::model::ids::{HostNo, UrlNo};
use crate::store::ask::Ask;
use crate::store::error::StoreError;
use crate::store::reader::{NOT_LEASED, Reader, UrlView, num};
use crate::store::rows::HostRow;
use crate::store::schema::UrlState;

/// Rows that one page of a list looks at, at most: about 20 ms of reading.
const SCANNED: u64 = 50_000;

/// Which URLs a list is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Where they stand; suspects are among the queued ones. `None`: anywhere.
    pub state: Option<UrlState>,
    /// Their failure class, skip reason or park reason.
    pub detail: Option<String>,
}

/// A part of a list, and where the next one begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part<T, N> {
    /// What was found; fewer than asked for says nothing.
    pub items: Vec<T>,
    /// What to ask for next; `None`: there is no more.
    pub next: Option<N>,
}

/// A host as committed.
#[derive(Debug, Clone, PartialEq)]
pub struct HostSeen {
    /// Its queue.
    pub row: HostRow,
    /// Its politeness memory; `None` before its first visit, or where it does not read.
    pub state: Option<HostState>,
    /// Its URLs in flight.
    pub in_flight: u64,
}

/// Failed URLs of one host and class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedGroup {
    /// `scheme://host[:port]`.
    pub host: String,
    /// The class.
    pub class: String,
    /// How many.
    pub urls: u64,
}

impl Reader {
    /// URLs after number `after`, in order of their numbers, at most `limit`.
    ///
    /// # Errors
    /// What SQLite says. So do all below.
    pub fn listed(&self, wanted: &Wanted, after: UrlNo, limit: usize) -> Result<Part<UrlView, UrlNo>, StoreError> {
        let newest = self.one("SELECT coalesce(max(n), 0) FROM urls", [], |row| num(row, 0))?.unwrap_or(0);
        let leased = wanted.state == Some(UrlState::InFlight);
        // The leases are few, and lie anywhere.
        let upto = if leased { newest } else { newest.min(after.saturating_add(SCANNED)) };
        let state = match wanted.state {
            None => "1".to_owned(),
            Some(UrlState::InFlight) => "n IN (SELECT n FROM leases)".to_owned(),
            Some(UrlState::Queued) => format!("state IN (0, 1) AND {NOT_LEASED}"),
            Some(state) => format!("state = {} AND {NOT_LEASED}", state.code()),
        };
        let condition = format!("n > ?1 AND n <= ?2 AND {state} AND (?3 IS NULL OR detail = ?3) ORDER BY n LIMIT ?4");
        let values = params![signed(after), signed(upto), wanted.detail, limit as i64];
        let items = self.views(&condition, values)?;
        let next = match items.last() {
            Some(last) if items.len() >= limit => Some(last.row.n),
            _ if upto < newest => Some(upto),
            _ => None,
        };
        Ok(Part { next: next.filter(|next| *next < newest), items })
    }

    /// Hosts after number `after`, in order of their numbers, at most `limit`.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn hosts_listed(&self, after: HostNo, limit: usize) -> Result<Part<HostSeen, HostNo>, StoreError> {
        let sql = "SELECT no, key, queued, suspects, delayed, parked, discovered, state,
            (SELECT count(*) FROM leases JOIN urls USING (n) WHERE urls.host = hosts.no)
            FROM hosts WHERE no > ?1 ORDER BY no LIMIT ?2";
        let items = self.many(sql, params![after, limit as i64], |row| {
            let state: Option<String> = row.get(7)?;
            Ok(HostSeen {
                row: crate::store::reader::host_of(row)?,
                state: state.and_then(|json| serde_json::from_str(&json).ok()),
                in_flight: num(row, 8)?,
            })
        })?;
        let next = items.last().filter(|_| items.len() >= limit).map(|last| last.row.no);
        Ok(Part { items, next })
    }

    /// The newest failed URLs, at most `newest`, grouped by host and class: the largest groups, at most `limit`.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn failed_groups(&self, newest: usize, limit: usize) -> Result<Vec<FailedGroup>, StoreError> {
        let sql = "SELECT (SELECT key FROM hosts WHERE no = host), coalesce(detail, ''), count(*) AS urls
            FROM (SELECT host, detail FROM urls WHERE state = 5 ORDER BY seq DESC LIMIT ?1)
            GROUP BY host, detail ORDER BY urls DESC, host, detail LIMIT ?2";
        self.many(sql, params![newest as i64, limit as i64], |row| {
            Ok(FailedGroup { host: row.get(0)?, class: row.get(1)?, urls: num(row, 2)? })
        })
    }
}

/// SQLite's integers are signed.
fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
