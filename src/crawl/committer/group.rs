//! What a group changes, row by row; everything happens inside the writer's transaction.

mod commands;
mod foresee;
mod held;
mod seen;
mod sitemaps;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::crawl::committer::batch::{Batch, Committed, LeaseWish};
use crate::crawl::committer::engine::Failure;
use crate::model::counters::Counters;
use crate::model::event::PageNote;
use crate::model::ids::{CommitSeq, Epoch, HostNo, UrlNo};
use crate::model::lease::{HostQueue, Lease, RedirectTarget, UrlKind, VisitEnd};
use crate::model::outcome::Outcome;
use crate::model::quick::QuickMap;
use crate::model::record::PageRecord;
use crate::model::task::ScopeSpec;
use crate::model::time::Timestamp;
use crate::model::url::CanonicalUrl;
use crate::output::files::FileName;
use crate::store::StoreError;
use crate::store::rows::{HostRow, SuspectRow, TemplateRow, UrlRow};
use crate::store::schema::UrlState;
use crate::store::writer::Writer;

type Result<T> = std::result::Result<T, Failure>;

/// Hosts and templates kept in memory at most; beyond that they are read again when needed.
const CACHED: usize = 50_000;

/// What the committer knows between groups without asking the store.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) seq: CommitSeq,
    pub(super) counters: Counters,
    /// Sitemaps among the fetched.
    pub(super) sitemaps: u64,
    next: UrlNo,
    hosts: QuickMap<HostNo, HostRow>,
    host_numbers: QuickMap<String, HostNo>,
    templates: QuickMap<(HostNo, u64), TemplateRow>,
    changed_hosts: BTreeSet<HostNo>,
    changed_templates: BTreeSet<(HostNo, u64)>,
    tallies: BTreeMap<(&'static str, String), i64>,
    foreseen: foresee::Foreseen,
    held: held::Held,
    rare: held::Rare,
    url_lines: Vec<u8>,
    page_lines: Vec<u8>,
    /// What of those lines is told once they are durable.
    pub(super) ended: Vec<(PageNote, Timestamp)>,
    /// Files of the group: passing name, name.
    named: Vec<(String, String)>,
    /// Passing names of files that no record names.
    unwanted: Vec<String>,
}

/// The part of the totals that a failed group takes back; the rest is read again.
pub(super) struct Light(CommitSeq, Counters, u64, UrlNo);

impl Totals {
    pub(super) fn read(writer: &Writer) -> std::result::Result<Self, StoreError> {
        let (seq, counters) = writer.counters()?;
        let (sitemaps, next) = (writer.sitemaps_fetched()?, writer.last_url()? + 1);
        Ok(Totals { seq, counters, sitemaps, next, rare: held::Rare::read(writer)?, ..Totals::default() })
    }

    pub(super) fn light(&self) -> Light {
        Light(self.seq, self.counters, self.sitemaps, self.next)
    }

    pub(super) fn restore(&mut self, light: Light) {
        let Light(seq, counters, sitemaps, next) = light;
        *self = Totals { seq, counters, sitemaps, next, ..Totals::default() };
    }
}

/// A group in the making.
pub(super) struct Group<'a> {
    writer: &'a Writer,
    totals: &'a mut Totals,
    scope: &'a ScopeSpec,
    epoch: Epoch,
    seq: CommitSeq,
}

impl<'a> Group<'a> {
    pub(super) fn new(writer: &'a Writer, totals: &'a mut Totals, scope: &'a ScopeSpec, epoch: Epoch) -> Self {
        let seq = totals.seq + 1;
        Group { writer, totals, scope, epoch, seq }
    }

    /// The lines for both outputs; the buffers are empty afterwards.
    pub(super) fn lines(&mut self) -> (Vec<u8>, Vec<u8>) {
        (std::mem::take(&mut self.totals.url_lines), std::mem::take(&mut self.totals.page_lines))
    }

    /// Files that get a name, as `(passing name, name)`, and those that get none; none are left afterwards.
    pub(super) fn files(&mut self) -> (Vec<(String, String)>, Vec<String>) {
        (std::mem::take(&mut self.totals.named), std::mem::take(&mut self.totals.unwanted))
    }

    /// Applies all of a batch but its wishes. Records are completed in place.
    pub(super) fn apply(&mut self, batch: &mut Batch) -> Result<Committed> {
        let mut answer = Committed {
            seq: self.seq,
            leases: Vec::new(),
            hosts: Vec::new(),
            counters: Counters::default(),
            sitemaps: 0,
            touched: 0,
            unfinished: Vec::new(),
            refused: Vec::new(),
            targets: Vec::new(),
            pages: Vec::new(),
            outputs: Vec::new(),
            latency: std::time::Duration::ZERO,
        };
        self.foresee(batch)?;
        for seed in &batch.seeds {
            self.add(seed, None)?;
        }
        for (lease, links) in &batch.links {
            let Some(row) = self.held(lease)? else {
                answer.refused.push(lease.no);
                continue;
            };
            self.totals.held.lease(row);
            let added = self.add_links(links, lease.no)?;
            if added > 0 {
                self.add_partial(lease.no, added)?;
            }
        }
        for end in &mut batch.ends {
            self.end(end, batch.now, &mut answer)?;
        }
        for op in &batch.ops {
            self.op(op, batch.now, &mut answer)?;
        }
        for update in &batch.hosts {
            let no = self.host(&update.host_key)?;
            self.writer.save_host_state(no, &update.state)?;
        }
        for (key, robots) in &batch.robots {
            self.writer.save_robots(key, robots)?;
        }
        Ok(answer)
    }

    fn end(&mut self, end: &mut VisitEnd, now: Timestamp, answer: &mut Committed) -> Result<()> {
        let Some(mut row) = self.held(end.lease())? else {
            answer.refused.push(end.lease().no);
            for record in end.records() {
                self.drop_files(record);
            }
            return Ok(());
        };
        self.read_anew(end, row.kind);
        match end {
            VisitEnd::Ended { outcome, record, links, target, .. } => {
                let mut added = self.take_partial(row.n)? + self.add_links(links, row.n)?;
                let target_end = match target {
                    Some(target) => self.target(target, row.n)?,
                    None => None,
                };
                added += u64::from(target_end.as_ref().is_some_and(|t| t.new));
                row.attempts += 1;
                self.totals.counters.visits += 1;
                self.finish_url(&mut row, *outcome, record, added)?;
                if let (Some(mut end), Some(target)) = (target_end, target.as_mut()) {
                    let Some(row) = end.row.as_mut() else {
                        self.drop_files(&target.record);
                        return Ok(());
                    };
                    let added = self.add_links(&target.links, row.n)?;
                    answer.targets.push(row.n);
                    row.attempts = row.attempts.max(target.record.attempt);
                    self.finish_url(row, Outcome::Fetched, &mut target.record, added)?;
                }
            }
            VisitEnd::Retry { lease, not_before, charged, suspect, crash_alone } => {
                self.totals.counters.visits += 1;
                row.attempts += u32::from(*charged);
                row.turn += 1;
                let suspect = *suspect || lease.suspect;
                if suspect {
                    let mut marks = self.suspect(row.n)?;
                    match crash_alone {
                        Some(true) => marks.explained += 1,
                        Some(false) => marks.unexplained += 1,
                        None => {}
                    }
                    self.save_suspect(row.n, marks)?;
                }
                let waits = if *not_before > now && !suspect { *not_before } else { Timestamp::default() };
                self.shift(&mut row, if suspect { UrlState::Suspect } else { UrlState::Queued }, waits, None)?;
            }
            VisitEnd::Released { lease } => {
                let to = if lease.suspect { UrlState::Suspect } else { UrlState::Queued };
                self.shift(&mut row, to, Timestamp::default(), None)?;
            }
        }
        Ok(())
    }

    /// Gives a URL its final outcome and its record.
    fn finish_url(&mut self, row: &mut UrlRow, outcome: Outcome, record: &mut PageRecord, added: u64) -> Result<()> {
        let (state, detail) = match outcome {
            Outcome::Fetched => (UrlState::Fetched, None),
            Outcome::Failed(class) => (UrlState::Failed, Some(class.as_str())),
            Outcome::Skipped(reason) => (UrlState::Skipped, Some(reason.as_str())),
        };
        record.n = row.n;
        record.commit_seq = self.seq;
        record.links_added = added;
        record.supersedes = (row.seq > 0).then_some(row.seq);
        self.totals.counters.bytes += record.bytes.unwrap_or(0);
        for file in &mut record.kept.files {
            let name = FileName { seq: self.seq, n: row.n, kind: file.kind };
            file.name = name.path().ok_or_else(|| Failure::Bug(format!("a file of kind {}", file.kind)))?;
            self.totals.named.push((file.passing.clone(), file.name.clone()));
        }
        line(&mut self.totals.page_lines, record)?;
        self.totals.ended.push(PageNote::of(record));
        row.seq = self.seq;
        self.shift(row, state, Timestamp::default(), detail)?;
        self.clear_suspect(row.n)
    }

    fn drop_files(&mut self, record: &PageRecord) {
        self.totals.unwanted.extend(record.kept.files.iter().map(|file| file.passing.clone()));
    }

    /// Makes a redirect's target known. Its row, unless it has ended or is in flight.
    fn target(&mut self, target: &RedirectTarget, source: UrlNo) -> Result<Option<TargetEnd>> {
        let (n, new) = self.add(&target.url, Some(source))?;
        let row = self.writer.url(n)?.filter(|row| !row.state.ended() && row.state != UrlState::InFlight);
        Ok(Some(TargetEnd { new, row }))
    }

    /// Moves a URL to another state and keeps every count in step.
    fn shift(&mut self, row: &mut UrlRow, to: UrlState, not_before: Timestamp, detail: Option<&str>) -> Result<()> {
        self.turn(row, to, not_before, detail)?;
        Ok(self.writer.save_url(row)?)
    }

    /// The same before anything is stored.
    fn turn(&mut self, row: &mut UrlRow, to: UrlState, not_before: Timestamp, detail: Option<&str>) -> Result<()> {
        self.count(row, -1)?;
        row.state = to;
        row.not_before = not_before;
        row.detail = detail.map(str::to_owned);
        self.count(row, 1)
    }

    /// Counts a URL into (`1`) or out of (`-1`) the state that its row says.
    fn count(&mut self, row: &UrlRow, by: i64) -> Result<()> {
        let counters = &mut self.totals.counters;
        let total = match row.state {
            UrlState::Queued | UrlState::Suspect => &mut counters.queued,
            UrlState::InFlight => &mut counters.in_flight,
            UrlState::Parked => &mut counters.parked,
            UrlState::Fetched => &mut counters.fetched,
            UrlState::Failed => &mut counters.failed,
            UrlState::Skipped => &mut counters.skipped,
        };
        step(total, by)?;
        let host = self.changed(row.host)?;
        match row.state {
            UrlState::Queued => {
                step(&mut host.queued, by)?;
                if row.delayed() {
                    step(&mut host.delayed, by)?;
                }
            }
            UrlState::Suspect => step(&mut host.suspects, by)?,
            UrlState::Parked => step(&mut host.parked, by)?,
            _ => {}
        }
        let kind = match row.state {
            UrlState::Failed => Some("failed"),
            UrlState::Skipped => Some("skipped"),
            UrlState::Parked => Some("parked"),
            _ => None,
        };
        if let (Some(kind), Some(detail)) = (kind, &row.detail) {
            self.tally(kind, detail, by);
        }
        if row.kind == UrlKind::Sitemap {
            self.count_sitemap(row.state, by);
        }
        Ok(())
    }

    fn tally(&mut self, kind: &'static str, reason: &str, by: i64) {
        *self.totals.tallies.entry((kind, reason.to_owned())).or_default() += by;
    }

    /// Takes leases for the wishes.
    pub(super) fn lease(&mut self, wishes: &[LeaseWish], now: Timestamp) -> Result<Vec<Lease>> {
        let mut leases = Vec::new();
        for wish in wishes {
            let host = self.changed(wish.host)?.clone();
            let waiting = if wish.suspects { host.suspects } else { host.queued };
            if waiting == 0 {
                continue;
            }
            let all_wait = !wish.suspects && host.queued == host.delayed;
            if all_wait && self.writer.earliest_retry(wish.host)?.is_some_and(|at| at > now) {
                continue;
            }
            let rows = if wish.suspects {
                self.writer.suspects(wish.host, wish.count)?
            } else {
                self.writer.due(wish.host, now, wish.count)?
            };
            for row in rows {
                leases.push(self.take(row, &host.key)?);
            }
        }
        Ok(leases)
    }

    fn take(&mut self, mut row: UrlRow, key: &str) -> Result<Lease> {
        let suspect = row.state == UrlState::Suspect;
        self.turn(&mut row, UrlState::InFlight, Timestamp::default(), None)?;
        self.writer.lease(row.n)?;
        let marks = if suspect { self.suspect(row.n)? } else { SuspectRow::default() };
        let lease = Lease {
            no: row.n,
            host: row.host,
            url: CanonicalUrl::from_parts(key, &row.path),
            kind: row.kind,
            depth: row.depth,
            hops: row.hops,
            via: row.via,
            attempt: row.attempts + 1,
            epoch: self.epoch,
            suspect,
            crashes: (marks.explained, marks.unexplained),
            supersedes: (row.seq > 0).then_some(row.seq),
        };
        self.totals.held.lease(row);
        Ok(lease)
    }

    /// Stores the counts that changed; answers the queues of the hosts concerned.
    pub(super) fn finish(&mut self) -> Result<Vec<HostQueue>> {
        let mut queues = Vec::new();
        for no in std::mem::take(&mut self.totals.changed_hosts) {
            let row = self.known(no)?.clone();
            self.writer.save_host(&row)?;
            let all_wait = row.queued > 0 && row.queued == row.delayed;
            let earliest_retry = if all_wait { self.writer.earliest_retry(no)? } else { None };
            queues.push(HostQueue { no, key: row.key, queued: row.queued, suspects: row.suspects, earliest_retry });
        }
        for key in std::mem::take(&mut self.totals.changed_templates) {
            if let Some(row) = self.totals.templates.get(&key) {
                self.writer.save_template(row)?;
            }
        }
        for ((kind, reason), by) in std::mem::take(&mut self.totals.tallies) {
            if by != 0 {
                self.writer.tally(kind, &reason, by)?;
            }
        }
        if self.totals.hosts.len() > CACHED {
            self.totals.hosts.clear();
            self.totals.host_numbers.clear();
        }
        self.totals.foreseen.trim();
        if self.totals.templates.len() > CACHED {
            self.totals.templates.clear();
        }
        Ok(queues)
    }
}

struct TargetEnd {
    new: bool,
    row: Option<UrlRow>,
}

/// Adds or subtracts one; a count below zero is a broken store, not a number.
fn step(count: &mut u64, by: i64) -> Result<()> {
    *count = count.checked_add_signed(by).ok_or_else(|| Failure::Bug("a count fell below zero".to_owned()))?;
    Ok(())
}

fn line(buffer: &mut Vec<u8>, record: &impl Serialize) -> Result<()> {
    serde_json::to_writer(&mut *buffer, record)
        .map_err(|e| Failure::Bug(format!("a record cannot be written: {e}")))?;
    buffer.push(b'\n');
    Ok(())
}
