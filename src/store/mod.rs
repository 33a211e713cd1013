//! SQLite: the truth about a session's URLs, and the registry of sessions.

pub mod registry;
