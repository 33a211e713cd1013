//! The registry's file: what lies in its place, and moving a damaged one aside.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
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

pub(super) fn move_aside(path: &Path) -> Result<PathBuf, RegistryError> {
    let at = |source| RegistryError::Io { path: path.to_owned(), source };
    let name = |suffix: &str, n: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!("{suffix}.damaged-{n}"));
        PathBuf::from(name)
    };
    let n = (1..=u32::MAX).find(|n| fs::symlink_metadata(name("", *n)).is_err()).unwrap_or(0);
    let to = name("", n);
    fs::rename(path, &to).map_err(at)?;
    for suffix in ["-wal", "-shm"] {
        let mut journal = path.as_os_str().to_owned();
        journal.push(suffix);
        match fs::rename(&journal, name(suffix, n)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(error)),
            _ => {}
        }
    }
    Ok(to)
}
