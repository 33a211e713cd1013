//! How a client of ours comes back: a machine that cannot loop. Pure: what happened goes in, what to do comes out.
//!
//! Up to ten tries in a row, each after a longer pause; after five failures in a row a breaker lets nothing through for
//! thirty seconds and then one try. A connection that was good sets all of it back. What cannot get better by trying
//! again (a session that does not exist, or has ended; a wrong token) is given up at once.

use std::time::Duration;

use crate::model::outcome::closed_list;

/// Nothing, not even a ping, came for this long: the connection is dead. The server pings every 20 s.
pub const RECEIVE_TIMEOUT: Duration = Duration::from_secs(30);
/// Tries in a row without a good connection between them, the first not counted.
pub const TRIES: u32 = 10;
/// Failures in a row after which the breaker opens.
pub const THRESHOLD: u32 = 5;
/// How long it then stays open.
pub const RECOVERY: Duration = Duration::from_secs(30);
/// Pauses between tries, in seconds; the last repeats.
const BACKOFF: [u64; 6] = [1, 2, 4, 8, 16, 30];
/// A pause is longer or shorter by at most this share, so that many clients do not come back at once.
const JITTER: f64 = 0.2;
/// The longest pause that a server's word is taken for.
const LONGEST_ASKED: Duration = Duration::from_secs(300);
/// A connection was good once it has lasted this long and said something.
pub const GOOD_AFTER: Duration = Duration::from_secs(10);

closed_list! {
    /// How a connection ended, or why there was none. Every close code and every failure has one of these names.
    Ending {
        /// Nobody listens there, or the network is down.
        Refused = "refused",
        /// No connection, or no handshake, in time.
        ConnectTimeout = "connect_timeout",
        /// The answer was no WebSocket handshake.
        Handshake = "handshake",
        /// The address is reached, and does not take us as what we are (401, 403, 4106).
        NotAuthorised = "not_authorised",
        /// There is no such session (404, 4104).
        UnknownSession = "unknown_session",
        /// The session has ended, and all of it was told (4105).
        SessionEnded = "session_ended",
        /// Both sides have said goodbye (1000).
        Closed = "closed",
        /// The server stops (1001).
        GoingAway = "going_away",
        /// The connection broke without a word (1006).
        Lost = "lost",
        /// Nothing came for the receive timeout.
        Silent = "silent",
        /// The server says that the protocol was broken (1002, 1003, 1007, 1008, 1009, 1010).
        Protocol = "protocol",
        /// The server has a fault (1011 to 1014, 5xx).
        ServerFault = "server_fault",
        /// The server's breaker for us is open (4100).
        CircuitOpen = "circuit_open",
        /// It tries one connection, and it is not this one (4101).
        HalfOpenBusy = "half_open_busy",
        /// It had told us to wait, and we came too often (4102).
        TooManyReconnections = "too_many_reconnections",
        /// We read too slowly (4103).
        SlowReader = "slow_reader",
        /// Another close code.
        Other = "other",
    }
}

impl Ending {
    /// What a close code says; `None`: the connection broke without one.
    pub const fn of_code(code: Option<u16>) -> Ending {
        match code {
            None | Some(1005 | 1006) => Ending::Lost,
            Some(1000) => Ending::Closed,
            Some(1001) => Ending::GoingAway,
            Some(1002 | 1003 | 1007..=1010) => Ending::Protocol,
            Some(1011..=1014) => Ending::ServerFault,
            Some(1015) => Ending::Handshake,
            Some(4100) => Ending::CircuitOpen,
            Some(4101) => Ending::HalfOpenBusy,
            Some(4102) => Ending::TooManyReconnections,
            Some(4103) => Ending::SlowReader,
            Some(4104) => Ending::UnknownSession,
            Some(4105) => Ending::SessionEnded,
            Some(4106) => Ending::NotAuthorised,
            Some(_) => Ending::Other,
        }
    }

    /// What an HTTP status says that came instead of a handshake.
    pub const fn of_status(status: u16) -> Ending {
        match status {
            401 | 403 | 421 => Ending::NotAuthorised,
            404 => Ending::UnknownSession,
            429 | 503 => Ending::CircuitOpen,
            500..=599 => Ending::ServerFault,
            _ => Ending::Handshake,
        }
    }

    /// Whether trying again can lead to anything.
    pub const fn is_final(self) -> bool {
        matches!(self, Ending::NotAuthorised | Ending::UnknownSession | Ending::SessionEnded | Ending::Closed)
    }
}

/// What to do after an ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Try again after this pause.
    Wait(Duration),
    /// Stop: this ending is final.
    Stop(Ending),
    /// Stop: it was tried too often in a row.
    GiveUp(Ending),
}

/// What a client remembers between its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reconnect {
    tries: u32,
    failures: u32,
    /// The breaker has opened, and the try after its pause is the probe.
    probing: bool,
}

impl Reconnect {
    /// Whether a connection that lasted `lived` and brought `frames` was good.
    pub fn was_good(lived: Duration, frames: u64) -> bool {
        frames > 0 && lived >= GOOD_AFTER
    }

    /// A connection ended so, after a good time or not; `asked` is the pause that the server named. `chance` is a random
    /// number, 0..1.
    #[must_use]
    pub fn after(self, ending: Ending, good: bool, asked: Option<Duration>, chance: f64) -> (Reconnect, Step) {
        let mut next = if good { Reconnect::default() } else { self };
        if ending.is_final() {
            return (next, Step::Stop(ending));
        }
        if next.tries >= TRIES {
            return (next, Step::GiveUp(ending));
        }
        next.failures += 1;
        let own = if next.failures >= THRESHOLD {
            next.probing = true;
            RECOVERY
        } else {
            jittered(BACKOFF[(next.tries as usize).min(BACKOFF.len() - 1)], chance)
        };
        next.tries += 1;
        (next, Step::Wait(own.max(asked.unwrap_or_default().min(LONGEST_ASKED))))
    }

    /// Tries in a row so far.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// Whether the next try is the only one that the breaker lets through.
    pub fn is_probe(&self) -> bool {
        self.probing
    }
}

fn jittered(seconds: u64, chance: f64) -> Duration {
    Duration::from_secs(seconds).mul_f64(1.0 - JITTER + 2.0 * JITTER * chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIDDLE: f64 = 0.5;

    #[test]
    fn every_close_code_and_status_has_a_name_and_a_meaning() {
        #[track_caller]
        fn code(code: u16, ending: Ending, last: bool) {
            assert_eq!((Ending::of_code(Some(code)), ending.is_final()), (ending, last), "{code}");
        }
        code(1000, Ending::Closed, true);
        code(1001, Ending::GoingAway, false);
        for broken in [1002, 1003, 1007, 1008, 1009, 1010] {
            code(broken, Ending::Protocol, false);
        }
        for fault in 1011..=1014 {
            code(fault, Ending::ServerFault, false);
        }
        code(1005, Ending::Lost, false);
        code(1006, Ending::Lost, false);
        code(1015, Ending::Handshake, false);
        code(4100, Ending::CircuitOpen, false);
        code(4101, Ending::HalfOpenBusy, false);
        code(4102, Ending::TooManyReconnections, false);
        code(4103, Ending::SlowReader, false);
        code(4104, Ending::UnknownSession, true);
        code(4105, Ending::SessionEnded, true);
        code(4106, Ending::NotAuthorised, true);
        code(4107, Ending::Other, false);
        code(0, Ending::Other, false);
        assert_eq!(Ending::of_code(None), Ending::Lost);
        for (status, ending) in [
            (401, Ending::NotAuthorised),
            (403, Ending::NotAuthorised),
            (404, Ending::UnknownSession),
            (429, Ending::CircuitOpen),
            (503, Ending::CircuitOpen),
            (500, Ending::ServerFault),
            (200, Ending::Handshake),
            (400, Ending::Handshake),
        ] {
            assert_eq!(Ending::of_status(status), ending, "{status}");
        }
    }

    #[test]
    fn nothing_makes_it_try_for_ever() {
        for ending in Ending::ALL {
            let mut client = Reconnect::default();
            let mut pauses = Vec::new();
            let end = loop {
                let (next, step) = client.after(*ending, false, None, MIDDLE);
                client = next;
                match step {
                    Step::Wait(pause) => pauses.push(pause.as_secs()),
                    end => break end,
                }
                assert!(pauses.len() <= 100, "{ending} loops");
            };
            if ending.is_final() {
                assert_eq!((end, pauses.len()), (Step::Stop(*ending), 0), "{ending}");
            } else {
                assert_eq!(end, Step::GiveUp(*ending), "{ending}");
                assert_eq!(pauses, [1, 2, 4, 8, 30, 30, 30, 30, 30, 30], "{ending}");
                assert!(client.is_probe() && client.tries() == TRIES);
            }
        }
    }

    #[test]
    fn a_good_connection_sets_everything_back() {
        let mut client = Reconnect::default();
        for _ in 0..7 {
            client = client.after(Ending::Lost, false, None, MIDDLE).0;
        }
        let (client, step) = client.after(Ending::Lost, true, None, MIDDLE);
        assert_eq!((step, client.tries(), client.is_probe()), (Step::Wait(Duration::from_secs(1)), 1, false));
        for (lived, frames, good) in [(0, 5, false), (9, 5, false), (10, 0, false), (10, 1, true), (3600, 1, true)] {
            assert_eq!(Reconnect::was_good(Duration::from_secs(lived), frames), good, "{lived} s, {frames} frames");
        }
    }

    #[test]
    fn pauses_are_spread_and_the_servers_word_is_kept_within_reason() {
        let pause = |asked: Option<u64>, chance| {
            let (_, step) =
                Reconnect::default().after(Ending::CircuitOpen, false, asked.map(Duration::from_secs), chance);
            let Step::Wait(pause) = step else { panic!("{step:?}") };
            pause.as_millis()
        };
        assert_eq!((pause(None, 0.0), pause(None, 0.5), pause(None, 1.0)), (800, 1_000, 1_200));
        assert_eq!(pause(Some(20), 0.5), 20_000);
        assert_eq!(pause(Some(86_400), 0.5), 300_000);
        assert_eq!(pause(None, 7.0), 1_200);
    }
}
