//! The seen-set: which URL stands behind a host and a key.

use std::fmt::Write as _;
use std::sync::LazyLock;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{ToSql, params, params_from_iter};

use crate::model::ids::{HostNo, UrlNo};
use crate::model::url::UrlKey;
use crate::store::ask::Ask;
use crate::store::error::StoreError;
use crate::store::reader::num;
use crate::store::writer::Writer;

/// Keys that one statement asks for: enough to make the statement's own cost small beside theirs.
const TOGETHER: usize = 64;

/// A key's place among those asked, and its number. The cross join keeps the order: keys outside, a search
/// of the index alone for each. A key of NULLs, which fills the last statement up, finds nothing.
static ASK: LazyLock<String> = LazyLock::new(|| {
    let mut sql = String::from("WITH asked(i, h, k) AS (VALUES ");
    for i in 0..TOGETHER {
        let comma = if i == 0 { "" } else { ", " };
        write!(sql, "{comma}({i}, ?{}, ?{})", 2 * i + 1, 2 * i + 2).expect("a string takes all");
    }
    sql.push_str(") SELECT i, n FROM asked CROSS JOIN urls ON urls.host = asked.h AND urls.key = asked.k");
    sql
});

/// One value of the statement.
enum Asked<'a> {
    Host(HostNo),
    Key(&'a UrlKey),
    Nothing,
}

impl ToSql for Asked<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Asked::Host(no) => ValueRef::Integer(i64::from(*no)),
            Asked::Key(key) => ValueRef::Blob(key.as_slice()),
            Asked::Nothing => ValueRef::Null,
        }))
    }
}

impl Writer {
    /// Number of the URL with this key.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn seen(&self, host: HostNo, key: &UrlKey) -> Result<Option<UrlNo>, StoreError> {
        self.one("SELECT n FROM urls WHERE host = ?1 AND key = ?2", params![host, key], |row| num(row, 0))
    }

    /// Tells for every one of these keys that is taken which it is, and the URL's number. Cheapest when the
    /// keys are sorted.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn each_seen(&self, keys: &[(HostNo, UrlKey)], mut told: impl FnMut(usize, UrlNo)) -> Result<(), StoreError> {
        let (connection, path) = self.asked();
        let mut run = || {
            for (first, keys) in (0..).step_by(TOGETHER).zip(keys.chunks(TOGETHER)) {
                let mut statement = connection.prepare_cached(&ASK)?;
                let given = keys.iter().flat_map(|(host, key)| [Asked::Host(*host), Asked::Key(key)]);
                let values = given.chain(std::iter::repeat_with(|| Asked::Nothing)).take(2 * TOGETHER);
                let mut rows = statement.query(params_from_iter(values))?;
                while let Some(row) = rows.next()? {
                    told(first + num(row, 0)? as usize, num(row, 1)?);
                }
            }
            Ok(())
        };
        run().map_err(|e| StoreError::sort(path, &e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::lease::UrlKind;
    use crate::model::time::Timestamp;
    use crate::model::url::key_of;
    use crate::store::db;
    use crate::store::rows::UrlRow;
    use crate::store::schema::UrlState;

    fn row(n: UrlNo, host: HostNo) -> UrlRow {
        UrlRow {
            n,
            host,
            path: format!("/{n}"),
            state: UrlState::Queued,
            kind: UrlKind::Page,
            depth: 0,
            hops: 0,
            via: None,
            turn: 0,
            attempts: 0,
            not_before: Timestamp::default(),
            seq: 0,
            detail: None,
        }
    }

    #[test]
    fn many_keys_are_answered_as_one_by_one() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("frontier.db");
        let writer = Writer::new(db::open_writer(&path, 1 << 20, true).unwrap(), &path);
        // Every third key is not there.
        let key = |n: u64| ((n % 5) as HostNo, key_of(&format!("/{n}")));
        for n in (1..=400).filter(|n| n % 3 != 0) {
            writer.add_url(&row(n, key(n).0), &key(n).1).unwrap();
        }
        for count in [0, 1, TOGETHER, TOGETHER + 1, 400] {
            let mut keys: Vec<_> = (1..=count as u64).map(key).collect();
            keys.sort_unstable();
            let mut found = vec![None; keys.len()];
            writer.each_seen(&keys, |i, n| found[i] = Some(n)).unwrap();
            for ((host, key), found) in keys.iter().zip(found) {
                assert_eq!(found, writer.seen(*host, key).unwrap(), "{host} {key:x?} among {count}");
            }
        }
    }

    #[test]
    fn keys_are_looked_up_in_the_index() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("frontier.db");
        let connection = db::open_writer(&path, 1 << 20, true).unwrap();
        let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", *ASK)).unwrap();
        let nulls = std::iter::repeat_n(None::<i64>, 2 * TOGETHER);
        let steps = plan.query_map(params_from_iter(nulls), |row| row.get::<_, String>(3)).unwrap();
        let steps: Vec<String> = steps.map(Result::unwrap).collect();
        assert!(
            steps.iter().any(|step| step.contains("USING COVERING INDEX urls_seen (host=? AND key=?)")),
            "{steps:?}"
        );
    }
}
