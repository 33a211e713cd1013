//! What operators and recovery do to URLs that have ended or were leased.

use crate::crawl::committer::batch::{Committed, FAIL_HOST_BATCH, META_RELEASED, META_RETRIED, StoreOp};
use crate::model::ids::{CommitSeq, Epoch, HostNo};
use crate::model::lease::UrlKind;
use crate::model::outcome::{FailureClass, Outcome, ParkReason, SkipReason};
use crate::model::record::{PageRecord, UrlRecord};
use crate::model::time::Timestamp;
use crate::model::url::CanonicalUrl;
use crate::store::StoreError;
use crate::store::rows::{SuspectRow, UrlRow};
use crate::store::schema::UrlState;
use crate::store::writer::Writer;

use super::{Group, Result, line};

/// Rows that a command reads at once.
const COMMAND_ROWS: u32 = 1_000;
/// The same where no index lists them.
const SCANNED_ROWS: u32 = 50_000;

impl Group<'_> {
    pub(super) fn op(&mut self, op: &StoreOp, now: Timestamp, answer: &mut Committed) -> Result<()> {
        match op {
            StoreOp::SetMeta { key, value } => {
                self.writer.set_meta(key, value.as_deref())?;
                answer.touched += 1;
            }
            StoreOp::ReleaseParked { reason } => {
                let detail = reason.map(ParkReason::as_str);
                answer.touched +=
                    self.requeue(UrlState::Queued, |w| w.listed(UrlState::Parked, detail, COMMAND_ROWS))?;
                let reasons = ParkReason::ALL.iter().filter(|one| reason.is_none_or(|reason| reason == **one));
                self.remember(META_RELEASED, reasons.map(|reason| reason.as_str()))?;
            }
            StoreOp::RetryFailed { class, quarantined } => {
                let detail = class.map(FailureClass::as_str);
                answer.touched +=
                    self.requeue(UrlState::Queued, |w| w.listed(UrlState::Failed, detail, COMMAND_ROWS))?;
                let classes = FailureClass::ALL.iter().filter(|one| class.is_none_or(|class| class == **one));
                self.remember(META_RETRIED, classes.map(|class| class.as_str()))?;
                if *quarantined {
                    answer.touched += self.requeue(UrlState::Suspect, |w| w.poisoned(COMMAND_ROWS))?;
                    self.remember(META_RETRIED, [SkipReason::Poison.as_str()])?;
                }
            }
            StoreOp::JudgeAnew => {
                let left_out = Some(SkipReason::OutOfScope.as_str());
                answer.touched +=
                    self.requeue(UrlState::Queued, |w| w.listed(UrlState::Skipped, left_out, SCANNED_ROWS))?;
            }
            StoreOp::AskAgain { urls } => {
                for url in urls {
                    answer.touched += u64::from(self.ask_again(url)?);
                }
            }
            StoreOp::FailHost { host } => self.fail_host(*host, now, answer)?,
        }
        Ok(())
    }

    /// Remembers up to which commit an order was carried out: the outputs do not tell, and a store built from them
    /// must know.
    fn remember(&mut self, prefix: &str, words: impl IntoIterator<Item = &'static str>) -> Result<()> {
        for word in words {
            self.writer.set_meta(&format!("{prefix}{word}"), Some(&self.seq.to_string()))?;
        }
        Ok(())
    }

    /// Queues again everything that `list` finds until it finds nothing.
    fn requeue(
        &mut self,
        to: UrlState,
        list: impl Fn(&Writer) -> std::result::Result<Vec<UrlRow>, StoreError>,
    ) -> Result<u64> {
        let mut touched = 0;
        loop {
            let rows = list(self.writer)?;
            if rows.is_empty() {
                return Ok(touched);
            }
            for mut row in rows {
                row.attempts = 0;
                row.turn += u32::from(row.seq > 0);
                self.shift(&mut row, to, Timestamp::default(), None)?;
                if to == UrlState::Suspect {
                    self.save_suspect(row.n, SuspectRow::default())?;
                }
                touched += 1;
            }
        }
    }

    /// It keeps its turn: its old record is the better the sooner it is replaced.
    fn ask_again(&mut self, url: &CanonicalUrl) -> Result<bool> {
        let Some(host) = self.known_host(url.host_key())? else { return Ok(false) };
        let Some(n) = self.look(host, &url.key())? else { return Ok(false) };
        let fetched = |row: &UrlRow| row.state == UrlState::Fetched && row.kind == UrlKind::Page;
        let Some(mut row) = self.writer.url(n)?.filter(fetched) else { return Ok(false) };
        row.attempts = 0;
        self.shift(&mut row, UrlState::Queued, Timestamp::default(), None)?;
        Ok(true)
    }

    fn fail_host(&mut self, host: HostNo, now: Timestamp, answer: &mut Committed) -> Result<()> {
        let key = self.known(host)?.key.clone();
        let mut rows = self.writer.due(host, Timestamp::from_millis(i64::MAX), FAIL_HOST_BATCH)?;
        let room = FAIL_HOST_BATCH.saturating_sub(u32::try_from(rows.len()).unwrap_or(u32::MAX));
        rows.extend(self.writer.suspects(host, room)?);
        for mut row in rows {
            let url = CanonicalUrl::from_parts(&key, &row.path);
            let mut record = unreachable_record(&row, &url, self.epoch, now);
            let added = self.take_partial(row.n)?;
            self.finish_url(&mut row, Outcome::Failed(FailureClass::HostUnreachable), &mut record, added)?;
            answer.touched += 1;
        }
        let left = self.known(host)?;
        if left.queued + left.suspects > 0 {
            answer.unfinished.push(host);
        }
        Ok(())
    }

    /// Puts leased rows of a dead lifetime back; for opening.
    pub(in crate::crawl::committer) fn give_back(&mut self, mut row: UrlRow, marks: Option<SuspectRow>) -> Result<()> {
        let to = if marks.is_some() { UrlState::Suspect } else { UrlState::Queued };
        if let Some(marks) = marks {
            self.save_suspect(row.n, marks)?;
        }
        self.shift(&mut row, to, Timestamp::default(), None)
    }

    /// Queues an ended URL whose record was lost. `left` is what remains of it in the outputs: the commit
    /// of an earlier record (0: none), and URL records that no page record claims any more, which the
    /// next one will.
    pub(in crate::crawl::committer) fn lost(&mut self, mut row: UrlRow, left: (CommitSeq, u64)) -> Result<()> {
        row.seq = left.0;
        self.take_partial(row.n)?;
        if left.1 > 0 {
            self.add_partial(row.n, left.1)?;
        }
        if !row.state.ended() {
            return Ok(self.writer.save_url(&row)?);
        }
        row.attempts = 0;
        self.shift(&mut row, UrlState::Queued, Timestamp::default(), None)
    }

    /// Writes the record of a known URL again.
    pub(in crate::crawl::committer) fn rewrite(&mut self, row: &UrlRow, url: &CanonicalUrl) -> Result<()> {
        let parked = match row.state {
            UrlState::Parked => row.detail.as_deref().and_then(ParkReason::parse),
            _ => None,
        };
        let kind = (row.kind != UrlKind::Page).then_some(row.kind);
        let (n, via, depth, hops) = (row.n, row.via, row.depth, row.hops);
        let url = url.as_str().to_owned();
        line(&mut self.totals.url_lines, &UrlRecord { n, url, via, depth, hops, kind, parked, commit_seq: self.seq })
    }
}

fn unreachable_record(row: &UrlRow, url: &CanonicalUrl, epoch: Epoch, now: Timestamp) -> PageRecord {
    PageRecord {
        n: row.n,
        kind: row.kind,
        depth: row.depth,
        via: row.via,
        attempt: row.attempts.max(1),
        epoch,
        error: Some("the host was out of reach for too long; `crawld retry-failed` queues it again".to_owned()),
        ..PageRecord::new(url, Outcome::Failed(FailureClass::HostUnreachable), now)
    }
}
