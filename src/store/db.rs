//! Connections to a session's store, each with the settings its job needs.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::hooks::Wal;
use rusqlite::{Connection, OpenFlags};

use crate::store::error::StoreError;
use crate::store::migrate;

/// How long a statement waits for another connection of this process.
const BUSY: Duration = Duration::from_secs(5);
/// Space that a log which was folded in keeps for the next commits, in bytes.
pub const LOG_KEPT: u32 = 64 << 20;
/// Bytes of a page in the log: the page and the frame around it.
const LOGGED_PAGE: u64 = 4096 + 24;
/// Prepared statements that a connection keeps.
const STATEMENTS: usize = 96;

/// Opens the store for its writer, which must hold the session's lock; `create` makes it first.
///
/// # Errors
/// `Missing`, `Corrupt`, `TooNew`, and what the system says.
pub fn open_writer(path: &Path, cache_bytes: u64, create: bool) -> Result<Connection, StoreError> {
    if create {
        // SQLite would make it readable for everybody.
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|e| StoreError::system(path, &e))?;
    } else {
        exists(path)?;
        migrate::upgrade(path)?;
    }
    let sort = |e| StoreError::sort(path, &e);
    let connection = Connection::open_with_flags(path, flags(false)).map_err(sort)?;
    prepare(&connection, path, cache_bytes)?;
    if create {
        connection.pragma_update(None, "page_size", 4096).map_err(sort)?;
    } else {
        migrate::check(&connection, path)?;
    }
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)).map_err(sort)?;
    if !mode.eq_ignore_ascii_case("wal") {
        let message = format!("the file system supports no write-ahead log (journal mode stays {mode})");
        return Err(StoreError::Io { path: path.to_owned(), message });
    }
    connection.pragma_update(None, "synchronous", "FULL").map_err(sort)?;
    connection.pragma_update(None, "wal_autocheckpoint", 0).map_err(sort)?;
    // A log that begins anew overwrites what it has: growing a file costs more than filling it.
    connection.pragma_update(None, "journal_size_limit", LOG_KEPT).map_err(sort)?;
    if create {
        migrate::create(&connection, path, true)?;
    }
    Ok(connection)
}

/// Opens the store for reading. Changes nothing: no folding in of the log, not even by the last to close.
///
/// # Errors
/// `Missing`, `Corrupt`, `TooNew`, and what the system says.
pub fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    exists(path)?;
    let sort = |e| StoreError::sort(path, &e);
    let connection = Connection::open_with_flags(path, flags(true)).map_err(sort)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(sort)?;
    prepare(&connection, path, 4 << 20)?;
    migrate::check(&connection, path)?;
    Ok(connection)
}

/// Opens the store of a session that nobody runs, for reading. Not one byte on the disk changes: not even
/// the index of the log, which an ordinary reader makes or makes anew.
///
/// # Errors
/// As for [`open_reader`].
pub fn open_at_rest(path: &Path) -> Result<Connection, StoreError> {
    exists(path)?;
    let sort = |e| StoreError::sort(path, &e);
    let connection = if log_bytes(path) == 0 {
        let uri = format!("file:{}?immutable=1", uri_path(path));
        Connection::open_with_flags(uri, flags(true) | OpenFlags::SQLITE_OPEN_URI).map_err(sort)?
    } else {
        // With the store to itself SQLite keeps the log's index in memory; that takes the right to write.
        let connection = Connection::open_with_flags(path, flags(false)).map_err(sort)?;
        connection.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(())).map_err(sort)?;
        connection
    };
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(sort)?;
    connection.pragma_update(None, "query_only", true).map_err(sort)?;
    prepare(&connection, path, 4 << 20)?;
    migrate::check(&connection, path)?;
    Ok(connection)
}

/// The path as it may stand in a URI.
fn uri_path(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
    let bytes = path.as_os_str().as_bytes().iter();
    bytes.map(|&byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Opens a fresh store without any durability, to be filled, synced and renamed. A leftover is removed.
///
/// # Errors
/// What the system says.
pub fn open_scratch(path: &Path) -> Result<Connection, StoreError> {
    for leftover in [path.to_owned(), beside(path, "-journal"), beside(path, "-wal"), beside(path, "-shm")] {
        match std::fs::remove_file(&leftover) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::system(&leftover, &error));
            }
            _ => {}
        }
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|e| StoreError::system(path, &e))?;
    let sort = |e| StoreError::sort(path, &e);
    let connection = Connection::open_with_flags(path, flags(false)).map_err(sort)?;
    prepare(&connection, path, 64 << 20)?;
    connection.pragma_update(None, "page_size", 4096).map_err(sort)?;
    connection.pragma_update_and_check(None, "journal_mode", "OFF", |_| Ok(())).map_err(sort)?;
    connection.pragma_update(None, "synchronous", "OFF").map_err(sort)?;
    migrate::create(&connection, path, false)?;
    Ok(connection)
}

/// Folds what it can of the log into the store without waiting for anybody. Answers whether all of it
/// was folded in, so that the next commit starts the log anew.
///
/// # Errors
/// What SQLite says.
pub fn checkpoint(connection: &Connection, path: &Path, truncate: bool) -> Result<bool, StoreError> {
    let point = |name| crate::faults::point(name).map_err(|e| StoreError::system(path, &e));
    point("store.before_wal_checkpoint")?;
    let sql = if truncate { "PRAGMA wal_checkpoint(TRUNCATE)" } else { "PRAGMA wal_checkpoint(PASSIVE)" };
    let whole = connection
        .query_row(sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)))
        .map(|(busy, log, done)| busy == 0 && log == done)
        .map_err(|e| StoreError::sort(path, &e))?;
    point("store.after_wal_checkpoint")?;
    Ok(whole)
}

/// Size of the log's file in bytes, which may be more than it holds; 0 when there is none.
pub fn log_bytes(path: &Path) -> u64 {
    std::fs::metadata(beside(path, "-wal")).map_or(0, |meta| meta.len())
}

/// Keeps account of how much the log holds, in bytes; its file keeps its size. Right after the first commit;
/// until then it is what the file could hold.
///
/// # Errors
/// What SQLite says.
pub fn watch_log(connection: &mut Connection, path: &Path) -> Result<Arc<AtomicU64>, StoreError> {
    let held = Arc::new(AtomicU64::new(log_bytes(path)));
    let told = held.clone();
    let hook = move |_: &mut Wal, pages: i32| {
        told.store(u64::try_from(pages).unwrap_or(0) * LOGGED_PAGE, Ordering::Relaxed);
        Ok(())
    };
    connection.wal_hook(Some(hook)).map_err(|e| StoreError::sort(path, &e))?;
    Ok(held)
}

/// The path of a file that SQLite keeps beside the store.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn exists(path: &Path) -> Result<(), StoreError> {
    let meta = std::fs::symlink_metadata(path).map_err(|e| StoreError::system(path, &e))?;
    if meta.is_file() {
        return Ok(());
    }
    Err(StoreError::Corrupt { path: path.to_owned(), message: "not a regular file".to_owned() })
}

pub(super) fn flags(read_only: bool) -> OpenFlags {
    let access = if read_only { OpenFlags::SQLITE_OPEN_READ_ONLY } else { OpenFlags::SQLITE_OPEN_READ_WRITE };
    access | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

fn prepare(connection: &Connection, path: &Path, cache_bytes: u64) -> Result<(), StoreError> {
    let sort = |e| StoreError::sort(path, &e);
    connection.busy_timeout(BUSY).map_err(sort)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Without it SQLite compiles some statements anew for every value they are asked with.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(sort)?;
    let kib = i64::try_from(cache_bytes / 1024).unwrap_or(i64::MAX).max(1024);
    connection.pragma_update(None, "cache_size", -kib).map_err(sort)?;
    connection.pragma_update(None, "temp_store", "MEMORY").map_err(sort)?;
    // Rows written by another process could name anything in the schema; ours need no functions there.
    connection.pragma_update(None, "trusted_schema", false).map_err(sort)
}

/// Changes a store behind everybody's back.
#[cfg(test)]
pub(crate) fn tamper(path: &Path, sql: &str) {
    Connection::open(path).and_then(|connection| connection.execute_batch(sql)).expect("a test's own statement");
}
