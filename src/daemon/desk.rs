//! What is done about commands, recovery, task files and old sessions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::task::{Id, JoinError, JoinSet};
use tracing::warn;

use crate::crawl::handle::{Order, SessionHandle, Unheard};
use crate::crawl::session::{Opening, SessionEnd};
use crate::daemon::answers::{Done, RecoveryItem, RecoveryReport, Submitted};
use crate::daemon::command::{Command, OperatorError, RecoverRequest, SessionOrder};
use crate::daemon::desk_recover::finish_interrupted;
use crate::daemon::house::House;
use crate::daemon::mode::{RunEnd, RunMode};
use crate::daemon::repairs::Repairs;
use crate::daemon::supervisor::{Supervisor, Wanted};
use crate::daemon::systemd::Systemd;
use crate::exit_code::ExitCode;
use crate::model::ids::{SessionId, TaskId};
use crate::model::session::SessionStatus;
use crate::model::task::{PreparedTask, StoredTask, TASK_FORMAT, TaskOrigin};
use crate::model::time::Timestamp;
use crate::policy::tasks::{self, TaskAction, TaskSession};
use crate::state::task_file;

/// The desk at which orders are taken.
pub struct Desk {
    /// The sessions.
    pub supervisor: Supervisor,
    pub(super) house: Arc<House>,
    pub(super) mode: RunMode,
    /// Sessions whose own loop panicked in this process: recovered once, not for ever.
    panicked: BTreeSet<SessionId>,
    /// Task files that start anew, and when.
    pub(super) reruns: BTreeMap<TaskId, Timestamp>,
    /// Recoveries that crawl nothing.
    pub(super) repairs: Repairs,
    /// What runs beside the loop.
    pub errands: Errands,
    /// Whoever changes a task's file, one at a time.
    pub(super) amending: Arc<tokio::sync::Mutex<()>>,
}

/// Work for commands that runs beside the loop; each was asked for through the bounded queue of commands.
#[derive(Default)]
pub struct Errands(JoinSet<()>);

impl Errands {
    /// Waits for one to end; for ever while there is none. Cancel-safe.
    pub async fn ended(&mut self) {
        match self.0.join_next().await {
            Some(Err(error)) => tracing::error!(%error, "an order ended badly"),
            Some(Ok(())) => {}
            None => std::future::pending().await,
        }
    }
}

/// What came of the start.
#[derive(Debug, Default)]
pub struct Begun {
    /// The sessions that run because of it.
    pub sessions: Vec<SessionId>,
    /// A submitted task joined a session that was there.
    pub joined: bool,
    /// What recovery did.
    pub recovery: RecoveryReport,
}

impl Desk {
    /// An empty desk.
    pub fn new(house: Arc<House>, supervisor: Supervisor, mode: RunMode) -> Self {
        Desk {
            supervisor,
            house,
            mode,
            errands: Errands::default(),
            amending: Arc::default(),
            panicked: BTreeSet::new(),
            reruns: BTreeMap::new(),
            repairs: Repairs::default(),
        }
    }

    /// Does what the mode asks for at the start.
    pub async fn begin(&mut self, systemd: &Systemd) -> Result<Begun, Box<RunEnd>> {
        match self.mode.clone() {
            RunMode::Once { .. } => {
                self.supervisor.rest();
                Ok(Begun::default())
            }
            RunMode::Daemon => {
                let request =
                    RecoverRequest { no_run: !self.house.config.session_recovery_enabled, ..RecoverRequest::default() };
                let (recovery, sessions) = self.recover(request, false, systemd).await;
                self.reload_tasks().await;
                Ok(Begun { sessions, joined: false, recovery })
            }
            RunMode::Recover { sessions, strategy, no_run } => {
                let request = RecoverRequest { sessions, strategy, no_run, ..RecoverRequest::default() };
                let (recovery, sessions) = self.recover(request, true, systemd).await;
                if !no_run {
                    return Ok(Begun { sessions, joined: false, recovery });
                }
                self.repair(recovery.clone(), sessions, None);
                Ok(Begun { sessions: Vec::new(), joined: false, recovery })
            }
            RunMode::Crawl { task, new } => {
                // The task may be that of a restart under way.
                finish_interrupted(&self.house).await;
                let submitted = self
                    .submit(*task, new, true)
                    .await
                    .map_err(|(code, error)| Box::new(RunEnd::failed(code, error, "")))?;
                let recovery =
                    RecoveryReport { sessions: Vec::from_iter(submitted.recovered), ..RecoveryReport::default() };
                Ok(Begun { sessions: vec![submitted.session_id], joined: submitted.joined, recovery })
            }
        }
    }

    /// Carries out a command, `Shutdown` excepted, and answers it.
    pub async fn execute(&mut self, command: Command, stopping: bool) {
        // A listener that has gone is no error: the command was carried out all the same.
        match command {
            Command::Submit { task, new, reply } => {
                let answer = match stopping {
                    true => Err(OperatorError::Gone("crawld is stopping".to_owned())),
                    false => self.submit(*task, new, true).await.map_err(|(code, error)| operator_error(code, error)),
                };
                let _ = reply.send(answer);
            }
            Command::Sessions { reply } => {
                let list = self.sessions();
                self.errand(async move { drop(reply.send(Ok(list.await))) });
            }
            Command::Running { reply } => {
                let running = self.running();
                self.errand(async move { drop(reply.send(Ok(running.await))) });
            }
            Command::Status { session, reply } => {
                let status = self.status(session);
                self.errand(async move { drop(reply.send(status.await.map(Box::new))) });
            }
            Command::Order { session, order, reply } => match self.supervisor.handle(&session).cloned() {
                Some(handle) => self.errand(async move { drop(reply.send(give(&handle, session, order).await)) }),
                None => drop(reply.send(self.order_at_rest(session, order).await)),
            },
            Command::Amend { session, amendment, reply } => {
                let amended = self.amend(session, amendment);
                self.errand(async move { drop(reply.send(amended.await)) });
            }
            Command::Recover { request, reply } if request.dry_run => {
                let report = self.dry_recovery(request);
                self.errand(async move { drop(reply.send(Ok(report.await))) });
            }
            Command::Recover { request, reply } => {
                let no_run = request.no_run;
                let (report, started) = self.recover(request, true, &Systemd::new()).await;
                match no_run {
                    true => self.repair(report, started, Some(reply)),
                    false => drop(reply.send(Ok(report))),
                }
            }
            Command::Cleanup { request, reply } => {
                let cleanup = self.cleanup(request);
                self.errand(async move { drop(reply.send(cleanup.await)) });
            }
            Command::Delete { session, outputs, reply } => match self.delete(session, outputs) {
                Ok(deleted) => self.errand(async move { drop(reply.send(deleted.await)) }),
                Err(error) => drop(reply.send(Err(error))),
            },
            Command::Export { session, file, copy, reply } => match self.export(session, file, copy) {
                Ok(export) => self.errand(async move { drop(reply.send(export.await)) }),
                Err(error) => drop(reply.send(Err(error))),
            },
            Command::Import { file, reply } => drop(reply.send(self.import(file).await)),
            Command::Browsers { reply } => {
                let house = self.house.clone();
                self.errand(async move { drop(reply.send(Ok(house.browsers_if_any().await))) });
            }
            Command::Stats { reply } => {
                self.catch_up().await;
                drop(reply.send(self.supervisor.records().stats()));
            }
            Command::Health { reply } => drop(reply.send(Ok(self.health(stopping)))),
            Command::Shutdown { reply, .. } => drop(reply.send(Ok(()))),
        }
    }

    /// Starts a task's session, or joins the unfinished one of the same content.
    pub(super) async fn submit(
        &mut self,
        task: PreparedTask,
        new: bool,
        repeat: bool,
    ) -> Result<Submitted, (ExitCode, String)> {
        let known = self.known_tasks().await;
        let action = if new { TaskAction::Start } else { tasks::plan(&task.task_id, &task.task_hash, repeat, &known) };
        let task_id = task.task_id.clone();
        let joined = |session_id, recovered| Submitted {
            session_id,
            task_id: task_id.clone(),
            joined: true,
            waits: false,
            notes: Vec::new(),
            recovered,
        };
        match action {
            TaskAction::Start => {
                let elsewhere = |known: &&TaskSession| {
                    known.hash == task.task_hash && known.status == SessionStatus::Migrated && known.task == task_id
                };
                if let Some(left) = known.iter().rfind(elsewhere) {
                    warn!(task_id = %task_id, session_id = %left.session, "a session of this task was exported and lives elsewhere: this is another one");
                }
                let stored = self.store_task(task);
                let session_id = stored.session_id.clone();
                self.supervisor.want(Wanted { task: stored, opening: Opening::Create }).await?;
                Ok(Submitted { session_id, task_id, joined: false, waits: false, notes: Vec::new(), recovered: None })
            }
            TaskAction::Join(id) => {
                self.grant(&id, &task).await;
                let recovered = self.continue_session(&id).await?;
                Ok(joined(id, recovered))
            }
            TaskAction::AlreadyRan(id) => Ok(joined(id, None)),
            TaskAction::Limit(id) => Err((
                ExitCode::Stopped,
                format!(
                    "session {id} of this task has reached its limit: `crawld resume {id} --extend` continues it, --new starts another"
                ),
            )),
            TaskAction::Changed(id) => Err((
                ExitCode::BadConfig,
                format!(
                    "session {id} of this task is unfinished and was started with other settings: cancel it, or use --new"
                ),
            )),
        }
    }

    /// An imported session left its permissions behind; the same task given here brings those of this operator.
    async fn grant(&self, id: &SessionId, given: &PreparedTask) {
        if self.supervisor.handle(id).is_some() {
            return;
        }
        let paths = self.house.dir.session(id);
        let (named, networks) = (given.named_private.clone(), given.spec.allow_private_networks.clone());
        let (fetch, login) = (given.spec.fetch.clone(), given.spec.login.clone());
        let written = blocking(move || {
            let reading = task_file::read(&paths);
            let imported = reading.good().map(|(task, _)| task).filter(|task| task.origin == TaskOrigin::Import);
            let Some(mut task) = imported.cloned() else { return Ok(()) };
            task.named_private = named;
            task.ungranted = false;
            task.spec.allow_private_networks = networks;
            task.spec.fetch = fetch;
            task.spec.login = login;
            task_file::write(&paths, &task)
        });
        if let Err(error) = written.await {
            warn!(session_id = %id, %error, "permissions to reach private networks were not taken over");
        }
    }

    fn store_task(&self, task: PreparedTask) -> StoredTask {
        let now = self.house.clock.now();
        StoredTask {
            format: TASK_FORMAT,
            session_id: SessionId::new(now.millis(), fastrand::u64(..)),
            task_id: task.task_id,
            task_hash: task.task_hash,
            origin: task.origin,
            file: task.file,
            created_at: now,
            named_private: task.named_private,
            ungranted: false,
            rescoped: false,
            spec: task.spec,
        }
    }

    /// Runs a session again that is not running, by way of recovery, so that whatever happened to it is seen to;
    /// answers what recovery found.
    async fn continue_session(&mut self, id: &SessionId) -> Result<Option<RecoveryItem>, (ExitCode, String)> {
        if self.supervisor.handle(id).is_some() || self.supervisor.is_waiting(id) {
            return Ok(None);
        }
        let request = RecoverRequest {
            sessions: vec![id.clone()],
            strategy: crate::model::session::Strategy::Resume,
            ..RecoverRequest::default()
        };
        let (report, started) = self.recover(request, true, &Systemd::new()).await;
        if started.contains(id) {
            return Ok(report.sessions.into_iter().find(|item| item.info.session_id == *id));
        }
        let why = report.sessions.iter().find_map(|item| item.message.clone());
        let code = report.sessions.iter().map(RecoveryItem::asks_for).find(|code| *code != ExitCode::Ok);
        let why = why.unwrap_or_else(|| format!("session {id} cannot be continued"));
        Err((code.unwrap_or(ExitCode::BadConfig), why))
    }

    /// Runs something beside the loop, which must keep turning.
    pub(super) fn errand(&mut self, errand: impl Future<Output = ()> + Send + 'static) {
        self.errands.0.spawn(errand);
    }

    /// Sees a session end. A task file with `rerun` starts anew in time.
    pub async fn session_ended(&mut self, end: Result<(Id, SessionEnd), JoinError>) {
        let Some(last) = self.supervisor.saw_end(end).await else { return };
        if self.repairs.ended(&last) {
            if last.status == SessionStatus::Crashed {
                self.supervisor.raise(ExitCode::Bug);
            }
        } else if last.status == SessionStatus::Crashed {
            self.recover_panicked(last.session_id).await;
        } else if matches!(self.mode, RunMode::Daemon) && last.status == SessionStatus::Completed {
            self.plan_rerun(&last);
        }
    }

    /// A session whose own loop panicked is recovered like after any crash, once in a process.
    async fn recover_panicked(&mut self, id: SessionId) {
        let first = self.panicked.insert(id.clone());
        if first && !self.supervisor.stopping() && !matches!(self.mode, RunMode::Once { .. }) {
            let request = RecoverRequest { sessions: vec![id.clone()], ..RecoverRequest::default() };
            let (_, started) = self.recover(request, false, &Systemd::new()).await;
            if !started.is_empty() {
                return;
            }
        }
        warn!(session_id = %id, "a session that panicked stays as it is: `crawld recover` continues it");
        self.supervisor.raise(ExitCode::Bug);
    }

    /// How the run ended, for the shell.
    pub fn run_end(&mut self) -> RunEnd {
        let exit = match self.mode {
            RunMode::Daemon | RunMode::Once { .. } | RunMode::Recover { no_run: true, .. } => {
                match self.supervisor.exit_code() {
                    ExitCode::Bug => ExitCode::Bug,
                    _ => ExitCode::Ok,
                }
            }
            _ => self.supervisor.exit_code(),
        };
        RunEnd { exit, sessions: self.supervisor.ended().values().cloned().collect(), error: None }
    }
}

/// Gives a running session an order.
pub(super) async fn give(handle: &SessionHandle, id: SessionId, order: SessionOrder) -> Result<Done, OperatorError> {
    // The order is committed when it is answered; the snapshot may be a moment behind.
    let reached = match order {
        SessionOrder::Pause => Some(SessionStatus::Paused),
        SessionOrder::Cancel => Some(SessionStatus::Cancelled),
        _ => None,
    };
    let order = match order {
        SessionOrder::Checkpoint => Order::Checkpoint,
        SessionOrder::Pause => Order::Pause,
        SessionOrder::Resume { .. } => Order::Resume,
        SessionOrder::Cancel => Order::Cancel,
        SessionOrder::RetryFailed { quarantined } => Order::RetryFailed { class: None, quarantined },
        SessionOrder::ReleaseParked => Order::ReleaseParked { reason: None },
    };
    let count = handle.order(order).await.map_err(|why| match why {
        Unheard::Ended => OperatorError::Gone(format!("session {id} ended before it answered")),
        Unheard::Refused(why) => OperatorError::NotNow(why),
    })?;
    Ok(Done { session_id: id, status: reached.unwrap_or_else(|| handle.snapshot().status), count })
}

/// Runs file work off the loop.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // Not resumed but begun anew: the panic hook has to see that it is the daemon's own now.
        Err(error) => panic!("file work of the daemon failed: {error}"),
    }
}

fn operator_error(code: ExitCode, error: String) -> OperatorError {
    match code {
        ExitCode::InUse => OperatorError::InUse(error),
        ExitCode::Stopped => OperatorError::NotNow(error),
        ExitCode::CannotWrite => OperatorError::Io(error),
        ExitCode::NoBrowser => OperatorError::NoBrowser(error),
        _ => OperatorError::Invalid(vec![crate::daemon::command::Problem::new("task", error)]),
    }
}
