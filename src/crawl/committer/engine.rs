//! One group at a time, from batches to durability, or back to where it was.

use tracing::warn;

use crate::clock::Clock;
use crate::crawl::committer::batch::{Batch, CommitError, Committed};
use crate::crawl::committer::disk::{Disk, Lines, Outputs};
use crate::crawl::committer::group::{Group, Totals};
use crate::faults;
use crate::model::ids::Epoch;
use crate::model::lease::HostQueue;
use crate::model::task::ScopeSpec;
use crate::model::time::Timestamp;
use crate::output::{Kind, OutputError};
use crate::store::StoreError;
use crate::store::rows::OutputRow;
use crate::store::schema::META_CLEAN;
use crate::store::writer::Writer;
use crate::store::{db, migrate};

/// Why a group was not committed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Bug(String),
    #[error("the committer has failed before")]
    Closed,
}

impl Failure {
    /// Whether freeing space cures it.
    pub(super) fn is_no_space(&self) -> bool {
        match self {
            Failure::Output(error) => error.is_no_space(),
            Failure::Store(error) => matches!(error, StoreError::Full { .. }),
            Failure::Bug(_) | Failure::Closed => false,
        }
    }

    /// As one caller is told, with its batch where that can be sent again.
    pub(super) fn for_batch(&self, batch: Box<Batch>) -> CommitError {
        let message = self.to_string();
        match self {
            _ if self.is_no_space() => CommitError::NoSpace { batch, message },
            Failure::Store(StoreError::Corrupt { path, message }) => {
                CommitError::Corrupt { path: path.clone(), message: message.clone() }
            }
            Failure::Store(StoreError::Bug { .. }) | Failure::Bug(_) => CommitError::Bug { message },
            Failure::Closed => CommitError::Closed,
            Failure::Output(_) | Failure::Store(_) => CommitError::Io { message },
        }
    }
}

/// The write side of a session: store and outputs.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) writer: Writer,
    pub(super) disk: Disk,
    pub(super) epoch: Epoch,
    pub(super) scope: ScopeSpec,
    pub(super) totals: Totals,
    /// A segment that the last commit finished and that is to be compressed.
    pub(super) finished: Vec<String>,
    /// The files failed: nothing more is accepted.
    broken: bool,
}

impl Engine {
    pub(super) fn new(writer: Writer, outputs: Outputs, epoch: Epoch, scope: ScopeSpec) -> Result<Self, StoreError> {
        let totals = Totals::read(&writer)?;
        let disk = Disk::new(outputs);
        Ok(Engine { writer, disk, epoch, scope, totals, finished: Vec::new(), broken: false })
    }

    /// Makes the batches durable as one; answers stand in their order.
    pub(super) fn commit(&mut self, batches: &mut [Box<Batch>]) -> Result<Vec<Committed>, Failure> {
        if self.broken {
            return Err(Failure::Closed);
        }
        let before = self.totals.light();
        let result = self.try_commit(batches);
        if let Err(failure) = &result {
            self.undo(failure);
            self.totals.restore(before);
        }
        result
    }

    fn try_commit(&mut self, batches: &mut [Box<Batch>]) -> Result<Vec<Committed>, Failure> {
        self.point("store.before_insert")?;
        self.writer.begin()?;
        let mut group = Group::new(&self.writer, &mut self.totals, &self.scope, self.epoch);
        let mut answers = Vec::with_capacity(batches.len());
        for batch in batches.iter_mut() {
            answers.push(group.apply(batch)?);
        }
        let (urls, pages) = group.lines();
        let (named, unwanted) = group.files();
        self.point("store.after_insert")?;
        let mut group = Group::new(&self.writer, &mut self.totals, &self.scope, self.epoch);
        // The transaction stays open until both are done.
        let lease = || lease(&mut group, batches, &mut answers);
        let (written, leased) = self.disk.write(Lines { urls, pages, named }, lease);
        written?;
        let (first_lease, hosts) = leased?;
        self.save(first_lease)?;
        self.point("store.before_commit")?;
        self.writer.commit()?;
        // Only a kill is meant here: the group is durable, whatever else is said.
        let _ = faults::point("store.after_commit");
        self.disk.outputs().files.settle(&unwanted);
        self.settle(&mut answers, &hosts);
        Ok(answers)
    }

    /// Everything that is written once a group.
    pub(super) fn save(&mut self, first_lease: Option<Timestamp>) -> Result<(), Failure> {
        let totals = &mut self.totals;
        totals.seq += 1;
        if !totals.counters.balanced() {
            debug_assert!(false, "unbalanced counters: {:?}", totals.counters);
            return Err(Failure::Bug(format!("the counters do not balance: {:?}", totals.counters)));
        }
        let seq = totals.seq;
        let outputs = self.disk.outputs();
        for (kind, sink) in [(Kind::Urls, &outputs.urls), (Kind::Pages, &outputs.pages)] {
            if let Some(finished) = sink.finished() {
                let (_, segment, _) = Kind::parse(&finished.name).expect("a sink names its files so");
                self.writer.seal_output(kind.prefix(), segment)?;
            }
            if let (true, Some(file)) = (sink.has_group(), sink.mark()) {
                let kind = kind.prefix().to_owned();
                let row = OutputRow { kind, segment: sink.segment(), file, first_seq: seq, last_seq: seq };
                self.writer.save_output(&row)?;
            }
        }
        self.writer.save_counters(seq, &self.totals.counters)?;
        self.writer.epoch_commit(self.epoch, seq, first_lease)?;
        self.writer.fold_keys()?;
        Ok(())
    }

    fn settle(&mut self, answers: &mut [Committed], hosts: &[HostQueue]) {
        let mut out = self.disk.outputs();
        let sealed: Vec<_> = [out.urls.finished(), out.pages.finished()].into_iter().flatten().collect();
        self.finished.extend(out.urls.finished().map(|file| file.name));
        out.urls.settle();
        out.pages.settle();
        let mut outputs = sealed;
        outputs.extend([out.urls.mark(), out.pages.mark()].into_iter().flatten());
        if let Some(first) = answers.first_mut() {
            first.pages = std::mem::take(&mut self.totals.ended);
        }
        for answer in answers {
            answer.seq = self.totals.seq;
            answer.counters = self.totals.counters;
            answer.sitemaps = self.totals.sitemaps;
            answer.hosts = hosts.to_vec();
            answer.outputs = outputs.clone();
        }
    }

    /// Takes a failed group back. After an I/O error nothing is touched any more: whether the commit
    /// reached the disk is unknown, and the next opening finds out.
    fn undo(&mut self, failure: &Failure) {
        if let Err(error) = self.writer.roll_back() {
            warn!(%error, "the failed transaction could not be taken back");
            self.broken = true;
        }
        let curable =
            failure.is_no_space() || matches!(failure, Failure::Bug(_) | Failure::Store(StoreError::Bug { .. }));
        if !curable {
            self.broken = true;
            return;
        }
        let mut outputs = self.disk.outputs();
        let Outputs { urls, pages, files } = &mut *outputs;
        for sink in [urls, pages] {
            if let Err(error) = sink.roll_back() {
                warn!(%error, "the failed group could not be cut off; the next opening does it");
                self.broken = true;
            }
        }
        if let Err(error) = files.roll_back() {
            warn!(%error, "a file keeps a name that was not committed; the next opening sets it aside");
            self.broken = true;
        }
    }

    /// Marks the session clean and folds the log into the store.
    pub(super) fn close(self) -> Result<(), CommitError> {
        if self.broken {
            return Err(CommitError::Closed);
        }
        let finish = || {
            self.writer.begin()?;
            self.writer.close_epoch(self.epoch, Clock::system().now())?;
            self.writer.set_meta(META_CLEAN, Some("1"))?;
            self.writer.commit()?;
            db::checkpoint(self.writer.connection(), self.writer.path(), true)?;
            migrate::forget_older(self.writer.path());
            Ok(())
        };
        self.disk.outputs().files.sweep();
        finish().map_err(|e| Failure::Store(e).for_batch(Box::default()))
    }

    fn point(&self, name: &'static str) -> Result<(), StoreError> {
        faults::point(name).map_err(|e| StoreError::system(self.writer.path(), &e))
    }
}

/// Takes what the batches wish for. Answers when the first lease was given, and the hosts concerned.
fn lease(
    group: &mut Group<'_>,
    batches: &[Box<Batch>],
    answers: &mut [Committed],
) -> Result<(Option<Timestamp>, Vec<HostQueue>), Failure> {
    let mut first = None;
    for (batch, answer) in batches.iter().zip(answers) {
        answer.leases = group.lease(&batch.leases, batch.now)?;
        if !answer.leases.is_empty() {
            first = first.or(Some(batch.now));
        }
    }
    Ok((first, group.finish()?))
}
