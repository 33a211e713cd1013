//! One tab: answers its commands, and navigates with the events that Chromium would send.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::http::{self, Answer};
use super::page::Page;
use super::wire::Wire;

/// Chromium's own limit.
const REDIRECTS_MAX: u32 = 20;
/// How long an intercepted request waits for the driver's word.
const INTERCEPTION_PATIENCE: Duration = Duration::from_secs(60);

/// A tab, shared with the threads of its navigations.
pub struct Tab {
    /// Its target id; also the id of its main frame, as in Chromium.
    pub target: String,
    /// Its browser context.
    pub context: String,
    wire: Arc<Wire>,
    state: Mutex<State>,
    counter: AtomicU64,
}

struct State {
    session: Option<String>,
    worlds: Vec<String>,
    agent: String,
    /// Stages at which documents are intercepted: request, response.
    intercept: (bool, bool),
    paused: HashMap<String, Sender<Value>>,
    page: Page,
    loader: String,
}

/// How a navigation's request ended.
enum Loaded {
    Document(Page),
    Error(String),
    /// The navigation is not to be answered at all.
    Silence,
}

impl Tab {
    /// A tab that shows `about:blank`.
    pub fn new(wire: Arc<Wire>, target: String, context: String) -> Tab {
        let state = State {
            session: None,
            worlds: Vec::new(),
            agent: super::USER_AGENT.to_owned(),
            intercept: (false, false),
            paused: HashMap::new(),
            page: Page::blank(),
            loader: format!("{target}L"),
        };
        Tab { target, context, wire, state: Mutex::new(state), counter: AtomicU64::new(1) }
    }

    /// The tab as `Target.TargetInfo`.
    pub fn info(&self, attached: bool) -> Value {
        json!({
            "targetId": self.target, "type": "page", "title": "", "url": self.state().page.url,
            "attached": attached, "canAccessOpener": false, "browserContextId": self.context,
        })
    }

    /// A driver listens under this session id from now on.
    pub fn attached(&self, session: &str) {
        self.state().session = Some(session.to_owned());
    }

    /// Answers one command of the tab's session.
    pub fn handle(self: &Arc<Self>, message: &Value, method: &str, params: &Value) {
        let mut lifecycle = false;
        let mut contexts = false;
        let result = match method {
            "Page.navigate" => {
                let (tab, message) = (self.clone(), message.clone());
                std::thread::spawn(move || tab.navigate(&message));
                return;
            }
            "Page.getFrameTree" => json!({ "frameTree": { "frame": self.frame() } }),
            "Page.setLifecycleEventsEnabled" => {
                lifecycle = true;
                json!({})
            }
            "Page.addScriptToEvaluateOnNewDocument" => {
                if let Some(world) = params["worldName"].as_str() {
                    self.state().worlds.push(world.to_owned());
                }
                json!({ "identifier": self.count().to_string() })
            }
            "Page.createIsolatedWorld" => {
                json!({ "executionContextId": self.announce_context(params["worldName"].as_str()) })
            }
            "Page.getNavigationHistory" => json!({ "currentIndex": 0, "entries": [] }),
            "Runtime.enable" => {
                contexts = true;
                json!({})
            }
            "Runtime.evaluate" | "Runtime.callFunctionOn" => self.evaluate(params),
            "Network.setUserAgentOverride" | "Emulation.setUserAgentOverride" => {
                if let Some(agent) = params["userAgent"].as_str() {
                    self.state().agent = agent.to_owned();
                }
                json!({})
            }
            // Pictures that say of which page they are.
            "Page.captureScreenshot" => json!({ "data": self.picture("\u{89}PNG") }),
            "Page.printToPDF" => json!({ "data": "", "stream": "print-out" }),
            "IO.read" => json!({ "base64Encoded": true, "data": self.picture("%PDF"), "eof": true }),
            "Fetch.enable" => {
                self.state().intercept = stages(params);
                json!({})
            }
            "Fetch.disable" => {
                self.state().intercept = (false, false);
                json!({})
            }
            _ => {
                if let Some(id) = params["requestId"].as_str().filter(|_| method.starts_with("Fetch.")) {
                    let waiting = self.state().paused.remove(id);
                    if let Some(waiting) = waiting {
                        let _ = waiting.send(json!({ "method": method, "params": params }));
                    }
                }
                json!({})
            }
        };
        self.wire.answer(message, result);
        if lifecycle {
            self.lifecycle();
        }
        if contexts {
            self.announce_context(None);
        }
    }

    fn picture(&self, kind: &str) -> String {
        BASE64_STANDARD.encode(format!("{kind} {}", self.state().page.url))
    }

    /// `Page.navigate`, from the command to the last event.
    fn navigate(&self, message: &Value) {
        let url = message["params"]["url"].as_str().unwrap_or("about:blank");
        let loader = format!("{:032X}", self.count() | 1 << 40);
        self.event("Page.frameStartedLoading", json!({ "frameId": self.target }));
        match self.load(url, &loader) {
            Loaded::Silence => {}
            Loaded::Error(text) => {
                let result = json!({ "frameId": self.target, "loaderId": loader, "errorText": text });
                self.wire.answer(message, result);
                self.event("Page.frameStoppedLoading", json!({ "frameId": self.target }));
            }
            Loaded::Document(page) => {
                {
                    let mut state = self.state();
                    state.page = page;
                    state.loader.clone_from(&loader);
                }
                self.wire.answer(message, json!({ "frameId": self.target, "loaderId": loader }));
                self.event("Runtime.executionContextsCleared", json!({}));
                self.event("Page.frameNavigated", json!({ "frame": self.frame(), "type": "Navigation" }));
                self.announce_context(None);
                let worlds = self.state().worlds.clone();
                for world in &worlds {
                    self.announce_context(Some(world));
                }
                self.lifecycle();
                self.event("Page.frameStoppedLoading", json!({ "frameId": self.target }));
            }
        }
    }

    fn load(&self, url: &str, loader: &str) -> Loaded {
        if !url.starts_with("http") {
            return Loaded::Document(Page::local(url));
        }
        let (at_request, at_response) = self.state().intercept;
        let mut url = url.to_owned();
        for _ in 0..=REDIRECTS_MAX {
            if at_request && let Some(end) = self.pause(&url, loader, None) {
                return end;
            }
            let agent = self.state().agent.clone();
            let answer = match http::get(&url, &agent) {
                Ok(answer) => answer,
                Err(text) => return Loaded::Error(text.to_owned()),
            };
            if let Some(end) = self.misbehave(&url) {
                return end;
            }
            if at_response && let Some(end) = self.pause(&url, loader, Some(&answer)) {
                return end;
            }
            match answer.header("location").filter(|_| (300..400).contains(&answer.status)) {
                None => return self.document(url, &answer),
                Some(location) => match http::join(&url, location) {
                    Some(next) => url = next,
                    None => return Loaded::Error("net::ERR_INVALID_REDIRECT".to_owned()),
                },
            }
        }
        Loaded::Error("net::ERR_TOO_MANY_REDIRECTS".to_owned())
    }

    fn document(&self, url: String, answer: &Answer) -> Loaded {
        let kind = answer.header("content-type").unwrap_or("text/html");
        if answer.status == 204 || answer.header("content-disposition").is_some() || kind.starts_with("application/zip")
        {
            let params = json!({
                "frameId": self.target, "guid": self.count().to_string(), "url": url, "suggestedFilename": "file",
            });
            self.wire.event(None, "Browser.downloadWillBegin", params);
            return Loaded::Error("net::ERR_ABORTED".to_owned());
        }
        Loaded::Document(Page::new(url, kind, &answer.body))
    }

    /// What some URLs do to their browser.
    fn misbehave(&self, url: &str) -> Option<Loaded> {
        match http::split(url)?.1 {
            // No word, no flush, no exit handler: like a crash of the real one.
            "/poison" => std::process::abort(),
            "/renderer-crash" => {
                let params = json!({ "targetId": self.target, "status": "crashed", "errorCode": 139 });
                self.wire.event(None, "Target.targetCrashed", params);
                self.event("Inspector.targetCrashed", json!({}));
                Some(Loaded::Silence)
            }
            "/hang" => Some(Loaded::Silence),
            _ => None,
        }
    }

    /// `Fetch.requestPaused`, and the wait for the driver's word; `Some` when it ends the navigation.
    fn pause(&self, url: &str, loader: &str, answer: Option<&Answer>) -> Option<Loaded> {
        let id = format!("interception-job-{}.0", self.count());
        let (word, words) = channel();
        self.state().paused.insert(id.clone(), word);
        let mut params = json!({
            "requestId": id, "frameId": self.target, "resourceType": "Document", "networkId": loader,
            "request": {
                "url": url, "method": "GET", "headers": {}, "initialPriority": "VeryHigh",
                "referrerPolicy": "strict-origin-when-cross-origin",
            },
        });
        if let Some(answer) = answer {
            let headers: Vec<Value> =
                answer.headers.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
            params["responseStatusCode"] = answer.status.into();
            params["responseHeaders"] = headers.into();
        }
        self.event("Fetch.requestPaused", params);
        let Ok(said) = words.recv_timeout(INTERCEPTION_PATIENCE) else { return Some(Loaded::Silence) };
        match said["method"].as_str() {
            Some("Fetch.failRequest") => {
                let reason = said["params"]["errorReason"].as_str().unwrap_or("Failed");
                Some(Loaded::Error(error_name(reason).to_owned()))
            }
            Some("Fetch.fulfillRequest") => Some(fulfilled(url, &said["params"])),
            _ => None,
        }
    }

    fn evaluate(&self, params: &Value) -> Value {
        let script = params["expression"].as_str().or(params["functionDeclaration"].as_str()).unwrap_or("");
        self.state().page.evaluate(script)
    }

    fn frame(&self) -> Value {
        let state = self.state();
        json!({
            "id": self.target, "loaderId": state.loader, "url": state.page.url, "domainAndRegistry": "",
            "securityOrigin": "://", "mimeType": state.page.content_type, "secureContextType": "SecureLocalhost",
            "crossOriginIsolatedContextType": "NotIsolated", "gatedAPIFeatures": [],
        })
    }

    fn lifecycle(&self) {
        let loader = self.state().loader.clone();
        for name in ["init", "commit", "DOMContentLoaded", "load", "networkAlmostIdle", "networkIdle"] {
            let params = json!({ "frameId": self.target, "loaderId": loader, "name": name, "timestamp": 1.0 });
            self.event("Page.lifecycleEvent", params);
            match name {
                "DOMContentLoaded" => self.event("Page.domContentEventFired", json!({ "timestamp": 1.0 })),
                "load" => self.event("Page.loadEventFired", json!({ "timestamp": 1.0 })),
                _ => {}
            }
        }
    }

    /// Announces a JavaScript world, the page's own one without a name; returns its id.
    fn announce_context(&self, world: Option<&str>) -> u64 {
        let id = self.count();
        let kind = if world.is_some() { "isolated" } else { "default" };
        let context = json!({
            "id": id, "origin": "://", "name": world.unwrap_or(""), "uniqueId": format!("{id}.{}", self.target),
            "auxData": { "isDefault": world.is_none(), "type": kind, "frameId": self.target },
        });
        self.event("Runtime.executionContextCreated", json!({ "context": context }));
        id
    }

    fn event(&self, method: &str, params: Value) {
        let session = self.state().session.clone();
        self.wire.event(session.as_deref(), method, params);
    }

    fn count(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The stages at which `Fetch.enable` asks to be told of documents; without patterns, of every request.
fn stages(params: &Value) -> (bool, bool) {
    let Some(patterns) = params["patterns"].as_array() else { return (true, false) };
    let documents =
        patterns.iter().filter(|pattern| matches!(pattern["resourceType"].as_str(), None | Some("Document")));
    documents.fold((false, false), |(request, response), pattern| match pattern["requestStage"].as_str() {
        Some("Response") => (request, true),
        _ => (true, response),
    })
}

/// The document that the driver itself gave.
fn fulfilled(url: &str, params: &Value) -> Loaded {
    let headers = params["responseHeaders"].as_array().into_iter().flatten();
    let kind = headers
        .filter(|header| header["name"].as_str().is_some_and(|name| name.eq_ignore_ascii_case("content-type")))
        .find_map(|header| header["value"].as_str());
    let body = BASE64_STANDARD.decode(params["body"].as_str().unwrap_or("")).unwrap_or_default();
    Loaded::Document(Page::new(url.to_owned(), kind.unwrap_or("text/html"), &body))
}

fn error_name(reason: &str) -> &'static str {
    match reason {
        "Aborted" => "net::ERR_ABORTED",
        "BlockedByClient" => "net::ERR_BLOCKED_BY_CLIENT",
        "AccessDenied" => "net::ERR_ACCESS_DENIED",
        "TimedOut" => "net::ERR_TIMED_OUT",
        "AddressUnreachable" => "net::ERR_ADDRESS_UNREACHABLE",
        "NameNotResolved" => "net::ERR_NAME_NOT_RESOLVED",
        "ConnectionRefused" => "net::ERR_CONNECTION_REFUSED",
        _ => "net::ERR_FAILED",
    }
}
