//! One file a command.

pub(super) mod archive;
pub(super) mod cleanup;
pub(super) mod completions;
pub(super) mod config;
pub(super) mod crawl;
pub(super) mod doctor;
pub(super) mod man;
pub(super) mod order;
pub(super) mod recover;
pub(super) mod replay;
pub(super) mod robots;
pub(super) mod run;
pub(super) mod schema;
pub(super) mod sessions;
pub(super) mod stats;
pub(super) mod status;
pub(super) mod submit;
pub(super) mod verify;
pub(super) mod watch;
