//! A checkpoint, composed from a read snapshot of the store: crawling does not stop for it.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::browser::Browsers;
use crate::crawl::ordered;
use crate::model::checkpoint::{
    BROWSER_KEY, BreakerSnapshot, BrowserInfo, Checkpoint, CrawlerState, EgressFacts, Excerpt, LearnedMode,
    LearnedSite, LimitUse, OutputFile, ProgressSnapshot, RecoveryMetadata, ResultEntry, SitemapCount, Suspect,
    UrlEntry,
};
use crate::model::host::{Breaker, BreakerState, HostState};
use crate::model::ids::{Epoch, SessionId, TaskId, UrlNo};
use crate::model::outcome::{FailureClass, OutcomeKind, ParkReason, SkipReason};
use crate::model::session::{SessionStatus, StopReason};
use crate::model::task::FetchMode;
use crate::model::time::Timestamp;
use crate::model::url::CANONICAL_VERSION;
use crate::state::paths::SessionPaths;
use crate::store::error::StoreError;
use crate::store::reader::{Reader, UrlView};
use crate::store::rows::SuspectRow;

/// Bytes read from the end of the newest pages file: enough for a thousand small records; large
/// pages make a shorter list.
const TAIL_BYTES: u64 = 4 << 20;

/// Hosts of which the next lifetime is told what the browser learned: at half a kilobyte each.
const SITES: usize = 200;

/// What the store does not know.
#[derive(Debug)]
pub struct Facts {
    /// The session.
    pub session: SessionId,
    /// Its task.
    pub task: TaskId,
    /// When.
    pub now: Timestamp,
    /// Where it stands.
    pub status: SessionStatus,
    /// Why it stopped, at a stop.
    pub stop_reason: Option<StopReason>,
    /// Over the last minute.
    pub pages_per_second: f64,
    /// Over all epochs.
    pub active: Duration,
    /// When the session was created.
    pub session_start: Timestamp,
    /// This lifetime.
    pub epoch: Epoch,
    /// The task's way to fetch.
    pub fetch_mode: FetchMode,
    /// What a task in mode `auto` has learned.
    pub fetch_modes: BTreeMap<String, LearnedMode>,
    /// What the browser had learned about hosts.
    pub sites: BTreeMap<String, LearnedSite>,
    /// Where it runs, it is asked what it knows by now.
    pub browsers: Option<Arc<Browsers>>,
    /// Name → (used, limit).
    pub limits_used: BTreeMap<String, LimitUse>,
    /// Items in each list at most.
    pub inline_urls: usize,
    /// The browser in use.
    pub browser: Option<BrowserInfo>,
    /// The browser's own breaker, as this lifetime or the one before knows it.
    pub browser_breaker: Option<Breaker>,
    /// What went through its proxy.
    pub egress: Option<EgressFacts>,
}

/// Composes a checkpoint.
///
/// # Errors
/// The store cannot be read; says why.
pub fn compose(paths: &SessionPaths, facts: Facts) -> Result<Checkpoint, String> {
    let reader = Reader::open(&paths.store()).map_err(|error| error.to_string())?;
    reader.snapshot(|reader| gather(reader, paths, &facts)).map_err(|error| error.to_string())
}

fn gather(reader: &Reader, paths: &SessionPaths, facts: &Facts) -> Result<Checkpoint, StoreError> {
    let (seq, counters) = reader.counters()?;
    let outputs: Vec<OutputFile> = reader.outputs()?.into_iter().map(|row| row.file).collect();
    let hosts = reader.host_states(facts.inline_urls)?;
    let orders = ordered::from_meta(&reader.meta()?);
    let ended = newest_records(paths, &outputs, facts.inline_urls);
    let keys = hosts.iter().map(|(key, _)| key.as_str());
    let sites = facts.browsers.as_ref().map(|browsers| browsers.learned(keys, SITES));
    let sites = sites.unwrap_or_else(|| facts.sites.clone());
    let (discovered, ended_sitemaps) = reader.sitemaps()?;
    let sitemaps = SitemapCount { discovered, ended: ended_sitemaps };
    Ok(Checkpoint {
        session_id: facts.session.clone(),
        task_id: facts.task.clone(),
        checkpoint_time: facts.now,
        progress_snapshot: ProgressSnapshot {
            status: facts.status,
            stop_reason: facts.stop_reason,
            counters,
            pages_per_second: facts.pages_per_second,
            active_seconds: facts.active.as_secs_f64(),
            estimated_progress: counters.progress(),
            session_start: facts.session_start,
            failures_by_class: tally(reader, "failed", FailureClass::parse)?,
            skips_by_reason: tally(reader, "skipped", SkipReason::parse)?,
            parked_by_reason: tally(reader, "parked", ParkReason::parse)?,
        },
        crawler_state: CrawlerState {
            epoch: facts.epoch,
            fetch_modes: facts.fetch_modes.clone(),
            sites,
            fetch_mode: facts.fetch_mode,
            limits_used: facts.limits_used.clone(),
            robots_known: reader.robots_known()?,
            sitemaps,
            cookie_jar: paths.cookies().exists().then(|| "cookies.json".to_owned()),
            canonical_version: CANONICAL_VERSION,
            egress: facts.egress,
        },
        circuit_breaker_state: breakers(&hosts, facts.browser_breaker, facts.now),
        adaptive_delays_state: hosts.into_iter().collect(),
        active_urls: excerpt(counters.in_flight, reader.in_flight()?.into_iter().take(facts.inline_urls).map(entry)),
        completed_urls: excerpt(counters.fetched + counters.skipped, ended.iter().filter_map(Ended::completed)),
        failed_urls: excerpt(counters.failed, reader.newest_failed(facts.inline_urls)?.into_iter().map(failed_entry)),
        extraction_results: excerpt(counters.fetched, ended.iter().filter_map(Ended::result)),
        browser_session_info: facts.browser.clone(),
        recovery_metadata: RecoveryMetadata {
            commit_seq: seq,
            output_files: outputs,
            suspects: suspects(reader, facts.inline_urls)?,
            hints: ordered::in_words(&orders),
            orders: Some(orders),
        },
    })
}

/// Those that are nearest to being set aside first.
fn suspects(reader: &Reader, limit: usize) -> Result<Vec<Suspect>, StoreError> {
    let mut all = reader.suspects()?;
    all.sort_by_key(|(n, marks)| (std::cmp::Reverse(marks.explained * 3 + marks.unexplained), *n));
    let shown = |(n, marks): (UrlNo, SuspectRow)| Suspect {
        n,
        crashes_explained: marks.explained,
        crashes_unexplained: marks.unexplained,
    };
    Ok(all.into_iter().take(limit).map(shown).collect())
}

fn tally<K: Ord>(
    reader: &Reader,
    kind: &str,
    parse: impl Fn(&str) -> Option<K>,
) -> Result<BTreeMap<K, u64>, StoreError> {
    let rows = reader.tallies(kind)?;
    Ok(rows.iter().filter_map(|(reason, urls)| Some((parse(reason)?, *urls))).collect())
}

/// Host breakers that are not closed, and the browser's whatever it is.
fn breakers(
    hosts: &[(String, HostState)],
    browser: Option<Breaker>,
    now: Timestamp,
) -> BTreeMap<String, BreakerSnapshot> {
    let not_closed = hosts.iter().filter(|(_, host)| host.breaker.state != BreakerState::Closed);
    let snapshot = |breaker: Breaker| BreakerSnapshot {
        breaker,
        remaining_open_ms: breaker.open_until.map_or(0, |at| at.since(now).as_millis() as u64),
    };
    let hosts = not_closed.map(|(key, host)| (key.clone(), snapshot(host.breaker)));
    hosts.chain(browser.map(|breaker| (BROWSER_KEY.to_owned(), snapshot(breaker)))).collect()
}

fn excerpt<T>(total: u64, items: impl Iterator<Item = T>) -> Excerpt<T> {
    let items: Vec<T> = items.collect();
    Excerpt { total, truncated: (items.len() as u64) < total, items }
}

fn entry(view: UrlView) -> UrlEntry {
    UrlEntry {
        n: view.row.n,
        url: view.url.as_str().to_owned(),
        attempt: view.row.attempts + 1,
        outcome: None,
        detail: view.row.detail,
    }
}

fn failed_entry(view: UrlView) -> UrlEntry {
    let attempt = view.row.attempts.max(1);
    UrlEntry { attempt, outcome: Some(OutcomeKind::Failed), ..entry(view) }
}

/// What a checkpoint shows of a page record.
#[derive(Debug, Deserialize)]
struct Ended {
    n: UrlNo,
    url: String,
    outcome: OutcomeKind,
    skip_reason: Option<SkipReason>,
    attempt: u32,
    http_status: Option<u16>,
    title: Option<String>,
    links_found: u64,
}

impl Ended {
    fn completed(&self) -> Option<UrlEntry> {
        (self.outcome != OutcomeKind::Failed).then(|| UrlEntry {
            n: self.n,
            url: self.url.clone(),
            attempt: self.attempt,
            outcome: Some(self.outcome),
            detail: self.skip_reason.map(|reason| reason.to_string()),
        })
    }

    fn result(&self) -> Option<ResultEntry> {
        (self.outcome == OutcomeKind::Fetched).then(|| ResultEntry {
            n: self.n,
            url: self.url.clone(),
            http_status: self.http_status,
            title: self.title.clone(),
            links_found: self.links_found,
        })
    }
}

/// The newest page records, newest first: as many as the end of the newest file holds. A file that
/// cannot be read costs the list, not the checkpoint.
fn newest_records(paths: &SessionPaths, outputs: &[OutputFile], limit: usize) -> Vec<Ended> {
    let newest = outputs.iter().rfind(|file| file.name.starts_with("pages-"));
    let Some(file) = newest else { return Vec::new() };
    let tail = read_tail(&paths.out().join(&file.name), file.committed_length).unwrap_or_default();
    let lines = tail.split(|byte| *byte == b'\n').rev();
    lines.filter_map(|line| serde_json::from_slice(line).ok()).take(limit).collect()
}

fn read_tail(path: &Path, length: u64) -> std::io::Result<Vec<u8>> {
    let from = length.saturating_sub(TAIL_BYTES);
    let mut bytes = vec![0; (length - from) as usize];
    File::open(path)?.read_exact_at(&mut bytes, from)?;
    Ok(bytes)
}
