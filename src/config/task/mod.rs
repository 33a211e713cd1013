//! From a task file, a command line or an API body to a task that is checked, normalised and named.

mod attach;
mod conduct;
mod draft;
mod identity;
mod login;
mod prepare;
mod validate;

pub use draft::Draft;
pub use identity::{derive_id, task_hash};
pub use prepare::{load, load_dir, name_private, normalise, prepare};
pub use validate::validate;
