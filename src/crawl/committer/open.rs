//! Opening a session's store and outputs, after whatever happened to them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;

use crate::crawl::committer::engine::{Engine, Failure};
use crate::crawl::committer::group::Group;
use crate::crawl::committer::housekeeper::Housekeeper;
use crate::crawl::committer::{
    Batch, Committer, CommitterHandle, META_JUDGED, StoreOp, StorePaths, repair, start, stray,
};
use crate::faults;
use crate::model::counters::Counters;
use crate::model::host::{HostState, StoredRobots};
use crate::model::ids::{CommitSeq, Epoch, UrlNo};
use crate::model::lease::{HostQueue, NewUrl};
use crate::model::task::ScopeSpec;
use crate::model::time::Timestamp;
use crate::model::url::CANONICAL_VERSION;
use crate::output::{Kind, OutputError, compress, files};
use crate::state::inflight::Started;
use crate::store::StoreError;
use crate::store::db;
use crate::store::reader::Reader;
use crate::store::rows::UrlRow;
use crate::store::schema::{META_CANONICAL, META_CLEAN, META_REBUILT, UrlState};
use crate::store::writer::Writer;

/// Hosts whose politeness memory is handed over at most; the others start with the defaults.
const HOST_STATES: usize = 100_000;

/// What opening needs to know.
#[derive(Debug, Clone)]
pub struct OpenSession {
    /// Where everything is.
    pub paths: StorePaths,
    /// Trap budgets.
    pub scope: ScopeSpec,
    /// Committed into a store that holds no URL yet; ignored otherwise.
    pub seeds: Vec<NewUrl>,
    /// The task's hash, where its scope was changed after the session had begun: what is new in it is applied once.
    pub rescoped: Option<String>,
    /// The in-flight note of the last lifetime; `None` when it cannot be read (all leased URLs are suspects then).
    pub started: Option<Vec<Started>>,
    /// Whether the last lifetime's end is explained by something that points at a visit (a panic noted, an
    /// OOM kill, a crash) rather than silence; `None` when it points at nothing at all.
    pub blame: Option<bool>,
    /// The latest epoch known from elsewhere (checkpoint, registry); the new one is above it.
    pub epoch_known: Epoch,
    /// Memory for the store's page cache, in bytes.
    pub cache_bytes: u64,
    /// A segment of an output is finished at this size.
    pub segment_bytes: u64,
    /// The present instant.
    pub now: Timestamp,
}

/// A session ready to crawl.
#[derive(Debug)]
pub struct Opened {
    /// The way to its writer.
    pub handle: CommitterHandle,
    /// The writer's owner: close it at the end.
    pub committer: Committer,
    /// The lifetime that has just begun.
    pub epoch: Epoch,
    /// The last commit.
    pub seq: CommitSeq,
    /// Committed totals.
    pub counters: Counters,
    /// Sitemaps among the fetched.
    pub sitemaps: u64,
    /// Hosts with something queued.
    pub hosts: Vec<HostQueue>,
    /// Politeness memory by host key.
    pub host_states: Vec<(String, HostState)>,
    /// robots.txt answers by host key.
    pub robots: Vec<(String, StoredRobots)>,
    /// Session-level values; see the `META_` constants.
    pub meta: BTreeMap<String, String>,
    /// What was found and done.
    pub report: OpenReport,
}

/// What opening found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// The store was made now.
    pub created: bool,
    /// The lifetime before closed everything.
    pub clean: bool,
    /// Leases of the last lifetime that went back to the queue unmarked.
    pub requeued: u64,
    /// Leases of the last lifetime that were under way: suspects from now on.
    pub suspects: Vec<UrlNo>,
    /// Bytes of uncommitted output that were cut and kept in quarantine.
    pub cut_bytes: u64,
    /// Files under `out/` that no commit knows; moved to quarantine.
    pub foreign_files: Vec<String>,
    /// Output files that were shorter than committed or damaged.
    pub damaged_files: Vec<String>,
    /// URLs queued again because their record was lost.
    pub lost_records: u64,
    /// URL records written again from the store.
    pub rewritten_urls: u64,
}

/// Why a session does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no space; nothing was changed that the next try does not finish.
    #[error("no space left: {0}; free some and try again")]
    NoSpace(String),
    /// The store is missing, or does not open or contradicts itself: rebuild it.
    #[error("the store is damaged: {0}; rebuild it from the outputs")]
    Damaged(String),
    /// The store was written by a newer version; it was not touched.
    #[error("the store has format {found}, this version reads up to {known}; use the newer crawld")]
    TooNew {
        /// The store's format.
        found: i64,
        /// The newest known here.
        known: i64,
    },
    /// A store is there already.
    #[error("{0} exists already")]
    Exists(String),
    /// What the system says of a file.
    #[error("{0}")]
    Io(String),
    /// An invariant broke.
    #[error("a bug: {0}; please report it")]
    Bug(String),
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        let text = error.to_string();
        match error {
            StoreError::Full { .. } => OpenError::NoSpace(text),
            StoreError::Corrupt { .. } | StoreError::Missing { .. } => OpenError::Damaged(text),
            StoreError::TooNew { found, known, .. } => OpenError::TooNew { found, known },
            StoreError::Io { .. } => OpenError::Io(text),
            StoreError::Bug { .. } => OpenError::Bug(text),
        }
    }
}

impl From<OutputError> for OpenError {
    fn from(error: OutputError) -> Self {
        if error.is_no_space() { OpenError::NoSpace(error.to_string()) } else { OpenError::Io(error.to_string()) }
    }
}

impl From<Failure> for OpenError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Output(error) => error.into(),
            Failure::Store(error) => error.into(),
            other => OpenError::Bug(other.to_string()),
        }
    }
}

/// Opens a session that has a store: cuts uncommitted output, repairs damaged output, queues again what the
/// last lifetime had leased, begins a new epoch. A kill on the way is repaired by the next opening.
///
/// # Errors
/// See [`OpenError`].
pub fn open_session(open: OpenSession) -> Result<Opened, OpenError> {
    let path = open.paths.db.clone();
    let connection = db::open_writer(&path, open.cache_bytes, false)?;
    prepare(open, Writer::new(connection, &path), OpenReport::default())
}

/// Makes a session's store and commits its seeds.
///
/// # Errors
/// See [`OpenError`]; `Exists` when there is a store already.
pub fn create_session(open: OpenSession) -> Result<Opened, OpenError> {
    if open.paths.db.symlink_metadata().is_ok() {
        return Err(OpenError::Exists(open.paths.db.display().to_string()));
    }
    let path = open.paths.db.clone();
    let connection = db::open_writer(&path, open.cache_bytes, true)?;
    prepare(open, Writer::new(connection, &path), OpenReport { created: true, ..OpenReport::default() })
}

fn prepare(open: OpenSession, mut writer: Writer, mut report: OpenReport) -> Result<Opened, OpenError> {
    let paths = &open.paths;
    let log = writer.watch_log()?;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&paths.out)
        .map_err(|e| OutputError::at("create", &paths.out, e))?;
    if report.created {
        // The store's name must be as durable as what is committed to it.
        paths.db.parent().map_or(Ok(()), crate::output::sync_dir)?;
    }
    compress::sweep(&paths.out);
    files::sweep(&paths.out);
    let reader = Reader::open(&paths.db)?;
    let meta = reader.meta()?;
    report.clean = meta.get(META_CLEAN).is_some_and(|v| v == "1");
    let last_epoch = reader.epochs()?.last().map_or(0, |entry| entry.epoch);
    let epoch = last_epoch.max(open.epoch_known) + 1;
    stray::of_the_last_group(paths, reader.counters()?.0, &mut report)?;
    let mut engine = repair::outputs(&open, writer, &reader, epoch, &mut report)?;
    if meta.contains_key(META_REBUILT) {
        stray::of_lost_records(paths, &mut report)?;
    }
    take_over(&mut engine, &open, meta.contains_key(META_REBUILT), &mut report)?;
    if engine.totals.counters.discovered == 0 && !open.seeds.is_empty() {
        let mut batch = Batch::new(open.now);
        batch.seeds.clone_from(&open.seeds);
        engine.commit(&mut [Box::new(batch)])?;
    }
    if let Some(hash) = open.rescoped.as_ref().filter(|hash| meta.get(META_JUDGED) != Some(hash)) {
        let mut batch = Batch::new(open.now);
        batch.seeds.clone_from(&open.seeds);
        batch.ops = vec![StoreOp::JudgeAnew, StoreOp::judged(hash)];
        engine.commit(&mut [Box::new(batch)])?;
    }
    let unpacked = unpacked(&reader, paths)?;
    let (epoch, seq) = (engine.epoch, engine.totals.seq);
    let (counters, sitemaps) = (engine.totals.counters, engine.totals.sitemaps);
    let (hosts, host_states, robots, meta) =
        reader.snapshot(|r| Ok((r.waiting_hosts()?, r.host_states(HOST_STATES)?, r.robots()?, r.meta()?)))?;
    drop(reader);
    let thread = |e: std::io::Error| OpenError::Io(format!("the committer's thread does not start: {e}"));
    let housekeeper = Housekeeper::start(paths, log, unpacked).map_err(thread)?;
    let (handle, committer) = start(engine, housekeeper).map_err(thread)?;
    Ok(Opened { handle, committer, epoch, seq, counters, sitemaps, hosts, host_states, robots, meta, report })
}

/// Queues the last lifetime's leases again and begins the new epoch, in one transaction.
fn take_over(engine: &mut Engine, open: &OpenSession, rebuilt: bool, report: &mut OpenReport) -> Result<(), OpenError> {
    let point = |name| faults::point(name).map_err(|e| StoreError::system(&open.paths.db, &e));
    point("store.before_open_commit")?;
    let writer = &engine.writer;
    writer.begin()?;
    let mut group = Group::new(writer, &mut engine.totals, &open.scope, engine.epoch);
    let alone = match open.started.as_deref() {
        Some([one]) if one.solo => Some(one.no),
        _ => None,
    };
    let mut rows = writer.in_flight()?;
    if rebuilt {
        // A rebuilt store has forgotten which URLs were leased; the note has not.
        for started in open.started.iter().flatten() {
            let waits = |row: &UrlRow| matches!(row.state, UrlState::Queued | UrlState::Suspect);
            rows.extend(writer.url(started.no)?.filter(waits));
        }
    }
    for row in rows {
        let known = writer.suspect(row.n)?;
        let under_way = match &open.started {
            // Not the attempt: a rebuilt store has forgotten the attempts that were not the last.
            Some(started) => started.iter().any(|s| s.no == row.n && (rebuilt || s.attempt == row.attempts + 1)),
            None => true,
        };
        let mut marks = if under_way { Some(known.unwrap_or_default()) } else { known };
        if let (Some(marks), Some(_), Some(explained)) = (&mut marks, alone.filter(|no| *no == row.n), open.blame) {
            if explained {
                marks.explained += 1;
            } else {
                marks.unexplained += 1;
            }
        }
        match marks {
            Some(_) => report.suspects.push(row.n),
            None => report.requeued += 1,
        }
        group.give_back(row, marks)?;
    }
    group.finish()?;
    let totals = &engine.totals;
    if !totals.counters.balanced() {
        return Err(OpenError::Damaged(format!("the counters do not balance: {:?}", totals.counters)));
    }
    writer.save_counters(totals.seq, &totals.counters)?;
    writer.open_epoch(engine.epoch, open.now, totals.seq)?;
    writer.set_meta(META_CLEAN, None)?;
    writer.set_meta(META_REBUILT, None)?;
    writer.set_meta(META_CANONICAL, Some(&CANONICAL_VERSION.to_string()))?;
    writer.commit()?;
    point("store.after_open_commit")?;
    Ok(())
}

/// Finished URL segments that are still plain.
fn unpacked(reader: &Reader, paths: &StorePaths) -> Result<Vec<String>, OpenError> {
    let rows = reader.outputs()?.into_iter().filter(|row| row.file.sealed && row.kind == Kind::Urls.prefix());
    Ok(rows.map(|row| row.file.name).filter(|name| paths.out.join(name).exists()).collect())
}
