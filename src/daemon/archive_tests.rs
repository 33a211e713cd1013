//! Export and import: a round trip, and archives made to hurt.

use super::*;
use crate::model::task::NamedAddress;
use crate::state::checkpoint_file;

const NOW: Timestamp = Timestamp::from_millis(1_763_719_200_000);

fn state() -> (tempfile::TempDir, StateDir) {
    let temp = tempfile::tempdir().unwrap();
    let dir = StateDir::open(&temp.path().join("state")).unwrap();
    (temp, dir)
}

fn session(dir: &StateDir, id: &str) -> SessionPaths {
    let paths = dir.session(&id.parse().unwrap());
    paths.create().unwrap();
    let mut task = task_file::sample(id);
    task.spec.allow_private_networks = vec!["10.0.0.0/8".into()];
    let fetch = r#"{"proxy": {"url": "socks5://127.0.0.1"}, "cookies_file": "/home/me/cookies.txt",
        "auth": {"a.example": {"user": "me", "password": "file:/etc/shadow"}},
        "headers": {"a.example": {"X-Token": "env:HOME", "X-Plain": "stays"}}}"#;
    task.spec.fetch = serde_json::from_str(fetch).unwrap();
    let login =
        r#"{"url": "http://a.example/login", "steps": [{"fill": "i", "value": "file:/etc/shadow"}], "success": "p"}"#;
    task.spec.login = serde_json::from_str(login).unwrap();
    task.named_private = vec![NamedAddress { host: "intranet".into(), port: 80, addresses: vec![] }];
    task_file::write(&paths, &task).unwrap();
    CheckpointWriter::open(&paths).write(checkpoint_file::sample(id, 3)).unwrap();
    fs::write(paths.store(), b"SQLite format 3\0and more").unwrap();
    fs::write(paths.out().join("urls-00001.jsonl"), "{}\n").unwrap();
    fs::write(paths.out().join("notes.txt"), "not ours").unwrap();
    paths
}

#[test]
fn a_session_moves_to_another_machine_without_its_grants() {
    let (temp, home) = state();
    let old = session(&home, "s1");
    let file = temp.path().join("s1.tar.gz");
    assert!(export(&home, old.id(), &file, false, NOW).unwrap() > 0);
    assert_eq!(end_note::read(&old).good().unwrap().0.status, SessionStatus::Migrated);
    assert!(matches!(export(&home, old.id(), &file, true, NOW), Err(ArchiveError::Exists(_))));

    let (_temp, away) = state();
    let imported = import(&away, &file, NOW).unwrap();
    let new = away.session(old.id());
    assert_eq!(task_file::read(&new).good().unwrap().0, &imported.task);
    assert_eq!(imported.task.origin, TaskOrigin::Import);
    assert!(imported.task.named_private.is_empty() && imported.task.spec.allow_private_networks.is_empty());
    let fetch = &imported.task.spec.fetch;
    assert!(fetch.proxy.is_none() && fetch.auth.is_empty() && fetch.cookies_file.is_none(), "{fetch:?}");
    assert_eq!(fetch.headers["a.example"].keys().collect::<Vec<_>>(), ["X-Plain"]);
    assert!(imported.task.spec.login.is_none());
    assert_eq!(imported.notes.len(), 5);
    assert_eq!(fs::read(new.store()).unwrap(), fs::read(old.store()).unwrap());
    assert_eq!(fs::read(new.out().join("urls-00001.jsonl")).unwrap(), b"{}\n");
    assert!(!new.out().join("notes.txt").exists() && !new.ended().exists());
    let status = checkpoint_file::read(&new).best().unwrap().0.progress_snapshot.status;
    assert_eq!(status, SessionStatus::Active, "it has arrived");
    assert!(imported.task.ungranted, "it waits for the permissions of its new operator");
    assert!(matches!(import(&away, &file, NOW), Err(ArchiveError::Known(_))));
    assert_eq!(away.list().unwrap().sessions.len(), 1);
}

#[test]
fn a_session_comes_home_and_what_it_left_behind_is_kept() {
    let (temp, home) = state();
    let old = session(&home, "s1");
    let file = temp.path().join("s1.tar.gz");
    export(&home, old.id(), &file, false, NOW).unwrap();
    fs::write(old.out().join("only-here.txt"), "kept").unwrap();
    let lock = Lock::take(&old.lock(), &Holder::me("run", NOW)).unwrap();
    assert!(matches!(import(&home, &file, NOW), Err(ArchiveError::Lock(_))), "somebody works on it");
    drop(lock);
    let imported = import(&home, &file, NOW).unwrap();
    assert!(imported.notes.iter().any(|note| note.contains("quarantine")), "{:?}", imported.notes);
    assert_eq!(end_note::read(&old), Reading::Missing, "it lives here again");
    assert_eq!(checkpoint_file::read(&old).best().unwrap().0.progress_snapshot.status, SessionStatus::Active);
    let kept = fs::read_dir(home.quarantine()).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs::read(kept.join("out/only-here.txt")).unwrap(), b"kept");
    assert!(matches!(import(&home, &file, NOW), Err(ArchiveError::Known(_))));
}

#[test]
fn one_that_left_is_packed_once_more_and_arrives_alive() {
    let (temp, home) = state();
    let old = session(&home, "s1");
    let [first, second] = ["first", "second"].map(|name| temp.path().join(name));
    export(&home, old.id(), &first, false, NOW).unwrap();
    fs::remove_file(old.ended()).unwrap();
    assert!(departure::found(&old), "the checkpoint says it as well");
    export(&home, old.id(), &second, true, NOW).unwrap();
    assert!(departure::noted(&old), "the lost note is written again");
    let (_temp, away) = state();
    import(&away, &second, NOW).unwrap();
    let new = away.session(old.id());
    assert!(!departure::found(&new));
    let status = checkpoint_file::read(&new).best().unwrap().0.progress_snapshot.status;
    assert_eq!(status, SessionStatus::Active, "it has arrived");
}

#[test]
fn a_copy_leaves_the_session_as_it_is_and_a_running_one_is_not_exported() {
    let (temp, dir) = state();
    let paths = session(&dir, "s1");
    export(&dir, paths.id(), &temp.path().join("a"), true, NOW).unwrap();
    assert_eq!(end_note::read(&paths), Reading::Missing);
    let _lock = Lock::take(&paths.lock(), &Holder::me("run", NOW)).unwrap();
    assert!(matches!(export(&dir, paths.id(), &temp.path().join("b"), true, NOW), Err(ArchiveError::Lock(_))));
    let none = "none".parse().unwrap();
    assert!(matches!(export(&dir, &none, &temp.path().join("c"), true, NOW), Err(ArchiveError::NotExportable(..))));
}

/// Writes an archive with one raw entry after a good task.
fn hostile(temp: &Path, name: &str, kind: EntryType, link: Option<&str>, body: &[u8]) -> PathBuf {
    let path = temp.join("hostile.tar.gz");
    let mut builder = Builder::new(GzEncoder::new(File::create(&path).unwrap(), flate2::Compression::fast()));
    let task = envelope::seal(&task_file::sample("s1"), &envelope::Envelope::new::<StoredTask>(1, 0)).unwrap();
    for (name, kind, body) in [("crawld-session/task.json", EntryType::Regular, &task[..]), (name, kind, body)] {
        let mut header = Header::new_gnu();
        // Written raw: the library would refuse some of these names.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(body.len() as u64);
        header.set_mode(0o777);
        if let Some(link) = link.filter(|_| kind != EntryType::Regular) {
            header.set_link_name(link).unwrap();
        }
        header.set_cksum();
        builder.append(&header, body).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap();
    path
}

#[test]
fn nothing_but_known_regular_files_is_unpacked() {
    #[track_caller]
    fn check(what: &str, name: &str, kind: EntryType, link: Option<&str>) {
        let (temp, dir) = state();
        let file = hostile(temp.path(), name, kind, link, b"");
        let result = import(&dir, &file, NOW);
        assert!(matches!(result, Err(ArchiveError::Refused { .. })), "{what}: {result:?}");
        assert_eq!(fs::read_dir(dir.sessions()).unwrap().count(), 0, "{what}: something was left behind");
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 2, "{what}: something was written outside");
    }
    use EntryType::{Block, Directory, Fifo, Link, Regular, Symlink};
    check("parent", "crawld-session/../x", Regular, None);
    check("out and up", "crawld-session/out/../../x", Regular, None);
    check("absolute", "/tmp/crawld-x", Regular, None);
    check("no top", "frontier.db", Regular, None);
    check("lock", "crawld-session/session.lock", Regular, None);
    check("stranger", "crawld-session/out/evil.sh", Regular, None);
    check("almost an output", "crawld-session/out/urls-1/../2.jsonl", Regular, None);
    check("symbolic link", "crawld-session/frontier.db", Symlink, Some("/etc/passwd"));
    check("hard link", "crawld-session/frontier.db", Link, Some("/etc/passwd"));
    check("directory", "crawld-session/frontier.db", Directory, None);
    check("fifo", "crawld-session/frontier.db", Fifo, None);
    check("device", "crawld-session/frontier.db", Block, None);
    check("twice", "crawld-session/task.json", Regular, None);
    check("no database", "crawld-session/frontier.db", Regular, None);
}

#[test]
fn damaged_and_oversized_archives_are_refused() {
    let (temp, dir) = state();
    session(&dir, "s1");
    let file = temp.path().join("a.tar.gz");
    export(&dir, &"s1".parse().unwrap(), &file, true, NOW).unwrap();
    let whole = fs::read(&file).unwrap();
    let (_temp, away) = state();
    for cut in [0, 10, whole.len() / 2, whole.len() - 9] {
        fs::write(&file, &whole[..cut]).unwrap();
        let result = import(&away, &file, NOW);
        assert!(matches!(result, Err(ArchiveError::Refused { .. })), "cut at {cut}: {result:?}");
    }
    let bomb = hostile(temp.path(), "crawld-session/checkpoint.json", EntryType::Regular, None, &vec![0; 65 << 20]);
    assert!(matches!(import(&away, &bomb, NOW), Err(ArchiveError::Refused { .. })));
    assert_eq!(fs::read_dir(away.sessions()).unwrap().count(), 0);
}

#[test]
fn what_an_interrupted_import_left_is_swept() {
    let (_temp, dir) = state();
    fs::create_dir_all(temporary_name(&dir.sessions()).join("out")).unwrap();
    assert_eq!(sweep(&dir, Duration::from_secs(60)), 0, "perhaps at work");
    assert_eq!(sweep(&dir, Duration::ZERO), 1);
    assert_eq!(fs::read_dir(dir.sessions()).unwrap().count(), 0);
}
