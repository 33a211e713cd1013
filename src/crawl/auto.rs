//! A page in fetch mode `auto`: by plain HTTP, and by the browser where that is not enough.
//!
//! What was received once is not asked for again: the browser is given the document. Only where plain
//! HTTP was refused, or the document is too large to be kept, the browser asks itself, in a turn of its
//! own like any request.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};
use tracing::info;

use crate::crawl::links::sort_links;
use crate::crawl::worker::{Fetched, Visiting, failure_frame};
use crate::fetch::PlainVisit;
use crate::lock::lock;
use crate::model::checkpoint::LearnedMode;
use crate::model::ids::UrlNo;
use crate::model::lease::Links;
use crate::model::outcome::{FailureClass, FetchReason, FetchedWith};
use crate::model::task::FetchMode;
use crate::model::url::CanonicalUrl;
use crate::model::visit::{PageAnswer, VisitFailure, VisitRequest, VisitResult};
use crate::policy::render::{Difference, First, Found, Make, RenderBook, Second, Unchecked, compare};

/// Pages that wait for the browser to ask for them itself; more are asked for by plain HTTP again. Also pages that the
/// browser did not bring to an end and plain HTTP is to bring.
const POSTPONED_MOST: usize = 10_000;

/// What a session in mode `auto` knows.
pub struct Auto {
    tabs: Arc<Semaphore>,
    book: Mutex<RenderBook>,
    postponed: Mutex<HashMap<UrlNo, Postponed>>,
    /// What the browser did not bring to an end in time when it asked itself, in words: plain HTTP is to bring it.
    hung: Mutex<HashMap<UrlNo, String>>,
    /// Pages that ended by plain HTTP before it was seen that their like needs the browser.
    again: Mutex<Vec<Unchecked>>,
}

/// Why the browser is to ask for a page itself.
#[derive(Debug, Clone, Copy)]
struct Postponed {
    reason: FetchReason,
    make: Make,
}

impl Auto {
    /// With what an earlier lifetime learned. `tabs`: pages rendered at once, over all sessions.
    pub fn new(tabs: Arc<Semaphore>, learned: &BTreeMap<String, LearnedMode>) -> Self {
        let mut book = RenderBook::default();
        book.restore(learned);
        Auto {
            tabs,
            book: Mutex::new(book),
            postponed: Mutex::default(),
            hung: Mutex::default(),
            again: Mutex::default(),
        }
    }

    /// What was learned, for the checkpoint: at most so many kinds of pages.
    pub fn learned(&self, most: usize) -> BTreeMap<String, LearnedMode> {
        lock(&self.book).learned(most)
    }

    fn learn(&self, url: &CanonicalUrl, make: &Make, difference: Option<Difference>) {
        let learned = lock(&self.book).learn(url, make, difference);
        if learned.changed {
            let (needs_browser, why) = (difference.is_some(), difference.map_or("none", Difference::as_str));
            let again = learned.again.len();
            info!(url = %url, needs_browser, difference = why, again, "fetch mode of pages like this changed");
        }
        lock(&self.again).extend(learned.again);
    }

    /// Pages that have ended and are to be asked for again, except those whose visits `runs` says are under way: their
    /// ends are still to come, and they stay for the next call.
    pub(super) fn take_again(&self, runs: impl Fn(UrlNo) -> bool) -> Vec<CanonicalUrl> {
        let mut again = lock(&self.again);
        let (stay, ready) = std::mem::take(&mut *again).into_iter().partition(|page: &Unchecked| runs(page.no));
        *again = stay;
        ready.into_iter().map(|page: Unchecked| page.url).collect()
    }

    /// Remembers that the browser could not do it. Returns whether plain HTTP will.
    fn hangs(&self, no: UrlNo, why: &str) -> bool {
        let mut hung = lock(&self.hung);
        let room = hung.len() < POSTPONED_MOST;
        if room {
            hung.insert(no, why.to_owned());
        }
        room
    }

    fn postpone(&self, no: UrlNo, reason: FetchReason, make: Make) {
        let mut postponed = lock(&self.postponed);
        if postponed.len() < POSTPONED_MOST {
            postponed.insert(no, Postponed { reason, make });
        }
    }
}

/// Visits a page. `permit` is its place among the plain requests, given back before it waits for a tab.
pub(super) async fn visit(visiting: &Visiting<'_>, permit: Result<SemaphorePermit<'_>, AcquireError>) -> Fetched {
    let Visiting { shop, lease, .. } = visiting;
    let postponed = lock(&shop.auto.postponed).remove(&lease.no);
    let hung = lock(&shop.auto.hung).remove(&lease.no);
    let first = match postponed {
        _ if hung.is_some() => First::Plain,
        Some(postponed) => First::Browser(postponed.reason),
        None if lease.url.is_route() => First::Browser(FetchReason::Route),
        None => lock(&shop.auto.book).first(&lease.url, lease.attempt),
    };
    if let Some(trouble) = hung {
        let fetched = visiting.in_time(instead(visiting, trouble)).await;
        drop(permit);
        return fetched;
    }
    if let First::Browser(reason) = first {
        drop(permit);
        let mut fetched = straight(visiting, reason).await;
        // A route is nothing without the browser, and what plain HTTP is refused it cannot bring instead.
        if !matches!(reason, FetchReason::Route | FetchReason::Refused)
            && let Some(trouble) = out_of_time(&fetched.result).filter(|_| has_answered(&fetched.result))
        {
            fetched.postponed |= shop.auto.hangs(lease.no, &trouble);
        }
        if let (Some(Postponed { reason: FetchReason::Refused, make }), VisitResult::Answer(answer)) =
            (postponed, &fetched.result)
        {
            let same = answer.http_status == make.status;
            shop.auto.learn(&lease.url, &make, (!same).then_some(Difference::Status));
        }
        return fetched;
    }
    let mut received = None;
    let fetched = visiting.in_time(plain(visiting, &mut received)).await;
    drop(permit);
    match received {
        Some((plain, reason)) => rendered(visiting, plain, reason).await,
        None => fetched,
    }
}

/// What went wrong with a page that the browser did not bring to an end in time.
fn out_of_time(result: &VisitResult) -> Option<String> {
    match result {
        VisitResult::Failed(failure) if failure.class == FailureClass::Timeout => {
            Some(format!("not rendered in time: {}", failure.message))
        }
        _ => None,
    }
}

/// The server did its part, and the page did not come to an end.
fn has_answered(result: &VisitResult) -> bool {
    matches!(result, VisitResult::Failed(failure) if failure.http_status.is_some())
}

/// What plain HTTP brings of a page that the browser did not bring to an end.
async fn instead(visiting: &Visiting<'_>, trouble: String) -> Fetched {
    if let Err(barred) = visiting.gate.check_first().await {
        return Fetched::barred(barred);
    }
    match visiting.shop.fetchers.plain(&visiting.request()).await {
        Ok(PlainVisit { result, .. }) => Fetched::new(with_trouble(result, trouble), NOT_IN_TIME),
        Err(message) => {
            let failure = VisitFailure { class: FailureClass::BrowserLost, message, ..failure_frame() };
            Fetched::new(VisitResult::Failed(failure), None)
        }
    }
}

const NOT_IN_TIME: Option<(FetchedWith, FetchReason)> = Some((FetchedWith::Http, FetchReason::NotInTime));

fn with_trouble(mut result: VisitResult, trouble: String) -> VisitResult {
    if let VisitResult::Answer(answer) = &mut result {
        answer.trouble = Some(trouble);
    }
    result
}

/// The browser alone.
async fn straight(visiting: &Visiting<'_>, reason: FetchReason) -> Fetched {
    visiting.gate.browser_asks();
    let asking = async {
        match visiting.gate.check_first().await {
            Ok(()) => browse(visiting, visiting.request(), reason).await,
            Err(barred) => Fetched::barred(barred),
        }
    };
    in_a_tab(visiting, asking).await
}

/// A page by plain HTTP; `received` is set when it is to be rendered as well.
async fn plain(visiting: &Visiting<'_>, received: &mut Option<(Plain, FetchReason)>) -> Fetched {
    let Visiting { shop, lease, gate, .. } = visiting;
    if let Err(barred) = gate.check_first().await {
        return Fetched::barred(barred);
    }
    let visit = match shop.fetchers.plain(&visiting.request()).await {
        Ok(visit) => visit,
        Err(message) => {
            let failure = VisitFailure { class: FailureClass::BrowserLost, message, ..failure_frame() };
            return Fetched::new(VisitResult::Failed(failure), None);
        }
    };
    let ended = |result, reason| Fetched::new(result, Some((FetchedWith::Http, reason)));
    let PlainVisit { result, signs, document } = visit;
    let VisitResult::Answer(answer) = result else { return ended(result, FetchReason::NotRendered) };
    let signs = signs.unwrap_or_default();
    let refused = refuses(answer.http_status);
    let make = Make { shape: signs.shape, scripts: signs.scripts, hollow: signs.hollow, status: answer.http_status };
    if signs == Default::default() && document.is_none() && !refused {
        return ended(VisitResult::Answer(answer), FetchReason::NotRendered);
    }
    let at = answer.hops.last().unwrap_or(&lease.url);
    let second = lock(&shop.auto.book).second(lease.no, at, &make);
    match (second, document) {
        (Second::Enough, _) => ended(VisitResult::Answer(answer), FetchReason::Agrees),
        (Second::Render(reason), Some(document)) if !refused => {
            let mut request = visiting.request();
            request.url = at.clone();
            request.document = Some(document);
            *received = Some((Plain { answer, make, request }, reason));
            Fetched::new(VisitResult::Answer(Box::default()), None)
        }
        (Second::Render(reason), _) => {
            shop.auto.postpone(lease.no, if refused { FetchReason::Refused } else { reason }, make);
            let nothing = ended(VisitResult::Answer(answer), reason);
            Fetched { postponed: true, ..nothing }
        }
    }
}

/// Statuses by which servers turn away those that are no browsers.
fn refuses(status: u16) -> bool {
    matches!(status, 401 | 403 | 406)
}

/// What plain HTTP brought, and what the browser is to be asked.
struct Plain {
    answer: Box<PageAnswer>,
    make: Make,
    request: VisitRequest,
}

/// Renders what plain HTTP brought, compares, and learns.
async fn rendered(visiting: &Visiting<'_>, plain: Plain, reason: FetchReason) -> Fetched {
    let Visiting { shop, gate, .. } = visiting;
    let Plain { answer: plain, make, request } = plain;
    let at = request.url.clone();
    gate.browser_asks();
    let rendering = async {
        match gate.check_address(&at).await {
            Ok(()) => browse(visiting, request, reason).await,
            Err(refusal) => Fetched::refused(refusal),
        }
    };
    let mut fetched = in_a_tab(visiting, rendering).await;
    if let Some(trouble) = out_of_time(&fetched.result) {
        let result = with_trouble(VisitResult::Answer(plain), trouble);
        return Fetched { waited: fetched.waited, ..Fetched::new(result, NOT_IN_TIME) };
    }
    match &mut fetched.result {
        VisitResult::Answer(answer) => {
            let difference = differs(visiting, &plain, answer);
            shop.auto.learn(&at, &make, difference);
            if answer.hops.is_empty() {
                (answer.ttfb, answer.bytes) = (plain.ttfb, plain.bytes);
            }
        }
        VisitResult::Refused { .. } | VisitResult::Download(_) => shop.auto.learn(&at, &make, Some(Difference::Moved)),
        // Nothing was learned; where plain HTTP is trusted, its page is as good as without the sample.
        VisitResult::Failed(_) if reason == FetchReason::Sample => {
            let way = Some((FetchedWith::Http, FetchReason::Agrees));
            return Fetched { waited: fetched.waited, ..Fetched::new(VisitResult::Answer(plain), way) };
        }
        VisitResult::Failed(_) => {}
    }
    // The way to the page, which the browser was sent to directly.
    let hops = match &mut fetched.result {
        VisitResult::Answer(answer) | VisitResult::Download(answer) => &mut answer.hops,
        VisitResult::Refused { hops, .. } => hops,
        VisitResult::Failed(failure) => &mut failure.hops,
    };
    hops.splice(..0, plain.hops.iter().cloned());
    fetched
}

fn differs(visiting: &Visiting<'_>, plain: &PageAnswer, rendered: &PageAnswer) -> Option<Difference> {
    let (plain_links, rendered_links) = (crawled(visiting, plain), crawled(visiting, rendered));
    compare(&found(plain, &plain_links, false), &found(rendered, &rendered_links, !rendered.hops.is_empty()))
}

/// The links of an answer that belong to the crawl.
fn crawled(visiting: &Visiting<'_>, answer: &PageAnswer) -> Links {
    let Visiting { shop, lease, .. } = visiting;
    let hrefs = answer.links.iter().map(|link| link.href.as_str());
    sort_links(&shop.in_force.now().rules, hrefs, lease.depth + 1, lease.hops)
}

fn found<'a>(answer: &'a PageAnswer, links: &'a Links, moved: bool) -> Found<'a> {
    Found {
        moved,
        status: answer.http_status,
        nofollow: answer.nofollow,
        links: links.accepted.iter().map(|link| link.url.as_str()).collect(),
        title: answer.title.as_deref().unwrap_or_default(),
        text: answer.text.as_deref(),
        fields: Some(&answer.fields),
    }
}

/// Asks the browser.
async fn browse(visiting: &Visiting<'_>, request: VisitRequest, reason: FetchReason) -> Fetched {
    let visit = visiting.shop.fetchers.visit(FetchMode::Browser, request).await;
    let way = Some((FetchedWith::Browser, reason));
    Fetched { crashed: visit.crash.is_some(), ..Fetched::new(visit.result, way) }
}

/// Waits for a tab, for as long as other visits take, and then runs the part in its time.
async fn in_a_tab(visiting: &Visiting<'_>, part: impl Future<Output = Fetched>) -> Fetched {
    let since = Instant::now();
    let tab = visiting.shop.auto.tabs.acquire().await;
    let waited = since.elapsed();
    let fetched = visiting.in_time(part).await;
    drop(tab);
    Fetched { waited, ..fetched }
}
