//! One session in this process: opened, run, closed.

mod files;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tracing::{info, warn};

use crate::browser::Browsers;
use crate::clock::Clock;
use crate::crawl::announce::{self, Announcer};
use crate::crawl::auto::Auto;
use crate::crawl::committer::{Committer, META_ACTIVE_MS, META_PAUSED, OpenError, Opened};
use crate::crawl::controller::{Controller, Parts, queue};
use crate::crawl::gate::RobotsDesk;
use crate::crawl::governor::HostGovernor;
use crate::crawl::handle::{self, SessionHandle, Snapshot};
use crate::crawl::keep::Keeper;
use crate::crawl::links::seeds;
use crate::crawl::load::Load;
use crate::crawl::login::LoginDesk;
use crate::crawl::net::Net;
use crate::crawl::phase::final_status;
use crate::crawl::pulse::Pulse;
pub use crate::crawl::pulse::Raised;
use crate::crawl::scribe::Scribe;
use crate::crawl::session::files::{Files, open_files};
use crate::crawl::terms::{InForce, Terms};
use crate::crawl::totals::{Extension, Totals};
use crate::crawl::worker::Workshop;
use crate::exit_code::ExitCode;
use crate::fetch::{Fetchers, HttpFetcher, RobotsCache, default_user_agent};
use crate::frontier::Frontier;
use crate::model::ids::{CommitSeq, Epoch};
use crate::model::long::LongOperations;
use crate::model::session::{CrashReason, SessionStatus, StopReason};
use crate::model::task::StoredTask;
use crate::model::time::Timestamp;
use crate::state::lock::Lock;
use crate::state::paths::SessionPaths;
use crate::state::{last_words, task_file};

/// Meta key: what was used when the operator last extended the session, as JSON.
pub const META_EXTENSION: &str = "extension";
/// Meta key: the operator cancelled the session (`1`).
pub const META_CANCELLED: &str = "cancelled";

/// What a session borrows from the process.
pub struct Env {
    /// The wall clock.
    pub clock: Clock,
    /// Where its files are.
    pub paths: SessionPaths,
    /// Politeness of all sessions.
    pub governor: HostGovernor,
    /// robots.txt of all sessions.
    pub robots: Arc<RobotsCache>,
    /// Chromium, for a task that needs it.
    pub browsers: Option<Arc<Browsers>>,
    /// Visits at once over all sessions of the same mode.
    pub slots: Arc<Semaphore>,
    /// Tabs at once over all sessions, for the pages that a session in mode `auto` renders.
    pub tabs: Arc<Semaphore>,
    /// The machine, and this session's share.
    pub load: watch::Receiver<Load>,
    /// Intervals and limits.
    pub settings: Settings,
    /// Where raised alerts go, besides the log.
    pub alerts: mpsc::Sender<Raised>,
    /// Where its watchers are told; `None`: nobody can watch.
    pub announce: Option<mpsc::Sender<announce::Message>>,
    /// Told whenever the session's loop turns.
    pub turned: Box<dyn Fn() + Send + Sync>,
}

/// The daemon's settings, as far as a session needs them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Between checkpoints.
    pub checkpoint_every: Duration,
    /// Between heartbeats.
    pub heartbeat_every: Duration,
    /// Between judgements of health.
    pub health_every: Duration,
    /// Limit on active time where the task has none.
    pub max_duration: Duration,
    /// Items in each of a checkpoint's lists at most.
    pub inline_urls: usize,
    /// Visits at once at most, ever.
    pub max_visits: u32,
    /// Page cache of the store, in bytes.
    pub cache_bytes: u64,
    /// A finished segment of an output is about this large, in bytes.
    pub segment_bytes: u64,
    /// Command word of the process, for the lock.
    pub command: String,
}

/// How a session is opened.
#[derive(Debug)]
pub enum Opening {
    /// New: nothing is on disk.
    Create,
    /// New in the place of another: directory and task are there.
    Restart {
        /// Not crawled until the operator says so.
        as_paused: bool,
    },
    /// Continued after recovery has looked at it.
    Resume {
        /// Its lock, held since before the first repair.
        lock: Lock,
        /// Not crawled until the operator says so.
        as_paused: bool,
        /// How the lifetime before ended.
        crash_reason: CrashReason,
        /// The operator lets it go on past its limits.
        extend: bool,
        /// It had ended, and an order gives it new work.
        revive: bool,
    },
}

/// A session that is ready to run.
pub struct OpenedSession {
    /// Orders and snapshots.
    pub handle: SessionHandle,
    /// The session itself: to be spawned.
    pub run: Pin<Box<dyn Future<Output = SessionEnd> + Send>>,
    /// Which lifetime begins.
    pub epoch: Epoch,
    /// The last commit.
    pub seq: CommitSeq,
}

/// How a lifetime ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionEnd {
    /// Why.
    pub reason: StopReason,
    /// The session's status from now on.
    pub status: SessionStatus,
    /// In words, where there is more to say.
    pub message: Option<String>,
}

/// Why a session cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Its directory or one of its files cannot be written.
    #[error("cannot prepare session {session}: {why}")]
    Prepare {
        /// Which.
        session: String,
        /// What the system said.
        why: String,
    },
    /// Its store.
    #[error("cannot open session {session}: {source}")]
    Store {
        /// Which.
        session: String,
        /// What is wrong with it.
        source: OpenError,
    },
    /// Its task.
    #[error("the task of session {session} is not usable: {why}")]
    Task {
        /// Which.
        session: String,
        /// What is wrong with it.
        why: String,
    },
}

impl SessionError {
    /// For the shell.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            SessionError::Store { source: OpenError::TooNew { .. } | OpenError::Damaged(_), .. } => ExitCode::BadConfig,
            SessionError::Store { source: OpenError::Bug(_), .. } => ExitCode::Bug,
            SessionError::Prepare { .. } | SessionError::Store { .. } => ExitCode::CannotWrite,
            SessionError::Task { .. } => ExitCode::BadConfig,
        }
    }
}

/// Makes the session's directory and writes its task: the first durable trace of it.
///
/// # Errors
/// What the system said.
pub fn prepare(paths: &SessionPaths, task: &StoredTask) -> Result<(), SessionError> {
    task_file::begin(paths, task)
        .map_err(|error| SessionError::Prepare { session: paths.id().to_string(), why: error.to_string() })
}

/// Opens a session. The future in the result does the crawling.
///
/// # Errors
/// See [`SessionError`]; nothing runs then, and everything committed is as it was.
pub async fn open(env: Env, task: StoredTask, opening: Opening) -> Result<OpenedSession, SessionError> {
    let id = task.session_id.to_string();
    let bad_task = |why: String| SessionError::Task { session: id.clone(), why };
    let terms = Terms::new(&task.spec, task.rescoped).map_err(bad_task)?;
    let seeds = seeds(&task.spec, &terms.rules).map_err(bad_task)?;
    let net = Net::open(&task, &env.paths, &env.clock, env.browsers.as_deref().map(Browsers::is_attached)).await?;

    let paths = env.paths.clone();
    let (clock, settings, spec, stored) = (env.clock.clone(), env.settings.clone(), task.spec.clone(), task.clone());
    let on_disk =
        tokio::task::spawn_blocking(move || open_files(&paths, &stored, &spec, seeds, opening, &clock, &settings));
    let files = on_disk.await.unwrap_or_else(|error| {
        let source = OpenError::Bug(format!("opening it failed: {error}"));
        Err(SessionError::Store { session: id.clone(), source })
    })?;
    Ok(furnish(env, task, terms, net, files))
}

fn furnish(env: Env, task: StoredTask, terms: Terms, net: Net, files: Files) -> OpenedSession {
    let Net { client, egress, conduct, login } = net;
    let Files {
        opened,
        lock,
        note,
        as_paused,
        extend,
        revive,
        last_life,
        browser_before,
        modes_learned,
        sites_learned,
        cookies_kept,
    } = files;
    let now = env.clock.now();
    let saved_at = last_life.unwrap_or(now).min(now);
    let (epoch, seq) = (opened.epoch, opened.seq);
    report(&task, &opened);
    for (host, state) in &opened.host_states {
        env.governor.restore(host, *state, saved_at, now);
    }
    for (host, stored) in &opened.robots {
        env.robots.restore(host, stored.clone());
    }
    if let Some(browsers) = &env.browsers {
        browsers.remember(&sites_learned);
    }
    let mut frontier = Frontier::new();
    for host in &opened.hosts {
        frontier.update_host(queue(host));
    }
    let totals = totals(&task, &opened, &env.settings, extend, now);
    let cancelled = opened.meta.contains_key(META_CANCELLED);
    let paused = !extend && (as_paused || opened.meta.contains_key(META_PAUSED));
    let user_agent: Arc<str> = task.spec.fetch.user_agent.clone().unwrap_or_else(default_user_agent).into();
    let extract = Arc::new(task.spec.extract.clone());
    let shop = Arc::new(Workshop {
        session: task.session_id.clone(),
        epoch,
        mode: task.spec.fetch.mode,
        fetch: Arc::new(task.spec.fetch.clone()),
        long: LongOperations::default(),
        keeper: Keeper::new(extract.clone(), env.paths.out(), epoch),
        extract,
        conduct,
        in_force: InForce::new(terms),
        probe_sitemaps: task.spec.scope.probe_sitemaps,
        robots: RobotsDesk { policy: task.spec.politeness.robots, cache: env.robots.clone(), user_agent },
        fetchers: Arc::new(Fetchers::new(HttpFetcher::new(client.clone()), env.browsers.clone())),
        governor: env.governor.clone(),
        client,
        egress,
        slots: env.slots.clone(),
        auto: Auto::new(env.tabs.clone(), &modes_learned),
        login: LoginDesk::new(login, task.spec.login.as_ref().map_or(0, |login| login.max_logins), cookies_kept),
        note: Arc::new(note),
        clock: env.clock.clone(),
    });
    let first = first_snapshot(&task, &totals, epoch, seq);
    let (handle, handle_end) = handle::channel(first);
    let pulse = Pulse::new(&env.paths, &env.settings, browser_before);
    let controller = Controller::new(Parts {
        shop,
        committer: opened.handle.clone(),
        governor: env.governor,
        frontier,
        handle: handle_end,
        load: env.load,
        scribe: Scribe::start(env.paths.clone()),
        announcer: Announcer::new(env.announce, &env.paths, (epoch, seq), task.spec.record),
        pulse,
        totals,
        outputs: Vec::new(),
        paused,
        cancelled,
        extended: extend,
        revived: revive,
        slots: env.settings.max_visits as usize,
        turned: env.turned,
        alerts: env.alerts,
    });
    let ties = Ties { _place: last_words::enroll(&env.paths, epoch), _lock: lock };
    let run = Box::pin(live(controller, ties, opened.committer));
    OpenedSession { handle, run, epoch, seq }
}

fn report(task: &StoredTask, opened: &Opened) {
    let found = &opened.report;
    info!(
        session_id = %task.session_id, epoch = opened.epoch, seq = opened.seq, created = found.created,
        requeued = found.requeued, suspects = found.suspects.len(), cut_bytes = found.cut_bytes,
        queued = opened.counters.queued, "session opened"
    );
    if found.lost_records > 0 || !found.damaged_files.is_empty() {
        warn!(
            session_id = %task.session_id, lost_records = found.lost_records, files = ?found.damaged_files,
            "outputs were damaged: what is missing is fetched again"
        );
    }
}

fn totals(task: &StoredTask, opened: &Opened, settings: &Settings, extend: bool, now: Timestamp) -> Totals {
    let active_ms: u64 = opened.meta.get(META_ACTIVE_MS).and_then(|text| text.parse().ok()).unwrap_or(0);
    let extension = opened.meta.get(META_EXTENSION).and_then(|text| serde_json::from_str::<Extension>(text).ok());
    let mut totals = Totals {
        task: task.task_id.clone(),
        session_start: task.created_at,
        started_at: now,
        counters: opened.counters,
        sitemaps: opened.sitemaps,
        seq: opened.seq,
        broken: None,
        limits: task.spec.limits.clone(),
        max_duration: settings.max_duration,
        extension: extension.unwrap_or_default(),
        active: Duration::from_millis(active_ms),
        heartbeat_every: settings.heartbeat_every,
        checkpoint_every: settings.checkpoint_every,
        last_heartbeat: now,
        last_checkpoint: now,
        counted_to: now,
    };
    if extend && totals.limit_reached().is_some() {
        totals.extension = totals.extend_here();
    }
    totals
}

fn first_snapshot(task: &StoredTask, totals: &Totals, epoch: Epoch, seq: CommitSeq) -> Snapshot {
    Snapshot {
        session_id: task.session_id.clone(),
        task_id: task.task_id.clone(),
        status: SessionStatus::Active,
        status_reason: None,
        stop_reason: None,
        epoch,
        session_start: totals.session_start,
        started_at: totals.started_at,
        active_seconds: totals.active.as_secs_f64(),
        counters: totals.counters,
        rates: Default::default(),
        eta_seconds: None,
        health_score: 1.0,
        health_factors: Vec::new(),
        alerts: Vec::new(),
        last_commit_seq: seq,
        visits_active: 0,
        page_ms: 0.0,
        current_url: None,
        oldest_visit_seconds: 0.0,
        breakers_open: 0,
        checkpoint: (0, None),
        outputs: Vec::new(),
    }
}

/// What holds the session to this process, freed in this order.
struct Ties {
    _place: last_words::Enrolled,
    _lock: Lock,
}

/// Crawls, then closes: last commit, store, checkpoint, heartbeat, lock, in this order.
///
/// The committer is the last argument, so that it is dropped first when this panics.
async fn live(controller: Controller, ties: Ties, committer: Committer) -> SessionEnd {
    let (reason, mut controller) = controller.run().await;
    let paused = controller.paused_by_operator();
    let message = controller.broken().or_else(|| controller.login_failure());
    let mut end = SessionEnd { reason, status: final_status(reason, paused), message };
    controller.record_end(&end).await;
    // Closed before the checkpoint is composed: it then describes the store as it stays.
    if let Err(error) = committer.close().await
        && end.message.is_none()
    {
        warn!(%error, "the store did not close cleanly; nothing committed is lost");
        end.message = Some(error.to_string());
    }
    end.message = end.message.take().or_else(|| controller.nothing_fetched(&end));
    controller.say_goodbye(&end).await;
    drop(ties);
    end
}
