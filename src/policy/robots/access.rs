//! What a host's answer to `/robots.txt` means, and for how long (RFC 9309, 2.3.1 and 2.4).

use std::time::Duration;

use super::{Robots, RobotsVerdict};
use crate::model::time::Timestamp;

/// A copy is used no longer than this, as long as a newer one can be had.
pub const FRESH_FOR: Duration = Duration::from_secs(24 * 3600);

/// A host that cannot be reached is asked again after this long, while an older copy is in force.
pub const ASK_AGAIN_AFTER: Duration = Duration::from_secs(300);

/// The same while nothing of the host is known: every visit to it waits for this answer, so it is asked for anew
/// at each attempt. Shorter than the first wait of `policy::retry`, else attempts would be spent without asking.
pub const ASK_AGAIN_UNKNOWN: Duration = Duration::from_secs(5);

/// A robots.txt out of reach for so long counts as not there (RFC 9309, 2.3.1.4, names 30 days).
pub const UNREACHABLE_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

/// What a host's robots.txt, or its absence, allows.
#[derive(Debug, Clone, PartialEq)]
pub enum RobotsAccess {
    /// It was read.
    Rules(Robots),
    /// There is none: everything may be fetched.
    AllowAll,
    /// Nothing may be fetched, for good.
    DisallowAll,
    /// It cannot be had for now: nothing may be fetched yet, ask again later.
    Unreachable,
}

impl RobotsAccess {
    /// Judges a URL; `None` when that cannot be said yet because robots.txt is unreachable.
    pub fn judge(&self, user_agent: &str, url: &str) -> Option<RobotsVerdict> {
        match self {
            RobotsAccess::Rules(robots) => Some(robots.allowed(user_agent, url)),
            RobotsAccess::AllowAll => Some(RobotsVerdict { allowed: true, rule: None }),
            RobotsAccess::DisallowAll => Some(RobotsVerdict { allowed: false, rule: None }),
            RobotsAccess::Unreachable => None,
        }
    }

    /// `Crawl-delay` for the agent, in seconds, uncapped.
    pub fn crawl_delay(&self, user_agent: &str) -> Option<f64> {
        match self {
            RobotsAccess::Rules(robots) => robots.crawl_delay(user_agent),
            _ => None,
        }
    }

    /// The sitemaps that robots.txt names.
    pub fn sitemaps(&self) -> &[String] {
        match self {
            RobotsAccess::Rules(robots) => robots.sitemaps(),
            _ => &[],
        }
    }
}

/// What the final answer means; `body` may be cut at [`super::MAX_BYTES`]. A redirect as the final answer is one
/// beyond [`super::MAX_REDIRECTS`], a loop or one without a target: as if there were no robots.txt. 429 asks us to
/// slow down, so it is no leave to fetch everything. A network failure has no status: it is
/// [`RobotsAccess::Unreachable`].
pub fn from_status(status: u16, body: &[u8]) -> RobotsAccess {
    match status {
        200..=299 => RobotsAccess::Rules(Robots::parse(body)),
        300..=399 => RobotsAccess::AllowAll,
        429 => RobotsAccess::Unreachable,
        400..=499 => RobotsAccess::AllowAll,
        _ => RobotsAccess::Unreachable,
    }
}

/// What is known of a host's robots.txt, and since when.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// What is in force.
    pub access: RobotsAccess,
    /// When it was last asked for.
    pub asked_at: Timestamp,
    /// Since when every answer has been "unreachable"; `None` after any other answer.
    pub failing_since: Option<Timestamp>,
}

impl Held {
    /// Books an answer. An unreachable robots.txt leaves the copy in force that was there before; without one
    /// nothing may be fetched, and after `UNREACHABLE_FOR` everything.
    pub fn settle(previous: Option<Held>, answer: RobotsAccess, now: Timestamp) -> Held {
        if answer != RobotsAccess::Unreachable {
            return Held { access: answer, asked_at: now, failing_since: None };
        }
        let (old, since) = match previous {
            Some(held) => (held.access, held.failing_since.unwrap_or(now)),
            None => (RobotsAccess::Unreachable, now),
        };
        let access = match old {
            RobotsAccess::Unreachable if now.since(since) >= UNREACHABLE_FOR => RobotsAccess::AllowAll,
            old => old,
        };
        Held { access, asked_at: now, failing_since: Some(since) }
    }

    /// Whether it is to be asked for again before the next decision. A clock set back makes it due.
    pub fn due(&self, now: Timestamp) -> bool {
        let lifetime = match (&self.access, self.failing_since) {
            (RobotsAccess::Unreachable, _) => ASK_AGAIN_UNKNOWN,
            (_, Some(_)) => ASK_AGAIN_AFTER,
            (_, None) => FRESH_FOR,
        };
        now < self.asked_at || now.since(self.asked_at) >= lifetime
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::outcome::FailureClass;
    use crate::policy::retry::{self, Retry};

    const DAY: i64 = 24 * 3600 * 1000;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + ms)
    }

    #[test]
    fn every_status_has_a_meaning() {
        let body = b"User-agent: *\nDisallow: /";
        for (status, want) in [
            (100, RobotsAccess::Unreachable),
            (200, RobotsAccess::Rules(Robots::parse(body))),
            (206, RobotsAccess::Rules(Robots::parse(body))),
            (301, RobotsAccess::AllowAll),
            (304, RobotsAccess::AllowAll),
            (400, RobotsAccess::AllowAll),
            (401, RobotsAccess::AllowAll),
            (403, RobotsAccess::AllowAll),
            (404, RobotsAccess::AllowAll),
            (410, RobotsAccess::AllowAll),
            (429, RobotsAccess::Unreachable),
            (451, RobotsAccess::AllowAll),
            (500, RobotsAccess::Unreachable),
            (503, RobotsAccess::Unreachable),
            (599, RobotsAccess::Unreachable),
            (999, RobotsAccess::Unreachable),
        ] {
            assert_eq!(from_status(status, body), want, "{status}");
        }
    }

    #[test]
    fn access_is_judged() {
        let verdict = |access: RobotsAccess| access.judge("crawld", "http://h/x").map(|v| v.allowed);
        assert_eq!(verdict(from_status(200, b"User-agent: *\nDisallow: /x")), Some(false));
        assert_eq!(verdict(RobotsAccess::AllowAll), Some(true));
        assert_eq!(verdict(RobotsAccess::DisallowAll), Some(false));
        assert_eq!(verdict(RobotsAccess::Unreachable), None);
    }

    #[test]
    fn a_copy_is_used_for_a_day() {
        let held = Held::settle(None, RobotsAccess::AllowAll, at(0));
        assert!(!held.due(at(0)) && !held.due(at(DAY - 1)));
        assert!(held.due(at(DAY)));
        assert!(held.due(at(-1)), "the clock was set back");
    }

    #[test]
    fn an_unreachable_robots_txt_keeps_the_old_copy_in_force() {
        let rules = from_status(200, b"User-agent: *\nDisallow: /");
        let held = Held::settle(None, rules.clone(), at(0));
        let held = Held::settle(Some(held), RobotsAccess::Unreachable, at(DAY));
        assert_eq!((&held.access, held.failing_since), (&rules, Some(at(DAY))));
        assert!(held.due(at(DAY + 300_000)), "asked again soon");
        let held = Held::settle(Some(held), RobotsAccess::Unreachable, at(60 * DAY));
        assert_eq!((&held.access, held.failing_since), (&rules, Some(at(DAY))));
        let held = Held::settle(Some(held), RobotsAccess::AllowAll, at(61 * DAY));
        assert_eq!((held.access, held.failing_since), (RobotsAccess::AllowAll, None));
    }

    #[test]
    fn no_attempt_is_spent_on_a_host_without_asking_it() {
        let held = Held::settle(None, RobotsAccess::Unreachable, at(0));
        assert!(!held.due(at(1000)), "those that come together ask once");
        for attempt in 1..3 {
            let (class, soonest) = (FailureClass::RobotsUnreachable, 0.0);
            match retry::decide(class, attempt, 3, at(0), None, soonest) {
                Retry::At(again) => assert!(held.due(again), "attempt {attempt} is made at {again}"),
                Retry::GiveUp => panic!("attempt {attempt} of 3"),
            }
        }
    }

    #[test]
    fn never_reachable_closes_for_thirty_days_and_opens_then() {
        let held = Held::settle(None, RobotsAccess::Unreachable, at(0));
        assert_eq!(held.access, RobotsAccess::Unreachable);
        let held = Held::settle(Some(held), RobotsAccess::Unreachable, at(30 * DAY - 1));
        assert_eq!(held.access, RobotsAccess::Unreachable);
        let held = Held::settle(Some(held), RobotsAccess::Unreachable, at(30 * DAY));
        assert_eq!(held.access, RobotsAccess::AllowAll);
    }
}
