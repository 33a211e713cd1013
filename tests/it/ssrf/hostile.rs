//! A site that tries, in every way a page has, to make its visitor connect to a canary.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Ways of spelling a host that leads to this machine, its network or its cloud.
pub const SPELLINGS: &[&str] = &[
    "127.0.0.1",
    "localhost",
    "LOCALHOST.",
    "x.localhost",
    "0.0.0.0",
    "0",
    "127.1",
    "2130706433",
    "0x7f.1",
    "0x7f000001",
    "0177.0.0.1",
    "127.0.0.2",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "169.254.169.254",
    "169.254.1.1",
    "10.0.0.1",
    "192.168.1.1",
    "[fe80::1]",
    "[fd00:ec2::254]",
];

/// Ways for a page to make a browser connect. Each has a page, and asks for `/own/{way}` as well.
pub const VECTORS: &[&str] = &[
    "img",
    "script",
    "css",
    "import",
    "module",
    "iframe",
    "fetch",
    "xhr",
    "websocket",
    "eventsource",
    "beacon",
    "worker",
    "sharedworker",
    "serviceworker",
    "form",
    "refresh",
    "redirect",
    "fetchredirect",
    "prefetch",
    "video",
    "object",
    "ping",
    "webrtc",
    "webtransport",
];

/// Stands among the paths that were asked for when a service worker's script was.
pub const SERVICE_WORKER: &str = "a service worker's script";

/// What each way does with a host `h`, a web address `u` on it, and its own name `way`.
fn script(way: &str) -> &'static str {
    match way {
        "img" => "new Image().src = u;",
        "script" => "add('script', { src: u });",
        "css" => "add('link', { rel: 'stylesheet', href: u });",
        "import" => {
            "add('style', { textContent: `@import url('${u}'); @font-face { font-family: f; src: url('${u}') } \
                     body { background: url('${u}'); font-family: f }` });"
        }
        "module" => "import(u).catch(no);",
        "iframe" => "add('iframe', { src: u });",
        "fetch" => "fetch(u, { mode: 'no-cors', keepalive: true }).catch(no);",
        "xhr" => "const x = new XMLHttpRequest(); x.open('GET', u); x.send();",
        "websocket" => "new WebSocket(u.replace('http', 'ws'));",
        "eventsource" => "new EventSource(u);",
        "beacon" => "navigator.sendBeacon(u, 'x');",
        "worker" => "new Worker('/worker.js?' + encodeURIComponent(u));",
        "sharedworker" => "new SharedWorker('/worker.js?' + encodeURIComponent(u));",
        "serviceworker" => {
            "navigator.serviceWorker.register('/worker.js?' + encodeURIComponent(u), { scope: '/sw/' + i }).catch(no);"
        }
        "form" => {
            "const f = add('iframe', { name: 'f' + i }); const s = add('form', \
                   { action: u, method: i % 2 ? 'get' : 'post', target: 'f' + i }); s.submit();"
        }
        "refresh" => "add('iframe', { src: '/refresh?' + encodeURIComponent(u) });",
        "redirect" => "new Image().src = '/redirect?' + encodeURIComponent(u);",
        "fetchredirect" => "fetch('/redirect?' + encodeURIComponent(u), { mode: 'no-cors' }).catch(no);",
        "prefetch" => {
            "for (const rel of ['prefetch', 'preload', 'preconnect', 'dns-prefetch', 'modulepreload']) \
                       add('link', { rel, href: u, as: 'script' }); add('script', { type: 'speculationrules', \
                       textContent: JSON.stringify({ prefetch: [{ source: 'list', urls: [u], eagerness: 'immediate' }] }) });"
        }
        "video" => "add('video', { src: u, preload: 'auto' }).load();",
        "object" => "add('object', { data: u, type: 'image/png' });",
        "ping" => "const a = add('a', { href: '#x', ping: u, textContent: 'x' }); a.click();",
        "webrtc" => {
            "const p = new RTCPeerConnection({ iceServers: [{ urls: ['stun:' + hp, 'turn:' + hp + '?transport=tcp', \
                     'turn:' + hp], username: 'u', credential: 'c' }] }); p.createDataChannel('x'); \
                     p.createOffer().then(o => p.setLocalDescription(o)).catch(no);"
        }
        "webtransport" => "new WebTransport(u.replace('http:', 'https:')).ready.catch(no);",
        other => panic!("{other} has no script"),
    }
}

/// The site; its threads end with the process: they block, and hold nothing but their socket.
pub struct Hostile {
    port: u16,
    asked: Arc<Mutex<BTreeSet<String>>>,
}

impl Hostile {
    pub fn start(canary: u16) -> Hostile {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let asked: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let log = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                let log = log.clone();
                // A visitor that goes away is no affair of the site.
                std::thread::spawn(move || drop(serve(stream, port, canary, &log)));
            }
        });
        Hostile { port, asked }
    }

    pub fn at(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Every path that was asked for.
    pub fn asked(&self) -> BTreeSet<String> {
        self.asked.lock().expect("no panic").clone()
    }
}

fn serve(stream: TcpStream, own: u16, canary: u16, log: &Mutex<BTreeSet<String>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or(Ok(String::new()))?;
    while let Some(Ok(line)) = lines.next().filter(|line| line.as_ref().is_ok_and(|line| !line.is_empty())) {
        if line.eq_ignore_ascii_case("service-worker: script") {
            log.lock().expect("no panic").insert(SERVICE_WORKER.to_owned());
        }
    }
    let target = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    log.lock().expect("no panic").insert(path.to_owned());
    let html = |body: String| ("200 OK", "text/html", String::new(), body);
    let (status, kind, header, body) = match path.trim_start_matches('/') {
        "" => html(VECTORS.iter().map(|way| format!("<p><a href='/try/{way}'>{way}</a></p>")).collect()),
        "all" => html(VECTORS.iter().map(|way| format!("<iframe src='/try/{way}'></iframe>")).collect()),
        // Holds back the load event, so that what a page began has time to happen.
        "slow" => {
            std::thread::sleep(Duration::from_millis(1500));
            ("204 No Content", "text/plain", String::new(), String::new())
        }
        "worker.js" => {
            let worker = "const u = decodeURIComponent(location.search.slice(1)); \
                const go = () => fetch(u, { mode: 'no-cors' }).catch(() => 0); go(); \
                try { new WebSocket(u.replace('http', 'ws')) } catch (e) {} \
                self.oninstall = e => e.waitUntil(go());";
            ("200 OK", "text/javascript", "Service-Worker-Allowed: /\r\n".to_owned(), worker.to_owned())
        }
        "redirect" => ("302 Found", "text/plain", format!("Location: {}\r\n", decoded(query)), String::new()),
        "refresh" => html(format!("<meta http-equiv=refresh content='0;url={}'>", decoded(query))),
        way if way.starts_with("try/") => html(page(&way[4..], own, canary)),
        _ => ("200 OK", "text/plain", String::new(), "own".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n\
         Access-Control-Allow-Origin: *\r\n{header}Connection: close\r\n\r\n",
        body.len()
    );
    let mut stream = stream;
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

/// The named port first, then every spelling on the canary's port.
fn page(way: &str, own: u16, canary: u16) -> String {
    let hosts: Vec<String> = SPELLINGS.iter().map(|host| format!("'{host}'")).collect();
    let all = hosts.join(",");
    let code = script(way);
    format!(
        "<!doctype html><title>{way}</title><body><img src=/slow><script>\
         const no = () => 0; const add = (tag, set) => document.body.appendChild(Object.assign(document.createElement(tag), set));\
         const targets = [['127.0.0.1:{own}', '/own/{way}']].concat([{all}].map(h => [h + ':{canary}', '/hit/{way}']));\
         targets.forEach(([hp, path], i) => {{ for (const scheme of ['http:', 'https:']) {{ \
           if (i == 0 && scheme == 'https:') continue; const u = scheme + '//' + hp + path; \
           try {{ {code} }} catch (e) {{}} }} }});</script>"
    )
}

fn decoded(query: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = query.bytes();
    while let Some(byte) = rest.next() {
        let escaped = (byte == b'%').then(|| [rest.next(), rest.next()]);
        match escaped {
            Some([Some(high), Some(low)]) => {
                let digits = String::from_utf8_lossy(&[high, low]).into_owned();
                bytes.push(u8::from_str_radix(&digits, 16).expect("two hexadecimal digits"));
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).expect("ASCII")
}
