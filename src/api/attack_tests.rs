//! What pages, neighbours and strangers try on the TCP address. Each is sent away, and the next honest request is
//! answered.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

/// An API on a free port, with both tokens.
struct Target {
    dir: tempfile::TempDir,
    _tasks: JoinSet<()>,
    _stop: CancellationToken,
    port: u16,
    full: String,
    read: String,
}

impl Target {
    fn start() -> Target {
        Target::with(Config::default())
    }

    fn with(config: Config) -> Target {
        let dir = tempfile::tempdir().unwrap();
        let (tasks, stop) = serve_with(Config { api_listen: "127.0.0.1:0".into(), ..config }, dir.path());
        let text = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap().trim().to_owned();
        let port = text("api-address").rsplit_once(':').unwrap().1.parse().unwrap();
        let (full, read) = (text("api-token"), text("api-token-readonly"));
        Target { dir, _tasks: tasks, _stop: stop, port, full, read }
    }

    /// `{port}`, `{full}` and `{read}` stand for themselves; a head without a Host gets ours unless it says `{bare}`.
    fn text(&self, request: &str) -> String {
        let request = match request.strip_prefix("{bare}") {
            Some(bare) => bare.to_owned(),
            None => match request.split_once("\r\n") {
                Some((line, rest)) => format!("{line}\r\nHost: 127.0.0.1:{{port}}\r\n{rest}"),
                None => format!("{request}\r\nHost: 127.0.0.1:{{port}}"),
            },
        };
        let request = request.replace("{port}", &self.port.to_string());
        let request = request.replace("{full}", &self.full).replace("{read}", &self.read);
        if request.contains("\r\n\r\n") { request } else { format!("{request}\r\nConnection: close\r\n\r\n") }
    }

    async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn ask(&self, request: &str) -> String {
        self.raw(self.text(request).as_bytes()).await
    }

    /// The first line's status, and no other site's permission anywhere.
    #[track_caller]
    fn status(name: &str, answer: &str) -> u16 {
        let lower = answer.to_ascii_lowercase();
        assert!(!lower.contains("access-control-allow"), "{name}: {answer}");
        answer.get(9..12).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{name}: no answer: {answer:?}"))
    }

    async fn check(&self, name: &str, request: &str, expected: u16) -> String {
        let answer = self.ask(request).await;
        assert_eq!(Target::status(name, &answer), expected, "{name}: {answer}");
        let problem = expected >= 400 && !answer.contains("text/html");
        assert!(!problem || answer.contains("application/problem+json"), "{name}: {answer}");
        for secret in [&self.full, &self.read] {
            assert!(!answer.contains(secret.as_str()), "{name}: a token came back");
        }
        answer
    }

    async fn lives(&self) {
        self.check("an honest request", "GET /api/v1/health HTTP/1.1\r\nAuthorization: Bearer {full}", 200).await;
    }

    /// Logs in; the cookie's pair.
    async fn cookie(&self) -> String {
        let body = format!("token={}", self.full);
        let head = "POST /login HTTP/1.1\r\nOrigin: http://127.0.0.1:{port}\r\nContent-Type: application/x-www-form-urlencoded";
        let request = format!("{head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let answer = self.ask(&request).await;
        assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
        let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains("Secure"));
        assert!(!cookie.contains(&self.full));
        cookie.split(';').next().unwrap().to_owned()
    }
}

#[tokio::test]
async fn without_a_token_only_the_probes_answer() {
    let target = Target::start();
    for route in crate::api::routes::all() {
        let path = route.full_path().replace("{id}", "s1").replace("{*name}", "pages-00001.jsonl");
        let method = route.method.to_uppercase();
        let answer = target.ask(&format!("{method} {path} HTTP/1.1\r\nContent-Length: 0")).await;
        let status = Target::status(&path, &answer);
        let open = ["/healthz", "/readyz", "/login", "/logout"].contains(&path.as_str());
        assert_eq!(status == 401, !open, "{method} {path}: {answer}");
    }
    for (name, request) in [
        ("a path that is not there", "GET /api/v1/nothing HTTP/1.1"),
        ("a method that is not there", "PUT /api/v1/sessions HTTP/1.1"),
        (
            "a preflight",
            "OPTIONS /api/v1/sessions HTTP/1.1\r\nOrigin: http://127.0.0.1:{port}\r\nAccess-Control-Request-Method: POST",
        ),
        (
            "a wrong token",
            "GET /api/v1/sessions HTTP/1.1\r\nAuthorization: Bearer AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ),
        ("an empty token", "GET /api/v1/sessions HTTP/1.1\r\nAuthorization: Bearer "),
        ("another scheme", "GET /api/v1/sessions HTTP/1.1\r\nAuthorization: Basic {full}"),
        ("half a token", "GET /api/v1/sessions HTTP/1.1\r\nAuthorization: Bearer {full}x"),
        ("a token as a cookie", "GET /api/v1/sessions HTTP/1.1\r\nCookie: crawld_login_{port}={full}"),
        ("the name of an operator", "POST /api/v1/sessions HTTP/1.1\r\nX-Crawld-Origin: command\r\nContent-Length: 0"),
    ] {
        let answer = target.check(name, request, 401).await;
        assert!(answer.to_ascii_lowercase().contains("www-authenticate: bearer"), "{name}: {answer}");
    }
    let probe = target.check("a bare probe", "GET /healthz HTTP/1.1", 200).await;
    assert!(probe.ends_with("{\"status\":\"ok\"}"), "{probe}");
    target.lives().await;
}

#[tokio::test]
async fn a_token_in_a_url_is_refused_even_where_it_is_right() {
    let target = Target::start();
    for query in ["token={full}", "access_token={full}", "a=1&TOKEN={full}", "to%6ben={full}", "key={full}"] {
        let request = format!("GET /api/v1/health?{query} HTTP/1.1\r\nAuthorization: Bearer {{full}}");
        target.check(query, &request, 400).await;
    }
    target.lives().await;
}

#[tokio::test]
async fn a_name_that_an_attacker_points_here_is_not_ours() {
    let target = Target::start();
    let get = "{bare}GET /api/v1/health HTTP/1.1\r\nAuthorization: Bearer {full}\r\n";
    for (name, host, expected) in [
        ("another name", "Host: evil.example:{port}", 421),
        ("a rebinding name", "Host: 127.0.0.1.nip.io:{port}", 421),
        ("a suffix", "Host: localhost.evil:{port}", 421),
        ("another port", "Host: 127.0.0.1:80", 421),
        ("no port", "Host: 127.0.0.1", 421),
        ("a user before it", "Host: x@127.0.0.1:{port}", 421),
        ("empty", "Host: ", 421),
        ("absent", "Accept: */*", 400),
        ("twice", "Host: 127.0.0.1:{port}\r\nHost: 127.0.0.1:{port}", 400),
        ("twice, one evil", "Host: 127.0.0.1:{port}\r\nHost: evil.example", 400),
        ("ours", "Host: localhost:{port}", 200),
    ] {
        target.check(name, &format!("{get}{host}"), expected).await;
    }
    let absolute = "GET http://evil.example/api/v1/health HTTP/1.1\r\nAuthorization: Bearer {full}";
    target.check("a target elsewhere with our Host", absolute, 421).await;
    let forwarded = "{bare}GET /api/v1/health HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {full}";
    target.check("a forwarded name", forwarded, 421).await;
    target.lives().await;
}

#[tokio::test]
async fn pages_of_other_origins_are_refused_with_a_token_and_with_the_cookie() {
    let target = Target::start();
    let cookie = target.cookie().await;
    for origin in [
        "https://evil.example",
        "null",
        "http://localhost.evil:{port}",
        "http://127.0.0.1",
        "http://127.0.0.1:1",
        "https://127.0.0.1:{port}",
        "http://127.0.0.1:{port}.evil.example",
        "file://",
    ] {
        for identity in ["Authorization: Bearer {full}".to_owned(), format!("Cookie: {cookie}")] {
            for method in ["GET", "POST"] {
                let request = format!(
                    "{method} /api/v1/sessions HTTP/1.1\r\nOrigin: {origin}\r\n{identity}\r\nContent-Length: 0"
                );
                target.check(origin, &request, 403).await;
            }
        }
        let login = format!("POST /login HTTP/1.1\r\nOrigin: {origin}\r\nContent-Length: 0");
        target.check("a login from elsewhere", &login, 403).await;
    }
    let twice = "GET /api/v1/health HTTP/1.1\r\nOrigin: http://127.0.0.1:{port}\r\nOrigin: http://evil.example\r\nAuthorization: Bearer {full}";
    target.check("two origins", twice, 403).await;
    for (name, head, expected) in [
        ("its own page", "POST /api/v1/sessions HTTP/1.1\r\nOrigin: http://127.0.0.1:{port}", 400),
        ("looks, as browsers do", "GET /api/v1/health HTTP/1.1\r\nSec-Fetch-Site: same-origin", 200),
        ("looks, typed by hand", "GET /api/v1/health HTTP/1.1\r\nSec-Fetch-Site: none", 200),
        ("changes without an origin", "POST /api/v1/sessions HTTP/1.1", 403),
        ("changes, same site but not origin", "POST /api/v1/sessions HTTP/1.1\r\nSec-Fetch-Site: same-site", 403),
        (
            "an image of another port",
            "GET /api/v1/health HTTP/1.1\r\nSec-Fetch-Site: same-site\r\nSec-Fetch-Mode: no-cors",
            403,
        ),
        (
            "a link to data",
            "GET /api/v1/health HTTP/1.1\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate",
            403,
        ),
        (
            "an upgrade without an origin",
            "GET /api/v1/health HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket",
            403,
        ),
    ] {
        let request = format!("{head}\r\nCookie: {cookie}\r\nContent-Length: 0");
        target.check(name, &request, expected).await;
    }
    let forged = cookie.replace("full", "read");
    target.check("a forged cookie", &format!("GET /api/v1/health HTTP/1.1\r\nCookie: {forged}"), 401).await;
    target.lives().await;
}

#[tokio::test]
async fn a_reading_token_reads() {
    let target = Target::start();
    target.check("reads", "GET /api/v1/health HTTP/1.1\r\nAuthorization: Bearer {read}", 200).await;
    for route in crate::api::routes::all().filter(|route| route.method != "get" && !route.at_root) {
        let path = route.full_path().replace("{id}", "s1");
        let method = route.method.to_uppercase();
        let request = format!("{method} {path} HTTP/1.1\r\nAuthorization: Bearer {{read}}\r\nContent-Length: 0");
        target.check(&path, &request, 403).await;
    }
    let over = "POST /api/v1/sessions HTTP/1.1\r\nAuthorization: Bearer {read}\r\nAuthorization: Bearer {full}\r\nContent-Length: 0";
    target.check("both tokens", over, 400).await;
    let local = "POST /api/v1/shutdown HTTP/1.1\r\nAuthorization: Bearer {full}\r\nContent-Length: 0";
    target.check("what only the socket does", local, 403).await;
}

#[tokio::test]
async fn what_a_page_can_send_without_asking_is_no_request() {
    let target = Target::start();
    let body = r#"{"task":{"seeds":["http://example.org/"]}}"#;
    for (name, kind) in [
        ("a simple form", "application/x-www-form-urlencoded"),
        ("plain text", "text/plain"),
        ("a multipart form", "multipart/form-data; boundary=x"),
        ("none", ""),
    ] {
        let kind = if kind.is_empty() { String::new() } else { format!("Content-Type: {kind}\r\n") };
        let head = "POST /api/v1/sessions HTTP/1.1\r\nAuthorization: Bearer {full}\r\nConnection: close";
        let request = format!("{head}\r\n{kind}Content-Length: {}\r\n\r\n{body}", body.len());
        target.check(name, &request, 415).await;
    }
    for header in ["X-HTTP-Method-Override: POST", "X-HTTP-Method: DELETE", "X-Method-Override: POST"] {
        let request = format!("GET /api/v1/sessions/s1/pause HTTP/1.1\r\n{header}\r\nAuthorization: Bearer {{full}}");
        target.check(header, &request, 405).await;
    }
    target.lives().await;
}

#[tokio::test]
async fn bodies_and_heads_have_their_bounds() {
    let target = Target::start();
    let post = "POST /api/v1/sessions HTTP/1.1\r\nAuthorization: Bearer {full}\r\nContent-Type: application/json\r\nConnection: close";
    let sized = |body: &str| format!("{post}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    target.check("a gigabyte", &format!("{post}\r\nContent-Length: 1073741824\r\n\r\n{{"), 413).await;
    let deep = format!("{{\"task\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    target.check("a hundred thousand brackets", &sized(&deep), 400).await;
    let chunked = format!(
        "{post}\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
        format!("10000\r\n{}\r\n", "x".repeat(65_536)).repeat(17)
    );
    let answer = target.ask(&chunked).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413"), "a large body in pieces: {answer:.200}");
    target.check("no JSON", &sized("{x}"), 400).await;
    let answer = target.check("an unknown key", &sized("{\"task\":{},\"colour\":1}"), 400).await;
    assert!(answer.contains("\"place\":\"body: colour\"") || answer.contains("colour"), "{answer}");
    target.check("more than one value", &sized("{\"task\":{}} {}"), 400).await;
    let wide = format!("GET /api/v1/health HTTP/1.1\r\nX: {}\r\nAuthorization: Bearer {{full}}", "x".repeat(1 << 20));
    let answer = target.ask(&wide).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer:.200}");
    let many = format!("GET /api/v1/health HTTP/1.1\r\n{}Authorization: Bearer {{full}}", "X: y\r\n".repeat(200));
    let answer = target.ask(&many).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer:.200}");
    let long = format!("GET /api/v1/{} HTTP/1.1\r\nAuthorization: Bearer {{full}}", "x".repeat(100_000));
    let answer = target.ask(&long).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer:.200}");
    target.lives().await;
}

#[tokio::test]
async fn a_request_with_two_lengths_is_never_two_requests() {
    let target = Target::start();
    let second = "GET /api/v1/health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {full}\r\nConnection: close\r\n\r\n";
    let smuggled = format!("0\r\n\r\n{second}");
    for (name, lengths) in [
        ("both", format!("Content-Length: {}\r\nTransfer-Encoding: chunked", smuggled.len())),
        ("two lengths", format!("Content-Length: 5\r\nContent-Length: {}", smuggled.len())),
        ("an unknown coding", format!("Transfer-Encoding: xchunked\r\nContent-Length: {}", smuggled.len())),
        ("a negative one", "Content-Length: -1".to_owned()),
        ("a sum", "Content-Length: 1+1".to_owned()),
    ] {
        let head = "POST /api/v1/sessions HTTP/1.1\r\nAuthorization: Bearer {full}\r\nContent-Type: application/json";
        let answer = target.ask(&format!("{head}\r\n{lengths}\r\n\r\n{smuggled}")).await;
        let good = answer.matches("HTTP/1.1 200").count();
        assert_eq!(good, 0, "{name}: {answer}");
    }
    // Line feeds alone part the lines of some readers: what follows is one request, and has its own bounds.
    let bare = format!("GET /api/v1/health HTTP/1.1\nHost: 127.0.0.1:{}\nX: y\n\n", target.port);
    let answer = target.raw(bare.as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    target.lives().await;
}

#[tokio::test]
async fn no_path_leads_out_of_the_state_directory() {
    let target = Target::start();
    std::fs::write(target.dir.path().join("secret.txt"), "treasure").unwrap();
    for path in [
        "/api/v1/sessions/../../api-token",
        "/api/v1/sessions/..%2f..%2fapi-token/heartbeat",
        "/api/v1/sessions/%2e%2e/heartbeat",
        "/api/v1/sessions/%252e%252e%252fapi-token/heartbeat",
        "/api/v1/sessions/..\\..\\api-token/heartbeat",
        "/api/v1/sessions/s1%00/heartbeat",
        "/api/v1/sessions/%ff%fe/heartbeat",
        "/api/v1/sessions/%2fetc%2fpasswd/checkpoint",
        "/api/v1/sessions//heartbeat",
        "/api-token",
        "/..%2fapi-token",
        "/assets/..%2f..%2fapi-token",
        "//api-token",
        "/secret.txt",
    ] {
        let answer = target.ask(&format!("GET {path} HTTP/1.1\r\nAuthorization: Bearer {{full}}")).await;
        let status = Target::status(path, &answer);
        assert!((400..500).contains(&status), "{path}: {answer}");
        assert!(!answer.contains(&target.full) && !answer.contains("treasure") && !answer.contains("root:"), "{path}");
    }
    target.lives().await;
}

#[tokio::test]
async fn answers_are_data_for_whoever_asked() {
    let target = Target::start();
    for path in ["/api/v1/health", "/api/v1/%3Cscript%3Ealert(1)%3C%2Fscript%3E", "/api/v1/sessions/%3Cimg%20src=x%3E"]
    {
        let answer = target.ask(&format!("GET {path} HTTP/1.1\r\nAuthorization: Bearer {{full}}")).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let head = head.to_ascii_lowercase();
        for line in [
            "cache-control: no-store",
            "x-content-type-options: nosniff",
            "x-frame-options: deny",
            "content-security-policy: default-src 'none'; frame-ancestors 'none'; sandbox",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(head.contains(line), "{path}: {line} is missing: {head}");
        }
        assert!(head.contains("content-type: application/") && !body.contains("<script"), "{path}: {answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_sends_slowly_or_nothing_holds_nothing_up() {
    let target = Target::start();
    let started = tokio::time::Instant::now();
    let text = target.text("GET /api/v1/health HTTP/1.1\r\nAuthorization: Bearer {full}\r\nX: y");
    let head = &text.as_bytes()[..text.len() - 2];
    let mut slow = TcpStream::connect(("127.0.0.1", target.port)).await.unwrap();
    let mut answer = Vec::new();
    let mut ended = false;
    // A byte every two seconds is never silent for long, and never done.
    for byte in head.iter().cycle().take(200) {
        if slow.write_all(&[*byte]).await.is_err() {
            ended = true;
            break;
        }
        let read = tokio::time::timeout(Duration::from_secs(2), slow.read_to_end(&mut answer)).await;
        if read.is_ok() {
            ended = true;
            break;
        }
    }
    assert!(ended && started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    assert!(!String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 2"));

    let post = "POST /api/v1/sessions HTTP/1.1\r\nAuthorization: Bearer {full}\r\nContent-Type: application/json\r\nContent-Length: 900000\r\n\r\n{";
    let answer = target.ask(post).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    let mut idle = TcpStream::connect(("127.0.0.1", target.port)).await.unwrap();
    let read = tokio::time::timeout(Duration::from_secs(60), idle.read_to_end(&mut Vec::new())).await;
    assert!(read.is_ok(), "a silent connection stays");
}

#[tokio::test(start_paused = true)]
async fn idle_sockets_are_ended_and_then_others_get_in() {
    let target = Target::start();
    let mut held = Vec::new();
    for _ in 0..crate::api::tcp::connections() + 5 {
        held.push(TcpStream::connect(("127.0.0.1", target.port)).await.unwrap());
    }
    let answer = target.ask("GET /healthz HTTP/1.1").await;
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
}

#[tokio::test]
async fn a_task_from_the_network_names_nothing_of_this_machine() {
    let target = Target::start();
    for (name, task) in [
        ("a file", r#"{"seeds":["file:///etc/passwd"]}"#),
        ("another scheme", r#"{"seeds":["gopher://a/"]}"#),
        ("private networks", r#"{"seeds":["http://127.0.0.1/"],"allow_private_networks":["127.0.0.0/8"]}"#),
        ("a cookie file", r#"{"seeds":["http://a/"],"fetch":{"cookies_file":"/etc/passwd"}}"#),
        ("a proxy", r#"{"seeds":["http://a/"],"fetch":{"proxy":{"url":"http://127.0.0.1:1"}}}"#),
        (
            "a secret of the environment",
            r#"{"seeds":["http://a/"],"fetch":{"headers":{"a":{"Authorization":"env:HOME"}}}}"#,
        ),
        (
            "a secret in a file",
            r#"{"seeds":["http://a/"],"fetch":{"headers":{"a":{"Authorization":"file:/etc/shadow"}}}}"#,
        ),
        ("a password", r#"{"seeds":["http://a/"],"fetch":{"auth":{"a":{"user":"u","password":"env:HOME"}}}}"#),
        ("a script in a file", r#"{"seeds":["http://a/"],"page":{"behavior_script":"/etc/passwd.js"}}"#),
        ("a list in a file", r#"{"seeds":["http://a/"],"page":{"block_hosts":["file:/etc/hosts"]}}"#),
        ("a browser", r#"{"seeds":["http://a/"],"cdp_url":"http://127.0.0.1:9222"}"#),
        ("an executable", r#"{"seeds":["http://a/"],"chrome":"/bin/sh"}"#),
        ("a webhook", r#"{"seeds":["http://a/"],"alert_webhook":"http://127.0.0.1/"}"#),
        ("a place for its outputs", r#"{"seeds":["http://a/"],"output_dir":"/etc"}"#),
        ("an id that is a path", r#"{"id":"../../x","seeds":["http://a/"]}"#),
    ] {
        for claim in ["", r#","origin":"command""#, r#","origin":"file","file":"/etc/passwd""#, r#","origin":"import""#]
        {
            let body = format!("{{\"task\":{task}{claim}}}");
            let head =
                "POST /api/v1/sessions HTTP/1.1\r\nAuthorization: Bearer {full}\r\nContent-Type: application/json";
            let request = format!("{head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            let answer = target.check(name, &request, 422).await;
            assert!(answer.contains("\"problems\":[{\"place\":"), "{name}: {answer}");
        }
    }
    target.lives().await;
}
