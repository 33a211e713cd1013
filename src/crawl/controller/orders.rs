//! What the operator says.

use super::*;

impl Controller {
    pub(super) fn ordered(&mut self, ordered: Ordered) {
        let Ordered { order, reply } = ordered;
        self.expecting = false;
        match order {
            Order::Pause | Order::Resume => {
                let why = matches!(order, Order::Pause).then(|| "paused by the operator".to_owned());
                self.batch.ops.push(StoreOp::paused(why.is_some()));
                self.phase.hold(Hold::Operator, why);
                self.waiting.orders.push(reply);
                self.beat(true);
            }
            Order::Checkpoint => self.checkpoint(Some(reply)),
            Order::RetryFailed { class, quarantined } => {
                self.governor.forgive_given_up(&self.shop.politeness, self.shop.clock.now());
                self.batch.ops.push(StoreOp::RetryFailed { class, quarantined });
                self.waiting.orders.push(reply);
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
