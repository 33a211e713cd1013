//! What the pool tells its callers.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::endpoint::DebugEndpoint;
use crate::model::outcome::closed_list;
use crate::model::session::SelfTestResult;
use crate::model::visit::VisitResult;
use crate::policy::tab_kind::TabKind;

closed_list! {
    /// What a tab does.
    TabState {
        /// A visit is under way in it.
        Visiting = "visiting",
        /// It shows the page of its last visit.
        Resting = "resting",
    }
}

/// What a tab shows now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TabSeen {
    /// Its number, for its picture; the same for as long as it is open.
    pub n: u64,
    /// Its page's URL: text of a stranger, at most 2,048 characters.
    pub url: String,
    /// Its page's title, once it has one: text of a stranger, at most 2,048 characters.
    pub title: Option<String>,
    /// Whether its frames are drawn.
    pub kind: TabKind,
    /// What it does.
    pub state: TabState,
    /// Since when, in seconds.
    pub seconds: u64,
    /// Whether there can be a picture of it: only where frames are drawn.
    pub picture: bool,
}

/// How a visit by a browser ended.
#[derive(Debug, Clone, PartialEq)]
pub struct BrowserVisit {
    /// The result, with redirects and links.
    pub result: VisitResult,
    /// What crashed while the visit was in flight. `Renderer` points at the page; `Browser` points
    /// at it only if it was alone in its browser.
    pub crash: Option<CrashScope>,
}

/// What crashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashScope {
    /// The process of this page.
    Renderer,
    /// The whole browser.
    Browser,
}

/// Why nobody is logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginError {
    /// There was no browser to do it, or it was lost.
    NoBrowser(String),
    /// The page with the form could not be loaded.
    NotLoaded(String),
    /// It was done, and did not work.
    Refused(String),
}

/// The pool at one instant.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PoolStatus {
    /// Visits in a tab now.
    pub tabs_active: u32,
    /// Visits at once at most.
    pub tabs_limit: u32,
    /// Browsers that were lost and relaunched in this lifetime of the daemon.
    pub restarts: u32,
    /// A browser has come up in this lifetime of the daemon.
    pub came_up: bool,
    /// Milliseconds since boot of the newest losses and failed starts, newest last; for the health factor.
    pub lost_at_boot_ms: Vec<u64>,
    /// The browser is somebody else's, found here: address rules do not hold for what its pages ask for.
    pub attached: Option<DebugEndpoint>,
    /// Process ids of the browsers' main processes; of those that crawld has started.
    pub pids: Vec<u32>,
    /// Whether browsers can be started.
    pub breaker: BreakerView,
    /// Protocol messages that chromiumoxide could not parse.
    pub unparsed_messages: u64,
    /// What was seen of the first browser once a page had come through it.
    pub self_test: Option<SelfTestResult>,
}

/// Whether browsers can be started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum BreakerView {
    /// The last launch worked, or none was tried.
    #[default]
    Closed,
    /// Launches failed; the next try comes at this time in milliseconds since boot.
    Waiting {
        /// Failed launches in a row.
        failures: u32,
        /// When the next launch is tried.
        retry_at_boot_ms: u64,
        /// The last error.
        last: String,
    },
    /// Ten launches in a row failed: visits fail with `BrowserLost`, not charged, until the probe at
    /// this time in milliseconds since boot works.
    Open {
        /// Failed launches in a row.
        failures: u32,
        /// When the next launch is tried.
        retry_at_boot_ms: u64,
        /// The last error.
        last: String,
    },
}

/// A browser left over from an earlier life of the daemon, and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reaped {
    /// Its process id, when it was still alive and was ended.
    pub killed_pid: Option<u32>,
    /// Its profile directory, removed.
    pub profile: PathBuf,
}

/// What the self-test found, for `doctor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfTest {
    /// The executable; empty for a browser that was attached to.
    pub executable: PathBuf,
    /// The browser that was attached to, whose sandbox cannot be seen from here.
    pub attached: Option<DebugEndpoint>,
    /// What the browser says of its version.
    pub version: String,
    /// From spawn to the first answer.
    pub launch_ms: u64,
    /// A built-in page was loaded and its script ran.
    pub script_ran: bool,
    /// The renderer runs under seccomp filters (mode 2).
    pub renderer_seccomp: bool,
    /// The renderer has a user namespace of its own.
    pub renderer_namespace: bool,
    /// Protocol messages that could not be parsed.
    pub unparsed_messages: u64,
    /// What is wrong, in sentences that say what to do; empty: all well.
    pub problems: Vec<String>,
}
