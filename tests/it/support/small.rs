//! A site of a few lines: what each path answers, and when it was asked for.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What a path answers.
pub struct Answer {
    status: u16,
    headers: Vec<String>,
    body: String,
    after: Duration,
}

impl Answer {
    /// A body of this media type.
    pub fn of(kind: &str, body: impl Into<String>) -> Self {
        Answer { status: 200, headers: vec![format!("content-type: {kind}")], body: body.into(), after: Duration::ZERO }
    }

    /// A page with these links.
    pub fn page(links: &[&str]) -> Self {
        let links: String = links.iter().map(|link| format!("<a href={link}>x</a>")).collect();
        Answer::of("text/html", format!("<!doctype html><title>page</title>{links}"))
    }

    /// Elsewhere.
    pub fn redirect(to: &str) -> Self {
        Answer::of("text/plain", "").status(302).header(&format!("location: {to}"))
    }

    /// With this status.
    pub fn status(self, status: u16) -> Self {
        Answer { status, ..self }
    }

    /// With one more header.
    pub fn header(mut self, line: &str) -> Self {
        self.headers.push(line.to_owned());
        self
    }

    /// After this time.
    pub fn after(self, after: Duration) -> Self {
        Answer { after, ..self }
    }
}

/// The site; it ends with the process.
pub struct Small {
    pub base: String,
    asked: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Small {
    /// Answers by path, knowing its own base; 404 for `None`.
    pub fn start(answer: impl Fn(&str, &str) -> Option<Answer> + Send + Sync + 'static) -> Small {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::<Mutex<Vec<(Instant, String)>>>::default();
        let (log, answer, own) = (asked.clone(), Arc::new(answer), base.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, answer, own) = (log.clone(), answer.clone(), own.clone());
                std::thread::spawn(move || converse(stream, &log, &|path: &str| answer(&own, path)));
            }
        });
        Small { base, asked }
    }

    /// Paths in the order in which they were asked for, and when.
    pub fn asked(&self) -> Vec<(Instant, String)> {
        self.asked.lock().expect("no panic while held").clone()
    }
}

fn converse(stream: TcpStream, log: &Mutex<Vec<(Instant, String)>>, answer: &dyn Fn(&str) -> Option<Answer>) {
    let Ok(mut writer) = stream.try_clone() else { return };
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    while let Some(first) = lines.next() {
        lines.by_ref().take_while(|line| !line.is_empty()).for_each(drop);
        let path = first.split(' ').nth(1).unwrap_or("/").to_owned();
        log.lock().expect("no panic while held").push((Instant::now(), path.clone()));
        let Answer { status, headers, body, after } =
            answer(&path).unwrap_or_else(|| Answer::of("text/plain", "?").status(404));
        std::thread::sleep(after);
        let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        let head = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n", body.len());
        if writer.write_all((head + &body).as_bytes()).is_err() {
            return;
        }
    }
}
