//! Which watchers are let in: a breaker for each address that comes and goes. Pure.
//!
//! A connection that ends badly (it said nonsense, read nothing, answered no ping, had no token) is a failure of its
//! address. Five in a row close the door for thirty seconds; then one is let in to see. Whoever knocks more than ten
//! times at a closed door has it closed anew.

use std::time::Duration;

use crate::model::time::Timestamp;

/// Failures in a row that close the door.
pub const THRESHOLD: u32 = 5;
/// How long it stays closed.
pub const RECOVERY: Duration = Duration::from_secs(30);
/// Knocks at a closed door that are borne.
pub const KNOCKS: u32 = 10;
/// A probe that has not ended after this long was good.
pub const PROBE: Duration = Duration::from_secs(10);

/// What is remembered of an address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Visitor {
    failures: u32,
    closed_until: Option<Timestamp>,
    probe_since: Option<Timestamp>,
    knocks: u32,
}

/// What is said to who knocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Come in.
    Welcome,
    /// Not before this time has passed: 4100.
    CircuitOpen(Duration),
    /// Somebody of this address is being tried: 4101.
    HalfOpenBusy,
    /// It was told to wait and came again and again: 4102, and the time begins anew.
    TooMany(Duration),
}

impl Visitor {
    /// Somebody knocks.
    #[must_use]
    pub fn knock(self, now: Timestamp) -> (Visitor, Admission) {
        let mut next = self;
        let Some(until) = self.closed_until else { return (next, Admission::Welcome) };
        // Never longer than it closes for, whatever the clock does.
        let left = until.since(now).min(RECOVERY);
        if !left.is_zero() {
            next.knocks += 1;
            if next.knocks <= KNOCKS {
                return (next, Admission::CircuitOpen(left));
            }
            (next.knocks, next.closed_until) = (0, Some(now + RECOVERY));
            return (next, Admission::TooMany(RECOVERY));
        }
        match self.probe_since {
            Some(since) if now.since(since) < PROBE => (next, Admission::HalfOpenBusy),
            Some(_) => (Visitor::default(), Admission::Welcome),
            None => {
                next.probe_since = Some(now);
                (next, Admission::Welcome)
            }
        }
    }

    /// One that was let in has gone, well or badly.
    #[must_use]
    pub fn left(self, well: bool, now: Timestamp) -> Visitor {
        if well {
            return Visitor::default();
        }
        let failures = self.failures.saturating_add(1);
        let closes = failures >= THRESHOLD || self.probe_since.is_some();
        let closed_until = if closes { Some(now + RECOVERY) } else { self.closed_until };
        Visitor { failures, closed_until, probe_since: None, knocks: 0 }
    }

    /// Whether there is nothing to remember.
    pub fn is_blank(&self) -> bool {
        *self == Visitor::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn failed(times: u32) -> Visitor {
        (0..times).fold(Visitor::default(), |visitor, _| {
            let (visitor, said) = visitor.knock(at(0));
            assert_eq!(said, Admission::Welcome);
            visitor.left(false, at(0))
        })
    }

    #[test]
    fn the_door_closes_after_five_failures_in_a_row_and_one_good_visit_opens_it() {
        assert_eq!(failed(4).knock(at(1)).1, Admission::Welcome);
        assert!(failed(4).left(true, at(1)).is_blank());
        assert_eq!(failed(5).knock(at(10)).1, Admission::CircuitOpen(Duration::from_secs(20)));
    }

    #[test]
    fn afterwards_one_is_tried_and_the_others_wait() {
        let (visitor, said) = failed(5).knock(at(30));
        assert_eq!(said, Admission::Welcome);
        assert_eq!(visitor.knock(at(31)).1, Admission::HalfOpenBusy);
        assert_eq!(visitor.left(true, at(31)).knock(at(31)).1, Admission::Welcome);
        let closed = visitor.left(false, at(31));
        assert_eq!(closed.knock(at(32)).1, Admission::CircuitOpen(Duration::from_secs(29)));
        // One that is still there has proved itself.
        let (visitor, said) = visitor.knock(at(40));
        assert_eq!((said, visitor.is_blank()), (Admission::Welcome, true));
    }

    #[test]
    fn who_does_not_wait_waits_longer() {
        let mut visitor = failed(5);
        for _ in 0..KNOCKS {
            let (next, said) = visitor.knock(at(20));
            assert_eq!(said, Admission::CircuitOpen(Duration::from_secs(10)));
            visitor = next;
        }
        let (visitor, said) = visitor.knock(at(20));
        assert_eq!(said, Admission::TooMany(RECOVERY));
        assert_eq!(visitor.knock(at(30)).1, Admission::CircuitOpen(Duration::from_secs(20)));
    }

    #[test]
    fn a_clock_that_goes_back_locks_nobody_out() {
        assert_eq!(failed(5).knock(at(-1_000_000)).1, Admission::CircuitOpen(RECOVERY));
    }
}
