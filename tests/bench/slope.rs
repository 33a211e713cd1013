//! Whether memory grows with the pages of a long browser crawl: the whole tree's, and the daemon's own.

use std::time::{Duration, Instant};

use super::daemon::Place;
use super::report::{Bar, Report};
use super::site::Site;
use super::tree;

/// Pages, unless `CRAWLD_BENCH_SLOPE_PAGES` says otherwise.
const PAGES: u64 = 20_000;
/// Memory is looked at this often.
const EVERY: Duration = Duration::from_secs(2);
/// Pages before the first look: until then a crawl grows into its caches.
const WARM: f64 = 2_000.0;
/// Longer the crawl may not take.
const DEADLINE: Duration = Duration::from_secs(3600);
const MIB: f64 = 1_048_576.0;

/// A generated site at two tabs; browsers are replaced as in real use.
pub fn run(report: &mut Report) {
    let told = std::env::var("CRAWLD_BENCH_SLOPE_PAGES").ok().and_then(|text| text.parse().ok());
    let pages: u64 = told.unwrap_or(PAGES);
    let site = Site::start(move |_, _, path| page(pages, path));
    let url = format!("http://127.0.0.1:{}/0", site.port());
    let place = Place::new();
    let args = ["crawl", &url, "--fetch", "browser", "--delay", "0ms", "--per-host", "16", "--tabs", "2"];
    let daemon = place.spawn(&[args.as_slice(), &["--json", "--quiet"]].concat());
    let started = Instant::now();
    let mut looks: Vec<(f64, f64, f64)> = Vec::new();
    while !daemon.ended() && started.elapsed() < DEADLINE {
        std::thread::sleep(EVERY);
        let Some(session) = daemon.session() else { continue };
        let fetched = session["counters"]["fetched"].as_f64().unwrap_or(0.0);
        if fetched >= WARM {
            looks.push((fetched / 1e3, tree::pss(daemon.pid()) as f64 / MIB, daemon.memory().0 as f64 / MIB));
        }
    }
    let Some((_, end)) = daemon.finish(EVERY) else {
        return report.skipped("memory over a long crawl", &format!("the crawl did not end: {}", place.said()));
    };
    let fetched = end["counters"]["fetched"].as_f64().unwrap_or(0.0);
    if fetched < pages as f64 || looks.len() < 10 {
        let why = format!("{fetched} of {pages} pages, {} looks: {}", looks.len(), place.said());
        return report.skipped("memory over a long crawl", &why);
    }
    let series = |pick: fn(&(f64, f64, f64)) -> f64| looks.iter().map(|look| (look.0, pick(look))).collect::<Vec<_>>();
    report.number("long crawl: pages", fetched, "", Bar::None);
    report.number("long crawl: pages a second", fetched / started.elapsed().as_secs_f64(), "/s", Bar::None);
    let tree = slope(&series(|look| look.1));
    report.number("long crawl: the tree's memory (PSS) per 1,000 pages", tree, "MiB", Bar::AtMost(1.0));
    let own = slope(&series(|look| look.2));
    report.number("long crawl: the daemon's memory (RSS) per 1,000 pages", own, "MiB", Bar::AtMost(0.1));
}

/// A page of text and scripts' work with links to the next ones.
fn page(pages: u64, path: &str) -> Option<(&'static str, Vec<u8>)> {
    let n: u64 = path.strip_prefix('/')?.parse().ok()?;
    let links: String = (n * 4 + 1..n * 4 + 5)
        .filter(|link| *link < pages)
        .map(|link| format!("<p>Page {n} of a long crawl leads to <a href=/{link}>page {link}</a>.</p>"))
        .collect();
    let text = "What a page says, at the length of a paragraph of a book that is read aloud. ".repeat(20);
    let script = "const list = []; for (let i = 0; i < 2000; i++) list.push({ i, text: 'item ' + i }); \
        document.title += ' ' + list.length;";
    let html = format!(
        "<!doctype html><meta charset=utf-8><title>{n}</title><h1>Page {n}</h1>{links}<p>{text}</p><script>{script}</script>"
    );
    Some(("text/html; charset=utf-8", html.into_bytes()))
}

/// By how much the second number grows with one of the first: least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let together: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let alone: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    together / alone
}
