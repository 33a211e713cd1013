//! crawld drives headless-browser crawls for hours or weeks and cannot be made to lose them.
//!
//! The modules in reading order; each may use only those before it (`config` and `cli` excepted):
//!
//! | module | what it holds |
//! |---|---|
//! | [`model`] | the words: ids, URL, lease, outcome, record, checkpoint, heartbeat. Plain data |
//! | [`policy`] | every decision as a pure function: scope, robots, delay, retry, health, [`policy::recovery`] |
//! | [`frontier`] | which host may be asked next |
//! | [`store`] | SQLite: the truth about a session's URLs, and the registry of sessions |
//! | [`state`] | the small files that must survive: locks, checkpoint, heartbeat, task |
//! | [`browser`] | Chromium: launched, watched, reaped |
//! | [`extract`], [`fetch`] | what a page holds; plain HTTP, robots.txt, sitemaps |
//! | [`egress`] | the proxy between browser and network |
//! | [`output`] | append-only files with committed lengths |
//! | [`crawl`] | one session: controller, workers, committer, rebuild, verify |
//! | [`daemon`] | the process: start-up, recovery, supervision, commands |
//! | [`api`] | HTTP/JSON on the Unix socket |
//! | [`config`], [`cli`] | what the operator set and said |
//!
//! A program that looks after a state directory needs only four calls: [`list_recoverable_sessions`],
//! [`recover_session`], [`create_session_checkpoint`] and [`cleanup_old_sessions`].

pub mod model;

pub mod policy;

pub mod frontier;

pub mod store;

pub mod state;

pub mod browser;

pub mod extract;

pub mod fetch;

pub mod egress;

pub mod output;

pub mod crawl;

pub mod daemon;

pub mod api;

pub mod config;

pub mod cli;

pub mod clock;
pub mod exit_code;
pub mod faults;
pub mod lock;
pub mod telemetry;

pub use daemon::library::{
    StateError, cleanup_old_sessions, create_session_checkpoint, list_recoverable_sessions, recover_session,
};
