//! (in work)
use super::{Batch, CommitError, Committed};

pub(super) struct Engine;

pub(super) struct Failure;

impl Failure {
    pub(super) fn is_no_space(&self) -> bool {
        false
    }

    pub(super) fn for_batch(&self, _batch: Box<Batch>) -> CommitError {
        CommitError::Closed
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("in work")
    }
}

impl Engine {
    pub(super) fn commit(&mut self, _batches: &mut [Box<Batch>]) -> Result<Vec<Committed>, Failure> {
        Err(Failure)
    }

    pub(super) fn close(self) -> Result<(), CommitError> {
        Ok(())
    }
}
