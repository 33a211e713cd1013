//! Browsers come and go: adopted, weighed, succeeded by a warm one, retired when their last visit has ended.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Inner;
use crate::browser::instance::Instance;
use crate::browser::selftest;
use crate::browser::shared::Shared;
use crate::lock::lock;

/// How often idle tabs are looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How often a browser's memory is added up.
const WEIGH_EVERY: Duration = Duration::from_secs(10);
/// After a successor did not come up.
const SUCCESSION_PAUSE: Duration = Duration::from_secs(60);

impl Inner {
    /// Makes a running browser the one for new visits.
    pub(super) fn adopt(&self, current: &mut Option<Arc<Shared>>, instance: Instance) -> Arc<Shared> {
        tracing::info!(version = %instance.version, pid = instance.pid(),
            elapsed_ms = instance.launch_time.as_millis() as u64, "browser started");
        let shared = Arc::new(Shared::new(Arc::new(instance)));
        *current = Some(Arc::clone(&shared));
        *lock(&self.shown) = Some(Arc::clone(&shared));
        self.status.send_modify(|status| status.pids = shared.instance.pid().into_iter().collect());
        shared
    }

    /// Starts a successor beside a browser that has had its time. Visits go on in the old one until the new one is
    /// there, and those in flight end in it.
    pub(super) fn succeed(self: &Arc<Self>, old: &Arc<Shared>) {
        let retired = old.retired.load(Ordering::Acquire);
        if retired || old.succession.swap(true, Ordering::AcqRel) {
            return;
        }
        let (inner, old) = (Arc::clone(self), Arc::clone(old));
        self.tasks.spawn(async move {
            let closing = inner.closing.clone();
            tokio::select! {
                () = closing.cancelled() => {}
                () = inner.replace(old) => {}
            }
        });
    }

    async fn replace(&self, old: Arc<Shared>) {
        let instance = match Instance::launch(&self.config, &self.executable).await {
            Ok(instance) => instance,
            Err(error) => {
                tracing::warn!(error = %error, "no successor for an old browser: it goes on");
                tokio::time::sleep(SUCCESSION_PAUSE).await;
                old.succession.store(false, Ordering::Release);
                return;
            }
        };
        let mut current = self.current.lock().await;
        if !current.as_ref().is_some_and(|current| Arc::ptr_eq(current, &old)) {
            // It was lost or replaced in the meantime.
            drop(current);
            return instance.end(true).await;
        }
        self.adopt(&mut current, instance);
        drop(current);
        tracing::info!(pages = old.pages.load(Ordering::Relaxed), pid = old.instance.pid(), "browser recycled");
        self.retire(old);
    }

    /// Notes that a browser has grown too large.
    async fn weigh(&self, shared: &Shared) {
        let Some(group) = shared.instance.pid() else { return };
        let bytes = tokio::task::spawn_blocking(move || selftest::memory_of_group(group)).await.unwrap_or(0);
        if bytes > self.config.browser_max_bytes && !shared.bloated.swap(true, Ordering::Relaxed) {
            tracing::info!(bytes, pid = group, "browser has grown too large");
        }
    }

    /// Takes no new visits in this browser and ends it after its last one.
    pub(super) fn retire(&self, old: Arc<Shared>) {
        old.retired.store(true, Ordering::Release);
        {
            let mut shown = lock(&self.shown);
            if shown.as_ref().is_some_and(|shown| Arc::ptr_eq(shown, &old)) {
                *shown = None;
            }
        }
        let unparsed = old.instance.unparsed.swap(0, Ordering::Relaxed);
        self.status.send_modify(|status| status.unparsed_messages += unparsed);
        if old.visits.load(Ordering::Acquire) == 0 {
            self.end_retired(old);
        }
    }

    pub(super) fn leave(&self, shared: &Arc<Shared>) {
        let left = shared.visits.fetch_sub(1, Ordering::AcqRel) - 1;
        if left == 0 && shared.retired.load(Ordering::Acquire) {
            self.end_retired(Arc::clone(shared));
        }
    }

    fn end_retired(&self, old: Arc<Shared>) {
        self.tasks.spawn(async move {
            old.drop_tabs();
            old.instance.end(true).await;
        });
    }

    /// Tends idle tabs, and keeps the count of unparsed messages current, until the pool closes.
    pub(super) async fn sweep(self: Arc<Self>) {
        let mut weighed = Instant::now();
        loop {
            tokio::select! {
                () = self.closing.cancelled() => return,
                () = tokio::time::sleep(SWEEP_EVERY) => {}
            }
            let shown = lock(&self.shown).clone();
            if let Some(shared) = shown {
                shared.tend_idle(self.config.tab_idle).await;
                if weighed.elapsed() >= WEIGH_EVERY {
                    weighed = Instant::now();
                    self.weigh(&shared).await;
                }
                let unparsed = shared.instance.unparsed.swap(0, Ordering::Relaxed);
                if unparsed > 0 {
                    self.status.send_modify(|status| status.unparsed_messages += unparsed);
                }
            }
        }
    }
}
