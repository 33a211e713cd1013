//! The process: start in order, loop, stop in order.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::clock::{Clock, uptime};
use crate::config::Config;
use crate::crawl::session::Raised;
use crate::daemon::command::{self, Command, StopLevel};
use crate::daemon::desk::Desk;
use crate::daemon::feed::Feed;
use crate::daemon::house::{House, Visits};
use crate::daemon::last_resort::LastResort;
use crate::daemon::mode::{RunEnd, RunError, RunMode, Started};
use crate::daemon::pulse::Liveness;
use crate::daemon::records::{Records, adopt, refill};
use crate::daemon::resources::{cores, memory_total};
use crate::daemon::sampler::Sampler;
use crate::daemon::signals::{Asked, Signals};
use crate::daemon::supervisor::Supervisor;
use crate::daemon::systemd::Systemd;
use crate::daemon::webhook::Webhook;
use crate::exit_code::ExitCode;
use crate::model::time::Timestamp;
use crate::state::lock::{Holder, Lock, LockError};
use crate::state::{StateDir, group};
use crate::store::registry::{Opened, Registry, RegistryError};

/// Alerts that may wait for the webhook; the log has them all.
const ALERT_QUEUE: usize = 32;
/// The machine is sampled, and the watchdog asked, this often.
const BEAT: Duration = Duration::from_secs(2);
/// The janitor's round.
const JANITOR_EVERY: Duration = Duration::from_secs(3600);
/// For browsers to close by themselves at the stop.
const BROWSER_STOP: Duration = Duration::from_secs(5);
/// For sessions to write their last words after being told to abandon.
const ABANDON_STOP: Duration = Duration::from_secs(8);
/// For the API to answer what it was asked before the stop.
const API_STOP: Duration = Duration::from_secs(5);
/// From the end of the stop budget to the end of the process, whatever hangs.
const LAST_RESORT: Duration =
    Duration::from_secs(ABANDON_STOP.as_secs() + BROWSER_STOP.as_secs() * 2 + API_STOP.as_secs());

/// What the API stands on: the daemon as it sees it.
pub struct ApiGround {
    /// The state directory in use.
    pub state_dir: PathBuf,
    /// Whom to ask.
    pub operator: command::Operator,
    /// What is known of all sessions; none: it cannot be used.
    pub registry: Option<Arc<Registry>>,
    /// Which loops turn.
    pub liveness: Liveness,
    /// The process's clock.
    pub clock: Clock,
    /// When the process started.
    pub started_at: Timestamp,
    /// The command word of the process.
    pub mode: &'static str,
    /// Whether clients beside the Unix socket are served: not by a process that carries out one command.
    pub network: bool,
    /// What watchers are told from.
    pub feed: Feed,
    /// Cancelled at the stop.
    pub stop: CancellationToken,
}

/// Starts what serves the API on the directory's socket, until the token is cancelled. Given by the
/// caller, because the API stands above the daemon.
pub type ServeApi = Box<dyn FnOnce(ApiGround) -> std::io::Result<JoinHandle<()>> + Send>;

/// Runs as the owner of the state directory until the mode's end, an order or a signal.
///
/// `started` is told once crawling starts; it is dropped without a word when the start fails.
pub async fn run(config: Arc<Config>, mode: RunMode, api: ServeApi, started: oneshot::Sender<Started>) -> RunEnd {
    match Owner::take(config, mode, api).await {
        Ok(owner) => owner.live(started).await,
        Err(end) => *end,
    }
}

/// The owner of a state directory.
struct Owner {
    mode: RunMode,
    house: Arc<House>,
    desk: Desk,
    raised: mpsc::Receiver<Raised>,
    webhook: Option<Webhook>,
    inbox: mpsc::Receiver<Command>,
    operator: command::Operator,
    signals: Signals,
    last_resort: LastResort,
    systemd: Systemd,
    api: (JoinHandle<()>, CancellationToken),
    stop: Option<Stop>,
    /// Why a foreground command without a browser ends.
    no_browser: Option<String>,
    _lock: Lock,
    /// Removed last: the state of a run that keeps none.
    _throwaway: Option<tempfile::TempDir>,
}

/// A stop under way.
struct Stop {
    abandon_at: Instant,
    abandoned: bool,
    give_up_at: Instant,
}

impl Owner {
    /// Lock, registry, socket: in this order, and nothing crawls yet.
    async fn take(config: Arc<Config>, mode: RunMode, api: ServeApi) -> Result<Owner, Box<RunEnd>> {
        let fail = |exit, message: String, hint: &str| Box::new(RunEnd::failed(exit, message, hint));
        let clock = Clock::system();
        let throwaway = match config.enable_session_persistence {
            true => None,
            false => Some(tempfile::tempdir().map_err(|error| {
                fail(ExitCode::CannotWrite, format!("cannot make a temporary state directory: {error}"), "")
            })?),
        };
        if throwaway.is_some() {
            warn!("session persistence is switched off: nothing of this run survives it, outputs included");
        }
        let root = throwaway.as_ref().map_or(config.state_dir.as_path(), |dir| dir.path());
        let dir = StateDir::open(root).map_err(|error| fail(ExitCode::CannotWrite, error.to_string(), ""))?;
        if let Some(group) = &config.state_group {
            let wrong = |why: String| fail(ExitCode::BadConfig, format!("state_group: {why}"), "");
            let number = group::number(group).map_err(wrong)?;
            dir.share_with(Some(number)).map_err(|error| {
                let hint = format!("crawld's user must be a member of the group `{group}`");
                fail(ExitCode::BadConfig, format!("state_group: {error}"), &hint)
            })?;
        } else {
            dir.share_with(None).map_err(|error| fail(ExitCode::CannotWrite, error.to_string(), ""))?;
        }
        let lock = Lock::take(&dir.lock(), &Holder::me(mode.name(), clock.now())).map_err(|error| match &error {
            LockError::Held { .. } => fail(ExitCode::InUse, error.to_string(), "ask it with `crawld status`"),
            LockError::Io { source, .. } => {
                let hint = match source.kind() {
                    ErrorKind::InvalidInput | ErrorKind::IsADirectory => {
                        "it is no file: remove it, a lock holds nothing but the name of its last owner"
                    }
                    _ => "check it with `crawld doctor`",
                };
                fail(ExitCode::CannotWrite, error.to_string(), hint)
            }
        })?;
        info!(state_dir = %dir.root().display(), mode = mode.name(), version = env!("CARGO_PKG_VERSION"), "crawld owns its state directory");
        if let Some(warning) = dir.file_system_warning() {
            warn!(state_dir = %dir.root().display(), reason = warning, "the state directory is not on a safe disk");
        }
        let deaf = |error| fail(ExitCode::Bug, format!("cannot listen for signals: {error}"), "");
        let signals = Signals::listen().map_err(deaf)?;
        let last_resort = LastResort::watch(config.stop_timeout.0, LAST_RESORT).map_err(deaf)?;
        crate::fetch::install_tls_provider();
        let registry = open_registry(&dir, clock.now());
        let visits = Visits::new(&config, cores(), memory_total());
        let feed = Feed::start(&dir, config.api_event_history.0, clock.now())
            .map_err(|error| fail(ExitCode::Bug, format!("cannot start the feed: {error}"), ""))?;
        let house = Arc::new(House::new(config, clock.clone(), dir, feed, visits, mode.name()));
        for reaped in crate::browser::reap_leftovers(&house.profiles()) {
            info!(pid = reaped.killed_pid, profile = %reaped.profile.display(), "a browser of an earlier life was ended");
        }
        let records = Records::new(registry, clock);
        let webhook = house.config.alert_webhook.clone().map(Webhook::start);
        let (alerts, raised) = mpsc::channel(ALERT_QUEUE);
        let (operator, inbox) = command::channel();
        let stop_api = CancellationToken::new();
        let ground = ApiGround {
            state_dir: house.dir.root().to_owned(),
            operator: operator.clone(),
            registry: records.registry(),
            liveness: house.liveness.clone(),
            clock: house.clock.clone(),
            started_at: house.started_at,
            mode: mode.name(),
            network: !matches!(mode, RunMode::Once { .. }),
            feed: house.feed.clone(),
            stop: stop_api.clone(),
        };
        let api = api(ground).map_err(|error| {
            fail(
                ExitCode::CannotWrite,
                format!("cannot open the socket in `{}`: {error}", house.dir.root().display()),
                "",
            )
        })?;
        let supervisor = Supervisor::new(house.clone(), records, alerts);
        let desk = Desk::new(house.clone(), supervisor, mode.clone());
        Ok(Owner {
            mode,
            house,
            desk,
            raised,
            webhook,
            inbox,
            operator,
            signals,
            last_resort,
            systemd: Systemd::new(),
            api: (api, stop_api),
            stop: None,
            no_browser: None,
            _lock: lock,
            _throwaway: throwaway,
        })
    }

    async fn live(mut self, started: oneshot::Sender<Started>) -> RunEnd {
        let mut sampler = Sampler::new(&self.house);
        self.measure(&mut sampler).await;
        let first = match self.desk.begin(&self.systemd).await {
            Ok(begun) => begun,
            Err(end) => return self.close(Some(*end)).await,
        };
        // A process that only carries out a command leaves them to the next owner.
        if !matches!(self.mode, RunMode::Once { .. }) {
            self.desk.close_dead_epochs().await;
        }
        self.systemd.ready(&self.desk.status_line());
        let said = started.send(Started {
            operator: self.operator.clone(),
            sessions: first.sessions,
            joined: first.joined,
            recovery: first.recovery,
        });
        if said.is_err() {
            warn!("nobody follows this run");
        }
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut janitor = interval(JANITOR_EVERY);
        janitor.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.over() {
            let deadline = self.stop.as_ref().map(Stop::next_deadline);
            let again = self.desk.rerun_at().filter(|_| self.stop.is_none());
            let again = again.map(|at| Instant::now() + at.since(self.house.clock.now()));
            tokio::select! {
                end = self.desk.supervisor.next_end() => { self.desk.session_ended(end).await; }
                () = self.desk.errands.ended() => {}
                Some(command) = self.inbox.recv() => self.command(command).await,
                Some(raised) = self.raised.recv() => self.alerted(raised),
                asked = self.signals.next() => self.signal(asked).await,
                _ = beat.tick() => {
                    self.measure(&mut sampler).await;
                    self.beat();
                }
                _ = janitor.tick() => self.desk.sweep(),
                () = until(again) => self.desk.rerun().await,
                () = until(deadline) => self.press_on().await,
            }
        }
        self.close(None).await
    }

    async fn measure(&mut self, sampler: &mut Sampler) {
        let orphans = self.desk.supervisor.records().orphan_epochs();
        let supervisor = &self.desk.supervisor;
        let (machine, raised) = sampler.sample(&self.house, |mode| supervisor.activity(mode), orphans).await;
        for raised in raised {
            self.alerted(raised);
        }
        let no_browser = machine.no_browser();
        self.desk.supervisor.sampled(machine);
        let waits_for_it = matches!(self.mode, RunMode::Crawl { .. } | RunMode::Recover { .. })
            && self.stop.is_none()
            && self.desk.supervisor.all_need_browser();
        if let Some(why) = no_browser.filter(|_| waits_for_it) {
            self.no_browser = Some(why);
            self.begin_stop(false).await;
        }
    }

    fn alerted(&self, raised: Raised) {
        if let Some(webhook) = &self.webhook {
            webhook.send(raised, self.house.clock.now());
        }
    }

    fn beat(&mut self) {
        let _ = crate::faults::point("panic.daemon");
        let now = uptime();
        self.house.liveness.turned("daemon", now);
        self.systemd.watchdog(now, &self.house.liveness);
        self.systemd.status(now, self.desk.status_line());
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Shutdown { level, reply } => {
                self.begin_stop(level == StopLevel::Abandon).await;
                let _ = reply.send(Ok(()));
            }
            other => self.desk.execute(other, self.stop.is_some()).await,
        }
    }

    async fn signal(&mut self, asked: Asked) {
        match (asked, &self.stop) {
            (Asked::Reload, None) => {
                self.systemd.reloading();
                self.desk.reload_tasks().await;
                self.systemd.ready(&self.desk.status_line());
            }
            (Asked::Reload, Some(_)) => {}
            (Asked::Stop, None) => {
                const STOPPING: &str = "stopping: visits in flight are finished; a second signal abandons them";
                // In the foreground somebody has just pressed Ctrl-C and waits for a word.
                match self.mode {
                    RunMode::Daemon => info!("{STOPPING}"),
                    _ => warn!("{STOPPING}"),
                }
                self.begin_stop(false).await;
            }
            // The third one is the last resort's affair.
            (Asked::Stop, Some(_)) => self.abandon().await,
        }
    }

    async fn begin_stop(&mut self, abandon: bool) {
        if self.stop.is_none() {
            let asked_at = self.last_resort.loop_stops().unwrap_or_else(Instant::now);
            self.systemd.stopping();
            let abandon_at = asked_at + self.house.config.stop_timeout.0;
            self.stop = Some(Stop { abandon_at, abandoned: false, give_up_at: abandon_at + ABANDON_STOP });
            self.desk.supervisor.stop(false).await;
        }
        if abandon {
            self.abandon().await;
        }
    }

    async fn abandon(&mut self) {
        if let Some(stop) = self.stop.as_mut().filter(|stop| !stop.abandoned) {
            warn!("abandoning the visits in flight; they are fetched again when the crawl continues");
            stop.abandoned = true;
            stop.give_up_at = Instant::now() + ABANDON_STOP;
            self.desk.supervisor.stop(true).await;
        }
    }

    /// A deadline of the stop has passed.
    async fn press_on(&mut self) {
        match &self.stop {
            Some(stop) if stop.abandoned && Instant::now() >= stop.give_up_at => {
                error!("a session did not stop in time: dying; everything committed is safe");
                std::process::exit(i32::from(ExitCode::Stopped.code()));
            }
            Some(_) => self.abandon().await,
            None => {}
        }
    }

    fn over(&self) -> bool {
        match (&self.mode, &self.stop) {
            (_, Some(_)) => self.desk.supervisor.running_none(),
            (RunMode::Crawl { .. } | RunMode::Recover { .. }, None) => self.desk.supervisor.idle(),
            (RunMode::Daemon | RunMode::Once { .. }, None) => false,
        }
    }

    /// API, browsers, lock: in this order.
    async fn close(mut self, failed: Option<RunEnd>) -> RunEnd {
        self.systemd.stopping();
        self.inbox.close();
        self.house.shut_browsers(BROWSER_STOP).await;
        self.house.feed.settle().await;
        if let Some(webhook) = self.webhook.take() {
            webhook.close().await;
        }
        let (task, stop) = self.api;
        stop.cancel();
        if tokio::time::timeout(API_STOP, task).await.is_err() {
            warn!("the API did not end in time");
        }
        if let Err(error) = std::fs::remove_file(self.house.dir.socket()) {
            warn!(%error, "the socket was not removed");
        }
        let mut end = failed.unwrap_or_else(|| self.desk.run_end());
        if let Some(message) = self.no_browser {
            let hint = "`crawld doctor` tries the browser, CRAWLD_CHROME names another; nothing is lost, and the same \
                        command continues";
            end.exit = ExitCode::NoBrowser;
            end.error = Some(RunError { message, hint: Some(hint.to_owned()) });
        }
        end
    }
}

impl Stop {
    fn next_deadline(&self) -> Instant {
        if self.abandoned { self.give_up_at } else { self.abandon_at }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn open_registry(dir: &StateDir, now: Timestamp) -> Result<Arc<Registry>, RegistryError> {
    match Registry::open(&dir.registry(), &dir.quarantine()) {
        Ok((registry, opened)) => {
            if let Opened::Rebuilt { moved_to } = &opened {
                warn!(moved_to = %moved_to.display(), "the registry was damaged: a new one is filled from the sessions");
            }
            if opened != Opened::Existing
                && let Err(error) = refill(dir, &registry, now)
            {
                warn!(%error, "the new registry lacks earlier sessions; nothing else does");
            }
            if opened == Opened::Existing
                && let Err(error) = adopt(dir, &registry, now)
            {
                warn!(%error, "the registry lacks sessions that it was not told of; nothing else does");
            }
            Ok(Arc::new(registry))
        }
        Err(error) => {
            warn!(%error, "no registry: crawling goes on without it");
            Err(error)
        }
    }
}
