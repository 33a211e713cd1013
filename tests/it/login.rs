//! Logging in before crawling: once, again when the site forgets, and not at all into a crawl of login pages.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::site::Config;
use crate::support::World;
use crate::support::world::Fetch;

const MEMBERS: u32 = 12;
const DOOR: &str = "<!doctype html><title>door</title><form id=door method=post action=/enter><input id=user name=user>\
    <input id=pw type=password name=pw><button>Log in</button></form>";

/// A site for members only.
#[derive(Default)]
struct Members {
    /// The cookie of whoever is logged in.
    valid: Mutex<Option<u32>>,
    logins: AtomicU32,
    served: AtomicU32,
    /// Whoever is logged in is forgotten, once, after this many pages; 0: never.
    forget_after: u32,
}

impl Members {
    fn start(forget_after: u32) -> (Arc<Members>, String) {
        let members = Arc::new(Members { forget_after, ..Members::default() });
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("its address"));
        let site = members.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let site = site.clone();
                std::thread::spawn(move || drop(site.serve(stream)));
            }
        });
        (members, base)
    }

    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let (mut first, mut length, mut cookie) = (String::new(), 0, None);
        reader.read_line(&mut first)?;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 || line == "\r\n" {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap_or(0),
                "cookie" => cookie = value.split("sid=").nth(1).and_then(|sid| sid.trim().parse::<u32>().ok()),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let path = first.split(' ').nth(1).unwrap_or("/");
        let body = String::from_utf8_lossy(&body).into_owned();
        let (status, headers, page) = self.answer(path, cookie, &body);
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: text/html\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{page}",
            page.len()
        )
    }

    fn answer(&self, path: &str, cookie: Option<u32>, body: &str) -> (&'static str, String, String) {
        match path {
            "/robots.txt" => {
                return ("200 OK", String::new(), "User-agent: *\nDisallow: /login\nDisallow: /enter\n".into());
            }
            "/enter" if body == "user=me&pw=sesame" => {
                let sid = self.logins.fetch_add(1, Ordering::SeqCst) + 1;
                *self.valid.lock().expect("no panic") = Some(sid);
                let headers = format!("Location: /home\r\nSet-Cookie: sid={sid}; HttpOnly; Path=/\r\n");
                return ("302 Found", headers, String::new());
            }
            _ if path.starts_with("/login") || path == "/enter" => return ("200 OK", String::new(), DOOR.into()),
            _ => {}
        }
        let mut valid = self.valid.lock().expect("no panic");
        if cookie.is_none() || *valid != cookie {
            return ("302 Found", format!("Location: /login?next={path}\r\n"), String::new());
        }
        let served = self.served.fetch_add(1, Ordering::SeqCst) + 1;
        if served == self.forget_after {
            *valid = None;
        }
        let links: String = (1..=MEMBERS).map(|n| format!("<a href=/p/{n}>p</a>")).collect();
        ("200 OK", String::new(), format!("<!doctype html><title>members</title><b id=out>you are in</b>{links}"))
    }
}

fn task(world: &World, base: &str) -> String {
    let file = world.path().join("members.toml");
    let task = format!(
        "seeds = [\"{base}/\"]\n[politeness]\ndelay = \"0ms\"\n[fetch]\ntabs = 2\n[login]\nurl = \"{base}/login\"\n\
         success = \"#out\"\nlogged_out = \"form#door\"\ntimeout = \"8s\"\nsteps = [\n  {{ fill = \"#user\", value = \"me\" }},\n\
         {{ fill = \"#pw\", value = \"env:IT_MEMBERS_PW\" }},\n  {{ click = \"button\" }},\n]\n"
    );
    fs::write(&file, task).expect("a task file");
    file.display().to_string()
}

/// Every page that was fetched, by path; its text must be a member's.
#[track_caller]
fn fetched(world: &World, base: &str) -> BTreeSet<String> {
    let pages = fs::read_to_string(world.session_dir().join("out/pages-00001.jsonl")).expect("pages");
    let pages = pages.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let fetched = pages.filter(|page| page["outcome"] == "fetched").map(|page| {
        assert!(page["text"].as_str().is_some_and(|text| text.contains("you are in")), "{page}");
        page["url"].as_str().expect("a URL").trim_start_matches(base).to_owned()
    });
    fetched.collect()
}

fn all() -> BTreeSet<String> {
    (1..=MEMBERS).map(|n| format!("/p/{n}")).chain(["/".to_owned()]).collect()
}

/// The password is in no file of the state directory.
#[track_caller]
fn expect_untold(folder: &Path) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            expect_untold(&path);
        } else if let Ok(bytes) = fs::read(&path) {
            assert!(memchr::memmem::find(&bytes, b"sesame").is_none(), "{}", path.display());
        }
    }
}

#[test]
fn a_session_logs_in_once_and_again_when_the_site_forgets_it() {
    for (forget_after, logins) in [(0, 1), (6, 2)] {
        let world = World::new(Config::plain(1), Fetch::Chromium);
        let (members, base) = Members::start(forget_after);
        let file = task(&world, &base);
        let ended = world.crawld(&["crawl", &file, "--json"]).env("IT_MEMBERS_PW", "sesame").run().expect_code(0);
        assert_eq!(fetched(&world, &base), all(), "{}", ended.said());
        assert_eq!(members.logins.load(Ordering::SeqCst), logins, "forgotten after {forget_after} pages");
        world.verify();
        expect_untold(&world.state);
    }
}

#[test]
fn a_login_that_does_not_work_ends_the_session_and_says_why() {
    let world = World::new(Config::plain(1), Fetch::Chromium);
    let (members, base) = Members::start(0);
    let file = task(&world, &base);
    let ended = world.crawld(&["crawl", &file]).env("IT_MEMBERS_PW", "open").run().expect_code(78);
    let said = ended.said();
    assert!(said.contains("the login at") && said.contains("wrong credentials"), "{said}");
    let status = world.crawld(&["status", &world.session(), "--json"]).run().expect_code(0);
    assert!(status.said().contains("\"login_failed\""), "{}", status.said());
    assert_eq!((world.lines("pages-"), members.logins.load(Ordering::SeqCst)), (0, 0), "{said}");
    let missing = world.crawld(&["crawl", &file]).run().expect_code(78);
    assert!(missing.said().contains("env:IT_MEMBERS_PW"), "{}", missing.said());
    // With the right one the same command goes on.
    world.crawld(&["crawl", &file]).env("IT_MEMBERS_PW", "sesame").run().expect_code(0);
    assert_eq!(fetched(&world, &base), all());
}
