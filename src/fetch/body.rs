//! A body as it streams in: bounded in size after decompression, and in slowness.

use bytes::Bytes;
use tokio::time::Instant;

use super::client::{Deadlines, Exchange};
use super::fault::Fault;

/// Reads a body piece by piece.
pub(super) struct Body {
    response: reqwest::Response,
    deadlines: Deadlines,
    by: Instant,
    limit: u64,
    read: u64,
    cut: bool,
    window_ends: Instant,
    window_bytes: u64,
    /// Since when the reader has been busy elsewhere; that time is not the server's.
    away_since: Instant,
}

impl Body {
    /// At most `limit` bytes after decompression, all of them before `by`.
    pub(super) fn new(exchange: Exchange, deadlines: Deadlines, limit: u64, by: Instant) -> Self {
        Body {
            response: exchange.response,
            deadlines,
            by,
            limit,
            read: 0,
            cut: false,
            window_ends: Instant::now() + deadlines.rate_window,
            window_bytes: 0,
            away_since: Instant::now(),
        }
    }

    /// The next piece; `None` at the end or at the limit (then [`Body::is_cut`]).
    ///
    /// # Errors
    /// The transfer or the decompression failed, or a deadline passed.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        if self.cut {
            return Ok(None);
        }
        self.window_ends += self.away_since.elapsed();
        let received = self.receive().await;
        self.away_since = Instant::now();
        let Some(mut piece) = received? else { return Ok(None) };
        let room = self.limit - self.read;
        if piece.len() as u64 > room {
            self.cut = true;
            piece.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        }
        self.read += piece.len() as u64;
        Ok(Some(piece))
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            match tokio::time::timeout_at(self.window_ends.min(self.by), self.response.chunk()).await {
                Ok(Ok(None)) => return Ok(None),
                Ok(Ok(Some(piece))) => {
                    self.window_bytes += piece.len() as u64;
                    // A timeout is looked at only when nothing is ready; a fast sender must meet it too.
                    if Instant::now() >= self.by {
                        return Err(self.too_late());
                    }
                    return Ok(Some(piece));
                }
                Ok(Err(error)) => return Err(Fault::of(&error)),
                Err(_) if self.by <= Instant::now() => return Err(self.too_late()),
                Err(_) => self.next_window()?,
            }
        }
    }

    fn next_window(&mut self) -> Result<(), Fault> {
        if self.window_bytes < self.deadlines.rate_bytes {
            let seconds = self.deadlines.rate_window.as_secs_f64();
            let words = format!("the body stalled: {} bytes within {seconds} s", self.window_bytes);
            return Err(Fault::timeout(&words));
        }
        self.window_ends = Instant::now() + self.deadlines.rate_window;
        self.window_bytes = 0;
        Ok(())
    }

    fn too_late(&self) -> Fault {
        Fault::timeout(&format!("the page's deadline passed after {} bytes of the body", self.read))
    }

    /// Bytes handed out.
    pub(super) fn bytes(&self) -> u64 {
        self.read
    }

    /// The limit was reached with more to come.
    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }
}
