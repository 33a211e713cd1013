//! Bodies on their way through the proxy: passed on as they come, with a bound and a deadline.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use super::link::Shared;
use super::tally::Tally;
use crate::model::outcome::FailureClass;

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

/// Which answer a body belongs to.
pub(super) struct Origin {
    pub(super) host: String,
    pub(super) port: u16,
    /// Path and query.
    pub(super) path: String,
    /// The browser wants to show it: cut, it ends well, so that what came is read. Of anything else a part is
    /// worth nothing, and it ends as a broken transfer does.
    pub(super) shown: bool,
}

/// A site's body, cut where it grows too long or stands still.
pub(super) struct Passing {
    from: Incoming,
    left: u64,
    over: bool,
    still: Pin<Box<Sleep>>,
    shared: Arc<Shared>,
    origin: Origin,
}

impl Passing {
    pub(super) fn new(from: Incoming, shared: Arc<Shared>, origin: Origin) -> Passing {
        let (left, idle) = (shared.limits.body_bytes, shared.limits.idle);
        Passing { from, left, over: false, still: Box::pin(tokio::time::sleep(idle)), shared, origin }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.over {
            return Poll::Ready(self.too_long());
        }
        let Poll::Ready(frame) = Pin::new(&mut self.from).poll_frame(cx) else {
            ready!(self.still.as_mut().poll(cx));
            Tally::add(&self.shared.tally.cut, 1);
            return Poll::Ready(Some(Err(self.broke(FailureClass::Timeout, "nothing more came in time".to_owned()))));
        };
        self.still.as_mut().reset(Instant::now() + self.shared.limits.idle);
        let frame = match frame {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                let words = format!("the answer broke off before its end: {error}");
                return Poll::Ready(Some(Err(self.broke(FailureClass::Protocol, words))));
            }
            None => return Poll::Ready(None),
        };
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        if length <= self.left {
            self.left -= length;
            return Poll::Ready(Some(Ok(frame)));
        }
        // What fits goes through, so that the browser has as much as plain HTTP would have read.
        self.over = true;
        let room = usize::try_from(self.left).unwrap_or(usize::MAX);
        match frame.into_data() {
            Ok(data) if room > 0 => Poll::Ready(Some(Ok(Frame::data(data.slice(..room))))),
            _ => Poll::Ready(self.too_long()),
        }
    }

    fn too_long(&self) -> Option<io::Result<Frame<Bytes>>> {
        Tally::add(&self.shared.tally.cut, 1);
        let words = format!("the body is larger than {} bytes", self.shared.limits.body_bytes);
        let error = self.broke(FailureClass::TooLarge, words);
        (!self.origin.shown).then_some(Err(error))
    }

    /// How much is to come, where it is known and all of it may come.
    fn size_hint(&self) -> SizeHint {
        let hint = self.from.size_hint();
        if hint.lower() > self.shared.limits.body_bytes { SizeHint::default() } else { hint }
    }

    /// Remembers how the body ended, for the visit that waits for it.
    fn broke(&self, class: FailureClass, words: String) -> io::Error {
        let Origin { host, port, path, .. } = &self.origin;
        self.shared.broken.note(host, *port, Some(path), (class, words.clone()));
        io::Error::other(words)
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
            Answer::Passing(passing) => !passing.over && passing.from.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Words(words) => SizeHint::with_exact(words.as_ref().map_or(0, |words| words.len() as u64)),
            Answer::Passing(passing) => passing.size_hint(),
        }
    }
}
