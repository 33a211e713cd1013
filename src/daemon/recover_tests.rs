//! Planning reads and changes nothing; acting can be interrupted anywhere and repeated.

use super::*;
use crate::lock::lock;
use crate::model::session::SessionStatus;
use crate::state::Durability;
use crate::state::checkpoint_file::CheckpointWriter;
use crate::state::{checkpoint_file, end_note, heartbeat_file, last_words};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

/// Fault points are one per process.
static FAULTS: Mutex<()> = Mutex::new(());

fn guard() -> MutexGuard<'static, ()> {
    lock(&FAULTS)
}

const URLS: &str = "{\"n\":1,\"url\":\"http://example.test/\",\"depth\":0,\"commit_seq\":1}\n";

struct State {
    _temp: tempfile::TempDir,
    dir: StateDir,
    registry: Registry,
}

/// A state directory with one crashed session that lost its store.
fn state() -> State {
    let temp = tempfile::tempdir().unwrap();
    let dir = StateDir::open(temp.path()).unwrap();
    let paths = dir.session(&id());
    paths.create().unwrap();
    task_file::write(&paths, &StoredTask { created_at: now(), ..task_file::sample("s1") }).unwrap();
    for _ in 0..2 {
        CheckpointWriter::open(&paths).write(checkpoint_file::sample("s1", 1)).unwrap();
    }
    let beat = heartbeat_file::sample("s1", 1);
    heartbeat_file::write(&paths, &beat, 1, Durability::Full).unwrap();
    fs::write(paths.out().join("urls-00001.jsonl"), URLS).unwrap();
    drop(Lock::take(&paths.lock(), &Holder::me("run", now())).unwrap());
    let (registry, _) = Registry::open(&dir.registry(), &dir.quarantine()).unwrap();
    State { _temp: temp, dir, registry }
}

fn id() -> SessionId {
    "s1".parse().unwrap()
}

fn now() -> Timestamp {
    crate::clock::Clock::system().now()
}

impl State {
    fn plan(&self) -> Planned {
        self.plan_with(&Options::default())
    }

    fn plan_with(&self, options: &Options) -> Planned {
        let sources = Sources {
            now: now(),
            clock_sane: true,
            registry: Some(&self.registry),
            task_file: &|_| None,
            whole_outputs: false,
        };
        plan(&self.dir, &[id()], sources, options).unwrap().remove(0)
    }

    fn act(&self, planned: &Planned) -> Result<Outcome, RecoverError> {
        let acting = Acting { dir: &self.dir, registry: Some(&self.registry), now: now(), command: "test" };
        act(planned, acting)
    }

    fn paths(&self) -> SessionPaths {
        self.dir.session(&id())
    }
}

/// Every file below a folder with its bytes; what is not a file by its kind.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
                found.insert(entry.path(), b"folder".to_vec());
            } else if kind.is_file() {
                found.insert(entry.path(), fs::read(entry.path()).unwrap());
            } else {
                found.insert(entry.path(), b"other".to_vec());
            }
        }
    }
    found
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Harm {
    Missing,
    Empty,
    Cut,
    Flipped,
    Folder,
    Fifo,
    Link,
    Newer,
}

const HARMS: [Harm; 8] =
    [Harm::Missing, Harm::Empty, Harm::Cut, Harm::Flipped, Harm::Folder, Harm::Fifo, Harm::Link, Harm::Newer];

fn harm(path: &Path, harm: Harm) {
    let bytes = fs::read(path).unwrap();
    fs::remove_file(path).unwrap();
    match harm {
        Harm::Missing => {}
        Harm::Empty => fs::write(path, "").unwrap(),
        Harm::Cut => fs::write(path, &bytes[..bytes.len() / 2]).unwrap(),
        Harm::Flipped => {
            let mut bytes = bytes;
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
            fs::write(path, bytes).unwrap();
        }
        Harm::Folder => fs::create_dir(path).unwrap(),
        Harm::Fifo => {
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        }
        Harm::Link => std::os::unix::fs::symlink("/etc/passwd", path).unwrap(),
        Harm::Newer => fs::write(path, r#"{"format": 99, "seal": "unknown"}"#).unwrap(),
    }
}

#[test]
fn every_state_file_in_every_condition_is_judged_and_left_alone() {
    type File = (&'static str, fn(&SessionPaths) -> PathBuf, Cause, bool);
    // The cause when the file is harmed, and whether a newer format is recognised in it.
    let files: [File; 7] = [
        ("task", SessionPaths::task, Cause::NeedsOperator, true),
        ("checkpoint", SessionPaths::checkpoint, Cause::RebuiltFromOutputs, true),
        ("previous checkpoint", SessionPaths::checkpoint_prev, Cause::RebuiltFromOutputs, true),
        ("heartbeat", SessionPaths::heartbeat, Cause::RebuiltFromOutputs, true),
        ("lock", SessionPaths::lock, Cause::RebuiltFromOutputs, false),
        ("first output", |p| p.out().join("urls-00001.jsonl"), Cause::NothingUsable, false),
        ("recovery record", SessionPaths::recovery, Cause::RebuiltFromOutputs, true),
    ];
    let _guard = guard();
    for (name, path, cause, versioned) in files {
        for condition in HARMS {
            let state = state();
            let record = state.plan();
            write_record(&record, &state.paths(), now()).unwrap();
            harm(&path(&state.paths()), condition);
            let before = snapshot(&state.dir.sessions());
            let planned = state.plan();
            assert_eq!(before, snapshot(&state.dir.sessions()), "{name} {condition:?}: planning changed something");
            let expected = match condition {
                Harm::Newer if versioned => Cause::FormatTooNew,
                // A bit inside a URL: still a record.
                Harm::Flipped if name == "first output" => Cause::RebuiltFromOutputs,
                _ => cause,
            };
            assert_eq!(planned.verdict.cause, expected, "{name} {condition:?}: {:#?}", planned.gathered.notes);
            if expected == Cause::FormatTooNew {
                assert!(matches!(state.act(&planned).unwrap(), Outcome::Skip));
                assert_eq!(before, snapshot(&state.dir.sessions()), "{name}: a newer format must stay byte-identical");
            }
        }
    }
}

#[test]
fn a_lock_that_is_no_file_is_set_aside_before_it_is_taken() {
    let _guard = guard();
    for condition in [Harm::Folder, Harm::Fifo, Harm::Link] {
        let state = state();
        harm(&state.paths().lock(), condition);
        let lock = take_lock(&state.paths(), Acting { dir: &state.dir, registry: None, now: now(), command: "test" });
        assert!(lock.is_ok(), "{condition:?}: {lock:?}");
        assert_eq!(fs::read_dir(state.paths().damaged()).unwrap().count(), 1, "{condition:?}");
    }
}

#[test]
fn the_registry_knows_a_task_that_the_directory_lost() {
    let _guard = guard();
    let state = state();
    let row = crate::store::registry::SessionRow {
        id: id(),
        task_id: None,
        task_hash: None,
        is_active: true,
        status: SessionStatus::Active,
        stop_reason: None,
        session_start: now(),
        session_end: None,
        duration_seconds: 0.0,
        counters: Default::default(),
        last_life: None,
    };
    state.registry.put_session(&row).unwrap();
    state.registry.put_task(&task_file::sample("s1")).unwrap();
    fs::remove_file(state.paths().task()).unwrap();
    assert_eq!(state.plan().verdict.cause, Cause::RebuiltFromOutputs);
}

#[test]
fn ended_and_exported_sessions_stay_ended_without_a_store() {
    let _guard = guard();
    for (status, cause) in [(SessionStatus::Completed, Cause::AlreadyEnded), (SessionStatus::Migrated, Cause::Migrated)]
    {
        let state = state();
        let note = end_note::EndNote {
            session_id: id(),
            status,
            at: now(),
            counters: Default::default(),
            note: String::new(),
        };
        end_note::write(&state.paths(), &note).unwrap();
        assert_eq!(state.plan().verdict.cause, cause);
    }
}

#[test]
fn an_owned_session_is_reported_not_touched() {
    let _guard = guard();
    let state = state();
    let lock = Lock::take(&state.paths().lock(), &Holder::me("run", now())).unwrap();
    let planned = state.plan();
    assert_eq!(planned.verdict.cause, Cause::OwnerAlive, "just opened, no heartbeat yet");
    drop(lock);
    let long_ago = Timestamp::from_millis(now().millis() - 3_600_000);
    let _lock = Lock::take(&state.paths().lock(), &Holder::me("run", long_ago)).unwrap();
    assert_eq!(state.plan().verdict.cause, Cause::OwnerHung);
    assert!(matches!(state.act(&planned).unwrap(), Outcome::Skip));
}

#[test]
fn what_the_dying_process_said_is_the_crash_reason() {
    let _guard = guard();
    let state = state();
    assert_eq!(state.plan().info.crash_reason, CrashReason::Killed);
    let words = last_words::LastWords::new(CrashReason::Panic, now(), 1, "boom");
    last_words::write(&state.paths(), &words).unwrap();
    let planned = state.plan();
    assert_eq!(planned.info.crash_reason, CrashReason::Panic);
    assert_eq!(planned.info.status, SessionStatus::Recoverable);
    assert_eq!((planned.info.estimated_progress, planned.info.urls_remaining), (0.4, 6));
    last_words::write(&state.paths(), &last_words::LastWords { epoch: 0, ..words }).unwrap();
    assert_eq!(state.plan().info.crash_reason, CrashReason::Killed, "words of an earlier lifetime");
}

#[test]
fn a_session_that_never_began_keeps_its_id() {
    let _guard = guard();
    let state = state();
    let paths = state.paths();
    for file in [paths.checkpoint(), paths.checkpoint_prev(), paths.heartbeat(), paths.out().join("urls-00001.jsonl")] {
        fs::remove_file(file).unwrap();
    }
    let Outcome::Resume(order) = state.act(&state.plan()).unwrap() else { panic!() };
    assert!(order.fresh && !order.as_paused);
}

/// A session of which nothing but the task can be used.
fn hopeless() -> State {
    let state = state();
    fs::remove_file(state.paths().out().join("urls-00001.jsonl")).unwrap();
    fs::write(state.paths().out().join("pages-00001.jsonl"), "precious\n").unwrap();
    state
}

#[track_caller]
fn check_restarted(state: &State, order: &StartOrder) {
    let old = state.paths();
    assert!(!old.dir().exists() && !old.checkpoint().exists() && !old.heartbeat().exists());
    for kept in
        ["out/pages-00001.jsonl", "task.json", "checkpoint_s1.json", "checkpoint_s1.json.prev", "heartbeat_s1.json"]
    {
        assert!(order.quarantine.join(kept).exists(), "{kept} is not in quarantine");
    }
    let new = state.dir.session(&order.session_id);
    assert_eq!(task_file::read(&new).good().unwrap().0, &order.task);
    assert_eq!(order.task.session_id, order.session_id);
    assert_eq!(fs::read_dir(state.dir.intents()).unwrap().count(), 0);
    assert_eq!(state.dir.list().unwrap().sessions.len(), 1, "one session follows one session");
}

#[test]
fn a_restart_moves_the_old_session_whole_and_sets_a_new_one_up() {
    let _guard = guard();
    let state = hopeless();
    let planned = state.plan();
    assert_eq!((planned.verdict.decision, planned.verdict.cause), (Decision::Restart, Cause::NothingUsable));
    let Outcome::Start(order) = state.act(&planned).unwrap() else { panic!() };
    check_restarted(&state, &order);
    assert!(finish_intents(&state.dir).unwrap().is_empty());
}

#[cfg(feature = "failpoints")]
#[test]
fn a_restart_interrupted_anywhere_is_finished_by_the_next_start() {
    let _guard = guard();
    for name in POINTS.iter().filter(|name| !name.ends_with("_repair")) {
        let state = hopeless();
        fail::cfg(*name, "1*return(EIO)").unwrap();
        let result = state.act(&state.plan());
        fail::remove(*name);
        assert!(result.is_err(), "{name} was not passed");
        // The next start.
        let order = match finish_intents(&state.dir).unwrap().pop() {
            Some(order) => order,
            None if *name == "recover.after_restart" => continue,
            None => match state.act(&state.plan()).unwrap() {
                Outcome::Start(order) => order,
                other => panic!("{name}: {other:?}"),
            },
        };
        check_restarted(&state, &order);
    }
}

#[test]
fn decisions_are_written_down_and_stale_epochs_closed() {
    let _guard = guard();
    let state = hopeless();
    let epoch = crate::store::registry::EpochRow {
        session_id: id(),
        epoch: 1,
        pid: 1,
        boot_id: String::new(),
        started_at: Timestamp::from_millis(1),
        ended_at: None,
        commit_seq: 0,
        stop_reason: None,
        crash_reason: None,
        decision: None,
    };
    state.registry.put_epoch(&epoch).unwrap();
    let lost = crate::store::registry::EpochRow { session_id: "gone".parse().unwrap(), ..epoch };
    state.registry.put_epoch(&lost).unwrap();
    let Outcome::Start(order) = state.act(&state.plan()).unwrap() else { panic!() };
    let row = state.registry.epochs(&id()).unwrap().remove(0);
    assert_eq!(row.decision, Some((Decision::Restart, Cause::NothingUsable)));
    assert!(row.ended_at.is_some() && row.crash_reason == Some(CrashReason::Killed));
    assert!(order.quarantine.join("recovery.json").exists());
    assert_eq!(close_dead_epochs(&state.dir, &state.registry, &[], now()).unwrap(), 1);
}

#[test]
fn a_lost_store_is_rebuilt_from_the_outputs_before_the_session_is_handed_back() {
    let _guard = guard();
    for condition in [None, Some(Harm::Folder), Some(Harm::Empty)] {
        let state = state();
        if let Some(condition) = condition {
            fs::write(state.paths().store(), "x").unwrap();
            harm(&state.paths().store(), condition);
        }
        let planned = state.plan();
        assert_eq!(planned.verdict.cause, Cause::RebuiltFromOutputs);
        let Outcome::Resume(order) = state.act(&planned).unwrap() else { panic!() };
        assert!(!order.fresh && order.repaired.is_some_and(|said| said.contains("1 URLs")), "{condition:?}");
        drop(order.lock);
        assert_eq!(state.plan().verdict.cause, Cause::Crash, "{condition:?}: the rebuilt store is good");
    }
}
