//! Mode `auto` beside mode `browser`: the same pages and links, how much faster.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::cppreference::{ROOT, installed};
use super::daemon::Place;
use super::report::{Bar, Report};
use super::site::Site;

/// Longer neither crawl may take.
const DEADLINE: Duration = Duration::from_secs(3600);

/// What a crawl left behind, by URL: links found, and what fetched it.
struct Crawled {
    pages: BTreeMap<String, (u64, String)>,
    urls: BTreeSet<String>,
    per_second: f64,
}

/// All of cppreference in both modes, one after the other.
pub fn run(report: &mut Report) {
    let what = "auto against browser, cppreference";
    if let Err(why) = installed() {
        return report.skipped(what.to_owned(), &why);
    }
    let site = Site::of_files(Path::new(ROOT));
    let crawls = ["browser", "auto"].map(|mode| crawl(&site, mode));
    let [browser, auto] = match crawls {
        [Ok(browser), Ok(auto)] => [browser, auto],
        [Err(why), _] | [_, Err(why)] => return report.skipped(what.to_owned(), &why),
    };
    let pages = browser.pages.keys().chain(auto.pages.keys());
    let links = |crawl: &Crawled, url: &String| crawl.pages.get(url).map(|(links, _)| *links);
    let mut other: Vec<&String> = pages.filter(|url| links(&browser, url) != links(&auto, url)).collect();
    other.sort_unstable();
    other.dedup();
    other.iter().take(5).for_each(|url| {
        eprintln!("bench: {url}: {:?} links by browser, {:?} by auto", links(&browser, url), links(&auto, url));
    });
    let unequal = browser.urls.symmetric_difference(&auto.urls).count();
    let rendered = auto.pages.values().filter(|(_, with)| with == "browser").count();
    report.number(format!("{what}: pages a second, browser"), browser.per_second, "/s", Bar::None);
    report.number(format!("{what}: pages a second, auto"), auto.per_second, "/s", Bar::None);
    report.number(format!("{what}: times as fast"), auto.per_second / browser.per_second, "x", Bar::AtLeast(10.0));
    report.number(format!("{what}: pages"), auto.pages.len() as f64, "", Bar::None);
    report.number(format!("{what}: rendered by auto"), rendered as f64, "", Bar::None);
    report.number(format!("{what}: URLs that one of them lacks"), unequal as f64, "", Bar::AtMost(0.0));
    report.number(format!("{what}: pages that differ in links"), other.len() as f64, "", Bar::AtMost(0.0));
}

fn crawl(site: &Site, mode: &str) -> Result<Crawled, String> {
    let url = format!("http://127.0.0.1:{}/en/index.html", site.port());
    let args = ["crawl", &url, "--fetch", mode, "--delay", "0ms", "--per-host", "16", "--json", "--quiet"];
    let place = Place::new();
    let started = Instant::now();
    let ended = place.spawn(&args).finish(DEADLINE);
    let (_, end) = ended.ok_or_else(|| format!("the crawl by {mode} did not end: {}", place.said()))?;
    let took = started.elapsed().as_secs_f64();
    let out = end["output_dir"].as_str().ok_or_else(|| format!("no outputs: {end} {}", place.said()))?;
    let mut crawled = Crawled { pages: BTreeMap::new(), urls: BTreeSet::new(), per_second: 0.0 };
    for record in records(Path::new(out), "pages-")? {
        let url = record["url"].as_str().unwrap_or_default().to_owned();
        let with = record["fetched_with"].as_str().unwrap_or_default().to_owned();
        crawled.pages.insert(url, (record["links_found"].as_u64().unwrap_or(0), with));
    }
    for record in records(Path::new(out), "urls-")? {
        crawled.urls.insert(record["url"].as_str().unwrap_or_default().to_owned());
    }
    crawled.per_second = crawled.pages.len() as f64 / took;
    Ok(crawled)
}

fn records(out: &Path, prefix: &str) -> Result<Vec<Value>, String> {
    let mut all = Vec::new();
    let entries = std::fs::read_dir(out).map_err(|error| format!("{}: {error}", out.display()))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with(prefix) && name.ends_with(".jsonl") {
            let file = std::fs::File::open(&path).map_err(|error| format!("{name}: {error}"))?;
            let lines = BufReader::new(file).lines().map_while(Result::ok);
            all.extend(lines.filter_map(|line| serde_json::from_str(&line).ok()));
        }
    }
    Ok(all)
}
