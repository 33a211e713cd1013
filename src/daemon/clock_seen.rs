//! What speaks for the wall clock: the state files, the facts in locks, the boot's own clock, the system.

use std::path::Path;
use std::time::Duration;

use crate::model::time::Timestamp;
use crate::policy::retention::ClockFacts;
use crate::state::lock::{Holder, Probe, probe};
use crate::state::paths::{SessionPaths, StateDir};
use crate::state::{checkpoint_file, end_note, heartbeat_file, process, task_file};

/// What the clocks say, from every session's files and the facts in all locks.
pub fn clock_facts(dir: &StateDir, now: Timestamp) -> ClockFacts {
    let synchronised = process::clock_synchronised();
    let mut facts = ClockFacts { now, latest_known: None, noted: None, before_boot: None, synchronised };
    let (boot, since_boot) = (process::boot_id(), crate::clock::boottime_ms());
    // The directory's owner may be this process: its own start is a point like any other.
    let owner = holder(&dir.lock());
    let mut holders: Vec<Holder> = owner.filter(|owner| owner.boot_id == boot).into_iter().collect();
    for session in dir.list().map(|listing| listing.sessions).unwrap_or_default() {
        let paths = dir.session(&session.id);
        let holder = holder(&paths.lock());
        let started = holder.as_ref().map(|holder| (holder.started_at, holder.boot_id.clone()));
        for (at, by) in written(&paths).into_iter().chain(started) {
            facts.latest_known = facts.latest_known.max(Some(at));
            if by != boot {
                facts.before_boot = facts.before_boot.max(Some(at));
            }
        }
        holders.extend(holder);
    }
    for holder in holders.into_iter().filter(|holder| holder.boot_id == boot && holder.boottime_ms > 0) {
        let ago = Duration::from_millis(since_boot.saturating_sub(holder.boottime_ms));
        // The oldest point shows a jump best.
        if facts.noted.is_none_or(|(_, known)| ago > known) {
            facts.noted = Some((holder.started_at, ago));
        }
    }
    facts
}

fn holder(lock: &Path) -> Option<Holder> {
    match probe(lock) {
        Ok(Probe::Free(holder) | Probe::Held(holder)) => holder,
        Err(_) => None,
    }
}

/// The instants in a session's files, each with the boot that wrote it.
fn written(paths: &SessionPaths) -> Vec<(Timestamp, String)> {
    let (beat, checks) = (heartbeat_file::read(paths), checkpoint_file::read(paths));
    let (task, ended) = (task_file::read(paths), end_note::read(paths));
    let all = [
        beat.good().map(|(beat, envelope)| (beat.timestamp, envelope)),
        checks.best().map(|(checkpoint, envelope)| (checkpoint.checkpoint_time, envelope)),
        task.good().map(|(task, envelope)| (task.created_at, envelope)),
        ended.good().map(|(note, envelope)| (note.at, envelope)),
    ];
    all.into_iter().flatten().map(|(at, envelope)| (at, envelope.boot_id.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::policy::retention::clock_sane;
    use crate::state::Durability;

    #[test]
    fn a_point_of_this_boot_and_the_instants_of_earlier_ones_are_told_apart() {
        let temp = tempfile::tempdir().unwrap();
        let dir = StateDir::open(temp.path()).unwrap();
        let paths = dir.session(&"s1".parse().unwrap());
        paths.create().unwrap();
        heartbeat_file::write(&paths, &heartbeat_file::sample("s1", 1), 1, Durability::Full).unwrap();
        let now = Clock::system().now();
        let seen = clock_facts(&dir, now);
        assert!(seen.latest_known.is_some() && seen.before_boot.is_none() && seen.noted.is_none(), "{seen:?}");
        let holder = Holder {
            boot_id: "another boot".into(),
            ..Holder::me("run", Timestamp::from_millis(now.millis() - 7_200_000))
        };
        drop(crate::state::lock::Lock::take(&paths.lock(), &holder).unwrap());
        let seen = ClockFacts { synchronised: false, ..clock_facts(&dir, now) };
        assert_eq!((seen.before_boot, seen.noted), (Some(holder.started_at), None));
        assert!(!clock_sane(&seen), "nothing speaks for the clock since the boot");
        let _owner = crate::state::lock::Lock::take(&dir.lock(), &Holder::me("run", now)).unwrap();
        assert!(clock_facts(&dir, now).noted.is_some(), "the owner's own start");
    }
}
