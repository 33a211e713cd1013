//! The only importer of chromiumoxide: launcher, pool, tabs, navigation.
//!
//! chromiumoxide serves as protocol types, multiplexed connection and page handle. When a
//! navigation has ended, whether the browser lives, and what a wait may cost is decided here.
//! Its log targets start with `chromiumoxide`; `telemetry` should filter them to `error`.

mod config;
mod pool;
mod report;

pub use config::{BrowserConfig, BrowserError};
pub use pool::{Browsers, find_executable, reap_leftovers, self_test};
pub use report::{BreakerView, BrowserVisit, CrashScope, PoolStatus, Reaped, SelfTest};
