use std::path::Path;

use super::*;
use crate::crawl::announce::Announcer;
use crate::model::event::{CheckpointNote, PageNote, ProgressNote};
use crate::model::outcome::Outcome;
use crate::model::record::PageRecord;
use crate::model::url::CanonicalUrl;
use crate::output::Kind;

const KEEP: Duration = Duration::from_secs(1800);

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn id(text: &str) -> EventId {
    text.parse().unwrap()
}

/// A session that commits, as a controller and its committer do, without either.
struct World {
    dir: tempfile::TempDir,
    feed: Feed,
    session: SessionId,
    announcer: Announcer,
    seq: u64,
    epoch: Epoch,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        World::open(dir, 1, 0, false)
    }

    fn open(dir: tempfile::TempDir, epoch: Epoch, seq: u64, record: bool) -> Self {
        let state = StateDir::open(dir.path()).unwrap();
        let session: SessionId = "s1".parse().unwrap();
        let paths = state.session(&session);
        paths.create().unwrap();
        let feed = Feed::start(&state, KEEP, at(epoch as i64 * 1_000_000)).unwrap();
        let announcer = Announcer::new(Some(feed.announce()), &paths, (epoch, seq), record);
        World { dir, feed, session, announcer, seq, epoch }
    }

    /// The process is killed and another one continues the session.
    fn killed(self) -> Self {
        let World { dir, seq, epoch, .. } = self;
        World::open(dir, epoch + 1, seq, false)
    }

    fn out(&self) -> std::path::PathBuf {
        StateDir::open(self.dir.path()).unwrap().session(&self.session).out()
    }

    async fn commit(&mut self, pages: u64) {
        self.seq += 1;
        let records: Vec<PageRecord> = (0..pages).map(|n| record(self.epoch, self.seq, n)).collect();
        append(&self.out(), &records);
        self.announcer.committed(self.seq, records.iter().map(PageNote::of).collect());
        self.feed.settle().await;
    }

    async fn checkpoint(&mut self) {
        let checkpoint = CheckpointNote { generation: self.seq };
        self.announcer.happened(at(0), What::Checkpoint { checkpoint });
        self.feed.settle().await;
    }

    /// Everything there is for a watcher now.
    async fn told(&self, watcher: &mut Subscription) -> Told {
        let mut told = Told::default();
        loop {
            let mut batch = Batch::default();
            let next = watcher.take(100, &mut batch);
            told.lost += batch.lost;
            told.ids.extend(batch.texts.iter().map(number));
            match next {
                Next::Events => {}
                Next::Older => {
                    let older = watcher.older().await.unwrap();
                    told.gone.extend(older.gone.map(|(from, to)| format!("{from}-{to}")));
                    told.ids.extend(older.texts.iter().map(number));
                }
                Next::Nothing => return told,
                Next::Over(over) => {
                    told.over = Some(over.status);
                    return told;
                }
            }
        }
    }
}

#[derive(Debug, Default, PartialEq)]
struct Told {
    ids: Vec<String>,
    lost: u64,
    gone: Vec<String>,
    over: Option<SessionStatus>,
}

fn record(epoch: Epoch, commit_seq: u64, n: u64) -> PageRecord {
    let url = CanonicalUrl::parse("http://h.example/").unwrap();
    PageRecord { n, epoch, commit_seq, ..PageRecord::new(&url, Outcome::Fetched, at(0)) }
}

fn append(out: &Path, records: &[PageRecord]) {
    use std::io::Write;
    let path = out.join(Kind::Pages.name(1));
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    records.iter().for_each(|record| writeln!(file, "{}", serde_json::to_string(record).unwrap()).unwrap());
}

fn number(text: &Bytes) -> String {
    serde_json::from_slice::<Event>(text).unwrap().id.to_string()
}

#[tokio::test]
async fn a_watcher_is_told_in_order_and_from_where_it_was() {
    let mut world = World::new();
    world.commit(2).await;
    let mut now = world.feed.watch(&world.session, None, None);
    let mut before = world.feed.watch(&world.session, Some(id("1.1.1")), None);
    world.checkpoint().await;
    world.commit(1).await;
    assert_eq!(world.told(&mut now).await.ids, ["1.1.3", "1.2.1"]);
    assert_eq!(world.told(&mut before).await.ids, ["1.1.2", "1.1.3", "1.2.1"]);
    assert_eq!(world.told(&mut before).await, Told::default());
    assert_eq!(now.newest(), Some(id("1.2.1")));
}

#[tokio::test]
async fn after_a_kill_the_last_number_leads_to_what_was_missed_and_to_nothing_twice() {
    let mut world = World::new();
    for _ in 0..5 {
        world.commit(2).await;
        world.checkpoint().await;
    }
    // Durable, and the process was killed before anybody was told.
    world.seq += 1;
    append(&world.out(), &[record(1, world.seq, 7)]);
    let mut world = world.killed();
    world.commit(1).await;
    // Written, not committed.
    append(&world.out(), &[record(2, world.seq + 1, 8)]);
    let mut watcher = world.feed.watch(&world.session, Some(id("1.3.3")), None);
    let told = world.told(&mut watcher).await;
    let expected = ["1.4.1", "1.4.2", "1.4.3", "1.5.1", "1.5.2", "1.5.3", "1.6.1", "2.7.1"];
    assert_eq!(told, Told { ids: expected.map(str::to_owned).into(), ..Told::default() });
}

#[tokio::test]
async fn what_the_ring_does_not_hold_comes_from_the_outputs_and_the_history() {
    let mut world = World::new();
    world.checkpoint().await;
    for _ in 0..3 {
        world.commit(1_500).await;
        world.checkpoint().await;
    }
    let mut watcher = world.feed.watch(&world.session, Some(EventId::default()), None);
    let told = world.told(&mut watcher).await;
    assert_eq!((told.ids.len(), told.lost, &told.gone), (4_504, 0, &vec![]));
    let mut sorted: Vec<EventId> = told.ids.iter().map(|text| id(text)).collect();
    sorted.sort();
    sorted.dedup();
    assert_eq!(sorted.iter().map(ToString::to_string).collect::<Vec<_>>(), told.ids);
}

#[tokio::test]
async fn a_slow_watcher_loses_events_and_learns_how_many() {
    let mut world = World::new();
    let mut slow = world.feed.watch(&world.session, None, None);
    for _ in 0..6 {
        world.commit(1_000).await;
    }
    let told = world.told(&mut slow).await;
    assert_eq!(told.lost as usize + told.ids.len(), 6_000);
    assert_eq!(told.ids.len(), RING.0);
}

#[tokio::test]
async fn what_no_history_holds_is_said_to_be_gone() {
    let mut world = World::new();
    world.checkpoint().await;
    world.commit(1).await;
    let events = StateDir::open(world.dir.path()).unwrap().session(&world.session).events();
    std::fs::remove_file(events).unwrap();
    let mut world = world.killed();
    world.checkpoint().await;
    let mut watcher = world.feed.watch(&world.session, Some(EventId::default()), None);
    let told = world.told(&mut watcher).await;
    assert_eq!((told.ids, told.gone), (vec!["1.1.1".to_owned(), "2.1.1".into()], vec!["0.0.0-2.1.0".to_owned()]));
}

#[tokio::test]
async fn a_watcher_learns_of_the_end_once_it_knows_the_rest() {
    let mut world = World::new();
    let mut watcher = world.feed.watch(&world.session, None, None);
    world.commit(1).await;
    world.feed.ended(&world.session, SessionStatus::Completed, Some(StopReason::Finished)).await;
    world.feed.settle().await;
    let told = world.told(&mut watcher).await;
    assert_eq!((told.ids, told.over), (vec!["1.1.1".to_owned()], Some(SessionStatus::Completed)));
    drop(watcher);
    assert!(lock(&world.feed.inner.state).streams.is_empty());
    // Asked about later, from the files.
    let mut watcher = world.feed.watch(&world.session, Some(EventId::default()), None);
    assert_eq!(world.told(&mut watcher).await.ids, ["1.1.1"]);
}

#[tokio::test]
async fn a_watcher_of_a_session_at_rest_sees_it_come_back() {
    let mut world = World::new();
    world.commit(1).await;
    let World { dir, session, .. } = world;
    let state = StateDir::open(dir.path()).unwrap();
    let feed = Feed::start(&state, KEEP, at(0)).unwrap();
    let mut watcher = feed.watch(&session, Some(EventId::default()), None);
    let paths = state.session(&session);
    let mut world =
        World { announcer: Announcer::new(None, &paths, (2, 1), false), dir, feed, session, seq: 1, epoch: 2 };
    assert_eq!(world.told(&mut watcher).await.ids, ["1.1.1"]);
    world.announcer = Announcer::new(Some(world.feed.announce()), &paths, (2, 1), false);
    world.commit(2).await;
    assert_eq!(world.told(&mut watcher).await.ids, ["2.2.1", "2.2.2"]);
}

#[tokio::test]
async fn all_sessions_are_followed_at_once_each_from_its_own_number() {
    let mut world = World::new();
    world.commit(2).await;
    let after = [(world.session.clone(), id("1.1.1"))];
    let mut watcher = world.feed.watch_all(&after, None);
    world.commit(1).await;
    let checkpoint = CheckpointNote { generation: 0 };
    world.feed.happened(at(0), What::Checkpoint { checkpoint });
    let told = world.told(&mut watcher).await;
    assert_eq!(told.ids, ["1.1.2", "1.2.1", "1000.0.1"]);
    assert_eq!(told.lost, 0);
}

#[tokio::test]
async fn progress_is_state_and_only_the_newest_is_told_to_who_comes_later() {
    let mut world = World::new();
    let mut there = world.feed.watch(&world.session, None, None);
    for visits_active in 0..3 {
        let progress =
            ProgressNote { counters: Default::default(), rates: Default::default(), eta_seconds: None, visits_active };
        world.announcer.happened(at(0), What::Progress { progress });
    }
    world.commit(1).await;
    assert_eq!(world.told(&mut there).await.ids, ["1.0.1", "1.0.2", "1.0.3", "1.1.1"]);
    let mut later = world.feed.watch(&world.session, Some(EventId::default()), None);
    assert_eq!(world.told(&mut later).await.ids, ["1.1.1"]);
    assert!(later.progress().is_empty(), "it was told of something newer");
    let fresh = world.feed.watch(&world.session, None, None);
    assert_eq!(fresh.progress().iter().map(number).collect::<Vec<_>>(), ["1.0.3"]);
}

#[test]
fn many_watchers_look_less_often_and_few_at_once() {
    for (watchers, rest_ms, most) in [(0, 10, 256), (1, 10, 256), (40, 10, 50), (1_000, 250, 50), (10_000, 1_000, 20)] {
        assert_eq!(pace(watchers), (Duration::from_millis(rest_ms), most), "{watchers}");
    }
}
