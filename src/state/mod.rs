//! Small files: paths, atomic replacement, locks, checkpoint and heartbeat.

pub mod atomic_file;
pub mod cgroup;
pub mod checkpoint_file;
pub mod end_note;
pub mod envelope;
pub mod group;
pub mod heartbeat_file;
pub mod inflight;
pub mod last_words;
pub mod lock;
pub mod paths;
pub mod process;
pub mod recovery_file;
pub mod remove;
pub mod task_file;

pub use atomic_file::{Durability, FileError};
pub use envelope::{Envelope, Reading};
pub use lock::{Holder, Lock, LockError};
pub use paths::{SessionPaths, StateDir, StateDirError};
