//! How a store's connection is asked: prepared once, and every error with its place.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Params, Row};

use crate::store::error::StoreError;

/// What readers and the writer share.
pub(super) trait Ask {
    /// The connection, and the file that errors name.
    fn asked(&self) -> (&Connection, &Path);

    /// The first row, if there is one.
    fn one<T>(
        &self,
        sql: &str,
        values: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        let (connection, path) = self.asked();
        let run = || connection.prepare_cached(sql)?.query_row(values, read).optional();
        run().map_err(|e| StoreError::sort(path, &e))
    }

    /// All rows.
    fn many<T>(
        &self,
        sql: &str,
        values: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let (connection, path) = self.asked();
        let run = || connection.prepare_cached(sql)?.query_map(values, read)?.collect::<rusqlite::Result<Vec<T>>>();
        run().map_err(|e| StoreError::sort(path, &e))
    }
}
