//! SQLite: the truth about a session's URLs, and the registry of sessions.
