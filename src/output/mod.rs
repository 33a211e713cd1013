//! Append-only outputs with committed lengths.
