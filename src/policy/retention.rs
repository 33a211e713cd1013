//! What the janitor may remove: only what is old by a clock that can be believed, only what ended.

use std::time::Duration;

use crate::model::duration::Span;
use crate::model::ids::SessionId;
use crate::model::outcome::closed_list;
use crate::model::session::SessionStatus;
use crate::model::time::Timestamp;

/// A clock this far behind the latest instant ever written down is wrong.
const MAX_BACK: Duration = Duration::from_secs(5 * 60);
/// A clock that ran this much further than the boot's own clock since a known point has jumped.
const MAX_JUMP: Duration = Duration::from_secs(3600);
/// A clock that has kept step with the boot's own for this long has had its chance to be set; less than the janitor's
/// hour.
const CONFIRMED_AFTER: Duration = Duration::from_secs(55 * 60);

closed_list! {
    /// A part of a session that can be removed.
    Part {
        /// Checkpoint and the one before it.
        Checkpoint = "checkpoint",
        /// Heartbeat.
        Heartbeat = "heartbeat",
        /// The store and the working files beside it.
        Store = "store",
        /// What the user crawled for.
        Outputs = "outputs",
        /// The whole session directory.
        Directory = "directory",
    }
}

closed_list! {
    /// Why an old or unfinished session stays.
    Kept {
        /// A process holds its lock.
        Owned = "owned",
        /// Not old enough.
        Young = "young",
        /// Not ended, and `purge_unfinished` is not set.
        Unfinished = "unfinished",
        /// Nothing in it proves that it is a session of ours.
        Unproven = "unproven",
        /// The clock cannot be believed.
        ClockNotSane = "clock_not_sane",
        /// Everything that may go is gone already.
        NothingLeft = "nothing_left",
    }
}

/// What the clocks say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockFacts {
    /// Wall clock now.
    pub now: Timestamp,
    /// The latest instant found in any state file or file time.
    pub latest_known: Option<Timestamp>,
    /// A point of this boot at which both clocks were noted: the wall clock, and how long ago that is
    /// by the boot's own clock.
    pub noted: Option<(Timestamp, Duration)>,
    /// The latest instant that an earlier boot has written into a state file.
    pub before_boot: Option<Timestamp>,
    /// The system says that its clock is kept in step with the network's.
    pub synchronised: bool,
}

/// Whether ages may be computed at all: the wall clock is not behind what it once said, it has not run ahead of the
/// clock that cannot be set, and something besides itself speaks for it. That nobody wrote anything between an
/// earlier boot and now is either true or a machine that came up with a wrong clock: then the network's time, or an
/// hour in step with the boot's own clock, decides.
pub fn clock_sane(clock: &ClockFacts) -> bool {
    let behind = clock.latest_known.is_some_and(|latest| latest.since(clock.now) > MAX_BACK);
    let ahead = clock.noted.is_some_and(|(wall, ago)| clock.now.since(wall) > ago + MAX_JUMP);
    let gap = clock.before_boot.is_some_and(|before| clock.now.since(before) > MAX_JUMP);
    let confirmed = clock.synchronised || clock.noted.is_some_and(|(_, ago)| ago >= CONFIRMED_AFTER);
    !behind && !ahead && (!gap || confirmed)
}

/// What is known about one session on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The session.
    pub id: SessionId,
    /// The last status that an owner declared.
    pub status: Option<SessionStatus>,
    /// A process holds its lock.
    pub owned: bool,
    /// A verified `task.json`, checkpoint or heartbeat names this session.
    pub proven: bool,
    /// Last sign of life by its own files' contents.
    pub last_life: Option<Timestamp>,
    /// Last sign of life by the times of its files; the younger of both counts.
    pub last_change: Option<Timestamp>,
    /// The parts that exist.
    pub parts: Vec<Part>,
}

/// What the operator set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionOptions {
    /// `auto_session_cleanup_age`, or what the command says.
    pub max_age: Duration,
    /// Remove outputs as well.
    pub purge_outputs: bool,
    /// Remove sessions that have not ended as well.
    pub purge_unfinished: bool,
}

/// One thing to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purge {
    /// The session.
    pub session: SessionId,
    /// What.
    pub part: Part,
    /// Why: age and status, in words.
    pub why: String,
}

/// What is removed and what is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetentionPlan {
    /// Removed, in this order.
    pub purge: Vec<Purge>,
    /// Kept, and why.
    pub kept: Vec<(SessionId, Kept)>,
}

/// Plans a cleanup. Nothing is removed unless the clock can be believed.
pub fn plan(sessions: &[Candidate], clock: &ClockFacts, options: &RetentionOptions) -> RetentionPlan {
    let sane = clock_sane(clock);
    let mut plan = RetentionPlan::default();
    for session in sessions {
        match judge(session, clock.now, sane, options) {
            Ok(age) => purge(session, age, options, &mut plan),
            Err(kept) => plan.kept.push((session.id.clone(), kept)),
        }
    }
    plan
}

fn judge(session: &Candidate, now: Timestamp, sane: bool, options: &RetentionOptions) -> Result<Duration, Kept> {
    if session.owned {
        return Err(Kept::Owned);
    }
    if !session.proven {
        return Err(Kept::Unproven);
    }
    if !options.purge_unfinished && !session.status.is_some_and(SessionStatus::ended) {
        return Err(Kept::Unfinished);
    }
    if !sane {
        return Err(Kept::ClockNotSane);
    }
    let last = session.last_life.into_iter().chain(session.last_change).max().ok_or(Kept::Unproven)?;
    let age = now.since(last);
    if age <= options.max_age { Err(Kept::Young) } else { Ok(age) }
}

/// An age as a person says it: whole hours, below that whole minutes.
fn roughly(age: Duration) -> String {
    match age.as_secs() {
        secs @ 3600.. => Span::secs(secs / 3600 * 3600).to_string(),
        secs @ 60.. => Span::secs(secs / 60 * 60).to_string(),
        _ => "less than a minute".to_owned(),
    }
}

fn purge(session: &Candidate, age: Duration, options: &RetentionOptions, plan: &mut RetentionPlan) {
    let status = session.status.map_or("unfinished", SessionStatus::as_str);
    let days = roughly(age);
    let wanted: &[Part] = if options.purge_outputs {
        // The directory goes whole, outputs and store with it.
        &[Part::Checkpoint, Part::Heartbeat, Part::Directory]
    } else {
        &[Part::Checkpoint, Part::Heartbeat, Part::Store]
    };
    let before = plan.purge.len();
    for part in wanted.iter().filter(|part| session.parts.contains(part)) {
        let why = format!("{status}, no life for {days}");
        plan.purge.push(Purge { session: session.id.clone(), part: *part, why });
    }
    if plan.purge.len() == before {
        plan.kept.push((session.id.clone(), Kept::NothingLeft));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_roughly() {
        for (secs, told) in [(0, "less than a minute"), (119, "1m"), (7_199, "1h"), (86_400 * 7 + 5, "7d")] {
            assert_eq!(roughly(Duration::from_secs(secs)), told);
        }
    }

    const DAY: i64 = 86_400_000;
    const NOW: i64 = 1_763_719_200_000;

    fn old() -> Candidate {
        Candidate {
            id: "s1".parse().unwrap(),
            status: Some(SessionStatus::Completed),
            owned: false,
            proven: true,
            last_life: Some(Timestamp::from_millis(NOW - 8 * DAY)),
            last_change: Some(Timestamp::from_millis(NOW - 8 * DAY)),
            parts: vec![Part::Checkpoint, Part::Heartbeat, Part::Store, Part::Outputs, Part::Directory],
        }
    }

    fn clock() -> ClockFacts {
        ClockFacts {
            now: Timestamp::from_millis(NOW),
            latest_known: None,
            noted: None,
            before_boot: None,
            synchronised: false,
        }
    }

    fn options() -> RetentionOptions {
        RetentionOptions { max_age: Duration::from_secs(7 * 86_400), purge_outputs: false, purge_unfinished: false }
    }

    #[track_caller]
    fn check(
        name: &str,
        session: Candidate,
        clock: ClockFacts,
        options: RetentionOptions,
        expected: Result<&[Part], Kept>,
    ) {
        let plan = plan(&[session], &clock, &options);
        let parts: Vec<Part> = plan.purge.iter().map(|p| p.part).collect();
        let kept: Vec<Kept> = plan.kept.iter().map(|(_, k)| *k).collect();
        match expected {
            Ok(wanted) => assert_eq!((parts.as_slice(), kept.as_slice()), (wanted, &[][..]), "{name}"),
            Err(why) => assert_eq!((parts.as_slice(), kept.as_slice()), (&[][..], &[why][..]), "{name}"),
        }
    }

    #[test]
    fn only_ended_old_proven_unowned_sessions_go() {
        use Part::{Checkpoint, Directory, Heartbeat, Store};
        let day = |n: i64| Some(Timestamp::from_millis(NOW - n * DAY));
        check("old and ended", old(), clock(), options(), Ok(&[Checkpoint, Heartbeat, Store]));
        check("owned", Candidate { owned: true, ..old() }, clock(), options(), Err(Kept::Owned));
        check("unproven", Candidate { proven: false, ..old() }, clock(), options(), Err(Kept::Unproven));
        check("young by contents", Candidate { last_life: day(6), ..old() }, clock(), options(), Err(Kept::Young));
        check("young by file times", Candidate { last_change: day(1), ..old() }, clock(), options(), Err(Kept::Young));
        let ageless = Candidate { last_life: None, last_change: None, ..old() };
        check("no age at all", ageless, clock(), options(), Err(Kept::Unproven));
        for status in [None, Some(SessionStatus::Active), Some(SessionStatus::Paused)] {
            check("unfinished", Candidate { status, ..old() }, clock(), options(), Err(Kept::Unfinished));
            let all = RetentionOptions { purge_unfinished: true, ..options() };
            check(
                "unfinished, asked for",
                Candidate { status, ..old() },
                clock(),
                all,
                Ok(&[Checkpoint, Heartbeat, Store]),
            );
        }
        let outputs = RetentionOptions { purge_outputs: true, ..options() };
        check("with outputs", old(), clock(), outputs, Ok(&[Checkpoint, Heartbeat, Directory]));
        let gone = Candidate { parts: vec![Part::Outputs, Part::Directory], ..old() };
        check("only outputs left", gone, clock(), options(), Err(Kept::NothingLeft));
    }

    #[test]
    fn age_needs_a_sane_clock() {
        #[track_caller]
        fn sane(name: &str, latest: Option<i64>, noted: Option<(i64, u64)>, expected: bool) {
            let clock = ClockFacts {
                now: Timestamp::from_millis(NOW),
                latest_known: latest.map(Timestamp::from_millis),
                noted: noted.map(|(wall, secs)| (Timestamp::from_millis(wall), Duration::from_secs(secs))),
                before_boot: None,
                synchronised: false,
            };
            assert_eq!(clock_sane(&clock), expected, "{name}");
        }
        sane("nothing known", None, None, true);
        sane("a little behind", Some(NOW + 60_000), None, true);
        sane("set back", Some(NOW + 600_000), None, false);
        sane("both clocks agree", None, Some((NOW - DAY, 86_400)), true);
        sane("suspended for less than an hour", None, Some((NOW - DAY, 84_000)), true);
        sane("jumped a year ahead", None, Some((NOW - 365 * DAY, 3600)), false);
        #[track_caller]
        fn booted(name: &str, before: i64, noted: Option<u64>, synchronised: bool, expected: bool) {
            let noted = noted.map(|secs| (Timestamp::from_millis(NOW - secs as i64 * 1000), Duration::from_secs(secs)));
            let before_boot = Some(Timestamp::from_millis(NOW - before));
            let clock = ClockFacts {
                now: Timestamp::from_millis(NOW),
                latest_known: before_boot,
                noted,
                before_boot,
                synchronised,
            };
            assert_eq!(clock_sane(&clock), expected, "{name}");
        }
        booted("a quick reboot", 600_000, None, false, true);
        booted("a year later, nothing speaks for it", 365 * DAY, None, false, false);
        booted("a year later, up for a minute", 365 * DAY, Some(60), false, false);
        booted("a year later, set by the network", 365 * DAY, None, true, true);
        booted("a year later, up for an hour", 365 * DAY, Some(3600), false, true);
        let mad = ClockFacts { latest_known: Some(Timestamp::from_millis(NOW + DAY)), ..clock() };
        check("old by a mad clock", old(), mad, options(), Err(Kept::ClockNotSane));
    }
}
