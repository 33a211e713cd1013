//! Logs a session in: the only place where a form is submitted. Its cookies stay in the session's jar.

use std::time::Duration;

use chromiumoxide::Page;
use chromiumoxide::cdp::browser_protocol::fetch::{ContinueRequestParams, EventRequestPaused, FailRequestParams};
use chromiumoxide::cdp::browser_protocol::network::{ErrorReason, ResourceType};
use chromiumoxide::cdp::browser_protocol::page::{HandleJavaScriptDialogParams, NavigateParams};
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::instance::Signal;
use super::read::{self, ReadError};
use super::report::LoginError;
use super::tab::{Event, Navigate, Tab};
use super::visit;
use crate::model::login::{Login, LoginStep};
use crate::model::visit::VisitRequest;

const SCRIPT: &str = include_str!("login.js");

/// Replies to small commands on a page.
const SMALL: Duration = Duration::from_secs(5);
/// One question to the page; it waits by itself for what it names.
const ASK: Duration = Duration::from_secs(35);
/// Between two looks at a page that is on its way.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A form without a sign of success has been answered when nothing was on its way for this long.
const CALM: Duration = Duration::from_millis(1_500);

/// What was seen of the page's documents while it was logged in.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// Status of the last one.
    status: u16,
    /// When something last moved.
    moved: Option<Instant>,
}

/// Logs in within `login.within`. The tab is of no use to a visit afterwards.
///
/// # Errors
/// What went wrong, without any value that was filled in.
pub(super) async fn log_in(tab: &mut Tab, req: &VisitRequest, login: &Login) -> Result<(), LoginError> {
    let refused = |why: &str| Err(LoginError::Refused(why.to_owned()));
    let end = Instant::now() + login.within;
    let (see, seen) = watch::channel(Seen::default());
    let mut work = Box::pin(perform(tab.page.clone(), login, end, seen));
    let over = tokio::time::sleep_until(end);
    tokio::pin!(over);
    let done = loop {
        tokio::select! {
            biased;
            signal = tab.listening.signals.recv() => match signal {
                Some(Signal::Download) => {}
                Some(Signal::Crashed(_)) => break refused("its page crashed"),
                Some(Signal::Destroyed) | None => break refused("its page went away"),
            },
            event = tab.events.next() => match event {
                Some(event) => handle(&tab.page, &tab.target, req, event, &see).await,
                None => break refused("its page went away"),
            },
            done = &mut work => break done,
            () = &mut over => {
                break refused(&format!("it did not come to an end within {} s", login.within.as_secs()));
            }
        }
    };
    done.map_err(|error| match error {
        LoginError::Refused(why) => LoginError::Refused(login.redact(&why)),
        LoginError::NotLoaded(why) => LoginError::NotLoaded(login.redact(&why)),
        LoginError::NoBrowser(why) => LoginError::NoBrowser(why),
    })
}

/// Lets everything on the web through: where a login leads is the operator's word, and addresses are checked where
/// connections are made.
async fn handle(page: &Page, target: &str, req: &VisitRequest, event: Event, see: &watch::Sender<Seen>) {
    match event {
        Event::Paused(paused) => {
            let web = paused.request.url.starts_with("http://") || paused.request.url.starts_with("https://");
            if paused.resource_type == ResourceType::Document && paused.frame_id.as_ref() == target {
                let status = paused.response_status_code.and_then(|status| u16::try_from(status).ok());
                see.send_modify(|seen| {
                    seen.moved = Some(Instant::now());
                    seen.status = status.unwrap_or(seen.status);
                });
            }
            let _ = match web {
                true => timeout(SMALL, page.execute(go_on(req, &paused))).await.is_ok(),
                false => {
                    let fail = FailRequestParams::new(paused.request_id.clone(), ErrorReason::BlockedByClient);
                    timeout(SMALL, page.execute(fail)).await.is_ok()
                }
            };
        }
        Event::Dialog(_) => {
            let _ = timeout(SMALL, page.execute(HandleJavaScriptDialogParams::new(true))).await;
        }
        Event::Lifecycle(_) | Event::Stopped(_) | Event::Window(_) | Event::Within(_) | Event::Bytes(_) => {}
    }
}

fn go_on(req: &VisitRequest, paused: &EventRequestPaused) -> ContinueRequestParams {
    let mut go_on = ContinueRequestParams::new(paused.request_id.clone());
    if paused.response_status_code.is_none() && paused.response_error_reason.is_none() {
        go_on.headers = visit::with_own_headers(&req.conduct, paused);
    }
    go_on
}

async fn perform(page: Page, login: &Login, end: Instant, seen: watch::Receiver<Seen>) -> Result<(), LoginError> {
    let not_loaded = |why: String| LoginError::NotLoaded(format!("its page cannot be loaded: {why}"));
    let navigate = page.execute(Navigate(NavigateParams::new(login.url.as_str())));
    let reply = navigate.await.map_err(|error| not_loaded(error.to_string()))?;
    if let Some(why) = &reply.result.error_text {
        return Err(not_loaded(why.clone()));
    }
    let status = seen.borrow().status;
    if status >= 400 {
        return Err(not_loaded(format!("the server answered {status}")));
    }
    match &login.script {
        Some((script, secrets)) => run_script(&page, script, &json!(secrets)).await.map_err(LoginError::Refused)?,
        None => {
            for step in &login.steps {
                take(&page, step, end).await.map_err(LoginError::Refused)?;
            }
        }
    }
    let begun = Instant::now();
    if let Some(success) = &login.success {
        let missing = |()| LoginError::Refused(format!("`{success}` did not show after it: wrong credentials?"));
        return until(&page, success, end).await.map_err(missing);
    }
    calm(&seen, begun, end).await;
    settled(&page, end).await;
    let last = *seen.borrow();
    judge(&page, login, last).await.map_err(LoginError::Refused)
}

/// Whether the page after a login without a sign of success looks like one.
async fn judge(page: &Page, login: &Login, seen: Seen) -> Result<(), String> {
    if seen.status >= 400 {
        return Err(format!("the server answered {} to it", seen.status));
    }
    let Some(sign) = &login.logged_out else { return Ok(()) };
    match shows(page, sign).await {
        Ok(false) => Ok(()),
        Ok(true) => Err(format!("`{sign}` still shows after it: wrong credentials?")),
        Err(_) => Err("the page after it cannot be read".to_owned()),
    }
}

/// Runs a script in a world of crawld's own. One that is over because the page was replaced has done its work.
async fn run_script(page: &Page, script: &str, secrets: &serde_json::Value) -> Result<(), String> {
    let run = format!("(async (crawld) => {{\n{script}\n;return '{{}}'; }})(({SCRIPT})({secrets}))");
    match read::ask::<serde_json::Value>(page.clone(), run, Duration::from_secs(600)).await {
        Ok(_) | Err(ReadError::Replaced) => Ok(()),
        Err(ReadError::Failed(why)) => Err(format!("its script failed: {why}")),
    }
}

async fn take(page: &Page, step: &LoginStep, end: Instant) -> Result<(), String> {
    let call = match step {
        LoginStep::Fill { fill, value } => format!("fill({}, {})", json!(fill), json!(value)),
        LoginStep::Click { click } => format!("click({})", json!(click)),
        LoginStep::Wait { wait } => format!("wait({})", json!(wait)),
    };
    let expression = format!("(async () => {{ await (({SCRIPT})({{}})).{call}; return '{{}}'; }})()");
    loop {
        match read::ask::<serde_json::Value>(page.clone(), expression.clone(), ASK).await {
            Ok(_) => return Ok(()),
            // The page before the step was replaced by the one that it is for.
            Err(ReadError::Replaced) if Instant::now() < end => sleep(LOOK_EVERY).await,
            Err(ReadError::Replaced) => return Err("its page is replaced again and again".to_owned()),
            Err(ReadError::Failed(why)) => return Err(format!("a step failed: {why}")),
        }
    }
}

/// Waits until something matches.
async fn until(page: &Page, selector: &str, end: Instant) -> Result<(), ()> {
    // The last moment is for saying what is missing.
    let end = end - LOOK_EVERY.min(end.saturating_duration_since(Instant::now())) * 2;
    loop {
        if matches!(timeout_at(end, shows(page, selector)).await, Ok(Ok(true))) {
            return Ok(());
        }
        if Instant::now() + LOOK_EVERY >= end {
            return Err(());
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Waits until no document has been on its way for a while.
async fn calm(seen: &watch::Receiver<Seen>, begun: Instant, end: Instant) {
    loop {
        let last = seen.borrow().moved.unwrap_or(begun).max(begun);
        if last.elapsed() >= CALM || Instant::now() >= end {
            return;
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn settled(page: &Page, end: Instant) {
    let ready = "JSON.stringify(document.readyState === 'complete')".to_owned();
    while Instant::now() < end {
        if let Ok(true) = read::ask::<bool>(page.clone(), ready.clone(), SMALL).await {
            return;
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn shows(page: &Page, selector: &str) -> Result<bool, ReadError> {
    #[derive(Deserialize)]
    struct Told(bool);
    let ask = format!("JSON.stringify(document.querySelector({}) !== null)", json!(selector));
    read::ask::<Told>(page.clone(), ask, SMALL).await.map(|Told(shows)| shows)
}
