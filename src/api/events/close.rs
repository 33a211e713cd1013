//! Why a connection of a watcher is closed: every code with its name, and what is said with it.

use std::borrow::Cow;
use std::time::Duration;

use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::policy::admission::Admission;

/// How a connection ends, from our side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Close {
    /// 1000: the client said goodbye.
    Goodbye,
    /// 1001: crawld stops.
    Stopping,
    /// 1008: too much that was not understood.
    Nonsense,
    /// 1011: the events could not be read.
    Fault(String),
    /// 4100 to 4102: not now.
    NotNow(Admission),
    /// 4103: it did not read what was sent.
    SlowReader,
    /// 4104: there is no such session.
    UnknownSession(String),
    /// 4105: the session has ended, and that was told.
    Ended,
    /// 4106: no token, or a wrong one.
    NotAuthorised,
    /// The client is gone, or answers no ping: nobody is left to be told.
    Gone {
        /// It broke the protocol, or was silent.
        badly: bool,
    },
}

/// Bytes of a close frame's reason at most (RFC 6455).
const REASON_MAX: usize = 123;

impl Close {
    /// Whether the client behaved.
    pub(super) fn is_well(&self) -> bool {
        !matches!(
            self,
            Close::Nonsense | Close::SlowReader | Close::NotAuthorised | Close::Gone { badly: true } | Close::NotNow(_)
        )
    }

    /// The close frame; `None`: there is nobody to send it to.
    pub(super) fn frame(&self) -> Option<CloseFrame> {
        let wait = |time: &Duration| Cow::Owned(format!("retry-after: {}", time.as_secs() + 1));
        let (code, reason): (u16, Cow<'_, str>) = match self {
            Close::Goodbye => (1000, "".into()),
            Close::Stopping => (1001, "crawld stops".into()),
            Close::Nonsense => (1008, "too many frames that were not understood".into()),
            Close::Fault(why) => (1011, why.as_str().into()),
            Close::NotNow(Admission::CircuitOpen(time)) => (4100, wait(time)),
            Close::NotNow(Admission::HalfOpenBusy) => (4101, "retry-after: 10".into()),
            Close::NotNow(Admission::TooMany(time)) => (4102, wait(time)),
            Close::NotNow(Admission::Welcome) | Close::Gone { .. } => return None,
            Close::SlowReader => (4103, "frames were not read for 10 s".into()),
            Close::UnknownSession(why) => (4104, why.as_str().into()),
            Close::Ended => (4105, "the session has ended".into()),
            Close::NotAuthorised => (4106, "a token is needed: Authorization: Bearer, or the dashboard's login".into()),
        };
        let end = reason.floor_char_boundary(REASON_MAX);
        Some(CloseFrame { code: CloseCode::from(code), reason: reason[..end].into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::reconnect::Ending;

    #[test]
    fn what_a_code_says_is_what_a_client_reads_from_it() {
        #[track_caller]
        fn check(close: &Close, code: u16, ending: Ending) {
            let frame = close.frame().unwrap();
            assert_eq!(u16::from(frame.code), code);
            assert!(frame.reason.len() <= REASON_MAX);
            assert_eq!(Ending::of_code(Some(code)), ending);
        }
        let time = Duration::from_millis(1_500);
        check(&Close::Goodbye, 1000, Ending::Closed);
        check(&Close::Stopping, 1001, Ending::GoingAway);
        check(&Close::Nonsense, 1008, Ending::Protocol);
        check(&Close::Fault("ä".repeat(200)), 1011, Ending::ServerFault);
        check(&Close::NotNow(Admission::CircuitOpen(time)), 4100, Ending::CircuitOpen);
        check(&Close::NotNow(Admission::HalfOpenBusy), 4101, Ending::HalfOpenBusy);
        check(&Close::NotNow(Admission::TooMany(time)), 4102, Ending::TooManyReconnections);
        check(&Close::SlowReader, 4103, Ending::SlowReader);
        check(&Close::UnknownSession("no".into()), 4104, Ending::UnknownSession);
        check(&Close::Ended, 4105, Ending::SessionEnded);
        check(&Close::NotAuthorised, 4106, Ending::NotAuthorised);
        assert_eq!(Close::Gone { badly: true }.frame(), None);
        assert_eq!(Close::NotNow(Admission::CircuitOpen(time)).frame().unwrap().reason.as_str(), "retry-after: 2");
    }
}
