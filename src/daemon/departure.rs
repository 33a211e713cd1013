//! That a session lives elsewhere now: said in several places, so that no lost file brings it back to life here.
//!
//! The note (`ended.json`) is written first and is enough; the last checkpoint and the store say it as well. An
//! archive never says it: where it is unpacked the session lives.

use std::path::Path;

use tracing::warn;

use crate::faults::point;
use crate::model::session::{SessionStatus, StopReason};
use crate::model::time::Timestamp;
use crate::state::checkpoint_file::{self, CheckpointWriter};
use crate::state::end_note::{self, EndNote};
use crate::state::paths::SessionPaths;
use crate::state::{FileError, Reading};
use crate::store::StoreError;
use crate::store::db::open_writer;
use crate::store::reader::Reader;
use crate::store::schema::META_MIGRATED;
use crate::store::writer::Writer;

/// One row is written.
const CACHE_BYTES: u64 = 1 << 20;

/// Whether anything here says that the session has left.
pub(super) fn found(paths: &SessionPaths) -> bool {
    let checkpoint = checkpoint_file::read(paths).current;
    let in_store = || Reader::at_rest(&paths.store()).and_then(|reader| reader.meta());
    noted(paths)
        || checkpoint.good().is_some_and(|(c, _)| c.progress_snapshot.status == SessionStatus::Migrated)
        || in_store().is_ok_and(|meta| meta.contains_key(META_MIGRATED))
}

/// Whether the note says so.
pub(super) fn noted(paths: &SessionPaths) -> bool {
    matches!(end_note::read(paths), Reading::Good(note, _) if note.status == SessionStatus::Migrated)
}

/// Marks a session, whose lock is held, as exported to `file`.
///
/// # Errors
/// The note cannot be written. The other marks are worth a warning only.
pub(super) fn mark(paths: &SessionPaths, file: &Path, now: Timestamp) -> Result<(), FileError> {
    let step = |name| point(name).map_err(|e| FileError::at("mark", &paths.ended(), e));
    step("export.before_mark")?;
    let checkpoint = checkpoint_file::read(paths).best().map(|(checkpoint, _)| checkpoint.clone());
    let note = EndNote {
        session_id: paths.id().clone(),
        status: SessionStatus::Migrated,
        at: now,
        counters: checkpoint.as_ref().map(|c| c.progress_snapshot.counters).unwrap_or_default(),
        note: format!("exported to `{}`", file.display()),
    };
    end_note::write(paths, &note)?;
    step("export.after_mark")?;
    if let Some(mut checkpoint) = checkpoint {
        checkpoint.checkpoint_time = now;
        checkpoint.progress_snapshot.status = SessionStatus::Migrated;
        checkpoint.progress_snapshot.stop_reason = Some(StopReason::Exported);
        if let Err(error) = CheckpointWriter::open(paths).write(checkpoint) {
            warn!(session_id = %paths.id(), %error, "its checkpoint does not say that the session was exported");
        }
    }
    if let Err(error) = in_store(paths, true) {
        warn!(session_id = %paths.id(), %error, "its store does not say that the session was exported");
    }
    step("export.after_marks")
}

/// Takes the mark out of the store of a session that is packed once more; note and checkpoint keep it.
///
/// # Errors
/// The store cannot be written.
pub(super) fn unmark(paths: &SessionPaths) -> Result<(), StoreError> {
    in_store(paths, false)
}

fn in_store(paths: &SessionPaths, migrated: bool) -> Result<(), StoreError> {
    let write = || {
        let writer = Writer::new(open_writer(&paths.store(), CACHE_BYTES, false)?, &paths.store());
        writer.begin()?;
        writer.set_meta(META_MIGRATED, migrated.then_some("1"))?;
        writer.commit()
    };
    match write() {
        // Nothing here can come back to life by what cannot be read.
        Err(StoreError::Missing { .. } | StoreError::Corrupt { .. } | StoreError::TooNew { .. }) => Ok(()),
        written => written,
    }
}
