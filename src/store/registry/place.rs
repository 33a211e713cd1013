//! The registry's file: what lies in its place, and moving a damaged one aside.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::store::registry::RegistryError;

/// `None`: not there; `Some(true)`: a regular file of one name; `Some(false)`: something else.
pub(super) fn kind(path: &Path) -> Result<Option<bool>, RegistryError> {
    match fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(meta.is_file() && meta.nlink() == 1)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(RegistryError::Io { path: path.to_owned(), source }),
    }
}

pub(super) fn damaged(error: &RegistryError) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, Unknown};
    // `Unknown` is SQLITE_ERROR: a table that should be there is not.
    matches!(error, RegistryError::Sql { source: rusqlite::Error::SqliteFailure(code, _), .. }
        if matches!(code.code, DatabaseCorrupt | NotADatabase | Unknown))
}

/// The path of a file that SQLite keeps beside the registry.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Moves a registry into `quarantine`, its log first: a log that stayed behind would be folded into its successor.
pub(super) fn move_aside(path: &Path, quarantine: &Path) -> Result<PathBuf, RegistryError> {
    let at = |source| RegistryError::Io { path: path.to_owned(), source };
    match fs::DirBuilder::new().mode(0o700).create(quarantine) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(at(error)),
        _ => {}
    }
    let plain = quarantine.join(path.file_name().unwrap_or_default());
    let to = |n: u32| beside(&plain, &format!(".damaged-{n}"));
    let n = (1..=u32::MAX).find(|n| fs::symlink_metadata(to(*n)).is_err()).unwrap_or(0);
    for suffix in ["-shm", "-wal"] {
        match fs::rename(beside(path, suffix), beside(&to(n), suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(error)),
            _ => {}
        }
    }
    fs::rename(path, to(n)).map_err(at)?;
    Ok(to(n))
}
