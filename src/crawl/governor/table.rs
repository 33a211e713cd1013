//! The governor's memory: one entry a host, bounded.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::frontier::HostPermit;
use crate::model::host::{Breaker, BreakerState, HostState};
use crate::model::task::PolitenessSpec;
use crate::model::time::Timestamp;
use crate::policy::breaker::{self, BreakerConfig, Meaning, Permit};
use crate::policy::delay::{self, DelayConfig};

use super::VisitSignal;

/// The longest pause believed when it comes from a file: the longest `max_retry_after` that makes sense.
const LONGEST_PAUSE: Duration = Duration::from_secs(86_400);

/// A session's stricter wishes hold for this long (and twice its delay) after it last asked about the host.
const STRICT_FOR: Duration = Duration::from_secs(60);

/// A step back of the clock by more than this is a jump; less is two threads reading it in turn.
const CLOCK_SLACK: Duration = Duration::from_secs(5);

/// What is known of one host.
#[derive(Debug, Default)]
struct Host {
    state: HostState,
    in_flight: u32,
    /// The newest ticket, with the instant that its request may start, and that of the one after it: taken back where
    /// it is not used.
    newest: Option<(u64, Timestamp, Timestamp)>,
    /// The ticket that holds the probe of a half-open breaker.
    prober: Option<u64>,
    /// Last asked about.
    touched: Timestamp,
    /// The strictest wish of the sessions that ask, and when it was last made.
    strict: Strict,
    /// When its last request went out, or will.
    departed: Option<Timestamp>,
    /// It asked not to be asked before.
    quiet_until: Timestamp,
}

#[derive(Debug, Default)]
struct Strict {
    floor: Duration,
    floor_seen: Timestamp,
    /// When a session that obeys robots.txt last asked.
    obeyed_seen: Option<Timestamp>,
}

impl Strict {
    /// This session's configuration, made as strict as the strictest that asked lately.
    fn merge(&mut self, spec: &PolitenessSpec, state: &HostState, now: Timestamp) -> DelayConfig {
        let own = DelayConfig::from(spec);
        if own.floor >= self.floor || now.since(self.floor_seen) > STRICT_FOR + self.floor * 2 {
            self.floor = own.floor;
            self.floor_seen = now;
        }
        if own.crawl_delay {
            self.obeyed_seen = Some(now);
        }
        let asked = Duration::from_millis(state.crawl_delay_ms.unwrap_or(0)).min(own.cap);
        let obeyed = self.obeyed_seen.is_some_and(|seen| now.since(seen) <= STRICT_FOR + asked * 2);
        DelayConfig { floor: self.floor, ceiling: own.ceiling.max(self.floor), crawl_delay: obeyed, ..own }
    }

    fn shift_back(&mut self, by: Duration) {
        self.floor_seen = earlier(self.floor_seen, by);
        self.obeyed_seen = self.obeyed_seen.map(|seen| earlier(seen, by));
    }
}

/// All hosts.
#[derive(Debug)]
pub(super) struct Table {
    hosts: HashMap<Arc<str>, Host>,
    config: Arc<BreakerConfig>,
    kept: usize,
    tickets: u64,
    random: fastrand::Rng,
    latest: Timestamp,
}

impl Table {
    pub(super) fn new(config: BreakerConfig, kept: usize, seed: u64) -> Self {
        Table {
            hosts: HashMap::new(),
            config: Arc::new(config),
            kept,
            tickets: 0,
            random: fastrand::Rng::with_seed(seed),
            latest: Timestamp::from_millis(i64::MIN),
        }
    }

    /// When the wall clock was moved back, every pause keeps its length: the instants move with it.
    pub(super) fn follow_clock(&mut self, now: Timestamp) {
        let back = self.latest.since(now);
        if back > CLOCK_SLACK {
            for host in self.hosts.values_mut() {
                host.state.next_at = earlier(host.state.next_at, back);
                host.state.breaker = breaker::shifted_back(&host.state.breaker, back);
                host.touched = earlier(host.touched, back);
                host.strict.shift_back(back);
                host.departed = host.departed.map(|at| earlier(at, back));
                host.quiet_until = earlier(host.quiet_until, back);
            }
            self.latest = now;
        }
        self.latest = self.latest.max(now);
    }

    pub(super) fn permit(&mut self, host_key: &str, spec: &PolitenessSpec, now: Timestamp) -> HostPermit {
        let Some(host) = self.hosts.get_mut(host_key) else {
            return HostPermit::Go;
        };
        host.touched = now;
        host.strict.merge(spec, &host.state, now);
        judge(host, spec, now).map_or_else(|no| no, |_| HostPermit::Go)
    }

    pub(super) fn take(
        &mut self,
        host_key: &str,
        spec: &PolitenessSpec,
        now: Timestamp,
    ) -> Result<(Arc<str>, u64), HostPermit> {
        let (config, random) = (self.config.clone(), self.random.f64());
        self.tickets += 1;
        let ticket = self.tickets;
        let (key, host) = self.host(host_key, now);
        let delays = host.strict.merge(spec, &host.state, now);
        if judge(host, spec, now)? == Permit::Probe {
            host.state.breaker = breaker::on_probe(&config, &host.state.breaker, now);
            host.prober = Some(ticket);
        }
        host.in_flight += 1;
        let before = host.state.next_at;
        host.state.next_at = delay::next_at(&delays, &host.state, now, random);
        host.newest = Some((ticket, before, host.state.next_at));
        Ok((key, ticket))
    }

    /// When a granted request goes out, at most `patience` from now.
    ///
    /// # Errors
    /// It would have to wait longer, until this instant; no grant is given before.
    pub(super) fn depart(
        &mut self,
        host_key: &str,
        spec: &PolitenessSpec,
        patience: Duration,
        now: Timestamp,
    ) -> Result<Timestamp, Timestamp> {
        let (_, host) = self.host(host_key, now);
        let delays = host.strict.merge(spec, &host.state, now);
        let go = delay::departure(&delays, &host.state, host.departed, host.quiet_until, patience, now);
        host.state.next_at = go.next_at;
        if !go.goes {
            return Err(go.at);
        }
        host.departed = Some(go.at);
        Ok(go.at)
    }

    /// The least that lies between two requests to it.
    pub(super) fn gap(&mut self, host_key: &str, spec: &PolitenessSpec, now: Timestamp) -> Duration {
        let (_, host) = self.host(host_key, now);
        delay::least_gap(&host.strict.merge(spec, &host.state, now), &host.state)
    }

    /// The host asked for a pause.
    pub(super) fn quiet(&mut self, host_key: &str, spec: &PolitenessSpec, asked: Duration, now: Timestamp) {
        let (_, host) = self.host(host_key, now);
        let cap = host.strict.merge(spec, &host.state, now).cap;
        host.quiet_until = host.quiet_until.max(now + asked.min(cap));
        host.state.next_at = host.state.next_at.max(host.quiet_until);
    }

    /// Ends a request that was not made. Its pause goes with it, unless something else moved it since.
    pub(super) fn take_back(&mut self, host_key: &str, ticket: u64) {
        if let Some(host) = self.hosts.get_mut(host_key)
            && let Some((_, before, after)) =
                host.newest.filter(|(newest, _, after)| (*newest, *after) == (ticket, host.state.next_at))
        {
            debug_assert!(before <= after);
            host.state.next_at = before;
        }
        self.release(host_key, ticket);
    }

    pub(super) fn learn(
        &mut self,
        host_key: &str,
        spec: &PolitenessSpec,
        signal: VisitSignal,
        now: Timestamp,
    ) -> HostState {
        let (config, random) = (self.config.clone(), self.random.f64());
        let (_, host) = self.host(host_key, now);
        let delays = host.strict.merge(spec, &host.state, now);
        let before = host.state;
        let (mut next, meaning) = match signal {
            VisitSignal::Ok { ttfb } => {
                (ttfb.map_or(before, |ttfb| delay::after_success(&delays, &before, ttfb)), Meaning::Answered)
            }
            VisitSignal::Throttled { retry_after } => {
                let pause = retry_after.map_or(Duration::ZERO, |asked| asked.min(delays.cap));
                host.quiet_until = host.quiet_until.max(now + pause);
                (delay::after_throttle(&delays, &before, retry_after, now), Meaning::Trouble)
            }
            VisitSignal::Failed(class) => (delay::after_error(&delays, &before, class), breaker::meaning(class)),
            VisitSignal::FailedAgain(class) => {
                let meaning = match breaker::meaning(class) {
                    Meaning::Trouble if !breaker::counts_again(class) => Meaning::Nothing,
                    meaning => meaning,
                };
                (delay::after_error(&delays, &before, class), meaning)
            }
            VisitSignal::Neutral => (before, Meaning::Nothing),
        };
        match meaning {
            Meaning::Answered => next.breaker = breaker::on_success(),
            Meaning::Trouble => {
                next.breaker = breaker::on_failure(&config, &before.breaker, now, random);
                // The longer delay holds at once, not only after the next start.
                next.next_at = delay::next_at(&delays, &next, now, random);
            }
            Meaning::Nothing => {}
        }
        host.state = next;
        if next.breaker.state != BreakerState::HalfOpen {
            host.prober = None;
        }
        next
    }

    /// Ends a request; one that held the probe without a word leaves it to the next.
    pub(super) fn release(&mut self, host_key: &str, ticket: u64) {
        if let Some(host) = self.hosts.get_mut(host_key) {
            host.in_flight = host.in_flight.saturating_sub(1);
            if host.prober == Some(ticket) {
                host.prober = None;
                host.state.breaker = breaker::on_probe_lost(&host.state.breaker);
            }
        }
    }

    pub(super) fn restore(&mut self, host_key: &str, saved: HostState, saved_at: Timestamp, now: Timestamp) {
        let config = self.config.clone();
        let (_, host) = self.host(host_key, now);
        let known = host.state;
        let saved_breaker = breaker::restore(&config, &saved.breaker, saved_at, now);
        host.state = HostState {
            delay_ms: known.delay_ms.max(saved.delay_ms),
            ema_ttfb_ms: known.ema_ttfb_ms.or(saved.ema_ttfb_ms),
            crawl_delay_ms: known.crawl_delay_ms.max(saved.crawl_delay_ms),
            next_at: known.next_at.max(delay::carried_over(saved.next_at, saved_at, now, LONGEST_PAUSE)),
            // A host that has answered in this life is known better than any file knows it.
            breaker: match known.ema_ttfb_ms {
                Some(_) => known.breaker,
                None => breaker::worse(&known.breaker, &saved_breaker),
            },
        };
    }

    pub(super) fn set_crawl_delay(
        &mut self,
        host_key: &str,
        spec: &PolitenessSpec,
        asked: Option<Duration>,
        now: Timestamp,
    ) {
        let (_, host) = self.host(host_key, now);
        let delays = host.strict.merge(spec, &host.state, now);
        host.state = delay::with_crawl_delay(&delays, &host.state, asked);
    }

    pub(super) fn forgive(&mut self, host_key: &str) {
        if let Some(host) = self.hosts.get_mut(host_key) {
            host.state.breaker = Breaker::default();
            host.prober = None;
        }
    }

    pub(super) fn forgive_given_up(&mut self, spec: &PolitenessSpec, now: Timestamp) -> Vec<(Arc<str>, HostState)> {
        let mut forgiven = Vec::new();
        for (key, host) in &mut self.hosts {
            if breaker::given_up(&host.state.breaker, now, spec.host_give_up_after.0) {
                host.state.breaker = Breaker::default();
                forgiven.push((key.clone(), host.state));
            }
        }
        forgiven
    }

    pub(super) fn state(&self, host_key: &str) -> Option<HostState> {
        self.hosts.get(host_key).map(|host| host.state)
    }

    pub(super) fn in_flight(&self, host_key: &str) -> u32 {
        self.hosts.get(host_key).map_or(0, |host| host.in_flight)
    }

    pub(super) fn open_breakers(&self) -> Vec<(Arc<str>, HostState)> {
        let open = self.hosts.iter().filter(|(_, host)| host.state.breaker.state != BreakerState::Closed);
        open.map(|(key, host)| (key.clone(), host.state)).collect()
    }

    pub(super) fn counts(&self) -> (usize, usize) {
        let open = self.hosts.values().filter(|host| host.state.breaker.state != BreakerState::Closed).count();
        (self.hosts.len(), open)
    }

    fn host(&mut self, host_key: &str, now: Timestamp) -> (Arc<str>, &mut Host) {
        if !self.hosts.contains_key(host_key) && self.hosts.len() >= self.kept {
            self.forget_idle(now);
        }
        let key = match self.hosts.get_key_value(host_key) {
            Some((key, _)) => key.clone(),
            None => Arc::from(host_key),
        };
        let host = self.hosts.entry(key.clone()).or_default();
        host.touched = now;
        (key, host)
    }

    /// Makes room for a quarter of the bound: the hosts asked about longest ago go, first those whose memory says
    /// nothing urgent, then, as a bound is a bound, any without a request in flight.
    fn forget_idle(&mut self, now: Timestamp) {
        let room = (self.kept / 4).max(1);
        for urgent_too in [false, true] {
            let mut idle: Vec<(Timestamp, Arc<str>)> = self
                .hosts
                .iter()
                .filter(|(_, host)| host.in_flight == 0 && (urgent_too || calm(&host.state, now)))
                .map(|(key, host)| (host.touched, key.clone()))
                .collect();
            let goal = room.saturating_sub(self.kept.saturating_sub(self.hosts.len()));
            if goal < idle.len() {
                idle.select_nth_unstable(goal);
                idle.truncate(goal);
            }
            for (_, key) in idle {
                self.hosts.remove(&key);
            }
            if self.hosts.len() < self.kept {
                return;
            }
        }
    }
}

fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    Timestamp::from_millis(at.millis().saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
}

/// Whether a host may be forgotten without harm as long as the store remembers it.
fn calm(state: &HostState, now: Timestamp) -> bool {
    state.next_at <= now && state.breaker.state == BreakerState::Closed
}

/// The decision: given up, busy, waiting, or free to go (as a probe or not).
fn judge(host: &Host, spec: &PolitenessSpec, now: Timestamp) -> Result<Permit, HostPermit> {
    let state = &host.state;
    if breaker::given_up(&state.breaker, now, spec.host_give_up_after.0) {
        return Err(HostPermit::GivenUp);
    }
    if host.in_flight >= spec.per_host.max(1) {
        return Err(HostPermit::Busy);
    }
    match breaker::permit(&state.breaker, now) {
        // The prober reports long before its lease ends.
        Permit::Wait(_) if state.breaker.state == BreakerState::HalfOpen => Err(HostPermit::Busy),
        Permit::Wait(until) => Err(HostPermit::Wait(until.max(state.next_at))),
        _ if state.next_at > now => Err(HostPermit::Wait(state.next_at)),
        free => Ok(free),
    }
}
