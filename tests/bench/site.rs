//! A web server on loopback, in this process: a thread a connection, keep-alive, GET only.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// What a site answers: a content type and a body, or nothing (404).
type Page = Option<(&'static str, Vec<u8>)>;

/// A running site. It ends with the process.
pub struct Site {
    port: u16,
    asked: Arc<AtomicU64>,
    next: Arc<Mutex<Option<Instant>>>,
}

impl Site {
    /// Serves what `answer` makes of host (without the port) and path, to this machine alone.
    pub fn start(answer: impl Fn(u16, &str, &str) -> Page + Send + Sync + 'static) -> Self {
        // All of 127.0.0.0/8, so that one server can be many hosts; others are turned away below.
        let listener = TcpListener::bind(("0.0.0.0", 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let site = Site { port, asked: Arc::default(), next: Arc::default() };
        let (asked, next, answer) = (site.asked.clone(), site.next.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (asked, next, answer) = (asked.clone(), next.clone(), answer.clone());
                if stream.peer_addr().is_ok_and(|peer| peer.ip().is_loopback()) {
                    std::thread::spawn(move || {
                        let noted = |host: &str, path: &str| {
                            asked.fetch_add(1, Ordering::Relaxed);
                            next.lock().expect("no panic while held").get_or_insert_with(Instant::now);
                            answer(port, host, path)
                        };
                        // A client that goes away mid-answer is no news.
                        let _ = converse(stream, &noted);
                    });
                }
            }
        });
        site
    }

    /// The files below a directory.
    pub fn of_files(root: &Path) -> Self {
        let root = root.to_owned();
        Site::start(move |_, _, path| file(&root, path))
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Forgets when it was last asked.
    pub fn listen_for_next(&self) {
        *self.next.lock().expect("no panic while held") = None;
    }

    /// When the first request since then came.
    pub fn next_request(&self) -> Option<Instant> {
        *self.next.lock().expect("no panic while held")
    }

    /// Requests so far.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

fn converse(mut stream: TcpStream, answer: &dyn Fn(&str, &str) -> Page) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream.try_clone()?);
    loop {
        let (mut first, mut host) = (String::new(), String::new());
        if lines.read_line(&mut first)? == 0 {
            return Ok(());
        }
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("host")
            {
                host = value.trim().split(':').next().unwrap_or_default().to_owned();
            }
        }
        let path = first.split_whitespace().nth(1).unwrap_or("/");
        let (status, kind, body) = match answer(&host, path) {
            Some((kind, body)) => ("200 OK", kind, body),
            None => ("404 Not Found", "text/plain", b"not here\n".to_vec()),
        };
        let mut bytes =
            format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        bytes.extend_from_slice(&body);
        stream.write_all(&bytes)?;
    }
}

fn file(root: &Path, path: &str) -> Page {
    let decoded = percent_decoded(path.split(['?', '#']).next()?)?;
    let inside: PathBuf = Path::new(&decoded).components().filter(|c| matches!(c, Component::Normal(_))).collect();
    let body = std::fs::read(root.join(&inside)).ok()?;
    let kind = match inside.extension().and_then(|ending| ending.to_str()).unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css",
        "js" => "text/javascript",
        "png" => "image/png",
        "gif" => "image/gif",
        "svg" => "image/svg+xml",
        "ttf" => "font/ttf",
        _ => "application/octet-stream",
    };
    Some((kind, body))
}

fn percent_decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let hex = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&hex).ok()?, 16).ok()?
            }
            plain => plain,
        });
    }
    String::from_utf8(bytes).ok()
}
