//! Takes connections from the browser, and from nobody else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::link::{self, Shared};
use super::peer;
use super::tally::Tally;

/// Connections from one session's pages at once; more wait. Chromium keeps to fewer by itself.
const MOST: usize = 512;

/// After an error of the listener, which would otherwise come again at once.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves until dropped, and every connection with it.
pub(super) async fn accept(listener: TcpListener, own: SocketAddr, shared: Arc<Shared>) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = open.join_next() => {}
            accepted = listener.accept(), if open.len() < MOST => match accepted {
                Ok((stream, from)) if is_ours(from, own) => {
                    // A setting that cannot be made costs a few milliseconds, not the connection.
                    let _ = stream.set_nodelay(true);
                    open.spawn(link::serve(stream, Arc::clone(&shared)));
                }
                Ok(_) => Tally::add(&shared.tally.strangers, 1),
                Err(error) => {
                    tracing::warn!(error = %error, "the browser's proxy cannot take a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            },
        }
    }
}

/// Whether the connection comes from a process of this user.
fn is_ours(from: SocketAddr, own: SocketAddr) -> bool {
    static SAID: AtomicBool = AtomicBool::new(false);
    let (SocketAddr::V4(from), SocketAddr::V4(own)) = (from, own) else { return false };
    match peer::owner(from, own) {
        Ok(user) => user == Some(rustix::process::geteuid().as_raw()),
        // Addresses are checked all the same.
        Err(error) => {
            if !SAID.swap(true, Ordering::Relaxed) {
                tracing::warn!(error = %error, "the kernel does not say who connects: \
                    the browser's proxy is open to every user of this machine");
            }
            true
        }
    }
}
