//! Where a session's lifetime stands: running, held, stopping. Pure transitions.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::outcome::closed_list;
use crate::model::session::{SessionStatus, StopReason};
use crate::model::time::Timestamp;

closed_list! {
    /// A condition that keeps a session from leasing; each ends by itself except the operator's.
    Hold {
        /// `crawld pause`; survives restarts.
        Operator = "operator",
        /// Free disk space is below the reserve, or a write found none.
        Disk = "disk",
        /// Memory is below the reserve.
        Memory = "memory",
        /// The browser's breaker is open.
        Browser = "browser",
    }
}

/// How a session is being brought to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopping {
    /// Why.
    pub reason: StopReason,
    /// Visits in flight are abandoned instead of waited for.
    pub abandon: bool,
}

/// The phase of a lifetime.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Phase {
    holds: BTreeMap<Hold, String>,
    stopping: Option<Stopping>,
}

impl Phase {
    /// Whether new leases may be asked for.
    pub fn may_lease(&self) -> bool {
        self.holds.is_empty() && self.stopping.is_none()
    }

    /// Sets or lifts a hold; tells whether that changed anything.
    pub fn hold(&mut self, hold: Hold, why: Option<String>) -> bool {
        match why {
            Some(why) => {
                let new = !self.holds.contains_key(&hold);
                self.holds.insert(hold, why);
                new
            }
            None => self.holds.remove(&hold).is_some(),
        }
    }

    /// Whether this hold is set.
    pub fn held_by(&self, hold: Hold) -> bool {
        self.holds.contains_key(&hold)
    }

    /// Asks for a stop. The first reason stays; abandoning can be added later, never taken back.
    pub fn stop(&mut self, reason: StopReason, abandon: bool) {
        match &mut self.stopping {
            Some(stopping) => stopping.abandon |= abandon,
            None => self.stopping = Some(Stopping { reason, abandon }),
        }
    }

    /// The stop asked for.
    pub fn stopping(&self) -> Option<Stopping> {
        self.stopping
    }

    /// Status of a lifetime that has not ended, with the reason for a pause.
    pub fn status(&self) -> (SessionStatus, Option<String>) {
        match self.holds.iter().next() {
            Some((hold, why)) => (SessionStatus::Paused, Some(format!("{hold}: {why}"))),
            None => (SessionStatus::Active, self.stopping.map(|s| format!("stopping: {}", s.reason))),
        }
    }
}

/// Shorter waits come and go before anybody reads of them.
const WAIT_WORTH_SAYING: Duration = Duration::from_secs(5);

/// What a session says that waits for its hosts until `due`; `trouble`: what the last of them did.
pub fn waits(due: Timestamp, now: Timestamp, trouble: Option<&str>) -> Option<String> {
    let because = trouble.map(|trouble| format!(": {trouble}")).unwrap_or_default();
    (due.since(now) >= WAIT_WORTH_SAYING).then(|| format!("no host may be asked before {due}{because}"))
}

/// Status of a session whose lifetime ended for `reason`; a shutdown leaves it to be resumed.
pub fn final_status(reason: StopReason, paused_by_operator: bool) -> SessionStatus {
    match reason {
        StopReason::Finished => SessionStatus::Completed,
        StopReason::Cancelled => SessionStatus::Cancelled,
        StopReason::PageLimit | StopReason::ByteLimit | StopReason::TimeLimit | StopReason::FailureLimit => {
            SessionStatus::Expired
        }
        StopReason::IoError | StopReason::LoginFailed => SessionStatus::Failed,
        StopReason::Exported => SessionStatus::Migrated,
        StopReason::Shutdown | StopReason::Abandoned | StopReason::Panic if paused_by_operator => SessionStatus::Paused,
        StopReason::Shutdown | StopReason::Abandoned | StopReason::Panic => SessionStatus::Active,
    }
}

/// Why a lifetime ended that was brought to its end for `asked`: a limit that was reached with the last URL has
/// stopped nothing.
pub fn reason_of(asked: StopReason, nothing_left: bool) -> StopReason {
    match asked {
        StopReason::PageLimit | StopReason::ByteLimit | StopReason::TimeLimit | StopReason::FailureLimit
            if nothing_left =>
        {
            StopReason::Finished
        }
        reason => reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_add_up_and_each_is_lifted_by_itself() {
        let mut phase = Phase::default();
        assert!(phase.may_lease());
        assert!(phase.hold(Hold::Disk, Some("full".into())));
        assert!(!phase.hold(Hold::Disk, Some("full".into())));
        assert!(phase.hold(Hold::Operator, Some("asked".into())));
        assert!(phase.hold(Hold::Disk, None));
        assert!(!phase.may_lease());
        assert_eq!(phase.status().0, SessionStatus::Paused);
        assert!(phase.hold(Hold::Operator, None));
        assert!(phase.may_lease());
    }

    #[test]
    fn a_stop_keeps_its_first_reason_and_can_only_get_harsher() {
        let mut phase = Phase::default();
        phase.stop(StopReason::PageLimit, false);
        phase.stop(StopReason::Shutdown, true);
        phase.stop(StopReason::Shutdown, false);
        assert_eq!(phase.stopping(), Some(Stopping { reason: StopReason::PageLimit, abandon: true }));
        assert!(!phase.may_lease());
    }

    #[test]
    fn a_limit_that_is_reached_with_the_last_url_has_stopped_nothing() {
        for reason in StopReason::ALL {
            assert_eq!(reason_of(*reason, false), *reason);
            let limit = final_status(*reason, false) == SessionStatus::Expired;
            assert_eq!(reason_of(*reason, true), if limit { StopReason::Finished } else { *reason }, "{reason}");
        }
    }

    #[test]
    fn a_wait_says_until_when() {
        let (now, at) = (Timestamp::from_millis(0), Timestamp::from_millis);
        assert_eq!(waits(at(4_999), now, None), None);
        assert_eq!(waits(at(5_000), now, None).unwrap(), "no host may be asked before 1970-01-01T00:00:05.000Z");
        let why = waits(at(60_000), now, Some("http://h failed last (throttled)")).unwrap();
        assert!(why.ends_with("00:01:00.000Z: http://h failed last (throttled)"), "{why}");
    }

    #[test]
    fn every_stop_reason_has_a_final_status() {
        for (reason, status) in [
            (StopReason::Finished, SessionStatus::Completed),
            (StopReason::Shutdown, SessionStatus::Active),
            (StopReason::Abandoned, SessionStatus::Active),
            (StopReason::Cancelled, SessionStatus::Cancelled),
            (StopReason::PageLimit, SessionStatus::Expired),
            (StopReason::ByteLimit, SessionStatus::Expired),
            (StopReason::TimeLimit, SessionStatus::Expired),
            (StopReason::FailureLimit, SessionStatus::Expired),
            (StopReason::IoError, SessionStatus::Failed),
            (StopReason::LoginFailed, SessionStatus::Failed),
            (StopReason::Panic, SessionStatus::Active),
            (StopReason::Exported, SessionStatus::Migrated),
        ] {
            assert_eq!(final_status(reason, false), status, "{reason}");
        }
        assert_eq!(final_status(StopReason::Shutdown, true), SessionStatus::Paused);
    }
}
