//! The hostile pages: what each path answers.

use std::io::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::super::super::tests_site::respond;

const HTML: &str = "content-type: text/html\r\n";
/// 20 MiB of blanks behind a link, by Brotli.
const BROTLI: &str = "y///PwCMlKnrU4O80OEpHh/YgAOnxKIJI5DBIQfyXVqWVoHaSB628w9xxfs/5P//H/wSAHFYBKB7/5cuAED4JQDisAAg/f4H";

/// Pages that are a script in front of a link to `/x`.
const SCRIPTS: &[(&str, &str)] = &[
    ("/microtasks", "const again = () => { Promise.resolve().then(again) }; again()"),
    ("/microtasks-later", "const again = () => { Promise.resolve().then(again) }; onload = () => setTimeout(again)"),
    ("/loop-at-load", "onload = () => { for (;;); }"),
    ("/timers", "for (let i = 0; i < 100; i++) setInterval(() => { document.title = Math.random() })"),
    ("/workers", "for (let i = 0; i < 4; i++) new Worker(URL.createObjectURL(new Blob(['for (;;);'])))"),
    ("/confirms", "onload = () => setInterval(() => { confirm(1); prompt(2) })"),
    ("/prompts", "while (true) prompt(1)"),
    (
        "/unload",
        "for (const t of ['beforeunload', 'pagehide', 'unload', 'visibilitychange']) { \
        addEventListener(t, () => { for (;;); }, true); window['on' + t] = () => { for (;;); }; \
        document.addEventListener(t, () => { for (;;); }) }",
    ),
    (
        "/beforeunload",
        "onbeforeunload = (e) => { e.preventDefault(); e.returnValue = 'stay'; return 'stay' }; \
        setInterval(() => alert(1), 50)",
    ),
    ("/print", "print(); setInterval(() => print(), 10)"),
    (
        "/permissions",
        "navigator.geolocation?.getCurrentPosition(() => {}); Notification?.requestPermission(); \
        navigator.mediaDevices?.getUserMedia({ video: true, audio: true }).catch(() => {}); \
        navigator.clipboard?.readText().catch(() => {}); document.documentElement.requestFullscreen?.().catch(() => {})",
    ),
    (
        "/saves",
        "onload = () => { const a = document.createElement('a'); a.download = 'f.bin'; \
        a.href = URL.createObjectURL(new Blob(['x'])); a.click() }",
    ),
    ("/pushes", "for (let i = 0; ; i++) history.pushState(0, '', '/pushed' + i)"),
    ("/replaces", "location.replace('/replaces?' + Math.random())"),
    (
        "/history",
        "onload = () => { history.pushState(0, '', '#a'); addEventListener('popstate', () => history.go(1)); \
        setInterval(() => { history.back(); history.go(0) }) }",
    ),
    (
        "/routes",
        "onload = () => { history.pushState(0, '', '/route/1'); history.replaceState(0, '', '/route/2'); \
        location.hash = '#/3'; document.body.innerHTML += '<a href=#/4>4</a>' }",
    ),
    ("/downloads", "setInterval(() => { location = '/attachment' })"),
    (
        "/streams",
        "new EventSource('/hang'); fetch('/hang'); new WebSocket('ws://' + location.host + '/hang'); \
        navigator.sendBeacon?.('/hang', 'x')",
    ),
    ("/hashes", "setInterval(() => { location.hash = Math.random() }, 1)"),
    ("/reloads", "location.reload()"),
    ("/bombs", "setInterval(() => { for (let i = 0; i < 20; i++) open('/popped' + i, '_blank') }, 10)"),
    (
        "/submits",
        "onload = () => { const f = document.createElement('form'); f.target = '_blank'; f.action = '/popped'; \
        document.body.append(f); for (let i = 0; i < 20; i++) f.submit() }",
    ),
    ("/goes-blank", "onload = () => { location = 'about:blank' }"),
    ("/goes-data", "location = 'data:text/html,<a href=http://elsewhere.example/>x</a>'"),
    ("/stops", "stop()"),
    ("/waits", "const x = new XMLHttpRequest(); x.open('GET', '/hang', false); x.send()"),
    (
        "/writes",
        "for (;;) { document.write('<p>more</p>'); for (const t = performance.now(); performance.now() < t + 5;); }",
    ),
    (
        "/deep",
        "onload = () => { let e = document.body; for (let i = 0; i < 100000; i++) { \
        const d = document.createElement('div'); e.appendChild(d); e = d } document.body.offsetHeight }",
    ),
    ("/debugger", "onload = () => setInterval(() => { debugger }, 1)"),
    ("/heap", "const all = []; for (;;) all.push(new Array(30000000))"),
    (
        "/globals",
        "const no = () => { throw new Error('no') }; window.JSON = null; Array.prototype.push = no; \
        Array.prototype[Symbol.iterator] = no; Array.prototype.map = no; Object.defineProperty = no; Object.keys = no; \
        Document.prototype.querySelectorAll = no; Document.prototype.querySelector = no; Element.prototype.getAttribute = no; \
        window.Promise = no; Promise.prototype && (Promise.prototype.then = no); window.Map = no; window.Set = no; \
        Map.prototype && (Map.prototype.set = no); window.Proxy = no; Function.prototype.call = no; \
        Function.prototype.apply = no; String.prototype.replace = no; window.URL = no; window.MutationObserver = no",
    ),
    (
        "/promises",
        "Promise.prototype.then = function () { return this }; window.Promise = class { then() {} }; \
        window.setTimeout = () => 0; window.setInterval = () => { throw 1 }; window.clearTimeout = null; \
        window.requestAnimationFrame = null; EventTarget.prototype.addEventListener = () => { throw 1 }; \
        EventTarget.prototype.dispatchEvent = () => { throw 1 }; window.CustomEvent = null; window.Event = null",
    ),
    (
        "/clocks",
        "Date.now = () => 0; performance.now = () => 0; Performance.prototype.now = () => 0; \
        window.Date = class { getTime() { return 0 } }; \
        Object.defineProperty(window, 'performance', { value: { now: () => 0, getEntriesByType: () => null } })",
    ),
    (
        "/shadows",
        "onload = () => { for (const mode of ['open', 'closed']) { const d = document.createElement('div'); \
        d.attachShadow({ mode }).innerHTML = '<a href=/shadow-' + mode + '>s</a><slot></slot>'; document.body.append(d) } }",
    ),
    (
        "/foreign",
        "onload = () => { const f = document.createElement('iframe'); \
        f.src = 'http://localhost:' + location.port + '/foreign-frame'; document.body.append(f) }",
    ),
    (
        "/foreign-loop",
        "const f = document.createElement('iframe'); \
        f.src = 'http://localhost:' + location.port + '/foreign-loops'; document.documentElement.append(f)",
    ),
    (
        "/frames",
        "const f = document.createElement('iframe'); f.src = '/frames?' + (+location.search.slice(1) + 1); \
        document.documentElement.append(f)",
    ),
    ("/nodes", "onload = () => { document.body.innerHTML += '<p><b>x</b></p>'.repeat(30000) }"),
    (
        "/links",
        "onload = () => { const d = document.createElement('div'); d.hidden = true; document.body.append(d); \
        for (let j = 0; j < 100; j++) { \
        let t = ''; for (let i = 0; i < 1000; i++) t += '<a href=/' + (j * 1000 + i) + '>'; \
        d.insertAdjacentHTML('beforeend', t) } }",
    ),
    (
        "/giants",
        "document.title = 't'.repeat(5000000); onload = () => { const a = document.createElement('a'); \
        a.href = '/' + 'y'.repeat(5000000); a.title = 'z'.repeat(5000000); document.body.append(a) }",
    ),
];

/// Answers a path of these; `false`: it is none.
pub(in crate::browser) async fn answer(stream: &mut TcpStream, path: &str) -> std::io::Result<bool> {
    let bare = path.split('?').next().unwrap_or(path);
    if let Some((_, script)) = SCRIPTS.iter().find(|(name, _)| *name == bare) {
        let page = format!("<!doctype html><title>{path}</title><body><a href=/x>x</a><script>{script}</script>");
        respond(stream, "200 OK", HTML, page.as_bytes()).await?;
        return Ok(true);
    }
    match bare {
        "/auth" => respond(stream, "401 Who", &format!("{HTML}www-authenticate: Basic realm=x\r\n"), LINK).await?,
        "/meta-loop" => {
            let n: u32 = path.rsplit('?').next().and_then(|n| n.parse().ok()).unwrap_or(0) + 1;
            let page = format!("<meta http-equiv=refresh content='0;url=/meta-loop?{n}'><a href=/x>x</a>");
            respond(stream, "200 OK", HTML, page.as_bytes()).await?;
        }
        "/foreign-frame" => {
            let script = "<script>navigator.serviceWorker.register('/sw.js'); for (const i of [1, 2]) open('/popped');\
                new Worker(URL.createObjectURL(new Blob(['for (;;);'])))</script>";
            respond(stream, "200 OK", HTML, script.as_bytes()).await?;
        }
        "/foreign-loops" => respond(stream, "200 OK", HTML, b"<script>for (;;);</script>").await?,
        "/pdf" => respond(stream, "200 OK", "content-type: application/pdf\r\n", b"%PDF-1.4\n").await?,
        "/json" => respond(stream, "200 OK", "content-type: application/json\r\n", b"{\"a\": 1}").await?,
        "/svg" => respond(stream, "200 OK", "content-type: image/svg+xml\r\n", SVG).await?,
        "/nested" => respond(stream, "200 OK", HTML, &[LINK, &b"<div>".repeat(100_000)].concat()).await?,
        "/blocked" => respond(stream, "200 OK", HTML, b"<a href=/x>x</a><script src=/hang></script>").await?,
        "/drip" => {
            for byte in b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nx-long: ".iter().chain(std::iter::repeat(&b'x'))
            {
                stream.write_all(&[*byte]).await?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        "/flood" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n").await?;
            stream.write_all(LINK).await?;
            loop {
                stream.write_all(&format!("<p>{}</p>", "more ".repeat(2000)).into_bytes()).await?;
            }
        }
        "/announced" => respond(stream, "200 OK", HTML, &[LINK, &vec![b' '; 5 << 20]].concat()).await?,
        "/announced-json" => {
            respond(stream, "200 OK", "content-type: application/json\r\n", &vec![b' '; 5 << 20]).await?
        }
        "/short" | "/reset-within" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 9999\r\n\r\n").await?;
            stream.write_all(LINK).await?;
            stream.flush().await?;
            tokio::time::sleep(Duration::from_millis(200)).await;
            if bare == "/reset-within" {
                stream.set_zero_linger()?;
            }
        }
        "/unchunked" => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ntransfer-encoding: chunked\r\n\r\n")
                .await?;
            stream.write_all(b"10\r\n<a href=/x>x</a>\r\nzz\r\n").await?;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        "/gzip" => encoded(stream, "gzip", &gzip_bomb()).await?,
        "/br" => encoded(stream, "br", &BASE64.decode(BROTLI).unwrap_or_default()).await?,
        "/zstd" => encoded(stream, "zstd", &zstd_bomb()).await?,
        _ => return Ok(false),
    }
    Ok(true)
}

const LINK: &[u8] = b"<!doctype html><title>t</title><a href=/x>x</a>";
const SVG: &[u8] = b"<svg xmlns='http://www.w3.org/2000/svg'><a href='/x'><text y='9'>x</text></a></svg>";

async fn encoded(stream: &mut TcpStream, encoding: &str, body: &[u8]) -> std::io::Result<()> {
    respond(stream, "200 OK", &format!("{HTML}content-encoding: {encoding}\r\n"), body).await
}

fn gzip_bomb() -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(LINK).unwrap();
    let blanks = vec![b' '; 1 << 20];
    for _ in 0..20 {
        encoder.write_all(&blanks).unwrap();
    }
    encoder.finish().unwrap()
}

/// 20 MiB of blanks in blocks of one repeated byte (RFC 8878, 3.1.1.2.2).
fn zstd_bomb() -> Vec<u8> {
    let block = |last: bool, kind: u32, size: u32| (u32::from(last) | kind << 1 | size << 3).to_le_bytes();
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
    frame.extend(&block(false, 0, LINK.len() as u32)[..3]);
    frame.extend(LINK);
    for n in 0..160 {
        frame.extend(&block(n == 159, 1, 128 << 10)[..3]);
        frame.push(b' ');
    }
    frame
}
