//! Which leases to ask for, and what becomes of those granted.

use super::*;

impl Controller {
    /// Asks for as many leases as there is room, due work and permission for.
    pub(super) fn plan(&mut self) {
        self.due = None;
        if !self.phase.may_lease() {
            return;
        }
        let now = self.shop.clock.now();
        let share = self.load.borrow().share;
        let terms = self.shop.in_force.now();
        while self.outstanding() < share && self.totals.room(self.uncommitted_fetches, self.outstanding()) {
            let mut taken = None;
            let next = self.frontier.next(now, &mut |host| match self.governor.take(host, &terms.politeness, now) {
                Ok(grant) => {
                    taken = Some(grant);
                    HostPermit::Go
                }
                Err(not_now) => not_now,
            });
            match next {
                Next::Lease { host } => self.wish(host, false, taken),
                // Alone means alone: nothing of this session may be under way, not even a commit.
                Next::Suspect { host } if !self.idle_store() => return self.frontier.refused(host, now),
                Next::Suspect { host } => return self.wish(host, true, taken),
                Next::GiveUp { host } => {
                    self.batch.ops.push(StoreOp::FailHost { host });
                    return;
                }
                Next::WaitUntil(at) => {
                    self.due = Some(at);
                    self.note_wait(at);
                    return;
                }
                Next::NothingDue | Next::Drained => return,
            }
        }
    }

    pub(super) fn wish(&mut self, host: HostNo, suspects: bool, taken: Option<HostGrant>) {
        let Some(grant) = taken else { return self.frontier.refused(host, self.shop.clock.now()) };
        self.batch.leases.push(LeaseWish { host, suspects, count: 1 });
        // Persisted with the lease, so that a crash during the visit forgets no delay.
        let host_key = grant.host_key().to_string();
        self.batch.hosts.push(HostUpdate { host_key, state: grant.memory() });
        self.waiting.grants.push((host, grant));
        self.asked += 1;
    }

    /// Visits running and leases asked for.
    pub(super) fn outstanding(&self) -> u32 {
        u32::try_from(self.by_task.len()).unwrap_or(u32::MAX).saturating_add(self.asked)
    }

    pub(super) fn dispatch(&mut self, lease: Lease, grant: Option<HostGrant>) {
        let (Some(grant), Some(slot)) = (grant, self.free_slots.pop()) else {
            error!(url = %lease.url, "lease without a grant or a slot: given back");
            self.frontier.released(lease.host, self.shop.clock.now());
            self.batch.ends.push(VisitEnd::Released { lease });
            return;
        };
        let now = self.shop.clock.now();
        if let Some(end) = poisoned(&lease, self.shop.epoch, now) {
            warn!(url = %lease.url, "too many crashes point at it: set aside");
            self.free_slots.push(slot);
            self.frontier.released(lease.host, now);
            self.waiting.ends += 1;
            self.batch.ends.push(end);
            return;
        }
        let terms = self.shop.in_force.now();
        let named = terms.rescoped.as_ref();
        if let Some(end) = named.and_then(|named| outside(&terms.rules, named, &lease, self.shop.epoch, now)) {
            grant.unused();
            self.free_slots.push(slot);
            self.frontier.released(lease.host, now);
            self.waiting.ends += 1;
            self.batch.ends.push(end);
            return;
        }
        let visits_active = self.visits_active();
        self.note(|| Decision::Visit {
            n: lease.no,
            url: lease.url.as_str().to_owned(),
            attempt: lease.attempt,
            suspect: lease.suspect,
            host: Some(grant.memory()),
            visits_active,
        });
        let task = work(self.shop.clone(), lease.clone(), grant, slot, self.partial.0.clone());
        let abort = self.visits.spawn(task);
        self.by_task.insert(abort.id(), Visit { lease, slot, since: Instant::now(), abort });
    }
}
