//! A session's files at its opening: its lock, its store and outputs, and what the lifetime before left.

use std::collections::BTreeMap;

use crate::clock::Clock;
use crate::crawl::committer::{OpenSession, Opened, StorePaths, create_session, open_session};
use crate::crawl::secrets;
use crate::crawl::session::{Opening, SessionError, Settings, prepare};
use crate::model::checkpoint::{BROWSER_KEY, LearnedMode, LearnedSite};
use crate::model::host::Breaker;
use crate::model::lease::NewUrl;
use crate::model::session::CrashReason;
use crate::model::task::{StoredTask, TaskSpec};
use crate::model::time::Timestamp;
use crate::state::inflight::{self, InflightNote};
use crate::state::lock::{Holder, Lock};
use crate::state::paths::SessionPaths;
use crate::state::{checkpoint_file, end_note, heartbeat_file, last_words, task_file};

/// What a session's files gave.
pub(super) struct Files {
    pub(super) opened: Opened,
    pub(super) lock: Lock,
    pub(super) note: InflightNote,
    pub(super) as_paused: bool,
    pub(super) extend: bool,
    pub(super) revive: bool,
    /// The last sign of the lifetime before; what the store remembers of hosts is as old as that.
    pub(super) last_life: Option<Timestamp>,
    pub(super) browser_before: Option<Breaker>,
    /// Which pages need a browser, as the lifetime before learned it.
    pub(super) modes_learned: BTreeMap<String, LearnedMode>,
    /// What the browser knew of the hosts.
    pub(super) sites_learned: BTreeMap<String, LearnedSite>,
    /// There are cookies of an earlier lifetime.
    pub(super) cookies_kept: bool,
}

/// Takes the lock, opens store and outputs, and reads what the lifetime before left.
pub(super) fn open_files(
    paths: &SessionPaths,
    task: &StoredTask,
    spec: &TaskSpec,
    seeds: Vec<NewUrl>,
    opening: Opening,
    clock: &Clock,
    settings: &Settings,
) -> Result<Files, SessionError> {
    let session = || paths.id().to_string();
    let prepare_failed = |why: String| SessionError::Prepare { session: session(), why };
    let now = clock.now();
    let me = Holder::me(&settings.command, now);
    let take = || Lock::take(&paths.lock(), &me).map_err(|error| prepare_failed(error.to_string()));
    let (mut extended, mut revived) = (false, false);
    let (lock, as_paused, crash) = match opening {
        Opening::Create => {
            // A session that waited for its place has been prepared already.
            if task_file::read(paths).good().is_none() {
                prepare(paths, task)?;
            }
            (take()?, false, None)
        }
        Opening::Restart { as_paused } => (take()?, as_paused, None),
        Opening::Resume { lock, as_paused, crash_reason, extend, revive } => {
            (extended, revived) = (extend, revive);
            (lock, as_paused, Some(crash_reason))
        }
    };
    let fresh = crash.is_none();
    let (checkpoints, heartbeat) = (checkpoint_file::read(paths), heartbeat_file::read(paths));
    let checkpoint = checkpoints.best().map(|(checkpoint, _)| checkpoint);
    let last_life = checkpoint.map(|c| c.checkpoint_time).max(heartbeat.good().map(|(beat, _)| beat.timestamp));
    let browser_before = checkpoint.and_then(|c| c.circuit_breaker_state.get(BROWSER_KEY)).map(|seen| seen.breaker);
    let modes_learned = checkpoint.map(|c| c.crawler_state.fetch_modes.clone()).unwrap_or_default();
    let sites_learned = checkpoint.map(|c| c.crawler_state.sites.clone()).unwrap_or_default();
    let cookies_kept = !fresh && paths.cookies().exists();
    secrets::cookies(&task.spec.fetch, &paths.cookies()).map_err(prepare_failed)?;
    let open = OpenSession {
        paths: StorePaths { db: paths.store(), out: paths.out(), quarantine: paths.damaged() },
        scope: spec.scope.clone(),
        seeds,
        rescoped: task.rescoped.then(|| task.task_hash.clone()),
        started: if fresh { Some(Vec::new()) } else { inflight::read(&paths.in_flight()) },
        blame: crash.and_then(blame),
        epoch_known: checkpoint.map_or(0, |checkpoint| checkpoint.crawler_state.epoch),
        cache_bytes: settings.cache_bytes,
        segment_bytes: settings.segment_bytes,
        now,
    };
    let opened = if fresh { create_session(open) } else { open_session(open) };
    let opened = opened.map_err(|source| SessionError::Store { session: session(), source })?;
    // It had ended and been cleaned up, perhaps. From here on its store says where it stands.
    end_note::remove(paths).map_err(|error| prepare_failed(error.to_string()))?;
    let note = InflightNote::open(&paths.in_flight(), settings.max_visits as usize)
        .map_err(|error| prepare_failed(error.to_string()))?;
    last_words::clear(paths);
    Ok(Files {
        opened,
        lock,
        note,
        as_paused,
        extend: extended,
        revive: revived,
        last_life,
        browser_before,
        modes_learned,
        sites_learned,
        cookies_kept,
    })
}

/// Whether the way a lifetime ended points at the visits it had: `Some(true)` it does and is explained,
/// `Some(false)` it may, `None` it does not.
///
/// A panic that took the daemon down was not that of a visit: a visit's own panic is met by a living daemon,
/// which notes it for that URL alone. What did it is no more known than after a kill.
fn blame(reason: CrashReason) -> Option<bool> {
    match reason {
        CrashReason::Clean => None,
        CrashReason::Oom | CrashReason::BrowserLoss => Some(true),
        CrashReason::Panic
        | CrashReason::Reboot
        | CrashReason::Killed
        | CrashReason::Watchdog
        | CrashReason::Unknown => Some(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_points_at_the_visit_explains_its_death() {
        #[track_caller]
        fn check(reason: CrashReason, expected: Option<bool>) {
            assert_eq!(blame(reason), expected, "{reason}");
        }
        check(CrashReason::Clean, None);
        check(CrashReason::Oom, Some(true));
        check(CrashReason::BrowserLoss, Some(true));
        check(CrashReason::Panic, Some(false));
        check(CrashReason::Killed, Some(false));
        check(CrashReason::Reboot, Some(false));
        check(CrashReason::Watchdog, Some(false));
        check(CrashReason::Unknown, Some(false));
    }
}
