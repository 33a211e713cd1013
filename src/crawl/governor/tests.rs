//! Promises of the governor: what every session together does to one host.

use std::time::Duration;

use super::*;
use crate::model::duration::Span;
use crate::model::host::{Breaker, BreakerState};
use crate::model::task::RobotsPolicy;

const HOST: &str = "http://example.test";

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + ms)
}

fn governor() -> HostGovernor {
    HostGovernor::with(BreakerConfig::default(), 1000, 7)
}

fn spec(delay_ms: u64) -> PolitenessSpec {
    PolitenessSpec { delay: Span::millis(delay_ms), ..PolitenessSpec::default() }
}

const FAST: VisitSignal = VisitSignal::Ok { ttfb: Some(Duration::from_millis(10)) };

const PATIENCE: Duration = Duration::from_secs(1);

/// Visits the host as often as it lets us from `from` to `to`, each visit going out and ending at once.
fn starts(governor: &HostGovernor, spec: &PolitenessSpec, from: i64, to: i64) -> Vec<i64> {
    let mut starts = Vec::new();
    for ms in from..to {
        if let Ok(grant) = governor.take(HOST, spec, at(ms)) {
            starts.push(governor.depart(HOST, spec, PATIENCE, at(ms)).map_or(ms, |go| go.millis() - at(0).millis()));
            grant.finish(spec, FAST, at(ms));
        }
    }
    starts
}

fn fail(governor: &HostGovernor, spec: &PolitenessSpec, now: i64) -> bool {
    match governor.take(HOST, spec, at(now)) {
        Ok(grant) => {
            grant.finish(spec, VisitSignal::Failed(FailureClass::Connect), at(now));
            true
        }
        Err(_) => false,
    }
}

#[test]
fn no_burst_ever() {
    let starts = starts(&governor(), &spec(250), 0, 5_000);
    assert!(starts.windows(2).all(|pair| pair[1] - pair[0] >= 250), "{starts:?}");
    assert!(starts.len() >= 16, "and no idling either: {starts:?}");
}

#[test]
fn permit_looks_and_take_counts() {
    let governor = governor();
    for _ in 0..3 {
        assert_eq!(governor.permit(HOST, &spec(250), at(0)), HostPermit::Go);
    }
    let _grant = governor.take(HOST, &spec(250), at(0)).unwrap();
    assert!(matches!(governor.permit(HOST, &spec(250), at(1)), HostPermit::Wait(_)));
    assert!(matches!(governor.take(HOST, &spec(250), at(1)), Err(HostPermit::Wait(_))));
}

#[test]
fn two_sessions_do_not_double_the_rate_and_the_larger_delay_holds() {
    let governor = governor();
    let (calm, quick) = (spec(2000), spec(250));
    assert_eq!(starts(&governor, &calm, 0, 1), [0]);
    let started = starts(&governor, &quick, 1, 2400);
    assert!(started.len() <= 1 && started.iter().all(|ms| *ms >= 2000), "{started:?}");
    // Once the calm one has not been seen for long, the quick one goes at its own pace, halving its way there.
    let later = 200_000;
    assert!(starts(&governor, &quick, later, later + 10_000).len() >= 20);
}

#[test]
fn in_flight_is_bounded_per_host_over_all_sessions() {
    let governor = governor();
    let spec = spec(0);
    let first = governor.take(HOST, &spec, at(0)).unwrap();
    let second = governor.take(HOST, &spec, at(0)).unwrap();
    assert_eq!(governor.take(HOST, &spec, at(0)).unwrap_err(), HostPermit::Busy);
    drop(first);
    assert_eq!(governor.in_flight(HOST), 1, "a worker that died gives its place back");
    second.finish(&spec, FAST, at(1));
    assert_eq!(governor.in_flight(HOST), 0);
    assert_eq!(governor.permit(HOST, &spec, at(1)), HostPermit::Go);
}

#[test]
fn a_delay_of_zero_still_honours_retry_after_and_crawl_delay() {
    let governor = governor();
    let eager = spec(0);
    assert_eq!(starts(&governor, &eager, 0, 50).len(), 50);
    let grant = governor.take(HOST, &eager, at(50)).unwrap();
    grant.finish(&eager, VisitSignal::Throttled { retry_after: Some(Duration::from_secs(5)) }, at(60));
    assert_eq!(governor.permit(HOST, &eager, at(61)), HostPermit::Wait(at(5060)));
    governor.set_crawl_delay(HOST, &eager, Some(Duration::from_secs(1)), at(6000));
    let started = starts(&governor, &eager, 6000, 12_000);
    assert!(started.windows(2).all(|pair| pair[1] - pair[0] >= 1000), "{started:?}");
    assert!((5..=6).contains(&started.len()), "{started:?}");
    let ignoring = PolitenessSpec { robots: RobotsPolicy::Ignore, ..spec(0) };
    let later = 500_000;
    assert_eq!(starts(&governor, &ignoring, later, later + 20).len(), 20);
}

#[test]
fn throttling_doubles_the_delay_at_once() {
    let governor = governor();
    let spec = spec(1000);
    let grant = governor.take(HOST, &spec, at(0)).unwrap();
    let state = grant.finish(&spec, VisitSignal::Throttled { retry_after: None }, at(10));
    assert_eq!(state.delay_ms, 2000);
    assert!(state.next_at >= at(10 + 1600), "{state:?}");
}

#[test]
fn the_breaker_opens_at_five_probes_alone_and_closes_on_an_answer() {
    let governor = governor();
    let eager = spec(0);
    let _elsewhere = governor.take("http://other.test", &eager, at(0)).unwrap();
    for ms in 0..5 {
        assert!(fail(&governor, &eager, ms), "failure {ms}");
    }
    assert_eq!(governor.counts(), (2, 1));
    assert_eq!(governor.open_breakers()[0].0.as_ref(), HOST);
    let HostPermit::Wait(until) = governor.permit(HOST, &eager, at(5)) else { panic!("open") };
    assert!((at(804)..=at(1204)).contains(&until), "{until}");

    let probe = governor.take(HOST, &eager, until).unwrap();
    assert_eq!(governor.permit(HOST, &eager, until), HostPermit::Busy, "one probe");
    drop(probe);
    let probe = governor.take(HOST, &eager, until).expect("a lost probe leaves the next one its turn");
    assert_eq!(probe.finish(&eager, FAST, until).breaker, Breaker::default());
    assert_eq!(governor.permit(HOST, &eager, until), HostPermit::Go);
}

#[test]
fn what_every_signal_does_to_the_breaker() {
    #[track_caller]
    fn check(name: &str, signal: VisitSignal, failures: u32) {
        let (governor, eager) = (governor(), spec(0));
        fail(&governor, &eager, 0);
        let state = governor.finish(HOST, &eager, signal, at(1));
        assert_eq!(state.breaker.failures, failures, "{name}");
    }
    check("answered", FAST, 0);
    check("answered, not timed", VisitSignal::Ok { ttfb: None }, 0);
    check("throttled", VisitSignal::Throttled { retry_after: None }, 2);
    check("5xx", VisitSignal::Failed(FailureClass::ServerError), 2);
    let again = |class| VisitSignal::Failed(class).of_attempt(2);
    check("5xx again: the page's own", again(FailureClass::ServerError), 1);
    check("timeout again: the page's own", again(FailureClass::Timeout), 1);
    check("refused again", again(FailureClass::Connect), 2);
    check("first attempt", VisitSignal::Failed(FailureClass::ServerError).of_attempt(1), 2);
    check("too large: it answered", VisitSignal::Failed(FailureClass::TooLarge), 0);
    check("renderer crash: not its fault", VisitSignal::Failed(FailureClass::RendererCrash), 1);
    check("neutral", VisitSignal::Neutral, 1);
}

#[test]
fn a_dead_host_is_given_up_after_an_hour_and_forgiven_by_command() {
    let governor = governor();
    let eager = spec(0);
    let mut ms = 0;
    let mut tries = 0;
    loop {
        match governor.permit(HOST, &eager, at(ms)) {
            HostPermit::Go => {
                assert!(fail(&governor, &eager, ms));
                tries += 1;
            }
            HostPermit::Wait(until) => ms = until.millis() - at(0).millis(),
            HostPermit::GivenUp => break,
            HostPermit::Busy => panic!("nothing is in flight"),
        }
        assert!(ms < 2 * 3_600_000, "never given up");
    }
    assert!((3_550_000..3_660_000).contains(&ms), "{ms} ms");
    assert!((100..200).contains(&tries), "{tries} tries");
    let given_up = governor.snapshot(HOST).unwrap();
    governor.forgive(HOST);
    assert_eq!(governor.permit(HOST, &eager, at(ms)), HostPermit::Go);
    governor.restore(HOST, given_up, at(ms), at(ms));
    assert_eq!(governor.permit(HOST, &eager, at(ms)), HostPermit::GivenUp);
    governor.forgive_given_up(&eager, at(ms));
    assert_eq!(governor.permit(HOST, &eager, at(ms)), HostPermit::Go);
}

#[test]
fn restored_memory_holds_as_if_nothing_had_happened() {
    let spec = spec(250);
    let first = governor();
    let grant = first.take(HOST, &spec, at(0)).unwrap();
    let throttled = VisitSignal::Throttled { retry_after: Some(Duration::from_secs(60)) };
    let saved = grant.finish(&spec, throttled, at(0));

    let second = governor();
    assert!(!second.knows(HOST));
    second.restore(HOST, saved, at(0), at(10_000));
    assert!(second.knows(HOST));
    assert_eq!(second.permit(HOST, &spec, at(10_000)), HostPermit::Wait(at(60_000)));
    assert_eq!(second.snapshot(HOST).unwrap().delay_ms, 500);

    // An older memory from another session's store does not undo what is known.
    second.restore(HOST, HostState::default(), at(-99_000), at(10_000));
    assert_eq!(second.permit(HOST, &spec, at(10_000)), HostPermit::Wait(at(60_000)));
}

#[test]
fn a_living_memory_is_not_spoilt_by_an_old_outage() {
    let (governor, spec) = (governor(), spec(0));
    starts(&governor, &spec, 0, 1);
    let outage = Breaker { state: BreakerState::Open, failures: 9, openings: 5, ..Breaker::default() };
    governor.restore(HOST, HostState { breaker: outage, ..HostState::default() }, at(0), at(1));
    assert_eq!(governor.snapshot(HOST).unwrap().breaker, Breaker::default());
}

#[test]
fn a_clock_that_goes_back_prolongs_no_wait() {
    let (governor, spec) = (governor(), spec(1000));
    let grant = governor.take(HOST, &spec, at(0)).unwrap();
    let state = grant.finish(&spec, VisitSignal::Neutral, at(0));
    let left = state.next_at.since(at(0));
    let back = -3_600_000;
    assert_eq!(governor.permit(HOST, &spec, at(back)), HostPermit::Wait(at(back) + left));
}

#[test]
fn memory_is_bounded_and_the_idle_go_first() {
    let governor = HostGovernor::with(BreakerConfig::default(), 100, 7);
    let spec = spec(0);
    let busy = governor.take("http://busy.test", &spec, at(0)).unwrap();
    for n in 0..5 {
        governor.finish("http://broken.test", &spec, VisitSignal::Failed(FailureClass::Dns), at(n));
    }
    for n in 0..10_000 {
        let key = format!("http://h{n}.test");
        governor.take(&key, &spec, at(n)).unwrap().finish(&spec, FAST, at(n));
        assert!(governor.counts().0 <= 100);
    }
    assert!(governor.knows("http://busy.test") && governor.knows("http://broken.test"));
    assert!(governor.knows("http://h9999.test") && !governor.knows("http://h0.test"));
    drop(busy);

    let all_broken = HostGovernor::with(BreakerConfig::default(), 10, 7);
    for n in 0..50 {
        let key = format!("http://h{n}.test");
        for _ in 0..5 {
            all_broken.finish(&key, &spec, VisitSignal::Failed(FailureClass::Dns), at(n));
        }
    }
    assert!(all_broken.counts().0 <= 10, "a bound is a bound");
}

#[test]
fn threads_share_one_memory() {
    let governor = governor();
    let granted: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let governor = governor.clone();
                scope.spawn(move || {
                    let grants = (0..500).filter_map(|ms| governor.take(HOST, &spec(250), at(ms)).ok());
                    grants.fold(0, |count, grant| {
                        grant.finish(&spec(250), FAST, at(0));
                        count + 1
                    })
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!((1..=3).contains(&granted), "{granted}");
}

#[test]
fn requests_are_spaced_where_they_go_out_not_where_they_were_granted() {
    let (governor, spec) = (governor(), spec(250));
    let depart = |ms| governor.depart(HOST, &spec, PATIENCE, at(ms));
    let grants = [0, 300].map(|ms| governor.take(HOST, &spec, at(ms)).unwrap());
    // Both waited for robots.txt, which took its time.
    assert_eq!((depart(1500), depart(1500)), (Ok(at(1500)), Ok(at(1750))));
    for grant in grants {
        grant.finish(&spec, FAST, at(1800));
    }
    assert_eq!(governor.permit(HOST, &spec, at(1900)), HostPermit::Wait(at(2000)), "and so is the next grant");
}

#[test]
fn a_crawl_delay_holds_from_the_first_request_on() {
    let (governor, spec) = (governor(), spec(250));
    let _grants = [0, 300].map(|ms| governor.take(HOST, &spec, at(ms)).unwrap());
    governor.set_crawl_delay(HOST, &spec, Some(Duration::from_secs(4)), at(1500));
    assert_eq!(governor.depart(HOST, &spec, PATIENCE, at(1500)), Ok(at(1500)));
    assert_eq!(governor.depart(HOST, &spec, PATIENCE, at(1500)), Err(at(5500)), "too long to wait with a slot held");
    assert_eq!(governor.snapshot(HOST).unwrap().next_at, at(5500));
}

#[test]
fn a_request_that_was_never_sent_does_not_use_the_turn() {
    let (governor, spec) = (governor(), spec(1000));
    let sent = governor.take(HOST, &spec, at(0)).unwrap();
    let next_at = sent.finish(&spec, FAST, at(1)).next_at;
    for _ in 0..20 {
        let state = governor.take(HOST, &spec, next_at).unwrap().unused();
        assert_eq!(state.next_at, next_at);
    }
    let late = governor.take(HOST, &spec, next_at).unwrap();
    let meanwhile = governor.take(HOST, &spec, next_at + Duration::from_secs(2)).unwrap();
    let next_at = governor.snapshot(HOST).unwrap().next_at;
    late.unused();
    assert_eq!(governor.snapshot(HOST).unwrap().next_at, next_at, "another was granted meanwhile");
    drop(meanwhile);
    assert_eq!(governor.in_flight(HOST), 0);
}

#[test]
fn a_pause_that_robots_txt_asks_for_is_kept() {
    let (governor, spec) = (governor(), spec(0));
    let grant = governor.take(HOST, &spec, at(0)).unwrap();
    let other = governor.take(HOST, &spec, at(0)).unwrap();
    governor.quiet(HOST, &spec, Duration::from_secs(20), at(100));
    assert_eq!(governor.depart(HOST, &spec, PATIENCE, at(100)), Err(at(20_100)));
    grant.finish(&spec, VisitSignal::Failed(FailureClass::RobotsUnreachable), at(120));
    assert_eq!(governor.permit(HOST, &spec, at(130)), HostPermit::Wait(at(20_100)));
    drop(other);
    governor.quiet(HOST, &spec, Duration::from_secs(1_000_000), at(200));
    assert_eq!(governor.permit(HOST, &spec, at(300)), HostPermit::Wait(at(200 + 3_600_000)), "capped");
}
