//! Bringing the outputs to what the store has committed, and the store to what the outputs still hold.

use std::collections::{HashMap, HashSet};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::crawl::committer::disk::Outputs;
use crate::crawl::committer::engine::Engine;
use crate::crawl::committer::group::Group;
use crate::crawl::committer::open::{OpenError, OpenReport, OpenSession};
use crate::crawl::committer::stray;
use crate::faults;
use crate::model::ids::{CommitSeq, Epoch, UrlNo};
use crate::model::record::UrlRecord;
use crate::output::files::Placer;
use crate::output::lines::Lines;
use crate::output::segments::{self, Found};
use crate::output::{Kind, OutputError, Sink, cut};
use crate::store::StoreError;
use crate::store::reader::Reader;
use crate::store::rows::{OutputRow, UrlRow};
use crate::store::schema::META_LOST;
use crate::store::writer::Writer;

/// URL rows read at once.
const REWRITE: usize = 10_000;

/// Cuts tails, sets foreign files aside, repairs damage. Answers an engine ready for the first group.
pub(super) fn outputs(
    open: &OpenSession,
    writer: Writer,
    reader: &Reader,
    epoch: Epoch,
    report: &mut OpenReport,
) -> Result<Engine, OpenError> {
    let rows = reader.outputs()?;
    let mut damaged = Vec::new();
    for kind in Kind::ALL {
        let mine: Vec<&OutputRow> = rows.iter().filter(|row| row.kind == kind.prefix()).collect();
        let at = |e| OutputError::at("list", &open.paths.out, e);
        // Opened for writing, a pipe without a reader would wait for one for ever.
        for odd in segments::no_files(&open.paths.out, kind).map_err(at)? {
            report.foreign_files.push(odd.display().to_string());
            cut::set_aside(&odd, &open.paths.quarantine)?;
        }
        let found = segments::list(&open.paths.out, kind).map_err(at)?;
        for foreign in found.iter().filter(|f| mine.iter().all(|row| row.segment != f.number)) {
            report.foreign_files.push(foreign.path.display().to_string());
            cut::set_aside(&foreign.path, &open.paths.quarantine)?;
        }
        for row in mine {
            let file = found.iter().find(|f| f.number == row.segment);
            match judge(row, file)? {
                Verdict::Good => {}
                Verdict::Longer(path) => {
                    report.cut_bytes += cut::truncate_to(&path, row.file.committed_length, &open.paths.quarantine)?;
                }
                Verdict::Damaged => damaged.push((kind, row.clone(), file.cloned())),
            }
        }
    }
    let mut rows = rows;
    let mut lost_pages = Vec::new();
    let mut lost_urls: Vec<(u32, UrlNo)> = Vec::new();
    for (kind, row, found) in damaged {
        report.damaged_files.push(row.file.name.clone());
        warn!(file = %row.file.name, "an output is shorter than committed or differs: repairing");
        let kept = salvage(open, kind, &row, found.as_ref())?;
        if let Some(fixed) = rows.iter_mut().find(|r| r.kind == row.kind && r.segment == row.segment) {
            fixed.file.committed_length = kept.length;
            fixed.file.last_group_start = kept.length;
            fixed.file.last_group_hash = String::new();
        }
        match kind {
            Kind::Pages => lost_pages.push((row.first_seq, row.last_seq, kept.pages)),
            Kind::Urls => lost_urls.push((row.segment, kept.next_url)),
        }
    }
    let sink = |kind: Kind| {
        let last = rows.iter().rfind(|row| row.kind == kind.prefix());
        Sink::new(&open.paths.out, kind, open.segment_bytes, last.map(|row| (row.segment, &row.file)))
    };
    let (urls, pages) = (sink(Kind::Urls), sink(Kind::Pages));
    let outputs = Outputs { urls, pages, files: Placer::new(&open.paths.out) };
    let mut engine = Engine::new(writer, outputs, epoch, open.scope.clone())?;
    if !report.damaged_files.is_empty() {
        let last = engine.writer.last_url()?;
        let ranges = lost_ranges(open, &lost_urls, last)?;
        // Before the repair is committed: cut short, it is begun again.
        stray::of_lost_records(&open.paths, report)?;
        repair(&mut engine, open, reader, &rows, &lost_pages, &ranges, report)?;
    }
    Ok(engine)
}

enum Verdict {
    Good,
    Longer(PathBuf),
    Damaged,
}

/// Compares a file with what was committed of it.
fn judge(row: &OutputRow, found: Option<&Found>) -> Result<Verdict, OpenError> {
    let Some(found) = found else { return Ok(Verdict::Damaged) };
    if found.path.extension().is_some_and(|e| e == "gz") {
        // Written whole under another name before it was renamed; `verify` reads it.
        return Ok(Verdict::Good);
    }
    let at = |e| OutputError::at("read", &found.path, e);
    match cut::group_matches(&found.path, &row.file) {
        Ok(true) => {
            let length = found.path.metadata().map_err(at)?.len();
            let longer = length > row.file.committed_length;
            Ok(if longer { Verdict::Longer(found.path.clone()) } else { Verdict::Good })
        }
        Ok(false) => Ok(Verdict::Damaged),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Verdict::Damaged),
        Err(error) => Err(at(error).into()),
    }
}

/// What is left of a damaged segment.
#[derive(Default)]
struct Kept {
    length: u64,
    pages: HashSet<(UrlNo, CommitSeq)>,
    next_url: UrlNo,
}

/// Cuts a damaged segment behind its last good line; an absent one is made again, empty.
fn salvage(open: &OpenSession, kind: Kind, row: &OutputRow, found: Option<&Found>) -> Result<Kept, OpenError> {
    let plain = open.paths.out.join(&row.file.name);
    let Some(found) = found else {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&plain)
            .and_then(|file| file.sync_all())
            .map_err(|e| OutputError::at("create", &plain, e))?;
        crate::output::sync_dir(&open.paths.out)?;
        return Ok(Kept { next_url: first_number(open, row.segment)?, ..Kept::default() });
    };
    let at = |e| OutputError::at("read", &found.path, e);
    // Where the length is right but the bytes are not, the last group is not believed, however it reads.
    let long = found.path.metadata().map_err(at)?.len() >= row.file.committed_length;
    let limit = if long { row.file.last_group_start } else { row.file.committed_length };
    let mut kept = Kept { next_url: first_number(open, row.segment)?, ..Kept::default() };
    let mut lines = Lines::open(&found.path).map_err(at)?;
    while let Some(line) = lines.next_line().map_err(at)? {
        let record = match kind {
            Kind::Pages => serde_json::from_slice::<PageHead>(line).ok().map(|head| (head.n, head.commit_seq)),
            Kind::Urls => serde_json::from_slice::<UrlRecord>(line).ok().map(|record| (record.n, record.commit_seq)),
        };
        let Some(record) = record.filter(|_| lines.offset() <= limit) else { break };
        kept.length = lines.offset();
        match kind {
            Kind::Pages => drop(kept.pages.insert(record)),
            Kind::Urls => kept.next_url = record.0 + 1,
        }
    }
    cut::truncate_to(&found.path, kept.length, &open.paths.quarantine)?;
    Ok(kept)
}

/// First and last commit of a damaged segment, and the records that it still holds.
type LostPages = (CommitSeq, CommitSeq, HashSet<(UrlNo, CommitSeq)>);

/// The parts of a page record that tell which one it is.
#[derive(serde::Deserialize)]
struct PageHead {
    n: UrlNo,
    commit_seq: CommitSeq,
    links_added: u64,
}

/// The number that follows the last URL record before a segment.
fn first_number(open: &OpenSession, segment: u32) -> Result<UrlNo, OpenError> {
    let found = segments::list(&open.paths.out, Kind::Urls).map_err(|e| OutputError::at("list", &open.paths.out, e))?;
    let Some(before) = found.iter().rev().find(|f| f.number < segment) else { return Ok(1) };
    last_number(&before.path).map(|n| n + 1)
}

fn last_number(path: &Path) -> Result<UrlNo, OpenError> {
    let at = |e| OutputError::at("read", path, e);
    let mut lines = Lines::open(path).map_err(at)?;
    let mut last = 0;
    while let Some(line) = lines.next_line().map_err(at)? {
        last = serde_json::from_slice::<UrlRecord>(line).map_or(last, |record| record.n);
    }
    Ok(last)
}

/// Queues again what lost its page record, writes lost URL records again, and commits both.
fn repair(
    engine: &mut Engine,
    open: &OpenSession,
    reader: &Reader,
    rows: &[OutputRow],
    lost_pages: &[LostPages],
    ranges: &[(UrlNo, UrlNo)],
    report: &mut OpenReport,
) -> Result<(), OpenError> {
    engine.writer.begin()?;
    let mut group = Group::new(&engine.writer, &mut engine.totals, &open.scope, engine.epoch);
    let mut lost = Vec::new();
    for (from, to, kept) in lost_pages {
        let recorded = engine.writer.recorded_between(*from, *to)?;
        lost.extend(recorded.into_iter().filter(|row| !kept.contains(&(row.n, row.seq))));
    }
    let mut left = what_is_left(&engine.writer, open, &lost)?;
    for row in lost {
        report.lost_records += u64::from(row.state.ended());
        let left = left.remove(&row.n).unwrap_or_default();
        group.lost(row, left)?;
    }
    for row in rows {
        engine.writer.save_output(row)?;
    }
    let known: u64 = reader.meta()?.get(META_LOST).and_then(|v| v.parse().ok()).unwrap_or(0);
    engine.writer.set_meta(META_LOST, Some(&(known + report.lost_records).to_string()))?;
    for (from, to) in ranges {
        let mut next = *from;
        while next <= *to {
            let room = usize::try_from(to - next + 1).unwrap_or(usize::MAX).min(REWRITE);
            let views = reader.page(next, room)?;
            let Some(last) = views.last().map(|view| view.row.n) else { break };
            for view in views.iter().filter(|view| view.row.n <= *to) {
                group.rewrite(&view.row, &view.url)?;
                report.rewritten_urls += 1;
            }
            next = last + 1;
        }
    }
    let (url_lines, _) = group.lines();
    group.finish()?;
    engine.disk.outputs().urls.append(&url_lines)?;
    engine.disk.outputs().urls.sync()?;
    engine.save(None)?;
    faults::point("store.before_commit").map_err(|e| StoreError::system(engine.writer.path(), &e))?;
    engine.writer.commit()?;
    engine.disk.outputs().urls.settle();
    Ok(())
}

/// Of each URL that lost its record: the commit of the newest record that the outputs still hold, and
/// how many URL records name it that no remaining record claims.
fn what_is_left(
    writer: &Writer,
    open: &OpenSession,
    lost: &[UrlRow],
) -> Result<HashMap<UrlNo, (CommitSeq, u64)>, OpenError> {
    let mut left: HashMap<UrlNo, (CommitSeq, u64)> = lost.iter().map(|row| (row.n, (0, 0))).collect();
    if left.is_empty() {
        return Ok(left);
    }
    writer.each_parent(|n, found| {
        if let Some(left) = left.get_mut(&n) {
            left.1 = found;
        }
    })?;
    let found =
        segments::list(&open.paths.out, Kind::Pages).map_err(|e| OutputError::at("list", &open.paths.out, e))?;
    for segment in found {
        let at = |e| OutputError::at("read", &segment.path, e);
        let mut lines = Lines::open(&segment.path).map_err(at)?;
        while let Some(line) = lines.next_line().map_err(at)? {
            let Ok(head) = serde_json::from_slice::<PageHead>(line) else { continue };
            if let Some(left) = left.get_mut(&head.n) {
                left.0 = left.0.max(head.commit_seq);
                left.1 = left.1.saturating_sub(head.links_added);
            }
        }
    }
    Ok(left)
}

/// Which numbers have no URL record any more: from each cut to where the next segment goes on.
fn lost_ranges(open: &OpenSession, cuts: &[(u32, UrlNo)], last: UrlNo) -> Result<Vec<(UrlNo, UrlNo)>, OpenError> {
    let found = segments::list(&open.paths.out, Kind::Urls).map_err(|e| OutputError::at("list", &open.paths.out, e))?;
    let mut ranges = Vec::new();
    let mut covered = 0;
    for (segment, from) in cuts {
        let mut to = last;
        for later in found.iter().filter(|f| f.number > *segment) {
            let at = |e| OutputError::at("read", &later.path, e);
            let mut lines = Lines::open(&later.path).map_err(at)?;
            let first = lines.next_line().map_err(at)?.and_then(|l| serde_json::from_slice::<UrlRecord>(l).ok());
            if let Some(first) = first {
                to = first.n.saturating_sub(1);
                break;
            }
        }
        let from = (*from).max(covered + 1);
        if from <= to {
            ranges.push((from, to));
            covered = to;
        }
    }
    Ok(ranges)
}
