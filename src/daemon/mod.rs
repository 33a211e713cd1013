//! The process: startup order, supervisor, recovery, janitor, shutdown.

pub mod answers;
pub mod archive;
mod clock_seen;
pub mod command;
mod departure;
mod desk;
mod desk_recover;
mod desk_tasks;
pub mod evidence;
mod house;
pub mod janitor;
mod last_resort;
pub mod library;
mod machine;
pub mod mend;
pub mod mode;
pub mod outputs_seen;
mod pulse;
mod records;
pub mod recover;
mod repairs;
pub mod resources;
pub mod restart;
mod sampler;
mod serve;
pub mod session_key;
mod signals;
pub mod store_seen;
pub mod summary;
mod supervisor;
mod systemd;
mod webhook;

pub use desk_recover::dry_run;
pub use serve::{ServeApi, run};
