//! What the operator says.

use super::*;
use crate::crawl::handle::Amended;

impl Controller {
    /// Answers the orders that are committed: once they are in a checkpoint as well, so that the loss of the store
    /// does not undo them.
    pub(super) fn answer_ordered(&mut self) {
        if self.scribe.has_room()
            && let Some(told) = self.answers()
        {
            self.checkpoint(Some(told));
        }
    }

    /// What answers them when that checkpoint is written. One that cannot be is said in the log, and the order is in
    /// the store all the same.
    pub(in crate::crawl) fn answers(&mut self) -> Option<Told> {
        if self.owed.is_empty() {
            return None;
        }
        let owed = std::mem::take(&mut self.owed);
        let answer = move |_| {
            for (reply, touched) in owed {
                let _ = reply.send(Ok(touched));
            }
        };
        Some(Box::new(answer))
    }

    pub(super) fn ordered(&mut self, ordered: Ordered) {
        let Ordered { order, reply } = ordered;
        self.expecting = false;
        self.note(|| Decision::Order { order: format!("{order:?}") });
        match order {
            Order::Pause | Order::Resume => {
                let why = matches!(order, Order::Pause).then(|| "paused by the operator".to_owned());
                self.batch.ops.push(StoreOp::paused(why.is_some()));
                self.phase.hold(Hold::Operator, why);
                self.waiting.orders.push(reply);
                self.beat(true);
            }
            Order::Checkpoint => self.checkpoint(Some(Box::new(move |written| drop(reply.send(written))))),
            Order::RetryFailed { class, quarantined } => {
                let terms = self.shop.in_force.now();
                let forgiven = self.governor.forgive_given_up(&terms.politeness, self.shop.clock.now());
                let forgiven = forgiven.into_iter().map(|(key, state)| HostUpdate { host_key: key.to_string(), state });
                self.batch.hosts.extend(forgiven);
                self.batch.ops.push(StoreOp::RetryFailed { class, quarantined });
                self.waiting.orders.push(reply);
            }
            Order::Amend(amended) => {
                let Amended { terms, seeds, judge_anew } = *amended;
                self.shop.in_force.put(terms);
                self.batch.seeds.extend(seeds);
                if judge_anew {
                    self.batch.ops.push(StoreOp::JudgeAnew);
                }
                self.waiting.orders.push(reply);
                // Something to commit, also where only the pace was changed.
                self.batch.ops.push(StoreOp::active_ms(millis(self.totals.active)));
            }
            Order::ReleaseParked { reason } => {
                self.batch.ops.push(StoreOp::ReleaseParked { reason });
                self.waiting.orders.push(reply);
            }
            Order::Cancel => {
                self.batch.ops.push(set_meta(META_CANCELLED, "1".to_owned()));
                self.waiting.orders.push(reply);
                self.phase.stop(StopReason::Cancelled, true);
                self.retry_commit_at = None;
                self.abandon();
            }
            Order::Drain | Order::Abandon => {
                let abandon = matches!(order, Order::Abandon);
                self.phase.stop(StopReason::Shutdown, abandon);
                // Whether there is space by now is tried at once.
                self.retry_commit_at = None;
                if abandon {
                    self.abandon();
                }
                let _ = reply.send(Ok(0));
            }
        }
    }
}
