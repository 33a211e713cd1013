//! The keys of the newest URLs, which the table of the seen-set has not got yet.

use std::cell::RefMut;

use rusqlite::params;

use crate::model::ids::{HostNo, UrlNo};
use crate::model::quick::QuickMap;
use crate::model::url::UrlKey;
use crate::store::ask::Ask;
use crate::store::error::StoreError;
use crate::store::reader::num;
use crate::store::writer::Writer;

/// Where the tests kill it a small crawl passes several rounds, of several commits each.
const SMALL: bool = cfg!(any(test, feature = "failpoints"));
/// Keys of a round at least, whatever the page cache.
const FEWEST: usize = if SMALL { 16 } else { 1_024 };
/// Keys that go into the table with a commit besides as many as came with it.
const EXTRA: usize = if SMALL { 3 } else { 16 };

/// What identifies a URL.
type Key = (HostNo, UrlKey);

/// Keys come in no order: a table that took each as it comes would have a page written for nearly every one. So
/// they are kept here and go into the table in rounds, a few with every commit, in their order: neighbours share
/// a page. The rows of the URLs have them too, so that nothing but a number has to be stored to find them again.
#[derive(Debug)]
pub(super) struct Newest {
    numbers: QuickMap<Key, UrlNo>,
    /// What is on its way into the table, the next one last.
    round: Vec<(Key, UrlNo)>,
    /// The newest URL of the round.
    upto: UrlNo,
    /// The newest URL of all.
    last: UrlNo,
    /// Keys that came since the last commit.
    came: usize,
    /// Keys that make a round. Twice as many are here at most, about 40 bytes each.
    enough: usize,
}

impl Newest {
    /// Takes the key of a URL that has just been added.
    pub(super) fn add(&mut self, key: Key, n: UrlNo) {
        self.numbers.insert(key, n);
        self.last = self.last.max(n);
        self.came += 1;
    }

    /// The number of the URL with this key, if it is here.
    pub(super) fn get(&self, key: &Key) -> Option<UrlNo> {
        self.numbers.get(key).copied()
    }
}

impl Writer {
    /// What was added since the last whole round, read from the rows when it is not known.
    pub(super) fn newest(&self) -> Result<RefMut<'_, Newest>, StoreError> {
        let mut known = self.newest.borrow_mut();
        if known.is_none() {
            *known = Some(self.read_newest()?);
        }
        Ok(RefMut::map(known, |known| known.as_mut().expect("read above")))
    }

    fn read_newest(&self) -> Result<Newest, StoreError> {
        // A key for each KiB of the page cache, which is told in KiB where it is below zero, as ours is.
        let cache = self.one("PRAGMA cache_size", [], |row| row.get::<_, i64>(0))?.unwrap_or_default();
        let enough = usize::try_from(cache.unsigned_abs()).unwrap_or(FEWEST);
        let enough = if SMALL { FEWEST } else { enough.max(FEWEST) };
        let sql = "SELECT n, host, key FROM urls WHERE n > (SELECT n FROM seen_upto)";
        let rows = self.many(sql, [], |row| Ok(((row.get(1)?, row.get(2)?), num(row, 0)?)))?;
        let last = rows.iter().map(|(_, n)| *n).max().unwrap_or(0);
        Ok(Newest { numbers: rows.into_iter().collect(), round: Vec::new(), upto: 0, last, came: 0, enough })
    }

    /// Brings some of the newest keys into the table, a few more than came since the last call. Before each commit.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn fold_keys(&self) -> Result<(), StoreError> {
        let mut newest = self.newest.borrow_mut();
        let Some(newest) = newest.as_mut() else { return Ok(()) };
        let count = std::mem::take(&mut newest.came) + EXTRA;
        if newest.round.is_empty() {
            if newest.numbers.len() < newest.enough {
                return Ok(());
            }
            newest.upto = newest.last;
            newest.round = newest.numbers.iter().map(|(key, n)| (*key, *n)).collect();
            newest.round.sort_unstable_by(|a, b| b.cmp(a));
        }
        // A round that was cut short by a crash is begun again from its first key.
        let sql = "INSERT OR IGNORE INTO seen VALUES(?1, ?2, ?3)";
        for (key, n) in newest.round.drain(newest.round.len().saturating_sub(count)..).rev() {
            self.execute(sql, params![key.0, key.1, n as i64])?;
            newest.numbers.remove(&key);
        }
        if newest.round.is_empty() {
            self.execute("UPDATE seen_upto SET n = ?1", [newest.upto as i64])?;
        }
        Ok(())
    }
}
