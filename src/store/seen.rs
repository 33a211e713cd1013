//! The seen-set: which URL stands behind a host and a key. The table `seen`, and in memory what it has not got yet.

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
/// of the table for each. A key of NULLs, which fills the last statement up, finds nothing.
static ASK: LazyLock<String> = LazyLock::new(|| {
    let mut sql = String::from("WITH asked(i, h, k) AS (VALUES ");
    for i in 0..TOGETHER {
        let comma = if i == 0 { "" } else { ", " };
        write!(sql, "{comma}({i}, ?{}, ?{})", 2 * i + 1, 2 * i + 2).expect("a string takes all");
    }
    sql.push_str(") SELECT i, n FROM asked CROSS JOIN seen ON seen.host = asked.h AND seen.key = asked.k");
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
        if let Some(n) = self.newest()?.get(&(host, *key)) {
            return Ok(Some(n));
        }
        self.one("SELECT n FROM seen WHERE host = ?1 AND key = ?2", params![host, key], |row| num(row, 0))
    }

    /// Tells for every one of these keys that is taken which it is, and the URL's number. Cheapest when the
    /// keys are sorted.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn each_seen(&self, keys: &[(HostNo, UrlKey)], mut told: impl FnMut(usize, UrlNo)) -> Result<(), StoreError> {
        let mut rest = Vec::with_capacity(keys.len());
        let newest = self.newest()?;
        for (i, key) in keys.iter().enumerate() {
            match newest.get(key) {
                Some(n) => told(i, n),
                None => rest.push((i, key)),
            }
        }
        let (connection, path) = self.asked();
        let mut run = || {
            for rest in rest.chunks(TOGETHER) {
                let mut statement = connection.prepare_cached(&ASK)?;
                let given = rest.iter().flat_map(|(_, (host, key))| [Asked::Host(*host), Asked::Key(key)]);
                let values = given.chain(std::iter::repeat_with(|| Asked::Nothing)).take(2 * TOGETHER);
                let mut rows = statement.query(params_from_iter(values))?;
                while let Some(row) = rows.next()? {
                    told(rest[num(row, 0)? as usize].0, num(row, 1)?);
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
    use crate::store::reader::Reader;
    use crate::store::rows::UrlRow;
    use crate::store::schema::UrlState;

    fn row(n: UrlNo) -> UrlRow {
        UrlRow {
            n,
            host: key(n).0,
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

    fn key(n: u64) -> (HostNo, UrlKey) {
        ((n % 5) as HostNo, key_of(&format!("/{n}")))
    }

    /// Adds these in one group; every third key is not there.
    fn add(writer: &Writer, numbers: impl IntoIterator<Item = UrlNo>) {
        writer.begin().unwrap();
        for n in numbers.into_iter().filter(|n| n % 3 != 0) {
            assert_eq!(writer.seen(key(n).0, &key(n).1).unwrap(), None);
            writer.add_url(&row(n), &key(n).1).unwrap();
        }
        writer.fold_keys().unwrap();
    }

    /// Asks for the first so many keys; those up to `last` were added.
    #[track_caller]
    fn check(writer: &Writer, count: usize, last: UrlNo) {
        let mut numbers: Vec<_> = (1..=count as u64).collect();
        numbers.sort_unstable_by_key(|n| key(*n));
        let keys: Vec<_> = numbers.iter().map(|n| key(*n)).collect();
        let mut found = vec![None; keys.len()];
        writer.each_seen(&keys, |i, n| found[i] = Some(n)).unwrap();
        for (n, found) in numbers.iter().zip(found) {
            assert_eq!(found, Some(*n).filter(|n| n % 3 != 0 && *n <= last), "{n} among {count}");
            assert_eq!(found, writer.seen(key(*n).0, &key(*n).1).unwrap(), "{n} alone");
        }
    }

    #[test]
    fn keys_are_found_wherever_they_are_on_their_way() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("frontier.db");
        let open = |create| Writer::new(db::open_writer(&path, 1 << 20, create).unwrap(), &path);
        let folded = |writer: &Writer| writer.one("SELECT count(*) FROM seen", [], |row| num(row, 0)).unwrap().unwrap();
        let mut writer = open(true);
        for n in 1..=400 {
            add(&writer, [n]);
            writer.commit().unwrap();
            if n % 50 == 0 {
                check(&writer, n as usize, n);
                check(&writer, TOGETHER, n);
                check(&writer, TOGETHER + 1, n);
            }
            if n % 7 == 0 {
                // Whatever was on its way is found again.
                writer = open(false);
                check(&writer, 400, n);
            }
        }
        assert!(folded(&writer) > 200, "{}", folded(&writer));
        let before = folded(&writer);
        add(&writer, 401..500);
        assert!(folded(&writer) > before);
        check(&writer, 500, 499);
        writer.roll_back().unwrap();
        assert_eq!(folded(&writer), before);
        check(&writer, 500, 400);
        let reader = Reader::open(&path).unwrap();
        assert_eq!(reader.complaint(true).unwrap(), None);
        db::tamper(&path, "DELETE FROM seen WHERE n = 7");
        assert_eq!(reader.complaint(true).unwrap().as_deref(), Some("URL 7 is not in the seen-set"));
        db::tamper(&path, "INSERT INTO seen SELECT host, key, 8 FROM urls WHERE n = 7");
        assert_eq!(reader.complaint(true).unwrap().as_deref(), Some("URL 8 is something else in the seen-set"));
    }

    #[test]
    fn keys_are_looked_up_by_their_order() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("frontier.db");
        let connection = db::open_writer(&path, 1 << 20, true).unwrap();
        let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", *ASK)).unwrap();
        let nulls = std::iter::repeat_n(None::<i64>, 2 * TOGETHER);
        let steps = plan.query_map(params_from_iter(nulls), |row| row.get::<_, String>(3)).unwrap();
        let steps: Vec<String> = steps.map(Result::unwrap).collect();
        assert!(
            steps.iter().any(|step| step.contains("SEARCH seen USING PRIMARY KEY (host=? AND key=?)")),
            "{steps:?}"
        );
    }
}
