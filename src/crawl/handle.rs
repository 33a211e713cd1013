//! How the outside holds a running session: orders in, snapshots out. Both bounded.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::crawl::terms::Terms;
use crate::model::checkpoint::OutputFile;
use crate::model::counters::Counters;
use crate::model::heartbeat::{HealthFactor, Rates};
use crate::model::ids::{CommitSeq, Epoch, SessionId, TaskId};
use crate::model::lease::NewUrl;
use crate::model::outcome::{FailureClass, ParkReason};
use crate::model::session::{SessionStatus, StopReason};
use crate::model::time::Timestamp;
use crate::policy::alerts::AlertKind;

/// Orders that may wait for a busy controller; an operator never has that many hands.
const ORDER_QUEUE: usize = 64;
/// An order is answered after at most one commit and one checkpoint; longer is a hang.
const ORDER_DEADLINE: Duration = Duration::from_secs(30);

/// Why an order came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unheard {
    /// The session ended first: it is asked again where it now rests.
    #[error("the session ended before it answered")]
    Ended,
    /// It refused, or did not answer in time; a sentence.
    #[error("{0}")]
    Refused(String),
}

/// What a session can be told while it runs.
#[derive(Debug)]
pub enum Order {
    /// Hold: no new leases. Survives restarts.
    Pause,
    /// Go on.
    Resume,
    /// End it: what is queued stays queued in the store, the status says cancelled.
    Cancel,
    /// Write a checkpoint now; answers its generation.
    Checkpoint,
    /// Queue failed URLs again.
    RetryFailed {
        /// Only this class.
        class: Option<FailureClass>,
        /// Poisoned ones as well.
        quarantined: bool,
    },
    /// Go by other terms from now on.
    Amend(Box<Amended>),
    /// Queue parked URLs.
    ReleaseParked {
        /// Only this reason.
        reason: Option<ParkReason>,
    },
    /// Finish what is in flight, start nothing, stop.
    Drain,
    /// Abandon what is in flight and stop.
    Abandon,
}

/// What an operator has changed of a running session; its `task.json` says it already.
#[derive(Debug)]
pub struct Amended {
    /// They hold for every visit that begins from now on.
    pub terms: Arc<Terms>,
    /// URLs that the crawl starts from as well.
    pub seeds: Vec<NewUrl>,
    /// URLs that an earlier scope left out are judged by this one.
    pub judge_anew: bool,
}

/// An order with the place for its answer: a count (URLs, generation), or why not.
#[derive(Debug)]
pub struct Ordered {
    /// What to do.
    pub order: Order,
    /// Where the answer goes; a gone listener is no error.
    pub reply: oneshot::Sender<Result<u64, String>>,
}

/// A session as of its last commit.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The session.
    pub session_id: SessionId,
    /// Its task.
    pub task_id: TaskId,
    /// Where it stands.
    pub status: SessionStatus,
    /// Why, where the status alone does not say it.
    pub status_reason: Option<String>,
    /// Why this lifetime stopped, once it has.
    pub stop_reason: Option<StopReason>,
    /// Process lifetime.
    pub epoch: Epoch,
    /// When the session was created.
    pub session_start: Timestamp,
    /// When this lifetime started.
    pub started_at: Timestamp,
    /// Active time over all epochs.
    pub active_seconds: f64,
    /// Committed totals.
    pub counters: Counters,
    /// Page rates.
    pub rates: Rates,
    /// Estimated time to the end.
    pub eta_seconds: Option<u64>,
    /// 0..1.
    pub health_score: f64,
    /// The score's factors.
    pub health_factors: Vec<HealthFactor>,
    /// Alerts that stand.
    pub alerts: Vec<AlertKind>,
    /// The last commit.
    pub last_commit_seq: CommitSeq,
    /// Visits running now.
    pub visits_active: u32,
    /// Smoothed duration of a visit, in milliseconds.
    pub page_ms: f64,
    /// One URL in flight, its query redacted.
    pub current_url: Option<String>,
    /// Age of the oldest visit.
    pub oldest_visit_seconds: f64,
    /// Open breakers: hosts, and the browser's own.
    pub breakers_open: u32,
    /// Generation of the last checkpoint, and when it was written.
    pub checkpoint: (u64, Option<Timestamp>),
    /// Output files.
    pub outputs: Vec<OutputFile>,
}

/// The outside's hold on a running session.
#[derive(Debug, Clone)]
pub struct SessionHandle {
    orders: mpsc::Sender<Ordered>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
}

/// The session's own end of its handle.
#[derive(Debug)]
pub struct HandleEnd {
    /// Orders as they come.
    pub orders: mpsc::Receiver<Ordered>,
    /// Where snapshots go.
    pub snapshot: watch::Sender<Arc<Snapshot>>,
}

/// Makes both ends.
pub fn channel(first: Snapshot) -> (SessionHandle, HandleEnd) {
    let (order_tx, orders) = mpsc::channel(ORDER_QUEUE);
    let (snapshot, snapshot_rx) = watch::channel(Arc::new(first));
    (SessionHandle { orders: order_tx, snapshot: snapshot_rx }, HandleEnd { orders, snapshot })
}

impl SessionHandle {
    /// The newest snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }

    /// A receiver that sees every new snapshot.
    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.clone()
    }

    /// Gives an order and waits for its answer.
    ///
    /// # Errors
    /// The session has ended, refused, or did not answer within 30 s.
    pub async fn order(&self, order: Order) -> Result<u64, Unheard> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.orders.send(Ordered { order, reply }).await.map_err(|_| Unheard::Ended)?;
            answer.await.map_err(|_| Unheard::Ended)?.map_err(Unheard::Refused)
        };
        let silent = || format!("the session did not answer within {} s", ORDER_DEADLINE.as_secs());
        tokio::time::timeout(ORDER_DEADLINE, asked).await.unwrap_or_else(|_| Err(Unheard::Refused(silent())))
    }
}
