//! The Unix socket: where it is, who may connect, how many at once; and how long a silent client is borne anywhere.

use std::fs;
use std::future::Future;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

use crate::api::access::Standing;

/// The socket's name under the state directory.
pub const SOCKET_NAME: &str = "crawld.sock";
/// Commands are few and short; more at once is a client that leaks connections.
const CONNECTIONS: usize = 64;
/// A connection on which nothing moves and nothing is being worked on is closed after this.
const IDLE: Duration = Duration::from_secs(10);
/// After a failed accept (no descriptors left, say) the next try waits this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// `sockaddr_un` holds 108 bytes with the final zero.
const PATH_MAX: usize = 107;

/// Binds the socket of a state directory, 0600. A socket left by an earlier owner is removed: call
/// this only while holding the directory's lock.
///
/// # Errors
/// The path is taken by something that is no socket, or the directory cannot be written.
pub fn bind(state_dir: &Path) -> io::Result<UnixListener> {
    let path = state_dir.join(SOCKET_NAME);
    match fs::symlink_metadata(&path) {
        Ok(meta) if meta.file_type().is_socket() => fs::remove_file(&path)?,
        Ok(_) => {
            let message = format!("`{}` is no socket: move it away", path.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = with_short_path(state_dir, |short| UnixListener::bind(short))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Calls with a path to the socket that fits a socket address, also for a deep directory.
pub(super) fn with_short_path<T>(state_dir: &Path, call: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let path = state_dir.join(SOCKET_NAME);
    if path.as_os_str().len() <= PATH_MAX {
        return call(&path);
    }
    let directory = fs::File::open(state_dir)?;
    call(&PathBuf::from(format!("/proc/self/fd/{}/{SOCKET_NAME}", directory.as_raw_fd())))
}

/// Accepts our own user and root only, and a bounded number at once.
pub(super) struct Door {
    listener: UnixListener,
    places: Arc<Semaphore>,
}

impl Door {
    pub(super) fn new(listener: UnixListener) -> Self {
        Door { listener, places: Arc::new(Semaphore::new(CONNECTIONS)) }
    }

    /// The next client. Cancel-safe.
    pub(super) async fn accept(&self) -> (Guarded<UnixStream>, Standing) {
        loop {
            let place = place(&self.places).await;
            match self.listener.accept().await {
                Ok((stream, _)) => match standing_of(&stream) {
                    Some(standing) => return (Guarded::new(stream, place), standing),
                    None => tracing::warn!(reason = "another user", "API connection refused"),
                },
                Err(error) => pause(&error).await,
            }
        }
    }
}

/// Waits for one of the places that a door has.
pub(super) async fn place(places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    let Ok(place) = Arc::clone(places).acquire_owned().await else {
        unreachable!("the semaphore of a door is never closed")
    };
    place
}

/// After a failed accept.
pub(super) async fn pause(error: &io::Error) {
    tracing::warn!(%error, "API connection not accepted");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// Whether a user's connection is taken, and as whose.
fn standing(peer: u32, own: u32) -> Option<Standing> {
    match peer {
        peer if peer == own => Some(Standing::Operator),
        0 => Some(Standing::Guest),
        _ => None,
    }
}

fn standing_of(stream: &UnixStream) -> Option<Standing> {
    standing(stream.peer_cred().ok()?.uid(), rustix::process::geteuid().as_raw())
}

/// A connection that ends by itself when it is silent for too long.
pub(super) struct Guarded<S> {
    stream: S,
    idle: Pin<Box<Sleep>>,
    busy: Busy,
    _place: OwnedSemaphorePermit,
}

/// Whether a handler is at work on the connection; silence is then our own.
#[derive(Debug, Clone, Default)]
pub(super) struct Busy(Arc<AtomicBool>);

impl Busy {
    pub(super) fn set(&self, busy: bool) {
        self.0.store(busy, Ordering::Relaxed);
    }
}

impl<S> Guarded<S> {
    /// A connection that holds one of its door's places.
    pub(super) fn new(stream: S, place: OwnedSemaphorePermit) -> Self {
        let idle = Box::pin(tokio::time::sleep(IDLE));
        Guarded { stream, idle, busy: Busy::default(), _place: place }
    }

    /// Where it is said that silence is our own.
    pub(super) fn busy(&self) -> Busy {
        self.busy.clone()
    }

    fn moved(&mut self) {
        self.idle.as_mut().reset(Instant::now() + IDLE);
    }

    /// Errors when nothing has moved for too long; otherwise stays pending.
    fn silent(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        while self.idle.as_mut().poll(context).is_ready() {
            if !self.busy.0.load(Ordering::Relaxed) {
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the client is silent"));
            }
            self.moved();
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_read(context, buf) {
            Poll::Ready(result) => {
                this.moved();
                Poll::Ready(result)
            }
            Poll::Pending => this.silent(context).map(Err),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_write(context, bytes) {
            Poll::Ready(result) => {
                this.moved();
                Poll::Ready(result)
            }
            Poll::Pending => this.silent(context).map(Err),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_daemons_own_user_is_the_operator() {
        #[track_caller]
        fn check(name: &str, peer: u32, own: u32, expected: Option<Standing>) {
            assert_eq!(standing(peer, own), expected, "{name}");
        }
        check("the same user", 998, 998, Some(Standing::Operator));
        check("root's own daemon", 0, 0, Some(Standing::Operator));
        check("root beside a daemon of its own user", 0, 998, Some(Standing::Guest));
        check("another user", 1000, 998, None);
        check("another user beside root's daemon", 1000, 0, None);
    }
}
