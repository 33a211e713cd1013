//! crawld drives headless-browser crawls for hours or weeks and cannot be made to lose them.

pub mod model;

pub mod policy;

pub mod frontier;

pub mod store;

pub mod state;

pub mod browser;

pub mod fetch;

pub mod extract;

pub mod output;

pub mod crawl;

pub mod daemon;

pub mod api;

pub mod config;

pub mod cli;

pub mod clock;
pub mod exit_code;
pub mod faults;
pub mod telemetry;

pub use daemon::library::{
    cleanup_old_sessions, create_session_checkpoint, list_recoverable_sessions, recover_session,
};
