//! The queue of hosts: one entry a host in a set ordered by (due, turn).

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::frontier::{HostPermit, HostQueue, Next};
use crate::model::ids::HostNo;
use crate::model::time::Timestamp;

/// A busy host is looked at again after this long even without a report: the visits that keep it busy may be
/// another session's.
const BUSY_RECHECK: Duration = Duration::from_millis(250);

/// A host that was given up is looked at again after this long should it still have a queue.
const GIVE_UP_RECHECK: Duration = Duration::from_secs(5);

/// A step back of the clock by more than this is a jump.
const CLOCK_SLACK: Duration = Duration::from_secs(5);

/// The long past: due at once.
const AT_ONCE: Timestamp = Timestamp::from_millis(i64::MIN);

/// What is known of one host.
#[derive(Debug)]
struct Slot {
    host_key: Arc<str>,
    queued: u64,
    suspects: u64,
    /// When the first queued URL may be leased.
    earliest: Timestamp,
    /// Leases asked for, not answered.
    asked: u32,
    /// Leases held.
    held: u32,
    /// The governor's word: not before this instant.
    not_before: Timestamp,
    /// Place among hosts due at the same instant; grows with every look, so hosts take turns.
    turn: u64,
    /// The due time under which it stands in the order, if it does.
    placed: Option<Timestamp>,
}

impl Slot {
    fn idle(&self) -> bool {
        self.queued == 0 && self.suspects == 0 && self.asked == 0 && self.held == 0
    }
}

/// The frontier of one session: its hosts by due time.
///
/// Every step costs O(log hosts), except that a look at hosts that turn out to wait moves each of them once.
#[derive(Debug)]
pub struct Frontier {
    slots: HashMap<HostNo, Slot>,
    /// (due, turn, host) of every host with a URL that nobody has asked for.
    order: BTreeSet<(Timestamp, u64, HostNo)>,
    /// Hosts with suspects; few, as there are never more than visits at once.
    suspects: BTreeSet<HostNo>,
    turns: u64,
    asked: u64,
    held: u64,
    /// A suspect is asked for or in flight: it stays alone.
    suspect_out: Option<HostNo>,
    /// The latest `now` seen; a host that is new queues up behind those due already.
    latest: Timestamp,
}

impl Default for Frontier {
    fn default() -> Self {
        Frontier::new()
    }
}

impl Frontier {
    /// An empty frontier.
    pub fn new() -> Self {
        Frontier {
            slots: HashMap::new(),
            order: BTreeSet::new(),
            suspects: BTreeSet::new(),
            turns: 0,
            asked: 0,
            held: 0,
            suspect_out: None,
            latest: AT_ONCE,
        }
    }

    /// Takes over a host's numbers from the store: at open, and after every commit that touched it. Leased URLs are
    /// left out of them; leases asked for but not answered still count as queued.
    pub fn update_host(&mut self, queue: HostQueue) {
        let HostQueue { no, key, queued, suspects, earliest_retry } = queue;
        let slot = match self.slots.entry(no) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                self.turns += 1;
                entry.insert(Slot {
                    host_key: key,
                    queued: 0,
                    suspects: 0,
                    earliest: AT_ONCE,
                    asked: 0,
                    held: 0,
                    not_before: self.latest,
                    turn: self.turns,
                    placed: None,
                })
            }
        };
        (slot.queued, slot.suspects, slot.earliest) = (queued, suspects, earliest_retry.unwrap_or(AT_ONCE));
        if suspects > 0 {
            self.suspects.insert(no);
        } else {
            self.suspects.remove(&no);
        }
        self.place(no);
    }

    /// A lease asked for by `next` was granted. `update_host` with the numbers of the same commit goes before it.
    pub fn leased(&mut self, host: HostNo) {
        if let Some(slot) = self.slots.get_mut(&host).filter(|slot| slot.asked > 0) {
            slot.asked -= 1;
            slot.held += 1;
            self.asked -= 1;
            self.held += 1;
            self.place(host);
        }
    }

    /// A lease asked for by `next` was not granted (nothing leasable, stopping). The host is not looked at again
    /// before `not_before`, or a disagreement with the store would turn in circles.
    pub fn refused(&mut self, host: HostNo, not_before: Timestamp) {
        if let Some(slot) = self.slots.get_mut(&host).filter(|slot| slot.asked > 0) {
            slot.asked -= 1;
            slot.not_before = slot.not_before.max(not_before);
            self.asked -= 1;
            self.suspect_ended(host);
            self.place(host);
        }
    }

    /// A lease was given back: its visit ended and was committed. The host is looked at again at once.
    pub fn released(&mut self, host: HostNo, now: Timestamp) {
        self.latest = self.latest.max(now);
        if let Some(slot) = self.slots.get_mut(&host).filter(|slot| slot.held > 0) {
            slot.held -= 1;
            slot.not_before = slot.not_before.min(now);
            self.held -= 1;
            self.suspect_ended(host);
            self.place(host);
        }
    }

    /// Leases asked for and held.
    pub fn outstanding(&self) -> u64 {
        self.asked + self.held
    }

    /// Hosts with a URL queued, asked for or in flight.
    pub fn hosts(&self) -> usize {
        self.slots.len()
    }

    /// The share of queued URLs (0..1) on hosts for which `chosen` holds, such as those behind an open breaker.
    /// Costs O(hosts).
    pub fn queued_share(&self, mut chosen: impl FnMut(&str) -> bool) -> f64 {
        let (mut part, mut all) = (0u64, 0u64);
        for slot in self.slots.values() {
            let waiting = slot.queued + slot.suspects;
            all += waiting;
            part += if waiting > 0 && chosen(&slot.host_key) { waiting } else { 0 };
        }
        if all == 0 { 0.0 } else { part as f64 / all as f64 }
    }

    /// What to do `now`.
    ///
    /// The gate says what a host permits. Every `Go` it gives is followed by `Lease` or `Suspect` for that host, so
    /// it may count the request at once; a gate that only looks must be made to count before `next` is called
    /// again.
    pub fn next(&mut self, now: Timestamp, gate: &mut dyn FnMut(&str) -> HostPermit) -> Next {
        self.follow_clock(now);
        if self.suspect_out.is_some() {
            return Next::NothingDue;
        }
        while let Some(&(due, _, host)) = self.order.first() {
            if due > now {
                break;
            }
            match self.look(host, now, gate) {
                HostPermit::Go => return Next::Lease { host },
                HostPermit::GivenUp => return Next::GiveUp { host },
                HostPermit::Wait(_) | HostPermit::Busy => {}
            }
        }
        if self.outstanding() > 0 {
            return self.order.first().map_or(Next::NothingDue, |&(due, ..)| Next::WaitUntil(due));
        }
        self.next_suspect(now, gate)
    }

    fn next_suspect(&mut self, now: Timestamp, gate: &mut dyn FnMut(&str) -> HostPermit) -> Next {
        let mut earliest = self.order.first().map(|&(due, ..)| due);
        let hosts: Vec<HostNo> = self.suspects.iter().copied().collect();
        for host in hosts {
            if self.not_before(host) <= now {
                match self.look(host, now, gate) {
                    HostPermit::Go => {
                        self.suspect_out = Some(host);
                        return Next::Suspect { host };
                    }
                    HostPermit::GivenUp => return Next::GiveUp { host },
                    HostPermit::Wait(_) | HostPermit::Busy => {}
                }
            }
            let due = self.not_before(host);
            earliest = Some(earliest.map_or(due, |known| known.min(due)));
        }
        earliest.map_or(Next::Drained, Next::WaitUntil)
    }

    /// When the wall clock went back, what hosts wait for would seem far off: they are all asked anew.
    fn follow_clock(&mut self, now: Timestamp) {
        if self.latest.since(now) > CLOCK_SLACK {
            let hosts: Vec<HostNo> = self.slots.keys().copied().collect();
            for host in hosts {
                if let Some(slot) = self.slots.get_mut(&host) {
                    slot.not_before = slot.not_before.min(now);
                }
                self.place(host);
            }
            self.latest = now;
        }
        self.latest = self.latest.max(now);
    }

    fn not_before(&self, host: HostNo) -> Timestamp {
        self.slots.get(&host).map_or(AT_ONCE, |slot| slot.not_before)
    }

    /// Asks the gate, counts what it lets pass, and moves the host behind the others due now or to where it must
    /// wait.
    fn look(&mut self, host: HostNo, now: Timestamp, gate: &mut dyn FnMut(&str) -> HostPermit) -> HostPermit {
        self.unplace(host);
        let Some(slot) = self.slots.get_mut(&host) else {
            unreachable!("host {host} is queued without a slot");
        };
        let permit = gate(&slot.host_key);
        // Always past `now`, or a gate that says "wait until now" would be asked for ever.
        let later = |at: Timestamp| at.max(now + Duration::from_millis(1));
        slot.not_before = match permit {
            HostPermit::Go => now,
            HostPermit::Wait(until) => later(until),
            HostPermit::Busy => later(now + BUSY_RECHECK),
            HostPermit::GivenUp => later(now + GIVE_UP_RECHECK),
        };
        if permit == HostPermit::Go {
            slot.asked += 1;
            self.asked += 1;
        }
        self.turns += 1;
        slot.turn = self.turns;
        self.place(host);
        permit
    }

    fn suspect_ended(&mut self, host: HostNo) {
        if self.suspect_out == Some(host) {
            self.suspect_out = None;
        }
    }

    fn unplace(&mut self, host: HostNo) {
        if let Some(slot) = self.slots.get_mut(&host)
            && let Some(due) = slot.placed.take()
        {
            self.order.remove(&(due, slot.turn, host));
        }
    }

    /// Puts a host where its numbers say: in the order if it has a URL that nobody has asked for, else nowhere.
    /// A host without anything left is forgotten; its politeness lives in the governor and the store.
    fn place(&mut self, host: HostNo) {
        self.unplace(host);
        let Some(slot) = self.slots.get_mut(&host) else { return };
        if slot.queued > u64::from(slot.asked) {
            let due = slot.earliest.max(slot.not_before);
            slot.placed = Some(due);
            self.order.insert((due, slot.turn, host));
        } else if slot.idle() {
            self.slots.remove(&host);
        }
    }
}
