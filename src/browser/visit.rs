//! One visit in one tab: an event machine that ends in time, whatever the page does.

mod behaving;
mod documents;
mod hanging;
mod left;
mod papers;
mod reading;
mod resources;

pub(super) use left::{Left, Seen, is_of_the_answer};
pub(super) use papers::Papers;

use std::pin::Pin;
use std::time::Duration;

use chromiumoxide::cdp::browser_protocol::network::ErrorReason;
use chromiumoxide::cdp::browser_protocol::page::{
    DialogType, HandleJavaScriptDialogParams, NavigateParams, NavigateReturns,
};
use chromiumoxide::cdp::js_protocol::runtime::TerminateExecutionParams;
use chromiumoxide::error::CdpError;
use chromiumoxide::types::Command;
use futures_util::{FutureExt, StreamExt};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::behave::Behaved;
use super::classify::{net_error, says_nothing};
use super::extract::Extracted;
use super::instance::Signal;
use super::read::ReadError;
use super::report::CrashScope;
use super::response::Head;
use super::tab::{Event, Navigate, Tab};
use crate::model::outcome::FailureClass;
use crate::model::url::{CanonicalUrl, is_route};
use crate::model::visit::{PageAnswer, Refusal, VisitFailure, VisitRequest, VisitResult};
use crate::policy::settle::Patience;
use behaving::Acting;
use resources::Spent;
pub(super) use resources::{patterns, with_own_headers};

/// A page is read this long after its DOM is ready, even if images and the like are still missing.
const LOAD_AFTER_READY: Duration = Duration::from_secs(10);
/// Replies to small commands on a page.
const SMALL: Duration = Duration::from_secs(5);
/// A script that is told to stop while it shows a dialog says so only after the next one at times.
const STOPS_WITHIN: Duration = Duration::from_millis(300);
/// The browser says that a renderer died at about the time when commands to its page fail, before or after.
const CRASH_SAID_WITHIN: Duration = Duration::from_millis(500);
/// Dialogs answered before the page's script is stopped each time.
const DIALOGS_PATIENCE: u32 = 20;
/// Addresses that scripts opened, in a window or in the page itself, which are kept as links.
const WINDOWS_MAX: usize = 100;

/// How a visit ended.
pub(super) struct Ended {
    /// The result.
    pub result: VisitResult,
    /// What crashed.
    pub crash: Option<CrashScope>,
    /// The tab can be used again.
    pub clean: bool,
    /// What another load would go by.
    pub left: Left,
}

/// What a load has to go by.
pub(super) struct Errand {
    /// Deadline of the whole.
    pub within: Duration,
    /// How long the page may take to settle.
    pub patience: Patience,
    /// Documents that are known already, and whether to keep those that come.
    pub papers: Papers,
}

/// A document whose response was let through.
struct Document {
    loader: Option<String>,
    head: Head,
}

/// How a document ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broke {
    /// It was longer than allowed.
    Cut,
    /// Nobody knows.
    Off,
}

type Reply = Pin<Box<dyn Future<Output = Result<NavigateReturns, CdpError>> + Send>>;
type Reading = Pin<Box<dyn Future<Output = Result<Extracted, ReadError>> + Send>>;

/// What woke the machine.
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart at once")]
enum Wake {
    Signal(Option<Signal>),
    Event(Option<Event>),
    Reply(Result<NavigateReturns, CdpError>),
    Read(Result<Extracted, ReadError>),
    Behaved(Behaved),
    Clock,
}

/// The machine's state.
struct Visit<'a> {
    tab: &'a mut Tab,
    req: &'a VisitRequest,
    /// Loading is given up at this time; what is left until `end` is for reading what there is.
    give_up: Instant,
    end: Instant,
    asked: bool,
    asked_at: Instant,
    redirects: u32,
    hops: Vec<CanonicalUrl>,
    ttfb: Option<Duration>,
    document: Option<Document>,
    /// Its document has taken the place of the one before.
    committed: bool,
    /// When it is looked what its document waits for.
    look_at: Option<Instant>,
    ready_at: Option<Instant>,
    loaded: bool,
    /// When its loading ended, well or not.
    stopped_at: Option<Instant>,
    /// Its document ended before its end.
    broke: Option<Broke>,
    reply: Option<Reply>,
    reading: Option<(Reading, Instant)>,
    /// Its network has been idle once.
    idle: bool,
    /// Read already, but its modules may still bring something: read again when its network is idle, or then.
    early: Option<(Extracted, Instant)>,
    /// Read, and done with at that time unless something comes between.
    held: Option<(Extracted, Instant)>,
    /// The page's script was stopped, or loading was: what is read is not all.
    forced: bool,
    clean: bool,
    dialogs: u32,
    windows: Vec<String>,
    patience: Patience,
    papers: Papers,
    seen: Option<Seen>,
    spent: Spent,
    acting: Acting,
}

/// Visits `req.url` in `tab`, within `errand.within`.
pub(super) async fn visit(tab: &mut Tab, req: &VisitRequest, errand: Errand) -> Ended {
    let now = Instant::now();
    let whole = errand.within;
    let reserve = (whole / 4).clamp(Duration::from_millis(500), Duration::from_secs(8));
    let mut visit = Visit {
        tab,
        req,
        give_up: now + whole.saturating_sub(reserve),
        end: now + whole,
        asked: false,
        asked_at: now,
        redirects: 0,
        hops: Vec::new(),
        ttfb: None,
        document: None,
        committed: false,
        look_at: None,
        ready_at: None,
        loaded: false,
        stopped_at: None,
        broke: None,
        reply: None,
        reading: None,
        idle: false,
        early: None,
        held: None,
        forced: false,
        clean: true,
        dialogs: 0,
        windows: Vec::new(),
        patience: errand.patience,
        papers: errand.papers,
        seen: None,
        spent: Spent::default(),
        acting: Acting::default(),
    };
    let end = match visit.clear_backlog().await {
        Some(end) => end,
        None => visit.run().await,
    };
    let (result, crash) = visit.or_crash(end).await;
    let reply_came = visit.await_reply().await;
    // A page that was not left for another may go elsewhere at any moment, under the next visit.
    let left_behind = visit.redirects > 0 && !matches!(result, VisitResult::Answer(_));
    let clean = visit.clean && reply_came && crash.is_none() && !visit.forced && visit.dialogs == 0 && !left_behind;
    Ended { result, crash, clean, left: Left { seen: visit.seen, papers: visit.papers } }
}

/// A result, and what crashed.
type End = (VisitResult, Option<CrashScope>);

impl Visit<'_> {
    /// What the page before may have left: requests that nobody answers any more, open dialogs, and its own end.
    async fn clear_backlog(&mut self) -> Option<End> {
        while let Some(Some(event)) = self.tab.events.next().now_or_never() {
            match event {
                Event::Paused(paused) => self.fail(&paused, ErrorReason::Aborted).await,
                Event::Dialog(_) => self.answer_dialog(false).await,
                Event::Lifecycle(_) | Event::Stopped(_) | Event::Bytes(_) => {}
                Event::Window(_) | Event::Within(_) => {}
            }
        }
        let ended_by = self.tab.ended_by()?;
        self.on_signal(Some(ended_by))
    }

    /// A renderer's death can show first as a command that failed: waits a moment for the word of it.
    async fn or_crash(&mut self, end: End) -> End {
        if !matches!(&end, (VisitResult::Failed(failure), None) if failure.class == FailureClass::Browser) {
            return end;
        }
        let due = Instant::now() + CRASH_SAID_WITHIN;
        while let Ok(Some(signal)) = timeout_at(due, self.tab.listening.signals.recv()).await {
            if let Signal::Crashed(_) = signal {
                return self.on_signal(Some(signal)).unwrap_or(end);
            }
        }
        end
    }

    async fn run(&mut self) -> End {
        let page = self.tab.page.clone();
        let params = NavigateParams::new(self.req.url.as_str());
        self.reply = Some(Box::pin(async move { Ok(page.execute(Navigate(params)).await?.result) }));
        self.tab.blank = false;
        self.asked_at = Instant::now();
        loop {
            // Looked at here as well, because events come before the clock and may never run dry.
            if Instant::now() >= self.end {
                self.clean = false;
                return self.fail_with(FailureClass::Timeout, "the page did not come to an end in time");
            }
            let wake = self.wait().await;
            let end = match wake {
                Wake::Signal(signal) => self.on_signal(signal),
                Wake::Event(Some(event)) => self.on_event(event).await,
                Wake::Event(None) => Some(self.fail_with(FailureClass::Browser, "the tab went away")),
                Wake::Reply(reply) => self.on_reply(reply),
                Wake::Read(read) => self.on_read(read),
                Wake::Behaved(behaved) => {
                    self.on_behaved(behaved).await;
                    None
                }
                Wake::Clock => self.on_clock().await,
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    async fn wait(&mut self) -> Wake {
        let wake_at = self.wake_at();
        let reply = async {
            match &mut self.reply {
                Some(reply) => reply.await,
                None => std::future::pending().await,
            }
        };
        let reading = async {
            match &mut self.reading {
                Some((reading, _)) => reading.await,
                None => std::future::pending().await,
            }
        };
        let acting = async {
            match &mut self.acting.work {
                Some(work) => work.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            signal = self.tab.listening.signals.recv() => Wake::Signal(signal),
            event = self.tab.events.next() => Wake::Event(event),
            reply = reply => Wake::Reply(reply),
            read = reading => Wake::Read(read),
            behaved = acting => Wake::Behaved(behaved),
            () = sleep_until(wake_at) => Wake::Clock,
        }
    }

    fn wake_at(&self) -> Instant {
        if let Some(say_at) = self.acting.say_at {
            return say_at.min(self.end);
        }
        if let Some((_, deadline)) = &self.reading {
            return *deadline;
        }
        if let Some((_, deadline)) = self.held.as_ref().or(self.early.as_ref()) {
            return *deadline;
        }
        if let Some(due) = self.break_due() {
            return due.min(self.give_up);
        }
        if let Some(due) = self.hang_due() {
            return due.min(self.give_up);
        }
        match self.ready_at {
            Some(ready) => (ready + LOAD_AFTER_READY).min(self.give_up),
            None => self.give_up,
        }
    }

    fn on_signal(&mut self, signal: Option<Signal>) -> Option<End> {
        self.clean = false;
        match signal {
            // A page that was received and whose script has a file saved is a page.
            Some(Signal::Download) if self.committed => None,
            Some(Signal::Crashed(status)) => {
                let failed =
                    self.failure(FailureClass::RendererCrash, format!("the page's renderer crashed ({status})"));
                Some((failed, Some(CrashScope::Renderer)))
            }
            Some(Signal::Destroyed) | None => Some(self.fail_with(FailureClass::Browser, "the page closed its tab")),
            // Something that was clicked: refused by the browser, and the page is still there.
            Some(Signal::Download) if self.acting.has_begun() => None,
            Some(Signal::Download) => Some((VisitResult::Download(Box::new(self.answer(None))), None)),
        }
    }

    async fn on_event(&mut self, event: Event) -> Option<End> {
        match event {
            Event::Paused(paused) => self.on_paused(&paused).await,
            Event::Lifecycle(event) => {
                let ours = event.frame_id.as_ref() == self.tab.target;
                if ours && self.is_current(event.loader_id.as_ref()) {
                    self.on_stage(&event.name);
                }
                None
            }
            Event::Stopped(event) => {
                if event.frame_id.as_ref() == self.tab.target && self.document.is_some() {
                    self.stopped_at = Some(Instant::now());
                }
                None
            }
            Event::Dialog(dialog) => {
                self.dialogs += 1;
                let accept = dialog.r#type == DialogType::Beforeunload && !self.acting.has_begun();
                if self.dialogs > DIALOGS_PATIENCE {
                    // Its script is stopped as it returns from the dialog, so both go out together.
                    let page = self.tab.page.clone();
                    let stop = timeout(STOPS_WITHIN, page.execute(TerminateExecutionParams::default()));
                    let (_, ()) = tokio::join!(stop, self.answer_dialog(accept));
                } else {
                    self.answer_dialog(accept).await;
                }
                None
            }
            Event::Bytes(received) => {
                self.on_bytes(u64::try_from(received.encoded_data_length).unwrap_or_default()).await;
                None
            }
            Event::Window(window) => {
                self.opens(&window.url);
                None
            }
            Event::Within(within) => {
                if within.frame_id.as_ref() == self.tab.target {
                    self.opens(&within.url);
                }
                None
            }
        }
    }

    fn is_current(&self, loader: &str) -> bool {
        self.document.as_ref().is_some_and(|document| document.loader.as_deref().is_none_or(|ours| ours == loader))
    }

    fn on_reply(&mut self, reply: Result<NavigateReturns, CdpError>) -> Option<End> {
        self.reply = None;
        let returned = match reply {
            Ok(returned) => returned,
            Err(error) => {
                self.clean = false;
                return Some(self.fail_with(FailureClass::Browser, &format!("Page.navigate: {error}")));
            }
        };
        if returned.is_download == Some(true) {
            self.clean = false;
            return Some((VisitResult::Download(Box::new(self.answer(None))), None));
        }
        let text = returned.error_text?;
        match text.as_str() {
            // Replaced by a redirect of the page's own, or about to be reported as a download.
            "net::ERR_ABORTED" if self.document.is_some() || self.redirects > 0 => None,
            // Chromium shows a page of its own for an error status without a body.
            "net::ERR_HTTP_RESPONSE_CODE_FAILURE" if self.document.is_some() => {
                Some((VisitResult::Answer(Box::new(self.answer(None))), None))
            }
            _ => Some(self.net_failure(&text)),
        }
    }

    /// The answer with what the response said, and with what the page said when it was read.
    fn answer(&mut self, mut extracted: Option<Extracted>) -> PageAnswer {
        let routes = self.req.extract.hash_routes;
        let mut answer = PageAnswer { hops: self.hops.clone(), ttfb: self.ttfb, ..PageAnswer::default() };
        if let Some(document) = &self.document {
            answer.http_status = document.head.status;
            answer.content_type = document.head.content_type.clone();
            answer.nofollow = document.head.nofollow;
            answer.retry_after = document.head.retry_after;
        }
        let posts = extracted.as_mut().map(Extracted::take_posts).unwrap_or_default();
        if let Some(extracted) = extracted {
            extracted.fill(&mut answer, &self.req.extract);
            answer.truncated |= self.forced;
        }
        answer.cut = self.spent.cut;
        answer.truncated |= answer.cut.is_some();
        if let Some(document) = &self.document {
            let at = self.hops.last().unwrap_or(&self.req.url);
            answer.add_references(at.as_str(), document.head.references.iter().map(String::as_str), routes);
        }
        let windows = std::mem::take(&mut self.windows);
        let here = self.hops.last().unwrap_or(&self.req.url).as_str();
        // A place in the page itself is none of its links.
        let document = self.hops.last().unwrap_or(&self.req.url).document();
        let elsewhere = windows.iter().filter(|url| match url.split_once('#') {
            Some((at, fragment)) => at != document || (routes && is_route(fragment) && *url != here),
            None => *url != document,
        });
        // What a form would have sent to a window of its own is nothing to ask for.
        let elsewhere = elsewhere.filter(|url| !posts.contains(*url)).map(String::as_str);
        answer.add_references(here, elsewhere, routes);
        self.add_found(&mut answer);
        answer
    }

    /// Keeps an address that a script opened.
    fn opens(&mut self, url: &str) {
        if self.windows.len() < WINDOWS_MAX {
            self.windows.push(url.to_owned());
        }
    }

    fn net_failure(&mut self, text: &str) -> End {
        if self.req.way_out.is_some() && text.ends_with("PROXY_CONNECTION_FAILED") {
            // Its helper for the network died, and the new one knows nothing of the session's proxy.
            self.clean = false;
            return self.fail_with(FailureClass::BrowserLost, "the browser has lost its way to the network");
        }
        let url = self.hops.last().unwrap_or(&self.req.url);
        let why = self.req.way_out.as_ref().filter(|_| says_nothing(text));
        match why.and_then(|way_out| way_out.why(url, self.asked_at.into_std())) {
            Some(Refusal::Skip(reason)) => (VisitResult::Refused { hops: self.hops.clone(), reason }, None),
            Some(Refusal::Fail(class, message)) => self.fail_with(class, &message),
            None => self.fail_with(net_error(text), text),
        }
    }

    fn fail_with(&self, class: FailureClass, message: &str) -> End {
        (self.failure(class, message.to_owned()), None)
    }

    fn failure(&self, class: FailureClass, message: String) -> VisitResult {
        VisitResult::Failed(VisitFailure {
            class,
            message,
            http_status: self.document.as_ref().map(|document| document.head.status),
            retry_after: None,
            ttfb: self.ttfb,
            hops: self.hops.clone(),
        })
    }

    /// Waits a moment for the reply to the navigation; without it the tab is not used again.
    async fn await_reply(&mut self) -> bool {
        match self.reply.take() {
            None => true,
            Some(reply) => timeout(Duration::from_secs(1), reply).await.is_ok(),
        }
    }

    async fn answer_dialog(&mut self, accept: bool) {
        self.small(HandleJavaScriptDialogParams::new(accept)).await;
    }

    /// A small command whose failure shows in what follows; it only makes the tab unfit for more.
    async fn small<C: Command>(&mut self, command: C) {
        let now = Instant::now();
        let due = (now + SMALL).min(self.end.max(now + STOPS_WITHIN));
        if !matches!(timeout_at(due, self.tab.page.execute(command)).await, Ok(Ok(_))) {
            self.clean = false;
        }
    }
}
