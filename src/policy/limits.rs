//! When a session has had enough, and how many visits it may still start.

use std::time::Duration;

use crate::model::counters::Counters;
use crate::model::session::StopReason;
use crate::model::task::LimitSpec;

/// The limit that committed totals have reached, if one. `active` is the active time over all epochs;
/// `max_duration` holds where the task sets none of its own.
pub fn reached(limits: &LimitSpec, totals: &Counters, active: Duration, max_duration: Duration) -> Option<StopReason> {
    let over = |used: u64, limit: Option<u64>| limit.is_some_and(|limit| used >= limit);
    if over(totals.fetched, limits.max_pages) {
        Some(StopReason::PageLimit)
    } else if over(totals.bytes, limits.max_bytes) {
        Some(StopReason::ByteLimit)
    } else if over(totals.failed, limits.max_failures) {
        Some(StopReason::FailureLimit)
    } else if active >= limits.max_session_duration.map_or(max_duration, |own| own.0) {
        Some(StopReason::TimeLimit)
    } else {
        None
    }
}

/// Visits that may start beside the `in_flight` ones (leased or asked for) without a chance of passing
/// `max_pages`: each of them may end as fetched.
pub fn visits_allowed(limits: &LimitSpec, totals: &Counters, in_flight: u64) -> u64 {
    limits.max_pages.map_or(u64::MAX, |pages| pages.saturating_sub(totals.fetched.saturating_add(in_flight)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::duration::Span;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn each_limit_stops_at_its_number() {
        #[track_caller]
        fn check(name: &str, limits: LimitSpec, totals: Counters, active_s: u64, expected: Option<StopReason>) {
            assert_eq!(reached(&limits, &totals, Duration::from_secs(active_s), DAY), expected, "{name}");
        }
        let none = LimitSpec::default;
        let much = Counters { fetched: 1 << 40, bytes: 1 << 50, failed: 1 << 40, ..Counters::default() };
        check("unlimited", none(), much, 86_399, None);
        check("time by default", none(), much, 86_400, Some(StopReason::TimeLimit));
        let pages = || LimitSpec { max_pages: Some(10), ..none() };
        check("9 of 10 pages", pages(), Counters { fetched: 9, failed: 90, ..Counters::default() }, 0, None);
        check(
            "10 of 10 pages",
            pages(),
            Counters { fetched: 10, ..Counters::default() },
            0,
            Some(StopReason::PageLimit),
        );
        check("past it", pages(), Counters { fetched: 11, ..Counters::default() }, 0, Some(StopReason::PageLimit));
        let bytes = || LimitSpec { max_bytes: Some(100), ..none() };
        check("99 bytes", bytes(), Counters { bytes: 99, ..Counters::default() }, 0, None);
        check("100 bytes", bytes(), Counters { bytes: 100, ..Counters::default() }, 0, Some(StopReason::ByteLimit));
        let failures = || LimitSpec { max_failures: Some(3), ..none() };
        check("2 failures", failures(), Counters { failed: 2, ..Counters::default() }, 0, None);
        check(
            "3 failures",
            failures(),
            Counters { failed: 3, ..Counters::default() },
            0,
            Some(StopReason::FailureLimit),
        );
        let own = || LimitSpec { max_session_duration: Some(Span::secs(60)), ..none() };
        check("own time not yet", own(), Counters::default(), 59, None);
        check("own time", own(), Counters::default(), 60, Some(StopReason::TimeLimit));
        let longer = LimitSpec { max_session_duration: Some(Span::secs(200_000)), ..none() };
        check("own time above the default", longer, Counters::default(), 199_999, None);
        let zero = LimitSpec { max_pages: Some(0), ..none() };
        check("nothing at all", zero, Counters::default(), 0, Some(StopReason::PageLimit));
    }

    #[test]
    fn visits_in_flight_cannot_pass_the_page_limit() {
        #[track_caller]
        fn check(max_pages: Option<u64>, fetched: u64, in_flight: u64, expected: u64) {
            let limits = LimitSpec { max_pages, ..LimitSpec::default() };
            let totals = Counters { fetched, ..Counters::default() };
            assert_eq!(visits_allowed(&limits, &totals, in_flight), expected);
        }
        check(None, 5, 5, u64::MAX);
        check(Some(10), 0, 0, 10);
        check(Some(10), 7, 2, 1);
        check(Some(10), 7, 3, 0);
        check(Some(10), 11, 0, 0);
    }
}
