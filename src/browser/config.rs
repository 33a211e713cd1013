//! What a browser pool is told, and how it can fail.

use std::path::PathBuf;
use std::time::Duration;

use crate::exit_code::ExitCode;
use crate::model::endpoint::DebugEndpoint;

/// Settings of the browser pool. `BrowserConfig::new` gives the defaults.
#[derive(Debug, Clone)]
pub struct BrowserConfig {
    /// The browser to start; none: looked for, see [`super::find_executable`].
    pub executable: Option<PathBuf>,
    /// A running browser to use instead, which somebody else started: no address rule holds for it.
    pub attach: Option<DebugEndpoint>,
    /// Run Chromium without its sandbox: only by the operator's explicit word (`CRAWLD_NO_SANDBOX=1`).
    pub no_sandbox: bool,
    /// Where profiles live, one fresh directory per launch; owned by one daemon (its state lock).
    pub profile_root: PathBuf,
    /// The folder with a folder of each session, where its cookies are kept between two browsers; none: they
    /// end with the browser.
    pub jars: Option<PathBuf>,
    /// Visits at once at most, over all sessions.
    pub max_tabs: u32,
    /// A browser is drained and replaced after this many pages.
    pub pages_per_browser: u64,
    /// A browser is drained and replaced at this age.
    pub browser_max_age: Duration,
    /// A browser is drained and replaced when it takes more memory than this, all its processes together.
    pub browser_max_bytes: u64,
    /// A tab is closed after this many pages.
    pub pages_per_tab: u32,
    /// A tab that nobody used for this long is closed.
    pub tab_idle: Duration,
    /// Deadline of a launch, from spawn to the first answer.
    pub launch_timeout: Duration,
    /// Launches that may fail in a row before the browser's breaker opens.
    pub launch_attempts: u32,
    /// Deadline of one protocol reply.
    pub reply_timeout: Duration,
    /// More switches for Chromium; those that would weaken the sandbox or open a port are refused.
    pub extra_args: Vec<String>,
}

impl BrowserConfig {
    /// The defaults, with profiles under `profile_root`.
    pub fn new(profile_root: PathBuf) -> Self {
        BrowserConfig {
            executable: None,
            attach: None,
            no_sandbox: false,
            profile_root,
            jars: None,
            max_tabs: 4,
            pages_per_browser: 2_000,
            browser_max_age: Duration::from_secs(4 * 3600),
            browser_max_bytes: 2 << 30,
            pages_per_tab: 150,
            tab_idle: Duration::from_secs(30),
            launch_timeout: Duration::from_secs(20),
            launch_attempts: 10,
            reply_timeout: Duration::from_secs(30),
            extra_args: Vec::new(),
        }
    }
}

/// Why there is no browser, or why it did not do as it was told.
#[derive(Debug, thiserror::Error)]
pub enum BrowserError {
    /// No executable found.
    #[error(
        "no Chromium found ({looked}); install one (Debian: `apt install chromium-headless-shell`) or name it with CRAWLD_CHROME"
    )]
    NotFound {
        /// Where it was looked for.
        looked: String,
    },
    /// Root without an explicit setting.
    #[error(
        "Chromium's sandbox does not work as root: run crawld as an ordinary user, or set CRAWLD_NO_SANDBOX=1 to go without the sandbox (only in a disposable container)"
    )]
    RootNeedsNoSandbox,
    /// A switch that may not be set.
    #[error("browser switch `{0}` is not allowed: it would weaken the sandbox or open the browser to others")]
    ForbiddenSwitch(String),
    /// The profile directory or the record of the process could not be written.
    #[error("cannot prepare `{path}` for the browser: {source}", path = path.display())]
    Profile {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The process could not be started.
    #[error("cannot start `{path}`: {source}", path = path.display())]
    Spawn {
        /// The executable.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It started but was not usable.
    #[error("the browser did not come up: {reason}{log}")]
    Launch {
        /// What was waited for.
        reason: String,
        /// The last of what it printed, or empty.
        log: String,
    },
    /// Nobody to attach to.
    #[error(
        "cannot attach to the browser at {endpoint}: {reason}; start it with --remote-debugging-port, or unset cdp_url"
    )]
    Attach {
        /// Where it should be.
        endpoint: DebugEndpoint,
        /// What happened.
        reason: String,
    },
    /// A protocol command failed or timed out.
    #[error("browser command {step} failed: {reason}")]
    Command {
        /// Which.
        step: &'static str,
        /// How.
        reason: String,
    },
    /// The browser is gone.
    #[error("the browser is gone: {0}")]
    Lost(String),
    /// Too many failed launches in a row.
    #[error("the browser could not be started {attempts} times in a row; the last time: {last}")]
    BreakerOpen {
        /// Launches tried.
        attempts: u32,
        /// The last error.
        last: String,
    },
}

impl BrowserError {
    /// The exit code that a foreground command ends with for it.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            BrowserError::Profile { .. } => ExitCode::CannotWrite,
            BrowserError::ForbiddenSwitch(_) => ExitCode::BadConfig,
            _ => ExitCode::NoBrowser,
        }
    }
}
