//! What a store tells about itself to somebody who must not change it.

use std::path::Path;

use crate::model::checkpoint::OutputFile;
use crate::model::counters::Counters;
use crate::model::ids::{CommitSeq, UrlNo};
use crate::store::StoreError;
use crate::store::reader::Reader;
use crate::store::rows::EpochEntry;
use crate::store::schema::{FORMAT, META_CLEAN};

use crate::crawl::committer::META_PAUSED;

/// A store that opens and passes its check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreEvidence {
    /// Its format.
    pub format: i64,
    /// Written by an older version: the next opening migrates it.
    pub older: bool,
    /// The last commit.
    pub seq: CommitSeq,
    /// Committed totals.
    pub counters: Counters,
    /// Lifetimes, oldest first.
    pub epochs: Vec<EpochEntry>,
    /// Output files as committed.
    pub outputs: Vec<OutputFile>,
    /// Suspects.
    pub suspects: Vec<UrlNo>,
    /// The last lifetime closed everything.
    pub clean: bool,
    /// The operator paused the session.
    pub paused: bool,
}

impl StoreEvidence {
    /// The newest lifetimes in a row that ended unclean (or not at all) without a commit, oldest first.
    pub fn barren_ends(&self) -> &[EpochEntry] {
        let barren = |e: &&EpochEntry| e.ended.as_deref() != Some("clean") && e.last_seq == e.first_seq;
        let count = self.epochs.iter().rev().take_while(barren).count();
        &self.epochs[self.epochs.len() - count..]
    }
}

/// Looks at a store without changing it; `full` checks every page and index of it.
///
/// # Errors
/// `Missing`; `Corrupt` when it does not open or fails its check; `TooNew`; `Io` and `Full` for what is not
/// its own fault.
pub fn inspect(db: &Path, full: bool) -> Result<StoreEvidence, StoreError> {
    let reader = Reader::open(db)?;
    reader.snapshot(|reader| {
        if let Some(message) = reader.complaint(full)? {
            return Err(StoreError::Corrupt { path: db.to_owned(), message });
        }
        let (seq, counters) = reader.counters()?;
        if !counters.balanced() {
            let message = format!("the counters do not balance: {counters:?}");
            return Err(StoreError::Corrupt { path: db.to_owned(), message });
        }
        let format = reader.format()?;
        let meta = reader.meta()?;
        let set = |key: &str| meta.get(key).is_some_and(|value| value == "1");
        Ok(StoreEvidence {
            format,
            older: format < FORMAT,
            seq,
            counters,
            epochs: reader.epochs()?,
            outputs: reader.outputs()?.into_iter().map(|row| row.file).collect(),
            suspects: reader.suspects()?.into_iter().map(|(n, _)| n).collect(),
            clean: set(META_CLEAN),
            paused: set(META_PAUSED),
        })
    })
}
