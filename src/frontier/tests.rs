//! The frontier by cases, and against a naive model.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn host(no: HostNo, queued: u64) -> HostQueue {
    HostQueue { no, key: Arc::from(format!("http://h{no}")), queued, suspects: 0, earliest_retry: None }
}

fn frontier(hosts: &[HostQueue]) -> Frontier {
    let mut frontier = Frontier::new();
    for queue in hosts {
        frontier.update_host(queue.clone());
    }
    frontier
}

fn go(_: &str) -> HostPermit {
    HostPermit::Go
}

#[track_caller]
fn leases(frontier: &mut Frontier, now: i64, count: usize) -> Vec<HostNo> {
    let mut hosts = Vec::new();
    for _ in 0..count {
        match frontier.next(at(now), &mut go) {
            Next::Lease { host } => hosts.push(host),
            other => panic!("{other:?} after {hosts:?}"),
        }
    }
    hosts
}

#[test]
fn hosts_take_turns_however_large_they_are() {
    let mut frontier = frontier(&[host(1, 1_000_000), host(2, 2), host(3, 3)]);
    assert_eq!(leases(&mut frontier, 0, 9), [1, 2, 3, 1, 2, 3, 1, 3, 1]);
}

#[test]
fn a_host_found_later_queues_up_behind_those_due() {
    let mut frontier = frontier(&[host(1, 9), host(2, 9)]);
    assert_eq!(leases(&mut frontier, 10, 3), [1, 2, 1]);
    frontier.update_host(host(3, 9));
    assert_eq!(leases(&mut frontier, 10, 4), [2, 1, 3, 2]);
}

#[test]
fn no_more_is_asked_for_than_is_queued() {
    let mut frontier = frontier(&[host(1, 2)]);
    assert_eq!(leases(&mut frontier, 0, 2), [1, 1]);
    assert_eq!(frontier.next(at(0), &mut go), Next::NothingDue);
    assert_eq!(frontier.outstanding(), 2);
}

#[test]
fn a_crawl_is_drained_when_nothing_is_queued_or_in_flight() {
    let mut frontier = frontier(&[host(1, 1)]);
    assert_eq!(leases(&mut frontier, 0, 1), [1]);
    frontier.update_host(host(1, 0));
    frontier.leased(1);
    assert_eq!(frontier.next(at(1), &mut go), Next::NothingDue);
    frontier.released(1, at(2));
    assert_eq!(frontier.next(at(2), &mut go), Next::Drained);
    assert_eq!(frontier.hosts(), 0, "a finished host is forgotten");
    assert_eq!(Frontier::new().next(at(0), &mut go), Next::Drained);
}

#[test]
fn waits_are_waited_for_and_asked_about_once() {
    let mut frontier = frontier(&[host(1, 5), host(2, 5)]);
    let mut asked = 0;
    let mut gate = |key: &str| {
        asked += 1;
        HostPermit::Wait(at(if key == "http://h1" { 700 } else { 300 }))
    };
    assert_eq!(frontier.next(at(0), &mut gate), Next::WaitUntil(at(300)));
    assert_eq!(frontier.next(at(100), &mut gate), Next::WaitUntil(at(300)));
    assert_eq!(asked, 2);
    assert_eq!(leases(&mut frontier, 800, 2), [2, 1], "the one due first goes first");
}

#[test]
fn a_wait_that_is_over_does_not_turn_in_circles() {
    let mut frontier = frontier(&[host(1, 5)]);
    assert_eq!(frontier.next(at(50), &mut |_| HostPermit::Wait(at(50))), Next::WaitUntil(at(51)));
}

#[test]
fn a_busy_host_is_looked_at_when_one_of_its_visits_ends() {
    let mut frontier = frontier(&[host(1, 5)]);
    leases(&mut frontier, 0, 1);
    frontier.leased(1);
    frontier.update_host(host(1, 4));
    assert_eq!(frontier.next(at(1), &mut |_| HostPermit::Busy), Next::WaitUntil(at(251)));
    frontier.released(1, at(20));
    assert_eq!(leases(&mut frontier, 20, 1), [1]);
}

#[test]
fn retries_wait_for_their_time() {
    let mut frontier = frontier(&[HostQueue { earliest_retry: Some(at(5000)), ..host(1, 3) }, host(2, 1)]);
    assert_eq!(leases(&mut frontier, 0, 1), [2]);
    assert_eq!(frontier.next(at(0), &mut go), Next::WaitUntil(at(5000)));
    assert_eq!(leases(&mut frontier, 5000, 1), [1]);
}

#[test]
fn a_refused_lease_is_asked_for_later() {
    let mut frontier = frontier(&[host(1, 1)]);
    leases(&mut frontier, 0, 1);
    frontier.refused(1, at(1000));
    assert_eq!(frontier.outstanding(), 0);
    assert_eq!(frontier.next(at(1), &mut go), Next::WaitUntil(at(1000)));
    assert_eq!(leases(&mut frontier, 1000, 1), [1]);
}

#[test]
fn a_host_given_up_is_announced_once_and_forgotten_when_its_urls_have_ended() {
    let mut frontier = frontier(&[host(1, 7)]);
    let mut gone = |_: &str| HostPermit::GivenUp;
    assert_eq!(frontier.next(at(0), &mut gone), Next::GiveUp { host: 1 });
    assert_eq!(frontier.next(at(1), &mut gone), Next::WaitUntil(at(5000)));
    frontier.update_host(host(1, 0));
    assert_eq!(frontier.next(at(2), &mut gone), Next::Drained);
}

#[test]
fn suspects_come_last_and_alone() {
    let mut frontier = frontier(&[HostQueue { suspects: 2, ..host(1, 1) }, host(2, 1)]);
    assert_eq!(leases(&mut frontier, 0, 2), [1, 2]);
    assert_eq!(frontier.next(at(0), &mut go), Next::NothingDue, "others are in flight");
    for no in [1, 2] {
        frontier.update_host(HostQueue { suspects: if no == 1 { 2 } else { 0 }, ..host(no, 0) });
        frontier.leased(no);
        frontier.released(no, at(10));
    }
    assert_eq!(frontier.next(at(11), &mut go), Next::Suspect { host: 1 });
    frontier.update_host(HostQueue { suspects: 1, ..host(1, 0) });
    frontier.leased(1);
    frontier.update_host(host(3, 4));
    assert_eq!(frontier.next(at(12), &mut go), Next::NothingDue, "a suspect stays alone");
    frontier.released(1, at(20));
    assert_eq!(leases(&mut frontier, 20, 1), [3], "then the others first");
}

#[test]
fn a_suspect_runs_while_retries_are_far_off_and_waits_for_its_host() {
    let mut frontier = frontier(&[
        HostQueue { earliest_retry: Some(at(60_000)), ..host(1, 1) },
        HostQueue { suspects: 1, ..host(2, 0) },
    ]);
    assert_eq!(frontier.next(at(0), &mut |_| HostPermit::Wait(at(300))), Next::WaitUntil(at(300)));
    assert_eq!(frontier.next(at(300), &mut go), Next::Suspect { host: 2 });
    frontier.refused(2, at(400));
    assert_eq!(frontier.next(at(350), &mut go), Next::WaitUntil(at(400)));
    assert_eq!(frontier.next(at(400), &mut |_| HostPermit::GivenUp), Next::GiveUp { host: 2 });
}

#[test]
fn a_clock_that_goes_back_leaves_no_host_waiting() {
    let mut frontier = frontier(&[host(1, 5)]);
    let now = 10_000_000;
    assert_eq!(frontier.next(at(now), &mut |_| HostPermit::Wait(at(now + 500))), Next::WaitUntil(at(now + 500)));
    assert_eq!(leases(&mut frontier, 1000, 1), [1]);
}

#[test]
fn the_share_of_urls_on_chosen_hosts() {
    let frontier = frontier(&[host(1, 30), HostQueue { suspects: 5, ..host(2, 5) }]);
    assert_eq!(frontier.queued_share(|key| key == "http://h2"), 0.25);
    assert_eq!(Frontier::new().queued_share(|_| true), 0.0);
}

#[test]
fn a_hundred_thousand_hosts_are_no_trouble() {
    let mut frontier = Frontier::new();
    for no in 1..=100_000 {
        frontier.update_host(host(no, 2));
    }
    let first = leases(&mut frontier, 0, 100_000);
    assert_eq!((first[0], first[99_999]), (1, 100_000));
    assert_eq!(leases(&mut frontier, 0, 100_000), first, "nobody twice before everybody once");
}

/// The world that the frontier must serve: how many visits each host bears, and when it may be asked again.
#[derive(Debug, Default, Clone)]
struct World {
    queued: HashMap<HostNo, u64>,
    in_flight: HashMap<HostNo, u64>,
    next_at: HashMap<HostNo, i64>,
}

const PER_HOST: u64 = 2;
const DELAY: i64 = 250;

impl World {
    fn permit(&self, no: HostNo, now: i64) -> HostPermit {
        if self.in_flight.get(&no).copied().unwrap_or(0) >= PER_HOST {
            return HostPermit::Busy;
        }
        match self.next_at.get(&no) {
            Some(next) if *next > now => HostPermit::Wait(at(*next)),
            _ => HostPermit::Go,
        }
    }

    /// The naive answer: is there any host that could be leased now?
    fn any_due(&self, now: i64) -> bool {
        self.queued.iter().any(|(no, queued)| *queued > 0 && self.permit(*no, now) == HostPermit::Go)
    }
}

#[derive(Debug, Clone)]
enum Event {
    Found(HostNo, u64),
    Ask,
    End(HostNo),
    Time(i64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        2 => (1u32..6, 1u64..4).prop_map(|(no, n)| Event::Found(no, n)),
        4 => Just(Event::Ask),
        3 => (1u32..6).prop_map(Event::End),
        2 => (1i64..400).prop_map(Event::Time),
    ];
    proptest::collection::vec(event, 1..200)
}

fn tell(frontier: &mut Frontier, world: &World, no: HostNo) {
    frontier.update_host(host(no, world.queued.get(&no).copied().unwrap_or(0)));
}

fn lease(frontier: &mut Frontier, world: &mut World, no: HostNo, now: i64) {
    *world.queued.get_mut(&no).unwrap() -= 1;
    *world.in_flight.entry(no).or_default() += 1;
    world.next_at.insert(no, now + DELAY);
    tell(frontier, world, no);
    frontier.leased(no);
}

fn end(frontier: &mut Frontier, world: &mut World, no: HostNo, now: i64) {
    if let Some(count) = world.in_flight.get_mut(&no).filter(|count| **count > 0) {
        *count -= 1;
        frontier.released(no, at(now));
    }
}

proptest! {
    #[test]
    fn does_what_a_naive_frontier_would(events in events()) {
        let (mut frontier, mut world, mut now) = (Frontier::new(), World::default(), 1_000i64);
        for event in events {
            match event {
                Event::Found(no, n) => {
                    *world.queued.entry(no).or_default() += n;
                    tell(&mut frontier, &world, no);
                }
                Event::End(no) => end(&mut frontier, &mut world, no, now),
                Event::Time(ms) => now += ms,
                Event::Ask => {
                    let view = world.clone();
                    let mut gate = |key: &str| view.permit(key["http://h".len()..].parse().unwrap(), now);
                    match frontier.next(at(now), &mut gate) {
                        Next::Lease { host: no } => {
                            prop_assert!(world.queued[&no] > 0, "only what is queued");
                            prop_assert_eq!(world.permit(no, now), HostPermit::Go, "only what is permitted");
                            lease(&mut frontier, &mut world, no, now);
                        }
                        Next::WaitUntil(due) => {
                            prop_assert!(!world.any_due(now), "a due host was passed over");
                            prop_assert!(due > at(now), "waits for the future");
                        }
                        Next::NothingDue => prop_assert!(!world.any_due(now), "a due host was passed over"),
                        Next::Drained => {
                            prop_assert!(world.queued.values().chain(world.in_flight.values()).all(|n| *n == 0));
                        }
                        other => prop_assert!(false, "{other:?}"),
                    }
                }
            }
        }
        // Whatever happened, it comes to an end: no host is lost.
        for _ in 0..10_000 {
            let view = world.clone();
            let mut gate = |key: &str| view.permit(key["http://h".len()..].parse().unwrap(), now);
            match frontier.next(at(now), &mut gate) {
                Next::Lease { host } => lease(&mut frontier, &mut world, host, now),
                Next::Drained => break,
                Next::WaitUntil(due) => {
                    for no in 1..6 {
                        end(&mut frontier, &mut world, no, now);
                    }
                    now = now.max((due + Duration::ZERO).millis());
                }
                Next::NothingDue => (1..6).for_each(|no| end(&mut frontier, &mut world, no, now)),
                other => prop_assert!(false, "{other:?}"),
            }
        }
        prop_assert!(world.queued.values().chain(world.in_flight.values()).all(|n| *n == 0), "{world:?}");
    }
}
