//! What a session says of itself: snapshots, heartbeats with health, checkpoints, alerts.

use std::collections::BTreeMap;
use std::time::Duration;

use tracing::{error, info, warn};

use crate::crawl::compose::{Facts, compose};
use crate::crawl::controller::{Controller, redacted};
use crate::crawl::handle::Snapshot;
use crate::crawl::scribe::{Compose, Scribble, Told};
use crate::crawl::session::{SessionEnd, Settings};
use crate::model::heartbeat::{HealthFactor, Heartbeat, Rates};
use crate::model::host::Breaker;
use crate::model::ids::SessionId;
use crate::model::session::{SessionStatus, StopReason};
use crate::model::task::FetchMode;
use crate::model::time::Timestamp;
use crate::policy::alerts::{Alert, AlertInputs, Alerts};
use crate::policy::health::{self, HealthInputs, HealthLevel};
use crate::state::paths::SessionPaths;
use crate::state::{Durability, process};
use crate::store::reader::Reader;

/// A heartbeat is stale after three intervals: two lost ones are not a death.
const STALE_INTERVALS: u32 = 3;

/// An alert of a session, or of the whole process.
pub type Raised = (Option<SessionId>, Alert);

/// The memory behind heartbeats and checkpoints.
#[derive(Debug)]
pub struct Pulse {
    paths: SessionPaths,
    inline_urls: usize,
    health_every: Duration,
    judged_at: Option<Timestamp>,
    score: f64,
    factors: Vec<HealthFactor>,
    level: HealthLevel,
    alerts: Alerts,
    breakers_open: u32,
    /// The browser's breaker as the lifetime before left it: shown until this one knows better, never acted on.
    browser_before: Option<Breaker>,
    checkpoint: (u64, Option<Timestamp>),
    start_ticks: u64,
}

impl Pulse {
    /// Nothing judged yet.
    pub fn new(paths: &SessionPaths, settings: &Settings, browser_before: Option<Breaker>) -> Self {
        Pulse {
            paths: paths.clone(),
            inline_urls: settings.inline_urls,
            health_every: settings.health_every,
            judged_at: None,
            score: 1.0,
            factors: Vec::new(),
            level: HealthLevel::Healthy,
            alerts: Alerts::default(),
            breakers_open: 0,
            browser_before,
            checkpoint: (0, None),
            start_ticks: process::own_start_ticks(),
        }
    }
}

impl Controller {
    /// Publishes the state as of the last commit. Cheap: called after each.
    pub(super) fn publish(&mut self) {
        let (status, reason) = self.phase.status();
        let reason = reason.or_else(|| self.waits(self.shop.clock.now())).or_else(|| self.trouble.clone());
        self.publish_as(status, reason, None);
    }

    fn publish_as(&mut self, status: SessionStatus, reason: Option<String>, stop_reason: Option<StopReason>) {
        let now = self.shop.clock.now();
        if let Some(generation) = self.scribe.written() {
            self.pulse.checkpoint = (generation, Some(now));
            self.tell_checkpoint(generation, now);
        }
        let rates = self.stats.rates(now);
        let (current_url, oldest) = self.oldest_visit();
        let snapshot = Snapshot {
            session_id: self.shop.session.clone(),
            task_id: self.totals.task.clone(),
            status,
            status_reason: reason,
            stop_reason,
            epoch: self.shop.epoch,
            session_start: self.totals.session_start,
            started_at: self.totals.started_at,
            active_seconds: self.totals.active.as_secs_f64(),
            counters: self.totals.counters,
            rates,
            eta_seconds: self
                .totals
                .eta_seconds(rates.pages_per_second_1m)
                .filter(|_| stop_reason.is_none() && status != SessionStatus::Paused),
            health_score: self.pulse.score,
            health_factors: self.pulse.factors.clone(),
            alerts: self.pulse.alerts.standing().to_vec(),
            last_commit_seq: self.totals.seq,
            visits_active: self.visits_active(),
            page_ms: self.stats.page_ms(),
            current_url,
            oldest_visit_seconds: oldest.map_or(0.0, |age| age.as_secs_f64()),
            breakers_open: self.pulse.breakers_open + u32::from(self.load.borrow().browser_out()),
            checkpoint: self.pulse.checkpoint,
            outputs: self.outputs.clone(),
        };
        self.handle.snapshot.send_replace(std::sync::Arc::new(snapshot));
    }

    /// Judges health when it is due.
    pub(super) fn judge_health(&mut self, now: Timestamp) {
        let due = self.pulse.judged_at.is_none_or(|at| now < at || now.since(at) >= self.pulse.health_every);
        if !due {
            return;
        }
        self.pulse.judged_at = Some(now);
        let inputs = self.health_inputs(now);
        let judged = health::judge(&inputs, self.pulse.level);
        if judged.level != self.pulse.level {
            let worst = judged.factors.iter().min_by(|a, b| a.value.total_cmp(&b.value));
            let reason = worst.map_or("", |factor| factor.reason.as_str());
            info!(session_id = %self.shop.session, level = %judged.level, score = judged.score, reason, "health changed");
        }
        (self.pulse.score, self.pulse.factors, self.pulse.level) = (judged.score, judged.factors, judged.level);
        self.tell_health(judged.score, judged.level, &self.pulse.factors.clone(), now);
        let (all, open) = self.governor.counts();
        self.pulse.breakers_open = u32::try_from(open).unwrap_or(u32::MAX);
        let (fetched, failed) = self.stats.success();
        let alerts = AlertInputs {
            health: Some((self.pulse.score, self.pulse.level)),
            failures: Some((failed, fetched + failed)),
            breakers: Some((open as u64, all as u64)),
            ..AlertInputs::default()
        };
        let (standing, raised) = self.pulse.alerts.evaluate(&alerts, now);
        let before = self.pulse.alerts.standing().to_vec();
        self.tell_alerts(&raised, &before, standing.standing(), now);
        self.pulse.alerts = standing;
        for alert in raised {
            warn!(session_id = %self.shop.session, alert = %alert.kind, value = alert.value, threshold = alert.threshold, "alert");
            // A full queue means that the webhook does not keep up; the log has it.
            let _ = self.alerts.try_send((Some(self.shop.session.clone()), alert));
        }
    }

    fn health_inputs(&self, now: Timestamp) -> HealthInputs {
        let load = self.load.borrow();
        let (fetched, failed) = self.stats.success();
        let (recent_rate, mean_rate) = self.stats.working_rates(health::STALL);
        let open = |host: &str| {
            self.governor.snapshot(host).is_some_and(|h| h.breaker.state != crate::model::host::BreakerState::Closed)
        };
        let p99 = self.stats.commit_p99_ms();
        // A large page takes minutes to draw, and says that it is being drawn.
        let pictures = if self.shop.long.is_empty() { Duration::ZERO } else { self.shop.extract.extra_time() };
        HealthInputs {
            fetched,
            failed,
            work_due: self.work_due(),
            recent_rate,
            mean_rate,
            idle: now.since(self.stats.last_progress()),
            oldest_visit: self.oldest_visit().1,
            visit_deadline: self.shop.fetch.page_timeout.0 + self.shop.conduct.extra_time() + pictures,
            browser_restarts: load.browser_restarts_last_hour,
            self_test: load.browser_self_test,
            breakers_share: self.frontier.queued_share(open),
            browser_out: load.browser_out(),
            attached: load.browser_attached,
            memory_headroom: load.memory_headroom,
            disk_free: load.disk_free,
            disk_reserve: load.disk_reserve,
            commit_p99: (p99 > 0.0).then(|| Duration::from_secs_f64(p99 / 1000.0)),
        }
    }

    /// Writes a heartbeat; durably at a change of status.
    pub(super) fn beat(&mut self, durable: bool) {
        let now = self.shop.clock.now();
        self.totals.last_heartbeat = now;
        self.publish();
        let snapshot = self.handle.snapshot.borrow().clone();
        let heartbeat = Box::new(self.heartbeat(&snapshot, now));
        let durability = if durable { Durability::Full } else { Durability::Atomic };
        self.scribe.ask(Scribble::Heartbeat(heartbeat, durability));
    }

    fn heartbeat(&self, snapshot: &Snapshot, now: Timestamp) -> Heartbeat {
        let load = self.load.borrow();
        let rates: Rates = snapshot.rates;
        Heartbeat {
            session_id: snapshot.session_id.clone(),
            timestamp: now,
            status: snapshot.status,
            status_reason: snapshot.status_reason.clone(),
            urls_processed: snapshot.counters.ended(),
            urls_remaining: snapshot.counters.remaining(),
            urls_parked: snapshot.counters.parked,
            current_url: snapshot.current_url.clone(),
            memory_usage_mb: (load.memory_bytes as f64 / f64::from(1 << 20) * 10.0).round() / 10.0,
            browser_pages_active: snapshot.visits_active,
            health_score: snapshot.health_score,
            health_factors: snapshot.health_factors.clone(),
            stale_after: now + self.totals.heartbeat_every * STALE_INTERVALS,
            epoch: snapshot.epoch,
            pid: std::process::id(),
            pid_start_ticks: self.pulse.start_ticks,
            started_at: snapshot.started_at,
            rates,
            eta_seconds: snapshot.eta_seconds,
            oldest_visit_seconds: snapshot.oldest_visit_seconds,
            long_operations: self.shop.long.list(redacted),
            last_commit_seq: snapshot.last_commit_seq,
            browser_restarts: load.browser_restarts,
            breakers_open: snapshot.breakers_open,
            checkpoint_generation: snapshot.checkpoint.0,
            checkpoint_age_seconds: snapshot.checkpoint.1.map_or(0, |at| now.since(at).as_secs()),
        }
    }

    /// Asks for a checkpoint.
    pub(super) fn checkpoint(&mut self, told: Option<Told>) {
        self.totals.last_checkpoint = self.shop.clock.now();
        let (status, _) = self.phase.status();
        let compose = self.compose(status, None);
        self.scribe.ask(Scribble::Checkpoint(compose, told));
    }

    fn compose(&self, status: SessionStatus, stop_reason: Option<StopReason>) -> Compose {
        let now = self.shop.clock.now();
        let facts = Facts {
            session: self.shop.session.clone(),
            task: self.totals.task.clone(),
            now,
            status,
            stop_reason,
            pages_per_second: self.stats.rates(now).pages_per_second_1m,
            active: self.totals.active,
            session_start: self.totals.session_start,
            epoch: self.shop.epoch,
            fetch_mode: self.shop.mode,
            limits_used: self.totals.limits_used(),
            fetch_modes: self.shop.auto.learned(self.pulse.inline_urls),
            sites: Default::default(),
            browsers: self.shop.fetchers.browser.clone(),
            inline_urls: self.pulse.inline_urls,
            browser: self.load.borrow().browser.clone(),
            browser_breaker: self.browser_breaker(),
            egress: self.shop.egress.as_ref().map(|egress| egress.facts()),
        };
        let paths = self.pulse.paths.clone();
        Box::new(move || compose(&paths, facts))
    }

    /// The browser's breaker as known now; before this lifetime's first sample, as the one before left it,
    /// unless a page was fetched since.
    fn browser_breaker(&self) -> Option<Breaker> {
        let worked = self.shop.mode == FetchMode::Browser && self.stats.success().0 > 0;
        let before = if worked { Some(Breaker::default()) } else { self.pulse.browser_before };
        self.load.borrow().browser_breaker.or(before)
    }

    /// Why a crawl that finished has nothing to show.
    pub(super) fn nothing_fetched(&self, end: &SessionEnd) -> Option<String> {
        if end.reason != StopReason::Finished || self.totals.counters.fetched > 0 {
            return None;
        }
        let reader = Reader::open(&self.pulse.paths.store()).ok()?;
        let of = |kind: &'static str| Some((kind, reader.tallies(kind).ok()?));
        nothing_fetched(&["skipped", "failed", "parked"].into_iter().filter_map(of).collect::<Vec<_>>())
    }

    /// The end, committed into the store's own memory before the store closes.
    pub(super) async fn record_end(&mut self, end: &SessionEnd) {
        let batch = self.last_batch();
        if end.reason == StopReason::IoError || batch.is_empty() {
            return;
        }
        match self.committer.commit(batch).await {
            Ok(committed) => {
                (self.totals.seq, self.totals.counters) = (committed.seq, committed.counters);
                self.telling.announcer.committed(committed.seq, committed.pages);
            }
            Err(problem) => {
                error!(session_id = %self.shop.session, error = %problem, "the last commit failed; what came before is safe");
            }
        }
    }

    /// The last snapshot, checkpoint and heartbeat.
    pub(super) async fn say_goodbye(mut self, end: &SessionEnd) {
        self.pulse.judged_at = None;
        self.judge_health(self.shop.clock.now());
        self.publish_as(end.status, end.message.clone(), Some(end.reason));
        self.tell_status_as(end.status, end.message.clone(), self.shop.clock.now());
        let compose = self.compose(end.status, Some(end.reason));
        let told = self.answers();
        self.scribe.insist(Scribble::Checkpoint(compose, told)).await;
        let now = self.shop.clock.now();
        let snapshot = self.handle.snapshot.borrow().clone();
        let heartbeat = Box::new(self.heartbeat(&snapshot, now));
        self.scribe.insist(Scribble::Heartbeat(heartbeat, Durability::Full)).await;
        self.shop.fetchers.keep_cookies(true).await;
        self.scribe.close().await;
    }
}

/// In words: what became of the URLs instead, by reason.
fn nothing_fetched(tallies: &[(&str, BTreeMap<String, u64>)]) -> Option<String> {
    let counts = |reasons: &BTreeMap<String, u64>| {
        reasons.iter().map(|(reason, urls)| format!("{reason} {urls}")).collect::<Vec<_>>().join(", ")
    };
    let told = tallies.iter().filter(|(_, reasons)| !reasons.is_empty());
    let told: Vec<_> = told.map(|(kind, reasons)| format!("{kind}: {}", counts(reasons))).collect();
    (!told.is_empty()).then(|| format!("nothing was fetched; {}", told.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crawl_with_nothing_to_show_says_why() {
        let tally = |reasons: &[(&str, u64)]| reasons.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        assert_eq!(nothing_fetched(&[("skipped", tally(&[]))]), None);
        let told = nothing_fetched(&[
            ("skipped", tally(&[("robots", 1), ("redirect", 2)])),
            ("failed", tally(&[])),
            ("parked", tally(&[("too_long", 3)])),
        ]);
        assert_eq!(told.unwrap(), "nothing was fetched; skipped: redirect 2, robots 1; parked: too_long 3");
    }
}
