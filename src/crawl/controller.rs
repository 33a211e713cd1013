//! One session's loop: wait for one thing, decide, act. It alone changes the session's state.

mod commits;
mod leasing;
mod orders;
mod telling;
mod visits;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};
use tracing::{error, info, warn};

use crate::crawl::announce::Announcer;
use crate::crawl::committer::{Batch, CommitError, Committed, CommitterHandle, LeaseWish, StoreOp};
use crate::crawl::controller::telling::Telling;
use crate::crawl::governor::{HostGovernor, HostGrant};
use crate::crawl::handle::{HandleEnd, Order, Ordered};
use crate::crawl::judge::{outside, panicked, poisoned};
use crate::crawl::load::Load;
use crate::crawl::phase::{self, Hold, Phase, reason_of};
use crate::crawl::pulse::{Pulse, Raised};
use crate::crawl::scribe::{Scribe, Told};
use crate::crawl::session::{META_CANCELLED, META_EXTENSION};
use crate::crawl::stats::Stats;
use crate::crawl::totals::{Extension, Totals};
use crate::crawl::worker::{Done, PartialLinks, Workshop, work};
use crate::frontier::{Frontier, HostPermit, HostQueue, Next};
use crate::model::checkpoint::OutputFile;
use crate::model::decision::Decision;
use crate::model::host::Breaker;
use crate::model::ids::{CommitSeq, HostNo};
use crate::model::lease::{self, HostUpdate, Lease, UrlKind, VisitEnd};
use crate::model::outcome::Outcome;
use crate::model::session::{SessionStatus, StopReason};
use crate::model::time::Timestamp;
use crate::model::url::CanonicalUrl;

/// Sitemap batches that may wait for the controller; their readers wait with them.
const PARTIAL_QUEUE: usize = 4;
/// Pause before a commit that found no space is tried again: doubled from the first to the second.
const NO_SPACE_RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// Waking without a reason: the proof that this loop turns, and the beat of time limits.
const TURN: Duration = Duration::from_secs(1);

/// What is grave is in a checkpoint within this time; a pause that is longer is grave.
const SOON: Duration = Duration::from_secs(30);
/// A host whose wish found nothing is not asked for again before this: a disagreement with the store must not spin.
const EMPTY_WISH: Duration = Duration::from_secs(1);

type Committing = Pin<Box<dyn Future<Output = (Result<Committed, CommitError>, Waiting)> + Send>>;

/// Who waits for a commit.
#[derive(Debug, Default)]
struct Waiting {
    grants: Vec<(HostNo, HostGrant)>,
    ends: u64,
    fetched: u64,
    partial: Vec<oneshot::Sender<()>>,
    orders: Vec<oneshot::Sender<Result<u64, String>>>,
    /// It holds what the next checkpoint should not wait for.
    grave: bool,
    /// Hosts whose breaker it changes.
    breakers: Vec<(String, Breaker)>,
}

/// A visit under way.
#[derive(Debug)]
struct Visit {
    lease: Lease,
    slot: usize,
    since: Instant,
    abort: AbortHandle,
}

/// One session at work.
pub struct Controller {
    pub(super) shop: Arc<Workshop>,
    pub(super) pulse: Pulse,
    pub(super) outputs: Vec<OutputFile>,
    pub(super) alerts: mpsc::Sender<Raised>,
    turned: Box<dyn Fn() + Send + Sync>,
    pub(super) trouble: Option<String>,
    sitemaps_read: HashSet<String>,
    extended: bool,
    /// Revived for an order that has not come yet.
    expecting: bool,
    pub(super) committer: CommitterHandle,
    pub(super) governor: HostGovernor,
    pub(super) frontier: Frontier,
    pub(super) handle: HandleEnd,
    pub(super) load: watch::Receiver<Load>,
    pub(super) scribe: Scribe,
    pub(super) phase: Phase,
    pub(super) stats: Stats,
    pub(super) totals: Totals,
    pub(super) telling: Telling,
    visits: JoinSet<Done>,
    by_task: HashMap<Id, Visit>,
    free_slots: Vec<usize>,
    batch: Batch,
    waiting: Waiting,
    /// Orders that are committed and not answered, with the number of URLs that each has touched.
    owed: Vec<(oneshot::Sender<Result<u64, String>>, u64)>,
    /// Something grave was committed that no checkpoint says.
    unsaid: bool,
    committing: Option<Committing>,
    asked: u32,
    uncommitted_fetches: u64,
    due: Option<Timestamp>,
    /// Visits at once that it was last given.
    share: u32,
    partial: (mpsc::Sender<PartialLinks>, mpsc::Receiver<PartialLinks>),
    retry_commit_at: Option<Instant>,
    retry_pause: Duration,
}

/// What a controller is made of.
pub struct Parts {
    /// What all visits share.
    pub shop: Arc<Workshop>,
    /// The session's writer.
    pub committer: CommitterHandle,
    /// The daemon's host memory.
    pub governor: HostGovernor,
    /// Hosts with work, as the store knows them.
    pub frontier: Frontier,
    /// Orders in, snapshots out.
    pub handle: HandleEnd,
    /// The machine's state and this session's share of it.
    pub load: watch::Receiver<Load>,
    /// Writer of checkpoint and heartbeat.
    pub scribe: Scribe,
    /// Health, heartbeats, checkpoints.
    pub pulse: Pulse,
    /// Limits, earlier lifetimes, names, committed totals.
    pub totals: Totals,
    /// Output files at the start.
    pub outputs: Vec<OutputFile>,
    /// Where watchers are told.
    pub announcer: Announcer,
    /// Where raised alerts go.
    pub alerts: mpsc::Sender<Raised>,
    /// Told whenever the loop turns.
    pub turned: Box<dyn Fn() + Send + Sync>,
    /// The operator had paused it.
    pub paused: bool,
    /// The operator had cancelled it.
    pub cancelled: bool,
    /// Limits count anew from here.
    pub extended: bool,
    /// It had ended, and goes on.
    pub revived: bool,
    /// Visits at once at most, ever: the slots of the in-flight note.
    pub slots: usize,
}

impl Controller {
    /// Puts a controller together.
    pub fn new(parts: Parts) -> Self {
        let now = parts.shop.clock.now();
        let mut phase = Phase::default();
        if parts.paused {
            phase.hold(Hold::Operator, Some("paused by the operator".to_owned()));
        }
        if parts.cancelled {
            phase.stop(StopReason::Cancelled, true);
        }
        Controller {
            shop: parts.shop,
            committer: parts.committer,
            governor: parts.governor,
            frontier: parts.frontier,
            handle: parts.handle,
            load: parts.load,
            scribe: parts.scribe,
            phase,
            stats: Stats::new(now),
            totals: parts.totals,
            pulse: parts.pulse,
            telling: Telling::new(parts.announcer),
            outputs: parts.outputs,
            alerts: parts.alerts,
            turned: parts.turned,
            trouble: None,
            sitemaps_read: HashSet::new(),
            extended: parts.extended,
            expecting: parts.revived,
            visits: JoinSet::new(),
            by_task: HashMap::new(),
            free_slots: (0..parts.slots).rev().collect(),
            batch: Batch::new(now),
            waiting: Waiting::default(),
            owed: Vec::new(),
            unsaid: false,
            committing: None,
            asked: 0,
            uncommitted_fetches: 0,
            due: None,
            share: 0,
            partial: mpsc::channel(PARTIAL_QUEUE),
            retry_commit_at: None,
            retry_pause: NO_SPACE_RETRY.0,
        }
    }

    /// Crawls until the end, a limit, an order or an error. Every lease is given back and committed
    /// unless the session's own files failed.
    pub async fn run(mut self) -> (StopReason, Controller) {
        let mut turn = interval_at(Instant::now() + TURN, TURN);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        if self.extended {
            self.batch.ops.extend([extension(&self.totals.extension), StoreOp::paused(false)]);
        }
        // The first sample came with the channel, and is no change of it.
        self.loaded();
        self.judge_health(self.shop.clock.now());
        self.beat(true);
        self.checkpoint(None);
        loop {
            self.enforce_limits();
            self.plan();
            self.start_commit();
            if let Some(reason) = self.over() {
                return (reason, self);
            }
            let wake = self.wake_at();
            tokio::select! {
                (result, waiting) = settled(&mut self.committing) => self.committed(result, waiting),
                Some(ended) = self.visits.join_next_with_id() => self.visit_ended(ended),
                Some(partial) = self.partial.1.recv() => self.partial_links(partial),
                Some(ordered) = self.handle.orders.recv() => self.ordered(ordered),
                changed = self.load.changed() => if changed.is_ok() { self.loaded() },
                _ = turn.tick() => self.turned(),
                () = sleep_until(wake) => {}
            }
        }
    }

    fn idle_store(&self) -> bool {
        self.committing.is_none() && self.batch.is_empty()
    }

    fn loaded(&mut self) {
        let load = self.load.borrow_and_update().clone();
        let now = self.shop.clock.now();
        let cause = load.holds.iter().find(|(hold, _)| *hold == Hold::Browser).and_then(|(_, why)| why.clone());
        self.tell_browser(load.browser_restarts, cause, now);
        if self.share != load.share {
            self.share = load.share;
            self.note(|| Decision::Share { visits: load.share });
        }
        let mut changed = false;
        for (hold, why) in load.holds {
            if hold == Hold::Disk && why.is_none() && self.retry_commit_at.is_some() {
                continue;
            }
            if self.phase.hold(hold, why.clone()) {
                changed = true;
                self.note(|| Decision::Hold { hold: hold.to_string(), why });
            }
        }
        if changed {
            let (status, reason) = self.phase.status();
            info!(session_id = %self.shop.session, %status, reason = reason.as_deref().unwrap_or(""), "status changed");
            self.beat(true);
            self.tell_status(now);
        }
    }

    fn turned(&mut self) {
        let _ = crate::faults::point("panic.session");
        let now = self.shop.clock.now();
        let waits = self.by_task.is_empty() && self.due.is_some();
        self.stats.turn(now, waits || !self.phase.may_lease());
        self.totals.turn(now, self.phase.may_lease());
        (self.turned)();
        self.judge_health(now);
        self.publish();
        self.tell_status(now);
        self.tell_progress(now);
        if self.totals.heartbeat_due(now) {
            self.batch.ops.push(StoreOp::active_ms(millis(self.totals.active)));
            self.beat(false);
        } else if self.shop.long.take_news() {
            self.beat(false);
        }
        self.answer_ordered();
        let soon = self.unsaid && now.since(self.totals.last_checkpoint) >= SOON;
        if soon || self.totals.checkpoint_due(now) {
            self.unsaid = false;
            self.checkpoint(None);
        }
    }

    fn enforce_limits(&mut self) {
        if self.phase.stopping().is_none()
            && let Some(reason) = self.totals.limit_reached()
        {
            info!(session_id = %self.shop.session, %reason, "a limit is reached: finishing what is in flight");
            self.note(|| Decision::Stop { reason: reason.to_string() });
            self.phase.stop(reason, false);
        }
    }

    /// The reason to end, once nothing is in flight, asked for, or uncommitted.
    fn over(&self) -> Option<StopReason> {
        if !self.by_task.is_empty() {
            return None;
        }
        if self.totals.broken.is_some() {
            return Some(StopReason::IoError);
        }
        if !self.idle_store() || self.asked > 0 {
            return None;
        }
        let nothing_left = self.totals.counters.queued == 0 && self.totals.counters.in_flight == 0;
        if let Some(stopping) = self.phase.stopping() {
            return Some(reason_of(stopping.reason, nothing_left));
        }
        // An order is on its way that gives it new work.
        if self.expecting {
            return None;
        }
        (nothing_left && self.phase.may_lease()).then_some(StopReason::Finished)
    }

    fn wake_at(&self) -> Instant {
        let far = Instant::now() + TURN;
        let due = self.due.map(|at| Instant::now() + at.since(self.shop.clock.now()));
        [due, self.retry_commit_at].into_iter().flatten().fold(far, Instant::min)
    }
}

impl Controller {
    /// Whether the operator holds it.
    pub(super) fn paused_by_operator(&self) -> bool {
        self.phase.held_by(Hold::Operator)
    }

    /// Why nobody is logged in, where that ended the session.
    pub(super) fn login_failure(&self) -> Option<String> {
        self.shop.login.failure()
    }

    /// What broke the session's own files.
    pub(super) fn broken(&self) -> Option<String> {
        self.totals.broken.clone()
    }

    /// What is left to commit at the end of a lifetime.
    pub(super) fn last_batch(&mut self) -> Batch {
        let now = self.shop.clock.now();
        // The time since the last turn: all of it, for a run shorter than a turn.
        self.totals.turn(now, self.phase.status().0 == SessionStatus::Active);
        let mut batch = std::mem::replace(&mut self.batch, Batch::new(now));
        batch.ops.push(StoreOp::active_ms(millis(self.totals.active)));
        batch
    }

    /// Visits running now.
    pub(super) fn visits_active(&self) -> u32 {
        u32::try_from(self.by_task.len()).unwrap_or(u32::MAX)
    }

    /// The visit that runs longest: its URL, the query redacted, and its age.
    pub(super) fn oldest_visit(&self) -> (Option<String>, Option<Duration>) {
        let oldest = self.by_task.values().min_by_key(|visit| visit.since);
        (oldest.map(|visit| redacted(&visit.lease.url)), oldest.map(|visit| visit.since.elapsed()))
    }

    /// Until when nothing can be visited, where that is worth saying.
    pub(super) fn waits(&self, now: Timestamp) -> Option<String> {
        let due = self.due.filter(|_| self.by_task.is_empty() && self.phase.may_lease())?;
        phase::waits(due, now, self.trouble.as_deref())
    }

    /// Whether something could be visited now.
    pub(super) fn work_due(&self) -> bool {
        self.phase.may_lease() && (!self.by_task.is_empty() || (self.due.is_none() && self.totals.counters.queued > 0))
    }
}

/// Query strings carry tokens; who reads heartbeats need not see them.
pub(super) fn redacted(url: &CanonicalUrl) -> String {
    match url.as_str().split_once('?') {
        Some((before, _)) => format!("{before}?…"),
        None => url.as_str().to_owned(),
    }
}

fn set_meta(key: &str, value: String) -> StoreOp {
    StoreOp::SetMeta { key: key.to_owned(), value: Some(value) }
}

fn extension(extension: &Extension) -> StoreOp {
    set_meta(META_EXTENSION, serde_json::to_string(extension).unwrap_or_default())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A host's numbers as the frontier takes them.
pub(super) fn queue(host: &lease::HostQueue) -> HostQueue {
    HostQueue {
        no: host.no,
        key: host.key.as_str().into(),
        queued: host.queued,
        suspects: host.suspects,
        earliest_retry: host.earliest_retry,
    }
}

/// Waits for the commit under way; for ever when there is none.
async fn settled(committing: &mut Option<Committing>) -> (Result<Committed, CommitError>, Waiting) {
    match committing {
        Some(commit) => commit.await,
        None => std::future::pending().await,
    }
}

fn fetched(end: &VisitEnd) -> bool {
    matches!(end, VisitEnd::Ended { outcome: Outcome::Fetched, .. } | VisitEnd::Ended { target: Some(_), .. })
}

impl Waiting {
    fn merge(&mut self, newer: Waiting) {
        self.grants.extend(newer.grants);
        self.ends += newer.ends;
        self.fetched += newer.fetched;
        self.partial.extend(newer.partial);
        self.orders.extend(newer.orders);
        self.grave |= newer.grave;
        self.breakers.extend(newer.breakers);
    }
}

fn count(grants: &[(HostNo, HostGrant)]) -> u32 {
    u32::try_from(grants.len()).unwrap_or(u32::MAX)
}
