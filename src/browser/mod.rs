//! The only importer of chromiumoxide: launcher, pool, tabs, navigation.
//!
//! chromiumoxide serves as protocol types, multiplexed connection and page handle. When a
//! navigation has ended, whether the browser lives, and what a wait may cost is decided here.
//! Its log targets start with `chromiumoxide`; `telemetry` should filter them to `error`.

mod agree;
mod attach;
mod behave;
mod bridge;
mod classify;
mod config;
mod cookie_file;
mod descriptors;
mod extract;
mod find;
mod flags;
mod frames;
mod hook;
mod instance;
mod jar;
mod leftovers;
mod login;
mod look;
mod pictures;
mod pool;
mod process;
mod read;
mod relaunch;
mod report;
mod response;
mod selftest;
mod shared;
mod sights;
mod sites;
mod tab;
mod tap;
mod traffic;
mod visit;
mod watch;
mod within;

pub use config::{BrowserConfig, BrowserError};
pub use cookie_file::import_cookies;
pub use find::find_executable;
pub use jar::{EVERY as JAR_EVERY, load as load_jar, save as save_jar};
pub use leftovers::reap_leftovers;
pub use pool::Browsers;
pub use report::{BreakerView, BrowserVisit, CrashScope, LoginError, PoolStatus, Reaped, SelfTest, TabSeen, TabState};
pub use selftest::self_test;

#[cfg(test)]
mod tests_real;
#[cfg(test)]
mod tests_site;
