//! Carries messages between Chromium's debugging pipe and chromiumoxide, which speaks only WebSocket.
//!
//! A listener on loopback lives until its secret path is asked for once; nobody else can reach the
//! browser. On the way, what nobody reads is dropped, which halves the daemon's work per page.

use std::io;
use std::time::Duration;

use futures_util::stream::SplitStream;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_util::sync::CancellationToken;

use super::attach;
use super::tap::Taps;
use super::traffic::{self, Command};

/// A message larger than this ends the browser: everything crawld asks for is far smaller.
pub(super) const MESSAGE_MAX: usize = 128 << 20;
/// How long chromiumoxide may take to connect.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// The two ends of the pipe that crawld keeps.
pub(super) struct PipeEnds {
    /// Commands go in here.
    pub commands: pipe::Sender,
    /// Answers and events come out here.
    pub answers: pipe::Receiver,
}

/// The browser's side of the bridge.
#[expect(clippy::large_enum_variant, reason = "there is one in a browser's life, and it is taken apart at once")]
pub(super) enum Far {
    /// The pipe of a browser that crawld has started.
    Pipe(PipeEnds),
    /// The socket of one that it is attached to.
    Socket(Socket),
}

/// Opens the bridge. Returns the secret address, and the task that carries; it ends, and cancels
/// `lost`, as soon as either side does.
pub(super) async fn open(far: Far, lost: CancellationToken, taps: Taps) -> io::Result<(String, JoinHandle<()>)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let path = secret_path()?;
    let url = format!("ws://{}{path}", listener.local_addr()?);
    let task = tokio::spawn(async move {
        let _end = lost.clone().drop_guard();
        let accepted = tokio::time::timeout(CONNECT_WITHIN, accept(&listener, &path)).await;
        drop(listener);
        if let Ok(Ok(socket)) = accepted {
            let carrying = async {
                match far {
                    Far::Pipe(ends) => carry(socket, ends, taps).await,
                    Far::Socket(browser) => attach::carry(socket, browser, taps).await,
                }
            };
            tokio::select! {
                () = lost.cancelled() => {}
                () = carrying => {}
            }
        }
    });
    Ok((url, task))
}

fn secret_path() -> io::Result<String> {
    let mut random = [0u8; 16];
    io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut random)?;
    Ok(random.iter().fold(String::from("/"), |path, byte| format!("{path}{byte:02x}")))
}

/// Of either side.
pub(super) type Socket = tokio_tungstenite::WebSocketStream<TcpStream>;

/// Accepts until the right path is asked for.
async fn accept(listener: &TcpListener, path: &str) -> io::Result<Socket> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        #[allow(clippy::result_large_err)]
        let check = |request: &Request, response: Response| {
            if request.uri().path() == path {
                return Ok(response);
            }
            let mut refusal = ErrorResponse::new(None);
            *refusal.status_mut() = tokio_tungstenite::tungstenite::http::StatusCode::NOT_FOUND;
            Err(refusal)
        };
        let handshake = tokio_tungstenite::accept_hdr_async(stream, check);
        if let Ok(Ok(socket)) = tokio::time::timeout(Duration::from_secs(2), handshake).await {
            return Ok(socket);
        }
    }
}

/// The next command for the browser; what needs no browser is answered to `own` on the way. `None` when either
/// side has ended.
pub(super) async fn next_command(from_client: &mut SplitStream<Socket>, own: &mpsc::Sender<String>) -> Option<String> {
    while let Some(Ok(message)) = from_client.next().await {
        let Message::Text(text) = message else { continue };
        match traffic::command(text.as_str()) {
            Command::Answer(answer) => own.send(answer).await.ok()?,
            Command::Pass(text) => return Some(text.into_owned()),
        }
    }
    None
}

async fn carry(socket: Socket, ends: PipeEnds, taps: Taps) {
    let (mut to_client, mut from_client) = socket.split();
    let PipeEnds { mut commands, mut answers } = ends;
    let (own_answers, mut own) = mpsc::channel::<String>(64);
    let downstream = async {
        while let Some(text) = next_command(&mut from_client, &own_answers).await {
            let mut bytes = text.into_bytes();
            bytes.push(0);
            if commands.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    let upstream = async {
        let mut buffer: Vec<u8> = Vec::with_capacity(64 << 10);
        let mut searched = 0;
        loop {
            tokio::select! {
                read = answers.read_buf(&mut buffer) => match read {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                },
                Some(answer) = own.recv() => {
                    if to_client.send(Message::text(answer)).await.is_err() {
                        return;
                    }
                    continue;
                }
            }
            let mut start = 0;
            while let Some(found) = memchr::memchr(0, &buffer[start.max(searched)..]) {
                let end = start.max(searched) + found;
                let message = &buffer[start..end];
                taps.hear(message);
                if traffic::wanted(message) {
                    let text = String::from_utf8_lossy(message).into_owned();
                    if to_client.feed(Message::text(text)).await.is_err() {
                        return;
                    }
                }
                start = end + 1;
                searched = start;
            }
            buffer.drain(..start);
            searched = buffer.len();
            if buffer.len() > MESSAGE_MAX || to_client.flush().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = downstream => {}
        () = upstream => {}
    }
}
