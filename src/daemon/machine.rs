//! The machine, sampled: what it means for every session, and each session's share.

use crate::crawl::load::Load;
use crate::crawl::phase::Hold;
use crate::model::checkpoint::BrowserInfo;
use crate::model::host::Breaker;
use crate::model::session::SelfTestResult;
use crate::model::task::FetchMode;
use crate::policy::alerts::AlertKind;

/// Browser losses are remembered for an hour, for the health factor.
const LOSS_WINDOW_MS: u64 = 3_600_000;
/// Failed starts after which a command in the foreground gives up on its first browser.
const FIRST_STARTS: u32 = 3;

/// The machine as of the last sample.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Machine {
    /// Memory, CPU and disk.
    pub sample: Sample,
    /// Reserves, as configured.
    pub reserves: Reserves,
    /// Memory is so short that nothing new may start.
    pub memory_stop: bool,
    /// Visits at once over all sessions, by browser and by plain HTTP, as the pressure decides.
    pub visits: (u32, u32),
    /// Alerts of the whole process that stand.
    pub alerts: Vec<AlertKind>,
    /// Browsers are somebody else's.
    pub attached: bool,
    /// The pool of browsers, where there is one.
    pub browsers: Option<BrowserFacts>,
}

/// Memory and disk; `None` is not measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    /// Resident bytes of the daemon and its browsers.
    pub tree_bytes: u64,
    /// Free memory as a share of what may be used, 0..1.
    pub memory_headroom: Option<f64>,
    /// Free bytes on the state directory's file system.
    pub disk_free: Option<u64>,
}

/// Below these, crawling pauses.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Reserves {
    /// Free memory as a share of what may be used.
    pub memory_share: f64,
    /// Free bytes of the state directory's file system.
    pub disk_bytes: u64,
}

/// What sessions need to know of the pool.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BrowserFacts {
    /// Visits in a tab.
    pub tabs_active: u32,
    /// Losses in this lifetime.
    pub restarts: u32,
    /// Losses in the last hour.
    pub restarts_last_hour: u32,
    /// Why no browser can be started, while none can.
    pub breaker_open: Option<String>,
    /// While no browser has ever come up in this process: failed starts in a row, and the last one's words.
    pub never_up: Option<(u32, String)>,
    /// The browser in use.
    pub info: Option<BrowserInfo>,
    /// What was seen of the first browser once a page had come through it.
    pub self_test: Option<SelfTestResult>,
    /// The breaker, as checkpoints show it; `None` until a browser was tried.
    pub breaker: Option<Breaker>,
}

impl Machine {
    /// Visits at once over all sessions of a mode.
    pub fn visits_of(&self, mode: FetchMode) -> u32 {
        match mode {
            FetchMode::Browser => self.visits.0,
            FetchMode::Http | FetchMode::Auto => self.visits.1,
        }
    }

    /// Conditions that hold every session.
    pub fn holds(&self) -> Vec<(Hold, String)> {
        let all =
            [(Hold::Memory, self.memory_hold()), (Hold::Disk, self.disk_hold()), (Hold::Browser, self.browser_hold())];
        all.into_iter().filter_map(|(hold, why)| why.map(|why| (hold, why))).collect()
    }

    /// The load as a session of this mode with this share sees it. What ails the browser does not hold one
    /// that needs none.
    pub fn load_for(&self, mode: FetchMode, share: u32) -> Load {
        let browsers = self.browsers.clone().unwrap_or_default();
        Load {
            share,
            holds: vec![
                (Hold::Memory, self.memory_hold()),
                (Hold::Disk, self.disk_hold()),
                (Hold::Browser, self.browser_hold().filter(|_| mode.needs_browser())),
            ],
            memory_bytes: self.sample.tree_bytes,
            memory_headroom: self.sample.memory_headroom,
            disk_free: self.sample.disk_free,
            disk_reserve: self.reserves.disk_bytes,
            browser_restarts_last_hour: browsers.restarts_last_hour,
            browser_restarts: browsers.restarts,
            browser: browsers.info,
            browser_attached: self.attached && mode.needs_browser(),
            browser_self_test: browsers.self_test.filter(|_| mode.needs_browser()),
            browser_breaker: browsers.breaker.filter(|_| mode.needs_browser()),
        }
    }

    fn memory_hold(&self) -> Option<String> {
        let (free, reserve) = (self.sample.memory_headroom?, self.reserves.memory_share);
        self.memory_stop.then(|| {
            format!("{:.0} % of memory is free, less than the reserve of {:.0} %", free * 100.0, reserve * 100.0)
        })
    }

    fn disk_hold(&self) -> Option<String> {
        let (free, reserve) = (self.sample.disk_free?, self.reserves.disk_bytes);
        (free < reserve)
            .then(|| format!("{} MiB of disk are free, less than the reserve of {} MiB", free >> 20, reserve >> 20))
    }

    /// Why a command in the foreground need not wait any longer for its first browser.
    pub fn no_browser(&self) -> Option<String> {
        let (failures, last) = self.browsers.as_ref()?.never_up.as_ref()?;
        (*failures >= FIRST_STARTS).then(|| format!("no browser could be started in {failures} tries: {last}"))
    }

    fn browser_hold(&self) -> Option<String> {
        self.browsers.as_ref().and_then(|browsers| browsers.breaker_open.clone())
    }
}

/// Losses within the last hour, given their instants in milliseconds since boot.
pub fn losses_last_hour(lost_at_ms: &[u64], now_ms: u64) -> u32 {
    let recent = lost_at_ms.iter().filter(|at| now_ms.saturating_sub(**at) <= LOSS_WINDOW_MS).count();
    u32::try_from(recent).unwrap_or(u32::MAX)
}
