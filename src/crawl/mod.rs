//! One session: controller, committer, workers.

pub mod committer;
pub mod handle;
pub mod phase;
pub mod rebuild;
pub mod stats;
pub mod verify;
