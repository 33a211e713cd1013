//! What the operator set, and where each value came from.
//!
//! Layers, each over the one before: built-in default, `config/crawld.toml` (or `--config`), the
//! environment (`CRAWLD_…`), flags.

mod check;
mod layers;
mod nearest;
mod settings;
pub mod task;
mod template;
mod value;

pub use check::api_address;

pub use crate::model::problem::Problem;
pub use crate::telemetry::LogFormat;
pub use layers::{ConfigError, DEFAULT_FILE, Flag, Loaded, Origin, Sources, load};
pub use settings::{Config, KEYS, Key};
pub use template::template;

pub(crate) use nearest::nearest;
