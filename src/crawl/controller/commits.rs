//! Batches on their way into the store, and what comes back.

use super::*;

/// Whether a batch teaches what a crawl that has lost its store must not have forgotten: a suspect, or a long pause.
fn grave(batch: &Batch) -> bool {
    let suspect = |end: &VisitEnd| matches!(end, VisitEnd::Retry { lease, suspect, .. } if *suspect || lease.suspect);
    let pause = |update: &HostUpdate| update.state.next_at.since(batch.now) > SOON;
    batch.ends.iter().any(suspect) || batch.hosts.iter().any(pause)
}

impl Controller {
    pub(super) fn start_commit(&mut self) {
        let held_back = self.retry_commit_at.is_some_and(|at| at > Instant::now());
        if self.committing.is_some() || self.batch.is_empty() || held_back {
            return;
        }
        self.retry_commit_at = None;
        let now = self.shop.clock.now();
        let mut batch = std::mem::replace(&mut self.batch, Batch::new(now));
        batch.now = now;
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.grave = grave(&batch);
        waiting.breakers = self.breakers_of(&batch);
        let committer = self.committer.clone();
        self.committing = Some(Box::pin(async move { (committer.commit(batch).await, waiting) }));
    }

    pub(super) fn committed(&mut self, result: Result<Committed, CommitError>, mut waiting: Waiting) {
        self.committing = None;
        let committed = match result {
            Ok(committed) => committed,
            Err(CommitError::NoSpace { batch, message }) => return self.no_space(*batch, waiting, &message),
            Err(error) => return self.store_failed(&error, waiting),
        };
        let now = self.shop.clock.now();
        self.phase.hold(Hold::Disk, None);
        self.retry_pause = NO_SPACE_RETRY.0;
        self.asked -= count(&waiting.grants);
        self.uncommitted_fetches -= waiting.fetched;
        self.stats.committed(waiting.ends, committed.latency, now);
        self.totals.counters = committed.counters;
        self.totals.sitemaps = committed.sitemaps;
        self.totals.seq = committed.seq;
        self.tell_commit(committed.seq, committed.pages, std::mem::take(&mut waiting.breakers), now);
        if !committed.outputs.is_empty() {
            self.outputs = committed.outputs;
        }
        for host in committed.unfinished {
            self.batch.ops.push(StoreOp::FailHost { host });
        }
        for host in &committed.hosts {
            self.frontier.update_host(queue(host));
        }
        for lease in committed.leases {
            let grant = waiting.grants.iter().position(|(host, _)| *host == lease.host);
            self.frontier.leased(lease.host);
            self.dispatch(lease, grant.map(|at| waiting.grants.swap_remove(at).1));
        }
        // Leases asked for before the visits were abandoned come back like theirs.
        if self.phase.stopping().is_some_and(|stopping| stopping.abandon) {
            self.abandon();
        }
        // A grant whose wish found no URL is dropped: it teaches nothing.
        for (host, grant) in waiting.grants.drain(..) {
            drop(grant);
            self.frontier.refused(host, now + EMPTY_WISH);
        }
        for done in waiting.partial {
            let _ = done.send(());
        }
        self.owed.extend(waiting.orders.into_iter().map(|reply| (reply, committed.touched)));
        self.unsaid |= waiting.grave;
        self.publish();
        self.answer_ordered();
    }

    pub(super) fn no_space(&mut self, batch: Batch, waiting: Waiting, message: &str) {
        if self.phase.hold(Hold::Disk, Some(message.to_owned())) {
            warn!(session_id = %self.shop.session, error = message, "no space: paused until there is");
            self.beat(true);
        }
        if self.phase.stopping().is_some() {
            return self.leave_uncommitted(waiting, message);
        }
        let newer = std::mem::replace(&mut self.batch, batch);
        self.batch.append(newer);
        let newer = std::mem::replace(&mut self.waiting, waiting);
        self.waiting.merge(newer);
        self.retry_commit_at = Some(Instant::now() + self.retry_pause);
        self.retry_pause = (self.retry_pause * 2).min(NO_SPACE_RETRY.1);
    }

    /// A stop does not wait for space: what was not committed is done again when the crawl continues.
    fn leave_uncommitted(&mut self, waiting: Waiting, message: &str) {
        let waiting = [waiting, std::mem::take(&mut self.waiting)];
        warn!(session_id = %self.shop.session, error = message, "stopping without space: what was not committed is left");
        self.batch = Batch::new(self.shop.clock.now());
        self.retry_commit_at = None;
        self.asked = 0;
        self.uncommitted_fetches = 0;
        for reply in waiting.into_iter().flat_map(|waiting| waiting.orders) {
            let _ = reply.send(Err(message.to_owned()));
        }
        self.abandon();
    }

    pub(super) fn store_failed(&mut self, error: &CommitError, waiting: Waiting) {
        error!(session_id = %self.shop.session, %error, "the session's files failed: it stops");
        self.phase.stop(StopReason::IoError, true);
        self.totals.broken = Some(error.to_string());
        self.asked = self.asked.saturating_sub(count(&waiting.grants));
        for reply in waiting.orders {
            let _ = reply.send(Err(error.to_string()));
        }
        self.abandon();
    }
}
