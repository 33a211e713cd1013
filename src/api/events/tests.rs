use futures_util::{SinkExt, StreamExt};
use tokio::io::DuplexStream;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::*;
use crate::model::event::{CheckpointNote, What};
use crate::model::session::SessionStatus;
use crate::model::time::Timestamp;
use crate::state::paths::StateDir;

const KEEP: Duration = Duration::from_secs(1800);

/// A feed, a connection with `room` bytes on its way, and its server.
struct World {
    _dir: tempfile::TempDir,
    feed: Feed,
    client: WebSocketStream<DuplexStream>,
    server: tokio::task::JoinHandle<Close>,
    stop: CancellationToken,
}

async fn world(room: usize, watch: impl FnOnce(&Feed) -> Subscription) -> World {
    let dir = tempfile::tempdir().unwrap();
    let feed = Feed::start(&StateDir::open(dir.path()).unwrap(), KEEP, Timestamp::from_millis(0)).unwrap();
    let (ours, theirs) = tokio::io::duplex(room);
    let client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
    let ws = WebSocketStream::from_raw_socket(ours, Role::Server, Some(socket::limits())).await;
    let (mut watch, stop, shared) = (watch(&feed), CancellationToken::new(), feed.clone());
    let stopped = stop.clone();
    let server = tokio::spawn(async move {
        let mut socket = Socket::new(ws);
        let close = socket.serve(&mut watch, (&shared, &Semaphore::new(1)), false, &stopped).await;
        socket.close(&close).await;
        close
    });
    World { _dir: dir, feed, client, server, stop }
}

fn happen(feed: &Feed, generation: u64) {
    let checkpoint = CheckpointNote { generation };
    feed.happened(Timestamp::from_millis(0), What::Checkpoint { checkpoint });
}

/// The `kind` of the next frame, or its close code.
async fn next(client: &mut WebSocketStream<DuplexStream>) -> String {
    loop {
        match client.next().await {
            Some(Ok(Message::Text(text))) => {
                let value: serde_json::Value = serde_json::from_str(&text).unwrap();
                return value["kind"].as_str().unwrap().to_owned();
            }
            Some(Ok(Message::Close(frame))) => return u16::from(frame.unwrap().code).to_string(),
            Some(Ok(_)) => {}
            other => return format!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn events_come_and_what_is_not_understood_is_answered_and_not_fatal() {
    let mut world = world(1 << 16, |feed| feed.watch_all(&[], None)).await;
    assert_eq!(next(&mut world.client).await, "hello");
    happen(&world.feed, 1);
    assert_eq!(next(&mut world.client).await, "checkpoint");
    for (said, answer) in [
        (Message::text("{\"kind\":"), "error"),
        (Message::text("[]"), "error"),
        (Message::text("{\"kind\":\"stop\"}"), "error"),
        (Message::binary(vec![0, 1, 2]), "error"),
        (Message::text("{\"kind\":\"ping\"}"), "alive"),
    ] {
        world.client.send(said).await.unwrap();
        assert_eq!(next(&mut world.client).await, answer);
    }
    happen(&world.feed, 2);
    assert_eq!(next(&mut world.client).await, "checkpoint");
    world.client.close(None).await.unwrap();
    assert_eq!(world.server.await.unwrap(), Close::Goodbye);
}

#[tokio::test]
async fn a_client_that_says_nothing_but_nonsense_is_sent_away() {
    let mut world = world(1 << 16, |feed| feed.watch_all(&[], None)).await;
    for _ in 0..60 {
        if world.client.send(Message::text("?")).await.is_err() {
            break;
        }
    }
    let mut last = String::new();
    while last != "1008" {
        last = next(&mut world.client).await;
        assert!(["hello", "error", "1008"].contains(&last.as_str()), "{last}");
    }
    assert!(!world.server.await.unwrap().is_well());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_no_ping_is_gone_after_thirty_seconds() {
    let world = world(1 << 16, |feed| feed.watch_all(&[], None)).await;
    let begun = Instant::now();
    assert_eq!(world.server.await.unwrap(), Close::Gone { badly: true });
    assert_eq!(begun.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_pings_stays_and_hears_that_the_connection_lives() {
    let mut world = world(1 << 16, |feed| feed.watch_all(&[], None)).await;
    let begun = Instant::now();
    assert_eq!(next(&mut world.client).await, "hello");
    while begun.elapsed() < Duration::from_secs(100) {
        assert_eq!(next(&mut world.client).await, "alive");
    }
    assert!(!world.server.is_finished());
    world.stop.cancel();
    assert_eq!(next(&mut world.client).await, "1001");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_closed_and_costs_no_memory() {
    let world = world(1 << 10, |feed| feed.watch_all(&[], None)).await;
    for generation in 0..100_000 {
        happen(&world.feed, generation);
    }
    assert_eq!(world.server.await.unwrap(), Close::SlowReader);
}

#[tokio::test]
async fn the_watchers_of_a_session_that_has_ended_are_told_as_what() {
    let over = Over { status: SessionStatus::Completed, stop_reason: None };
    let mut world = world(1 << 16, |feed| feed.watch(&"s1".parse().unwrap(), None, Some(over))).await;
    assert_eq!(next(&mut world.client).await, "hello");
    assert_eq!(next(&mut world.client).await, "ended");
    assert_eq!(next(&mut world.client).await, "4105");
    let _ = world.client.close(None).await;
    assert!(world.server.await.unwrap().is_well());
}

#[test]
fn a_handshake_is_told_from_what_is_none() {
    #[track_caller]
    fn check(headers: &[(&'static str, &'static str)], expected: Option<&str>) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        assert_eq!(accept_key(&map).as_ref().map(|key| key.to_str().unwrap()), expected, "{headers:?}");
    }
    let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let version = ("sec-websocket-version", "13");
    let asks = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
    // The example of RFC 6455, section 1.3.
    check(&[asks[0], asks[1], key, version], Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    check(&[asks[0], asks[1], key], None);
    check(&[asks[0], asks[1], version], None);
    check(&[asks[1], key, version], None);
    check(&[asks[0], key, version], None);
    check(&[asks[0], asks[1], key, ("sec-websocket-version", "8")], None);
    check(&[], None);
}

#[test]
fn sessions_are_named_with_their_numbers() {
    let (sessions, own) = named("s1@1.2.3,@7.0.1,s2@4.5.6").unwrap();
    let sessions: Vec<String> = sessions.iter().map(|(session, id)| format!("{session} {id}")).collect();
    assert_eq!((sessions, own), (vec!["s1 1.2.3".to_owned(), "s2 4.5.6".into()], "7.0.1".parse().ok()));
    assert!(named("").unwrap().0.is_empty());
    for wrong in ["s1", "s1@", "s1@1", "../x@1.2.3", &"s@1.1.1,".repeat(NAMED_MAX + 1)] {
        assert!(named(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn addresses_are_remembered_while_there_is_something_to_remember() {
    let mut doorman = HashMap::new();
    let address = |n: u8| Address { ip: Some(IpAddr::from([127, 0, 0, n])), authorised: true };
    let bad = Visitor::default().left(false, Timestamp::from_millis(0));
    remember(&mut doorman, address(1), bad);
    assert_eq!(doorman.len(), 1);
    remember(&mut doorman, address(1), Visitor::default());
    assert!(doorman.is_empty());
}
