//! The site of the coverage cases: their pages, answers made to measure, event streams and a WebSocket.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::Case;

/// Before each case's page. `~` and `NAME` are filled in.
const HEAD: &str = "<!doctype html><title>NAME</title><body><script>
    const add = (i) => { const a = document.createElement('a'); a.href = '~' + i; a.textContent = 'link ' + i;
        document.body.append(a); };
    const echo = (body, type = 'text/html', delay = 0) => '/echo?' + new URLSearchParams({ type, delay, body });
    const later = (ms) => new Promise((done) => setTimeout(done, ms));
    </script>";

/// The site; it ends with the process, as its connections do.
pub struct Server {
    pub base: String,
}

impl Server {
    pub fn start<'a>(cases: impl Iterator<Item = &'a Case>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let mut pages = HashMap::new();
        let mut index = String::from("<!doctype html><title>cases</title>");
        for case in cases {
            let links = format!("http://127.0.0.1:{port}/found/{}/", case.name);
            // Headers of its own come first, and an empty line.
            let (headers, body) = match case.html.strip_prefix("=>") {
                Some(with) => with.split_once("\n\n").expect("headers end with an empty line"),
                None => ("", case.html),
            };
            let page = format!("{HEAD}{body}").replace("NAME", case.name).replace('~', &links);
            let headers: String = headers.lines().map(|line| format!("{}\r\n", line.replace('~', &links))).collect();
            pages.insert(format!("/c/{}", case.name), (headers, page));
            index += &format!("<a href=/c/{0}>{0}</a> ", case.name);
        }
        pages.insert("/".to_owned(), (String::new(), index));
        let pages = Arc::new(pages);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let pages = pages.clone();
                std::thread::spawn(move || converse(stream, &pages));
            }
        });
        Server { base: format!("http://127.0.0.1:{port}") }
    }
}

type Pages = HashMap<String, (String, String)>;

fn converse(stream: TcpStream, pages: &Pages) {
    let Ok(mut writer) = stream.try_clone() else { return };
    let mut reader = BufReader::new(stream);
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first).unwrap_or(0) == 0 {
            return;
        }
        let (mut key, mut length) = (None, 0);
        for line in reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
            let Some((name, value)) = line.split_once(':') else { continue };
            match name.to_ascii_lowercase().as_str() {
                "sec-websocket-key" => key = Some(value.trim().to_owned()),
                "content-length" => length = value.trim().parse().unwrap_or(0),
                _ => {}
            }
        }
        let mut sent = vec![0; length];
        if reader.read_exact(&mut sent).is_err() {
            return;
        }
        let target = first.split(' ').nth(1).unwrap_or("/").to_owned();
        if let Some(key) = key {
            return talk(writer, &key);
        }
        if answer(&mut writer, &target, pages).is_err() {
            return;
        }
    }
}

fn answer(to: &mut TcpStream, target: &str, pages: &Pages) -> std::io::Result<()> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let parameters: HashMap<String, String> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let of = |name: &str| parameters.get(name).map(String::as_str).unwrap_or_default();
    if let Ok(delay) = of("delay").parse() {
        std::thread::sleep(Duration::from_millis(delay));
    }
    match (path, pages.get(path)) {
        ("/robots.txt", _) => {
            send(to, "200 OK", "text/plain", "", "User-agent: *\nDisallow: /found/\nDisallow: /echo\n")
        }
        ("/echo", _) => send(to, "200 OK", of("type"), "", of("body")),
        (_, Some((headers, page))) => send(to, "200 OK", "text/html; charset=utf-8", headers, page),
        _ => send(to, "404 Not Found", "text/html", "", "?"),
    }
}

fn send(to: &mut TcpStream, status: &str, media: &str, headers: &str, body: &str) -> std::io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {media}\r\ncontent-length: {length}\r\ncache-control: no-store\r\n{headers}\r\n"
    );
    to.write_all((head + body).as_bytes())
}

/// A WebSocket that says `1` at once and `2` seconds later.
fn talk(mut to: TcpStream, key: &str) {
    let accept = derive_accept_key(key.as_bytes());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n"
    );
    // Unmasked text frames of one byte.
    let says = |to: &mut TcpStream, byte: u8| to.write_all(&[0x81, 1, byte]);
    if to.write_all(head.as_bytes()).is_ok() && says(&mut to, b'1').is_ok() {
        std::thread::sleep(Duration::from_secs(6));
        // Who has left by now needs no answer.
        let _ = says(&mut to, b'2');
        std::thread::sleep(Duration::from_secs(10));
    }
}
