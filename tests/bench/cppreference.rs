//! A crawl of real pages: Debian's `cppreference-doc-en-html`, served on loopback.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::daemon::Place;
use super::report::{Bar, Report};
use super::site::Site;

const PACKAGE: &str = "cppreference-doc-en-html";
/// Where its pages are.
pub const ROOT: &str = "/usr/share/cppreference/doc/html";
/// Longer the crawl may not take.
const DEADLINE: Duration = Duration::from_secs(1800);

/// Rendered by Chromium; `CRAWLD_BENCH_PAGES` pages (500 unless told, 0 for all).
pub fn browser(report: &mut Report) {
    let told = std::env::var("CRAWLD_BENCH_PAGES").ok().and_then(|text| text.parse().ok());
    crawl(report, "browser", told.unwrap_or(500), Bar::AtMost(15.0));
}

/// All of it by plain HTTP: the median of three runs.
pub fn http(report: &mut Report) {
    crawl(report, "http", 0, Bar::AtMost(1.0));
}

fn crawl(report: &mut Report, mode: &str, pages: u64, bar: Bar) {
    let what = format!("{mode} crawl of cppreference: daemon's CPU a page");
    if let Err(why) = installed() {
        return report.skipped(what, &why);
    }
    let site = Site::of_files(Path::new(ROOT));
    let runs: Result<Vec<Run>, String> =
        (0..if pages == 0 { 3 } else { 1 }).map(|_| Run::of(&site, mode, pages)).collect();
    let mut runs = match runs {
        Ok(runs) => runs,
        Err(why) => return report.skipped(what, &why),
    };
    runs.sort_by(|one, other| one.cpu.total_cmp(&other.cpu));
    let median = &runs[runs.len() / 2];
    report.number(what, median.cpu, "ms", bar);
    report.number(format!("{mode} crawl of cppreference: pages"), median.fetched, "", Bar::None);
    report.number(format!("{mode} crawl of cppreference: failed"), median.failed, "", Bar::None);
    let bar = if mode == "http" { Bar::AtMost(1.01) } else { Bar::None };
    report.number(format!("{mode} crawl of cppreference: requests a page"), median.requests, "", bar);
    report.number(format!("{mode} crawl of cppreference: pages a second"), median.pace, "/s", Bar::None);
}

/// One crawl.
struct Run {
    /// The daemon's own, in milliseconds a page.
    cpu: f64,
    fetched: f64,
    failed: f64,
    /// Of every URL that was asked for.
    requests: f64,
    /// Pages a second.
    pace: f64,
}

impl Run {
    fn of(site: &Site, mode: &str, pages: u64) -> Result<Run, String> {
        let url = format!("http://127.0.0.1:{}/en/index.html", site.port());
        let pages = pages.to_string();
        let mut args = vec!["crawl", &url, "--fetch", mode, "--delay", "0ms", "--per-host", "16", "--json", "--quiet"];
        if pages != "0" {
            args.extend(["--max-pages", &pages]);
        }
        let place = Place::new();
        let (started, asked) = (Instant::now(), site.asked());
        let ended = place.spawn(&args).finish(DEADLINE);
        let (cpu, end) = ended.ok_or_else(|| format!("the crawl did not end: {}", place.said()))?;
        let took = started.elapsed().as_secs_f64();
        let count = |name: &str| end["counters"][name].as_f64().unwrap_or(0.0);
        let (fetched, failed) = (count("fetched"), count("failed"));
        if fetched == 0.0 {
            return Err(format!("no page was fetched: {end} {}", place.said()));
        }
        let requests = (site.asked() - asked) as f64 / (fetched + failed);
        Ok(Run { cpu: cpu.as_secs_f64() * 1e3 / fetched, fetched, failed, requests, pace: fetched / took })
    }
}

/// Makes sure that the pages are there.
pub fn installed() -> Result<(), String> {
    let there = || Path::new(ROOT).join("en/index.html").is_file();
    if !there() && rustix::process::geteuid().is_root() {
        let apt = |args: &[&str]| {
            Command::new("apt-get").args(args).stdout(Stdio::null()).env("DEBIAN_FRONTEND", "noninteractive").status()
        };
        // Without the network, or without apt, the check below says what is missing.
        let _ = apt(&["update", "-qq"]).and_then(|_| apt(&["install", "-y", "-qq", PACKAGE]));
    }
    if there() { Ok(()) } else { Err(format!("needs the Debian package {PACKAGE}")) }
}
