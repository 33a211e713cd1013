//! The seen-set: which URL stands behind a host and a hash.

use std::fmt::Write as _;
use std::sync::LazyLock;

use rusqlite::{params, params_from_iter};

use crate::model::ids::{HostNo, UrlNo};
use crate::store::ask::Ask;
use crate::store::error::StoreError;
use crate::store::reader::num;
use crate::store::writer::Writer;

/// Keys that one statement asks for: enough to make the statement's own cost small beside theirs.
const TOGETHER: usize = 64;

/// A key's place among those asked, number and path. The cross join keeps the order: keys outside, a
/// search of the index for each. A key of NULLs, which fills the last statement up, finds nothing.
static ASK: LazyLock<String> = LazyLock::new(|| {
    let mut sql = String::from("WITH asked(i, h, k) AS (VALUES ");
    for i in 0..TOGETHER {
        let comma = if i == 0 { "" } else { ", " };
        write!(sql, "{comma}({i}, ?{}, ?{})", 2 * i + 1, 2 * i + 2).expect("a string takes all");
    }
    sql.push_str(") SELECT i, n, path FROM asked CROSS JOIN urls ON urls.host = asked.h AND urls.hash = asked.k");
    sql
});

impl Writer {
    /// Number of the URL with this key, and whether it has this path.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn seen(&self, host: HostNo, hash: u64, path: &str) -> Result<Option<(UrlNo, bool)>, StoreError> {
        let sql = "SELECT n, path = ?3 FROM urls WHERE host = ?1 AND hash = ?2";
        self.one(sql, params![host, hash as i64, path], |row| Ok((num(row, 0)?, row.get(1)?)))
    }

    /// Tells for every one of these keys that is taken which it is, the URL's number and its path. Cheapest
    /// when the keys are sorted.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn each_seen(
        &self,
        keys: &[(HostNo, u64)],
        mut told: impl FnMut(usize, UrlNo, &str),
    ) -> Result<(), StoreError> {
        let (connection, path) = self.asked();
        let mut run = || {
            for (first, keys) in (0..).step_by(TOGETHER).zip(keys.chunks(TOGETHER)) {
                let mut statement = connection.prepare_cached(&ASK)?;
                let given = keys.iter().flat_map(|&(host, hash)| [Some(i64::from(host)), Some(hash as i64)]);
                let values = given.chain(std::iter::repeat(None)).take(2 * TOGETHER);
                let mut rows = statement.query(params_from_iter(values))?;
                while let Some(row) = rows.next()? {
                    let i = num(row, 0)? as usize;
                    told(first + i, num(row, 1)?, row.get_ref(2)?.as_str()?);
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
    use crate::store::db;
    use crate::store::rows::UrlRow;
    use crate::store::schema::UrlState;

    fn row(n: UrlNo, host: HostNo, hash: u64) -> UrlRow {
        UrlRow {
            n,
            host,
            hash,
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
        // Hashes on both sides of what a signed number holds; every third key is not there.
        let key = |n: u64| ((n % 5) as HostNo, n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        for n in (1..=400).filter(|n| n % 3 != 0) {
            writer.add_url(&row(n, key(n).0, key(n).1)).unwrap();
        }
        for count in [0, 1, TOGETHER, TOGETHER + 1, 400] {
            let mut keys: Vec<_> = (1..=count as u64).map(key).collect();
            keys.sort_unstable();
            let mut found = vec![None; keys.len()];
            writer.each_seen(&keys, |i, n, path| found[i] = Some((n, path.to_owned()))).unwrap();
            for (&(host, hash), found) in keys.iter().zip(found) {
                let alone = writer.seen(host, hash, found.as_ref().map_or("", |(_, path)| path)).unwrap();
                assert_eq!(found.map(|(n, _)| (n, true)), alone, "{host} {hash:x} among {count}");
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
        assert!(steps.iter().any(|step| step.contains("urls_seen (host=? AND hash=?)")), "{steps:?}");
    }
}
