//! Promises of the governor.
