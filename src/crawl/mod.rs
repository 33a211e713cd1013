//! One session: controller, committer, workers.

pub mod committer;
pub mod rebuild;
pub mod verify;
