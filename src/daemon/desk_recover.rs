//! Recovery as the daemon does it: plan, act, run what is to be continued.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::config::Config;
use crate::crawl::session::Opening;
use crate::daemon::answers::{RecoveryItem, RecoveryReport, RecoveryResult};
use crate::daemon::command::RecoverRequest;
use crate::daemon::desk::{Desk, blocking};
use crate::daemon::evidence::Sources;
use crate::daemon::house::House;
use crate::daemon::recover::{self, Acting, Outcome, Planned, RecoverError, ResumeOrder, StartOrder};
use crate::daemon::summary::NEEDS_GRANT;
use crate::daemon::supervisor::Wanted;
use crate::daemon::systemd::Systemd;
use crate::model::ids::SessionId;
use crate::model::session::{Cause, Decision, SessionRecoveryInfo};
use crate::model::task::TaskOrigin;
use crate::model::time::Timestamp;
use crate::policy::recovery::{Options, Repair, StoreState};
use crate::state::StateDir;
use crate::store::registry::Registry;

/// While recovery works, the service manager hears of it this often: well within any watchdog.
const SAY_SO_EVERY: Duration = Duration::from_secs(5);

/// Losses of outputs that a report names.
const LOSSES_MAX: usize = 3;

/// What recovery needs of the house, for a thread of its own.
struct Ground {
    dir: StateDir,
    registry: Option<Arc<Registry>>,
    config: Arc<Config>,
    now: Timestamp,
    command: String,
}

/// The sessions of this process.
#[derive(Default)]
struct Ours {
    running: Vec<SessionId>,
    waiting: Vec<SessionId>,
}

impl Ours {
    /// What this process does with a session, in words.
    fn stands(&self, id: &SessionId) -> Option<&'static str> {
        if self.running.contains(id) {
            return Some("it runs here");
        }
        self.waiting.contains(id).then_some("it waits for a free place here, and is repaired when it gets one")
    }
}

/// What came of one session.
struct Acted {
    item: RecoveryItem,
    wanted: Option<Wanted>,
}

impl Desk {
    /// Looks at the sessions that nobody runs, decides, acts, and runs what is to be continued.
    /// Returns the report and the sessions that run because of it.
    pub(super) async fn recover(
        &mut self,
        request: RecoverRequest,
        by_command: bool,
        systemd: &Systemd,
    ) -> (RecoveryReport, Vec<SessionId>) {
        let (ground, ours) = (self.ground(), self.ours());
        let options = options(&ground.config, &request, by_command);
        let (only, dry_run) = (request.sessions.clone(), request.dry_run);
        let work = blocking(move || look_and_act(&ground, &only, &ours, &options, dry_run));
        let acted = patiently(work, systemd).await;
        let mut report = RecoveryReport::default();
        let mut started = Vec::new();
        for Acted { mut item, wanted } in acted {
            // At a start that acts only by command, what an interrupted restart made waits for one.
            if let Some(wanted) = wanted.filter(|_| by_command || !request.no_run) {
                let id = wanted.task.session_id.clone();
                let started_now = match (request.no_run, request.at_once) {
                    (true, _) => self.supervisor.open_at_rest(wanted).await,
                    (false, true) => self.supervisor.start(wanted).await,
                    (false, false) => self.supervisor.want(wanted).await,
                };
                match started_now {
                    Ok(()) => started.push(id),
                    Err((code, why)) => {
                        warn!(session_id = %id, reason = why, "session not continued");
                        item.result = RecoveryResult::Failed;
                        item.exit = Some(code);
                        item.message = Some(why);
                    }
                }
            }
            report.sessions.push(item);
        }
        (report, started)
    }
}

/// What recovery would do, said by somebody who is not the directory's owner. Changes nothing, not even
/// what a start puts right before it recovers.
///
/// # Errors
/// No temporary directory can be made for a look into the registry.
pub fn dry_run(config: Config, dir: &StateDir, now: Timestamp, request: &RecoverRequest) -> io::Result<RecoveryReport> {
    let scratch = tempfile::tempdir()?;
    let options = options(&config, request, true);
    let ground = Ground {
        registry: Registry::look(&dir.registry(), scratch.path()).map(Arc::new),
        dir: dir.clone(),
        config: Arc::new(config),
        now,
        command: "recover".to_owned(),
    };
    let acted = look_and_act(&ground, &request.sessions, &Ours::default(), &options, true);
    Ok(RecoveryReport { sessions: acted.into_iter().map(|acted| acted.item).collect(), repaired: Vec::new() })
}

fn options(config: &Config, request: &RecoverRequest, by_command: bool) -> Options {
    Options {
        enabled: by_command || config.session_recovery_enabled,
        migration: config.enable_session_migration,
        strategy: request.strategy,
        extend: request.extend,
        revive: request.revive,
        mend: by_command && !request.sessions.is_empty(),
        resume_max_age: config.resume_max_age.0,
        cleanup_age: config.auto_session_cleanup_age.0,
    }
}

/// Finishes restarts that a killed process left half done; the sessions they make are found by their files.
pub(super) async fn finish_interrupted(house: &House) {
    let dir = house.dir.clone();
    let finished = blocking(move || recover::finish_intents(&dir)).await;
    if let Err(error) = finished {
        warn!(%error, "an interrupted restart could not be finished");
    }
}

impl Desk {
    /// What recovery would do, beside the loop: nothing is changed.
    pub(super) fn dry_recovery(
        &mut self,
        request: RecoverRequest,
    ) -> impl Future<Output = RecoveryReport> + Send + 'static {
        let (ground, ours) = (self.ground(), self.ours());
        let options = options(&ground.config, &request, true);
        async move {
            let acted = blocking(move || look_and_act(&ground, &request.sessions, &ours, &options, true)).await;
            RecoveryReport { sessions: acted.into_iter().map(|acted| acted.item).collect(), repaired: Vec::new() }
        }
    }

    fn ground(&mut self) -> Ground {
        Ground {
            dir: self.house.dir.clone(),
            registry: self.supervisor.records().registry(),
            config: self.house.config.clone(),
            now: self.house.clock.now(),
            command: self.mode.name().to_owned(),
        }
    }

    fn ours(&self) -> Ours {
        Ours {
            running: self.supervisor.snapshots().into_iter().map(|s| s.session_id).collect(),
            waiting: self.supervisor.waiting(),
        }
    }

    /// Closes the lifetimes that dead processes left open in the registry.
    pub(super) async fn close_dead_epochs(&mut self) {
        let Some(registry) = self.supervisor.records().registry() else { return };
        let running: Vec<SessionId> = self.supervisor.snapshots().into_iter().map(|s| s.session_id).collect();
        let (dir, now) = (self.house.dir.clone(), self.house.clock.now());
        let closed = blocking(move || recover::close_dead_epochs(&dir, &registry, &running, now)).await;
        if let Err(error) = closed {
            warn!(%error, "lifetimes of dead processes stay open in the registry");
        }
    }
}

/// Waits for recovery's work, asking the service manager for time while it lasts.
async fn patiently<T>(work: impl Future<Output = T>, systemd: &Systemd) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        match tokio::time::timeout(SAY_SO_EVERY, &mut work).await {
            Ok(done) => return done,
            Err(_) => systemd.working(),
        }
    }
}

fn look_and_act(ground: &Ground, only: &[SessionId], ours: &Ours, options: &Options, dry_run: bool) -> Vec<Acted> {
    let mut acted = Vec::new();
    if !dry_run {
        acted.extend(finish_restarts(ground));
    }
    let says_now = |file: &Path| crate::config::task::load(file, &ground.config).ok();
    let sources = Sources {
        now: ground.now,
        clock_sane: true,
        registry: ground.registry.as_deref(),
        task_file: &says_now,
        whole_outputs: options.mend,
    };
    let planned = match recover::plan(&ground.dir, only, sources, options) {
        Ok(planned) => planned,
        Err(error) => {
            warn!(%error, "recovery cannot look at the sessions");
            return acted;
        }
    };
    let fresh: Vec<SessionId> =
        acted.iter().filter_map(|acted| acted.wanted.as_ref().map(|w| w.task.session_id.clone())).collect();
    for mut plan in planned {
        let id = &plan.info.session_id;
        let here = ours.stands(id);
        // Asked about by name, a session of this process is answered.
        let unasked = here.is_some() && only.is_empty();
        if unasked || fresh.contains(id) {
            continue;
        }
        acted.push(match here {
            Some(why) => left_alone(&plan, why),
            None if dry_run => said(&plan),
            None => {
                name_private(&mut plan);
                act_on(&plan, ground, options)
            }
        });
    }
    acted
}

/// A task that takes the place of another names its private addresses anew, as one that is submitted does. Waits for
/// the names to be resolved, in a thread of its own: whoever asks may be part of a runtime or not.
pub(super) fn name_private(plan: &mut Planned) {
    let applied = plan.verdict.new_scope || plan.verdict.decision == Decision::Restart;
    let Some(task) = plan.gathered.changed_to.as_mut().filter(|_| applied) else { return };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    std::thread::scope(|scope| scope.spawn(|| runtime.block_on(crate::config::task::name_private(task))).join().ok());
}

/// What is to be said of a task file that was changed.
fn file_changed(plan: &Planned) -> Option<String> {
    let file = plan.gathered.changed_to.as_ref()?.file.as_deref()?;
    let by_command = plan.gathered.task.as_ref().is_some_and(|task| task.origin == TaskOrigin::Command);
    match (plan.verdict.decision, plan.verdict.new_scope) {
        (Decision::Resume, true) => Some(format!("its task is now what `{file}` says")),
        (Decision::Resume, false) if by_command => Some(format!(
            "`{file}` was changed since: it goes on as it was begun, `--new` starts one as the file is now"
        )),
        (Decision::Resume, false) => Some(format!("`{file}` was changed since: it goes on as it was begun")),
        _ => None,
    }
}

/// Several sentences as one message.
fn together(sentences: impl IntoIterator<Item = Option<String>>) -> Option<String> {
    let said: Vec<String> = sentences.into_iter().flatten().collect();
    (!said.is_empty()).then(|| said.join("; "))
}

fn finish_restarts(ground: &Ground) -> Vec<Acted> {
    let orders = recover::finish_intents(&ground.dir).unwrap_or_else(|error| {
        warn!(%error, "an interrupted restart could not be finished");
        Vec::new()
    });
    orders.into_iter().map(|order| Acted { item: restarted_before(&order), wanted: Some(start(order)) }).collect()
}

fn said(plan: &Planned) -> Acted {
    let message = match plan.info.recovery_strategy {
        Decision::Skip => advice(plan),
        Decision::Resume | Decision::Restart => together([losses(plan), file_changed(plan)]),
    };
    Acted { item: item(plan.info.clone(), RecoveryResult::Planned, None, message), wanted: None }
}

/// A session that this process runs, or is about to.
fn left_alone(plan: &Planned, why: &str) -> Acted {
    let info = SessionRecoveryInfo {
        recovery_strategy: Decision::Skip,
        cause: Cause::OwnerAlive,
        recovery_possible: false,
        ..plan.info.clone()
    };
    Acted { item: item(info, RecoveryResult::Skipped, None, Some(why.to_owned())), wanted: None }
}

/// What the outputs have lost: it is queued again when the session is opened.
fn losses(plan: &Planned) -> Option<String> {
    if plan.verdict.repair != Repair::Outputs {
        return None;
    }
    let lost = &plan.gathered.outputs_lost;
    let some = lost.iter().take(LOSSES_MAX).cloned().collect::<Vec<_>>().join("; ");
    let more = lost.len().saturating_sub(LOSSES_MAX);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    Some(format!("{some}{more}: what is missing is queued again"))
}

fn act_on(plan: &Planned, ground: &Ground, options: &Options) -> Acted {
    let acting =
        Acting { dir: &ground.dir, registry: ground.registry.as_deref(), now: ground.now, command: &ground.command };
    let info = plan.info.clone();
    let id = info.session_id.clone();
    // A bug met in one session's state is that session's alone.
    let outcome = catch_unwind(AssertUnwindSafe(|| recover::act(plan, acting)))
        .unwrap_or_else(|panic| Err(RecoverError::Bug { session: id.clone(), what: recover::panic_text(&*panic) }));
    info!(session_id = %id, decision = %info.recovery_strategy, cause = %info.cause, crash_reason = %info.crash_reason, "recovery decided");
    match outcome {
        Ok(Outcome::Skip) => Acted { item: item(info, RecoveryResult::Skipped, None, advice(plan)), wanted: None },
        Ok(Outcome::Resume(order)) => {
            let message = together([order.repaired.clone().or_else(|| losses(plan)), file_changed(plan)]);
            let wanted = Wanted { task: order.task.clone(), opening: resume(order, options) };
            Acted { item: item(info, RecoveryResult::Resumed, None, message), wanted: Some(wanted) }
        }
        Ok(Outcome::Start(order)) => {
            let message = Some(format!("the old state is kept in {}", order.quarantine.display()));
            let new = Some(order.session_id.clone());
            Acted { item: item(info, RecoveryResult::Restarted, new, message), wanted: Some(start(order)) }
        }
        Err(error) => {
            warn!(session_id = %id, %error, "recovery could not act");
            let exit = Some(error.exit_code());
            let failed = item(info, RecoveryResult::Failed, None, Some(error.to_string()));
            Acted { item: RecoveryItem { exit, ..failed }, wanted: None }
        }
    }
}

fn resume(order: ResumeOrder, options: &Options) -> Opening {
    let ResumeOrder { lock, as_paused, crash_reason, fresh, .. } = order;
    if fresh {
        // It was killed before its store was made: opened as a new one, under its own id.
        drop(lock);
        return Opening::Restart { as_paused };
    }
    Opening::Resume { lock, as_paused, crash_reason, extend: options.extend, revive: options.revive }
}

fn start(order: StartOrder) -> Wanted {
    Wanted { task: order.task, opening: Opening::Restart { as_paused: order.as_paused } }
}

fn item(
    info: SessionRecoveryInfo,
    result: RecoveryResult,
    new_session_id: Option<SessionId>,
    message: Option<String>,
) -> RecoveryItem {
    RecoveryItem { decision: info.recovery_strategy, info, result, new_session_id, message, exit: None }
}

fn restarted_before(order: &StartOrder) -> RecoveryItem {
    let info = SessionRecoveryInfo {
        session_id: order.replaces.clone(),
        task_id: Some(order.task.task_id.clone()),
        last_checkpoint: None,
        last_heartbeat: None,
        status: crate::model::session::SessionStatus::Recoverable,
        recovery_possible: true,
        estimated_progress: 0.0,
        urls_remaining: 0,
        crash_reason: crate::model::session::CrashReason::Unknown,
        recovery_strategy: Decision::Restart,
        cause: Cause::NothingUsable,
    };
    let message = Some("a restart that was interrupted has been finished".to_owned());
    item(info, RecoveryResult::Restarted, Some(order.session_id.clone()), message)
}

/// What the operator can do about a session that was left alone.
fn advice(plan: &Planned) -> Option<String> {
    let id = &plan.info.session_id;
    let text = match plan.info.cause {
        Cause::OwnerAlive => "another process runs it".to_owned(),
        Cause::OwnerHung => "its process lives but gives no sign of life: look at it, end it, then recover".to_owned(),
        Cause::Environment => {
            let why = plan.gathered.evidence.environment.as_deref().unwrap_or("something outside the session");
            format!("{why}: nothing was touched, it is tried again at the next start; see `crawld doctor`")
        }
        Cause::FormatTooNew => "a newer crawld wrote it: use that one".to_owned(),
        Cause::AlreadyEnded if plan.gathered.evidence.cleaned => "its store was cleaned up".to_owned(),
        Cause::AlreadyEnded if !matches!(plan.gathered.evidence.store, StoreState::Good(_)) => {
            "neither its store nor its outputs can be read: nothing is left to repair it from".to_owned()
        }
        Cause::AlreadyEnded if !plan.gathered.outputs_lost.is_empty() && plan.gathered.evidence.outputs_gone => {
            format!("its outputs are not where they were: `crawld recover {id} --strategy resume` fetches them again")
        }
        Cause::AlreadyEnded => return None,
        Cause::Migrated => "it lives on another machine now".to_owned(),
        Cause::NeedsOperator if plan.gathered.evidence.ungranted => NEEDS_GRANT.to_owned(),
        Cause::NeedsOperator => "no copy of its task is left: its outputs are in the session's directory".to_owned(),
        Cause::CrashLoop | Cause::TooOld | Cause::Disabled => {
            format!("`crawld recover {id} --strategy resume` continues it")
        }
        _ => return None,
    };
    Some(text)
}
