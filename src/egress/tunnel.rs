//! A tunnel: bytes both ways between browser and site, which the proxy does not understand.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::Limits;

/// What one direction holds between a read and the write that follows.
const BUFFER: usize = 16 << 10;

/// After a pause of this length a burst is over.
const PAUSE: Duration = Duration::from_secs(1);

/// Why a tunnel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Closed by one of its ends.
    Closed,
    /// Nothing moved for too long, or it lived too long.
    Over,
    /// The site sent more at a stretch than is allowed.
    Flood,
}

/// Carries bytes until both sides have closed, or a limit is reached.
pub(super) async fn carry<B, S>(browser: B, site: S, limits: &Limits) -> End
where
    B: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (moved, last) = watch::channel(Instant::now());
    let (from_browser, to_browser) = split(browser);
    let (from_site, to_site) = split(site);
    let up = pump(from_browser, to_site, &moved, u64::MAX);
    let down = pump(from_site, to_browser, &moved, limits.burst_bytes);
    let both = async {
        // One side may be done with sending and still wait for the other's answer.
        match tokio::join!(up, down) {
            (_, Ok(End::Flood)) => End::Flood,
            _ => End::Closed,
        }
    };
    tokio::select! {
        end = timeout(limits.tunnel, both) => end.unwrap_or(End::Over),
        () = stood_still(last, limits.idle) => End::Over,
    }
}

/// Returns when nothing has moved for `idle`.
async fn stood_still(mut last: watch::Receiver<Instant>, idle: Duration) {
    loop {
        let due = *last.borrow_and_update() + idle;
        if Instant::now() >= due {
            return;
        }
        sleep_until(due).await;
    }
}

/// One direction, to its end: then the other side is told.
async fn pump<R, W>(mut from: R, mut to: W, moved: &watch::Sender<Instant>, burst: u64) -> io::Result<End>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0u8; BUFFER];
    let mut left = burst;
    let mut before = Instant::now();
    let end = loop {
        let length = match from.read(&mut buffer).await {
            Ok(0) => break Ok(End::Closed),
            Ok(length) => length,
            Err(error) => break Err(error),
        };
        let now = Instant::now();
        if now - before >= PAUSE {
            left = burst;
        }
        before = now;
        moved.send_replace(now);
        if length as u64 > left {
            break Ok(End::Flood);
        }
        left -= length as u64;
        if let Err(error) = to.write_all(&buffer[..length]).await {
            break Err(error);
        }
    };
    // The other end may be gone already, which is what is to be said.
    let _ = to.shutdown().await;
    end
}
