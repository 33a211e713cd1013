//! One session: controller, committer, workers.

pub mod announce;
mod auto;
pub mod committer;
pub mod compose;
mod controller;
mod gate;
pub mod governor;
pub mod handle;
mod judge;
mod keep;
mod links;
pub mod load;
pub mod login;
mod net;
pub mod ordered;
pub mod phase;
mod pulse;
pub mod rebuild;
mod scribe;
mod secrets;
pub mod session;
pub mod stats;
pub mod terms;
pub mod totals;
pub mod verify;
mod worker;
