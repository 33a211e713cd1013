//! The API over its doors, with a daemon that answers a little.

use std::time::Instant;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::api::SubmitBody;
use crate::api::client::Client;
use crate::api::listener::bind;
use crate::daemon::answers::{Done, OwnerHealth, Submitted};
use crate::daemon::command::{Command, OperatorError, SessionOrder, channel};
use crate::daemon::feed::Feed;
use crate::model::session::SessionStatus;
use crate::model::task::TaskOrigin;
use crate::state::task_file;

/// Answers a few commands as a daemon would.
async fn answer(mut inbox: tokio::sync::mpsc::Receiver<Command>) {
    while let Some(command) = inbox.recv().await {
        match command {
            Command::Health { reply } => {
                let _ = reply.send(Ok(OwnerHealth {
                    status: "ok".into(),
                    version: "0".into(),
                    pid: 1,
                    mode: "run".into(),
                    state_dir: "/".into(),
                    started_at: Timestamp::from_millis(0),
                    sessions: 0,
                    degraded: Vec::new(),
                    alerts: Vec::new(),
                    reasons: Vec::new(),
                    orphan_epochs: None,
                    listens: None,
                }));
            }
            Command::Submit { task, new, reply } => {
                assert!(!new);
                let session_id = "s1".parse().unwrap();
                let _ = reply.send(Ok(Submitted {
                    session_id,
                    task_id: task.task_id,
                    joined: false,
                    waits: false,
                    notes: Vec::new(),
                    recovered: None,
                }));
            }
            Command::Order { session, order: SessionOrder::RetryFailed { quarantined }, reply } => {
                let done = Done { session_id: session, status: SessionStatus::Active, count: u64::from(quarantined) };
                let _ = reply.send(Ok(done));
            }
            Command::Order { session, reply, .. } => {
                let _ = reply.send(Err(OperatorError::Ended(session.to_string())));
            }
            _ => {}
        }
    }
}

async fn start(directory: &Path) -> (JoinSet<()>, CancellationToken) {
    let config = Config { api_listen: "off".into(), ..Config::default() };
    serve_with(config, directory)
}

/// The API of a daemon that answers a little, with this configuration.
fn serve_with(config: Config, directory: &Path) -> (JoinSet<()>, CancellationToken) {
    let (operator, inbox) = channel();
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(answer(inbox));
    let ground = ApiGround {
        state_dir: directory.to_owned(),
        operator,
        registry: None,
        liveness: Liveness::default(),
        clock: Clock::system(),
        started_at: Timestamp::from_millis(0),
        mode: "run",
        network: true,
        feed: Feed::start(&StateDir::open(directory).unwrap(), Duration::from_secs(1800), Timestamp::from_millis(0))
            .unwrap(),
        stop: stop.clone(),
    };
    let doors = Doors::open(&config, &ground).unwrap();
    tasks.spawn(serve(doors, Arc::new(config), ground));
    (tasks, stop)
}

async fn raw(directory: &Path, request: &[u8]) -> String {
    let mut stream = tokio::net::UnixStream::connect(directory.join(crate::api::SOCKET_NAME)).await.unwrap();
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn commands_travel_over_the_socket_and_errors_come_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Client::find(dir.path()).await.unwrap().is_none());
    let (_tasks, stop) = start(dir.path()).await;
    let client = Client::find(dir.path()).await.unwrap().unwrap();
    assert_eq!(client.health().await.unwrap().status, "ok");
    let session = "s1".parse().unwrap();
    let order = SessionOrder::RetryFailed { quarantined: true };
    assert_eq!(client.order(&session, order).await.unwrap().count, 1);
    let error = client.order(&session, SessionOrder::Pause).await.unwrap_err();
    assert_eq!(error, OperatorError::Ended("s1".into()));

    let body = |task| SubmitBody { task, origin: TaskOrigin::Command, file: None, new: false };
    let submitted = client.submit(&body(json!({"id": "a", "seeds": ["http://a/"]}))).await.unwrap();
    assert_eq!(submitted.task_id.as_str(), "a");
    let error = client.submit(&body(json!({"seeds": ["a"], "scope": {"deep": 1}}))).await.unwrap_err();
    assert_eq!(error.to_string(), "task: scope.deep: unknown key: `crawld schema task` prints all of them");
    stop.cancel();
}

#[tokio::test]
async fn a_task_from_the_api_reaches_and_reads_nothing_that_is_not_granted() {
    let dir = tempfile::tempdir().unwrap();
    let (_tasks, _stop) = start(dir.path()).await;
    let client = Client::find(dir.path()).await.unwrap().unwrap();
    let networks = json!({"id": "a", "seeds": ["http://127.0.0.1/"], "allow_private_networks": ["127.0.0.0/8"]});
    let cookies = json!({"id": "a", "seeds": ["http://a/"], "fetch": {"cookies_file": "/etc/passwd"}});
    for (task, key) in [(networks, "allow_private_networks"), (cookies, "fetch.cookies_file")] {
        let by = |origin| SubmitBody { task: task.clone(), origin, file: None, new: false };
        let error = client.submit(&by(TaskOrigin::Api)).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("task: {key}")), "{error}");
        client.submit(&by(TaskOrigin::Command)).await.unwrap();
    }
}

#[tokio::test]
async fn a_session_of_another_task_is_refused_wherever_it_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    let paths = state.session(&"s1".parse().unwrap());
    paths.create().unwrap();
    let task = task_file::sample("s1");
    task_file::write(&paths, &task).unwrap();
    let (_tasks, _stop) = start(dir.path()).await;
    let ask = async |method: &str, path: &str, body: serde_json::Value| {
        let (body, head) = (body.to_string(), "Host: a\r\nConnection: close");
        let request =
            format!("{method} /api/v1{path} HTTP/1.1\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        raw(dir.path(), request.as_bytes()).await
    };
    let wrong = "s1:another";
    for (method, path, body) in [
        ("GET", "/sessions/s1:another", json!({})),
        ("GET", "/sessions/s1%3Aanother/heartbeat", json!({})),
        ("POST", "/sessions/s1:another/pause", json!({})),
        ("POST", "/recover", json!({ "sessions": [wrong] })),
        ("POST", "/export", json!({ "session": wrong, "file": "/nowhere" })),
    ] {
        let answer = ask(method, path, body).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
        assert!(answer.contains("\"other_task\"") && answer.contains("is of task"), "{path}: {answer}");
    }
    let right = format!("/sessions/{}/retry-failed", task.session_id.composite_key(&task.task_id));
    let answer = ask("POST", &right, json!({ "quarantined": true })).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"s1\""), "{answer}");
}

#[tokio::test]
async fn bad_requests_get_a_problem_and_harm_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let (_tasks, _stop) = start(dir.path()).await;
    for (request, status) in [
        ("GET /nothing HTTP/1.1", "404"),
        ("DELETE /api/v1/sessions HTTP/1.1", "405"),
        ("GET /api/v1/sessions/..%2f..%2fetc HTTP/1.1", "404"),
        ("POST /api/v1/sessions/a/explode HTTP/1.1", "404"),
        ("POST /api/v1/sessions HTTP/1.1\r\nContent-Length: 3\r\n\r\n{x}", "400"),
        ("POST /api/v1/sessions HTTP/1.1\r\nContent-Length: 9999999\r\n\r\n{", "413"),
    ] {
        let request = match request.contains("\r\n\r\n") {
            true => request.replacen("\r\n", "\r\nHost: a\r\nConnection: close\r\n", 1),
            false => format!("{request}\r\nHost: a\r\nConnection: close\r\n\r\n"),
        };
        let answer = raw(dir.path(), request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
        assert!(answer.contains("application/problem+json"), "{request}: {answer}");
    }
    assert!(Client::find(dir.path()).await.unwrap().unwrap().health().await.is_ok());
}

#[tokio::test]
async fn a_socket_is_private_and_replaces_a_stale_one_but_no_file() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    drop(bind(dir.path()).unwrap());
    let path = dir.path().join(crate::api::SOCKET_NAME);
    let _listener = bind(dir.path()).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "mine").unwrap();
    assert!(bind(dir.path()).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
}

#[tokio::test]
async fn a_deep_directory_works_too() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("d".repeat(120));
    std::fs::create_dir(&deep).unwrap();
    let (_tasks, _stop) = start(&deep).await;
    let started = Instant::now();
    let client = Client::find(&deep).await.unwrap().unwrap();
    assert_eq!(client.health().await.unwrap().mode, "run");
    eprintln!("connect and answer: {:?}", started.elapsed());
}

#[path = "attack_tests.rs"]
mod attacks;
