//! What a checkpoint costs the commits that run beside it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crawld::crawl::committer::Opened;
use crawld::crawl::compose::{Facts, compose};
use crawld::model::session::SessionStatus;
use crawld::model::task::FetchMode;
use crawld::state::checkpoint_file::CheckpointWriter;
use crawld::state::paths::SessionPaths;
use tokio::runtime::Runtime;

use super::report::{Bar, Report};
use super::store::{Steps, now};

const CHECKPOINTS: usize = 20;
/// Between two of them: commits that run alone, to compare with.
const PAUSE: Duration = Duration::from_millis(250);

/// Crawls without a network while checkpoints are composed and written as the daemon does it.
///
/// The disk has its own hiccups; a checkpoint answers for what its commits take longer than the
/// commits between the checkpoints, slowest against slowest.
pub fn measure(report: &mut Report, runtime: &Runtime, opened: &Opened, dir: &SessionPaths, steps: &mut Steps) {
    let spans: Mutex<Vec<(Instant, Instant)>> = Mutex::default();
    let over = AtomicBool::new(false);
    let commits = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = CheckpointWriter::open(dir);
            for _ in 0..CHECKPOINTS {
                std::thread::sleep(PAUSE);
                let started = Instant::now();
                let composed = compose(dir, facts(dir)).expect("a checkpoint");
                writer.write(composed).expect("written");
                spans.lock().expect("no panic while held").push((started, Instant::now()));
            }
            over.store(true, Ordering::Relaxed);
        });
        runtime.block_on(async {
            let mut commits: Vec<(Instant, Duration)> = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let (_, latency) = steps.commit(opened).await;
                commits.push((Instant::now(), latency));
            }
            commits
        })
    });
    let spans = spans.into_inner().expect("no panic while held");
    let beside = |at: Instant, took: Duration| spans.iter().any(|(from, to)| at >= *from && at - took <= *to);
    let slowest = |wanted: bool| {
        let of = commits.iter().filter(|(at, took)| beside(*at, *took) == wanted).map(|(_, took)| *took);
        of.max().unwrap_or_default().as_secs_f64() * 1e3
    };
    let (with, without) = (slowest(true), slowest(false));
    let longest = spans.iter().map(|(from, to)| *to - *from).max().unwrap_or_default();
    report.number("store: longest checkpoint at 1 M URLs", longest.as_secs_f64() * 1e3, "ms", Bar::None);
    report.number("store: slowest commit without a checkpoint", without, "ms", Bar::None);
    report.number("store: slowest commit beside a checkpoint", with, "ms", Bar::None);
    let delay = (with - without).max(0.0);
    report.number("store: delay of a commit by a checkpoint", delay, "ms", Bar::AtMost(50.0));
}

fn facts(dir: &SessionPaths) -> Facts {
    Facts {
        session: dir.id().clone(),
        task: "bench".parse().expect("a task id"),
        now: now(),
        status: SessionStatus::Active,
        stop_reason: None,
        pages_per_second: 0.0,
        active: Duration::ZERO,
        session_start: now(),
        epoch: 1,
        fetch_mode: FetchMode::Http,
        fetch_modes: Default::default(),
        sites: Default::default(),
        browsers: None,
        limits_used: BTreeMap::new(),
        inline_urls: 1_000,
        browser: None,
        browser_breaker: None,
        egress: None,
    }
}
