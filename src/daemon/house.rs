//! What the process owns once and every session borrows.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Semaphore};

use crate::browser::{BrowserConfig, BrowserError, Browsers};
use crate::clock::{Clock, uptime};
use crate::config::Config;
use crate::crawl::governor::HostGovernor;
use crate::crawl::session::Settings;
use crate::daemon::feed::Feed;
use crate::daemon::pulse::Liveness;
use crate::fetch::robots::RobotsCache;
use crate::model::endpoint::DebugEndpoint;
use crate::model::ids::SessionId;
use crate::model::task::FetchMode;
use crate::model::time::Timestamp;
use crate::policy::breaker::BreakerConfig;
use crate::policy::pressure;
use crate::state::StateDir;

/// Everything shared by the sessions of one process.
pub struct House {
    /// What the operator set.
    pub config: Arc<Config>,
    /// The wall clock.
    pub clock: Clock,
    /// The state directory, locked by this process.
    pub dir: StateDir,
    /// Politeness of all sessions.
    pub governor: HostGovernor,
    /// robots.txt of all sessions.
    pub robots: Arc<RobotsCache>,
    /// Visits by browser at once, over all sessions.
    pub tabs: Arc<Semaphore>,
    /// Visits by plain HTTP at once, over all sessions.
    pub requests: Arc<Semaphore>,
    /// How many of each there are.
    pub visits: Visits,
    /// What everybody who watches is told from.
    pub feed: Feed,
    /// Which loops turn.
    pub liveness: Liveness,
    /// When the process started.
    pub started_at: Timestamp,
    /// The command word of the process.
    pub command: String,
    browsers: Mutex<Option<Arc<Browsers>>>,
}

/// Visits at once over all sessions, by fetch mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Visits {
    /// Tabs.
    pub browser: VisitRange,
    /// Plain requests.
    pub http: VisitRange,
}

/// With how many visits at once a mode starts, and how many it may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VisitRange {
    /// At the start.
    pub first: u32,
    /// At most.
    pub most: u32,
}

impl Visits {
    /// As configured, or by cores and memory.
    pub fn new(config: &Config, cores: u32, memory_bytes: u64) -> Self {
        let by_machine = |mode| VisitRange {
            first: pressure::initial_tabs(cores, memory_bytes, mode),
            most: pressure::max_tabs(cores, memory_bytes, mode),
        };
        let fixed = |tabs: u32| VisitRange { first: tabs.max(1), most: tabs.max(1) };
        Visits {
            browser: config.tabs.map_or_else(|| by_machine(FetchMode::Browser), fixed),
            http: by_machine(FetchMode::Http),
        }
    }

    /// For one mode.
    pub fn of(self, mode: FetchMode) -> VisitRange {
        match mode {
            FetchMode::Browser => self.browser,
            FetchMode::Http | FetchMode::Auto => self.http,
        }
    }
}

/// The page caches of all stores together: with half of it a session of a million URLs is as fast.
const STORE_CACHE_BYTES: u64 = 64 << 20;

fn breaker(config: &Config) -> BreakerConfig {
    BreakerConfig {
        failure_threshold: config.breaker_failure_threshold,
        recovery_timeout: config.breaker_recovery_timeout.0,
        backoff: config.breaker_backoff.iter().map(|span| span.0).collect(),
        ..BreakerConfig::default()
    }
}

impl House {
    /// Furnishes a house in a locked state directory.
    pub fn new(config: Arc<Config>, clock: Clock, dir: StateDir, feed: Feed, visits: Visits, command: &str) -> Self {
        let started_at = clock.now();
        House {
            governor: HostGovernor::new(breaker(&config)),
            command: command.to_owned(),
            robots: Arc::new(RobotsCache::default()),
            tabs: Arc::new(Semaphore::new(visits.browser.most as usize)),
            requests: Arc::new(Semaphore::new(visits.http.most as usize)),
            visits,
            feed,
            liveness: Liveness::default(),
            browsers: Mutex::new(None),
            started_at,
            config,
            clock,
            dir,
        }
    }

    /// What a session of this mode needs of the configuration.
    pub fn session_settings(&self, mode: FetchMode) -> Settings {
        let config = &self.config;
        // A foreground crawl has the process for itself.
        let at_once = if self.command == "crawl" { 1 } else { config.sessions_at_once.max(1) };
        Settings {
            checkpoint_every: config.session_checkpoint_interval.0,
            heartbeat_every: config.session_heartbeat_interval.0,
            health_every: config.session_health_check_interval.0,
            max_duration: config.max_session_duration.0,
            segment_bytes: config.output_segment_bytes,
            inline_urls: config.checkpoint_inline_urls as usize,
            max_visits: self.visits.of(mode).most,
            cache_bytes: STORE_CACHE_BYTES / u64::from(at_once),
            command: self.command.clone(),
        }
    }

    /// Tells the watchdog that this session's loop turns.
    pub fn session_turned(&self, session: &SessionId) -> Box<dyn Fn() + Send + Sync> {
        let (liveness, name) = (self.liveness.clone(), session.to_string());
        Box::new(move || liveness.turned(&name, uptime()))
    }

    /// Where browser profiles live.
    pub fn profiles(&self) -> PathBuf {
        self.dir.root().join("browsers")
    }

    /// The pool of browsers; made by the first session that needs one.
    ///
    /// # Errors
    /// There is no usable browser; says what to do.
    pub async fn browsers(&self) -> Result<Arc<Browsers>, BrowserError> {
        let mut browsers = self.browsers.lock().await;
        if let Some(pool) = browsers.as_ref() {
            return Ok(pool.clone());
        }
        // Checked when the configuration was read.
        let attach = self.config.cdp_url.as_deref().and_then(|url| DebugEndpoint::parse(url).ok());
        let config = BrowserConfig {
            attach,
            executable: self.config.chrome.clone(),
            no_sandbox: self.config.no_sandbox,
            jars: Some(self.dir.sessions()),
            max_tabs: self.visits.browser.most,
            reply_timeout: self.config.cdp_timeout.0,
            launch_attempts: self.config.browser_max_connection_attempts,
            ..BrowserConfig::new(self.profiles())
        };
        let pool = Arc::new(Browsers::start(config).await?);
        *browsers = Some(pool.clone());
        Ok(pool)
    }

    /// The pool, if a session has needed one.
    pub async fn browsers_if_any(&self) -> Option<Arc<Browsers>> {
        self.browsers.lock().await.clone()
    }

    /// Ends every browser.
    pub async fn shut_browsers(&self, deadline: Duration) {
        if let Some(pool) = self.browsers.lock().await.take() {
            pool.shutdown(deadline).await;
        }
    }
}
