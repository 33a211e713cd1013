//! A tab of a session: a page with everything that crawld listens to on it.

use std::sync::Arc;
use std::time::Instant;

use chromiumoxide::cdp::browser_protocol::emulation::SetUserAgentOverrideParams;
use chromiumoxide::cdp::browser_protocol::fetch::{self, EventRequestPaused, RequestPattern, RequestStage};
use chromiumoxide::cdp::browser_protocol::log;
use chromiumoxide::cdp::browser_protocol::network::{EnableReturns, EventDataReceived, ResourceType};
use chromiumoxide::cdp::browser_protocol::page::{
    AddScriptToEvaluateOnNewDocumentParams, EventFrameRequestedNavigation, EventFrameStoppedLoading,
    EventJavascriptDialogOpening, EventLifecycleEvent, EventNavigatedWithinDocument, EventWindowOpen, NavigateParams,
    NavigateReturns,
};
use chromiumoxide::cdp::browser_protocol::security::SetIgnoreCertificateErrorsParams;
use chromiumoxide::types::{Command, Method, MethodId};
use chromiumoxide::{Browser, Page};
use futures_util::FutureExt;
use futures_util::stream::{BoxStream, SelectAll, StreamExt};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::config::BrowserError;
use super::hook::{self, Key};
use super::instance::{Instance, Listening, Signal};
use super::look::{self, Look};
use super::sights::Sight;
use super::tap::Tap;
use super::watch::Wanted;
use super::{behave, traffic, visit};
use crate::model::conduct::Conduct;
use crate::model::task::FetchSpec;
use crate::model::visit::VisitRequest;
use crate::policy::tab_kind::TabKind;

/// What a page reports.
#[derive(Debug)]
pub(super) enum Event {
    /// A document's request or response waits for a decision.
    Paused(Arc<EventRequestPaused>),
    /// A frame reached a stage of its loading.
    Lifecycle(Arc<EventLifecycleEvent>),
    /// A frame's loading has ended, well or not.
    Stopped(Arc<EventFrameStoppedLoading>),
    /// A dialog holds up the page.
    Dialog(Arc<EventJavascriptDialogOpening>),
    /// The page opened a window, which is closed at once.
    Window(Arc<EventWindowOpen>),
    /// A script gave the document another address (`pushState`, `replaceState`), or another place in it.
    Within(Arc<EventNavigatedWithinDocument>),
    /// A piece of an answer came in.
    Bytes(Arc<EventDataReceived>),
}

/// An open tab.
pub(super) struct Tab {
    /// The page.
    pub page: Page,
    /// The browser that it is in.
    pub browser: Arc<Browser>,
    /// The target's id, which is also that of the main frame.
    pub target: String,
    /// What the page reports.
    pub events: SelectAll<BoxStream<'static, Event>>,
    /// Where its documents said that they would go by themselves, apart from the rest: it is asked for when one goes.
    pub refreshes: BoxStream<'static, Arc<EventFrameRequestedNavigation>>,
    /// What the browser reports about the page.
    pub listening: Listening,
    /// What is heard of it besides, where the task asks for that.
    pub tap: Option<Tap>,
    /// Whether its frames are drawn.
    pub kind: TabKind,
    /// The key of the hook in its pages.
    pub key: Key,
    /// Pages visited.
    pub pages: u32,
    /// When it was last used.
    pub used: Instant,
    /// Visits of its session since then that took another tab.
    pub passed_over: u32,
    /// The page of the last visit has been replaced by an empty one.
    pub blank: bool,
    /// What others see of it.
    pub sight: Sight,
    agent: Agent,
    look: Look,
}

/// Settings of a tab that come from the task.
#[derive(Debug, Clone, PartialEq)]
struct Agent {
    user_agent: String,
    accept_language: Option<String>,
    ignore_https_errors: bool,
}

impl Agent {
    fn of(instance: &Instance, fetch: &FetchSpec) -> Agent {
        Agent {
            user_agent: user_agent(instance, fetch),
            accept_language: fetch.accept_language.clone(),
            ignore_https_errors: fetch.ignore_https_errors,
        }
    }
}

/// The user agent of this task's pages in that browser.
pub(super) fn user_agent(instance: &Instance, fetch: &FetchSpec) -> String {
    let own = || format!("{} crawld/{} (+{})", instance.user_agent, env!("CARGO_PKG_VERSION"), HOME_PAGE);
    fetch.user_agent.clone().unwrap_or_else(own)
}

/// Named in the user agent, so that the owner of a site can learn what visits it.
pub(super) const HOME_PAGE: &str = "https://crawld.invalid/";

impl Tab {
    /// Opens a tab for a visit's session.
    ///
    /// # Errors
    /// The browser is gone or does not do as told.
    pub(super) async fn open(instance: &Instance, req: &VisitRequest, kind: TabKind) -> Result<Tab, BrowserError> {
        let proxy = req.way_out.as_ref().map(|way_out| way_out.proxy());
        let page = instance.new_page(&req.session, proxy, kind).await?;
        let listening = instance.listen(page.target_id().as_ref());
        let ended = listening.ended.clone();
        match while_it_lives(&ended, Tab::equip(instance, page.clone(), listening, req, kind)).await {
            Ok(tab) => Ok(tab),
            Err(error) => {
                instance.close_page(&page).await;
                Err(error)
            }
        }
    }

    async fn equip(
        instance: &Instance,
        page: Page,
        listening: Listening,
        req: &VisitRequest,
        kind: TabKind,
    ) -> Result<Tab, BrowserError> {
        let (fetch, conduct) = (&req.fetch, &req.conduct);
        let target: String = page.target_id().as_ref().to_owned();
        let key = Key::new();
        let listen = async {
            Ok(SelectAll::from_iter([
                page.event_listener::<EventRequestPaused>().await?.map(Event::Paused).boxed(),
                page.event_listener::<EventLifecycleEvent>().await?.map(Event::Lifecycle).boxed(),
                page.event_listener::<EventFrameStoppedLoading>().await?.map(Event::Stopped).boxed(),
                page.event_listener::<EventJavascriptDialogOpening>().await?.map(Event::Dialog).boxed(),
                page.event_listener::<EventWindowOpen>().await?.map(Event::Window).boxed(),
                page.event_listener::<EventNavigatedWithinDocument>().await?.map(Event::Within).boxed(),
            ]))
        };
        let mut events = instance.step("listening to a tab", listen).await?;
        let refreshes = page.event_listener::<EventFrameRequestedNavigation>();
        let refreshes = instance.step("listening to a tab", refreshes).await?.boxed();
        instance.step("Fetch.enable", page.execute(documents(conduct))).await?;
        if conduct.page.max_bytes.is_some() {
            let bytes = instance.step("listening to a tab", page.event_listener::<EventDataReceived>()).await?;
            events.push(bytes.map(Event::Bytes).boxed());
            instance.step("Network.enable", page.execute(CountBytes {})).await?;
        }
        let wanted = Wanted::of(&req.extract);
        let tap = wanted.map(|wanted| instance.taps.open(page.session_id().as_ref(), &target, wanted));
        if wanted.is_some_and(|wanted| wanted.requests) {
            instance.step("Network.enable", page.execute(CountBytes {})).await?;
        }
        if wanted.is_some_and(|wanted| wanted.console.is_some()) {
            instance.step("Log.enable", page.execute(HearLog {})).await?;
        }
        let script = AddScriptToEvaluateOnNewDocumentParams::new(hook::script(&key));
        instance.step("Page.addScriptToEvaluateOnNewDocument", page.execute(script)).await?;
        if conduct.page.behaves() {
            let script = AddScriptToEvaluateOnNewDocumentParams::new(behave::hook(&key));
            instance.step("Page.addScriptToEvaluateOnNewDocument", page.execute(script)).await?;
        }
        let (agent, look) = (Agent::of(instance, fetch), Look::of(fetch));
        look.put_on(instance, &page).await?;
        let used = Instant::now();
        let browser = instance.browser();
        let sight = instance.sights.open(&req.session, kind, page.clone(), Arc::clone(&browser));
        let mut tab = Tab {
            page,
            browser,
            target,
            events,
            refreshes,
            listening,
            tap,
            kind,
            key,
            pages: 0,
            used,
            passed_over: 0,
            blank: true,
            sight,
            agent,
            look,
        };
        tab.apply(instance).await?;
        Ok(tab)
    }

    /// Changes what this visit wants otherwise than the one before.
    ///
    /// # Errors
    /// The browser or the tab's page is gone or does not do as told.
    pub(super) async fn adapt(&mut self, instance: &Instance, req: &VisitRequest) -> Result<(), BrowserError> {
        let ended = self.listening.ended.clone();
        while_it_lives(&ended, self.take_on(instance, req)).await
    }

    async fn take_on(&mut self, instance: &Instance, req: &VisitRequest) -> Result<(), BrowserError> {
        let fetch = &req.fetch;
        if self.look != Look::of(fetch) {
            return Err(BrowserError::Command { step: "another task's tab", reason: "it looks otherwise".to_owned() });
        }
        let agent = Agent::of(instance, fetch);
        if agent != self.agent {
            self.agent = agent;
            self.apply(instance).await?;
        }
        // In the document that is shown a route would only be another place.
        if req.url.is_route() && !self.blank {
            self.empty(instance).await?;
        }
        Ok(())
    }

    /// What ended its page since the last visit, if something did; what else the browser said of it is forgotten.
    pub(super) fn ended_by(&mut self) -> Option<Signal> {
        while let Some(Some(_)) = self.refreshes.next().now_or_never() {}
        std::iter::from_fn(|| self.listening.signals.try_recv().ok()).find(|signal| *signal != Signal::Download)
    }

    /// Replaces the page by an empty one, so that its scripts neither compute nor ask their server.
    ///
    /// # Errors
    /// The browser is gone or does not do as told.
    pub(super) async fn empty(&mut self, instance: &Instance) -> Result<(), BrowserError> {
        let navigate = Navigate(NavigateParams::new("about:blank"));
        instance.step("Page.navigate", self.page.execute(navigate)).await?;
        self.blank = true;
        Ok(())
    }

    async fn apply(&mut self, instance: &Instance) -> Result<(), BrowserError> {
        let mut agent = SetUserAgentOverrideParams::new(self.agent.user_agent.clone());
        agent.accept_language = self.agent.accept_language.as_deref().map(look::languages);
        let trust = SetIgnoreCertificateErrorsParams::new(self.agent.ignore_https_errors);
        instance.step("Emulation.setUserAgentOverride", self.page.execute(agent)).await?;
        instance.step("Security.setIgnoreCertificateErrors", self.page.execute(trust)).await?;
        Ok(())
    }
}

/// What is done with a tab, for as long as its renderer lives: afterwards nothing is answered.
async fn while_it_lives<T>(
    ended: &CancellationToken,
    work: impl Future<Output = Result<T, BrowserError>>,
) -> Result<T, BrowserError> {
    tokio::select! {
        biased;
        () = ended.cancelled() => {
            Err(BrowserError::Command { step: "preparing a tab", reason: "its page crashed".to_owned() })
        }
        done = work => done,
    }
}

/// Documents wait for a decision before they are asked for and before they are loaded; other requests where the
/// task says something of them.
fn documents(conduct: &Conduct) -> fetch::EnableParams {
    let pattern = |stage| RequestPattern {
        url_pattern: None,
        resource_type: Some(ResourceType::Document),
        request_stage: Some(stage),
    };
    let mut patterns = vec![pattern(RequestStage::Request), pattern(RequestStage::Response)];
    patterns.extend(visit::patterns(conduct));
    fetch::EnableParams { patterns: Some(patterns), handle_auth_requests: None }
}

/// `Network.enable` under a name that passes: chromiumoxide's own is answered without asking the browser, which
/// then would tell of every request. No body is kept for anybody.
#[derive(Debug, Clone, Serialize)]
struct CountBytes {}

impl Method for CountBytes {
    fn identifier(&self) -> MethodId {
        traffic::COUNT_BYTES.into()
    }
}

impl Command for CountBytes {
    type Response = EnableReturns;
}

/// `Log.enable` under a name that passes.
#[derive(Debug, Clone, Serialize)]
struct HearLog {}

impl Method for HearLog {
    fn identifier(&self) -> MethodId {
        traffic::HEAR_LOG.into()
    }
}

impl Command for HearLog {
    type Response = log::EnableReturns;
}

/// `Page.navigate` under the name that keeps it out of chromiumoxide's own queue.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub(super) struct Navigate(pub NavigateParams);

impl Method for Navigate {
    fn identifier(&self) -> MethodId {
        traffic::NAVIGATE.into()
    }
}

impl Command for Navigate {
    type Response = NavigateReturns;
}
