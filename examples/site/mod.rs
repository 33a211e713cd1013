//! A deterministic web site on loopback: what the demo shows, and what the tests crawl and check against.
//!
//! Everything it serves follows from its [`Config`]; [`truth`] says what a complete crawl of it must
//! find. Each request is kept, and written to a log file as `{t, path, ua}`, one flushed line each.

// Every program that includes this module uses another part of it.
#![allow(dead_code)]

pub mod pages;
pub mod truth;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{HeaderName, USER_AGENT};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use tokio::sync::oneshot;

/// Called at each request for `/poison`.
pub type Hook = Arc<dyn Fn() + Send + Sync>;

/// What the site holds and how it behaves.
#[derive(Clone)]
pub struct Config {
    /// Port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// Number of `/light/N` pages.
    pub pages: u32,
    /// Time that every page takes to answer.
    pub latency: Duration,
    /// Time that `/lab/slow` takes.
    pub slow: Duration,
    /// Serve and link `/lab/`: redirects, errors, odd pages.
    pub lab: bool,
    /// Serve a sitemap index, and pages that only it names.
    pub sitemaps: bool,
    /// Link pages that only a script names.
    pub scripts: bool,
    /// Link an endless calendar.
    pub calendar: bool,
    /// Link `/poison`, the page that kills its browser.
    pub poison: bool,
    /// What happens when `/poison` is asked for.
    pub on_poison: Option<Hook>,
    /// File that gets a line per request.
    pub log: Option<PathBuf>,
}

impl Config {
    /// A plain tree of `pages` pages: nothing fails, nothing is slow.
    pub fn plain(pages: u32) -> Self {
        Config {
            port: 0,
            pages,
            latency: Duration::ZERO,
            slow: Duration::from_millis(300),
            lab: false,
            sitemaps: false,
            scripts: false,
            calendar: false,
            poison: false,
            on_poison: None,
            log: None,
        }
    }

    /// Everything that ends by itself: the tree, the lab, sitemaps, script-made links.
    pub fn full(pages: u32) -> Self {
        Config { lab: true, sitemaps: true, scripts: true, ..Config::plain(pages) }
    }
}

/// A running site; stops when dropped.
pub struct Site {
    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub url: String,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    config: Config,
    base: String,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    hits: BTreeMap<String, u32>,
    file: Option<File>,
}

impl Site {
    /// Starts serving on a thread of its own.
    ///
    /// # Errors
    /// The port is taken, or the log file cannot be made.
    pub fn start(config: Config) -> std::io::Result<Site> {
        let listener = std::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], config.port)))?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}", listener.local_addr()?);
        let file = config.log.as_ref().map(File::create).transpose()?;
        let shared =
            Arc::new(Shared { config, base: url.clone(), log: Mutex::new(Log { hits: BTreeMap::new(), file }) });
        let (stop, stopped) = oneshot::channel();
        let for_thread = shared.clone();
        let thread =
            std::thread::Builder::new().name("site".into()).spawn(move || serve(listener, for_thread, stopped))?;
        Ok(Site { url, shared, stop: Some(stop), thread: Some(thread) })
    }

    /// The address of a path.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// How often each path (with its query) was asked for.
    pub fn hits(&self) -> BTreeMap<String, u32> {
        self.shared.log.lock().unwrap_or_else(PoisonError::into_inner).hits.clone()
    }

    /// What the site was made from.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(listener: std::net::TcpListener, shared: Arc<Shared>, stopped: oneshot::Receiver<()>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return eprintln!("site: {error}"),
    };
    runtime.block_on(async move {
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return eprintln!("site: {error}"),
        };
        let app = axum::Router::new().fallback(answer).with_state(shared);
        // Dropping the server ends open connections too; a graceful stop would wait for idle ones.
        tokio::select! {
            result = async { axum::serve(listener, app).await } => if let Err(error) = result { eprintln!("site: {error}") },
            _ = stopped => {}
        }
    });
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let path = request.uri().path_and_query().map_or("/", |both| both.as_str()).to_owned();
    let agent = request.headers().get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("");
    let earlier = shared.note(&path, agent);
    let config = &shared.config;
    if path == "/poison"
        && let Some(hook) = config.on_poison.clone()
    {
        let _ = tokio::task::spawn_blocking(move || hook()).await;
    }
    let wait = if path == "/lab/slow" { config.slow } else { config.latency };
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    let reply = pages::reply(config, &shared.base, &path, earlier);
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in reply.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}

impl Shared {
    /// Logs one request; returns how many came before it for the same path.
    fn note(&self, path: &str, agent: &str) -> u32 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let hits = log.hits.entry(path.to_owned()).or_default();
        let earlier = *hits;
        *hits += 1;
        if let Some(file) = &mut log.file {
            let line = serde_json::json!({ "t": now.as_millis() as u64, "path": path, "ua": agent });
            if let Err(error) = writeln!(file, "{line}") {
                eprintln!("site: the request log cannot be written: {error}");
            }
        }
        earlier
    }
}
