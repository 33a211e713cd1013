//! A browser that only the tests need: it starts in no time, and dies, hangs or crashes by the URL it is sent to.
//!
//! It speaks as much of the DevTools protocol over `--remote-debugging-pipe` (fd 3 in, fd 4 out, messages
//! end in NUL) as crawld's driver asks for. It runs no script: it fetches the document by plain HTTP and
//! answers crawld's extraction call itself. It ends when its pipe does, like Chromium.
//!
//! | path of the URL | what happens |
//! |---|---|
//! | `/poison` | the browser dies, at once and with everything in it |
//! | `/renderer-crash` | the tab's renderer crashes |
//! | `/hang` | the navigation never ends |

mod http;
mod page;
mod tab;
mod wire;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tab::Tab;
use wire::Wire;

/// What it calls itself.
const PRODUCT: &str = "HeadlessChrome/156.0.0.0";
/// Its user agent, unless overridden.
const USER_AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64) ScriptedBrowser/156.0.0.0";

fn main() -> std::io::Result<()> {
    if std::env::args().any(|arg| arg == "--version" || arg == "--product-version") {
        println!("Scripted Browser 156.0.0.0");
        return Ok(());
    }
    let (wire, mut input) = Wire::open()?;
    let mut browser = Browser { wire: Arc::new(wire), tabs: HashMap::new(), sessions: HashMap::new(), next: 1 };
    browser.create_tab(None);
    while let Some(message) = input.next()? {
        if !browser.handle(&message) {
            break;
        }
    }
    // Threads of navigations under way end with the process.
    Ok(())
}

struct Browser {
    wire: Arc<Wire>,
    /// By target id.
    tabs: HashMap<String, Arc<Tab>>,
    /// Target id by session id.
    sessions: HashMap<String, String>,
    next: u64,
}

impl Browser {
    /// Answers one command; `false` ends the browser.
    fn handle(&mut self, message: &Value) -> bool {
        let method = message["method"].as_str().unwrap_or("");
        let params = &message["params"];
        let session = message["sessionId"].as_str();
        if let Some(tab) = session.and_then(|id| self.sessions.get(id)).and_then(|target| self.tabs.get(target)) {
            if method == "Page.close" {
                let target = tab.target.clone();
                self.wire.answer(message, json!({}));
                self.close_tab(&target);
            } else if let Some(result) = self.target_command(method, params) {
                self.wire.answer(message, result);
            } else {
                let tab = self.sessions[session.unwrap_or("")].clone();
                let tab = self.tabs[&tab].clone();
                tab.handle(message, method, params);
            }
            return true;
        }
        if method == "Browser.close" {
            self.wire.answer(message, json!({}));
            return false;
        }
        match self.target_command(method, params) {
            Some(result) => self.wire.answer(message, result),
            None if session.is_some() => self.wire.refuse(message, "Session with given id not found."),
            None => self.wire.answer(message, json!({})),
        }
        true
    }

    /// Commands about the browser and its targets, wherever they are sent.
    fn target_command(&mut self, method: &str, params: &Value) -> Option<Value> {
        let target = params["targetId"].as_str().unwrap_or("").to_owned();
        Some(match method {
            "Browser.getVersion" => json!({
                "protocolVersion": "1.3", "product": PRODUCT, "revision": "@0",
                "userAgent": USER_AGENT, "jsVersion": "15.6",
            }),
            "SystemInfo.getProcessInfo" => json!({ "processInfo": [] }),
            "Target.setDiscoverTargets" => {
                for tab in self.tabs.values() {
                    self.wire.event(None, "Target.targetCreated", json!({ "targetInfo": tab.info(false) }));
                }
                json!({})
            }
            "Target.getTargets" => {
                json!({ "targetInfos": self.tabs.values().map(|tab| tab.info(true)).collect::<Vec<_>>() })
            }
            "Target.getTargetInfo" => json!({ "targetInfo": self.tabs.get(&target).map(|tab| tab.info(true)) }),
            "Target.createBrowserContext" => json!({ "browserContextId": self.fresh("CONTEXT") }),
            "Target.createTarget" => {
                json!({ "targetId": self.create_tab(params["browserContextId"].as_str()) })
            }
            "Target.attachToTarget" => self.attach(&target),
            "Target.closeTarget" => {
                self.close_tab(&target);
                json!({ "success": true })
            }
            "Target.disposeBrowserContext" => {
                let context = params["browserContextId"].as_str().unwrap_or("").to_owned();
                let gone: Vec<String> =
                    self.tabs.values().filter(|tab| tab.context == context).map(|tab| tab.target.clone()).collect();
                gone.iter().for_each(|target| self.close_tab(target));
                json!({})
            }
            _ => return None,
        })
    }

    fn create_tab(&mut self, context: Option<&str>) -> String {
        let target = self.fresh("TARGET");
        let context = context.unwrap_or("DEFAULT").to_owned();
        let tab = Tab::new(self.wire.clone(), target.clone(), context);
        self.wire.event(None, "Target.targetCreated", json!({ "targetInfo": tab.info(false) }));
        self.tabs.insert(target.clone(), Arc::new(tab));
        target
    }

    fn attach(&mut self, target: &str) -> Value {
        let session = self.fresh("SESSION");
        if let Some(tab) = self.tabs.get(target) {
            self.sessions.insert(session.clone(), target.to_owned());
            tab.attached(&session);
            self.wire.event(
                None,
                "Target.attachedToTarget",
                json!({ "sessionId": session, "targetInfo": tab.info(true), "waitingForDebugger": false }),
            );
        }
        json!({ "sessionId": session })
    }

    fn close_tab(&mut self, target: &str) {
        if self.tabs.remove(target).is_none() {
            return;
        }
        for session in self.sessions.iter().filter(|(_, of)| *of == target).map(|(session, _)| session) {
            let params = json!({ "sessionId": session, "targetId": target });
            self.wire.event(None, "Target.detachedFromTarget", params);
        }
        self.sessions.retain(|_, of| of != target);
        self.wire.event(None, "Target.targetDestroyed", json!({ "targetId": target }));
    }

    /// Ids look like Chromium's: 32 hexadecimal digits.
    fn fresh(&mut self, kind: &str) -> String {
        let number = self.next;
        self.next += 1;
        let kind = kind.bytes().fold(0u64, |sum, byte| sum * 31 + u64::from(byte));
        format!("{:016X}{number:016X}", kind)
    }
}
