//! Evidence: everything the recovery analyzer looks at, read once, before anything is changed.

use std::path::Path;
use std::time::Duration;

use crate::daemon::outputs_seen::{self, OutputsSeen};
use crate::daemon::store_seen::{self, StoreSeen};
use crate::model::checkpoint::Checkpoint;
use crate::model::counters::Counters;
use crate::model::heartbeat::Heartbeat;
use crate::model::ids::{Epoch, TaskId};
use crate::model::session::{CrashReason, SessionStatus, StopReason};
use crate::model::task::{PreparedTask, StoredTask, TaskOrigin};
use crate::model::time::Timestamp;
use crate::policy::recovery::{EndFacts, Evidence, OutputState, Owner, StoreState, UncleanEnds, crash_reason};
use crate::state::atomic_file::{Content, judge};
use crate::state::end_note::{self, EndNote};
use crate::state::envelope::{Envelope, Reading};
use crate::state::last_words::{self, LastWords};
use crate::state::lock::{Holder, Probe, probe};
use crate::state::paths::SessionPaths;
use crate::state::recovery_file::{self, RecoveryRecord, UncleanEnd, add_end};
use crate::state::{checkpoint_file, heartbeat_file, process, task_file};
use crate::store::registry::{Registry, SessionRow};

/// A session that has just been opened has no heartbeat yet.
const OPENING: Duration = Duration::from_secs(180);
/// With less free space than this nothing is begun: recovery itself has to write.
const SPACE_MIN: u64 = 4 << 20;

/// What the gatherer needs besides the session's files.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// The wall clock.
    pub now: Timestamp,
    /// Whether ages can be believed.
    pub clock_sane: bool,
    /// The registry, when it can be used.
    pub registry: Option<&'a Registry>,
    /// What a task file says now; `None` when it is gone or not a task.
    pub task_file: &'a dyn Fn(&Path) -> Option<PreparedTask>,
    /// Read the outputs to their end, not their ends alone: for sessions that a command names.
    pub whole_outputs: bool,
}

/// One session's evidence, with what the decision itself does not need.
#[derive(Debug, Clone)]
pub struct Gathered {
    /// What the decision looks at.
    pub evidence: Evidence,
    /// How the last lifetime ended.
    pub crash_reason: CrashReason,
    /// The task: from `task.json`, or the registry's copy.
    pub task: Option<StoredTask>,
    /// What the task's file says now, where that is something else: it decides only for a task from a file of the
    /// tasks' directory.
    pub changed_to: Option<PreparedTask>,
    /// `task.json` itself is whole.
    pub task_file_good: bool,
    /// The task's id, from whatever knows it.
    pub task_id: Option<TaskId>,
    /// Time of the last good checkpoint.
    pub last_checkpoint: Option<Timestamp>,
    /// Time of the last readable heartbeat.
    pub last_heartbeat: Option<Timestamp>,
    /// The run of unclean ends, the last one included.
    pub unclean_ends: Vec<UncleanEnd>,
    /// What was seen, in sentences.
    pub notes: Vec<String>,
    /// What the outputs have lost, in sentences.
    pub outputs_lost: Vec<String>,
    /// Output files with a line that is no record, and how far they are good, in bytes of text.
    pub outputs_bad: Vec<(String, u64)>,
}

impl Gathered {
    /// A session that could not be looked at, and why.
    pub fn nothing(now: Timestamp, why: String) -> Self {
        Gathered {
            notes: vec![format!("environment: {why}")],
            evidence: Evidence { environment: Some(why), ..Evidence::nothing(now) },
            crash_reason: CrashReason::Unknown,
            task: None,
            changed_to: None,
            task_file_good: false,
            task_id: None,
            last_checkpoint: None,
            last_heartbeat: None,
            unclean_ends: Vec::new(),
            outputs_lost: Vec::new(),
            outputs_bad: Vec::new(),
        }
    }
}

/// Everything read about a session.
struct Read {
    task: Reading<StoredTask>,
    checkpoints: checkpoint_file::Checkpoints,
    heartbeat: Reading<Heartbeat>,
    ended: Reading<EndNote>,
    record: Reading<RecoveryRecord>,
    words: Option<LastWords>,
    lock: Result<Probe, String>,
    row: Option<SessionRow>,
    registry_task: Option<StoredTask>,
    store: StoreSeen,
    outputs: OutputsSeen,
    note_time: Option<Timestamp>,
    free_bytes: Option<u64>,
}

impl Read {
    fn holder(&self) -> Option<&Holder> {
        match &self.lock {
            Ok(Probe::Free(holder) | Probe::Held(holder)) => holder.as_ref(),
            Err(_) => None,
        }
    }

    fn checkpoint(&self) -> Option<(&Checkpoint, &Envelope)> {
        self.checkpoints.best()
    }

    /// Another boot than this one is named by the last lifetime.
    fn boot_changed(&self) -> bool {
        let named = self.holder().map(|h| h.boot_id.as_str());
        let named = named.or_else(|| self.heartbeat.good().map(|(_, envelope)| envelope.boot_id.as_str()));
        named.is_some_and(|boot| boot != process::boot_id())
    }

    fn epoch(&self) -> Epoch {
        let beat = self.heartbeat.good().map(|(beat, _)| beat.epoch);
        let check = self.checkpoint().map(|(checkpoint, _)| checkpoint.crawler_state.epoch);
        beat.max(check).max(self.store.epoch.map(|(epoch, _)| epoch)).unwrap_or(0)
    }

    fn counters(&self) -> Option<Counters> {
        let check = self.checkpoint().map(|(checkpoint, _)| checkpoint.progress_snapshot.counters);
        let ended = self.ended.good().map(|(note, _)| note.counters);
        self.store.counters.or(check).or(ended).or(self.row.as_ref().map(|row| row.counters))
    }

    /// It was imported, and has not lived here yet.
    fn foreign(&self) -> bool {
        let imported = self.task.good().is_some_and(|(task, _)| task.origin == TaskOrigin::Import);
        imported && matches!(self.lock, Ok(Probe::Free(None)))
    }

    /// It was exported and lives elsewhere. The note says so, and in case that it is lost the store and the last
    /// checkpoint as well. The registry is asked only where neither of these can speak: it may not have heard
    /// that the session came home.
    fn migrated(&self) -> bool {
        let left = |status: SessionStatus| status == SessionStatus::Migrated;
        let check = self.checkpoints.current.good().map(|(c, _)| left(c.progress_snapshot.status));
        if self.ended.good().is_some_and(|(note, _)| left(note.status)) || self.store.migrated || check == Some(true) {
            return true;
        }
        let silent = check.is_none() && !matches!(self.store.state, StoreState::Good(_)) && !self.foreign();
        silent && self.row.as_ref().is_some_and(|row| left(row.status))
    }

    /// What was declared last, by the newest source that declares anything.
    fn status(&self) -> Option<SessionStatus> {
        let sources = [
            self.heartbeat.good().map(|(beat, _)| (beat.timestamp, beat.status)),
            self.checkpoint().map(|(c, _)| (c.checkpoint_time, c.progress_snapshot.status)),
            self.ended.good().map(|(note, _)| (note.at, note.status)),
        ];
        let newest = sources.into_iter().flatten().max_by_key(|(at, _)| *at).map(|(_, status)| status);
        // What the registry knows of a session that has just come home is how it left.
        let status = newest.or(self.row.as_ref().filter(|_| !self.foreign()).map(|row| row.status));
        // It was opened again, by an order or for a repair, and killed before it said so.
        let has_work = self.store.counters.is_some_and(|counters| counters.remaining() > 0);
        if status == Some(SessionStatus::Completed) && has_work { Some(SessionStatus::Active) } else { status }
    }

    fn last_life(&self) -> Option<Timestamp> {
        [
            self.heartbeat.good().map(|(beat, _)| beat.timestamp),
            self.checkpoint().map(|(checkpoint, _)| checkpoint.checkpoint_time),
            self.words.as_ref().map(|words| words.at),
            self.holder().map(|holder| holder.started_at),
            self.note_time,
            self.task.good().map(|(task, _)| task.created_at),
            self.row.as_ref().and_then(|row| row.last_life),
        ]
        .into_iter()
        .flatten()
        .max()
    }

    /// The last lifetime closed everything, and no later one began.
    fn clean(&self) -> bool {
        if let Some(clean) = self.store.clean {
            return clean;
        }
        let Some((checkpoint, _)) = self.checkpoint() else { return false };
        let stopped = checkpoint.progress_snapshot.stop_reason;
        let by_itself = stopped.is_some_and(|reason| !matches!(reason, StopReason::Panic | StopReason::IoError));
        by_itself && checkpoint.crawler_state.epoch >= self.epoch() && self.words.is_none()
    }

    fn paused(&self) -> bool {
        let by_operator = match self.heartbeat.good() {
            Some((beat, _)) if beat.status == SessionStatus::Paused => {
                beat.status_reason.as_deref().is_some_and(|why| why.starts_with("operator"))
            }
            _ => false,
        };
        let stopped_paused = self.checkpoint().is_some_and(|(c, _)| {
            c.progress_snapshot.status == SessionStatus::Paused && c.progress_snapshot.stop_reason.is_some()
        });
        let ordered = self.checkpoint().and_then(|(checkpoint, _)| checkpoint.recovery_metadata.orders.as_ref());
        let ordered = ordered.is_some_and(|orders| orders.paused);
        self.store.paused.unwrap_or(by_operator || ordered || (stopped_paused && self.clean()))
    }

    fn environment(&self) -> Option<String> {
        let full = self.free_bytes.is_some_and(|free| free < SPACE_MIN);
        let no_space = "no space is left on the state directory's file system";
        [
            self.lock.as_ref().err().map(String::as_str),
            self.task.refused(),
            self.checkpoints.current.refused(),
            self.checkpoints.previous.refused(),
            self.heartbeat.refused(),
            self.ended.refused(),
            self.store.refused.as_deref(),
            self.outputs.refused.as_deref(),
            full.then_some(no_space),
        ]
        .into_iter()
        .flatten()
        .next()
        .map(str::to_owned)
    }

    fn too_new(&self) -> Option<String> {
        [
            ("task.json", self.task.too_new()),
            ("checkpoint", self.checkpoints.too_new()),
            ("heartbeat", self.heartbeat.too_new()),
            ("ended.json", self.ended.too_new()),
            ("recovery.json", self.record.too_new()),
            ("frontier.db", self.store.too_new),
        ]
        .into_iter()
        .find(|(_, newer)| *newer)
        .map(|(name, _)| name.to_owned())
    }
}

/// Reads everything about one session. Changes nothing, blocks on nothing but the disk.
pub fn gather(paths: &SessionPaths, sources: Sources<'_>) -> Gathered {
    let read = read(paths, sources);
    let task = read.task.good().map(|(task, _)| task.clone()).or_else(|| read.registry_task.clone());
    let end = end_facts(&read);
    let reason = crash_reason(&end);
    let unclean_ends = unclean_ends(&read, reason);
    let changed_to = task.as_ref().and_then(|task| changed_to(task, sources));
    // What the operator wrote last counts.
    let said_now = changed_to.as_ref().map(|task| &task.spec).or(task.as_ref().map(|task| &task.spec));
    let evidence = Evidence {
        now: sources.now,
        clock_sane: sources.clock_sane,
        owner: owner(&read, sources.now),
        environment: read.environment(),
        too_new: read.too_new(),
        needs_migration: read.store.older || read.foreign(),
        status: read.status(),
        migrated: read.migrated(),
        task_known: task.is_some(),
        task_changed: changed_to.is_some() && task.as_ref().is_some_and(|task| task.origin == TaskOrigin::File),
        ungranted: task.as_ref().is_some_and(|task| task.ungranted),
        resume_with_new_scope: said_now.is_some_and(|spec| spec.resume_with_new_scope),
        paused: read.paused(),
        unclean: UncleanEnds::count(unclean_ends.iter().map(UncleanEnd::counted)),
        last_life: read.last_life(),
        counters: read.counters(),
        store: read.store.state,
        announced: announced(&read),
        outputs_reach: read.outputs.reach,
        outputs: if read.outputs.damage.is_empty() { OutputState::Whole } else { OutputState::Damaged },
        outputs_readable: read.outputs.readable,
        never_begun: never_begun(&read),
        outputs_gone: !read.outputs.any,
        cleaned: read.ended.good().is_some(),
        end,
    };
    Gathered {
        crash_reason: reason,
        task_file_good: read.task.good().is_some(),
        task_id: task
            .as_ref()
            .map(|task| task.task_id.clone())
            .or_else(|| read.checkpoint().map(|(checkpoint, _)| checkpoint.task_id.clone()))
            .or_else(|| read.row.as_ref().and_then(|row| row.task_id.clone())),
        task,
        changed_to,
        last_checkpoint: read.checkpoint().map(|(checkpoint, _)| checkpoint.checkpoint_time),
        last_heartbeat: read.heartbeat.good().map(|(beat, _)| beat.timestamp),
        notes: notes(&read, &evidence),
        evidence,
        unclean_ends,
        outputs_lost: read.outputs.damage,
        outputs_bad: read.outputs.bad,
    }
}

fn read(paths: &SessionPaths, sources: Sources<'_>) -> Read {
    let lock = probe(&paths.lock()).or_else(|error| match judge(error) {
        Content::Refused(error) => Err(format!("`{}`: {error}", paths.lock().display())),
        // Something else lies in its place: nobody can hold it.
        _ => Ok(Probe::Free(None)),
    });
    let owned = matches!(lock, Ok(Probe::Held(_)));
    let checkpoints = checkpoint_file::read(paths);
    let heartbeat = heartbeat_file::read(paths);
    let holder_boot = match &lock {
        Ok(Probe::Free(Some(holder))) => Some(holder.boot_id.clone()),
        _ => None,
    };
    // A full check follows a changed boot, because a death of the process alone cannot damage pages; and
    // what has had no life in this place (it was imported) is believed in nothing.
    let full = holder_boot.is_none_or(|boot| boot != process::boot_id());
    // A running session's store is its owner's business.
    let store = if owned { StoreSeen::default() } else { store_seen::look(paths, full) };
    let committed = match (&store.outputs[..], checkpoints.best()) {
        ([], Some((checkpoint, _))) if !matches!(store.state, StoreState::Good(_)) => {
            checkpoint.recovery_metadata.output_files.clone()
        }
        (files, _) => files.to_vec(),
    };
    let outputs = match owned {
        true => OutputsSeen::default(),
        false => outputs_seen::look(&paths.out(), &committed, sources.whole_outputs),
    };
    Read {
        task: task_file::read(paths),
        checkpoints,
        heartbeat,
        ended: end_note::read(paths),
        record: recovery_file::read(paths),
        words: last_words::read(paths),
        lock,
        // The registry is derived: an error of it is no evidence.
        row: sources.registry.and_then(|registry| registry.session(paths.id()).ok().flatten()),
        registry_task: sources.registry.and_then(|registry| registry.task(paths.id()).ok().flatten()),
        store,
        outputs,
        note_time: modified(&paths.in_flight()),
        free_bytes: rustix::fs::statvfs(paths.parent()).ok().map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize)),
    }
}

/// When a file was last written to.
pub(super) fn modified(path: &Path) -> Option<Timestamp> {
    let at = std::fs::symlink_metadata(path).ok()?.modified().ok()?;
    let since = at.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Timestamp::from_millis(i64::try_from(since.as_millis()).ok()?))
}

fn owner(read: &Read, now: Timestamp) -> Owner {
    let Ok(Probe::Held(holder)) = &read.lock else { return Owner::None };
    let beats = read.heartbeat.good().is_some_and(|(beat, envelope)| heartbeat_file::fresh(beat, envelope, now));
    let opening = holder.as_ref().is_some_and(|h| now.since(h.started_at) < OPENING);
    if beats || opening { Owner::Alive } else { Owner::Hung }
}

/// The latest commit that was spoken of. Of the checkpoints only the newest whole one counts: after a
/// rebuild the one before may name commits that are lost for good.
fn announced(read: &Read) -> u64 {
    let beat = read.heartbeat.good().map_or(0, |(beat, _)| beat.last_commit_seq);
    beat.max(read.checkpoint().map_or(0, |(checkpoint, _)| checkpoint.recovery_metadata.commit_seq))
}

/// What the task's file says now, if that is something else. Where a command line named the file, flags may have
/// changed the task too: there only a file that was written since the session began is one that was changed.
fn changed_to(task: &StoredTask, sources: Sources<'_>) -> Option<PreparedTask> {
    let file = task.file.as_deref().map(Path::new)?;
    let looked_at = match task.origin {
        TaskOrigin::File => true,
        TaskOrigin::Command => modified(file).is_some_and(|at| at > task.created_at),
        TaskOrigin::Api | TaskOrigin::Import => false,
    };
    if !looked_at {
        return None;
    }
    (sources.task_file)(file).filter(|now| now.task_hash != task.task_hash)
}

/// Killed between the writing of `task.json` and the first commit: nothing is lost. The store may be
/// missing or half made.
fn never_begun(read: &Read) -> bool {
    read.checkpoints.current == Reading::Missing
        && read.checkpoints.previous == Reading::Missing
        && read.heartbeat == Reading::Missing
        && read.ended == Reading::Missing
        && read.row.as_ref().is_none_or(|row| row.counters.discovered == 0)
        && !read.outputs.any
        && !matches!(read.store.state, StoreState::Good(_))
        && read.task.good().is_some()
}

fn end_facts(read: &Read) -> EndFacts {
    let boot_changed = read.boot_changed();
    EndFacts {
        lived: read.holder().is_some() || read.epoch() > 0,
        sound: matches!(read.lock, Ok(Probe::Held(_))) || read.status().is_some_and(SessionStatus::ended),
        clean: read.clean(),
        // A note of an earlier lifetime that was not cleared explains nothing.
        last_words: read.words.as_ref().filter(|words| words.epoch >= read.epoch()).map(|words| words.reason),
        boot_changed,
        oom_killed: !boot_changed && read.holder().is_some_and(Holder::oom_killed),
    }
}

fn unclean_ends(read: &Read, reason: CrashReason) -> Vec<UncleanEnd> {
    let before = read.record.good().map(|(record, _)| record.unclean_ends.as_slice()).unwrap_or_default();
    if read.epoch() == 0 {
        return before.to_vec();
    }
    // An end before or soon after the first lease says nothing about the session.
    let first_lease = read.store.epoch.and_then(|(epoch, at)| at.filter(|_| epoch == read.epoch()));
    let lived = match (read.last_life(), first_lease) {
        (Some(life), Some(start)) => life.since(start),
        _ => Duration::ZERO,
    };
    let mark = read.counters().map_or(0, |c| c.discovered + c.ended() + c.visits);
    add_end(before, UncleanEnd { epoch: read.epoch(), reason, lived_seconds: lived.as_secs_f64(), mark })
}

fn notes(read: &Read, evidence: &Evidence) -> Vec<String> {
    let mut notes = Vec::new();
    let mut say = |what: &str, text: String| notes.push(format!("{what}: {text}"));
    match &read.lock {
        Ok(Probe::Held(Some(holder))) => say("lock", format!("held by {holder}")),
        Ok(Probe::Held(None)) => say("lock", "held".to_owned()),
        Ok(Probe::Free(Some(holder))) => say("lock", format!("free, last held by {holder}")),
        Ok(Probe::Free(None)) => say("lock", "free".to_owned()),
        Err(error) => say("lock", error.clone()),
    }
    say("task.json", describe(&read.task));
    say("checkpoint", describe(&read.checkpoints.current));
    if read.checkpoints.current.good().is_none() {
        say("previous checkpoint", describe(&read.checkpoints.previous));
    }
    say("heartbeat", describe(&read.heartbeat));
    say("store", read.store.describe());
    for damage in &read.outputs.damage {
        say("outputs", damage.clone());
    }
    if read.outputs.reach > 0 {
        say("outputs", format!("reach commit {}", read.outputs.reach));
    }
    if evidence.announced > 0 {
        say("announced", format!("commit {}", evidence.announced));
    }
    if let Some(words) = &read.words {
        say("last words", format!("{}: {}", words.reason, words.message.escape_debug()));
    }
    if let Some(why) = &evidence.environment {
        say("environment", why.clone());
    }
    notes
}

fn describe<T>(reading: &Reading<T>) -> String {
    match reading {
        Reading::Missing => "missing".to_owned(),
        Reading::Unreadable(why) => format!("cannot be read: {why}"),
        Reading::Damaged(why) => format!("damaged: {why}"),
        Reading::TooNew { format } => format!("written by a newer crawld (format {format})"),
        Reading::Good(_, envelope) => {
            format!("good, generation {}, commit {}", envelope.generation, envelope.commit_seq)
        }
    }
}
