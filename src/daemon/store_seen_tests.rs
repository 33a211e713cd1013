//! Looking at stores in every condition, without changing them.

use super::*;
use crate::store::db::open_writer;
use crate::store::writer::Writer;
use std::fs;

const NOW: Timestamp = Timestamp::from_millis(1_763_719_200_000);

/// A session with a store of one epoch and two commits.
fn session(temp: &Path) -> SessionPaths {
    let paths = crate::state::StateDir::open(temp).unwrap().session(&"s1".parse().unwrap());
    paths.create().unwrap();
    let writer = Writer::new(open_writer(&paths.store(), 1 << 20, true).unwrap(), &paths.store());
    writer.begin().unwrap();
    writer.open_epoch(3, NOW, 1).unwrap();
    writer.epoch_commit(3, 2, Some(NOW)).unwrap();
    let counters = Counters { discovered: 5, queued: 3, fetched: 2, ..Counters::default() };
    writer.save_counters(2, &counters).unwrap();
    writer.set_meta(META_PAUSED, Some("1")).unwrap();
    writer.commit().unwrap();
    crate::store::db::checkpoint(writer.connection(), &paths.store(), true).unwrap();
    paths
}

#[test]
fn a_good_store_tells_what_it_knows() {
    let temp = tempfile::tempdir().unwrap();
    let paths = session(temp.path());
    let before = fs::read(paths.store()).unwrap();
    for rebooted in [false, true] {
        let seen = look(&paths, rebooted);
        assert_eq!(seen.state, StoreState::Good(2), "{}", seen.describe());
        assert_eq!((seen.epoch, seen.paused, seen.clean), (Some((3, Some(NOW))), Some(true), Some(false)));
        assert_eq!(seen.counters.unwrap().discovered, 5);
    }
    assert_eq!(fs::read(paths.store()).unwrap(), before);
}

#[test]
fn every_condition_has_a_name() {
    #[track_caller]
    fn check(name: &str, harm: impl FnOnce(&Path), expected: StoreState, too_new: bool) {
        let temp = tempfile::tempdir().unwrap();
        let paths = session(temp.path());
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(crate::store::db::beside(&paths.store(), suffix));
        }
        harm(&paths.store());
        let seen = look(&paths, true);
        assert_eq!((seen.state, seen.too_new, seen.refused.is_some()), (expected, too_new, false), "{name}: {seen:?}");
    }
    use StoreState::{Damaged, Missing};
    let edit = |path: &Path, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
    };
    check("missing", |p| fs::remove_file(p).unwrap(), Missing, false);
    check("empty", |p| fs::write(p, "").unwrap(), Damaged, false);
    check("cut", |p| edit(p, &|b| b.truncate(b.len() / 2)), Damaged, false);
    check("cut to a page", |p| edit(p, &|b| b.truncate(4096)), Damaged, false);
    check("overwritten inside", |p| edit(p, &|b| b[4096..12_288].fill(0xA5)), Damaged, false);
    check("overwritten header", |p| edit(p, &|b| b[..100].fill(0)), Damaged, false);
    check("newer", |p| edit(p, &|b| b[60..64].copy_from_slice(&99i32.to_be_bytes())), Missing, true);
    let swap = |p: &Path| {
        fs::remove_file(p).unwrap();
        fs::create_dir(p).unwrap();
    };
    check("a directory", swap, Damaged, false);
    let fifo = |p: &Path| {
        fs::remove_file(p).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, p, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    };
    check("a FIFO", fifo, Damaged, false);
    let unbalanced = |p: &Path| {
        let writer = Writer::new(open_writer(p, 1 << 20, false).unwrap(), p);
        writer.begin().unwrap();
        writer.save_counters(3, &Counters { discovered: 1, ..Counters::default() }).unwrap();
        writer.commit().unwrap();
    };
    check("counters that do not balance", unbalanced, Damaged, false);
}
