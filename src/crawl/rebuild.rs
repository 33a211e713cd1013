//! A session's store made anew from its outputs, when it is gone, damaged or behind them. The outputs are
//! only read: every whole line of them counts, a torn last line is cut by the opening that follows.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::crawl::committer::StorePaths;
use crate::crawl::ordered;
use crate::faults;
use crate::model::checkpoint::{Orders, OutputFile, Suspect};
use crate::model::counters::Counters;
use crate::model::host::HostState;
use crate::model::ids::{CommitSeq, Epoch, HostNo, UrlNo};
use crate::model::lease::UrlKind;
use crate::model::outcome::{FailureClass, OutcomeKind, ParkReason, SkipReason};
use crate::model::time::Timestamp;
use crate::model::url::CanonicalUrl;
use crate::output::lines::Lines;
use crate::output::segments::{self, Found};
use crate::output::{Kind, OutputError, sync_dir};
use crate::policy::traps::{TrapConfig, shape};
use crate::store::StoreError;
use crate::store::bulk::{self, Beside};
use crate::store::db;
use crate::store::rows::{OutputRow, SuspectRow, TemplateRow, UrlRow};
use crate::store::schema::{META_REBUILT, UrlState};
use crate::store::writer::Writer;

/// The longest pause believed of a file.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// Records between two calls of the progress function.
const STEP: u64 = 20_000;
/// Path templates kept in memory.
const CACHED: usize = 50_000;

/// What a rebuild came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RebuildReport {
    /// URLs found.
    pub urls: u64,
    /// Those that have ended.
    pub ended: u64,
    /// Those that wait to be fetched.
    pub queued: u64,
    /// Ended URLs queued again, because not all links of their page are there.
    pub requeued: u64,
    /// Lines that are no records.
    pub bad_lines: u64,
    /// The last commit found.
    pub seq: CommitSeq,
}

/// Why a store could not be rebuilt.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The outputs cannot be read, or something cannot be moved.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The new store cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no URL record to start from.
    #[error("{0}: no URL record can be read")]
    Nothing(String),
}

/// What the outputs do not say, from the last checkpoint where there is one.
#[derive(Debug, Clone, Default)]
pub struct Remembered {
    /// Totals outside the balance (links seen and the like).
    pub counters: Option<Counters>,
    /// Session-level values.
    pub meta: BTreeMap<String, String>,
    /// The latest lifetime known.
    pub epoch: Epoch,
    /// The latest commit that was spoken of: what was recorded up to it is never mistaken for something later.
    pub seq: CommitSeq,
    /// What the operator ordered: applied to the URLs, and kept.
    pub orders: Orders,
    /// URLs that were in flight when something died, and what points at each.
    pub suspects: Vec<Suspect>,
    /// Politeness memory by host key.
    pub hosts: BTreeMap<String, HostState>,
    /// The last moment at which a request may have been made, and the shortest pause after it: no host is asked
    /// sooner, whatever is remembered of it.
    pub asked_last: Option<(Timestamp, Duration)>,
}

/// How far a commit number may run ahead of the outputs before it is not believed.
const SEQ_AHEAD: CommitSeq = 1 << 32;

#[derive(Deserialize)]
struct UrlLine {
    n: UrlNo,
    url: CanonicalUrl,
    via: Option<UrlNo>,
    depth: u32,
    #[serde(default)]
    hops: u32,
    kind: Option<UrlKind>,
    parked: Option<ParkReason>,
    commit_seq: CommitSeq,
}

#[derive(Deserialize)]
struct PageLine {
    n: UrlNo,
    url: CanonicalUrl,
    outcome: OutcomeKind,
    failure_class: Option<FailureClass>,
    skip_reason: Option<SkipReason>,
    kind: UrlKind,
    depth: u32,
    via: Option<UrlNo>,
    attempt: u32,
    epoch: Epoch,
    bytes: Option<u64>,
    links_found: u64,
    links_added: u64,
    commit_seq: CommitSeq,
}

/// Rebuilds the store beside the old one, which goes to quarantine at the end. A kill at any moment leaves
/// the old store or none, and the rebuild is started again. `progress` is called with the records read.
///
/// # Errors
/// See [`RebuildError`].
pub fn rebuild(
    paths: &StorePaths,
    remembered: &Remembered,
    now: Timestamp,
    progress: &mut dyn FnMut(u64),
) -> Result<RebuildReport, RebuildError> {
    let temp = db::beside(&paths.db, ".rebuild");
    let writer = Writer::new(db::open_scratch(&temp)?, &temp);
    let mut builder = Builder::new(writer, progress, &remembered.orders);
    builder.writer.begin()?;
    for kind in Kind::ALL {
        let found = segments::list(&paths.out, kind).map_err(|e| OutputError::at("list", &paths.out, e))?;
        for (at, segment) in found.iter().enumerate() {
            builder.segment(segment, at + 1 < found.len())?;
        }
    }
    if builder.report.urls == 0 {
        return Err(RebuildError::Nothing(paths.out.display().to_string()));
    }
    builder.requeue_incomplete()?;
    builder.remember(remembered)?;
    let Builder { writer, mut report, beside, epoch, .. } = builder;
    let beside = remembered.counters.map_or(beside, |c| Beside {
        out_of_scope: c.out_of_scope,
        links_seen: c.links_seen.max(beside.links_seen),
        visits: c.visits.max(beside.visits),
        bytes: c.bytes.max(beside.bytes),
    });
    report.seq = report.seq.max(remembered.seq.min(report.seq.saturating_add(SEQ_AHEAD)));
    bulk::finish(&writer, report.seq, beside)?;
    for (key, value) in remembered.meta.iter().chain(&ordered::to_meta(&remembered.orders)) {
        writer.set_meta(key, Some(value))?;
    }
    writer.set_meta(META_REBUILT, Some("1"))?;
    writer.open_epoch(epoch.max(remembered.epoch), now, report.seq)?;
    let counters = writer.counters()?.1;
    (report.ended, report.queued) = (counters.ended(), counters.queued);
    writer.commit()?;
    bulk::close(writer)?;
    replace(paths, &temp)?;
    Ok(report)
}

/// Moves the old store with all that belongs to it aside, and the new one into its place.
fn replace(paths: &StorePaths, temp: &Path) -> Result<(), RebuildError> {
    let dir = paths.db.parent().unwrap_or(Path::new("."));
    let at = |e| OutputError::at("replace", &paths.db, e);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&paths.quarantine).map_err(at)?;
    // The log goes first: behind a new store it would be taken for its own.
    for suffix in ["-journal", "-wal", "-shm", ""] {
        let from = db::beside(&paths.db, suffix);
        let name = from.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let spare =
            (1..).map(|n| paths.quarantine.join(format!("{name}.{n}"))).find(|p| fs::symlink_metadata(p).is_err());
        match fs::rename(&from, spare.expect("names do not run out")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(error).into()),
            _ => {}
        }
    }
    sync_dir(dir)?;
    faults::point("store.before_rebuild_rename").map_err(at)?;
    fs::rename(temp, &paths.db).map_err(at)?;
    sync_dir(dir)?;
    faults::point("store.after_rebuild_rename").map_err(at)?;
    Ok(())
}

struct Builder<'a> {
    writer: Writer,
    progress: &'a mut dyn FnMut(u64),
    orders: &'a Orders,
    hosts: HashMap<String, HostNo>,
    templates: HashMap<(HostNo, u64), TemplateRow>,
    /// By URL number: records with it as `via`, and how many its pages claim to have added.
    links: Vec<(u32, u32)>,
    report: RebuildReport,
    beside: Beside,
    epoch: Epoch,
    last: UrlNo,
    read: u64,
}

impl<'a> Builder<'a> {
    fn new(writer: Writer, progress: &'a mut dyn FnMut(u64), orders: &'a Orders) -> Self {
        Builder {
            writer,
            progress,
            orders,
            hosts: HashMap::new(),
            templates: HashMap::new(),
            links: Vec::new(),
            report: RebuildReport::default(),
            beside: Beside::default(),
            epoch: 0,
            last: 0,
            read: 0,
        }
    }

    fn segment(&mut self, found: &Found, sealed: bool) -> Result<(), RebuildError> {
        let at = |e| OutputError::at("read", &found.path, e);
        let mut lines = Lines::open(&found.path).map_err(at)?;
        let (mut length, mut first_seq, mut last_seq) = (0, 0, 0);
        loop {
            let line = match lines.next_line() {
                Ok(Some(line)) => line,
                Ok(None) => break,
                // A damaged compression ends the segment like a torn line does.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof
                    ) =>
                {
                    break;
                }
                Err(error) => return Err(at(error).into()),
            };
            let seq = match found.kind {
                Kind::Urls => match serde_json::from_slice::<UrlLine>(line) {
                    Ok(url) => Some(self.url(url)?),
                    Err(_) => None,
                },
                Kind::Pages => match serde_json::from_slice::<PageLine>(line) {
                    Ok(page) => Some(self.page(page)?),
                    Err(_) => None,
                },
            };
            match seq {
                Some(seq) => {
                    length = lines.offset();
                    first_seq = if first_seq == 0 { seq } else { first_seq };
                    last_seq = last_seq.max(seq);
                }
                None => self.report.bad_lines += 1,
            }
            self.read += 1;
            if self.read.is_multiple_of(STEP) {
                (self.progress)(self.read);
            }
        }
        self.report.seq = self.report.seq.max(last_seq);
        let file = OutputFile {
            name: found.kind.name(found.number),
            committed_length: length,
            last_group_start: length,
            last_group_hash: String::new(),
            sealed,
        };
        let kind = found.kind.prefix().to_owned();
        self.writer.save_output(&OutputRow { kind, segment: found.number, file, first_seq, last_seq })?;
        Ok(())
    }

    fn url(&mut self, line: UrlLine) -> Result<CommitSeq, RebuildError> {
        if line.n <= self.last && self.writer.url(line.n)?.is_some() {
            return Ok(line.commit_seq);
        }
        if let Some(via) = line.via {
            self.slot(via).0 += 1;
        }
        let parked = line.parked.filter(|reason| !ordered::released(self.orders, *reason, line.commit_seq));
        let state = if parked.is_some() { UrlState::Parked } else { UrlState::Queued };
        let host = self.host(line.url.host_key())?;
        if line.parked.is_none() {
            self.budget(host, &line.url)?;
        }
        let row = UrlRow {
            n: line.n,
            host,
            path: line.url.path().to_owned(),
            state,
            kind: line.kind.unwrap_or(UrlKind::Page),
            depth: line.depth,
            hops: line.hops,
            via: line.via,
            turn: 0,
            attempts: 0,
            not_before: Timestamp::default(),
            seq: 0,
            detail: parked.map(|reason| reason.as_str().to_owned()),
        };
        self.writer.add_url(&row, &line.url.key())?;
        self.last = self.last.max(line.n);
        self.report.urls += 1;
        Ok(line.commit_seq)
    }

    fn page(&mut self, line: PageLine) -> Result<CommitSeq, RebuildError> {
        self.beside.visits += u64::from(line.attempt);
        self.beside.bytes += line.bytes.unwrap_or(0);
        self.beside.links_seen += line.links_found;
        self.epoch = self.epoch.max(line.epoch);
        let claimed = u32::try_from(line.links_added).unwrap_or(u32::MAX);
        let row = match self.writer.url(line.n)? {
            Some(row) => row,
            // Its URL record is lost; the page record says enough.
            None => {
                let (n, url, via, depth, seq) = (line.n, line.url.clone(), line.via, line.depth, line.commit_seq);
                let kind = Some(line.kind);
                self.url(UrlLine { n, url, via, depth, hops: 0, kind, parked: None, commit_seq: seq })?;
                self.writer.url(n)?.ok_or_else(|| StoreError::Bug {
                    path: self.writer.path().to_owned(),
                    message: "a row just written is not there".to_owned(),
                })?
            }
        };
        if line.commit_seq >= row.seq {
            // Only the newest record counts: it was written because the ones before could not be relied on.
            self.slot(line.n).1 = claimed;
            let (state, detail) = match line.outcome {
                OutcomeKind::Fetched => (UrlState::Fetched, None),
                OutcomeKind::Failed => (UrlState::Failed, line.failure_class.map(FailureClass::as_str)),
                OutcomeKind::Skipped => (UrlState::Skipped, line.skip_reason.map(SkipReason::as_str)),
            };
            if line.kind != row.kind {
                // It was taken for a page when it was found.
                self.writer.save_kind(&UrlRow { kind: line.kind, ..row.clone() })?;
            }
            let again = self.ordered_again(&line);
            let attempts = if again.is_some() { 0 } else { line.attempt };
            let turn = row.turn + u32::from(again.is_some());
            let detail = detail.filter(|_| again.is_none()).map(str::to_owned);
            let state = again.unwrap_or(state);
            self.writer.save_url(&UrlRow { state, detail, attempts, turn, seq: line.commit_seq, ..row })?;
            if state == UrlState::Suspect {
                self.writer.save_suspect(line.n, SuspectRow::default())?;
            }
        }
        Ok(line.commit_seq)
    }

    /// The state of a URL that the operator queued again after this record was written.
    fn ordered_again(&self, line: &PageLine) -> Option<UrlState> {
        let failed = line.failure_class.filter(|_| line.outcome == OutcomeKind::Failed);
        if failed.is_some_and(|class| ordered::retried(self.orders, class, line.commit_seq)) {
            return Some(UrlState::Queued);
        }
        let poison = line.outcome == OutcomeKind::Skipped && line.skip_reason == Some(SkipReason::Poison);
        let until = self.orders.poison_retried_until.filter(|_| poison)?;
        (line.commit_seq <= until).then_some(UrlState::Suspect)
    }

    /// Takes over what is known of suspects and hosts.
    fn remember(&mut self, remembered: &Remembered) -> Result<(), RebuildError> {
        for suspect in &remembered.suspects {
            let waits = |row: &UrlRow| matches!(row.state, UrlState::Queued | UrlState::Suspect);
            let Some(row) = self.writer.url(suspect.n)?.filter(waits) else { continue };
            self.writer.save_url(&UrlRow { state: UrlState::Suspect, ..row })?;
            let marks = SuspectRow { explained: suspect.crashes_explained, unexplained: suspect.crashes_unexplained };
            self.writer.save_suspect(suspect.n, marks)?;
        }
        for (key, no) in &self.hosts {
            let known = remembered.hosts.get(key).copied();
            let mut state = known.unwrap_or_default();
            if let Some((at, least)) = remembered.asked_last {
                let learned = Duration::from_millis(state.delay_ms.max(state.crawl_delay_ms.unwrap_or(0)));
                let pause = learned.max(least).min(LONGEST_PAUSE);
                state.next_at = if pause.is_zero() { state.next_at } else { state.next_at.max(at + pause) };
            }
            if known.is_some() || state != HostState::default() {
                self.writer.save_host_state(*no, &state)?;
            }
        }
        Ok(())
    }

    /// Queues again the pages that say they added more URL records than there are. URL records of pages
    /// without a record of their own will be claimed by the next one.
    fn requeue_incomplete(&mut self) -> Result<(), RebuildError> {
        for (n, (found, claimed)) in (1..).zip(&self.links) {
            if claimed > found
                && let Some(row) = self.writer.url(n)?
            {
                let row = UrlRow { state: UrlState::Queued, detail: None, attempts: 0, ..row };
                self.writer.save_url(&row)?;
                self.report.requeued += 1;
            } else if *claimed == 0 && *found > 0 && self.writer.url(n)?.is_some_and(|row| !row.state.ended()) {
                self.writer.add_partial(n, u64::from(*found))?;
            }
        }
        Ok(())
    }

    fn host(&mut self, key: &str) -> Result<HostNo, RebuildError> {
        if let Some(no) = self.hosts.get(key) {
            return Ok(*no);
        }
        let no = self.writer.add_host(key)?.no;
        self.hosts.insert(key.to_owned(), no);
        Ok(no)
    }

    fn budget(&mut self, host: HostNo, url: &CanonicalUrl) -> Result<(), RebuildError> {
        let shape = shape(url, &TrapConfig::default());
        let Some(template) = shape.template else { return Ok(()) };
        let mut row = match self.templates.get(&(host, template)) {
            Some(row) => *row,
            None => match self.writer.template(host, template)? {
                Some(row) => row,
                None => self.writer.add_template(host, template)?,
            },
        };
        row.urls += 1;
        if let Some(query) = shape.query
            && !self.writer.has_query(row.id, query)?
        {
            row.queries += 1;
            self.writer.add_query(row.id, query)?;
        }
        self.writer.save_template(&row)?;
        if self.templates.len() > CACHED {
            self.templates.clear();
        }
        self.templates.insert((host, template), row);
        Ok(())
    }

    fn slot(&mut self, n: UrlNo) -> &mut (u32, u32) {
        let at = usize::try_from(n.saturating_sub(1)).unwrap_or(0);
        // A damaged number must not make a giant of the table: numbers follow each other closely.
        let at = at.min(self.links.len() + (1 << 22));
        if at >= self.links.len() {
            self.links.resize(at + 1, (0, 0));
        }
        &mut self.links[at]
    }
}
