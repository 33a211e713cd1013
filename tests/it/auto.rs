//! Mode `auto`: the pages and links of mode `browser`, most of them without a browser.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rustix::process::Signal;

use crate::site::Config;
use crate::support::World;
use crate::support::child::PATIENCE;
use crate::support::oracle::Crawl;
use crate::support::world::Fetch;

/// A site of a few lines: what a path answers (media type, body), and how often each was asked for.
struct Small {
    base: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Small {
    fn start(answer: impl Fn(&str) -> Option<(&'static str, String)> + Send + Sync + 'static) -> Small {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (log, answer) = (asked.clone(), Arc::new(answer));
        // It ends with the process, as its connections do.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, answer) = (log.clone(), answer.clone());
                std::thread::spawn(move || converse(stream, &log, answer.as_ref()));
            }
        });
        Small { base, asked }
    }

    fn times(&self, path: &str) -> usize {
        self.asked.lock().expect("no panic while held").iter().filter(|asked| *asked == path).count()
    }
}

fn converse(stream: TcpStream, log: &Mutex<Vec<String>>, answer: &dyn Fn(&str) -> Option<(&'static str, String)>) {
    let Ok(mut writer) = stream.try_clone() else { return };
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    while let Some(first) = lines.next() {
        lines.by_ref().take_while(|line| !line.is_empty()).for_each(drop);
        let path = first.split(' ').nth(1).unwrap_or("/").to_owned();
        let (status, kind, body) = match answer(&path) {
            Some((kind, body)) => ("200 OK", kind, body),
            None => ("404 Not Found", "text/plain", "?".to_owned()),
        };
        log.lock().expect("no panic while held").push(path);
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\ncache-control: no-store\r\n\r\n",
            body.len()
        );
        if writer.write_all((head + &body).as_bytes()).is_err() {
            return;
        }
    }
}

/// Crawls the site from `/p/1` in mode `auto`, one page after the other; its world and its outputs.
fn crawl(site: &Small, fetch: Fetch) -> (World, Crawl) {
    crawl_with(site, fetch, &[])
}

fn crawl_with(site: &Small, fetch: Fetch, more: &[&str]) -> (World, Crawl) {
    let world = World::new(Config::plain(0), fetch);
    let seed = format!("{}/p/1", site.base);
    let mode = if fetch == Fetch::Auto { "auto" } else { "browser" };
    world
        .crawld(&["crawl", &seed, "--fetch", mode, "--delay", "0ms", "--per-host", "1", "--json", "--quiet"])
        .args(more)
        .run()
        .expect_code(0);
    world.verify();
    let outputs = Crawl::read(&world.session_dir().join("out"), &site.base);
    outputs.check_consistent();
    (world, outputs)
}

fn paths(crawl: &Crawl) -> BTreeSet<String> {
    let base = crawl.pages.iter().filter_map(|page| page["url"].as_str());
    base.filter_map(|url| url.splitn(4, '/').nth(3)).map(|path| format!("/{path}")).collect()
}

fn count(crawl: &Crawl, with: &str, reason: &str) -> usize {
    crawl.pages.iter().filter(|page| page["fetched_with"] == with && page["fetch_reason"] == reason).count()
}

const WORDS: &str = "Every light on the coast, with its keeper, its range and its neighbours, is listed here with the \
    year in which it was first lit, the character of its flashes and the names of those who kept it. The list is long, \
    and it is not complete: lights that were never lit are not in it, and those that went out were taken off.";

#[test]
fn a_site_without_need_of_scripts_is_crawled_without_a_browser() {
    let world = World::new(Config { lab: true, ..Config::plain(120) }, Fetch::Auto);
    let last = world.crawl().run().expect_code(3);
    let crawl = world.check_complete(&last);
    let (plain, rendered) =
        (count(&crawl, "http", "agrees"), crawl.pages.iter().filter(|page| page["fetched_with"] == "browser").count());
    assert!(plain > 90, "{plain} by plain HTTP, {rendered} rendered");
    assert!(world.site.hits().iter().all(|(path, hits)| !path.starts_with("/light/") || *hits == 1), "asked for twice");
    let learned = &world.checkpoint()["crawler_state"]["fetch_modes"];
    assert!(learned.as_object().is_some_and(|kinds| kinds.values().any(|kind| kind["mode"] == "http")), "{learned}");
}

#[test]
fn pages_whose_links_only_scripts_make_are_not_lost() {
    let world = World::new(Config::full(60), Fetch::Auto);
    let last = world.crawl().run().expect_code(3);
    let crawl = world.check_complete(&last);
    assert!(count(&crawl, "http", "agrees") > 20);
}

#[test]
fn a_site_that_is_all_script_is_rendered_whole() {
    let site = Small::start(|path| {
        let n = path.strip_prefix("/api/").and_then(|n| n.parse::<u32>().ok());
        match path {
            "/app.js" => Some((
                "text/javascript",
                "fetch('/api/' + location.pathname.split('/').pop()).then(r => r.text()).then(t => { root.innerHTML = t; })".to_owned(),
            )),
            _ if path.starts_with("/p/") => Some((
                "text/html",
                "<!doctype html><title>App</title><div id=root></div><script src=/app.js></script>".to_owned(),
            )),
            _ => n.map(|n| {
                let links: String = [2 * n, 2 * n + 1].iter().filter(|n| **n <= 40).map(|n| format!("<a href=/p/{n}>{n}</a> ")).collect();
                ("text/plain", format!("<h1>Page {n}</h1><p>{WORDS}</p>{links}"))
            }),
        }
    });
    let (_world, crawl) = crawl(&site, Fetch::Auto);
    assert_eq!(paths(&crawl), (1..=40).map(|n| format!("/p/{n}")).collect(), "no page is lost");
    assert!(crawl.pages.iter().all(|page| page["fetched_with"] == "browser"));
    assert!(crawl.pages.iter().all(|page| page["text"].as_str().is_some_and(|text| text.contains("keeper"))));
    assert!(count(&crawl, "browser", "differs") > 30 && count(&crawl, "browser", "unknown") >= 1);
    assert!((1..=40).all(|n| site.times(&format!("/p/{n}")) == 1), "a document was asked for twice");
}

#[test]
fn a_site_that_changes_its_mind_is_followed() {
    let asked = Arc::new(AtomicU32::new(0));
    let counted = asked.clone();
    // From the fortieth page on, the same script brings a link.
    let site = Small::start(move |path| match path {
        "/more.js" => {
            let brings = counted.load(Ordering::Relaxed) > 40;
            let link = "more.innerHTML = '<a href=/found/' + location.pathname.split('/').pop() + '>more</a>'";
            Some(("text/javascript", if brings { link.to_owned() } else { "void 0".to_owned() }))
        }
        _ if path.starts_with("/found/") => Some(("text/html", format!("<!doctype html><title>{path}</title>{WORDS}"))),
        _ => path.strip_prefix("/p/").and_then(|n| n.parse::<u32>().ok()).map(|n| {
            counted.fetch_add(1, Ordering::Relaxed);
            let next = if n < 120 { format!("<a href=/p/{}>next</a>", n + 1) } else { String::new() };
            let page = format!(
                "<!doctype html><title>{n}</title><p>{WORDS}</p>{next}<p id=more>-</p><script src=/more.js></script>"
            );
            ("text/html", page)
        }),
    });
    let (world, crawl) = crawl(&site, Fetch::Auto);
    let found = paths(&crawl);
    assert!((1..=120).all(|n| found.contains(&format!("/p/{n}"))), "no page that was there all along is lost");
    // Compared were 3, then one after 8, 16 and 32 more: the change shows at the 59th page, and those since the 27th are
    // asked for again.
    let lost: Vec<u32> = (41..=120).filter(|n| !found.contains(&format!("/found/{n}"))).collect();
    assert!(lost.is_empty(), "late links that were not found: {lost:?}");
    let again = crawl.pages.iter().filter(|page| page["supersedes"].is_u64()).count();
    assert!((25..=35).contains(&again), "{again} pages were asked for again");
    assert_eq!((site.times("/p/20"), site.times("/p/50"), site.times("/p/100")), (1, 2, 1));
    let of_50 = crawl.pages.iter().filter(|page| page["url"].as_str().is_some_and(|url| url.ends_with("/p/50")));
    let of_50: Vec<_> = of_50.map(|page| (page["fetched_with"].as_str(), page["fetch_reason"].as_str())).collect();
    assert_eq!(of_50, [(Some("http"), Some("agrees")), (Some("browser"), Some("differs"))]);
    let changed = count(&crawl, "browser", "sample");
    assert!(changed >= 2, "{changed} samples");
    let learned = world.checkpoint()["crawler_state"]["fetch_modes"].clone();
    assert!(learned.as_object().expect("kinds").values().any(|kind| kind["falls"] == 1), "{learned}");
}

#[test]
fn pages_that_the_browser_does_not_bring_to_an_end_are_what_plain_http_brought() {
    // What each script adds is in no answer, so from the fourth page on the browser asks by itself.
    let site = Small::start(|path| match path {
        "/never" => {
            std::thread::sleep(Duration::from_secs(60));
            None
        }
        _ if path.starts_with("/found/") => Some(("text/html", format!("<!doctype html><title>{path}</title>{WORDS}"))),
        _ => path.strip_prefix("/p/").and_then(|n| n.parse::<u32>().ok()).map(|n| {
            let script = match n {
                // Nothing of such a page can be read while it waits, and nothing ends its wait.
                2 | 9 => "const x = new XMLHttpRequest(); x.open('GET', '/never', false); x.send()",
                _ => "document.write('<a href=/found/' + location.pathname.split('/').pop() + '>more</a>')",
            };
            let next = if n < 12 { format!("<a href=/p/{}>next</a>", n + 1) } else { String::new() };
            ("text/html", format!("<!doctype html><title>{n}</title><script>{script}</script><p>{WORDS}</p>{next}"))
        }),
    });
    let (_world, crawl) = crawl_with(&site, Fetch::Auto, &["--page-timeout", "4s"]);
    let found = paths(&crawl);
    assert!((1..=12).all(|n| found.contains(&format!("/p/{n}"))), "{found:?}");
    assert!([1, 4, 12].iter().all(|n| found.contains(&format!("/found/{n}"))), "{found:?}");
    for n in [2, 9] {
        let end = format!("/p/{n}");
        let of: Vec<_> =
            crawl.pages.iter().filter(|page| page["url"].as_str().is_some_and(|u| u.ends_with(&end))).collect();
        assert_eq!(of.len(), 1, "{of:?}");
        let way = (of[0]["outcome"].as_str(), of[0]["fetched_with"].as_str(), of[0]["fetch_reason"].as_str());
        assert_eq!(way, (Some("fetched"), Some("http"), Some("not_in_time")), "{}", of[0]);
        assert!(of[0]["text"].as_str().is_some_and(|text| text.contains("keeper")));
        assert!(of[0]["error"].as_str().is_some_and(|error| error.contains("in time")), "{}", of[0]["error"]);
    }
    // The browser was given the one; for the other it asked itself, again in an ordinary tab where a frameless one was first.
    assert!(site.times("/p/2") == 1 && (2..=3).contains(&site.times("/p/9")), "{}", site.times("/p/9"));
}

#[test]
fn what_was_learned_survives_a_resume() {
    let world = World::new(Config { latency: Duration::from_millis(20), ..Config::plain(150) }, Fetch::AutoScripted);
    world.crawl_and_kill(60);
    // A checkpoint is written at the end of a lifetime that can still do so.
    let mut child = world.continuation(true).spawn();
    world.until_recorded(&mut child, 90);
    child.signal(Signal::TERM);
    child.wait(PATIENCE).expect_code(4);
    let learned = world.checkpoint()["crawler_state"]["fetch_modes"].clone();
    assert!(learned.as_object().is_some_and(|kinds| !kinds.is_empty()), "{learned}");
    let before = world.outputs().pages.len();
    let crawl = world.finish();
    let later = &crawl.pages[before.min(crawl.pages.len())..];
    let compared = later.iter().filter(|page| page["fetch_reason"] == "unknown").count();
    assert_eq!(compared, 0, "nothing was learned anew");
}

#[test]
fn a_sitemap_that_nothing_names_is_found_where_the_task_asks_for_it() {
    let base = Arc::new(OnceLock::<String>::new());
    let told = base.clone();
    let site = Small::start(move |path| match path {
        "/p/1" => Some(("text/html", format!("<!doctype html><title>1</title>{WORDS}"))),
        "/p/2" => Some(("text/html", format!("<!doctype html><title>2</title>{WORDS}"))),
        "/sitemap.xml" => {
            let base = told.get().expect("told before it is asked");
            Some(("application/xml", format!("<urlset><url><loc>{base}/p/2</loc></url></urlset>")))
        }
        _ => None,
    });
    base.set(site.base.clone()).expect("set once");
    let crawl = |probe: bool| {
        let world = World::new(Config::plain(0), Fetch::Http);
        let task = world.path().join("task.toml");
        let text = format!(
            "seeds = [\"{}/p/1\"]\n[scope]\nprobe_sitemaps = {probe}\n[fetch]\nmode = \"http\"\n[politeness]\ndelay = \"0ms\"\n",
            site.base
        );
        std::fs::write(&task, text).expect("a task file");
        world.crawld(&["crawl", &task.display().to_string(), "--json", "--quiet"]).run().expect_code(0);
        paths(&Crawl::read(&world.session_dir().join("out"), &site.base))
    };
    assert_eq!(crawl(false), ["/p/1".to_owned()].into());
    assert_eq!(crawl(true), ["/p/1", "/p/2", "/sitemap.xml"].map(str::to_owned).into());
}
