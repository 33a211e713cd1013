//! Somebody who looks at pages of ours: a Chromium with one tab, told what to do over its debugging pipe, that
//! remembers everything that went wrong there and everything that was asked for.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Longer no answer of the browser may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with one tab.
pub struct Looker {
    child: Child,
    input: ChildStdin,
    messages: Receiver<Value>,
    session: String,
    next: u64,
    /// Errors that the console showed, exceptions that nobody caught.
    pub wrong: Vec<String>,
    /// URLs that were asked for, web sockets included.
    pub asked: Vec<String>,
    _profile: TempDir,
}

impl Looker {
    /// Starts one.
    pub fn start() -> Looker {
        let executable = crawld::browser::find_executable(None).expect("a Chromium");
        let profile = tempfile::Builder::new().prefix("crawld-look-").tempdir().expect("a profile directory");
        let mut command = Command::new("/bin/sh");
        // Chromium reads from descriptor 3 and writes to 4; `exec` leaves no shell behind.
        command.arg("-c").arg(r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#).arg(executable);
        command.args(["--headless", "--remote-debugging-pipe", "--disable-dev-shm-usage", "--hide-scrollbars"]);
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        if super::skip::root() {
            command.arg("--no-sandbox");
        }
        command.arg("about:blank").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the browser starts");
        let input = child.stdin.take().expect("a pipe");
        let output = child.stdout.take().expect("a pipe");
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            let parts = BufReader::new(output).split(0).map_while(Result::ok);
            parts.filter_map(|part| serde_json::from_slice(&part).ok()).try_for_each(|message| sender.send(message))
        });
        let (wrong, asked) = (Vec::new(), Vec::new());
        let session = String::new();
        let mut looker = Looker { child, input, messages, session, next: 0, wrong, asked, _profile: profile };
        let target = looker.ask("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = looker.ask("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        looker.session = attached["sessionId"].as_str().expect("a session").to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            looker.ask(&format!("{domain}.enable"), json!({}));
        }
        looker
    }

    /// A command of the protocol and its answer.
    #[track_caller]
    pub fn ask(&mut self, method: &str, params: Value) -> Value {
        self.attempt(method, params).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// The same where it may be refused: a page that is being left has nobody to answer.
    #[track_caller]
    fn attempt(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        self.next += 1;
        let mut message = json!({ "id": self.next, "method": method, "params": params });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.input.write_all(&bytes).expect("the browser listens");
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let mut answer = self.messages.recv_timeout(left).unwrap_or_else(|_| panic!("no answer to {method}"));
            if answer["id"] == self.next {
                return match answer["error"].take() {
                    Value::Null => Ok(answer["result"].take()),
                    error => Err(error),
                };
            }
            self.hear(&answer);
        }
    }

    fn hear(&mut self, message: &Value) {
        let params = &message["params"];
        match message["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => self.wrong.push(params["exceptionDetails"].to_string()),
            "Runtime.consoleAPICalled" if params["type"] == "error" => self.wrong.push(params["args"].to_string()),
            "Log.entryAdded" if params["entry"]["level"] == "error" => self.wrong.push(params["entry"].to_string()),
            "Network.requestWillBeSent" => self.asked.push(text(&params["request"]["url"])),
            "Network.webSocketCreated" => self.asked.push(text(&params["url"])),
            _ => {}
        }
    }

    /// The window's size, and whether it is a dark one.
    pub fn window(&mut self, width: u32, height: u32, dark: bool) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.ask("Emulation.setDeviceMetricsOverride", metrics);
        let scheme = if dark { "dark" } else { "light" };
        self.ask(
            "Emulation.setEmulatedMedia",
            json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] }),
        );
    }

    /// Goes to a URL.
    pub fn go(&mut self, url: &str) {
        self.ask("Page.navigate", json!({ "url": url }));
    }

    /// What a script in the page comes to; promises are awaited.
    #[track_caller]
    pub fn eval(&mut self, script: &str) -> Value {
        let params = json!({ "expression": script, "returnByValue": true, "awaitPromise": true, "userGesture": true });
        let mut answer = self.ask("Runtime.evaluate", params);
        assert!(answer["exceptionDetails"].is_null(), "{script}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].take()
    }

    /// Waits until a script comes to something that is true.
    #[track_caller]
    pub fn until(&mut self, what: &str, script: &str) {
        let end = Instant::now() + PATIENCE;
        let guarded = format!("(() => {{ try {{ return Boolean({script}) }} catch {{ return false }} }})()");
        let params = json!({ "expression": guarded, "returnByValue": true });
        while !self.attempt("Runtime.evaluate", params.clone()).is_ok_and(|answer| answer["result"]["value"] == true) {
            if Instant::now() > end {
                let page = self.eval("document.body.innerText.slice(0, 2000)");
                panic!("waited {PATIENCE:?} in vain for: {what}\nwrong: {:#?}\npage: {page}", self.wrong);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Presses a key.
    pub fn press(&mut self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            "ArrowLeft" => 37,
            other => panic!("{other} is no key of these tests"),
        };
        let mut down = json!({ "type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code });
        if key == "Enter" {
            down["text"] = "\r".into();
        }
        self.ask("Input.dispatchKeyEvent", down);
        self.ask(
            "Input.dispatchKeyEvent",
            json!({ "type": "keyUp", "key": key, "code": key, "windowsVirtualKeyCode": code }),
        );
    }
}

impl Drop for Looker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
