//! What the daemon tells every session about the machine, and the session's share of it.

use crate::crawl::phase::Hold;
use crate::model::checkpoint::BrowserInfo;
use crate::model::host::{Breaker, BreakerState};
use crate::model::session::SelfTestResult;

/// The machine as last sampled. One value, replaced whole.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Load {
    /// Visits at once that this session may have.
    pub share: u32,
    /// Conditions of the machine: set with a reason, or lifted.
    pub holds: Vec<(Hold, Option<String>)>,
    /// Resident memory of the daemon and its browsers, in bytes.
    pub memory_bytes: u64,
    /// Free memory as a share of what may be used, 0..1.
    pub memory_headroom: Option<f64>,
    /// Free bytes on the state directory's file system.
    pub disk_free: Option<u64>,
    /// Bytes below which crawling pauses.
    pub disk_reserve: u64,
    /// Browser restarts in the last hour.
    pub browser_restarts_last_hour: u32,
    /// Browser restarts in this lifetime of the daemon.
    pub browser_restarts: u32,
    /// The browser in use.
    pub browser: Option<BrowserInfo>,
    /// That browser is somebody else's: address rules do not hold for what its pages ask for.
    pub browser_attached: bool,
    /// What was seen of the first browser once a page had come through it.
    pub browser_self_test: Option<SelfTestResult>,
    /// The browser's own breaker; `None` until a browser was tried in this lifetime of the daemon.
    pub browser_breaker: Option<Breaker>,
}

impl Load {
    /// Whether the browser's breaker is not closed: nothing that needs a browser can go on.
    pub fn browser_out(&self) -> bool {
        self.browser_breaker.is_some_and(|breaker| breaker.state != BreakerState::Closed)
    }
}
