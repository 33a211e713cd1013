//! One running browser: process, bridge, connection, contexts, and who listens to what.

mod contexts;

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chromiumoxide::cdp::browser_protocol::browser::{BrowserContextId, CloseParams, EventDownloadWillBegin};
use chromiumoxide::cdp::browser_protocol::target::{
    CloseTargetParams, CreateTargetParams, EventTargetCrashed, EventTargetCreated, EventTargetDestroyed,
    GetTargetsParams, TargetId, TargetInfo,
};
use chromiumoxide::error::CdpError;
use chromiumoxide::handler::HandlerConfig;
use chromiumoxide::{Browser, Handler, Page};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::attach;
use super::bridge::{self, Far};
use super::config::{BrowserConfig, BrowserError};
use super::flags;
use super::leftovers::Identity;
use super::process::{self, Process};
use super::sights::Sights;
use super::tap::Taps;
use crate::lock::lock;
use crate::model::ids::SessionId;
use crate::model::task::PICTURES_WITHIN;
use crate::policy::tab_kind::TabKind;
use contexts::no_downloads;

/// How long the browser may take to close by itself when asked to.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// A browser that lives answers the simplest question in this time, even under load.
const ALIVE_WITHIN: Duration = Duration::from_secs(5);
/// Width and height of a tab, as in `flags`.
const WINDOW: (i64, i64) = (1280, 1024);
/// chromiumoxide gives up commands without a reply after this time. Every wait of ours has a deadline of its
/// own; the longest are those for pictures.
const EVICTION: Duration = PICTURES_WITHIN;

/// What the whole browser says about one tab.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Signal {
    /// Its renderer crashed, with the status that Chromium gives.
    Crashed(String),
    /// It is gone.
    Destroyed,
    /// Its main frame began a download.
    Download,
}

/// Where signals go, by target id.
type Routes = Arc<Mutex<HashMap<String, Route>>>;

/// The way to whoever listens to a tab.
#[derive(Debug)]
struct Route {
    signals: mpsc::UnboundedSender<Signal>,
    ended: CancellationToken,
}

/// A running, connected browser.
#[derive(Debug)]
pub(super) struct Instance {
    /// Cancelled as soon as the browser is known to be gone.
    pub lost: CancellationToken,
    /// `Chrome/156.0…`.
    pub version: String,
    /// The browser's own user agent.
    pub user_agent: String,
    /// Who the process is; none where somebody else started it.
    pub identity: Option<Identity>,
    /// When it was started.
    pub born: Instant,
    /// From spawn to the first answer.
    pub launch_time: Duration,
    /// Protocol messages that could not be parsed.
    pub unparsed: Arc<AtomicU64>,
    /// Who listens to tabs.
    pub taps: Taps,
    /// Its tabs, with those of the pool, for whoever looks.
    pub sights: Sights,
    browser: Arc<Browser>,
    routes: Routes,
    reply_timeout: Duration,
    contexts: tokio::sync::Mutex<HashMap<SessionId, BrowserContextId>>,
    jars: Option<PathBuf>,
    /// When each session's cookies were last looked at.
    kept: Mutex<HashMap<SessionId, Instant>>,
    process: tokio::sync::Mutex<Option<Process>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Instance {
    /// Starts a browser and connects to it, or attaches to the one that is named, within `config.launch_timeout`.
    ///
    /// # Errors
    /// It cannot be started, or does not answer in time; then nothing of it is left.
    pub(super) async fn launch(config: &BrowserConfig, executable: &Path) -> Result<Instance, BrowserError> {
        let started = Instant::now();
        let taps = Taps::default();
        let lost = CancellationToken::new();
        if let Some(endpoint) = &config.attach {
            let attaching =
                async { connect(Far::Socket(attach::connect(endpoint).await?), lost.clone(), taps.clone()).await };
            let reason = match timeout(config.launch_timeout, attaching).await {
                Ok(Ok(connected)) => return Ok(Instance::new(config, None, connected, (lost, taps), started)),
                Ok(Err(reason)) => reason,
                Err(_) => format!("no answer within {:?}", config.launch_timeout),
            };
            lost.cancel();
            return Err(BrowserError::Attach { endpoint: endpoint.clone(), reason });
        }
        let (mut process, ends) = process::spawn(config, executable, lost.clone())?;
        let connecting = connect(Far::Pipe(ends), lost.clone(), taps.clone());
        let outcome = tokio::select! {
            outcome = timeout(config.launch_timeout, connecting) => outcome,
            () = lost.cancelled() => Ok(Err("it ended by itself".to_owned())),
        };
        let mut reason = match outcome {
            Ok(Ok(connected)) => {
                let instance = Instance::new(config, Some(process), connected, (lost, taps), started);
                if flags::is_shell(executable) {
                    instance.close_first_page().await;
                }
                return Ok(instance);
            }
            Ok(Err(reason)) => reason,
            Err(_) => format!("no answer within {:?}", config.launch_timeout),
        };
        if let Some(status) = process.own_end().await {
            reason = format!("it ended by itself ({status})");
        }
        lost.cancel();
        process.end().await;
        let said = process.log.text();
        let log = if said.is_empty() { said } else { format!("; it said: {said}") };
        Err(BrowserError::Launch { reason, log })
    }

    fn new(
        config: &BrowserConfig,
        process: Option<Process>,
        connected: Connected,
        (lost, taps): (CancellationToken, Taps),
        started: Instant,
    ) -> Instance {
        Instance {
            lost,
            version: connected.version,
            user_agent: connected.user_agent,
            identity: process.as_ref().map(|process| process.identity.clone()),
            born: started,
            launch_time: started.elapsed(),
            unparsed: connected.unparsed,
            taps,
            sights: Sights::default(),
            browser: connected.browser,
            routes: connected.routes,
            reply_timeout: config.reply_timeout,
            contexts: tokio::sync::Mutex::default(),
            jars: config.jars.clone(),
            kept: Mutex::default(),
            process: tokio::sync::Mutex::new(process),
            tasks: Mutex::new(connected.tasks),
        }
    }

    /// Closes the page that every launch opens: nobody looks at it, and drawing it costs a process and some
    /// work for ever. Without a page the shell lives on, where a browser with windows would end.
    async fn close_first_page(&self) {
        let pages = self.step("Target.getTargets", self.browser.execute(GetTargetsParams::default())).await;
        let pages = pages.map(|found| found.result.target_infos).unwrap_or_default();
        for page in pages.into_iter().filter(|target| target.r#type == "page") {
            let close = self.browser.execute(CloseTargetParams::new(page.target_id));
            if let Err(error) = self.step("Target.closeTarget", close).await {
                tracing::debug!(error = %error, "the browser's first page stays open");
            }
        }
    }

    /// Its connection, for what concerns no single page.
    pub(super) fn browser(&self) -> Arc<Browser> {
        Arc::clone(&self.browser)
    }

    /// Its main process, where crawld has started it.
    pub(super) fn pid(&self) -> Option<u32> {
        self.identity.as_ref().map(|identity| identity.pid)
    }

    /// Awaits a protocol step under the reply deadline and the browser's life.
    ///
    /// # Errors
    /// `Lost` when the browser is gone, `Command` otherwise.
    pub(super) async fn step<T>(
        &self,
        step: &'static str,
        work: impl Future<Output = Result<T, CdpError>>,
    ) -> Result<T, BrowserError> {
        tokio::select! {
            biased;
            () = self.lost.cancelled() => Err(BrowserError::Lost(format!("during {step}"))),
            done = timeout(self.reply_timeout, work) => match done {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(error)) => Err(BrowserError::Command { step, reason: error.to_string() }),
                Err(_) => Err(BrowserError::Command { step, reason: "no reply in time".to_owned() }),
            },
        }
    }

    /// Whether the browser answers at all, asked with a short deadline.
    pub(super) async fn answers(&self) -> bool {
        matches!(timeout(ALIVE_WITHIN, self.browser.version()).await, Ok(Ok(_)))
    }

    /// Opens an empty tab in the session's own context, whose connections go through `proxy`, or nowhere.
    pub(super) async fn new_page(
        &self,
        session: &SessionId,
        proxy: Option<SocketAddr>,
        kind: TabKind,
    ) -> Result<Page, BrowserError> {
        let context = self.context(session, proxy).await?;
        let mut target = CreateTargetParams::new("about:blank");
        target.browser_context_id = Some(context);
        if kind == TabKind::Frameless {
            target.enable_begin_frame_control = Some(true);
            target.width = Some(WINDOW.0);
            target.height = Some(WINDOW.1);
        }
        self.step("Target.createTarget", self.browser.new_page(target)).await
    }

    /// Closes a tab, however it behaves.
    pub(super) async fn close_page(&self, page: &Page) {
        let close = self.browser.execute(CloseTargetParams::new(page.target_id().clone()));
        if let Err(error) = self.step("Target.closeTarget", close).await {
            tracing::debug!(error = %error, "tab not closed");
        }
    }

    /// Subscribes to what the browser says about a tab.
    pub(super) fn listen(&self, target: &str) -> Listening {
        let (sender, signals) = mpsc::unbounded_channel();
        let ended = CancellationToken::new();
        lock(&self.routes).insert(target.to_owned(), Route { signals: sender, ended: ended.clone() });
        Listening { routes: Arc::clone(&self.routes), target: target.to_owned(), signals, ended }
    }

    /// Breaks the connection between the two, as a fault in between would.
    #[cfg(test)]
    pub(super) fn cut_connection(&self) {
        let tasks = lock(&self.tasks);
        tasks.first().expect("the task that carries").abort();
    }

    /// Ends the browser: asked politely first when `polite`, then by signals. Nothing of it is left. Of somebody
    /// else's browser only our contexts end, with their tabs: by a word of ours, or with the connection.
    pub(super) async fn end(&self, polite: bool) {
        if self.identity.is_none() {
            if polite && !self.lost.is_cancelled() {
                let _ = timeout(CLOSE_WITHIN, self.end_contexts()).await;
            }
        } else if polite && !self.lost.is_cancelled() {
            let closing = self.browser.execute(CloseParams::default());
            let _ = timeout(CLOSE_WITHIN, async {
                let _ = closing.await;
                self.lost.cancelled().await;
            })
            .await;
        }
        self.lost.cancel();
        if let Some(process) = &mut *self.process.lock().await {
            process.end().await;
        }
        for task in std::mem::take(&mut *lock(&self.tasks)) {
            task.abort();
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // The keeper of the process sees this and ends it; the other tasks have nothing left to do.
        self.lost.cancel();
        for task in std::mem::take(&mut *lock(&self.tasks)) {
            task.abort();
        }
    }
}

/// A subscription to the signals of one tab.
#[derive(Debug)]
pub(super) struct Listening {
    routes: Routes,
    target: String,
    /// The signals.
    pub signals: mpsc::UnboundedReceiver<Signal>,
    /// Cancelled when its renderer has crashed or it is gone: no command to it is answered any more.
    pub ended: CancellationToken,
}

impl Drop for Listening {
    fn drop(&mut self) {
        lock(&self.routes).remove(&self.target);
    }
}

struct Connected {
    browser: Arc<Browser>,
    version: String,
    user_agent: String,
    routes: Routes,
    unparsed: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
}

async fn connect(far: Far, lost: CancellationToken, taps: Taps) -> Result<Connected, String> {
    let own = matches!(far, Far::Pipe(_));
    let (url, carrier) = bridge::open(far, lost.clone(), taps).await.map_err(|error| format!("bridge: {error}"))?;
    let config = HandlerConfig {
        ignore_https_errors: false,
        ignore_invalid_messages: false,
        viewport: None,
        request_timeout: EVICTION,
        ..HandlerConfig::default()
    };
    let connected = Browser::connect_with_config(url, config).await;
    let (browser, handler) = connected.map_err(|error| format!("connection: {error}"))?;
    let browser = Arc::new(browser);
    let unparsed = Arc::<AtomicU64>::default();
    let driver = tokio::spawn(drive(handler, Arc::clone(&unparsed), lost.clone()));
    let routes = Routes::default();
    let failed = |error: CdpError| format!("first command: {error}");
    let version = browser.version().await.map_err(failed)?;
    if own {
        browser.execute(no_downloads(None)).await.map_err(failed)?;
    }
    let watcher = watch_targets(Arc::clone(&browser), Arc::clone(&routes)).await.map_err(failed)?;
    let watcher = tokio::spawn(async move {
        tokio::select! {
            () = watcher => {}
            () = lost.cancelled() => {}
        }
    });
    Ok(Connected {
        browser,
        version: version.product,
        user_agent: version.user_agent,
        routes,
        unparsed,
        tasks: vec![carrier, driver, watcher],
    })
}

/// Polls the connection. chromiumoxide goes on pretending after a lost connection, so any error
/// but an unparsable message counts as the end; so does a panic, through the guard.
async fn drive(mut handler: Handler, unparsed: Arc<AtomicU64>, lost: CancellationToken) {
    let guard = lost.drop_guard();
    while let Some(item) = handler.next().await {
        match item {
            Ok(()) => {}
            Err(CdpError::InvalidMessage(message, error)) => {
                unparsed.fetch_add(1, Ordering::Relaxed);
                let head: String = message.chars().take(120).collect();
                tracing::debug!(message = %head, error = %error, "protocol message not understood");
            }
            Err(error) => {
                tracing::debug!(error = %error, "connection to the browser ended");
                break;
            }
        }
    }
    drop(guard);
}

/// Passes on crashes, closed targets and downloads, and closes popups and service workers at once: the hook keeps
/// pages from registering those, but it does not reach into frames of another origin. A tab that crashes before
/// anybody listens to it is closed too, which ends the wait for it.
async fn watch_targets(browser: Arc<Browser>, routes: Routes) -> Result<impl Future<Output = ()>, CdpError> {
    let mut created = browser.event_listener::<EventTargetCreated>().await?;
    let mut crashed = browser.event_listener::<EventTargetCrashed>().await?;
    let mut destroyed = browser.event_listener::<EventTargetDestroyed>().await?;
    let mut downloads = browser.event_listener::<EventDownloadWillBegin>().await?;
    let send = move |target: &str, signal: Signal| match lock(&routes).get(target) {
        Some(route) => {
            if signal != Signal::Download {
                route.ended.cancel();
            }
            // A tab that is just being closed no longer listens.
            let _ = route.signals.send(signal);
            true
        }
        None => false,
    };
    let close = async move |target: &TargetId| {
        let _ = timeout(CLOSE_WITHIN, browser.execute(CloseTargetParams::new(target.clone()))).await;
    };
    Ok(async move {
        loop {
            tokio::select! {
                Some(event) = created.next() => {
                    if is_unwanted(&event.target_info) {
                        close(&event.target_info.target_id).await;
                    }
                }
                Some(event) = crashed.next() => {
                    if !send(event.target_id.as_ref(), Signal::Crashed(event.status.clone())) {
                        close(&event.target_id).await;
                    }
                }
                Some(event) = destroyed.next() => {
                    send(event.target_id.as_ref(), Signal::Destroyed);
                }
                Some(event) = downloads.next() => {
                    send(event.frame_id.as_ref(), Signal::Download);
                }
                else => return,
            }
        }
    })
}

/// A window that a page opened, or a service worker.
fn is_unwanted(target: &TargetInfo) -> bool {
    target.r#type == "service_worker" || (target.r#type == "page" && target.opener_id.is_some())
}
