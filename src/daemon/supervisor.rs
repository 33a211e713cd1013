//! Owns the running sessions: starts them within the limit, shares visits among them, sees them end.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tracing::{error, info, warn};

use crate::crawl::handle::{Order, SessionHandle};
use crate::crawl::load::Load;
use crate::crawl::phase::Hold;
use crate::crawl::session::{self, Env, Opening, Raised, SessionEnd};
use crate::daemon::answers::SessionSummary;
use crate::daemon::house::House;
use crate::daemon::machine::Machine;
use crate::daemon::records::{OpenedFacts, Records};
use crate::daemon::sampler::Activity;
use crate::daemon::summary;
use crate::exit_code::ExitCode;
use crate::model::ids::SessionId;
use crate::model::session::{CrashReason, SessionStatus, StopReason};
use crate::model::task::{FetchMode, StoredTask};
use crate::policy::alerts::AlertKind;
use crate::state::last_words::{self, LastWords};

/// A session that is to run.
#[derive(Debug)]
pub struct Wanted {
    /// Its task as stored.
    pub task: StoredTask,
    /// New, or continued and how.
    pub opening: Opening,
}

/// A session that runs in this process.
struct Running {
    handle: SessionHandle,
    load: watch::Sender<Load>,
    task: StoredTask,
    /// Open for an order or a repair: nothing of it is crawled.
    rests: bool,
}

/// The sessions of this process.
pub struct Supervisor {
    house: Arc<House>,
    records: Records,
    running: BTreeMap<SessionId, Running>,
    waiting: VecDeque<Wanted>,
    ended: BTreeMap<SessionId, SessionSummary>,
    tasks: JoinSet<SessionEnd>,
    names: BTreeMap<Id, SessionId>,
    machine: Machine,
    alerts: mpsc::Sender<Raised>,
    stopping: bool,
    resting: bool,
    worst: ExitCode,
}

impl Supervisor {
    /// Nothing runs yet.
    pub fn new(house: Arc<House>, records: Records, alerts: mpsc::Sender<Raised>) -> Self {
        Supervisor {
            house,
            records,
            running: BTreeMap::new(),
            waiting: VecDeque::new(),
            ended: BTreeMap::new(),
            tasks: JoinSet::new(),
            names: BTreeMap::new(),
            machine: Machine::default(),
            alerts,
            stopping: false,
            resting: false,
            worst: ExitCode::Ok,
        }
    }

    /// The registry's keeper.
    pub fn records(&mut self) -> &mut Records {
        &mut self.records
    }

    /// The handle of a running session.
    pub fn handle(&self, id: &SessionId) -> Option<&SessionHandle> {
        self.running.get(id).map(|running| &running.handle)
    }

    /// Sessions that wait for a free place.
    pub fn waiting(&self) -> Vec<SessionId> {
        self.waiting.iter().map(|wanted| wanted.task.session_id.clone()).collect()
    }

    /// Whether the session waits for a free place.
    pub fn is_waiting(&self, id: &SessionId) -> bool {
        self.waiting.iter().any(|wanted| &wanted.task.session_id == id)
    }

    /// Running sessions as they stand.
    pub fn snapshots(&self) -> Vec<SessionSummary> {
        let now = self.house.clock.now();
        let one = |(id, running): (&SessionId, &Running)| {
            summary::online(&running.handle.snapshot(), &self.house.dir.session(id), now)
        };
        self.running.iter().map(one).collect()
    }

    /// What the running sessions are doing whose visits are counted with those of this mode.
    pub fn activity(&self, mode: FetchMode) -> Activity {
        let of_mode = self.running.values().filter(|running| running.task.spec.fetch.mode.lane() == mode);
        let mut activity = Activity::default();
        for snapshot in of_mode.map(|running| running.handle.snapshot()) {
            activity.in_use += snapshot.visits_active;
            activity.page_ms = activity.page_ms.max(snapshot.page_ms);
        }
        activity
    }

    /// Sessions that ended in this process.
    pub fn ended(&self) -> &BTreeMap<SessionId, SessionSummary> {
        &self.ended
    }

    /// Whether no session runs.
    pub fn running_none(&self) -> bool {
        self.running.is_empty()
    }

    /// Whether every session that runs or waits, if any does, needs a browser.
    pub fn all_need_browser(&self) -> bool {
        let waiting = self.waiting.iter().map(|wanted| &wanted.task);
        let mut tasks = self.running.values().map(|running| &running.task).chain(waiting);
        tasks.all(|task| task.spec.fetch.mode.needs_browser())
    }

    /// Whether no session runs or waits.
    pub fn idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// The exit code that the sessions that ended so far ask for.
    pub fn exit_code(&self) -> ExitCode {
        self.worst
    }

    /// Starts a session now, or has it wait for a free place.
    ///
    /// # Errors
    /// The session cannot be opened; says why and what to do, with the exit code for it.
    pub async fn want(&mut self, wanted: Wanted) -> Result<(), (ExitCode, String)> {
        if self.stopping {
            return Err((ExitCode::InUse, "crawld is stopping".to_owned()));
        }
        if self.running.len() >= self.house.config.sessions_at_once as usize {
            info!(session_id = %wanted.task.session_id, "queued: all places are taken");
            session::prepare(&self.house.dir.session(&wanted.task.session_id), &wanted.task)
                .map_err(|error| (error.exit_code(), error.to_string()))?;
            let paths = self.house.dir.session(&wanted.task.session_id);
            self.records.session_waits(&summary::offline(&paths, self.house.clock.now()).summary);
            self.waiting.push_back(wanted);
            return Ok(());
        }
        self.start(wanted).await
    }

    /// Starts a session even while all places are taken.
    ///
    /// # Errors
    /// As for [`Supervisor::want`].
    pub async fn start(&mut self, wanted: Wanted) -> Result<(), (ExitCode, String)> {
        self.open(wanted, self.resting).await
    }

    /// Opens a session at rest, which repairs it; nothing of it is crawled, whatever else runs here.
    ///
    /// # Errors
    /// As for [`Supervisor::want`].
    pub async fn open_at_rest(&mut self, wanted: Wanted) -> Result<(), (ExitCode, String)> {
        self.open(wanted, true).await
    }

    async fn open(&mut self, wanted: Wanted, rests: bool) -> Result<(), (ExitCode, String)> {
        let Wanted { task, opening } = wanted;
        let id = task.session_id.clone();
        let (load, env) = self.env(&task, rests).await?;
        let created = !matches!(opening, Opening::Resume { .. });
        let opened = session::open(env, task.clone(), opening).await;
        let opened = opened.map_err(|error| (error.exit_code(), error.to_string()))?;
        let first = summary::online(&opened.handle.snapshot(), &self.house.dir.session(&id), self.house.clock.now());
        self.records.session_opened(&OpenedFacts { epoch: opened.epoch, seq: opened.seq, created }, &task, &first);
        let abort = self.tasks.spawn(opened.run);
        self.names.insert(abort.id(), id.clone());
        self.ended.remove(&id);
        self.running.insert(id, Running { handle: opened.handle, load, task, rests });
        self.share();
        Ok(())
    }

    async fn env(&self, task: &StoredTask, rests: bool) -> Result<(watch::Sender<Load>, Env), (ExitCode, String)> {
        let house = &self.house;
        let mode = task.spec.fetch.mode;
        let browsers = match mode {
            FetchMode::Http => None,
            // Nothing is visited: an order needs no browser.
            FetchMode::Browser | FetchMode::Auto if rests => None,
            FetchMode::Browser | FetchMode::Auto => {
                Some(house.browsers().await.map_err(|error| (error.exit_code(), error.to_string()))?)
            }
        };
        let slots = match mode.lane() {
            FetchMode::Browser => house.tabs.clone(),
            FetchMode::Http | FetchMode::Auto => house.requests.clone(),
        };
        let (load, seen) = watch::channel(self.machine.load_for(mode, 0));
        let env = Env {
            clock: house.clock.clone(),
            paths: house.dir.session(&task.session_id),
            governor: house.governor.clone(),
            robots: house.robots.clone(),
            browsers,
            slots,
            tabs: house.tabs.clone(),
            load: seen,
            settings: house.session_settings(mode),
            alerts: self.alerts.clone(),
            announce: Some(house.feed.announce()),
            turned: house.session_turned(&task.session_id),
        };
        Ok((load, env))
    }

    /// Waits for a session to end; for ever while none runs. Cancel-safe.
    pub async fn next_end(&mut self) -> Result<(Id, SessionEnd), JoinError> {
        match self.tasks.join_next_with_id().await {
            Some(end) => end,
            None => std::future::pending().await,
        }
    }

    /// Takes note of an end, and starts the next session that waits.
    pub async fn saw_end(&mut self, end: Result<(Id, SessionEnd), JoinError>) -> Option<SessionSummary> {
        let (task, end) = match end {
            Ok((task, end)) => (task, Ok(end)),
            Err(error) => {
                error!(%error, "a session's loop panicked; its state is as committed");
                (error.id(), Err(error.to_string()))
            }
        };
        let id = self.names.remove(&task)?;
        let running = self.running.remove(&id)?;
        self.house.liveness.ended(id.as_str());
        if let Some(pool) = self.house.browsers_if_any().await {
            pool.end_session(&id).await;
        }
        let now = self.house.clock.now();
        let snapshot = running.handle.snapshot();
        let mut last = summary::online(&snapshot, &self.house.dir.session(&id), now);
        summary::at_rest(&mut last);
        match &end {
            Ok(end) => {
                last.status = end.status;
                last.stop_reason = Some(end.reason);
                last.status_reason = end.message.clone();
                self.raise(exit_of(end, last.counters.failed));
                info!(session_id = %id, reason = %end.reason, status = %end.status, "session ended");
            }
            Err(panic) => {
                last.stop_reason = Some(StopReason::Panic);
                last.status = SessionStatus::Crashed;
                let words = LastWords::new(CrashReason::Panic, now, last.epoch, panic);
                if let Err(error) = last_words::write(&self.house.dir.session(&id), &words) {
                    warn!(session_id = %id, %error, "the panic could not be noted in the session");
                }
            }
        }
        self.records.session_ended(&last, snapshot.last_commit_seq);
        self.house.feed.ended(&id, last.status, last.stop_reason).await;
        // Nobody owns it any more: what its files declare active is to be continued.
        if last.status == SessionStatus::Active {
            last.status = SessionStatus::Recoverable;
        }
        self.ended.insert(id, last.clone());
        self.fill_places().await;
        self.share();
        Some(last)
    }

    async fn fill_places(&mut self) {
        while !self.stopping && self.running.len() < self.house.config.sessions_at_once as usize {
            let Some(next) = self.waiting.pop_front() else { return };
            let id = next.task.session_id.clone();
            if let Err((code, error)) = self.start(next).await {
                warn!(session_id = %id, error, "a waiting session could not be opened");
                self.raise(code);
            }
        }
    }

    /// Removes a session that waits for a place.
    pub fn forget_waiting(&mut self, id: &SessionId) -> Option<StoredTask> {
        let at = self.waiting.iter().position(|wanted| &wanted.task.session_id == id)?;
        self.waiting.remove(at).map(|wanted| wanted.task)
    }

    /// Crawls nothing from now on: sessions are opened for orders only.
    pub fn rest(&mut self) {
        self.resting = true;
    }

    /// The machine was sampled anew.
    pub fn sampled(&mut self, machine: Machine) {
        self.machine = machine;
        self.share();
        self.records.counters(self.snapshots());
    }

    /// Every session gets the same share of the visits of its mode, at least one.
    fn share(&self) {
        for lane in [FetchMode::Browser, FetchMode::Http] {
            let of_mode = || self.running.values().filter(|running| running.task.spec.fetch.mode.lane() == lane);
            let sessions = of_mode().filter(|running| !running.rests).count();
            let sessions = u32::try_from(sessions).unwrap_or(u32::MAX).max(1);
            let all = self.machine.visits_of(lane);
            let most = self.house.visits.of(lane).most;
            for running in of_mode() {
                // A task that names its number gets it, as far as the process can give it.
                let fair = running.task.spec.fetch.tabs.map_or(all.div_ceil(sessions), |tabs| tabs.min(most));
                let share = if running.rests { 0 } else { fair.max(1) };
                let load = self.machine.load_for(running.task.spec.fetch.mode, share);
                running.load.send_if_modified(|old| {
                    let changed = *old != load;
                    *old = load;
                    changed
                });
            }
        }
    }

    /// Tells every session to stop; waiting ones stay queued in their files.
    pub async fn stop(&mut self, abandon: bool) {
        self.stopping = true;
        self.waiting.clear();
        for running in self.running.values() {
            let order = if abandon { Order::Abandon } else { Order::Drain };
            // A session that does not answer has ended, or is about to be abandoned.
            let _ = tokio::time::timeout(Duration::from_secs(1), running.handle.order(order)).await;
        }
    }

    /// Whether it starts nothing any more.
    pub fn stopping(&self) -> bool {
        self.stopping
    }

    /// Takes note of the exit code that something asks for; the worst one stays.
    pub fn raise(&mut self, code: ExitCode) {
        if severity(code) > severity(self.worst) {
            self.worst = code;
        }
    }

    /// Alerts of the whole process that stand.
    pub fn alerts(&self) -> Vec<AlertKind> {
        self.machine.alerts.clone()
    }

    /// Conditions that a session alone cannot see, for `health`.
    pub fn holds(&self) -> Vec<(Hold, String)> {
        self.machine.holds()
    }
}

/// The exit code that one session's end asks for.
fn exit_of(end: &SessionEnd, failed: u64) -> ExitCode {
    match end.status {
        SessionStatus::Completed if failed > 0 => ExitCode::SomeFailed,
        SessionStatus::Completed | SessionStatus::Migrated => ExitCode::Ok,
        SessionStatus::Cancelled => ExitCode::Nothing,
        SessionStatus::Failed if end.reason == StopReason::LoginFailed => ExitCode::BadConfig,
        SessionStatus::Failed => ExitCode::CannotWrite,
        _ => ExitCode::Stopped,
    }
}

fn severity(code: ExitCode) -> u8 {
    match code {
        ExitCode::Ok => 0,
        ExitCode::SomeFailed => 1,
        ExitCode::Nothing => 2,
        ExitCode::Stopped => 3,
        _ => 4,
    }
}
