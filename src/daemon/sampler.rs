//! Takes the machine's measure, and steers the number of visits by it.

use std::time::Duration;

use tracing::{info, warn};

use crate::browser::{BreakerView, PoolStatus};
use crate::clock::boottime_ms;
use crate::crawl::session::Raised;
use crate::daemon::desk::blocking;
use crate::daemon::house::{House, VisitRange};
use crate::daemon::machine::{BrowserFacts, Machine, Reserves, Sample, losses_last_hour};
use crate::daemon::resources::{ResourceSample, ResourceSampler, cores, disk_space};
use crate::model::checkpoint::BrowserInfo;
use crate::model::host::{Breaker, BreakerState};
use crate::model::task::FetchMode;
use crate::model::time::Timestamp;
use crate::policy::alerts::{AlertInputs, Alerts};
use crate::policy::pressure::{self, Concurrency, LoadSample, Step};

/// A browser is not recycled for memory more often than this: the relief takes a moment to show.
const RECYCLE_EVERY_MS: u64 = 60_000;

/// How one fetch mode is steered.
#[derive(Debug, Clone, Copy)]
struct Steering {
    range: VisitRange,
    allowed: u32,
    stopped: bool,
    best_ms: f64,
}

/// What the sessions of one mode are doing, for the steering.
#[derive(Debug, Clone, Copy, Default)]
pub struct Activity {
    /// Visits running.
    pub in_use: u32,
    /// Smoothed duration of a visit, in milliseconds; 0 when there is none.
    pub page_ms: f64,
}

/// Samples, and remembers what steering needs.
pub struct Sampler {
    resources: Option<ResourceSampler>,
    browser: Steering,
    http: Steering,
    alerts: Alerts,
    recycled_at_ms: u64,
}

impl Sampler {
    /// Nothing sampled yet.
    pub fn new(house: &House) -> Self {
        let steering = |range: VisitRange| Steering { range, allowed: range.first, stopped: false, best_ms: 0.0 };
        Sampler {
            resources: Some(ResourceSampler::new()),
            browser: steering(house.visits.browser),
            http: steering(house.visits.http),
            alerts: Alerts::default(),
            recycled_at_ms: 0,
        }
    }

    /// The machine now, and what each mode may have of it; alerts of the whole process.
    pub async fn sample(
        &mut self,
        house: &House,
        activity: impl Fn(FetchMode) -> Activity,
        orphan_epochs: Option<u64>,
    ) -> (Machine, Vec<Raised>) {
        let pool = house.browsers_if_any().await;
        let status = pool.as_ref().map(|pool| pool.status().borrow().clone());
        let pids = status.as_ref().map(|status| status.pids.clone()).unwrap_or_default();
        let mut resources = self.resources.take().unwrap_or_default();
        let root = house.dir.root().to_owned();
        let (resources, look, disk) = blocking(move || {
            let look = resources.sample(&pids);
            (resources, look, disk_space(&root).ok())
        })
        .await;
        self.resources = Some(resources);
        let config = &house.config;
        let reserve = f64::from(config.memory_reserve_percent) / 100.0;
        let browser = self.browser.steer(&look, activity(FetchMode::Browser), reserve);
        let http = self.http.steer(&look, activity(FetchMode::Http), reserve);
        if let Some(pool) = &pool {
            pool.set_tabs(self.browser.allowed);
            if browser.recycle && boottime_ms().saturating_sub(self.recycled_at_ms) > RECYCLE_EVERY_MS {
                warn!(headroom = look.memory_headroom, "memory is short: the browser is replaced");
                self.recycled_at_ms = boottime_ms();
                pool.recycle().await;
            }
        }
        let attached = status.as_ref().is_some_and(|status| status.attached.is_some());
        let raised = self.alert(house, &look, orphan_epochs, attached);
        let machine = Machine {
            alerts: self.alerts.standing().to_vec(),
            sample: Sample {
                tree_bytes: look.tree.rss_bytes,
                memory_headroom: look.memory_headroom,
                disk_free: disk.map(|space| space.free),
            },
            reserves: Reserves {
                memory_share: reserve,
                disk_bytes: disk
                    .map_or(0, |space| space.reserve(config.disk_reserve_bytes, config.disk_reserve_percent)),
            },
            memory_stop: browser.step == Step::Stop || http.step == Step::Stop,
            visits: (self.browser.allowed, self.http.allowed),
            attached: config.cdp_url.is_some(),
            browsers: status.map(|status| {
                let info = pool.as_ref().and_then(|pool| pool.info());
                facts(status, info, house.clock.now(), boottime_ms())
            }),
        };
        (machine, raised)
    }

    fn alert(
        &mut self,
        house: &House,
        look: &ResourceSample,
        orphan_epochs: Option<u64>,
        attached: bool,
    ) -> Vec<Raised> {
        let inputs = AlertInputs {
            cpu_percent: look.tree.cpu_percent,
            cores: cores(),
            memory_bytes: Some(look.tree.rss_bytes),
            memory_limit: look.memory_limit,
            orphan_epochs,
            attached: Some(attached),
            ..AlertInputs::default()
        };
        let (standing, raised) = self.alerts.evaluate(&inputs, house.clock.now());
        self.alerts = standing;
        for alert in &raised {
            warn!(alert = %alert.kind, value = alert.value, threshold = alert.threshold, "alert");
        }
        raised.into_iter().map(|alert| (None, alert)).collect()
    }
}

impl Steering {
    fn steer(&mut self, look: &ResourceSample, activity: Activity, memory_reserve: f64) -> pressure::Verdict {
        if activity.page_ms > 0.0 {
            // The best is forgotten slowly: sites change.
            let best = if self.best_ms == 0.0 { activity.page_ms } else { self.best_ms * 1.001 };
            self.best_ms = best.min(activity.page_ms);
        }
        let millis = |ms: f64| (ms > 0.0).then(|| Duration::from_secs_f64(ms / 1000.0));
        let load = LoadSample {
            cpu_busy: look.cpu_busy,
            tree_cpu_percent: look.tree.cpu_percent,
            memory_headroom: look.memory_headroom,
            psi_memory: look.psi_memory,
            latency: millis(activity.page_ms),
            best_latency: millis(self.best_ms),
        };
        let at = Concurrency {
            allowed: self.allowed,
            in_use: activity.in_use,
            least: 1,
            most: self.range.most,
            stopped: self.stopped,
            memory_reserve,
        };
        let verdict = pressure::judge(&load, &at);
        if verdict.allowed != self.allowed {
            info!(from = self.allowed, to = verdict.allowed, reason = %verdict.reason, "visits at once changed");
        }
        self.allowed = verdict.allowed;
        self.stopped = verdict.step == Step::Stop;
        verdict
    }
}

fn facts(status: PoolStatus, info: Option<BrowserInfo>, now: Timestamp, now_boot_ms: u64) -> BrowserFacts {
    let breaker = breaker(&status.breaker, now, now_boot_ms);
    let untried = status.breaker == BreakerView::Closed && info.is_none() && status.restarts == 0;
    // While the probe is due sessions go on: the first visit makes it.
    let breaker_open = match &status.breaker {
        BreakerView::Open { failures, last, .. } if breaker.state == BreakerState::Open => {
            Some(format!("the browser could not be started {failures} times in a row ({last})"))
        }
        // A browser that has worked before is waited for by the visits themselves.
        BreakerView::Waiting { retry_at_boot_ms, last, .. } if !status.came_up && *retry_at_boot_ms > now_boot_ms => {
            Some(format!("no browser could be started yet ({last})"))
        }
        _ => None,
    };
    let never_up = match &status.breaker {
        BreakerView::Open { failures, last, .. } | BreakerView::Waiting { failures, last, .. } if !status.came_up => {
            Some((*failures, last.clone()))
        }
        _ => None,
    };
    BrowserFacts {
        tabs_active: status.tabs_active,
        restarts: status.restarts,
        restarts_last_hour: losses_last_hour(&status.lost_at_boot_ms, now_boot_ms),
        breaker_open,
        never_up,
        self_test: status.self_test,
        info,
        breaker: (!untried).then_some(breaker),
    }
}

/// The pool's breaker in the words of every breaker: open until its probe is due, then half open.
fn breaker(view: &BreakerView, now: Timestamp, now_boot_ms: u64) -> Breaker {
    let (failures, retry_at, open) = match view {
        BreakerView::Closed => return Breaker::default(),
        BreakerView::Waiting { failures, retry_at_boot_ms, .. } => (*failures, *retry_at_boot_ms, false),
        BreakerView::Open { failures, retry_at_boot_ms, .. } => (*failures, *retry_at_boot_ms, true),
    };
    let left = retry_at.saturating_sub(now_boot_ms);
    let state = match (open, left) {
        (false, _) => BreakerState::Closed,
        (true, 0) => BreakerState::HalfOpen,
        (true, _) => BreakerState::Open,
    };
    let open_until = (state == BreakerState::Open).then(|| now + Duration::from_millis(left));
    Breaker { state, failures, open_until, ..Breaker::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_browsers_breaker_holds_sessions_until_its_probe_is_due() {
        #[track_caller]
        fn check(name: &str, view: BreakerView, state: BreakerState, failures: u32, left_ms: Option<u64>) {
            let now = Timestamp::from_millis(1_000_000);
            let status = PoolStatus { breaker: view, restarts: 1, came_up: true, ..PoolStatus::default() };
            let facts = facts(status, None, now, 5_000);
            let breaker = facts.breaker.expect(name);
            assert_eq!((breaker.state, breaker.failures), (state, failures), "{name}");
            assert_eq!(breaker.open_until, left_ms.map(|ms| now + Duration::from_millis(ms)), "{name}");
            assert_eq!(facts.breaker_open.is_some(), state == BreakerState::Open, "{name}");
        }
        let open = |retry_at_boot_ms| BreakerView::Open { failures: 10, retry_at_boot_ms, last: "no".into() };
        check("closed", BreakerView::Closed, BreakerState::Closed, 0, None);
        let waiting = BreakerView::Waiting { failures: 3, retry_at_boot_ms: 9_000, last: "no".into() };
        check("between tries", waiting, BreakerState::Closed, 3, None);
        check("open", open(65_000), BreakerState::Open, 10, Some(60_000));
        check("the probe is due", open(5_000), BreakerState::HalfOpen, 10, None);
    }

    #[test]
    fn a_pool_that_tried_nothing_knows_nothing_of_its_breaker() {
        let facts = facts(PoolStatus::default(), None, Timestamp::from_millis(0), 0);
        assert_eq!((facts.breaker, facts.breaker_open), (None, None));
    }
}
