//! The pool of browsers and tabs, shared by all sessions.

mod launching;
mod loads;
mod logins;
mod upkeep;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::config::{BrowserConfig, BrowserError};
use super::relaunch::Relaunch;
use super::report::{BrowserVisit, CrashScope, PoolStatus, TabSeen};
use super::shared::Shared;
use super::sights::Sights;
use super::sites::Sites;
use super::{find, flags, tab};
use crate::lock::lock;
use crate::model::checkpoint::{BrowserInfo, LearnedSite, ProcessId};
use crate::model::cookie::StoredCookie;
use crate::model::ids::SessionId;
use crate::model::outcome::FailureClass;
use crate::model::task::FetchSpec;
use crate::model::visit::{VisitFailure, VisitRequest, VisitResult};
#[cfg(test)]
use crate::policy::tab_kind::Start;

/// Beyond a visit's own deadline: for steps on the browser that carry deadlines of their own.
const GRACE: Duration = Duration::from_secs(10);

/// The pool of browsers and tabs. Dropping it ends the browsers; `shutdown` ends them politely.
#[derive(Debug)]
pub struct Browsers {
    inner: Arc<Inner>,
}

struct Inner {
    config: BrowserConfig,
    executable: PathBuf,
    /// The browser that new visits go to. Held while launching, so that only one is launched.
    current: tokio::sync::Mutex<Option<Arc<Shared>>>,
    /// The same for those who may not wait.
    shown: Mutex<Option<Arc<Shared>>>,
    relaunch: Mutex<Relaunch>,
    sites: Sites,
    sights: Sights,
    /// Whether frames can be held back, once that was tried.
    frameless: tokio::sync::OnceCell<bool>,
    /// It is being tried, or was.
    frameless_tried: AtomicBool,
    /// Times that the self-test may still be tried.
    self_tests: AtomicU32,
    limit: AtomicU32,
    active: AtomicU32,
    freed: Notify,
    status: watch::Sender<PoolStatus>,
    closing: CancellationToken,
    tasks: TaskTracker,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("executable", &self.executable).finish_non_exhaustive()
    }
}

impl Browsers {
    /// Finds the executable and checks the settings; the first browser is launched by the first visit.
    ///
    /// # Errors
    /// No executable, root without `no_sandbox`, a forbidden switch, an unwritable profile root.
    pub async fn start(config: BrowserConfig) -> Result<Browsers, BrowserError> {
        let executable = check(&config)?;
        let (limit, launch_attempts) = (config.max_tabs.max(1), config.launch_attempts);
        let attached = config.attach.clone();
        if let Some(endpoint) = &attached {
            tracing::warn!(%endpoint, "the browser is somebody else's: address rules do not hold for what its pages ask for");
        }
        let status = PoolStatus { tabs_limit: limit, attached, ..PoolStatus::default() };
        let inner = Arc::new(Inner {
            config,
            executable,
            current: tokio::sync::Mutex::default(),
            shown: Mutex::default(),
            relaunch: Mutex::new(Relaunch::new(launch_attempts)),
            sites: Sites::default(),
            sights: Sights::default(),
            frameless: tokio::sync::OnceCell::new(),
            frameless_tried: AtomicBool::new(false),
            self_tests: AtomicU32::new(launching::SELF_TESTS),
            limit: AtomicU32::new(limit),
            active: AtomicU32::new(0),
            freed: Notify::new(),
            status: watch::Sender::new(status),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        let sweeper = Arc::clone(&inner);
        inner.tasks.spawn(async move { sweeper.sweep().await });
        Ok(Browsers { inner })
    }

    /// Visits a page. Returns within the page deadline and a few seconds once it has a tab, whatever
    /// the page does; waits for a tab for one page deadline at most.
    pub async fn visit(&self, req: VisitRequest) -> BrowserVisit {
        let inner = &self.inner;
        let within = req.fetch.page_timeout.0 + req.extract.extra_time() + req.conduct.extra_time() + GRACE;
        let turn = tokio::select! {
            turn = timeout(within, inner.turn()) => turn,
            () = inner.closing.cancelled() => return failed(FailureClass::BrowserLost, "the daemon is stopping"),
        };
        let Ok(_turn) = turn else { return failed(FailureClass::Browser, "no tab became free in time") };
        if req.solo { inner.visit_alone(&req).await } else { inner.visit_shared(&req).await }
    }

    /// The user agent that pages of this task are asked for with; launches the browser where none runs.
    ///
    /// # Errors
    /// The browser does not start.
    pub async fn user_agent(&self, fetch: &FetchSpec) -> Result<String, BrowserError> {
        let shared = self.inner.browser().await?;
        Ok(tab::user_agent(&shared.instance, fetch))
    }

    /// Visits a page as if its site had taught to start in this way.
    #[cfg(test)]
    pub(super) async fn visit_started(&self, req: &VisitRequest, start: Start) -> BrowserVisit {
        let shared = self.inner.browser().await.expect("a browser");
        self.inner.try_frameless(&shared).await;
        self.inner.visit_from(&shared, req, start).await
    }

    /// Breaks the connection to the browser, as a fault between the two would.
    #[cfg(test)]
    pub(super) fn cut_connection(&self) {
        lock(&self.inner.shown).as_ref().expect("a browser").instance.cut_connection();
    }

    /// The cookies of the session's context; none where it has no context.
    pub async fn cookies(&self, session: &SessionId) -> Option<Vec<StoredCookie>> {
        let shown = lock(&self.inner.shown).clone()?;
        shown.instance.cookies(session).await
    }

    /// Sets cookies in the session's context, where it has one.
    pub async fn set_cookies(&self, session: &SessionId, cookies: &[StoredCookie]) {
        let shown = lock(&self.inner.shown).clone();
        if let Some(shown) = shown {
            shown.instance.set_cookies(session, cookies).await;
        }
    }

    /// Disposes of the session's browser context, with its cookies and tabs.
    pub async fn end_session(&self, session: &SessionId) {
        let shown = lock(&self.inner.shown).clone();
        let Some(shared) = shown else { return };
        shared.end_session(session).await;
    }

    /// What was learned about these hosts, for the next lifetime; of at most so many.
    pub fn learned<'a>(&self, hosts: impl Iterator<Item = &'a str>, most: usize) -> BTreeMap<String, LearnedSite> {
        self.inner.sites.learned(hosts, most)
    }

    /// Takes up what an earlier lifetime learned.
    pub fn remember(&self, sites: &BTreeMap<String, LearnedSite>) {
        self.inner.sites.remember(sites);
    }

    /// The browser in use, for the checkpoint; none before the first launch.
    pub fn info(&self) -> Option<BrowserInfo> {
        let shown = lock(&self.inner.shown).clone()?;
        let attached = self.inner.config.attach.as_ref().map(|endpoint| format!("attached to {endpoint}"));
        let identity = shown.instance.identity.as_ref();
        Some(BrowserInfo {
            executable: attached.unwrap_or_else(|| self.inner.executable.display().to_string()),
            version: shown.instance.version.clone(),
            processes: identity.map(|by| ProcessId { pid: by.pid, start_ticks: by.start_ticks }).into_iter().collect(),
            tabs: shown.tabs.load(Ordering::Relaxed),
            restarts: self.inner.status.borrow().restarts,
        })
    }

    /// The tabs of a session that show a page now.
    pub async fn tabs_of(&self, session: &SessionId) -> Vec<TabSeen> {
        self.inner.sights.of(session).await
    }

    /// A picture (JPEG) of what a tab of the session shows now; none where it draws none, is gone, or does not answer
    /// within seconds.
    pub async fn picture_of(&self, session: &SessionId, n: u64) -> Option<Arc<[u8]>> {
        self.inner.sights.picture(session, n).await
    }

    /// Whether the browser is somebody else's: its connections do not go through a session's proxy.
    pub fn is_attached(&self) -> bool {
        self.inner.config.attach.is_some()
    }

    /// The pool's status, as it changes.
    pub fn status(&self) -> watch::Receiver<PoolStatus> {
        self.inner.status.subscribe()
    }

    /// Changes the number of visits at once; takes effect as running visits end.
    pub fn set_tabs(&self, n: u32) {
        self.inner.limit.store(n.max(1), Ordering::Relaxed);
        self.inner.status.send_modify(|status| status.tabs_limit = n.max(1));
        self.inner.freed.notify_waiters();
    }

    /// Replaces the browser by a fresh one; visits in flight end in the old one.
    pub async fn recycle(&self) {
        let old = self.inner.current.lock().await.take();
        if let Some(old) = old {
            self.inner.retire(old);
        }
    }

    /// Ends every browser within the deadline; visits in flight end as `BrowserLost` without a crash.
    pub async fn shutdown(&self, deadline: Duration) {
        self.inner.closing.cancel();
        let end = async {
            let old = self.inner.current.lock().await.take();
            if let Some(old) = old {
                self.inner.retire(Arc::clone(&old));
                old.drop_tabs();
                old.instance.end(true).await;
            }
            self.inner.tasks.close();
            self.inner.tasks.wait().await;
        };
        if timeout(deadline, end).await.is_err() {
            tracing::warn!(
                elapsed_ms = deadline.as_millis() as u64,
                "browsers did not end in time; they end with the process"
            );
        }
    }
}

impl Drop for Browsers {
    fn drop(&mut self) {
        self.inner.closing.cancel();
        if let Some(shared) = lock(&self.inner.shown).take() {
            shared.instance.lost.cancel();
        }
    }
}

/// Finds the executable and checks what can be checked without starting it.
pub(super) fn check(config: &BrowserConfig) -> Result<PathBuf, BrowserError> {
    if config.attach.is_some() {
        return Ok(PathBuf::new());
    }
    flags::check_extra(&config.extra_args)?;
    if rustix::process::geteuid().is_root() && !config.no_sandbox {
        return Err(BrowserError::RootNeedsNoSandbox);
    }
    find::find_executable(config.executable.as_deref())
}

/// A visit's place among `limit`; given back when dropped.
struct Turn<'a>(&'a Inner);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let active = self.0.active.fetch_sub(1, Ordering::AcqRel) - 1;
        self.0.status.send_modify(|status| status.tabs_active = active);
        self.0.freed.notify_one();
    }
}

/// A browser in use by a visit, also by one that is abandoned; left when dropped.
struct InUse<'a> {
    inner: &'a Inner,
    shared: Arc<Shared>,
}

impl<'a> InUse<'a> {
    fn new(inner: &'a Inner, shared: Arc<Shared>) -> InUse<'a> {
        shared.visits.fetch_add(1, Ordering::AcqRel);
        InUse { inner, shared }
    }
}

impl std::ops::Deref for InUse<'_> {
    type Target = Arc<Shared>;

    fn deref(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        // Without a runtime everything ends anyway.
        if tokio::runtime::Handle::try_current().is_ok() {
            self.inner.leave(&self.shared);
        }
    }
}

impl Inner {
    async fn turn(&self) -> Turn<'_> {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            let taken = self.active.fetch_update(Ordering::AcqRel, Ordering::Acquire, |active| {
                (active < self.limit.load(Ordering::Relaxed)).then_some(active + 1)
            });
            if let Ok(before) = taken {
                self.status.send_modify(|status| status.tabs_active = before + 1);
                return Turn(self);
            }
            freed.await;
        }
    }

    async fn visit_shared(self: &Arc<Self>, req: &VisitRequest) -> BrowserVisit {
        let shared = match timeout(req.fetch.page_timeout.0 + GRACE, self.browser()).await {
            Ok(Ok(shared)) => shared,
            Ok(Err(error)) => return failed(FailureClass::BrowserLost, &error.to_string()),
            Err(_) => return failed(FailureClass::BrowserLost, "no browser came up in time"),
        };
        let visit = self.visit_page(&shared, req).await;
        if matches!(visit.result, VisitResult::Answer(_)) {
            lock(&self.relaunch).worked();
            self.show_breaker();
            self.test_once(&shared);
        }
        let pages = shared.pages.fetch_add(1, Ordering::Relaxed) + 1;
        let old = pages >= self.config.pages_per_browser
            || shared.instance.born.elapsed() >= self.config.browser_max_age
            || shared.bloated.load(Ordering::Relaxed);
        // A browser that was replaced knows less than its successor.
        if !shared.retired.load(Ordering::Acquire) {
            shared.instance.keep_cookies(&req.session, old).await;
        }
        if old {
            self.succeed(&shared);
        }
        visit
    }

    /// A visit in a browser of its own, which is ended afterwards. Somebody else's browser is shared even then, so
    /// its loss points at the page only if no other was in flight.
    async fn visit_alone(self: &Arc<Self>, req: &VisitRequest) -> BrowserVisit {
        let shares = || self.config.attach.is_some() && self.active.load(Ordering::Acquire) > 1;
        let shared_before = shares();
        let instance = match self.launch(Duration::ZERO).await {
            Ok(instance) => Arc::new(instance),
            Err(error) => return failed(FailureClass::BrowserLost, &error.to_string()),
        };
        let shared = Arc::new(Shared::new(instance));
        let mut visit = self.visit_ordinary(&shared, req).await;
        if visit.crash == Some(CrashScope::Browser) && (shared_before || shares()) {
            visit.crash = None;
        }
        shared.drop_tabs();
        shared.instance.end(false).await;
        visit
    }

    fn browser_lost(&self) -> BrowserVisit {
        if self.closing.is_cancelled() {
            return failed(FailureClass::BrowserLost, "the daemon is stopping");
        }
        let mut visit = failed(FailureClass::BrowserLost, "the browser ended with the page in flight");
        visit.crash = Some(CrashScope::Browser);
        visit
    }

    /// Ends a browser that no longer does as told.
    async fn give_up_on(&self, shared: &Arc<Shared>, reason: &str) {
        tracing::warn!(reason, pid = shared.instance.pid(), "browser given up");
        shared.instance.end(false).await;
    }
}

/// A visit that failed before it began, or whose failure says nothing about the page.
fn failed(class: FailureClass, message: &str) -> BrowserVisit {
    let failure = VisitFailure {
        class,
        message: message.to_owned(),
        http_status: None,
        retry_after: None,
        ttfb: None,
        hops: Vec::new(),
    };
    BrowserVisit { result: VisitResult::Failed(failure), crash: None }
}
