//! How the pool comes by its browser: launched by the first visit, launched anew after a loss, given up for a
//! while after too many failures in a row.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{InUse, Inner};
use crate::browser::config::BrowserError;
use crate::browser::instance::Instance;
use crate::browser::report::PoolStatus;
use crate::browser::selftest;
use crate::browser::shared::Shared;
use crate::clock::boottime_ms;
use crate::lock::lock;
use crate::model::session::SelfTestResult;

/// A self-test that finds nothing to look at is tried again after a page, this often in all.
pub(super) const SELF_TESTS: u32 = 3;
/// Losses remembered for the health factor.
const LOSSES_KEPT: usize = 32;

impl Inner {
    /// The browser for new visits; launched, or relaunched after a pause, where there is none.
    pub(super) async fn browser(&self) -> Result<InUse<'_>, BrowserError> {
        let mut current = self.current.lock().await;
        if let Some(shared) = current.as_ref().filter(|shared| !shared.instance.lost.is_cancelled()) {
            return Ok(InUse::new(self, Arc::clone(shared)));
        }
        if let Some(dead) = current.take() {
            self.note_loss(&dead);
        }
        let (open, pause) = {
            let relaunch = lock(&self.relaunch);
            (relaunch.is_open(boottime_ms()), relaunch.wait(boottime_ms()))
        };
        if open {
            let (attempts, last) = lock(&self.relaunch).story();
            return Err(BrowserError::BreakerOpen { attempts, last });
        }
        let instance = self.launch(pause).await?;
        let used = InUse::new(self, self.adopt(&mut current, instance));
        self.show_breaker();
        Ok(used)
    }

    /// Launches a browser after a pause. A failed start counts as a lost browser does.
    pub(super) async fn launch(&self, pause: Duration) -> Result<Instance, BrowserError> {
        let launched = tokio::select! {
            launched = async {
                tokio::time::sleep(pause).await;
                let mut instance = Instance::launch(&self.config, &self.executable).await?;
                instance.sights = self.sights.clone();
                Ok::<_, BrowserError>(instance)
            } => launched,
            () = self.closing.cancelled() => return Err(BrowserError::Lost("the daemon is stopping".to_owned())),
        };
        match &launched {
            Ok(_) => {
                self.status.send_if_modified(|status| !std::mem::replace(&mut status.came_up, true));
            }
            Err(error) => {
                lock(&self.relaunch).failed(boottime_ms(), error.to_string());
                self.status.send_modify(remember_loss);
                self.show_breaker();
                tracing::error!(error = %error, "browser did not start");
            }
        }
        launched
    }

    /// Counts a lost browser, once: by the one who takes it out of `current`.
    fn note_loss(&self, dead: &Arc<Shared>) {
        dead.drop_tabs();
        let lived = dead.instance.born.elapsed();
        lock(&self.relaunch).lost(boottime_ms(), lived.as_millis() as u64, "a running browser was lost".to_owned());
        *lock(&self.shown) = None;
        let unparsed = dead.instance.unparsed.swap(0, Ordering::Relaxed);
        self.status.send_modify(|status| {
            status.restarts += 1;
            remember_loss(status);
            status.pids.clear();
            status.unparsed_messages += unparsed;
        });
        tracing::warn!(pid = dead.instance.pid(), elapsed_ms = lived.as_millis() as u64, "browser lost");
        let instance = Arc::clone(&dead.instance);
        self.tasks.spawn(async move { instance.end(false).await });
        self.show_breaker();
    }

    /// The self-test of the first browser that a page has come through, beside its visits.
    pub(super) fn test_once(self: &Arc<Self>, shared: &Arc<Shared>) {
        let left = |tries: u32| tries.checked_sub(1);
        if self.self_tests.fetch_update(Ordering::AcqRel, Ordering::Acquire, left).is_err() {
            return;
        }
        let (inner, shared) = (Arc::clone(self), Arc::clone(shared));
        self.tasks.spawn(async move {
            let browser = shared.instance.identity.as_ref().map(|browser| browser.pid);
            let Some(result) = selftest::glance(&inner.config, browser).await else { return };
            inner.self_tests.store(0, Ordering::Release);
            let news = inner.status.send_if_modified(|status| status.self_test.replace(result) != Some(result));
            if news && result == SelfTestResult::NotInForce {
                tracing::warn!("the browser's sandbox is not in force: `crawld doctor` says what to do");
            }
        });
    }

    pub(super) fn show_breaker(&self) {
        let view = lock(&self.relaunch).view();
        self.status.send_if_modified(|status| {
            let changed = status.breaker != view;
            status.breaker = view;
            changed
        });
    }
}

fn remember_loss(status: &mut PoolStatus) {
    status.lost_at_boot_ms.push(boottime_ms());
    let surplus = status.lost_at_boot_ms.len().saturating_sub(LOSSES_KEPT);
    status.lost_at_boot_ms.drain(..surplus);
}
