//! What can go wrong with a store, told apart by what helps.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// Why a store could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system is full; what was committed is untouched.
    #[error("{path}: {message}")]
    Full {
        /// The store.
        path: PathBuf,
        /// What SQLite said.
        message: String,
    },
    /// The system refused or failed: permission, I/O error, descriptors, busy.
    #[error("{path}: {message}")]
    Io {
        /// The store.
        path: PathBuf,
        /// What SQLite said.
        message: String,
    },
    /// Not a database, not one of ours, or one that contradicts itself.
    #[error("{path}: {message}")]
    Corrupt {
        /// The store.
        path: PathBuf,
        /// What was found.
        message: String,
    },
    /// There is no store.
    #[error("{path}: there is no store")]
    Missing {
        /// Where one was expected.
        path: PathBuf,
    },
    /// Written by a newer version.
    #[error("{path}: format {found} is newer than {known}, the newest that this version reads")]
    TooNew {
        /// The store.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest known here.
        known: i64,
    },
    /// A statement is wrong, or an invariant broke.
    #[error("{path}: {message}")]
    Bug {
        /// The store.
        path: PathBuf,
        /// What SQLite said.
        message: String,
    },
}

impl StoreError {
    /// Sorts an error of SQLite.
    pub fn sort(path: &Path, error: &rusqlite::Error) -> Self {
        let path = path.to_owned();
        let message = error.to_string();
        let Some(code) = error.sqlite_error_code() else {
            return match error {
                // A value of an unexpected type or a missing row: the file does not hold what it should.
                rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::QueryReturnedNoRows => StoreError::Corrupt { path, message },
                _ => StoreError::Bug { path, message },
            };
        };
        match code {
            ErrorCode::DiskFull => StoreError::Full { path, message },
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => StoreError::Corrupt { path, message },
            ErrorCode::SystemIoFailure if shared_memory_full(error) => StoreError::Full { path, message },
            ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::OutOfMemory => StoreError::Io { path, message },
            // "no such table": a store of ours always has its tables.
            _ if message.contains("no such") => StoreError::Corrupt { path, message },
            _ => StoreError::Bug { path, message },
        }
    }

    /// Sorts an error of the system met at the store's file.
    pub fn system(path: &Path, error: &std::io::Error) -> Self {
        let (path, message) = (path.to_owned(), error.to_string());
        match error.kind() {
            std::io::ErrorKind::NotFound => StoreError::Missing { path },
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => StoreError::Full { path, message },
            _ => StoreError::Io { path, message },
        }
    }
}

/// The log's index could not grow: the file system is full.
fn shared_memory_full(error: &rusqlite::Error) -> bool {
    let rusqlite::Error::SqliteFailure(code, _) = error else { return false };
    code.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
}
