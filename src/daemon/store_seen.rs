//! What the store of a session nobody runs tells about itself.

use std::path::Path;

use crate::crawl::committer::{META_ACTIVE_MS, META_PAUSED};
use crate::model::checkpoint::OutputFile;
use crate::model::counters::Counters;
use crate::model::ids::Epoch;
use crate::model::time::Timestamp;
use crate::policy::recovery::StoreState;
use crate::state::atomic_file::{Content, judge, open_regular};
use crate::state::paths::SessionPaths;
use crate::store::reader::Reader;
use crate::store::rows::EpochEntry;
use crate::store::schema::{FORMAT, META_CLEAN, META_MIGRATED};
use crate::store::{StoreError, migrate};

/// A store up to this size is always checked; a larger one only after a changed boot, because a death
/// of the process alone damages no page, and large files are not read at start.
const QUICK_MAX: u64 = 64 << 20;

/// What was seen of a store.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StoreSeen {
    /// Missing, damaged or good.
    pub state: StoreState,
    /// What is damaged, in words.
    pub damage: Option<String>,
    /// Why it could not be looked at, for a reason outside it.
    pub refused: Option<String>,
    /// Written by a newer crawld.
    pub too_new: bool,
    /// Written by an older crawld; it will be migrated.
    pub older: bool,
    /// The lifetime that wrote it last, and when that committed its first lease.
    pub epoch: Option<(Epoch, Option<Timestamp>)>,
    /// Every lifetime, oldest first.
    pub epochs: Vec<EpochEntry>,
    /// Committed totals.
    pub counters: Option<Counters>,
    /// Whether the last lifetime closed everything.
    pub clean: Option<bool>,
    /// Whether the operator has paused the session.
    pub paused: Option<bool>,
    /// It was exported, and lives elsewhere.
    pub migrated: bool,
    /// Active time over all epochs, in milliseconds.
    pub active_ms: u64,
    /// Output files as committed.
    pub outputs: Vec<OutputFile>,
}

impl StoreSeen {
    /// In words.
    pub fn describe(&self) -> String {
        if self.too_new {
            return "written by a newer crawld".to_owned();
        }
        match (self.state, &self.damage, &self.refused) {
            (_, _, Some(why)) => format!("cannot be read: {why}"),
            (StoreState::Missing, ..) => "missing".to_owned(),
            (StoreState::Damaged, why, _) => format!("damaged: {}", why.as_deref().unwrap_or("fails its check")),
            (StoreState::Good(commit), ..) => format!("good, commit {commit}"),
        }
    }

    fn damaged(why: String) -> Self {
        StoreSeen { state: StoreState::Damaged, damage: Some(why), ..StoreSeen::default() }
    }
}

/// Looks at a session's store without changing it; `rebooted` checks every page of it.
pub fn look(paths: &SessionPaths, rebooted: bool) -> StoreSeen {
    let path = paths.store();
    let length = match peek(&path) {
        Ok(length) => length,
        Err(seen) => return *seen,
    };
    // Only a store in the making has one, before it is switched to a log; without writing, SQLite cannot open it.
    if std::fs::metadata(crate::store::db::beside(&path, "-journal")).is_ok_and(|meta| meta.len() > 0) {
        return StoreSeen::damaged("its making was interrupted".to_owned());
    }
    let read = || {
        let reader = Reader::at_rest(&path)?;
        if reader.format()? < FORMAT {
            drop(reader);
            return older(&path, rebooted, length);
        }
        reader.snapshot(|reader| seen(reader, rebooted, length))
    };
    read().unwrap_or_else(sort)
}

/// Judges an older store by a migrated copy outside the state directory.
fn older(path: &Path, rebooted: bool, length: u64) -> Result<StoreSeen, StoreError> {
    let io = |e: std::io::Error| StoreError::Io { path: path.to_owned(), message: format!("no place to look: {e}") };
    let scratch = tempfile::tempdir().map_err(io)?;
    let copy = scratch.path().join("frontier.db");
    migrate::look(path, &copy)?;
    let seen = Reader::at_rest(&copy)?.snapshot(|reader| seen(reader, rebooted, length))?;
    Ok(StoreSeen { older: true, ..seen })
}

/// Whether a newer crawld wrote the store of a session at rest: its first bytes say so, or the log beside it.
pub(super) fn too_new(paths: &SessionPaths) -> bool {
    let path = paths.store();
    let log = crate::store::db::beside(&path, "-wal");
    match peek(&path) {
        Err(seen) => seen.too_new,
        Ok(_) if log.exists() => matches!(Reader::at_rest(&path), Err(StoreError::TooNew { .. })),
        Ok(_) => false,
    }
}

/// The file's length; a newer format is recognised before SQLite opens anything, so that the store
/// stays byte-identical.
fn peek(path: &Path) -> Result<u64, Box<StoreSeen>> {
    use std::os::unix::fs::FileExt;
    let mut version = [0; 4];
    let opened = open_regular(path).and_then(|file| {
        let length = file.metadata()?.len();
        // `user_version`, big endian, at offset 60 of the header; see "The SQLite Database File Format".
        if length >= 64 {
            file.read_exact_at(&mut version, 60)?;
        }
        Ok(length)
    });
    match opened {
        Ok(_) if i64::from(i32::from_be_bytes(version)) > FORMAT && is_sqlite(path) => {
            Err(Box::new(StoreSeen { too_new: true, ..StoreSeen::default() }))
        }
        Ok(length) => Ok(length),
        Err(error) => Err(Box::new(match judge(error) {
            Content::Missing => StoreSeen::default(),
            Content::Wrong(why) => StoreSeen::damaged(why),
            Content::Refused(error) => {
                StoreSeen { refused: Some(format!("`{}`: {error}", path.display())), ..StoreSeen::default() }
            }
            Content::Bytes(_) => StoreSeen::default(),
        })),
    }
}

fn is_sqlite(path: &Path) -> bool {
    use std::io::Read;
    let mut head = [0; 16];
    open_regular(path).and_then(|mut file| file.read_exact(&mut head)).is_ok() && head == *b"SQLite format 3\0"
}

fn seen(reader: &Reader, rebooted: bool, length: u64) -> Result<StoreSeen, StoreError> {
    let complaint = if rebooted || length <= QUICK_MAX { reader.complaint(rebooted)? } else { None };
    if let Some(complaint) = complaint {
        return Ok(StoreSeen::damaged(complaint));
    }
    let (commit, counters) = reader.counters()?;
    if !counters.balanced() {
        return Ok(StoreSeen::damaged(format!("its counters do not balance: {counters:?}")));
    }
    let meta = reader.meta()?;
    let epochs = reader.epochs()?;
    Ok(StoreSeen {
        state: StoreState::Good(commit),
        epoch: epochs.last().map(|entry| (entry.epoch, entry.first_lease)),
        epochs,
        counters: Some(counters),
        clean: Some(meta.get(META_CLEAN).is_some_and(|value| value == "1")),
        paused: Some(meta.contains_key(META_PAUSED)),
        migrated: meta.contains_key(META_MIGRATED),
        active_ms: meta.get(META_ACTIVE_MS).and_then(|value| value.parse().ok()).unwrap_or(0),
        outputs: reader.outputs()?.into_iter().map(|row| row.file).collect(),
        ..StoreSeen::default()
    })
}

fn sort(error: StoreError) -> StoreSeen {
    let why = error.to_string();
    match error {
        StoreError::Missing { .. } => StoreSeen::default(),
        StoreError::Corrupt { .. } => StoreSeen::damaged(why),
        StoreError::TooNew { .. } => StoreSeen { too_new: true, ..StoreSeen::default() },
        // A bug says nothing about the store: it is left alone.
        StoreError::Full { .. } | StoreError::Io { .. } | StoreError::Bug { .. } => {
            StoreSeen { refused: Some(why), ..StoreSeen::default() }
        }
    }
}

#[cfg(test)]
#[path = "store_seen_tests.rs"]
mod tests;
