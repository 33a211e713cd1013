//! The browser engine against a bare loop over the same browser, side by side, whole process trees.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::daemon::{Daemon, Place};
use super::report::{Bar, Report};
use super::site::Site;
use super::tree::{self, Meter, Reading};
use super::{bare, cppreference};

/// Pages of a run, unless `CRAWLD_BENCH_PAGES` says otherwise: so many that neither side's start weighs much.
const PAGES: u64 = 1_000;
/// Runs of which the median counts.
const RUNS: usize = 3;
/// Tabs of the bare loop: as many as this project's machine has cores.
const TABS: usize = 2;
/// Longer nothing may take.
const DEADLINE: Duration = Duration::from_secs(600);

/// The whole part.
pub fn run(report: &mut Report) {
    let ready = cppreference::installed()
        .and_then(|()| crawld::browser::find_executable(None).map_err(|error| error.to_string()));
    let executable = match ready {
        Ok(executable) => executable,
        Err(why) => return report.skipped("browser engine", &why),
    };
    let site = Site::of_files(Path::new(cppreference::ROOT));
    let told = std::env::var("CRAWLD_BENCH_PAGES").ok().and_then(|text| text.parse().ok());
    let bench = Bench { url: format!("http://127.0.0.1:{}/en/index.html", site.port()), pages: told.unwrap_or(PAGES) };
    let outcome = bench
        .memory(report)
        .and_then(|urls| bench.speed(report, &executable, &urls))
        .and_then(|()| bench.first_page(report))
        .and_then(|()| bench.lost_browser(report));
    if let Err(why) = outcome {
        report.skipped("browser engine", &why);
    }
}

struct Bench {
    url: String,
    pages: u64,
}

/// One crawl.
struct Crawl {
    place: Place,
    fetched: u64,
    took: Duration,
    tree: Reading,
}

impl Bench {
    fn args<'a>(&'a self, pages: &'a str, tabs: Option<&'a str>) -> Vec<&'a str> {
        let mut args = vec!["crawl", &self.url, "--fetch", "browser", "--delay", "0ms", "--per-host", "16"];
        args.extend(["--json", "--quiet", "--max-pages", pages]);
        args.extend(tabs.into_iter().flat_map(|tabs| ["--tabs", tabs]));
        args
    }

    fn crawl(&self, tabs: Option<&str>, memory: bool) -> Result<Crawl, String> {
        let pages = self.pages.to_string();
        let place = Place::new();
        let started = Instant::now();
        let daemon = place.spawn(&self.args(&pages, tabs));
        let meter = Meter::start(daemon.pid(), memory);
        let ended = daemon.finish(DEADLINE);
        let took = started.elapsed();
        let tree = meter.stop();
        let Some((_, end)) = ended else { return Err(format!("the crawl did not end: {}", place.said())) };
        let fetched = end["counters"]["fetched"].as_u64().unwrap_or(0);
        if fetched < self.pages {
            return Err(format!("{fetched} of {pages} pages were fetched: {end} {}", place.said()));
        }
        Ok(Crawl { place, fetched, took, tree })
    }

    /// Memory at two tabs; also tells which pages a crawl visits, in their order.
    fn memory(&self, report: &mut Report) -> Result<Vec<String>, String> {
        let crawl = self.crawl(Some("2"), true)?;
        let mib = crawl.tree.peak_pss as f64 / f64::from(1 << 20);
        report.number("crawld: peak memory (PSS of the tree) at 2 tabs", mib, "MiB", Bar::AtMost(600.0));
        let records = records(&crawl.place);
        let fetched = records.iter().filter(|record| record["outcome"] == "fetched");
        Ok(fetched.filter_map(|record| Some(record["url"].as_str()?.to_owned())).collect())
    }

    fn speed(&self, report: &mut Report, executable: &Path, urls: &[String]) -> Result<(), String> {
        let (mut pace, mut cost) = (Series::default(), Series::default());
        for run in 0..RUNS {
            // Alternately first, so that a machine that grows busier favours neither.
            let first = (run % 2 == 0).then(|| bare::run(executable, urls, TABS));
            let crawl = self.crawl(None, false)?;
            let bare = first.unwrap_or_else(|| bare::run(executable, urls, TABS));
            if bare.links == 0 {
                return Err("the bare loop found no links".to_owned());
            }
            let per_page = |tree: Reading, pages: f64| tree.cpu.as_secs_f64() / pages;
            let pages = urls.len() as f64;
            pace.push(crawl.fetched as f64 / crawl.took.as_secs_f64(), pages / bare.took.as_secs_f64());
            cost.push(per_page(crawl.tree, crawl.fetched as f64), per_page(bare.tree, pages));
        }
        report.number("bare loop: pages a second", pace.theirs(), "/s", Bar::None);
        report.number("crawld: pages a second", pace.ours(), "/s", Bar::None);
        report.number("crawld against the bare loop: pages a second", pace.ratio(), "x", Bar::AtLeast(1.3));
        report.number("bare loop: CPU a page, whole tree", cost.theirs() * 1e3, "ms", Bar::None);
        report.number("crawld: CPU a page, whole tree", cost.ours() * 1e3, "ms", Bar::None);
        report.number("crawld against the bare loop: CPU a page", cost.ratio(), "x", Bar::AtMost(0.85));
        Ok(())
    }

    /// From the command to the first committed page.
    fn first_page(&self, report: &mut Report) -> Result<(), String> {
        let mut times = Vec::new();
        for _ in 0..RUNS {
            let place = Place::new();
            let started = Instant::now();
            let daemon = place.spawn(&self.args("1", Some("2")));
            times.push(until(|| !records(&place).is_empty(), started)?);
            drop(daemon);
        }
        report.number("crawld: launch to first page committed", median(times), "s", Bar::AtMost(1.0));
        Ok(())
    }

    /// From the end of the browser to the next page that was begun after it.
    fn lost_browser(&self, report: &mut Report) -> Result<(), String> {
        let mut times = Vec::new();
        for _ in 0..RUNS {
            let place = Place::new();
            let daemon = place.spawn(&self.args("100000", Some("2")));
            until(|| records(&place).len() >= 20, Instant::now())?;
            times.push(lose_browser(&place, &daemon)?);
            drop(daemon);
        }
        report.number("crawld: browser lost to next page committed", median(times), "s", Bar::AtMost(2.0));
        Ok(())
    }
}

fn lose_browser(place: &Place, daemon: &Daemon) -> Result<f64, String> {
    let browsers = tree::browsers(daemon.pid());
    // The newest: an older one may be on its way out.
    let victim = browsers.iter().max().and_then(|pid| Pid::from_raw(pid.cast_signed()));
    let victim = victim.ok_or("no browser runs")?;
    let lost_at = jiff::Timestamp::now();
    let started = Instant::now();
    kill_process(victim, Signal::KILL).map_err(|error| error.to_string())?;
    let begun_after = |record: &Value| {
        let at = record["fetched_at"].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
        record["outcome"] == "fetched" && at.is_some_and(|at| at >= lost_at)
    };
    until(|| records(place).iter().any(begun_after), started)
}

/// Waits, looking often; the seconds since `started`.
fn until(done: impl Fn() -> bool, started: Instant) -> Result<f64, String> {
    while !done() {
        if started.elapsed() > DEADLINE {
            return Err("a wait did not end".to_owned());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(started.elapsed().as_secs_f64())
}

/// The page records of the one session, whole lines only.
fn records(place: &Place) -> Vec<Value> {
    let folders = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = folders(place.state().join("sessions")).flat_map(|session| folders(session.join("out")));
    let mut pages: Vec<PathBuf> = files
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("pages-")))
        .collect();
    pages.sort();
    let text: String = pages.iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Ours beside theirs, run by run.
#[derive(Default)]
struct Series(Vec<(f64, f64)>);

impl Series {
    fn push(&mut self, ours: f64, theirs: f64) {
        eprintln!("bench: ours {ours:.4}, theirs {theirs:.4}, ratio {:.3}", ours / theirs);
        self.0.push((ours, theirs));
    }

    fn ours(&self) -> f64 {
        median(self.0.iter().map(|(ours, _)| *ours).collect())
    }

    fn theirs(&self) -> f64 {
        median(self.0.iter().map(|(_, theirs)| *theirs).collect())
    }

    /// Of each run by itself: what the machine did meanwhile met both.
    fn ratio(&self) -> f64 {
        median(self.0.iter().map(|(ours, theirs)| ours / theirs).collect())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
