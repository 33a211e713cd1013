//! The loads of a visit: in which kind of tab, and in the other where the first could not do it or is to be checked.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::time::error::Elapsed;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::{GRACE, Inner, failed};
use crate::browser::config::BrowserError;
use crate::browser::hook::OTHER_ORIGINS;
use crate::browser::report::BrowserVisit;
use crate::browser::shared::Shared;
use crate::browser::tab::Tab;
use crate::browser::visit::{self, Ended, Errand, Left, Papers};
use crate::browser::{agree, flags, frames, pictures};
use crate::model::outcome::FailureClass;
use crate::model::visit::{VisitRequest, VisitResult};
use crate::policy::tab_kind::{Start, TabKind, Taught};

/// A second load gets what is left of the page's deadline, and this much of it in any case.
const SECOND_LOAD: Duration = Duration::from_secs(10);

/// A tab is opened within the page's deadline, but not in less than this.
const OPENING: Duration = Duration::from_secs(5);

/// A load; what became of its tab is settled.
struct Loaded {
    visit: BrowserVisit,
    /// None where the load did not come to an end of its own.
    left: Option<Left>,
}

/// A tab at work. Dropped with its visit, it is closed: nobody knows what goes on in it.
pub(super) struct AtWork<'a> {
    shared: &'a Arc<Shared>,
    tasks: &'a TaskTracker,
    tab: Option<Tab>,
}

impl<'a> AtWork<'a> {
    pub(super) fn new(shared: &'a Arc<Shared>, tasks: &'a TaskTracker, tab: Tab) -> AtWork<'a> {
        AtWork { shared, tasks, tab: Some(tab) }
    }

    pub(super) fn get(&mut self) -> &mut Tab {
        self.tab.as_mut().expect("it is taken at the end only")
    }

    pub(super) fn done(mut self) -> Tab {
        self.tab.take().expect("it is taken once")
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        // Without a runtime everything ends anyway.
        if let (Some(tab), Ok(_)) = (self.tab.take(), tokio::runtime::Handle::try_current()) {
            let shared = Arc::clone(self.shared);
            self.tasks.spawn(async move { shared.close(tab).await });
        }
    }
}

impl Inner {
    /// Visits a page in this browser, in the kind of tab that its site has taught.
    pub(super) async fn visit_page(self: &Arc<Self>, shared: &Arc<Shared>, req: &VisitRequest) -> BrowserVisit {
        // What a frameless tab cannot show, or what must not be done twice.
        let page = &req.conduct.page;
        let counted = page.max_requests.is_some() || page.max_bytes.is_some();
        let device = req.fetch.device_scale.is_some() || req.fetch.mobile || req.fetch.touch;
        let sized = req.fetch.viewport.is_some() || device;
        // Where no frame is drawn, a picture never comes.
        let pictured = !req.extract.extra_time().is_zero();
        let listed = req.extract.requests;
        let start = match counted || listed || sized || pictured || page.behaves() {
            true => Start::Ordinary,
            false => self.sites.start(&req.url),
        };
        self.visit_from(shared, req, start).await
    }

    /// Visits a page in the kind of tab that is wanted, where the browser has it, and in the other where that is
    /// needed.
    pub(super) async fn visit_from(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        req: &VisitRequest,
        wanted: Start,
    ) -> BrowserVisit {
        let start = if wanted != Start::Ordinary && self.can_be_frameless(shared) { wanted } else { Start::Ordinary };
        let (kind, keep) = match start {
            Start::Ordinary => (TabKind::Ordinary, false),
            // A second request would come unpaced.
            Start::Frameless { keep } => (TabKind::Frameless, keep || req.gate.is_spaced()),
            Start::Compare => (TabKind::Frameless, true),
        };
        let began = Instant::now();
        let within = req.fetch.page_timeout.0;
        let first =
            self.load(shared, req, kind, self.errand(req, within, Papers::new(req.document.clone(), keep))).await;
        let Some(mut left) = first.left else { return first.visit };
        let needs_frames = kind == TabKind::Frameless && left.needs_frames(&first.visit);
        let broken = matches!(&first.visit.result, VisitResult::Failed(f) if visit::is_of_the_answer(f.class));
        let wanted = needs_frames || start == Start::Compare;
        let again = kind == TabKind::Frameless && wanted && !broken && !left.posted();
        let demand = left.seen.is_none_or(|seen| seen.demand != Some(0));
        let mut taught = Taught { demand, posted: left.posted(), agreed: None, unclear: false };
        if !again {
            if let Some(seen) = left.seen {
                self.sites.learn(&req.url, start, Some(seen.settled), taught);
            }
            return first.visit;
        }
        let time_left = within.saturating_sub(began.elapsed()).max(SECOND_LOAD.min(within));
        // A document that was given has no address: Chromium keeps its frames of other origins from private ones.
        let other_origins = left.seen.is_some_and(|seen| seen.demand.is_some_and(|bits| bits & OTHER_ORIGINS != 0));
        let papers = match other_origins {
            true => Papers::default(),
            false => std::mem::take(&mut left.papers).for_second_load(),
        };
        let reused = papers.has_first();
        if !reused && req.gate.is_spaced() {
            // A host that would have it wait for longer is asked all the same: the page has waited once already.
            let _ = timeout(SECOND_LOAD, req.gate.check(&req.url)).await;
        }
        let second = self.load(shared, req, TabKind::Ordinary, self.errand(req, time_left, papers)).await;
        if !needs_frames {
            taught.agreed = agree::found_all(&first.visit.result, &second.visit.result);
        }
        tracing::debug!(url = %req.url, demand = left.seen.and_then(|seen| seen.demand), agreed = taught.agreed, reused,
            "page loaded again in an ordinary tab");
        let settled = second.left.and_then(|left| left.seen).map(|seen| seen.settled);
        taught.unclear = settled.is_none_or(|settled| !settled.settled);
        self.sites.learn(&req.url, start, settled, taught);
        with_first_byte_of(second.visit, &first.visit, reused)
    }

    /// Visits a page in an ordinary tab, and learns nothing.
    pub(super) async fn visit_ordinary(&self, shared: &Arc<Shared>, req: &VisitRequest) -> BrowserVisit {
        let errand = self.errand(req, req.fetch.page_timeout.0, Papers::new(req.document.clone(), false));
        self.load(shared, req, TabKind::Ordinary, errand).await.visit
    }

    fn errand(&self, req: &VisitRequest, within: Duration, papers: Papers) -> Errand {
        Errand { within, patience: self.sites.patience(&req.url), papers }
    }

    /// Whether this browser can hold back frames. Tried once, beside the first visit that could use it.
    fn can_be_frameless(self: &Arc<Self>, shared: &Arc<Shared>) -> bool {
        if !flags::is_shell(&self.executable) {
            return false;
        }
        if let Some(able) = self.frameless.get() {
            return *able;
        }
        if !self.frameless_tried.swap(true, Ordering::AcqRel) {
            let (inner, shared) = (Arc::clone(self), Arc::clone(shared));
            self.tasks.spawn(async move { inner.try_frameless(&shared).await });
        }
        false
    }

    /// Tries it. What fails says nothing about frames: tried again then.
    pub(super) async fn try_frameless(&self, shared: &Shared) {
        match self.frameless.get_or_try_init(|| frames::can_be_held_back(&shared.instance)).await {
            Ok(true) => {}
            Ok(false) => tracing::info!("this browser draws frames in every tab: pages cost more"),
            Err(error) => {
                tracing::debug!(error = %error, "frame control not tried");
                self.frameless_tried.store(false, Ordering::Release);
            }
        }
    }

    /// Loads a page in a tab of this browser; the browser's end ends it at once.
    async fn load(&self, shared: &Arc<Shared>, req: &VisitRequest, kind: TabKind, errand: Errand) -> Loaded {
        let instance = &shared.instance;
        let over = |visit: BrowserVisit| Loaded { visit, left: None };
        let patience = self.config.reply_timeout.min(errand.within.max(OPENING));
        let opening = timeout(patience, shared.take_tab(req, kind, self.config.pages_per_tab)).await;
        let opening = opening
            .unwrap_or(Err(BrowserError::Command { step: "opening a tab", reason: "not done in time".to_owned() }));
        let mut tab = match opening {
            Ok(tab) => AtWork::new(shared, &self.tasks, tab),
            Err(BrowserError::Lost(_)) => return over(self.browser_lost()),
            Err(error) => {
                if shared.is_useless().await {
                    self.give_up_on(shared, &error.to_string()).await;
                }
                return over(failed(FailureClass::BrowserLost, &error.to_string()));
            }
        };
        let within = errand.within + GRACE + req.conduct.extra_time();
        let ended = tokio::select! {
            biased;
            () = instance.lost.cancelled() => None,
            () = self.closing.cancelled() => None,
            ended = async {
                let tab = tab.get();
                tab.sight.visits(req.url.as_str());
                if let Some(tap) = &tab.tap {
                    tap.begin();
                }
                let mut ended = timeout(within, visit::visit(tab, req, errand)).await?;
                if let (Some(tap), VisitResult::Answer(answer)) = (&tab.tap, &mut ended.result) {
                    tap.take(&mut answer.raw);
                }
                if kind == TabKind::Ordinary {
                    pictures::take(tab, req, &mut ended).await;
                }
                Ok::<_, Elapsed>(ended)
            } => Some(ended),
        };
        match ended {
            None => over(self.browser_lost()),
            Some(Ok(ended)) => {
                tab.get().pages += 1;
                let silent = |class| matches!(class, FailureClass::Timeout | FailureClass::Browser);
                let silent = matches!(&ended.result, VisitResult::Failed(failure) if silent(failure.class));
                if silent && !instance.lost.is_cancelled() && !instance.answers().await {
                    // Not the page and not its server: the browser itself hangs.
                    self.give_up_on(shared, "it does not answer").await;
                    return over(self.browser_lost());
                }
                if matches!(&ended.result, VisitResult::Failed(f) if f.class == FailureClass::BrowserLost) {
                    self.give_up_on(shared, "it has lost its way to the network").await;
                    return over(self.browser_lost());
                }
                // A dead browser can show first as a failed command.
                if instance.lost.is_cancelled()
                    && matches!(&ended.result, VisitResult::Failed(f) if f.class == FailureClass::Browser)
                {
                    return over(self.browser_lost());
                }
                shared.give_back(tab.done(), &req.session, ended.clean).await;
                let Ended { result, crash, left, .. } = ended;
                Loaded { visit: BrowserVisit { result, crash }, left: Some(left) }
            }
            Some(Err(_)) => {
                shared.give_back(tab.done(), &req.session, false).await;
                over(failed(FailureClass::Timeout, "the visit did not end by itself in time"))
            }
        }
    }
}

/// The server's first byte came with the first load, where the second did not ask it.
fn with_first_byte_of(mut second: BrowserVisit, first: &BrowserVisit, reused: bool) -> BrowserVisit {
    if let (true, VisitResult::Answer(answer), VisitResult::Answer(before)) =
        (reused, &mut second.result, &first.result)
    {
        answer.ttfb = before.ttfb;
        // It was given the same document, whole or not.
        answer.truncated |= before.truncated;
    }
    second
}
