//! The process: startup order, supervisor, recovery, janitor, shutdown.

pub mod answers;
pub mod archive;
pub mod command;
pub mod evidence;
pub mod governor;
pub mod janitor;
pub mod library;
pub mod mend;
pub mod mode;
pub mod outputs_seen;
pub mod recover;
pub mod resources;
pub mod store_seen;
