//! Which formats are read, and how older ones are brought up to date.

use std::path::Path;

use rusqlite::Connection;

use crate::store::error::StoreError;
use crate::store::schema::{APPLICATION_ID, CREATE, FORMAT, INDEXES};

/// Steps from each older format to the next; `STEPS[0]` leads from 1 to 2.
const STEPS: &[&str] = &[];

/// The format of a store, once it is known to be one of ours.
///
/// # Errors
/// `Corrupt` for another application's file, `TooNew`, and what SQLite says.
pub fn check(connection: &Connection, path: &Path) -> Result<i64, StoreError> {
    let sort = |e| StoreError::sort(path, &e);
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(sort)?;
    let format: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(sort)?;
    if application != APPLICATION_ID || format < 1 {
        let message = format!("not a session's store (application id {application:#x}, format {format})");
        return Err(StoreError::Corrupt { path: path.to_owned(), message });
    }
    if format > FORMAT {
        return Err(StoreError::TooNew { path: path.to_owned(), found: format, known: FORMAT });
    }
    Ok(format)
}

/// Makes an empty store of the newest format; all or nothing.
///
/// # Errors
/// What SQLite says.
pub fn create(connection: &Connection, path: &Path, indexes: bool) -> Result<(), StoreError> {
    let indexes = if indexes { INDEXES } else { "" };
    let sql = format!(
        "BEGIN IMMEDIATE; {CREATE} {indexes} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT}; COMMIT;"
    );
    connection.execute_batch(&sql).map_err(|e| StoreError::sort(path, &e))
}

/// Brings a store up to the newest format, a step a transaction.
///
/// # Errors
/// As for `check`.
pub fn upgrade(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let format = check(connection, path)?;
    for (from, step) in (1..).zip(STEPS).skip_while(|(from, _)| *from < format) {
        let sql = format!("BEGIN IMMEDIATE; {step} PRAGMA user_version = {}; COMMIT;", from + 1);
        connection.execute_batch(&sql).map_err(|e| StoreError::sort(path, &e))?;
    }
    Ok(())
}
