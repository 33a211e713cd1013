//! Append-only outputs with committed lengths, and files named by commits: files only, no knowledge of the store.

pub mod compress;
pub mod cut;
pub mod files;
pub mod lines;
pub mod segments;
pub mod since;
pub mod sink;

use std::io;
use std::path::{Path, PathBuf};

pub use segments::Kind;
pub use sink::Sink;

/// Why an output could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The file system is full, or a quota is. What was committed is untouched.
    #[error("{step} `{path}`: {source}")]
    NoSpace {
        /// What was being done.
        step: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Anything else; the sink accepts nothing more.
    #[error("{step} `{path}`: {source}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl OutputError {
    /// Tells a full disk from a failing one.
    pub fn at(step: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        if no_space(&source) {
            OutputError::NoSpace { step, path, source }
        } else {
            OutputError::Io { step, path, source }
        }
    }

    /// Whether freeing space would cure it.
    pub fn is_no_space(&self) -> bool {
        matches!(self, OutputError::NoSpace { .. })
    }
}

/// Whether freeing space would cure this error.
pub fn no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Makes names in a directory durable.
///
/// # Errors
/// What the system says.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), OutputError> {
    std::fs::File::open(dir).and_then(|d| d.sync_all()).map_err(|e| OutputError::at("sync directory", dir, e))
}
