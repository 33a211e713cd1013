//! SQLite: the truth about a session's URLs, and the registry of sessions.

mod ask;
pub mod bulk;
pub mod db;
pub mod error;
pub mod listing;
pub mod migrate;
mod newest;
pub mod reader;
pub mod registry;
pub mod rows;
pub mod schema;
mod seen;
pub mod writer;

pub use error::StoreError;
