//! Task files, and sessions that are not running: started, changed, packed, swept.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::{info, warn};

use crate::config::task::{load_dir, name_private};
use crate::crawl::handle::{Order, SessionHandle, Snapshot};
use crate::daemon::answers::{CleanupReport, Done, SessionSummary, Submitted};
use crate::daemon::archive::ArchiveError;
use crate::daemon::command::{CleanupRequest, OperatorError, Problem, RecoverRequest, SessionOrder};
use crate::daemon::desk::{Desk, blocking, give};
use crate::daemon::janitor::JanitorError;
use crate::daemon::mode::RunMode;
use crate::daemon::systemd::Systemd;
use crate::daemon::{archive, janitor, records, summary};
use crate::model::ids::SessionId;
use crate::model::session::{SessionStatus, Strategy};
use crate::model::task::TaskOrigin;
use crate::model::text::escape_control;
use crate::model::time::Timestamp;
use crate::policy::tasks::{TaskAction, TaskSession};
use crate::state::lock::LockError;
use crate::state::task_file;

/// A paused session has nothing in flight: it closes at once.
const CLOSE_DEADLINE: Duration = Duration::from_secs(20);
/// Between a session's last word and the release of its lock.
const UNLOCK_DEADLINE: Duration = Duration::from_secs(5);
const UNLOCK_POLL: Duration = Duration::from_millis(20);

impl Desk {
    /// Reads the task files: new ones start, changed ones are reported, running ones are not touched.
    pub(super) async fn reload_tasks(&mut self) {
        let config = self.house.config.clone();
        let (prepared, problems) = blocking(move || load_dir(&config.tasks_dir, &config)).await;
        for problem in problems {
            warn!(%problem, "task file not usable");
        }
        for mut task in prepared {
            name_private(&mut task).await;
            let (id, repeat) = (task.task_id.clone(), false);
            let known = self.known_tasks().await;
            match crate::policy::tasks::plan(&id, &task.task_hash, repeat, &known) {
                TaskAction::Start => {
                    if let Err((_, error)) = self.submit(task, true, repeat).await {
                        warn!(task_id = %id, error, "task not started");
                    }
                }
                TaskAction::Changed(session) => {
                    warn!(task_id = %id, session_id = %session, "task file changed while its session is unfinished: applied at the next start");
                }
                TaskAction::Join(session) if self.ungranted(&session) => {
                    if let Err((_, error)) = self.submit(task, false, repeat).await {
                        warn!(task_id = %id, session_id = %session, error, "imported session not continued");
                    }
                }
                TaskAction::Join(session) => info!(task_id = %id, session_id = %session, "task has a session"),
                TaskAction::AlreadyRan(session) | TaskAction::Limit(session) => {
                    info!(task_id = %id, session_id = %session, "task has run");
                    let last = summary::offline(&self.house.dir.session(&session), self.house.clock.now()).summary;
                    if last.status == SessionStatus::Completed && !self.reruns.contains_key(&id) {
                        self.plan_rerun(&last);
                    }
                }
            }
        }
    }

    /// Notes when a task file with `rerun` starts anew after its session has completed.
    pub(super) fn plan_rerun(&mut self, last: &SessionSummary) {
        let task = task_file::read(&self.house.dir.session(&last.session_id));
        let Some((stored, _)) = task.good() else { return };
        if stored.origin == TaskOrigin::File && stored.spec.rerun {
            let ended = last.last_heartbeat.max(last.last_checkpoint).unwrap_or(stored.created_at);
            self.reruns.insert(stored.task_id.clone(), ended + stored.spec.rerun_after.0);
        }
    }

    /// When the next task file starts anew.
    pub fn rerun_at(&self) -> Option<Timestamp> {
        self.reruns.values().min().copied()
    }

    /// Starts the task files anew whose time has come, with what they say now.
    pub async fn rerun(&mut self) {
        let now = self.house.clock.now();
        let due: Vec<_> = self.reruns.iter().filter(|(_, at)| **at <= now).map(|(id, _)| id.clone()).collect();
        self.reruns.retain(|id, _| !due.contains(id));
        if due.is_empty() {
            return;
        }
        let config = self.house.config.clone();
        let (prepared, _) = blocking(move || load_dir(&config.tasks_dir, &config)).await;
        for mut task in prepared.into_iter().filter(|task| due.contains(&task.task_id) && task.spec.rerun) {
            name_private(&mut task).await;
            let (id, again) = (task.task_id.clone(), now + task.spec.rerun_after.0);
            if let Err((_, error)) = self.submit(task, true, true).await {
                warn!(task_id = %id, error, "task not started again; it is tried once more after its pause");
                self.reruns.insert(id, again);
            }
        }
    }

    /// Whether it is an import that waits for permissions.
    fn ungranted(&self, id: &SessionId) -> bool {
        let known = task_file::read(&self.house.dir.session(id));
        self.supervisor.handle(id).is_none() && known.good().is_some_and(|(task, _)| task.ungranted)
    }

    /// Every session's task, and whether the session has ended.
    pub(super) async fn known_tasks(&self) -> Vec<TaskSession> {
        let (dir, now) = (self.house.dir.clone(), self.house.clock.now());
        let running: Vec<SessionId> = self.supervisor.snapshots().into_iter().map(|s| s.session_id).collect();
        blocking(move || {
            let listing = dir.list().map(|listing| listing.sessions).unwrap_or_default();
            let mut known: Vec<TaskSession> = Vec::new();
            for on_disk in listing {
                let paths = dir.session(&on_disk.id);
                let Some((task, _)) = task_file::read(&paths).good().map(|(task, e)| (task.clone(), e.clone())) else {
                    continue;
                };
                let status = match running.contains(&on_disk.id) {
                    true => SessionStatus::Active,
                    false => summary::offline(&paths, now).summary.status,
                };
                known.push(TaskSession { session: on_disk.id, task: task.task_id, hash: task.task_hash, status });
            }
            known.sort_by(|a, b| a.session.cmp(&b.session));
            known
        })
        .await
    }

    /// An order about a session that is not running: it is opened for it, and left at rest again
    /// where the mode crawls nothing.
    pub(super) async fn order_at_rest(&mut self, id: SessionId, order: SessionOrder) -> Result<Done, OperatorError> {
        let paths = self.house.dir.session(&id);
        if !paths.dir().exists() && !paths.checkpoint().exists() {
            return Err(OperatorError::UnknownSession(id.to_string()));
        }
        let now = self.house.clock.now();
        let status = summary::offline(&paths, now).summary.status;
        match at_rest(status, order, || summary::awaiting(&paths, order)) {
            AtRest::Ended => return Err(OperatorError::Ended(id.to_string())),
            AtRest::Completed => return Err(OperatorError::Completed(id.to_string())),
            AtRest::Cancelled => return Err(OperatorError::Cancelled(id.to_string())),
            AtRest::NothingToDo => return Ok(Done { session_id: id, status, count: 0 }),
            AtRest::Open => {}
        }
        let starts = matches!(
            order,
            SessionOrder::Resume { .. } | SessionOrder::RetryFailed { .. } | SessionOrder::ReleaseParked
        );
        if starts && self.ungranted(&id) {
            return Err(OperatorError::NotNow(summary::NEEDS_GRANT.to_owned()));
        }
        self.supervisor.forget_waiting(&id);
        let request = RecoverRequest {
            sessions: vec![id.clone()],
            strategy: Strategy::Resume,
            extend: matches!(order, SessionOrder::Resume { extend: true }),
            revive: matches!(order, SessionOrder::RetryFailed { .. } | SessionOrder::ReleaseParked),
            at_once: !matches!(order, SessionOrder::Resume { .. }),
            ..RecoverRequest::default()
        };
        let (report, started) = self.recover(request, true, &Systemd::new()).await;
        if !started.contains(&id) {
            let why = report.sessions.into_iter().find_map(|item| item.message);
            return Err(OperatorError::NotNow(why.unwrap_or_else(|| "it cannot be opened".to_owned())));
        }
        let Some(handle) = self.supervisor.handle(&id).cloned() else {
            return Ok(Done { session_id: id, status: SessionStatus::Queued, count: 0 });
        };
        give(&handle, id, order).await
    }

    /// Removes what is old.
    pub(super) fn cleanup(
        &self,
        request: CleanupRequest,
    ) -> impl Future<Output = Result<CleanupReport, OperatorError>> + Send + 'static {
        let ground = self.house.clone();
        let options = janitor::options(&self.house.config, &request);
        blocking(move || {
            janitor::clean(&ground.dir, ground.clock.now(), &options, request.dry_run)
                .map_err(|error| OperatorError::Io(error.to_string()))
        })
    }

    /// Removes a session that has ended.
    pub(super) fn delete(
        &self,
        id: SessionId,
        outputs: bool,
    ) -> Result<impl Future<Output = Result<CleanupReport, OperatorError>> + Send + 'static, OperatorError> {
        let not_over = || Err(OperatorError::NotNow(format!("session {id} is not over: cancel it first")));
        let ending = match self.supervisor.handle(&id) {
            Some(handle) if handle.snapshot().status.ended() => Some(handle.watch()),
            Some(_) => return not_over(),
            None if self.supervisor.is_waiting(&id) => return not_over(),
            None => None,
        };
        let (dir, now) = (self.house.dir.clone(), self.house.clock.now());
        Ok(async move {
            let patience = if ending.is_some() { UNLOCK_DEADLINE } else { Duration::ZERO };
            if let Some(seen) = ending {
                last_word(seen).await.map_err(|why| OperatorError::NotNow(format!("session {id}: {why}")))?;
            }
            blocking(move || {
                let paths = dir.session(&id);
                if !paths.dir().exists() && !paths.checkpoint().exists() {
                    return Err(OperatorError::UnknownSession(id.to_string()));
                }
                let status = summary::offline(&paths, now).summary.status;
                if !status.ended() {
                    return Err(OperatorError::NotNow(format!("session {id} is {status}: cancel it first")));
                }
                let held = |error: &JanitorError| matches!(error, JanitorError::Lock(_));
                let removed = once_unlocked(patience, held, || janitor::remove(&dir, &id, outputs, now));
                removed.map_err(|error| match error {
                    JanitorError::Lock(_) => OperatorError::InUse(error.to_string()),
                    JanitorError::File(_) => OperatorError::Io(error.to_string()),
                })
            })
            .await
        })
    }

    /// The janitor's round.
    pub(super) fn sweep(&mut self) {
        let cleanup = self.cleanup(CleanupRequest::default());
        self.errand(async move {
            match cleanup.await {
                Ok(report) if report.removed.is_empty() => {}
                Ok(report) => {
                    info!(removed = report.removed.len(), bytes = report.freed_bytes, "old sessions were cleaned up")
                }
                Err(error) => warn!(%error, "the janitor could not do its round"),
            }
        });
    }

    /// Packs a session that is not running. One that the operator has paused is closed for it, and stays paused.
    pub(super) fn export(
        &mut self,
        id: SessionId,
        file: PathBuf,
        copy: bool,
    ) -> Result<impl Future<Output = Result<Done, OperatorError>> + Send + 'static, OperatorError> {
        let open = self.supervisor.handle(&id).cloned();
        if let Some(handle) = &open {
            let snapshot = handle.snapshot();
            let paused = snapshot.status_reason.as_deref().is_some_and(|why| why.starts_with("operator"));
            if !paused || !matches!(self.mode, RunMode::Daemon) {
                let todo = match self.mode {
                    RunMode::Daemon => format!("`crawld pause {id}` first; it is then closed and packed"),
                    _ => "stop the command that crawls it first".to_owned(),
                };
                return Err(OperatorError::NotNow(format!("session {id} is {}: {todo}", snapshot.status)));
            }
        }
        let (house, registry) = (self.house.clone(), self.supervisor.records().registry());
        Ok(async move {
            let closed = open.is_some();
            if let Some(handle) = open {
                close(&handle).await.map_err(|why| OperatorError::NotNow(format!("session {id}: {why}")))?;
            }
            blocking(move || {
                let now = house.clock.now();
                let patience = if closed { UNLOCK_DEADLINE } else { Duration::ZERO };
                let held = |error: &ArchiveError| matches!(error, ArchiveError::Lock(LockError::Held { .. }));
                let packed = once_unlocked(patience, held, || archive::export(&house.dir, &id, &file, copy, now));
                let count = packed.map_err(archive_error)?;
                let stands = summary::offline(&house.dir.session(&id), now).summary;
                if let Some(registry) = registry.filter(|_| !copy) {
                    records::moved(&registry, &stands, now);
                }
                Ok(Done { session_id: id, status: stands.status, count })
            })
            .await
        })
    }

    /// Unpacks a session and continues it.
    pub(super) async fn import(&mut self, file: PathBuf) -> Result<Submitted, OperatorError> {
        if !self.house.config.enable_session_migration {
            let why = "is false: sessions of another machine are not taken in";
            return Err(OperatorError::Invalid(vec![Problem::new("enable_session_migration", why)]));
        }
        let (house, registry) = (self.house.clone(), self.supervisor.records().registry());
        let unpack = move || {
            let now = house.clock.now();
            let imported = archive::import(&house.dir, &file, now)?;
            if let Some(registry) = registry {
                // It may have been here before, and the registry knows it as one that left.
                records::moved(
                    &registry,
                    &summary::offline(&house.dir.session(&imported.session_id), now).summary,
                    now,
                );
            }
            Ok(imported)
        };
        let imported = blocking(unpack).await.map_err(archive_error)?;
        let request = RecoverRequest { sessions: vec![imported.session_id.clone()], ..RecoverRequest::default() };
        self.recover(request, true, &Systemd::new()).await;
        Ok(Submitted {
            session_id: imported.session_id,
            task_id: imported.task.task_id,
            joined: false,
            waits: imported.task.ungranted,
            notes: imported.notes,
            recovered: None,
        })
    }
}

/// Has a running session stop where it stands, and waits until its files are free.
async fn close(handle: &SessionHandle) -> Result<(), String> {
    let seen = handle.watch();
    handle.order(Order::Drain).await.map_err(|why| why.to_string())?;
    last_word(seen).await
}

/// Waits until a session that ends has said its last word; its lock is freed with it.
async fn last_word(mut seen: watch::Receiver<Arc<Snapshot>>) -> Result<(), String> {
    let ended = async { while seen.changed().await.is_ok() {} };
    tokio::time::timeout(CLOSE_DEADLINE, ended)
        .await
        .map_err(|_| format!("it did not close within {} s", CLOSE_DEADLINE.as_secs()))
}

/// Works on files that a session is about to let go of.
fn once_unlocked<T, E>(
    within: Duration,
    held: impl Fn(&E) -> bool,
    mut work: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    let give_up = Instant::now() + within;
    loop {
        match work() {
            Err(error) if held(&error) && Instant::now() < give_up => std::thread::sleep(UNLOCK_POLL),
            done => return done,
        }
    }
}

/// What an order about a session at rest comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AtRest {
    /// It is opened for it.
    Open,
    /// It has ended, and the order does not change that.
    Ended,
    /// It has ended with everything done, and is to be extended.
    Completed,
    /// It was ended for good.
    Cancelled,
    /// It has ended, and the order finds nothing that would make it go on.
    NothingToDo,
}

/// Decides about an order to a session at rest; `awaiting` counts the URLs that the order is about, where that
/// is known.
fn at_rest(status: SessionStatus, order: SessionOrder, awaiting: impl Fn() -> Option<u64>) -> AtRest {
    let gives_work = matches!(order, SessionOrder::RetryFailed { .. } | SessionOrder::ReleaseParked);
    let extends = matches!(order, SessionOrder::Resume { extend: true });
    match status {
        SessionStatus::Cancelled => AtRest::Cancelled,
        SessionStatus::Migrated => AtRest::Ended,
        status if !status.ended() => AtRest::Open,
        _ if gives_work && awaiting() == Some(0) => AtRest::NothingToDo,
        SessionStatus::Completed if extends && awaiting().is_none_or(|left| left == 0) => AtRest::Completed,
        _ if gives_work || extends => AtRest::Open,
        _ => AtRest::Ended,
    }
}

/// Whose fault it was: the archive's, the moment's or the disk's.
fn archive_error(error: ArchiveError) -> OperatorError {
    match error {
        ArchiveError::Refused { file, why } => OperatorError::Invalid(vec![Problem::new(
            escape_control(&file.display().to_string()),
            format!("is not a session export ({why}): copy it again, or make a new one with `crawld export`"),
        )]),
        ArchiveError::Lock(_) => OperatorError::InUse(error.to_string()),
        ArchiveError::Known(_) => OperatorError::NotNow(error.to_string()),
        ArchiveError::Exists(_) | ArchiveError::NotExportable(..) => {
            OperatorError::Invalid(vec![Problem::new("export", error.to_string())])
        }
        ArchiveError::File(_) => OperatorError::Io(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_goes_on_only_where_an_order_gives_it_work() {
        #[track_caller]
        fn check(status: SessionStatus, order: SessionOrder, awaiting: Option<u64>, expected: AtRest) {
            assert_eq!(at_rest(status, order, || awaiting), expected, "{status} {order:?} {awaiting:?}");
        }
        let retry = SessionOrder::RetryFailed { quarantined: false };
        let (plain, extend) = (SessionOrder::Resume { extend: false }, SessionOrder::Resume { extend: true });
        for order in [retry, SessionOrder::ReleaseParked, plain, extend, SessionOrder::Cancel] {
            check(SessionStatus::Cancelled, order, Some(7), AtRest::Cancelled);
            check(SessionStatus::Migrated, order, Some(7), AtRest::Ended);
            check(SessionStatus::Crashed, order, Some(0), AtRest::Open);
        }
        for status in [SessionStatus::Completed, SessionStatus::Expired, SessionStatus::Failed] {
            check(status, retry, Some(0), AtRest::NothingToDo);
            check(status, retry, Some(1), AtRest::Open);
            check(status, SessionOrder::ReleaseParked, Some(0), AtRest::NothingToDo);
            // The store cannot tell: recovery sees to it first.
            check(status, retry, None, AtRest::Open);
            check(status, plain, Some(1), AtRest::Ended);
            check(status, extend, Some(1), AtRest::Open);
        }
        check(SessionStatus::Expired, extend, Some(0), AtRest::Open);
        check(SessionStatus::Failed, extend, None, AtRest::Open);
        check(SessionStatus::Completed, extend, Some(0), AtRest::Completed);
        check(SessionStatus::Completed, extend, None, AtRest::Completed);
    }
}
