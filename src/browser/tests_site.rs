//! A site with bad manners on loopback, for the tests against the real Chromium.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::model::url::CanonicalUrl;

/// Pages that a test adds, by path.
type Pages = Arc<Mutex<HashMap<String, String>>>;

/// The site and what it was asked for.
pub(super) struct Site {
    pub base: String,
    asked: Arc<Mutex<Vec<String>>>,
    heads: Arc<Mutex<Vec<String>>>,
    pages: Pages,
    _task: tokio::task::JoinHandle<()>,
}

impl Site {
    pub(super) async fn start() -> Site {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let pages = Pages::default();
        let (log, all, own) = (Arc::clone(&asked), Arc::clone(&heads), Arc::clone(&pages));
        let task = tokio::spawn(async move {
            let mut clients = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                clients.spawn(serve(stream, Arc::clone(&log), Arc::clone(&all), Arc::clone(&own)));
            }
        });
        Site { base, asked, heads, pages, _task: task }
    }

    pub(super) fn url(&self, path: &str) -> CanonicalUrl {
        CanonicalUrl::parse(&format!("{}{path}", self.base)).unwrap()
    }

    pub(super) fn times_asked(&self, path: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| *asked == path).count()
    }

    /// Adds a page; a body that begins with `->` is a redirect, and `=>` is followed by headers and an empty line.
    pub(super) fn put(&self, path: &str, html: &str) {
        self.pages.lock().unwrap().insert(path.to_owned(), html.to_owned());
    }

    /// The heads of all requests for this path.
    pub(super) fn heads_of(&self, path: &str) -> Vec<String> {
        let heads = self.heads.lock().unwrap();
        heads.iter().filter(|head| head.split_whitespace().nth(1) == Some(path)).cloned().collect()
    }

    /// How often a path was asked for whose beginning is this.
    pub(super) fn count(&self, prefix: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| asked.starts_with(prefix)).count()
    }

    pub(super) fn was_asked(&self, path: &str) -> bool {
        self.asked.lock().unwrap().iter().any(|asked| asked == path)
    }
}

async fn serve(mut stream: TcpStream, log: Arc<Mutex<Vec<String>>>, heads: Arc<Mutex<Vec<String>>>, pages: Pages) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split_whitespace().nth(1).unwrap_or("/").to_owned();
    log.lock().unwrap().push(path.clone());
    heads.lock().unwrap().push(head.clone());
    let own = pages.lock().unwrap().get(&path).cloned();
    if let Some(page) = own {
        let with_head = page.strip_prefix("=>").and_then(|page| page.split_once("\r\n\r\n"));
        let _ = match (page.strip_prefix("->"), with_head) {
            (Some(to), _) => respond(&mut stream, "302 Found", &format!("location: {to}\r\n"), b"").await,
            (_, Some((head, body))) => respond(&mut stream, "200 OK", &format!("{head}\r\n"), body.as_bytes()).await,
            _ => respond(&mut stream, "200 OK", "content-type: text/html\r\n", page.as_bytes()).await,
        };
        return;
    }
    let _ = answer(&mut stream, &path, &head).await;
}

async fn answer(stream: &mut TcpStream, path: &str, head: &str) -> std::io::Result<()> {
    let html = |body: &str| format!("<!doctype html><title>{path}</title>{body}");
    let page = match path {
        "/plain" => html(
            r##"<meta name=robots content="index, nofollow"><link rel=next href=/next>
               <p class=price data-sum=7>seven <b>7</b></p><p class=price data-sum=8>eight</p>
               <a href="a#x">a</a><a href="a">again</a><a href="mailto:x@y">m</a><a href="http://other.example/z">z</a>
               <iframe src=/frame></iframe><div style="display:none">hidden</div>"##,
        ),
        "/frame" => html("<p>frame"),
        "/tall" => html(
            "<h1>A tall page</h1><div style='height: 3000px; background: linear-gradient(navy, gold)'></div><p id=p>\
             <script>p.textContent = 'made by a script'</script>",
        ),
        "/late" => html(
            "<div id=d></div><script>fetch('/slowdata').then(r => r.text()).then(t => { d.innerHTML = t; })</script>",
        ),
        "/slowdata" => {
            tokio::time::sleep(Duration::from_millis(300)).await;
            "<a href=/found-late>late</a>".to_owned()
        }
        "/ticket" => html("<script>document.cookie = 'ticket=forty-two; path=/'</script>"),
        "/agent" => html(&format!("<pre>{head}</pre>")),
        "/alerts" => html("<a href=/x>x</a><script>alert(1); confirm(2); prompt(3)</script>"),
        "/alertstorm" => html("<script>while (true) alert(1)</script>"),
        "/loopbefore" => html("<a href=/x>x</a><script>while (true) {}</script>"),
        "/loopafter" => {
            html("<a href=/x>x</a><script>onload = () => setTimeout(() => { while (true) {} }, 0)</script>")
        }
        "/popup" => html("<script>open('/popped'); open('/popped2')</script><a href=/x>x</a>"),
        "/popped" | "/popped2" => html("popped"),
        "/meta" => html("<meta http-equiv=refresh content='0; url=/plain'>"),
        "/script" => html("<script>location = '/plain'</script>"),
        "/scriptlater" => html("<script>onload = () => setTimeout(() => location = '/plain', 5)</script>"),
        "/scriptforever" => html("<script>location = '/scriptforever?' + Math.random()</script>"),
        "/frameloop" => html("<iframe src=/hang></iframe><a href=/x>x</a>"),
        "/hangingimage" => html("<a href=/x>x</a><img src=/hang>"),
        "/closer" => html("<script>window.close()</script><a href=/x>x</a>"),
        "/toofile" => html("<script>location = 'file:///etc/passwd'</script><a href=/x>x</a>"),
        "/odd" => html(
            "<img name=body><img name=title><img name=querySelectorAll><form name=baseURI></form><a href=/x>x</a>\
             <p id=p></p><script>p.textContent = 'half \\ud83d pair'</script>",
        ),
        "/back" => html("<script>onload = () => history.back()</script>"),
        "/worker" => html(
            "<script>navigator.serviceWorker.register('/sw.js').then(() => navigator.serviceWorker.ready).then(() => { document.title = 'ready' })</script>",
        ),
        "/sw.js" => {
            let script = "onfetch = (e) => e.respondWith(new Response('<title>fake</title>', {headers: {'content-type': 'text/html'}}));\
                onactivate = (e) => e.waitUntil(clients.claim())";
            return respond(stream, "200 OK", "content-type: text/javascript\r\n", script.as_bytes()).await;
        }
        "/form" => html(
            "<a href=/x>x</a><form method=post action=/posted></form><script>onload = () => document.forms[0].submit()</script>",
        ),
        "/memory" => html("<p>stay</p>"),
        "/hookbreaker" => html(
            "<a href=/x>x</a><script>Reflect.apply = Array.prototype[Symbol.iterator] = Promise.prototype.then =
             EventTarget.prototype.dispatchEvent = EventTarget.prototype.addEventListener = Map.prototype.set =
             performance.now = window.CustomEvent = () => { throw 1 };
             Object.defineProperty(Object.prototype, 'detail', { get() { throw 2 }, set() { throw 3 } });
             try { setTimeout(() => {}, 5); fetch('/slowdata'); requestAnimationFrame(() => {}) } catch (e) { document.title = e }
             </script>",
        ),
        "/kind-child" => html("<script>requestAnimationFrame(() => parent.postMessage('m', '*'))</script>"),
        "/slowmodule.js" | "/slowscript.js" => {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let script = if path == "/slowmodule.js" { "export const name = 'module'" } else { "add('script')" };
            return respond(stream, "200 OK", "content-type: text/javascript\r\n", script.as_bytes()).await;
        }
        "/events" => {
            tokio::time::sleep(Duration::from_millis(300)).await;
            return respond(stream, "200 OK", "content-type: text/event-stream\r\n", b"data: 1\n\n").await;
        }
        "/slowstream" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na").await?;
            tokio::time::sleep(Duration::from_millis(400)).await;
            return stream.write_all(b"b").await;
        }
        "/pixel.gif" | "/slowpixel.gif" => {
            if path == "/slowpixel.gif" {
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            let gif = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\x04\x01\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";
            return respond(stream, "200 OK", "content-type: image/gif\r\n", gif).await;
        }
        _ if path.starts_with("/kind/") => match super::tests_real::kinds::document(&path["/kind/".len()..]) {
            Some(page) => page,
            None => return special(stream, path).await,
        },
        _ if path.starts_with("/scriptforever?") => {
            html("<script>location = '/scriptforever?' + Math.random()</script>")
        }
        _ => return special(stream, path).await,
    };
    respond(stream, "200 OK", "content-type: text/html\r\n", page.as_bytes()).await
}

async fn special(stream: &mut TcpStream, path: &str) -> std::io::Result<()> {
    let html = "content-type: text/html\r\n";
    match path {
        "/204" => respond(stream, "204 No Content", "", b"").await,
        "/404empty" => respond(stream, "404 Not Found", html, b"").await,
        "/404" => respond(stream, "404 Not Found", html, b"<title>no</title><a href=/x>x</a>").await,
        "/500" => respond(stream, "500 Oh", html, b"broken").await,
        "/429" => respond(stream, "429 Slow", "retry-after: 7\r\n", b"").await,
        "/attachment" => {
            respond(
                stream,
                "200 OK",
                "content-type: text/html\r\ncontent-disposition: attachment; filename=a.html\r\n",
                b"x",
            )
            .await
        }
        "/binary" => respond(stream, "200 OK", "", &[0u8, 1, 2, 3, 0xff, 0xfe, 0, 0, 9]).await,
        "/r1" => respond(stream, "302 Found", "location: /r2\r\n", b"").await,
        "/r2" => respond(stream, "301 Moved", "location: /plain\r\n", b"").await,
        "/rloop" => respond(stream, "302 Found", "location: /rloop\r\n", b"").await,
        "/rforbidden" => respond(stream, "302 Found", "location: /forbidden\r\n", b"").await,
        "/rtofile" => respond(stream, "302 Found", "location: file:///etc/passwd\r\n", b"").await,
        "/endless" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n<a href=/x>x</a>").await?;
            loop {
                stream.write_all(b"<p>more</p>").await?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        _ if path.starts_with("/hang") => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            Ok(())
        }
        "/reset" => Ok(()),
        _ if super::tests_real::hostile::site::answer(stream, path).await? => Ok(()),
        _ => respond(stream, "404 Not Found", html, b"?").await,
    }
}

pub(super) async fn respond(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) -> std::io::Result<()> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    stream.shutdown().await
}
