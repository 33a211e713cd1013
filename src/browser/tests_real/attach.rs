//! A browser that somebody else started: used, left as it was, and found again when it comes back.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use super::*;
use crate::model::endpoint::DebugEndpoint;

/// Somebody's browser, with a tab of its own.
struct Theirs {
    child: std::process::Child,
    port: u16,
}

impl Theirs {
    fn start(profile: &Path, port: u16) -> Theirs {
        let port_file = profile.join("DevToolsActivePort");
        let _ = std::fs::remove_file(&port_file);
        let executable = find_executable(None).expect("these tests need Chromium");
        let mut command = std::process::Command::new(executable);
        command.args(["--headless", "--no-first-run", "--disable-gpu", "about:blank"]);
        command.arg(format!("--remote-debugging-port={port}")).arg(format!("--user-data-dir={}", profile.display()));
        if rustix::process::geteuid().is_root() {
            command.arg("--no-sandbox");
        }
        let child = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        let end = Instant::now() + BOUND;
        let port = loop {
            assert!(Instant::now() < end, "no debugging port");
            let text = std::fs::read_to_string(&port_file).unwrap_or_default();
            if let Some((port, _)) = text.split_once('\n') {
                break port.parse().unwrap();
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        Theirs { child, port }
    }

    /// The tabs that it has, ours included.
    fn tabs(&self) -> Vec<serde_json::Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(stream, "GET /json/list HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut answer = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&answer);
            let body = text.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok());
            if let Some(serde_json::Value::Array(tabs)) = body {
                return tabs.into_iter().filter(|tab| tab["type"] == "page").collect();
            }
            let read = stream.read(&mut chunk).unwrap();
            assert!(read > 0, "{text}");
            answer.extend_from_slice(&chunk[..read]);
        }
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        self.end();
    }
}

async fn attached(url: &str) -> Stage {
    let profiles = tempfile::tempdir().unwrap();
    let root = profiles.path().join("browsers");
    std::fs::create_dir(&root).unwrap();
    let mut config = BrowserConfig::new(root);
    config.attach = Some(DebugEndpoint::parse(url).unwrap());
    let pool = Browsers::start(config).await.unwrap();
    Stage { site: Site::start().await, pool, egress: testing::anywhere().await, profiles }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_elses_browser_is_used_and_left_as_it_was() {
    let profile = tempfile::tempdir().unwrap();
    let mut theirs = Theirs::start(profile.path(), 0);
    let before = theirs.tabs();
    assert_eq!(before.len(), 1, "{before:?}");
    let stage = attached(&format!("http://127.0.0.1:{}", theirs.port)).await;
    let answer = stage.page("/plain").await;
    assert_eq!((answer.title.as_deref(), answer.links.len()), (Some("/plain"), 4));
    assert_eq!(links(&stage.page("/late").await), [format!("{}/found-late", stage.site.base)]);
    assert!(matches!(stage.visit("/attachment").await.result, VisitResult::Download(_)));
    let popup = stage.page("/popup").await;
    assert_eq!(popup.links.len(), 3, "{:?}", links(&popup));
    let info = stage.pool.info().unwrap();
    assert_eq!(info.executable, format!("attached to http://127.0.0.1:{}", theirs.port));
    assert!(info.processes.is_empty() && stage.pool.status().borrow().pids.is_empty(), "{info:?}");
    assert!(theirs.tabs().len() > 1, "tabs of ours");

    let mut solo = stage.request("/plain", Duration::from_secs(20));
    solo.solo = true;
    assert!(matches!(stage.pool.visit(solo).await.result, VisitResult::Answer(_)));

    // Its owner ends it, and starts it again at the same place.
    let hang = stage.pool.visit(stage.request("/hang", Duration::from_secs(50)));
    let port = theirs.port;
    let killer = async {
        until("the page is asked for", || stage.site.was_asked("/hang")).await;
        theirs.end();
    };
    let began = Instant::now();
    let (visit, ()) = tokio::join!(hang, killer);
    assert_eq!(visit.crash, Some(CrashScope::Browser), "{visit:?}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let lost = failure(stage.visit("/plain").await);
    assert!(lost.message.contains("cannot attach"), "{}", lost.message);
    let theirs = Theirs::start(profile.path(), port);
    let end = Instant::now() + BOUND;
    while !matches!(stage.visit("/plain").await.result, VisitResult::Answer(_)) {
        assert!(Instant::now() < end, "not attached again");
    }
    assert_eq!(stage.pool.status().borrow().restarts, 1);
    stage.close().await;
    until("our tabs are closed", || theirs.tabs().len() == 1).await;
    assert!(theirs.tabs()[0]["url"] == "about:blank", "{:?}", theirs.tabs());
}
