//! What opening, rebuilding and verifying make of damaged outputs, lost stores and full disks.

use super::*;
use crate::store::StoreError;
use crate::store::schema::META_CLEAN;

#[test]
fn an_uncommitted_tail_goes_to_quarantine_and_a_foreign_file_with_it() {
    let mut world = World::new(&["/"]);
    world.crash();
    let before = fs::read(world.out("urls-00001.jsonl")).unwrap();
    fs::write(world.out("urls-00001.jsonl"), [&before[..], b"{\"n\":2,\"to"].concat()).unwrap();
    fs::write(world.out("pages-00001.jsonl"), b"uncommitted\n").unwrap();
    let report = world.reopen(Some(Vec::new()));
    assert_eq!((report.cut_bytes, report.foreign_files.len()), (10, 1));
    assert_eq!(fs::read(world.out("urls-00001.jsonl")).unwrap(), before);
    assert_eq!(fs::read_dir(world.paths().quarantine).unwrap().count(), 2);
}

#[test]
fn lost_output_is_repaired() {
    for (name, damage) in [("short", 0), ("differs", 1), ("gone", 2), ("both gone", 3)] {
        let mut world = World::new(&["/a", "/b"]);
        for lease in world.lease(2, 0) {
            world.end(vec![ended(&lease, Outcome::Fetched, &[&format!("/x{}", lease.no)])]);
        }
        world.close();
        let path = world.out("pages-00001.jsonl");
        let text = fs::read(&path).unwrap();
        match damage {
            0 => fs::write(&path, &text[..text.len() - 5]).unwrap(),
            1 => fs::write(&path, [&text[..text.len() - 5], &[0; 5]].concat()).unwrap(),
            _ => fs::remove_file(&path).unwrap(),
        }
        if damage == 3 {
            fs::remove_file(world.out("urls-00001.jsonl")).unwrap();
        }
        let report = world.reopen(Some(Vec::new()));
        let lost = if damage < 2 { 1 } else { 2 };
        assert_eq!(report.lost_records, lost, "{name}");
        assert_eq!(report.rewritten_urls, if damage == 3 { 4 } else { 0 }, "{name}");
        let counters = world.counters();
        assert_eq!((counters.fetched, counters.queued), (2 - lost, 2 + lost), "{name}");
        for lease in world.lease(9, 0) {
            world.end(vec![ended(&lease, Outcome::Fetched, &[])]);
        }
        world.close();
        let pages: Vec<_> = world.pages();
        assert_eq!(pages.len(), 4, "{name}");
        // The lost records are gone from the outputs, so the new ones stand for nothing older.
        assert!(pages.iter().all(|p| p.supersedes.is_none()), "{name}");
        assert_eq!(lines::<crate::model::record::UrlRecord>(&world.out("urls-00001.jsonl")).len(), 4, "{name}");
    }
}

#[test]
fn finished_segments_are_packed_and_read() {
    let mut world = World::new(&["/"]);
    world.crash();
    world.segment_bytes = 10;
    world.reopen(Some(Vec::new()));
    for i in 0..3 {
        world.commit(Batch { seeds: vec![url(&format!("/{i}"))], ..Batch::new(at(0)) }).unwrap();
    }
    world.close();
    assert!(world.out("urls-00001.jsonl.gz").exists() && !world.out("urls-00001.jsonl").exists());
    assert!(world.out("urls-00004.jsonl").exists());
    let report = world.reopen(Some(Vec::new()));
    assert!(report.damaged_files.is_empty() && report.clean);
}

fn sound(world: &World) {
    let report = crate::crawl::verify::verify(&world.paths()).unwrap();
    assert!(report.sound(), "{:#?}", report.problems);
}

#[test]
fn a_store_that_is_gone_is_rebuilt_without_a_lost_link() {
    let mut world = World::new(&["/a", "/b", "/c"]);
    let leases = world.lease(3, 0);
    world.end(vec![
        ended(&leases[0], Outcome::Fetched, &["/x", "/y"]),
        ended(&leases[1], Outcome::Failed(FailureClass::Timeout), &[]),
    ]);
    sound(&world);
    world.crash();
    let torn = [&fs::read(world.out("pages-00001.jsonl")).unwrap()[..], b"{\"n\":3,"].concat();
    fs::write(world.out("pages-00001.jsonl"), torn).unwrap();
    fs::write(world.paths().db, "not a database at all, and long enough to be looked at").unwrap();
    assert!(matches!(Reader::open(&world.paths().db), Err(StoreError::Corrupt { .. })));
    assert!(matches!(world.try_reopen(None, None), Err(OpenError::Damaged(_))));
    let remembered = crate::crawl::rebuild::Remembered { epoch: 7, ..Default::default() };
    let report = crate::crawl::rebuild::rebuild(&world.paths(), &remembered, at(5), &mut |_| {}).unwrap();
    assert_eq!((report.urls, report.ended, report.requeued, report.bad_lines), (5, 2, 0, 0));
    let report = world.reopen(Some(vec![started(&leases[2], false)]));
    assert_eq!((report.suspects, report.cut_bytes, report.lost_records), (vec![3], 7, 0));
    assert_eq!(world.opened.as_ref().unwrap().epoch, 8);
    let counters = world.counters();
    assert_eq!((counters.queued, counters.fetched, counters.failed), (3, 1, 1));
    for lease in [world.lease(9, 0), world.lease_of(9, true, 0)].concat() {
        world.end(vec![ended(&lease, Outcome::Fetched, &["/a", "/y"])]);
    }
    sound(&world);
    assert_eq!(world.counters().discovered, 5);
    world.close();
    let reader = Reader::open(&world.paths().db).unwrap();
    assert_eq!(reader.complaint(true).unwrap(), None);
    assert!(reader.counters().unwrap().0 > 0);
    assert_eq!(reader.meta().unwrap().get(META_CLEAN).map(String::as_str), Some("1"));
    assert_eq!(reader.epochs().unwrap().last().and_then(|epoch| epoch.ended.as_deref()), Some("clean"));
}

#[test]
fn suspects_and_hosts_are_what_they_were_after_a_rebuild() {
    use crate::model::checkpoint::Suspect;
    use crate::model::host::HostState;
    let mut world = World::new(&["/a", "/b", "/c"]);
    let leases = world.lease(3, 0);
    world.end(vec![ended(&leases[0], Outcome::Fetched, &["/x"])]);
    world.crash();
    let marks = |n, crashes_explained, crashes_unexplained| Suspect { n, crashes_explained, crashes_unexplained };
    let state = HostState { delay_ms: 8_000, crawl_delay_ms: Some(9_000), ..HostState::default() };
    let key = leases[0].url.host_key().to_owned();
    let remembered = crate::crawl::rebuild::Remembered {
        seq: 90,
        // One of them has ended, one is not known.
        suspects: vec![marks(1, 2, 0), marks(2, 1, 7), marks(77, 1, 1)],
        hosts: [(key.clone(), state)].into(),
        asked_last: Some((at(50_000), std::time::Duration::from_secs(3))),
        ..Default::default()
    };
    let report = crate::crawl::rebuild::rebuild(&world.paths(), &remembered, at(5), &mut |_| {}).unwrap();
    assert_eq!((report.urls, report.ended, report.seq), (4, 1, 90));
    // It was alone when the daemon died a second time.
    let alone = Started { solo: true, ..started(&leases[1], false) };
    let opened = world.try_reopen(Some(vec![alone]), Some(true)).unwrap();
    assert_eq!(opened.suspects, [2]);
    let leased = world.lease_of(9, true, 60_000);
    assert_eq!((leased.len(), leased[0].no, leased[0].crashes), (1, 2, (2, 7)));
    let known = world.opened.as_ref().unwrap().host_states.clone();
    assert_eq!(known, [(key, HostState { next_at: at(59_000), ..state })]);
    sound(&world);
}

#[test]
fn a_page_without_its_links_is_queued_again_by_a_rebuild() {
    let mut world = World::new(&["/a"]);
    let lease = world.lease(1, 0).remove(0);
    world.end(vec![ended(&lease, Outcome::Fetched, &["/x", "/y"])]);
    world.crash();
    let urls = fs::read(world.out("urls-00001.jsonl")).unwrap();
    fs::write(world.out("urls-00001.jsonl"), &urls[..urls.len() - 3]).unwrap();
    let remembered = Default::default();
    let report = crate::crawl::rebuild::rebuild(&world.paths(), &remembered, at(5), &mut |_| {}).unwrap();
    assert_eq!((report.urls, report.requeued), (2, 1));
    world.reopen(Some(Vec::new()));
    for lease in world.lease(9, 0) {
        let links: &[&str] = if lease.no == 1 { &["/x", "/y"] } else { &[] };
        world.end(vec![ended(&lease, Outcome::Fetched, links)]);
    }
    assert_eq!(world.counters().discovered, 3);
    assert!(world.pages().iter().any(|p| p.n == 1 && p.supersedes.is_some()));
}

#[test]
fn verify_sees_what_was_changed_behind_its_back() {
    let mut world = World::new(&["/a", "/b"]);
    for lease in world.lease(1, 0) {
        world.end(vec![ended(&lease, Outcome::Fetched, &["/x"])]);
    }
    world.close();
    sound(&world);
    let path = world.out("pages-00001.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let bad = |world: &World| !crate::crawl::verify::verify(&world.paths()).unwrap().sound();
    fs::write(&path, text.replace("fetched\"", "skipped\"")).unwrap();
    assert!(bad(&world), "another outcome");
    fs::write(&path, "").unwrap();
    assert!(bad(&world), "no record");
    fs::write(&path, text.repeat(2)).unwrap();
    assert!(!bad(&world), "what is behind the committed length is not read");
    crate::store::db::tamper(&world.paths().db, "UPDATE counters SET fetched = 2, queued = 0");
    assert!(bad(&world), "wrong counters");
}

#[cfg(feature = "failpoints")]
#[test]
fn a_full_disk_gives_the_batch_back_and_it_can_be_sent_again() {
    let alone = POINTS_IN_USE.write().unwrap_or_else(std::sync::PoisonError::into_inner);
    let world = World::in_turn(&["/a"], Turn::Alone(alone));
    let lease = world.lease(1, 0).remove(0);
    let mut batch = Batch { ends: vec![ended(&lease, Outcome::Fetched, &["/x"])], ..Batch::new(at(0)) };
    let points = POINTS.iter().filter(|p| p.contains("append") || p.contains("sync_") || p.contains("before_commit"));
    for point in points {
        fail::cfg(*point, "return(ENOSPC)").unwrap();
        let error = world.commit(batch).unwrap_err();
        fail::remove(*point);
        let CommitError::NoSpace { batch: back, .. } = error else { panic!("{point}: {error}") };
        assert_eq!(world.counters().in_flight, 1, "{point}");
        batch = *back;
    }
    let done = world.commit(batch).unwrap();
    assert_eq!((done.counters.fetched, done.counters.discovered), (1, 2));
    sound(&world);
    fail::cfg("output.before_sync_pages", "return(EIO)").unwrap();
    let next = world.lease(1, 0);
    let failed = world.commit(Batch { ends: vec![ended(&next[0], Outcome::Fetched, &[])], ..Batch::new(at(0)) });
    fail::remove("output.before_sync_pages");
    assert!(matches!(failed, Err(CommitError::Io { .. })), "{failed:?}");
    assert!(matches!(world.commit(Batch::new(at(0))), Err(CommitError::Closed)), "never tried again");
}
