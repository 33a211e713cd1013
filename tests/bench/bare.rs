//! What there is to beat: the shortest loop that asks Chromium for pages over its own debugging pipe. It
//! keeps nothing, checks nothing, and hangs with the first page that does.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::tree::{Meter, Reading};

/// Longer no answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The usual switches of a browser that a program drives.
const SWITCHES: &[&str] = &[
    "--headless",
    "--remote-debugging-pipe",
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-field-trial-config",
    "--disable-hang-monitor",
    "--disable-renderer-backgrounding",
    "--disable-sync",
    "--hide-scrollbars",
    "--metrics-recording-only",
    "--mute-audio",
    "--no-first-run",
    "--password-store=basic",
    "--use-mock-keychain",
    "--window-size=1280,1024",
];

/// Links and text, as a page shows them.
const CONTENT: &str = "JSON.stringify({ title: document.title, text: document.body.innerText, \
     links: [...document.querySelectorAll('a[href]')].map((a) => a.href) })";

/// What a run took.
pub struct Run {
    /// From the browser's start to the last page.
    pub took: Duration,
    /// Of the browser and this client's share of it: the client's own CPU is not counted.
    pub tree: Reading,
    /// Links found.
    pub links: usize,
}

/// Loads every URL once, in `tabs` ordinary tabs of one browser.
pub fn run(executable: &Path, urls: &[String], tabs: usize) -> Run {
    let profile = tempfile::tempdir().expect("a profile directory");
    let started = Instant::now();
    let (mut browser, wire) = launch(executable, profile.path());
    let meter = Meter::start(browser.id(), false);
    let queue = Arc::new(Mutex::new(urls.iter().rev().cloned().collect::<Vec<_>>()));
    let workers: Vec<_> = (0..tabs)
        .map(|_| {
            let mut tab = wire.open_tab();
            let queue = queue.clone();
            std::thread::spawn(move || {
                let mut links = 0;
                loop {
                    let Some(url) = queue.lock().expect("no panic while held").pop() else { return links };
                    links += tab.load(&url);
                }
            })
        })
        .collect();
    let links = workers.into_iter().map(|worker| worker.join().expect("a tab that works")).sum();
    let took = started.elapsed();
    let tree = meter.stop();
    let _ = browser.kill();
    let _ = browser.wait();
    Run { took, tree, links }
}

fn launch(executable: &Path, profile: &Path) -> (Child, Arc<Wire>) {
    let mut command = Command::new("/bin/sh");
    // Chromium reads from descriptor 3 and writes to 4; `exec` leaves no shell behind.
    command.arg("-c").arg(r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#).arg(executable);
    command.args(SWITCHES).arg(format!("--user-data-dir={}", profile.display()));
    if rustix::process::geteuid().is_root() {
        command.arg("--no-sandbox");
    }
    let mut child =
        command.arg("about:blank").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the browser starts");
    let input = child.stdin.take().expect("a pipe");
    let output = child.stdout.take().expect("a pipe");
    let wire = Arc::new(Wire { input: Mutex::new(input), routes: Mutex::default(), next: AtomicU64::new(1) });
    let routes = wire.clone();
    std::thread::spawn(move || {
        for message in BufReader::new(output).split(0).map_while(Result::ok) {
            let Ok(message) = serde_json::from_slice::<Value>(&message) else { continue };
            let session = message["sessionId"].as_str().unwrap_or_default().to_owned();
            if let Some(route) = routes.routes.lock().expect("no panic while held").get(&session) {
                let _ = route.send(message);
            }
        }
    });
    (child, wire)
}

/// The pipe, and who gets which messages: by session, the browser's own under the empty name.
struct Wire {
    input: Mutex<ChildStdin>,
    routes: Mutex<HashMap<String, Sender<Value>>>,
    next: AtomicU64,
}

impl Wire {
    fn send(&self, session: &str, method: &str, params: Value) -> u64 {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut message = json!({ "id": id, "method": method, "params": params });
        if !session.is_empty() {
            message["sessionId"] = session.into();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.input.lock().expect("no panic while held").write_all(&bytes).expect("the browser listens");
        id
    }

    fn listen(&self, session: &str) -> Receiver<Value> {
        let (sender, receiver) = channel();
        self.routes.lock().expect("no panic while held").insert(session.to_owned(), sender);
        receiver
    }

    fn open_tab(self: &Arc<Self>) -> Tab {
        let mut browser = Tab { messages: self.listen(""), wire: self.clone(), session: String::new() };
        let target = browser.ask("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let params = json!({ "targetId": target, "flatten": true });
        let session = browser.ask("Target.attachToTarget", params)["sessionId"].as_str().expect("an id").to_owned();
        let mut tab = Tab { messages: self.listen(&session), wire: self.clone(), session };
        tab.ask("Page.enable", json!({}));
        tab
    }
}

struct Tab {
    wire: Arc<Wire>,
    session: String,
    messages: Receiver<Value>,
}

impl Tab {
    fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.wire.send(&self.session, method, params);
        loop {
            let mut message = self.messages.recv_timeout(PATIENCE).expect("an answer");
            if message["id"] == id {
                return message["result"].take();
            }
        }
    }

    /// Loads a page and reads it; the number of its links.
    fn load(&mut self, url: &str) -> usize {
        let id = self.wire.send(&self.session, "Page.navigate", json!({ "url": url }));
        let (mut answered, mut loaded) = (false, false);
        while !answered || !loaded {
            let message = self.messages.recv_timeout(PATIENCE).expect("a page that loads");
            answered |= message["id"] == id;
            loaded |= message["method"] == "Page.loadEventFired";
        }
        let answer = self.ask("Runtime.evaluate", json!({ "expression": CONTENT, "returnByValue": true }));
        let text = answer["result"]["value"].as_str().expect("a text");
        let content: Value = serde_json::from_str(text).expect("JSON");
        content["links"].as_array().map_or(0, Vec::len)
    }
}
