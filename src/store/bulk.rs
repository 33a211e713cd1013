//! The last steps of a rebuild: indexes and totals over rows that were written without them.

use crate::model::ids::CommitSeq;
use crate::store::error::StoreError;
use crate::store::schema::INDEXES;
use crate::store::writer::Writer;

/// Totals that the rows do not hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Beside {
    /// Links outside the scope.
    pub out_of_scope: u64,
    /// Links seen in all.
    pub links_seen: u64,
    /// Visits made.
    pub visits: u64,
    /// Body bytes.
    pub bytes: u64,
}

const TOTALS: &str = "
CREATE TEMP TABLE per_host AS SELECT host, sum(state = 0) q, sum(state = 1) s, sum(state = 3) p, count(*) d FROM urls GROUP BY host;
UPDATE hosts SET queued = q, suspects = s, delayed = 0, parked = p, discovered = d FROM per_host WHERE host = no;
DROP TABLE per_host;
DELETE FROM tallies;
INSERT INTO tallies SELECT CASE state WHEN 3 THEN 'parked' WHEN 5 THEN 'failed' ELSE 'skipped' END, detail, count(*)
  FROM urls WHERE state IN (3, 5, 6) AND detail IS NOT NULL GROUP BY state, detail;
INSERT INTO tallies SELECT 'sitemaps', 'discovered', count(*) FROM urls WHERE kind = 1;
INSERT INTO tallies SELECT 'sitemaps', 'ended', count(*) FROM urls WHERE kind = 1 AND state >= 4;
INSERT INTO tallies SELECT 'sitemaps', 'fetched', count(*) FROM urls WHERE kind = 1 AND state = 4;
UPDATE counters SET (discovered, queued, in_flight, parked, fetched, failed, skipped) =
  (SELECT count(*), coalesce(sum(state IN (0, 1)), 0), coalesce(sum(state = 2), 0), coalesce(sum(state = 3), 0),
   coalesce(sum(state = 4), 0), coalesce(sum(state = 5), 0), coalesce(sum(state = 6), 0) FROM urls);
";

/// Of URLs that stand twice in the outputs the first is the one that is found.
const SEEN: &str = "
INSERT OR IGNORE INTO seen SELECT host, key, n FROM urls ORDER BY host, key, n;
UPDATE seen_upto SET n = (SELECT coalesce(max(n), 0) FROM urls);
";

/// Fills the seen-set and builds the indexes, then works every count out from the rows.
///
/// # Errors
/// What SQLite says.
pub fn finish(writer: &Writer, seq: CommitSeq, beside: Beside) -> Result<(), StoreError> {
    let connection = writer.connection();
    let sort = |e| StoreError::sort(writer.path(), &e);
    connection.execute_batch(SEEN).and_then(|()| connection.execute_batch(INDEXES)).map_err(sort)?;
    connection.execute_batch(TOTALS).map_err(sort)?;
    let (_, mut counters) = writer.counters()?;
    counters.out_of_scope = beside.out_of_scope;
    counters.links_seen = beside.links_seen;
    counters.visits = beside.visits;
    counters.bytes = beside.bytes;
    writer.save_counters(seq, &counters)
}

/// Closes a filled scratch store; its bytes are on the disk afterwards.
///
/// # Errors
/// What SQLite or the system says.
pub fn close(writer: Writer) -> Result<(), StoreError> {
    let path = writer.path().to_owned();
    writer.into_connection().close().map_err(|(_, e)| StoreError::sort(&path, &e))?;
    std::fs::File::open(&path).and_then(|file| file.sync_all()).map_err(|e| StoreError::system(&path, &e))
}
