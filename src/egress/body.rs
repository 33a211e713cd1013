//! Bodies on their way through the proxy: passed on as they come, with a bound and a deadline.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use super::tally::Tally;

/// A request's body, or none.
#[derive(Debug, Default)]
pub(super) struct Upload(pub Option<Incoming>);

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        match &mut self.0 {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// What the browser gets: a site's body, or a few words of ours.
pub(super) enum Answer {
    /// Words, once. The browser shows them nowhere; they are for a person with a command line.
    Words(Option<Bytes>),
    /// A site's body.
    Passing(Box<Passing>),
}

/// A site's body, cut where it grows too long or stands still.
pub(super) struct Passing {
    from: Incoming,
    left: u64,
    idle: Duration,
    still: Pin<Box<Sleep>>,
    tally: Arc<Tally>,
}

impl Passing {
    pub(super) fn new(from: Incoming, most: u64, idle: Duration, tally: Arc<Tally>) -> Passing {
        Passing { from, left: most, idle, still: Box::pin(tokio::time::sleep(idle)), tally }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.from).poll_frame(cx) else {
            ready!(self.still.as_mut().poll(cx));
            return Poll::Ready(Some(Err(self.cut("nothing more came in time"))));
        };
        self.still.as_mut().reset(Instant::now() + self.idle);
        let frame = match frame {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(io::Error::other(error)))),
            None => return Poll::Ready(None),
        };
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        if length > self.left {
            return Poll::Ready(Some(Err(self.cut("the body is too long"))));
        }
        self.left -= length;
        Poll::Ready(Some(Ok(frame)))
    }

    fn cut(&self, why: &'static str) -> io::Error {
        Tally::add(&self.tally.cut, 1);
        io::Error::other(why)
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Answer::Words(words) => Poll::Ready(words.take().map(|words| Ok(Frame::data(words)))),
            Answer::Passing(passing) => passing.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Answer::Words(words) => words.is_none(),
            Answer::Passing(passing) => passing.from.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Words(words) => SizeHint::with_exact(words.as_ref().map_or(0, |words| words.len() as u64)),
            Answer::Passing(passing) => passing.from.size_hint(),
        }
    }
}
