//! Attaches to a browser that somebody else started, and carries messages between it and chromiumoxide.
//!
//! It has tabs of its own that are none of our affair: what the browser says about them goes no further than here,
//! so nobody looks into them, sets them up or closes their windows.

use std::collections::HashSet;
use std::sync::Mutex;

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::bridge::{MESSAGE_MAX, Socket, next_command};
use super::tap::Taps;
use super::traffic;
use crate::lock::lock;
use crate::model::endpoint::DebugEndpoint;

/// What a browser says of itself takes a few hundred bytes.
const VERSION_MAX: usize = 64 << 10;

/// Connects to the browser's debugging socket. The caller sets the deadline.
///
/// # Errors
/// Nobody is there, or it is no browser: in words.
pub(super) async fn connect(endpoint: &DebugEndpoint) -> Result<Socket, String> {
    let stream = dial(endpoint).await?;
    let peer = stream.peer_addr().map_err(|error| error.to_string())?;
    let url = if endpoint.is_socket {
        format!("{endpoint}{}", endpoint.path)
    } else {
        // Chromium answers only who calls it by an address: a name could be anybody's (rebinding).
        let path = socket_path(&ask_version(stream, &peer.to_string(), &endpoint.path).await?)?;
        return open(dial(endpoint).await?, &format!("ws://{peer}{path}")).await;
    };
    open(stream, &url).await
}

async fn dial(endpoint: &DebugEndpoint) -> Result<TcpStream, String> {
    let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await;
    let stream = stream.map_err(|error| format!("no connection: {error}"))?;
    // A setting that cannot be made costs a few milliseconds, not the connection.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

async fn open(stream: TcpStream, url: &str) -> Result<Socket, String> {
    let config = WebSocketConfig::default().max_message_size(Some(MESSAGE_MAX)).max_frame_size(Some(MESSAGE_MAX));
    let opened = tokio_tungstenite::client_async_with_config(url, stream, Some(config)).await;
    Ok(opened.map_err(|error| format!("its debugging socket was refused: {error}"))?.0)
}

/// Asks for the browser's own description, in which its socket is named.
async fn ask_version(mut stream: TcpStream, host: &str, path: &str) -> Result<String, String> {
    let (path, query) = path.split_once('?').map_or((path, String::new()), |(path, query)| (path, format!("?{query}")));
    let path = path.trim_end_matches('/').trim_end_matches("/json/version");
    let ask = format!("GET {path}/json/version{query} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let broken = |error: std::io::Error| format!("/json/version: {error}");
    stream.write_all(ask.as_bytes()).await.map_err(broken)?;
    let mut answer = Vec::new();
    loop {
        if let Some(body) = complete(&answer) {
            return Ok(body);
        }
        let read = (&mut stream).take(4096).read_buf(&mut answer).await.map_err(broken)?;
        if answer.len() > VERSION_MAX {
            return Err("/json/version: the answer is too long for a browser's".to_owned());
        }
        if read == 0 {
            let (_, body) = split(&answer).ok_or("/json/version: no answer in HTTP")?;
            return Ok(String::from_utf8_lossy(body).into_owned());
        }
    }
}

fn split(answer: &[u8]) -> Option<(&str, &[u8])> {
    let at = memchr::memmem::find(answer, b"\r\n\r\n")?;
    Some((std::str::from_utf8(&answer[..at]).ok()?, &answer[at + 4..]))
}

/// The body, once as much of it is there as was announced. Browsers do not always close the connection.
fn complete(answer: &[u8]) -> Option<String> {
    let (head, body) = split(answer)?;
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    let mut length = fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.next()?.1.trim().parse().ok()?;
    (body.len() >= length).then(|| String::from_utf8_lossy(&body[..length]).into_owned())
}

/// Path and query of the socket that the browser names. It is looked for where the browser was found: what is asked
/// here does not send crawld elsewhere.
fn socket_path(version: &str) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Version {
        #[serde(rename = "webSocketDebuggerUrl")]
        socket: String,
    }
    let named = serde_json::from_str::<Version>(version).ok().and_then(|version| url::Url::parse(&version.socket).ok());
    let url = named.ok_or("/json/version: the answer names no debugging socket: is this a Chromium?")?;
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    Ok(format!("{}{query}", url.path()))
}

/// Carries until either side ends.
pub(super) async fn carry(client: Socket, browser: WebSocketStream<TcpStream>, taps: Taps) {
    let ours = Mutex::new(Ours::default());
    let (mut to_client, mut from_client) = client.split();
    let (mut to_browser, mut from_browser) = browser.split();
    let (own_answers, mut own) = tokio::sync::mpsc::channel::<String>(64);
    let downstream = async {
        while let Some(text) = next_command(&mut from_client, &own_answers).await {
            lock(&ours).sent(&text);
            if to_browser.send(Message::text(text)).await.is_err() {
                return;
            }
        }
    };
    let upstream = async {
        loop {
            let passed = tokio::select! {
                message = from_browser.next() => match message {
                    Some(Ok(Message::Text(text))) => {
                        taps.hear(text.as_bytes());
                        let passes = traffic::wanted(text.as_bytes()) && lock(&ours).concerns_us(text.as_str());
                        passes.then_some(Message::Text(text))
                    }
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                    Some(Ok(_)) => None,
                },
                Some(answer) = own.recv() => Some(Message::text(answer)),
            };
            if let Some(message) = passed
                && to_client.send(message).await.is_err()
            {
                return;
            }
        }
    };
    tokio::select! {
        () = downstream => {}
        () = upstream => {}
    }
}

/// Which contexts of the browser are ours: those that we asked for.
#[derive(Debug, Default)]
struct Ours {
    asked: HashSet<u64>,
    contexts: HashSet<String>,
}

/// Events that tell of a target, with all about it.
const ABOUT_TARGETS: [&str; 3] = [
    r#""method":"Target.targetCreated""#,
    r#""method":"Target.targetInfoChanged""#,
    r#""method":"Target.attachedToTarget""#,
];

#[derive(Deserialize)]
struct Told {
    id: Option<u64>,
    #[serde(default)]
    result: Context,
    #[serde(default)]
    params: Params,
}

#[derive(Default, Deserialize)]
struct Params {
    #[serde(rename = "targetInfo", default)]
    target: Context,
}

#[derive(Default, Deserialize)]
struct Context {
    #[serde(rename = "browserContextId")]
    id: Option<String>,
}

impl Ours {
    /// Notes a command on its way to the browser.
    fn sent(&mut self, text: &str) {
        let head = &text[..text.floor_char_boundary(160)];
        if head.contains(r#""method":"Target.createBrowserContext""#) {
            self.asked.extend(traffic::call_id(head));
        }
    }

    /// Whether a message of the browser is about something of ours.
    fn concerns_us(&mut self, text: &str) -> bool {
        let head = &text[..text.floor_char_boundary(120)];
        let about_a_target = ABOUT_TARGETS.iter().any(|method| head.contains(method));
        if !about_a_target && self.asked.is_empty() {
            return true;
        }
        let Ok(told) = serde_json::from_str::<Told>(text) else { return !about_a_target };
        if about_a_target {
            return told.params.target.id.is_some_and(|id| self.contexts.contains(&id));
        }
        if told.id.is_some_and(|id| self.asked.remove(&id)) {
            self.contexts.extend(told.result.id);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_happens_in_contexts_of_ours_is_told() {
        let mut ours = Ours::default();
        let created = |context: &str| {
            format!(
                r#"{{"method":"Target.targetCreated","params":{{"targetInfo":{{"targetId":"T","type":"page","browserContextId":"{context}"}}}}}}"#
            )
        };
        assert!(!ours.concerns_us(&created("A")), "a tab that was there before");
        ours.sent(r#"{"id":3,"method":"Target.createBrowserContext","params":{}}"#);
        assert!(ours.concerns_us(r#"{"id":2,"result":{"browserContextId":"B"}}"#), "another answer");
        assert!(ours.concerns_us(r#"{"id":3,"result":{"browserContextId":"C"}}"#));
        for (context, told) in [("A", false), ("B", false), ("C", true)] {
            assert_eq!(ours.concerns_us(&created(context)), told, "{context}");
        }
        assert!(ours.concerns_us(r#"{"method":"Target.targetDestroyed","params":{"targetId":"T"}}"#));
    }

    #[test]
    fn a_browser_names_its_socket() {
        let answer =
            |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length:{}\r\n\r\n{body}", body.len()).into_bytes();
        let version = r#"{"Browser":"Chrome/156","webSocketDebuggerUrl":"ws://127.0.0.1:9222/devtools/browser/1?t=2"}"#;
        let whole = answer(version);
        assert_eq!(complete(&whole[..whole.len() - 1]), None);
        let body = complete(&whole).unwrap();
        assert_eq!(socket_path(&body).unwrap(), "/devtools/browser/1?t=2");
        assert!(socket_path("<html>").unwrap_err().contains("is this a Chromium?"));
    }
}
