//! One visit, start to end: a straight async function with a deadline on every step.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, oneshot};
use tracing::warn;

use crate::clock::Clock;
use crate::crawl::auto::{self, Auto};
use crate::crawl::gate::{Barred, Gate, Learned, RobotsDesk};
use crate::crawl::governor::{HostGovernor, HostGrant, VisitSignal};
use crate::crawl::judge::{Judge, Visited};
use crate::crawl::keep::{Keeper, take_raw};
use crate::crawl::links::sort_entries;
use crate::crawl::login::{LoginDesk, NoEntry};
use crate::crawl::terms::InForce;
use crate::egress::Egress;
use crate::fetch::sitemap::SitemapEntry;
use crate::fetch::{Fetchers, HttpClient};
use crate::model::conduct::Conduct;
use crate::model::host::BreakerState;
use crate::model::ids::{Epoch, SessionId};
use crate::model::kept::Raw;
use crate::model::lease::{HostUpdate, Lease, Links, UrlKind, VisitEnd};
use crate::model::long::LongOperations;
use crate::model::outcome::{FailureClass, FetchReason, FetchedWith, SkipReason};
use crate::model::task::{ExtractSpec, FetchMode, FetchSpec};
use crate::model::visit::{Refusal, VisitFailure, VisitRequest, VisitResult, WayOut};
use crate::policy::retry;
use crate::state::inflight::InflightNote;

/// Added to the page deadline for the steps around it: robots.txt, names, the wait for a tab to close.
const AROUND_PAGE: Duration = Duration::from_secs(60);

/// What all visits of a session share.
pub struct Workshop {
    /// The session.
    pub session: SessionId,
    /// This lifetime.
    pub epoch: Epoch,
    /// How pages are fetched.
    pub mode: FetchMode,
    /// The task's fetch settings.
    pub fetch: Arc<FetchSpec>,
    /// The task's extraction.
    pub extract: Arc<ExtractSpec>,
    /// How pages are gone about.
    pub conduct: Arc<Conduct>,
    /// Scope and politeness, which an operator may change.
    pub in_force: InForce,
    /// Plain HTTP; knows which addresses may be reached.
    pub client: Arc<HttpClient>,
    /// Whether `/sitemap.xml` is tried where that names none.
    pub probe_sitemaps: bool,
    /// robots.txt.
    pub robots: RobotsDesk,
    /// The daemon's host memory.
    pub governor: HostGovernor,
    /// The browser's way to the network; `None` where no browser is used.
    pub egress: Option<Arc<Egress>>,
    /// Both ways to fetch.
    pub fetchers: Arc<Fetchers>,
    /// Visits at once over all sessions; fair.
    pub slots: Arc<Semaphore>,
    /// What mode `auto` has learned.
    pub auto: Auto,
    /// Whether somebody is logged in.
    pub login: LoginDesk,
    /// Makes what pages leave behind by option.
    pub keeper: Keeper,
    /// What takes long with pages.
    pub long: LongOperations,
    /// Which visits have started, for the next lifetime to know.
    pub note: Arc<InflightNote>,
    /// The wall clock.
    pub clock: Clock,
}

/// Links that a sitemap's visit found so far, committed while its lease is held.
#[derive(Debug)]
pub struct PartialLinks {
    /// The sitemap.
    pub lease: Lease,
    /// At most 1,000.
    pub links: Links,
    /// Told after the commit.
    pub done: oneshot::Sender<()>,
}

/// What a finished visit hands to the controller.
#[derive(Debug)]
pub struct Done {
    /// The visit's end.
    pub end: VisitEnd,
    /// The host's memory after it.
    pub host: HostUpdate,
    /// What robots.txt said besides.
    pub learned: Learned,
    /// What the host did wrong, in a few words; `None` when it answered.
    pub trouble: Option<String>,
    /// How long the visit took.
    pub took: Duration,
}

/// Visits one leased URL. Never longer than the page deadline and a minute once it has its slot; in mode
/// `auto` that twice, and the wait for a tab between.
///
/// `slot` is the visit's place in the in-flight note. The grant is given back with what the visit
/// taught about the host; dropped on the way (the task was aborted), it teaches nothing.
pub async fn work(
    shop: Arc<Workshop>,
    lease: Lease,
    grant: HostGrant,
    slot: usize,
    partial: mpsc::Sender<PartialLinks>,
) -> Done {
    let gate = Arc::new(Gate::new(&shop, lease.clone()));
    let visiting = Visiting { shop: &shop, lease: &lease, gate: &gate, slot };
    let (refused, latest) = match visiting.enter().await {
        Ok(latest) => (None, latest),
        Err(refused) => (Some(refused), 0),
    };
    // The wait for a slot belongs to no deadline: other sessions' visits, each with its own, fill it.
    let permit = shop.slots.acquire().await;
    let started_at = shop.clock.now();
    let clock = Instant::now();
    let mut fetched = match (refused, shop.mode, lease.kind) {
        (Some(refused), ..) => refused,
        (None, FetchMode::Auto, UrlKind::Page) => auto::visit(&visiting, permit).await,
        _ => {
            let fetched = visiting.in_time(fetch(&visiting, &partial)).await;
            drop(permit);
            fetched
        }
    };
    fetched.postponed |= visiting.nobody_is_in(&fetched.result, latest);
    let Fetched { mut result, crashed, way, waited, postponed } = fetched;
    let took = clock.elapsed().saturating_sub(waited);
    let now = shop.clock.now();
    let learned = gate.learned();
    // A URL that robots.txt forbids costs its host nothing, so it is not left alone for it.
    let forbidden = matches!(&result, VisitResult::Refused { hops, .. } if hops.is_empty()) && !postponed;
    let terms = shop.in_force.now();
    let host = match forbidden && !gate.has_sent() && learned.fresh.is_empty() {
        true => grant.unused(),
        false => grant.finish(&terms.politeness, signal(&result, crashed).of_attempt(lease.attempt), now),
    };
    let host_down = host.breaker.state != BreakerState::Closed;
    let host = HostUpdate { host_key: lease.url.host_key().to_owned(), state: host };
    let judge = Judge {
        rules: &terms.rules,
        attempts: shop.fetch.attempts,
        epoch: shop.epoch,
        now,
        host_down,
        random: fastrand::f64(),
    };
    let trouble = trouble(&result, &lease);
    let raw = take_raw(&mut result);
    let mut end = match postponed {
        true => VisitEnd::Released { lease },
        false => judge.end(Visited { lease, result, crashed, started_at, took, way }),
    };
    if raw != Raw::default() {
        // What is made of the page is as much its doing as what its visit did.
        let _mark = Mark::set(&shop.note, slot, end.lease());
        shop.keeper.keep(raw, &mut end, shop.clock.now()).await;
    }
    shop.fetchers.keep_cookies(false).await;
    Done { end, host, learned, trouble, took }
}

/// A visit's entry in the in-flight note, for as long as the visit lasts.
struct Mark<'a> {
    note: &'a InflightNote,
    slot: usize,
}

impl<'a> Mark<'a> {
    /// A note that cannot be written makes every leased URL a suspect after a crash: safe, so go on.
    fn set(note: &'a InflightNote, slot: usize, lease: &Lease) -> Self {
        if let Err(error) = note.start(slot, lease.no, lease.attempt, lease.suspect) {
            warn!(%error, url = %lease.url, "visit not noted");
        }
        Mark { note, slot }
    }
}

impl Drop for Mark<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.note.end(self.slot) {
            warn!(%error, "end of a visit not noted");
        }
    }
}

/// How the fetching part of a visit ended.
pub(super) struct Fetched {
    pub(super) result: VisitResult,
    pub(super) crashed: bool,
    /// `None`: nothing was asked for.
    pub(super) way: Option<(FetchedWith, FetchReason)>,
    /// Time in which nothing was done for the page.
    pub(super) waited: Duration,
    /// It is to be asked for again, in another way and in its turn; nothing of it counts.
    pub(super) postponed: bool,
}

impl Fetched {
    pub(super) fn new(result: VisitResult, way: Option<(FetchedWith, FetchReason)>) -> Self {
        Fetched { result, crashed: false, way, waited: Duration::ZERO, postponed: false }
    }

    fn failed(failure: VisitFailure) -> Self {
        Fetched::new(VisitResult::Failed(failure), None)
    }

    /// The gate said no, or not yet.
    pub(super) fn barred(why: Barred) -> Self {
        match why {
            Barred::Refused(refusal) => Fetched::refused(refusal),
            Barred::NotYet => Fetched::given_back(),
        }
    }

    /// The lease is given back, and nothing is said of the host.
    fn given_back() -> Self {
        Fetched { postponed: true, ..Fetched::refused(Refusal::Skip(SkipReason::Cancelled)) }
    }

    pub(super) fn refused(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Skip(reason) => Fetched::new(VisitResult::Refused { hops: Vec::new(), reason }, None),
            Refusal::Fail(class, message) => Fetched::failed(VisitFailure { class, message, ..failure_frame() }),
        }
    }
}

/// One visit's surroundings.
pub(super) struct Visiting<'a> {
    pub(super) shop: &'a Workshop,
    pub(super) lease: &'a Lease,
    pub(super) gate: &'a Arc<Gate>,
    slot: usize,
}

impl Visiting<'_> {
    /// Runs a part of the visit: marked as under way, and ended in time.
    pub(super) async fn in_time(&self, part: impl Future<Output = Fetched>) -> Fetched {
        let _mark = Mark::set(&self.shop.note, self.slot, self.lease);
        let _ = crate::faults::point("panic.visit");
        let extra = self.shop.extract.extra_time() + self.shop.conduct.extra_time();
        let deadline = self.shop.fetch.page_timeout.0 + extra + AROUND_PAGE;
        tokio::time::timeout(deadline, part).await.unwrap_or_else(|_| {
            Fetched::failed(VisitFailure {
                class: FailureClass::Timeout,
                message: format!("the visit took longer than {} s", deadline.as_secs()),
                ..failure_frame()
            })
        })
    }

    /// Logs the session in where that is due, before a page's visit begins.
    async fn enter(&self) -> Result<u64, Fetched> {
        if self.lease.kind == UrlKind::Sitemap {
            return Ok(0);
        }
        let entered = self.shop.login.enter(self.shop.fetchers.browser.as_deref(), &self.request()).await;
        entered.map_err(|why| match why {
            NoEntry::Failed => Fetched::given_back(),
            NoEntry::NoBrowser(message) => {
                Fetched::failed(VisitFailure { class: FailureClass::BrowserLost, message, ..failure_frame() })
            }
        })
    }

    /// Whether the page was that of nobody logged in, and is to be visited again after the next login.
    fn nobody_is_in(&self, result: &VisitResult, latest: u64) -> bool {
        let (shows, hops) = match result {
            VisitResult::Answer(answer) => (answer.logged_out, &answer.hops),
            VisitResult::Refused { hops, .. } => (false, hops),
            VisitResult::Download(_) | VisitResult::Failed(_) => return false,
        };
        let last = hops.last().map(|url| url.as_str());
        self.shop.login.is_over(self.lease.no, self.lease.url.as_str(), latest, shows, last)
    }

    /// What a fetcher is asked.
    pub(super) fn request(&self) -> VisitRequest {
        VisitRequest {
            session: self.shop.session.clone(),
            url: self.lease.url.clone(),
            solo: self.lease.suspect,
            fetch: self.shop.fetch.clone(),
            extract: self.shop.extract.clone(),
            conduct: self.shop.conduct.clone(),
            gate: self.gate.clone(),
            document: None,
            way_out: self.shop.egress.clone().map(|egress| egress as Arc<dyn WayOut>),
            long: self.shop.long.clone(),
        }
    }
}

async fn fetch(visiting: &Visiting<'_>, partial: &mpsc::Sender<PartialLinks>) -> Fetched {
    let Visiting { shop, lease, gate, .. } = visiting;
    if let Err(barred) = gate.check_first().await {
        return Fetched::barred(barred);
    }
    let request = visiting.request();
    if lease.kind == UrlKind::Sitemap {
        let result = shop.fetchers.sitemap(request, |entries| announce(shop, lease, entries, partial)).await;
        return Fetched::new(result, Some((FetchedWith::Http, FetchReason::Mode)));
    }
    let with = if shop.mode == FetchMode::Http { FetchedWith::Http } else { FetchedWith::Browser };
    let visit = shop.fetchers.visit(shop.mode, request).await;
    Fetched { crashed: visit.crash.is_some(), ..Fetched::new(visit.result, Some((with, FetchReason::Mode))) }
}

/// Has a sitemap's entries committed before the next are read. The deadline is the visit's.
async fn announce(shop: &Workshop, lease: &Lease, entries: Vec<SitemapEntry>, partial: &mpsc::Sender<PartialLinks>) {
    let links = sort_entries(&shop.in_force.now().rules, lease, &entries);
    let (done, committed) = oneshot::channel();
    if partial.send(PartialLinks { lease: lease.clone(), links, done }).await.is_ok() {
        // An error means that the controller is gone: then this task is about to be aborted.
        let _ = committed.await;
    }
}

/// A failure before anything was received.
pub(super) fn failure_frame() -> VisitFailure {
    VisitFailure {
        class: FailureClass::Timeout,
        message: String::new(),
        http_status: None,
        retry_after: None,
        ttfb: None,
        hops: Vec::new(),
    }
}

/// Says which host did not do its part, and how.
fn trouble(result: &VisitResult, lease: &Lease) -> Option<String> {
    match result {
        // The browser is ours, not the host's.
        VisitResult::Failed(failure) if failure.class == FailureClass::BrowserLost => None,
        VisitResult::Failed(failure) => Some(format!("{} failed last ({})", lease.url.host_key(), failure.class)),
        _ => None,
    }
}

/// What a visit teaches about its host. A crash and a refusal of ours say nothing about it.
fn signal(result: &VisitResult, crashed: bool) -> VisitSignal {
    if crashed {
        return VisitSignal::Neutral;
    }
    match result {
        VisitResult::Answer(answer) | VisitResult::Download(answer) => {
            match retry::classify_status(answer.http_status, answer.retry_after.is_some()) {
                None => VisitSignal::Ok { ttfb: answer.ttfb },
                Some(FailureClass::Throttled) => VisitSignal::Throttled { retry_after: answer.retry_after },
                Some(class) => VisitSignal::Failed(class),
            }
        }
        VisitResult::Refused { .. } => VisitSignal::Neutral,
        VisitResult::Failed(failure) if failure.class == FailureClass::Throttled => {
            VisitSignal::Throttled { retry_after: failure.retry_after }
        }
        VisitResult::Failed(failure) => VisitSignal::Failed(failure.class),
    }
}
