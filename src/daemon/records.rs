//! Keeps the registry up to date; when it cannot be written, crawling goes on and it is said.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::clock::Clock;
use crate::daemon::answers::{DayStats, SessionSummary, StatsReport};
use crate::daemon::command::{OperatorError, Problem};
use crate::daemon::{store_seen, summary};
use crate::model::counters::{Counters, DayNumbers};
use crate::model::ids::{CommitSeq, Epoch, SessionId};
use crate::model::session::{CrashReason, SessionStatus};
use crate::model::task::StoredTask;
use crate::model::time::Timestamp;
use crate::state::paths::{Listing, StateDir};
use crate::state::{process, task_file};
use crate::store::registry::{EpochRow, Registry, RegistryError, SessionRow};
use crate::store::rows::EpochEntry;

/// An open lifetime without an owner is an orphan at this age.
const ORPHAN_AGE: Duration = Duration::from_secs(2 * 3600);
/// Orphans are counted this often.
const ORPHANS_EVERY: Duration = Duration::from_secs(60);
/// Days that `crawld stats` shows at most.
const STATS_DAYS: u32 = 366;

/// What a session's opening tells the registry.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenedFacts {
    /// Which lifetime begins.
    pub epoch: Epoch,
    /// The last commit.
    pub seq: CommitSeq,
    /// It was created, not continued.
    pub created: bool,
}

/// The registry's keeper.
pub struct Records {
    registry: Option<Arc<Registry>>,
    /// A newer crawld wrote it.
    too_new: bool,
    clock: Clock,
    failure: Option<String>,
    booked: BTreeMap<SessionId, (Epoch, DayNumbers)>,
    orphans: Option<(Timestamp, u64)>,
}

impl Records {
    /// Keeps `registry`; without one, or when it fails, everything is only said in the log.
    pub fn new(registry: Result<Arc<Registry>, RegistryError>, clock: Clock) -> Self {
        let failure = registry.as_ref().err().map(RegistryError::to_string);
        let too_new = matches!(registry, Err(RegistryError::TooNew { .. }));
        Records { registry: registry.ok(), too_new, clock, failure, booked: BTreeMap::new(), orphans: None }
    }

    /// The registry, for those who read it.
    pub fn registry(&self) -> Option<Arc<Registry>> {
        self.registry.clone()
    }

    /// What is wrong, for `health`.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// A session's lifetime begins.
    pub fn session_opened(&mut self, facts: &OpenedFacts, task: &StoredTask, first: &SessionSummary) {
        let now = self.clock.now();
        let epoch = EpochRow {
            session_id: task.session_id.clone(),
            epoch: facts.epoch,
            pid: std::process::id(),
            boot_id: process::boot_id(),
            started_at: now,
            ended_at: None,
            commit_seq: facts.seq,
            stop_reason: None,
            crash_reason: None,
            decision: None,
        };
        let started = DayNumbers { sessions_started: u64::from(facts.created), ..DayNumbers::default() };
        // What the lifetimes before have booked stands in the session's row; a crash may have cut that short.
        let row = self.registry.as_ref().and_then(|registry| registry.session(&task.session_id).ok().flatten());
        if let Some(row) = row {
            self.attempt(|registry| registry.add_to_day(&day_of(&row, first, now), &unbooked(&row, first)));
        }
        self.booked.insert(task.session_id.clone(), (facts.epoch, numbers(first)));
        self.book(first, SessionStatus::Active, None);
        // After the session's row, which holds its task.
        self.attempt(|registry| {
            registry.put_task(task)?;
            registry.put_epoch(&epoch)?;
            registry.add_to_day(&day(now), &started)
        });
    }

    /// A session waits for its place: it is known from now on, and counted once it begins.
    pub fn session_waits(&mut self, waits: &SessionSummary) {
        let known = self.registry.as_ref().and_then(|registry| registry.session(&waits.session_id).ok().flatten());
        if known.is_none() {
            let row = row_of(waits, self.clock.now());
            self.attempt(|registry| registry.put_session(&row));
        }
    }

    /// Books what sessions have done since the last call.
    pub fn counters(&mut self, sessions: Vec<SessionSummary>) {
        for session in sessions {
            if self.news(&session) {
                self.book(&session, session.status, None);
            }
        }
    }

    /// Books what sessions that run have done, active time too.
    pub fn book_all(&mut self, sessions: &[SessionSummary]) {
        for session in sessions {
            self.book(session, session.status, None);
        }
    }

    /// Whether something was done since the last booking; active time alone is not worth a write.
    fn news(&self, session: &SessionSummary) -> bool {
        let booked = self.booked.get(&session.session_id).map(|(_, numbers)| *numbers);
        let without_time = |numbers: DayNumbers| DayNumbers { active_seconds: 0.0, ..numbers };
        self.failure.is_some() || booked.map(without_time) != Some(without_time(numbers(session)))
    }

    /// A session's lifetime is over; `seq` is its last commit.
    pub fn session_ended(&mut self, last: &SessionSummary, seq: CommitSeq) {
        let now = self.clock.now();
        self.book(last, last.status, Some(now));
        self.attempt(|registry| match last.stop_reason {
            Some(reason) => registry.stop_epoch(&last.session_id, last.epoch, now, seq, reason),
            None => Ok(()),
        });
        if last.status.ended() {
            let ended = DayNumbers { sessions_ended: 1, ..DayNumbers::default() };
            self.attempt(|registry| registry.add_to_day(&day(now), &ended));
        }
    }

    fn book(&mut self, session: &SessionSummary, status: SessionStatus, end: Option<Timestamp>) {
        let now = self.clock.now();
        let totals = numbers(session);
        let before = match self.booked.insert(session.session_id.clone(), (session.epoch, totals)) {
            Some((epoch, before)) if epoch == session.epoch => before,
            _ => totals,
        };
        let row = SessionRow {
            id: session.session_id.clone(),
            task_id: session.task_id.clone(),
            task_hash: None,
            is_active: end.is_none(),
            status,
            stop_reason: session.stop_reason,
            session_start: session.session_start.unwrap_or(now),
            session_end: end.filter(|_| status.ended()),
            duration_seconds: session.active_seconds,
            counters: session.counters,
            last_life: Some(now),
        };
        self.attempt(|registry| {
            registry.put_session(&row)?;
            registry.add_to_day(&day(now), &difference(&totals, &before))
        });
    }

    /// Open lifetimes older than [`ORPHAN_AGE`] of sessions that this process does not run; counted once a minute.
    pub fn orphan_epochs(&mut self) -> Option<u64> {
        let now = self.clock.now();
        let due = self.orphans.is_none_or(|(at, _)| now < at || now.since(at) >= ORPHANS_EVERY);
        if due {
            let open = self.registry.as_ref().and_then(|registry| registry.open_epochs().ok())?;
            let old =
                |row: &&EpochRow| now.since(row.started_at) >= ORPHAN_AGE && !self.booked.contains_key(&row.session_id);
            self.orphans = Some((now, open.iter().filter(old).count() as u64));
        }
        self.orphans.map(|(_, count)| count)
    }

    /// Daily statistics.
    ///
    /// # Errors
    /// There is no registry, or it cannot be read.
    pub fn stats(&self) -> Result<StatsReport, OperatorError> {
        let failed = |why: &str| OperatorError::Io(format!("no statistics: {why}"));
        let Some(registry) = &self.registry else {
            let why = self.failure().unwrap_or("there is no registry");
            return Err(match self.too_new {
                true => OperatorError::Invalid(vec![Problem::new("statistics", why)]),
                false => failed(why),
            });
        };
        let days = registry.days(STATS_DAYS).map_err(|error| failed(&error.to_string()))?;
        Ok(StatsReport { days: days.into_iter().map(|(day, numbers)| DayStats { day, numbers }).collect() })
    }

    fn attempt(&mut self, write: impl FnOnce(&Registry) -> Result<(), RegistryError>) {
        let Some(registry) = &self.registry else { return };
        match write(registry) {
            Ok(()) if self.failure.take().is_some() => info!("the registry can be written again"),
            Ok(()) => {}
            Err(error) if self.failure.is_none() => {
                warn!(%error, "the registry cannot be written: crawling goes on without it");
                self.failure = Some(error.to_string());
            }
            Err(error) => self.failure = Some(error.to_string()),
        }
    }
}

/// Puts the sessions on disk into a new registry: what they came to, their tasks, their lifetimes. All that a session
/// did counts for the day of its last life: nothing tells how it was spread.
///
/// # Errors
/// What SQLite said.
pub fn refill(dir: &StateDir, registry: &Registry, now: Timestamp) -> Result<(), RegistryError> {
    let listing = dir.list().unwrap_or_else(|error| {
        warn!(%error, "the sessions cannot be listed");
        Listing::default()
    });
    listing.sessions.iter().try_for_each(|on_disk| take_up(dir, registry, &on_disk.id, now))
}

/// Puts in the sessions on disk that the registry does not know: brought here by hand, or begun while it could not be
/// written.
///
/// # Errors
/// What SQLite said.
pub fn adopt(dir: &StateDir, registry: &Registry, now: Timestamp) -> Result<(), RegistryError> {
    let known: BTreeSet<SessionId> = registry.ids()?.into_iter().collect();
    let listing = dir.list().unwrap_or_default();
    let mut unknown = listing.sessions.iter().filter(|on_disk| !known.contains(&on_disk.id));
    unknown.try_for_each(|on_disk| take_up(dir, registry, &on_disk.id, now))
}

/// Puts in one session, from its files.
fn take_up(dir: &StateDir, registry: &Registry, id: &SessionId, now: Timestamp) -> Result<(), RegistryError> {
    let paths = dir.session(id);
    let known = summary::offline(&paths, now).summary;
    let row = row_of(&known, now);
    registry.put_session(&row)?;
    let started = DayNumbers { sessions_started: 1, ..DayNumbers::default() };
    registry.add_to_day(&day(row.session_start), &started)?;
    let done = DayNumbers { sessions_ended: u64::from(row.status.ended()), ..numbers(&known) };
    registry.add_to_day(&day_of(&row, &known, now), &done)?;
    if let Some((task, _)) = task_file::read(&paths).good() {
        registry.put_task(task)?;
    }
    for entry in store_seen::look(&paths, false).epochs {
        let epoch = epoch_of(id, &entry);
        let crashes = DayNumbers { crashes: u64::from(epoch.crash_reason.is_some()), ..DayNumbers::default() };
        registry.add_to_day(&day(entry.end.unwrap_or(entry.start)), &crashes)?;
        registry.put_epoch(&epoch)?;
    }
    Ok(())
}

/// Books what sessions that nobody runs did after their last booking: a kill cuts it short.
///
/// # Errors
/// What SQLite said.
pub(super) fn catch_up(
    dir: &StateDir,
    registry: &Registry,
    running: &[SessionId],
    now: Timestamp,
) -> Result<(), RegistryError> {
    let rows = registry.sessions()?.into_iter().filter(|row| !row.status.ended() && !running.contains(&row.id));
    for row in rows {
        let paths = dir.session(&row.id);
        if !paths.dir().is_dir() {
            continue;
        }
        let known = summary::offline(&paths, now).summary;
        let unbooked = DayNumbers { sessions_ended: u64::from(known.status.ended()), ..unbooked(&row, &known) };
        let there = row_of(&known, now);
        let row = SessionRow {
            // A checkpoint may be behind what was booked, and what is gone cannot be done again.
            duration_seconds: row.duration_seconds.max(there.duration_seconds),
            last_life: row.last_life.max(there.last_life),
            ..there
        };
        registry.put_session(&row)?;
        registry.add_to_day(&day_of(&row, &known, now), &unbooked)?;
    }
    Ok(())
}

/// What a session has done that its row does not know.
fn unbooked(row: &SessionRow, known: &SessionSummary) -> DayNumbers {
    difference(&numbers(known), &totals(&row.counters, row.duration_seconds))
}

/// The day of a session's last life, to which belongs what was not booked.
fn day_of(row: &SessionRow, known: &SessionSummary, now: Timestamp) -> String {
    let life = row.last_life.max(known.last_checkpoint).unwrap_or(now);
    day(life.min(now))
}

/// Notes how a session stands that has left, or has arrived.
pub(super) fn moved(registry: &Registry, known: &SessionSummary, now: Timestamp) {
    if let Err(error) = registry.put_session(&row_of(known, now)) {
        warn!(session_id = %known.session_id, %error, "the registry has not heard that the session moved");
    }
}

fn row_of(known: &SessionSummary, now: Timestamp) -> SessionRow {
    let life = known.last_heartbeat.max(known.last_checkpoint);
    SessionRow {
        id: known.session_id.clone(),
        task_id: known.task_id.clone(),
        task_hash: None,
        is_active: false,
        status: known.status,
        stop_reason: known.stop_reason,
        session_start: known.session_start.unwrap_or(now),
        session_end: life.filter(|_| known.status.ended()),
        duration_seconds: known.active_seconds,
        counters: known.counters,
        last_life: life,
    }
}

/// A lifetime as the store knows it; the process that was it is not known any more.
fn epoch_of(id: &SessionId, entry: &EpochEntry) -> EpochRow {
    let unclean = entry.end.is_some() && entry.ended.as_deref() != Some("clean");
    EpochRow {
        session_id: id.clone(),
        epoch: entry.epoch,
        pid: 0,
        boot_id: String::new(),
        started_at: entry.start,
        ended_at: entry.end,
        commit_seq: entry.last_seq,
        stop_reason: None,
        crash_reason: unclean.then_some(CrashReason::Unknown),
        decision: None,
    }
}

fn numbers(session: &SessionSummary) -> DayNumbers {
    totals(&session.counters, session.active_seconds)
}

fn totals(counters: &Counters, active_seconds: f64) -> DayNumbers {
    DayNumbers {
        fetched: counters.fetched,
        failed: counters.failed,
        skipped: counters.skipped,
        bytes: counters.bytes,
        active_seconds,
        ..DayNumbers::default()
    }
}

fn difference(now: &DayNumbers, before: &DayNumbers) -> DayNumbers {
    DayNumbers {
        sessions_started: 0,
        sessions_ended: 0,
        crashes: 0,
        fetched: now.fetched.saturating_sub(before.fetched),
        failed: now.failed.saturating_sub(before.failed),
        skipped: now.skipped.saturating_sub(before.skipped),
        bytes: now.bytes.saturating_sub(before.bytes),
        active_seconds: (now.active_seconds - before.active_seconds).max(0.0),
    }
}

/// `2026-11-21`, in UTC.
pub(super) fn day(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}
