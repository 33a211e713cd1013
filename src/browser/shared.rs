//! A browser in the pool, with the tabs that wait for their next visit.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::config::BrowserError;
use super::instance::Instance;
use super::tab::Tab;
use crate::lock::lock;
use crate::model::ids::SessionId;
use crate::model::visit::VisitRequest;
use crate::policy::tab_kind::TabKind;

/// Tabs that could not be opened in a row before the browser counts as useless.
const TAB_FAILURES: u32 = 3;
/// A page whose visit is over may stay this long for the next visit to replace it.
const BLANK_AFTER: Duration = Duration::from_secs(1);
/// An idle tab that as many visits in a row did not take is closed: its session needs fewer, or the other kind,
/// and even an empty page costs a process that draws it.
const PASSED_OVER_MAX: u32 = 32;

/// A browser in the pool, with its idle tabs.
pub(super) struct Shared {
    /// The browser.
    pub instance: Arc<Instance>,
    idle: Mutex<HashMap<SessionId, Vec<Tab>>>,
    /// Open tabs.
    pub tabs: AtomicU32,
    /// Pages visited.
    pub pages: AtomicU64,
    /// Visits under way.
    pub visits: AtomicU32,
    tab_failures: AtomicU32,
    /// A successor is being started.
    pub succession: AtomicBool,
    /// It takes more memory than a browser should.
    pub bloated: AtomicBool,
    /// No new visits; ended when the last one in flight has.
    pub retired: AtomicBool,
}

impl Shared {
    pub(super) fn new(instance: Arc<Instance>) -> Shared {
        Shared {
            instance,
            idle: Mutex::default(),
            tabs: AtomicU32::new(0),
            pages: AtomicU64::new(0),
            visits: AtomicU32::new(0),
            tab_failures: AtomicU32::new(0),
            succession: AtomicBool::new(false),
            bloated: AtomicBool::new(false),
            retired: AtomicBool::new(false),
        }
    }

    /// An idle tab of the session and this kind, or a new one.
    pub(super) async fn take_tab(
        &self,
        req: &VisitRequest,
        kind: TabKind,
        pages_per_tab: u32,
    ) -> Result<Tab, BrowserError> {
        let idle = lock(&self.idle).get_mut(&req.session).and_then(|tabs| {
            let newest = tabs.iter().rposition(|tab| tab.kind == kind);
            let taken = newest.map(|newest| tabs.remove(newest));
            tabs.iter_mut().for_each(|tab| tab.passed_over += 1);
            taken
        });
        if let Some(mut tab) = idle {
            if tab.pages < pages_per_tab && tab.adapt(&self.instance, req).await.is_ok() {
                return Ok(tab);
            }
            self.close(tab).await;
        }
        let mut opened = Tab::open(&self.instance, req, kind).await;
        if let Err(BrowserError::Command { .. }) = &opened {
            // Its renderer may have died meanwhile, which says nothing about the page nor about the next renderer.
            opened = Tab::open(&self.instance, req, kind).await;
        }
        let counter = &self.tab_failures;
        match &opened {
            Ok(_) => {
                counter.store(0, Ordering::Relaxed);
                self.tabs.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        }
        opened
    }

    pub(super) async fn give_back(&self, mut tab: Tab, session: &SessionId, clean: bool) {
        if clean && !self.instance.lost.is_cancelled() {
            tab.used = Instant::now();
            tab.passed_over = 0;
            tab.sight.rests();
            lock(&self.idle).entry(session.clone()).or_default().push(tab);
        } else {
            self.close(tab).await;
        }
    }

    /// Closes a tab.
    pub(super) async fn close(&self, tab: Tab) {
        self.tabs.fetch_sub(1, Ordering::Relaxed);
        self.instance.close_page(&tab.page).await;
    }

    /// A browser that opens no tabs, or does not answer at all, is of no use to the next visit either.
    pub(super) async fn is_useless(&self) -> bool {
        self.tab_failures.load(Ordering::Relaxed) >= TAB_FAILURES || !self.instance.answers().await
    }

    /// Forgets the idle tabs; the browser is about to end, or has.
    pub(super) fn drop_tabs(&self) {
        lock(&self.idle).clear();
    }

    /// Disposes of a session's tabs and of its context.
    pub(super) async fn end_session(&self, session: &SessionId) {
        let tabs = lock(&self.idle).remove(session).unwrap_or_default();
        self.tabs.fetch_sub(tabs.len() as u32, Ordering::Relaxed);
        drop(tabs);
        self.instance.end_session(session).await;
    }

    /// Closes tabs that nobody used for `close_after` or that are not needed, and empties those that wait for
    /// longer than a moment.
    pub(super) async fn tend_idle(&self, close_after: Duration) {
        let needless = |tab: &Tab| tab.passed_over >= PASSED_OVER_MAX || tab.used.elapsed() >= close_after;
        let mut due = Vec::new();
        for (session, tabs) in lock(&self.idle).iter_mut() {
            let rests = |tab: &Tab| tab.used.elapsed() < BLANK_AFTER || (tab.blank && !needless(tab));
            let (keep, take): (Vec<Tab>, Vec<Tab>) = std::mem::take(tabs).into_iter().partition(rests);
            *tabs = keep;
            due.extend(take.into_iter().map(|tab| (session.clone(), tab)));
        }
        for (session, mut tab) in due {
            if !needless(&tab) && tab.empty(&self.instance).await.is_ok() {
                lock(&self.idle).entry(session).or_default().push(tab);
            } else {
                self.close(tab).await;
            }
        }
    }
}
