//! The recovery table as a table.

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_763_719_200_000);

/// A crashed session with a good store, a third done, alive a minute ago.
fn crashed() -> Evidence {
    Evidence {
        task_known: true,
        status: Some(SessionStatus::Active),
        last_life: Some(Timestamp::from_millis(NOW.millis() - 60_000)),
        counters: Some(Counters { discovered: 300, queued: 200, fetched: 100, ..Counters::default() }),
        store: StoreState::Good(50),
        announced: 50,
        outputs_reach: 50,
        outputs_readable: true,
        end: EndFacts { lived: true, ..EndFacts::default() },
        ..Evidence::nothing(NOW)
    }
}

fn ago(hours: i64) -> Option<Timestamp> {
    Some(Timestamp::from_millis(NOW.millis() - hours * 3_600_000))
}

#[track_caller]
fn row(name: &str, change: impl FnOnce(&mut Evidence), decision: Decision, cause: Cause) -> Verdict {
    with(name, change, |_| (), decision, cause)
}

#[track_caller]
fn with(
    name: &str,
    change: impl FnOnce(&mut Evidence),
    set: impl FnOnce(&mut Options),
    decision: Decision,
    cause: Cause,
) -> Verdict {
    let (mut evidence, mut options) = (crashed(), Options::default());
    change(&mut evidence);
    set(&mut options);
    let verdict = decide(&evidence, &options);
    assert_eq!((verdict.decision, verdict.cause), (decision, cause), "{name}");
    verdict
}

use Decision::{Restart, Resume, Skip};

#[test]
fn every_row_of_the_table() {
    row("lock held, heartbeat fresh", |e| e.owner = Owner::Alive, Skip, Cause::OwnerAlive);
    row("lock held, heartbeat stale", |e| e.owner = Owner::Hung, Skip, Cause::OwnerHung);
    row("cannot be read", |e| e.environment = Some("no space".into()), Skip, Cause::Environment);
    row("newer format", |e| e.too_new = Some("checkpoint".into()), Skip, Cause::FormatTooNew);
    for status in [SessionStatus::Completed, SessionStatus::Cancelled, SessionStatus::Failed, SessionStatus::Expired] {
        row(status.as_str(), |e| e.status = Some(status), Skip, Cause::AlreadyEnded);
    }
    row("exported", |e| e.migrated = true, Skip, Cause::Migrated);
    row("exported by status", |e| e.status = Some(SessionStatus::Migrated), Skip, Cause::Migrated);
    row("no task", |e| e.task_known = false, Skip, Cause::NeedsOperator);
    row("waits for permissions", |e| e.ungranted = true, Skip, Cause::NeedsOperator);
    row("5 unexplained ends", |e| e.unclean = UncleanEnds { any: 5, unexplained: 5 }, Skip, Cause::CrashLoop);
    row("20 ends of any kind", |e| e.unclean = UncleanEnds { any: 20, unexplained: 0 }, Skip, Cause::CrashLoop);
    with("switched off", |_| (), |o| o.enabled = false, Skip, Cause::Disabled);
    with("imported, no migration", |e| e.needs_migration = true, |o| o.migration = false, Skip, Cause::Disabled);
    with("older format, no migration", |e| e.needs_migration = true, |o| o.migration = false, Skip, Cause::Disabled);
    row("task file changed", |e| e.task_changed = true, Restart, Cause::TaskChanged);
    let rescoped = row(
        "task file changed, to be continued with it",
        |e| (e.task_changed, e.resume_with_new_scope) = (true, true),
        Resume,
        Cause::Crash,
    );
    assert!(
        rescoped.new_scope && !row("not changed", |e| e.resume_with_new_scope = true, Resume, Cause::Crash).new_scope
    );
    row("old and barely begun", barely_begun, Restart, Cause::StaleBarelyBegun);
    row("very old", |e| e.last_life = ago(24 * 8), Skip, Cause::TooOld);
    let paused = row("paused", |e| e.paused = true, Resume, Cause::PausedByOperator);
    assert!(paused.as_paused);
    let lost = row("checkpoint knows a later commit", |e| e.announced = 51, Resume, Cause::StoreLostCommits);
    assert_eq!(lost.repair, Repair::Rebuild);
    row("outputs two groups past", |e| e.outputs_reach = 52, Resume, Cause::StoreLostCommits);
    row("clean stop", |e| e.end.clean = true, Resume, Cause::CleanStop);
    assert_eq!(row("crash", |_| (), Resume, Cause::Crash).repair, Repair::Cut);
    let short = row("output short", |e| e.outputs = OutputState::Damaged, Resume, Cause::OutputsDamaged);
    assert_eq!(short.repair, Repair::Outputs);
    for store in [StoreState::Damaged, StoreState::Missing] {
        let rebuilt = row("store gone, outputs there", |e| e.store = store, Resume, Cause::RebuiltFromOutputs);
        assert_eq!(rebuilt.repair, Repair::Rebuild);
        let nothing = |e: &mut Evidence| (e.store, e.outputs_readable) = (store, false);
        row("nothing usable", nothing, Restart, Cause::NothingUsable);
    }
}

#[test]
fn an_ended_session_is_repaired_when_a_command_names_it() {
    let named = |o: &mut Options| o.mend = true;
    let ended = |e: &mut Evidence| (e.status, e.end.clean) = (Some(SessionStatus::Completed), true);
    let short = |e: &mut Evidence| {
        ended(e);
        (e.outputs, e.last_life, e.task_changed) = (OutputState::Damaged, ago(24 * 400), true);
    };
    row("damaged, not named", short, Skip, Cause::AlreadyEnded);
    let verdict = with("damaged, named", short, named, Resume, Cause::OutputsDamaged);
    assert_eq!((verdict.repair, verdict.as_paused), (Repair::Outputs, false));
    let scoped = |e: &mut Evidence| {
        short(e);
        e.resume_with_new_scope = true;
    };
    assert!(!with("damaged, named, its file changed since", scoped, named, Resume, Cause::OutputsDamaged).new_scope);
    with("sound, named", ended, named, Skip, Cause::AlreadyEnded);
    let skipped = |o: &mut Options| (o.mend, o.strategy) = (true, Strategy::Skip);
    with("damaged, to be skipped", short, skipped, Skip, Cause::AlreadyEnded);
    let moved = |e: &mut Evidence| {
        short(e);
        e.outputs_gone = true;
    };
    with("outputs moved away", moved, named, Skip, Cause::AlreadyEnded);
    let insisted = |o: &mut Options| (o.mend, o.strategy) = (true, Strategy::Resume);
    with("outputs moved away, to be made anew", moved, insisted, Resume, Cause::OutputsDamaged);
    for (store, cleaned, decision, cause) in [
        (StoreState::Damaged, false, Resume, Cause::RebuiltFromOutputs),
        (StoreState::Missing, false, Resume, Cause::RebuiltFromOutputs),
        (StoreState::Missing, true, Skip, Cause::AlreadyEnded),
    ] {
        let lost = |e: &mut Evidence| {
            ended(e);
            (e.store, e.cleaned) = (store, cleaned);
        };
        with(&format!("store {store:?}, cleaned up {cleaned}"), lost, named, decision, cause);
    }
    let exported = |e: &mut Evidence| {
        short(e);
        e.migrated = true;
    };
    with("damaged, but exported", exported, named, Skip, Cause::Migrated);
}

fn barely_begun(e: &mut Evidence) {
    e.last_life = ago(25);
    e.counters = Some(Counters { discovered: 1000, queued: 901, fetched: 99, ..Counters::default() });
}

#[test]
fn rows_just_missed() {
    row("4 unexplained ends", |e| e.unclean = UncleanEnds { any: 19, unexplained: 4 }, Resume, Cause::Crash);
    row("one group past is the normal tail", |e| e.outputs_reach = 51, Resume, Cause::Crash);
    row("the announced commit is there", |e| e.announced = 50, Resume, Cause::Crash);
    let scope = |e: &mut Evidence| (e.task_changed, e.resume_with_new_scope) = (true, true);
    row("changed, to be continued with new scope", scope, Resume, Cause::Crash);
    row("old but 100 pages", |e| e.last_life = ago(25), Resume, Cause::Crash);
    let young = |e: &mut Evidence| {
        barely_begun(e);
        e.last_life = ago(23);
    };
    row("barely begun but young", young, Resume, Cause::Crash);
    let mad = |e: &mut Evidence| (e.last_life, e.clock_sane) = (ago(24 * 400), false);
    row("very old by a clock that jumped", mad, Resume, Cause::Crash);
    with("expired, extended", |e| e.status = Some(SessionStatus::Expired), |o| o.extend = true, Resume, Cause::Crash);
    row("older format is migrated", |e| e.needs_migration = true, Resume, Cause::Crash);
    let unreadable = |e: &mut Evidence| (e.announced, e.outputs_readable) = (60, false);
    row("store behind, but no outputs to rebuild from", unreadable, Resume, Cause::Crash);
}

#[test]
fn a_session_killed_before_it_began_keeps_its_id() {
    let begun = |e: &mut Evidence| (e.store, e.outputs_readable, e.never_begun) = (StoreState::Missing, false, true);
    row("only its task is there", begun, Resume, Cause::Crash);
}

#[test]
fn earlier_rows_win() {
    /// From here on every fact of the rows below the named one is true as well.
    type Fact = (Cause, Decision, fn(&mut Evidence));
    let facts: [Fact; 12] = [
        (Cause::OwnerHung, Skip, |e| e.owner = Owner::Hung),
        (Cause::Environment, Skip, |e| e.environment = Some("EIO".into())),
        (Cause::FormatTooNew, Skip, |e| e.too_new = Some("store".into())),
        (Cause::AlreadyEnded, Skip, |e| e.status = Some(SessionStatus::Completed)),
        (Cause::Migrated, Skip, |e| e.migrated = true),
        (Cause::NeedsOperator, Skip, |e| e.task_known = false),
        (Cause::CrashLoop, Skip, |e| e.unclean.any = 20),
        (Cause::TaskChanged, Restart, |e| e.task_changed = true),
        (Cause::TooOld, Skip, |e| e.last_life = ago(24 * 30)),
        (Cause::PausedByOperator, Resume, |e| e.paused = true),
        (Cause::StoreLostCommits, Resume, |e| e.announced = 99),
        (Cause::OutputsDamaged, Resume, |e| e.outputs = OutputState::Damaged),
    ];
    for (at, (cause, decision, _)) in facts.iter().enumerate() {
        let all_below = |e: &mut Evidence| facts[at..].iter().for_each(|(.., set)| set(e));
        row(cause.as_str(), all_below, *decision, *cause);
    }
}

#[test]
fn the_operator_releases_what_is_held_back_and_nothing_else() {
    fn resume(o: &mut Options) {
        o.strategy = Strategy::Resume;
    }
    with("crash loop", |e| e.unclean.any = 20, resume, Resume, Cause::Operator);
    let held = with("without its permissions", |e| e.ungranted = true, resume, Resume, Cause::Operator);
    assert!(held.as_paused, "nothing is visited before the operator says so");
    with("too old", |e| e.last_life = ago(24 * 30), resume, Resume, Cause::Operator);
    with("task changed", |e| e.task_changed = true, resume, Resume, Cause::Operator);
    with("barely begun", barely_begun, resume, Resume, Cause::Operator);
    with("nothing in the way", |_| (), resume, Resume, Cause::Crash);
    with("failed", |e| e.status = Some(SessionStatus::Failed), resume, Resume, Cause::Crash);
    with("completed", |e| e.status = Some(SessionStatus::Completed), resume, Skip, Cause::AlreadyEnded);
    let anything = |o: &mut Options| (o.strategy, o.extend, o.revive) = (Strategy::Resume, true, true);
    with("completed, given work", |e| e.status = Some(SessionStatus::Completed), anything, Resume, Cause::Crash);
    with("cancelled", |e| e.status = Some(SessionStatus::Cancelled), anything, Skip, Cause::AlreadyEnded);
    with("owned", |e| e.owner = Owner::Hung, resume, Skip, Cause::OwnerHung);
    let empty = |e: &mut Evidence| (e.store, e.outputs_readable) = (StoreState::Missing, false);
    with("nothing to resume", empty, resume, Skip, Cause::NothingUsable);

    fn restart(o: &mut Options) {
        o.strategy = Strategy::Restart;
    }
    with("start over", |_| (), restart, Restart, Cause::Operator);
    with("start over without a task", |e| e.task_known = false, restart, Skip, Cause::NeedsOperator);
    with(
        "start over what has ended",
        |e| e.status = Some(SessionStatus::Completed),
        restart,
        Skip,
        Cause::AlreadyEnded,
    );
    with("leave", |_| (), |o| o.strategy = Strategy::Skip, Skip, Cause::Operator);
}

#[test]
fn a_paused_session_is_repaired_too_and_stays_paused_when_started_over() {
    let both = |e: &mut Evidence| (e.paused, e.store) = (true, StoreState::Damaged);
    let verdict = row("paused, store damaged", both, Resume, Cause::PausedByOperator);
    assert_eq!((verdict.repair, verdict.as_paused), (Repair::Rebuild, true));
    let empty = |e: &mut Evidence| (e.paused, e.store, e.outputs_readable) = (true, StoreState::Missing, false);
    assert!(row("paused, nothing usable", empty, Restart, Cause::NothingUsable).as_paused);
}

#[test]
fn crash_reasons_are_worked_out() {
    #[track_caller]
    fn check(name: &str, end: EndFacts, expected: CrashReason) {
        assert_eq!(crash_reason(&end), expected, "{name}");
    }
    let lived = EndFacts { lived: true, ..EndFacts::default() };
    check("clean", EndFacts { clean: true, boot_changed: true, ..lived }, CrashReason::Clean);
    check("silence", lived, CrashReason::Killed);
    check("reboot", EndFacts { boot_changed: true, oom_killed: true, ..lived }, CrashReason::Reboot);
    check("out of memory", EndFacts { oom_killed: true, ..lived }, CrashReason::Oom);
    check(
        "lives, or has ended",
        EndFacts { sound: true, last_words: Some(CrashReason::Panic), ..lived },
        CrashReason::Clean,
    );
    let noted = EndFacts { last_words: Some(CrashReason::Panic), boot_changed: true, ..lived };
    check("panic noted before the reboot", noted, CrashReason::Panic);
    check("never lived", EndFacts::default(), CrashReason::Unknown);
}

#[test]
fn crash_loops_are_counted_in_a_row() {
    use CrashReason::{Clean, Killed, Panic, Reboot};
    #[track_caller]
    fn check(name: &str, run: &[(CrashReason, u64)], any: u32, unexplained: u32) {
        let got = UncleanEnds::count(run.iter().map(|(reason, secs)| (*reason, Duration::from_secs(*secs))));
        assert_eq!(got, UncleanEnds { any, unexplained }, "{name}");
    }
    check("none", &[], 0, 0);
    check("panics", &[(Panic, 10), (Panic, 60)], 2, 2);
    check("too soon to say", &[(Panic, 9), (Killed, 0)], 0, 0);
    check("a kill breaks the row of the unexplained", &[(Panic, 60), (Killed, 60), (Panic, 60)], 3, 1);
    check("a reboot as well", &[(Panic, 60), (Reboot, 60)], 2, 0);
    check("a clean end breaks every row", &[(Panic, 60), (Clean, 60), (Panic, 60)], 1, 1);
}
