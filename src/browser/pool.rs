//! The pool of browsers and tabs, shared by all sessions.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

use super::config::{BrowserConfig, BrowserError};
use super::report::{BrowserVisit, CrashScope, PoolStatus, Reaped, SelfTest};
use crate::model::checkpoint::BrowserInfo;
use crate::model::ids::SessionId;
use crate::model::outcome::FailureClass;
use crate::model::visit::{VisitFailure, VisitRequest, VisitResult};

/// The pool of browsers and tabs.
#[derive(Debug)]
pub struct Browsers {
    status: watch::Sender<PoolStatus>,
}

impl Browsers {
    /// Finds the executable and checks the settings; the first browser is launched by the first visit.
    ///
    /// # Errors
    /// No executable, root without `no_sandbox`, a forbidden switch, an unwritable profile root.
    pub async fn start(_config: BrowserConfig) -> Result<Browsers, BrowserError> {
        Ok(Browsers { status: watch::Sender::new(PoolStatus::default()) })
    }

    /// Visits a page. Returns within the page deadline and a few seconds, whatever the page does.
    pub async fn visit(&self, _req: VisitRequest) -> BrowserVisit {
        BrowserVisit {
            result: VisitResult::Failed(VisitFailure {
                class: FailureClass::BrowserLost,
                message: "not there yet".into(),
                http_status: None,
                retry_after: None,
                ttfb: None,
                hops: Vec::new(),
            }),
            crash: Some(CrashScope::Browser),
        }
    }

    /// Disposes of the session's browser context, with its cookies and tabs.
    pub async fn end_session(&self, _session: &SessionId) {}

    /// The browser in use, for the checkpoint; none before the first launch.
    pub fn info(&self) -> Option<BrowserInfo> {
        None
    }

    /// The pool's status, as it changes.
    pub fn status(&self) -> watch::Receiver<PoolStatus> {
        self.status.subscribe()
    }

    /// Changes the number of visits at once; takes effect as running visits end.
    pub fn set_tabs(&self, _n: u32) {}

    /// Replaces the browser by a fresh one; visits in flight end in the old one.
    pub async fn recycle(&self) {}

    /// Ends every browser within the deadline; visits in flight end as `BrowserLost` without a crash.
    pub async fn shutdown(&self, _deadline: Duration) {}
}

/// Finds the browser's ELF: `explicit`, then `CRAWLD_CHROME`, then the known places, then `PATH`.
///
/// # Errors
/// `BrowserError::NotFound`, with what to install.
pub fn find_executable(_explicit: Option<&Path>) -> Result<PathBuf, BrowserError> {
    Err(BrowserError::NotFound { looked: String::new() })
}

/// Ends the browsers that an earlier life of the daemon left under `profile_root`, and removes
/// their profiles. Touches only processes whose boot id, pid, start time and profile match the record.
/// The caller holds the state directory's lock.
pub fn reap_leftovers(_profile_root: &Path) -> Vec<Reaped> {
    Vec::new()
}

/// Launches a browser, loads a built-in page, and looks at the sandbox.
///
/// # Errors
/// When no browser comes up at all; everything less is in `SelfTest::problems`.
pub async fn self_test(_config: BrowserConfig) -> Result<SelfTest, BrowserError> {
    Err(BrowserError::Lost("not there yet".into()))
}
