//! Reads every output record and compares it with the store: the proof of promises 1 and 3.

mod files;

use std::collections::HashSet;

use serde::Deserialize;

use crate::crawl::committer::StorePaths;
use crate::model::counters::Counters;
use crate::model::ids::{CommitSeq, UrlNo};
use crate::model::outcome::OutcomeKind;
use crate::model::url::CanonicalUrl;
use crate::output::lines::Lines;
use crate::output::segments;
use crate::output::{Kind, OutputError, cut};
use crate::store::StoreError;
use crate::store::reader::Reader;
use crate::store::rows::OutputRow;
use crate::store::schema::{META_LOST, UrlState};

/// Problems that are told one by one; the rest is only counted.
const TOLD: usize = 100;
/// Rows read at once.
const ROWS: usize = 10_000;

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// The commit that was verified.
    pub seq: CommitSeq,
    /// Totals as stored.
    pub counters: Counters,
    /// URL records read.
    pub url_records: u64,
    /// Page records read.
    pub page_records: u64,
    /// Page records that a later one supersedes.
    pub superseded: u64,
    /// Files beside the records, read and compared.
    pub files: u64,
    /// Problems in sentences, the first hundred.
    pub problems: Vec<String>,
    /// Problems in all.
    pub problem_count: u64,
}

impl VerifyReport {
    /// Whether everything is as promised.
    pub fn sound(&self) -> bool {
        self.problem_count == 0
    }

    fn problem(&mut self, text: impl FnOnce() -> String) {
        self.problem_count += 1;
        if self.problems.len() < TOLD {
            self.problems.push(text());
        }
    }
}

/// Why a verification could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// An output cannot be read.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Deserialize)]
struct UrlLine {
    n: UrlNo,
    url: CanonicalUrl,
    via: Option<UrlNo>,
    depth: u32,
    commit_seq: CommitSeq,
}

#[derive(Deserialize)]
struct PageLine {
    n: UrlNo,
    outcome: OutcomeKind,
    links_added: u64,
    supersedes: Option<CommitSeq>,
    commit_seq: CommitSeq,
    #[serde(default)]
    files: Vec<files::FileLine>,
}

/// What is kept in memory of a URL: 24 bytes.
#[derive(Clone, Copy)]
struct Known {
    seq: CommitSeq,
    links: u32,
    claimed: u32,
    state: u8,
    url_record: bool,
    live_record: bool,
}

/// Verifies outputs against a store, as of its last commit; the session may be running. Changes nothing.
///
/// # Errors
/// See [`VerifyError`]; what is wrong with the data is in the report, not an error.
pub fn verify(paths: &StorePaths) -> Result<VerifyReport, VerifyError> {
    let reader = Reader::open(&paths.db)?;
    let mut failed = None;
    let report = reader.snapshot(|reader| {
        let mut report = VerifyReport::default();
        match check(reader, paths, &mut report) {
            Ok(()) => {}
            Err(VerifyError::Store(error)) => return Err(error),
            Err(error) => failed = Some(error),
        }
        Ok(report)
    })?;
    failed.map_or(Ok(report), Err)
}

fn check(reader: &Reader, paths: &StorePaths, report: &mut VerifyReport) -> Result<(), VerifyError> {
    (report.seq, report.counters) = reader.counters()?;
    if let Some(complaint) = reader.complaint(false)? {
        report.problem(|| format!("the store: {complaint}"));
    }
    let outputs = reader.outputs()?;
    let mut known = Vec::new();
    load(reader, report, &mut known)?;
    urls(reader, paths, &outputs, report, &mut known)?;
    let repaired = reader.meta()?.contains_key(META_LOST);
    pages(paths, &outputs, report, &mut known, repaired)?;
    for (n, url) in (1u64..).zip(&known) {
        if !url.url_record {
            report.problem(|| format!("URL {n} has no URL record"));
        }
        let ended = UrlState::ALL.get(usize::from(url.state)).is_some_and(|s| s.ended());
        if ended && !url.live_record {
            report.problem(|| format!("URL {n} has ended without a page record of commit {}", url.seq));
        }
        if url.links < url.claimed {
            report.problem(|| format!("URL {n} added {} URL records, {} are there", url.claimed, url.links));
        }
    }
    Ok(())
}

/// Reads states from the store and checks numbering, counters and balance.
fn load(reader: &Reader, report: &mut VerifyReport, known: &mut Vec<Known>) -> Result<(), VerifyError> {
    let mut found = [0u64; 7];
    loop {
        let views = reader.states(known.len() as u64 + 1, ROWS)?;
        if views.is_empty() {
            break;
        }
        for (n, state, seq) in views {
            if n != known.len() as u64 + 1 {
                report.problem(|| format!("the store's numbers leap to {n}"));
            }
            let blank = Known { seq: 0, links: 0, claimed: 0, state: 0, url_record: true, live_record: true };
            while (known.len() as u64) + 1 < n {
                known.push(blank);
            }
            found[state as usize] += 1;
            known.push(Known { seq, links: 0, claimed: 0, state: state as u8, url_record: false, live_record: false });
        }
    }
    let c = report.counters;
    let real = Counters {
        discovered: found.iter().sum(),
        queued: found[0] + found[1],
        in_flight: found[2],
        parked: found[3],
        fetched: found[4],
        failed: found[5],
        skipped: found[6],
        ..c
    };
    if real != c {
        report.problem(|| format!("the counters say {c:?}, the rows say {real:?}"));
    }
    if !c.balanced() {
        report.problem(|| format!("the counters do not balance: {c:?}"));
    }
    Ok(())
}

fn urls(
    reader: &Reader,
    paths: &StorePaths,
    outputs: &[OutputRow],
    report: &mut VerifyReport,
    known: &mut [Known],
) -> Result<(), VerifyError> {
    let mut rows = Vec::new().into_iter().peekable();
    each::<UrlLine>(paths, outputs, Kind::Urls, report, |line, report| {
        report.url_records += 1;
        if line.commit_seq > report.seq {
            report.problem(|| format!("URL record {} is of commit {}, which is not yet", line.n, line.commit_seq));
        }
        if let Some(source) = line.via.and_then(|via| slot(known, via)) {
            source.links += 1;
        }
        match slot(known, line.n) {
            Some(url) if !url.url_record => url.url_record = true,
            Some(_) => report.problem(|| format!("URL {} has two URL records", line.n)),
            None => report.problem(|| format!("URL record {} is unknown to the store", line.n)),
        }
        while rows.next_if(|view: &crate::store::reader::UrlView| view.row.n < line.n).is_some() {}
        if rows.peek().is_none_or(|view| view.row.n != line.n) {
            rows = reader.page(line.n, ROWS)?.into_iter().peekable();
        }
        let same = rows
            .peek()
            .is_some_and(|view| view.url == line.url && view.row.via == line.via && view.row.depth == line.depth);
        if !same {
            report.problem(|| format!("URL record {} differs from the store: {}", line.n, line.url));
        }
        Ok(())
    })
}

fn pages(
    paths: &StorePaths,
    outputs: &[OutputRow],
    report: &mut VerifyReport,
    known: &mut [Known],
    repaired: bool,
) -> Result<(), VerifyError> {
    // Records that are not the newest of their URL, and those that some record says it supersedes.
    let mut old = HashSet::new();
    let mut superseded = HashSet::new();
    let mut named = files::Named::default();
    each::<PageLine>(paths, outputs, Kind::Pages, report, |line, report| {
        report.page_records += 1;
        named.check(&paths.out, (line.n, line.commit_seq), &line.files, report);
        if let Some(seq) = line.supersedes {
            superseded.insert((line.n, seq));
        }
        let Some(url) = slot(known, line.n) else {
            report.problem(|| format!("page record {} is unknown to the store", line.n));
            return Ok(());
        };
        if line.commit_seq != url.seq {
            if !old.insert((line.n, line.commit_seq)) {
                report.problem(|| format!("URL {} has two page records of commit {}", line.n, line.commit_seq));
            }
            return Ok(());
        }
        if url.live_record {
            report.problem(|| format!("URL {} has two page records of commit {}", line.n, line.commit_seq));
        }
        url.live_record = true;
        url.claimed = u32::try_from(line.links_added).unwrap_or(u32::MAX);
        let said = match line.outcome {
            OutcomeKind::Fetched => UrlState::Fetched,
            OutcomeKind::Failed => UrlState::Failed,
            OutcomeKind::Skipped => UrlState::Skipped,
        };
        let state = UrlState::ALL[usize::from(url.state)];
        if state.ended() && state != said {
            report.problem(|| format!("URL {} is {state:?} in the store, {said:?} in its record", line.n));
        }
        Ok(())
    })?;
    named.look_for_others(&paths.out, report)?;
    report.superseded = old.len() as u64;
    for (n, seq) in old.difference(&superseded) {
        report.problem(|| format!("URL {n}: the record of commit {seq} is not the newest and nothing supersedes it"));
    }
    let dangling = superseded.iter().filter(|(n, seq)| !old.contains(&(*n, *seq))).count() as u64;
    // A repair may have lost records that later ones, which are there, supersede.
    if dangling > 0 && !repaired {
        report.problem(|| format!("{dangling} superseded records are not there"));
    }
    Ok(())
}

/// Reads every committed line of a kind, and checks lengths and last groups on the way.
fn each<T: for<'de> Deserialize<'de>>(
    paths: &StorePaths,
    outputs: &[OutputRow],
    kind: Kind,
    report: &mut VerifyReport,
    mut take: impl FnMut(T, &mut VerifyReport) -> Result<(), VerifyError>,
) -> Result<(), VerifyError> {
    let found = segments::list(&paths.out, kind).map_err(|e| OutputError::at("list", &paths.out, e))?;
    for row in outputs.iter().filter(|row| row.kind == kind.prefix()) {
        let Some(segment) = found.iter().find(|f| f.number == row.segment) else {
            report.problem(|| format!("`{}` is gone", row.file.name));
            continue;
        };
        let plain = segment.path.extension().is_none_or(|e| e != "gz");
        if plain && !matches!(cut::group_matches(&segment.path, &row.file), Ok(true)) {
            report.problem(|| format!("`{}` is shorter than committed, or its last group differs", row.file.name));
        }
        let at = |e| OutputError::at("read", &segment.path, e);
        let mut lines = Lines::open(&segment.path).map_err(at)?;
        while lines.offset() < row.file.committed_length {
            let record = match lines.next_line() {
                Ok(Some(line)) => serde_json::from_slice::<T>(line),
                Ok(None) => break,
                Err(error) => {
                    report.problem(|| format!("`{}`: {error}", row.file.name));
                    break;
                }
            };
            match record {
                Ok(record) => take(record, report)?,
                Err(error) => {
                    let offset = lines.offset();
                    report.problem(|| format!("`{}`, line ending at byte {offset}: {error}", row.file.name));
                }
            }
        }
        if lines.offset() != row.file.committed_length {
            let length = row.file.committed_length;
            report.problem(|| format!("`{}` has {} bytes of {length} committed", row.file.name, lines.offset()));
        }
    }
    Ok(())
}

fn slot(known: &mut [Known], n: UrlNo) -> Option<&mut Known> {
    known.get_mut(usize::try_from(n.checked_sub(1)?).ok()?)
}
