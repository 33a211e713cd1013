//! What to do with a session that nobody runs: the recovery table, row by row.

use std::time::Duration;

use crate::model::counters::Counters;
use crate::model::ids::CommitSeq;
use crate::model::session::{Cause, CrashReason, Decision, SessionStatus, Strategy};
use crate::model::time::Timestamp;

/// Unclean ends in a row, none explained by a kill or a reboot, that make a crash loop.
pub const LOOP_UNEXPLAINED: u32 = 5;
/// Unclean ends in a row of any kind that make a crash loop.
pub const LOOP_ANY: u32 = 20;
/// An end sooner than this after the first lease says nothing about the session.
pub const LOOP_MIN_LIFE: Duration = Duration::from_secs(10);
/// With less progress than this an old session is cheaper to start over.
pub const BARELY_BEGUN_SHARE: f64 = 0.10;
/// With fewer fetched pages than this an old session is cheaper to start over.
pub const BARELY_BEGUN_PAGES: u64 = 100;

/// Who holds the session's lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Owner {
    /// Nobody.
    #[default]
    None,
    /// A process whose heartbeat is fresh.
    Alive,
    /// A process whose heartbeat is stale.
    Hung,
}

/// What became of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StoreState {
    /// There is no store.
    #[default]
    Missing,
    /// It does not open, or fails its check.
    Damaged,
    /// It opens and checks; the last commit in it.
    Good(CommitSeq),
}

/// What became of the outputs, compared with what the store has committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutputState {
    /// Nothing to compare with, or everything committed is there.
    #[default]
    Whole,
    /// A file is shorter than committed, or its last committed group differs.
    Damaged,
}

/// Unclean ends in a row without one commit between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UncleanEnds {
    /// All of them that lasted at least [`LOOP_MIN_LIFE`].
    pub any: u32,
    /// The newest of these in a row that neither a kill nor a reboot explains.
    pub unexplained: u32,
}

impl UncleanEnds {
    /// Counts a run of ends, oldest first: how each ended, and how long after its first lease.
    pub fn count(run: impl IntoIterator<Item = (CrashReason, Duration)>) -> Self {
        let mut ends = UncleanEnds::default();
        for (reason, lived) in run {
            match reason {
                CrashReason::Clean => ends = UncleanEnds::default(),
                _ if lived < LOOP_MIN_LIFE => {}
                CrashReason::Killed | CrashReason::Reboot => {
                    ends.any += 1;
                    ends.unexplained = 0;
                }
                _ => {
                    ends.any += 1;
                    ends.unexplained += 1;
                }
            }
        }
        ends
    }

    /// Whether they make a crash loop.
    pub fn looping(self) -> bool {
        self.unexplained >= LOOP_UNEXPLAINED || self.any >= LOOP_ANY
    }
}

/// How the last lifetime ended, as far as anything tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndFacts {
    /// There was a lifetime at all.
    pub lived: bool,
    /// It goes on, or the session has ended: nothing has crashed.
    pub sound: bool,
    /// It closed everything.
    pub clean: bool,
    /// The note it left: panic, watchdog, browser loss, out of memory.
    pub last_words: Option<CrashReason>,
    /// It ran in another boot.
    pub boot_changed: bool,
    /// The kernel's out-of-memory counter grew since.
    pub oom_killed: bool,
}

/// How the last lifetime ended. Worked out, not guessed: a note of its own beats everything, then
/// what the kernel says, and only then the silence of a killed process.
pub fn crash_reason(end: &EndFacts) -> CrashReason {
    match end {
        EndFacts { clean: true, .. } | EndFacts { sound: true, .. } => CrashReason::Clean,
        EndFacts { last_words: Some(reason), .. } => *reason,
        EndFacts { lived: false, .. } => CrashReason::Unknown,
        EndFacts { boot_changed: true, .. } => CrashReason::Reboot,
        EndFacts { oom_killed: true, .. } => CrashReason::Oom,
        _ => CrashReason::Killed,
    }
}

/// Everything that the analyzer looks at, read once, before anything is changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// When it was gathered.
    pub now: Timestamp,
    /// Whether the wall clock can be believed: two sources agree, and it did not jump.
    pub clock_sane: bool,
    /// Who holds the session's lock.
    pub owner: Owner,
    /// Why something cannot be read for a reason outside it: space, permission, descriptors, I/O error.
    pub environment: Option<String>,
    /// A file of a newer format, by name.
    pub too_new: Option<String>,
    /// A file of an older format, or written on another machine.
    pub needs_migration: bool,
    /// The last status that an owner declared.
    pub status: Option<SessionStatus>,
    /// It was exported elsewhere.
    pub migrated: bool,
    /// A usable copy of the task exists (`task.json` or the registry's).
    pub task_known: bool,
    /// It came from a task file, and that file now says something else.
    pub task_changed: bool,
    /// It was imported, and waits for the permissions that it had where it came from.
    pub ungranted: bool,
    /// The task wants to be continued with changed scope.
    pub resume_with_new_scope: bool,
    /// Paused by the operator (not by a condition that ends by itself).
    pub paused: bool,
    /// Unclean ends in a row, the last one included.
    pub unclean: UncleanEnds,
    /// The last sign of life.
    pub last_life: Option<Timestamp>,
    /// Committed totals, from the best source.
    pub counters: Option<Counters>,
    /// The store.
    pub store: StoreState,
    /// The latest commit that the checkpoint or the heartbeat knows.
    pub announced: CommitSeq,
    /// The latest commit that the outputs hold; 0 when they hold none.
    pub outputs_reach: CommitSeq,
    /// The outputs compared with the store.
    pub outputs: OutputState,
    /// `urls-*` (and `pages-*`, where any was written) can be read.
    pub outputs_readable: bool,
    /// Killed after its task was written and before the first trace of a crawl.
    pub never_begun: bool,
    /// There is no output file at all: they were moved away, or are lost.
    pub outputs_gone: bool,
    /// Its store was removed on purpose, after its end.
    pub cleaned: bool,
    /// How the last lifetime ended.
    pub end: EndFacts,
}

impl Evidence {
    /// A session about which nothing is known yet.
    pub fn nothing(now: Timestamp) -> Self {
        Evidence {
            now,
            clock_sane: true,
            owner: Owner::None,
            environment: None,
            too_new: None,
            needs_migration: false,
            status: None,
            migrated: false,
            task_known: false,
            task_changed: false,
            ungranted: false,
            resume_with_new_scope: false,
            paused: false,
            unclean: UncleanEnds::default(),
            last_life: None,
            counters: None,
            store: StoreState::Missing,
            announced: 0,
            outputs_reach: 0,
            outputs: OutputState::Whole,
            outputs_readable: false,
            never_begun: false,
            outputs_gone: false,
            cleaned: false,
            end: EndFacts::default(),
        }
    }

    /// How much has ended of what the crawl deals with by itself, 0..1; 0 when nothing is known.
    pub fn progress(&self) -> f64 {
        self.counters.map_or(0.0, |counters| counters.progress())
    }

    fn age(&self) -> Duration {
        match self.last_life {
            Some(at) if self.clock_sane => self.now.since(at),
            _ => Duration::ZERO,
        }
    }
}

/// What the operator set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// `session_recovery_enabled`, or a command asks for it.
    pub enabled: bool,
    /// `enable_session_migration`.
    pub migration: bool,
    /// `--strategy`.
    pub strategy: Strategy,
    /// `--extend`: continue a session that reached a limit.
    pub extend: bool,
    /// An order gives an ended session new work (failed URLs again, parked ones released): it goes on.
    pub revive: bool,
    /// A command names the session: where it has ended and is damaged, it is opened again, which repairs it.
    pub mend: bool,
    /// `resume_max_age`.
    pub resume_max_age: Duration,
    /// `auto_session_cleanup_age`.
    pub cleanup_age: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            enabled: true,
            migration: true,
            strategy: Strategy::Auto,
            extend: false,
            revive: false,
            mend: false,
            resume_max_age: Duration::from_secs(24 * 3600),
            cleanup_age: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

/// What has to be done to the store before the crawl goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// Outputs are cut to their committed length; nothing else.
    Cut,
    /// What is missing in the outputs is queued again.
    Outputs,
    /// The store is built anew from the outputs; nothing is cut.
    Rebuild,
}

/// What recovery does with a session, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Resume, restart or skip.
    pub decision: Decision,
    /// The row of the table.
    pub cause: Cause,
    /// For a resume.
    pub repair: Repair,
    /// Resume, but do not crawl until the operator says so.
    pub as_paused: bool,
    /// Resume with the task as its file says it now.
    pub new_scope: bool,
}

/// Decides: the first row that fits.
pub fn decide(evidence: &Evidence, options: &Options) -> Verdict {
    // An ended session that is still here is repaired; no age and no changed task starts it over.
    let mended = || ended(evidence, options).then(|| by_condition(evidence, options));
    let found = untouchable(evidence, options)
        .or_else(mended)
        .or_else(|| preferred(evidence, options))
        .or_else(|| held_back(evidence, options))
        .unwrap_or_else(|| by_condition(evidence, options));
    Verdict {
        decision: found.0,
        cause: found.1,
        repair: condition(evidence).map_or(Repair::Cut, |(_, repair)| repair),
        as_paused: (evidence.paused || evidence.ungranted) && found.0 != Decision::Skip,
        new_scope: found.0 == Decision::Resume
            && evidence.task_changed
            && evidence.resume_with_new_scope
            && !ended(evidence, options),
    }
}

type Row = (Decision, Cause);

/// Rows that no strategy overrules.
fn untouchable(e: &Evidence, o: &Options) -> Option<Row> {
    let skip = |cause| Some((Decision::Skip, cause));
    match e.owner {
        Owner::Alive => return skip(Cause::OwnerAlive),
        Owner::Hung => return skip(Cause::OwnerHung),
        Owner::None => {}
    }
    if e.environment.is_some() {
        return skip(Cause::Environment);
    }
    if e.too_new.is_some() {
        return skip(Cause::FormatTooNew);
    }
    if ended(e, o) && !mends(e, o) {
        return skip(Cause::AlreadyEnded);
    }
    if e.migrated || e.status == Some(SessionStatus::Migrated) {
        return skip(Cause::Migrated);
    }
    if !e.task_known {
        return skip(Cause::NeedsOperator);
    }
    None
}

fn ended(e: &Evidence, o: &Options) -> bool {
    match e.status {
        // The operator ended it for good.
        Some(SessionStatus::Cancelled) => true,
        Some(SessionStatus::Completed) => !o.revive,
        // It stopped at an error of its files: only a person can know that this is over.
        Some(SessionStatus::Failed) => !matches!(o.strategy, Strategy::Resume),
        Some(SessionStatus::Expired) => !o.extend && !o.revive,
        _ => false,
    }
}

/// Whether a session that has ended is opened again for a repair. Outputs that are gone altogether were moved away:
/// they are made anew only by `--strategy resume`.
fn mends(e: &Evidence, o: &Options) -> bool {
    let asked = match o.strategy {
        Strategy::Auto => !e.outputs_gone,
        Strategy::Resume => true,
        Strategy::Restart | Strategy::Skip => false,
    };
    let broken = match condition(e) {
        Some((_, Repair::Outputs)) => true,
        Some((_, Repair::Rebuild)) => !(e.cleaned && e.store == StoreState::Missing),
        Some((_, Repair::Cut)) | None => false,
    };
    o.mend && asked && broken
}

/// What the operator asked for, where it needs no condition.
fn preferred(e: &Evidence, o: &Options) -> Option<Row> {
    match o.strategy {
        Strategy::Skip => Some((Decision::Skip, Cause::Operator)),
        Strategy::Restart => Some((Decision::Restart, Cause::Operator)),
        Strategy::Resume if held_back(e, o).is_some() && condition(e).is_some() => {
            Some((Decision::Resume, Cause::Operator))
        }
        Strategy::Resume => Some(by_condition(e, o)),
        Strategy::Auto => None,
    }
}

/// Rows that `--strategy resume` releases.
fn held_back(e: &Evidence, o: &Options) -> Option<Row> {
    if e.unclean.looping() {
        return Some((Decision::Skip, Cause::CrashLoop));
    }
    if !o.enabled || (e.needs_migration && !o.migration) {
        return Some((Decision::Skip, Cause::Disabled));
    }
    // Without its permissions its URLs would be used up as refused.
    if e.ungranted {
        return Some((Decision::Skip, Cause::NeedsOperator));
    }
    if e.task_changed && !e.resume_with_new_scope {
        return Some((Decision::Restart, Cause::TaskChanged));
    }
    let fetched = e.counters.map_or(0, |c| c.fetched);
    if e.age() > o.resume_max_age && e.progress() < BARELY_BEGUN_SHARE && fetched < BARELY_BEGUN_PAGES {
        return Some((Decision::Restart, Cause::StaleBarelyBegun));
    }
    if e.age() > o.cleanup_age {
        return Some((Decision::Skip, Cause::TooOld));
    }
    None
}

/// Rows about what is left of the session.
fn by_condition(e: &Evidence, o: &Options) -> Row {
    match condition(e) {
        Some(_) if e.paused => (Decision::Resume, Cause::PausedByOperator),
        Some((cause, _)) => (Decision::Resume, cause),
        // Asked to continue, but there is nothing to continue: starting over was not asked for.
        None if o.strategy == Strategy::Resume => (Decision::Skip, Cause::NothingUsable),
        None => (Decision::Restart, Cause::NothingUsable),
    }
}

/// In which condition a session can be resumed, and what has to be done for it.
fn condition(e: &Evidence) -> Option<(Cause, Repair)> {
    match e.store {
        StoreState::Good(commit) if lost_commits(e, commit) && e.outputs_readable => {
            Some((Cause::StoreLostCommits, Repair::Rebuild))
        }
        StoreState::Good(_) if e.outputs == OutputState::Damaged => Some((Cause::OutputsDamaged, Repair::Outputs)),
        StoreState::Good(_) if e.end.clean => Some((Cause::CleanStop, Repair::Cut)),
        StoreState::Good(_) => Some((Cause::Crash, Repair::Cut)),
        StoreState::Damaged | StoreState::Missing if e.outputs_readable => {
            Some((Cause::RebuiltFromOutputs, Repair::Rebuild))
        }
        // Nothing is lost and nothing has to be moved aside: it keeps its id.
        StoreState::Missing | StoreState::Damaged if e.never_begun => Some((Cause::Crash, Repair::Cut)),
        StoreState::Damaged | StoreState::Missing => None,
    }
}

/// The store is behind what was announced. One group past the store is the normal uncommitted tail.
fn lost_commits(e: &Evidence, commit: CommitSeq) -> bool {
    e.announced > commit || e.outputs_reach > commit + 1
}

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
