//! What the session's watchers are told, and when: nothing before its commit.

use super::*;
use crate::crawl::announce::Announcer;
use crate::model::decision::Decision;
use crate::model::event::{
    AlertNote, CheckpointNote, HealthNote, PageNote, ProgressNote, RestartNote, StatusNote, What, cut,
};
use crate::model::heartbeat::HealthFactor;
use crate::model::host::Breaker;
use crate::policy::alerts::{Alert, AlertKind};
use crate::policy::health::HealthLevel;

/// A health score that moved by less is no news.
const SCORE_STEP: f64 = 0.05;

/// What watchers were last told.
#[derive(Debug)]
pub(in crate::crawl) struct Telling {
    pub(in crate::crawl) announcer: Announcer,
    status: Option<SessionStatus>,
    health: Option<(f64, HealthLevel)>,
    restarts: Option<u32>,
    checkpoint: u64,
    progress: Option<ProgressNote>,
    waits: Option<Timestamp>,
}

impl Telling {
    /// Nothing was told yet.
    pub(in crate::crawl) fn new(announcer: Announcer) -> Self {
        Telling { announcer, status: None, health: None, restarts: None, checkpoint: 0, progress: None, waits: None }
    }
}

impl Controller {
    /// A commit is durable: its pages, and what it says of breakers.
    pub(super) fn tell_commit(
        &mut self,
        seq: CommitSeq,
        pages: Vec<(PageNote, Timestamp)>,
        breakers: Vec<(String, Breaker)>,
        now: Timestamp,
    ) {
        let announcer = &mut self.telling.announcer;
        announcer.committed(seq, pages);
        for (host, breaker) in breakers {
            announcer.breaker(now, host, &breaker);
        }
        self.tell_status(now);
    }

    /// The hosts whose breaker a batch changes.
    pub(super) fn breakers_of(&self, batch: &Batch) -> Vec<(String, Breaker)> {
        let news =
            batch.hosts.iter().filter(|update| self.telling.announcer.is_news(&update.host_key, &update.state.breaker));
        news.map(|update| (update.host_key.clone(), update.state.breaker)).collect()
    }

    /// The status, unless it rests on an order that is not committed yet: then the commit tells it.
    pub(super) fn tell_status(&mut self, now: Timestamp) {
        if self.committing.is_some() || !self.waiting.orders.is_empty() {
            return;
        }
        let (status, reason) = self.phase.status();
        self.tell_status_as(status, reason, now);
    }

    /// The status that the session ends with.
    pub(in crate::crawl) fn tell_status_as(&mut self, to: SessionStatus, reason: Option<String>, now: Timestamp) {
        let telling = &mut self.telling;
        if telling.status == Some(to) {
            return;
        }
        let from = telling.status.replace(to);
        let status = StatusNote { from, to, reason: reason.as_deref().map(cut) };
        telling.announcer.happened(now, What::Status { status });
    }

    /// A judgement of health, where it is news.
    pub(in crate::crawl) fn tell_health(
        &mut self,
        score: f64,
        level: HealthLevel,
        factors: &[HealthFactor],
        now: Timestamp,
    ) {
        let telling = &mut self.telling;
        let same = telling.health.is_some_and(|(before, was)| was == level && (before - score).abs() < SCORE_STEP);
        if same {
            return;
        }
        telling.health = Some((score, level));
        let health = HealthNote { score, level: level.to_string(), factors: factors.to_vec() };
        telling.announcer.happened(now, What::Health { health });
    }

    /// Alerts that began, and those that are over.
    pub(in crate::crawl) fn tell_alerts(
        &mut self,
        raised: &[Alert],
        before: &[AlertKind],
        standing: &[AlertKind],
        now: Timestamp,
    ) {
        for alert in alert_notes(raised, before, standing) {
            self.telling.announcer.happened(now, What::Alert { alert });
        }
    }

    /// A checkpoint is on the disk.
    pub(in crate::crawl) fn tell_checkpoint(&mut self, generation: u64, now: Timestamp) {
        if generation > self.telling.checkpoint {
            self.telling.checkpoint = generation;
            let checkpoint = CheckpointNote { generation };
            self.telling.announcer.happened(now, What::Checkpoint { checkpoint });
        }
    }

    /// The browser was lost since the last sample.
    pub(super) fn tell_browser(&mut self, restarts: u32, cause: Option<String>, now: Timestamp) {
        let before = self.telling.restarts.replace(restarts);
        if before.is_some_and(|before| restarts > before) {
            let browser_restart = RestartNote { restarts, cause: cause.as_deref().map(cut) };
            self.telling.announcer.happened(now, What::BrowserRestart { browser_restart });
        }
    }

    /// Where the session stands, once a turn and where it moved.
    pub(super) fn tell_progress(&mut self, now: Timestamp) {
        let snapshot = self.handle.snapshot.borrow().clone();
        let progress = ProgressNote {
            counters: snapshot.counters,
            rates: snapshot.rates,
            eta_seconds: snapshot.eta_seconds,
            visits_active: snapshot.visits_active,
        };
        if self.telling.progress.as_ref() != Some(&progress) {
            self.telling.progress = Some(progress.clone());
            self.telling.announcer.happened(now, What::Progress { progress });
        }
    }

    /// Writes a decision down, in a session that is recorded.
    pub(super) fn note(&mut self, decision: impl FnOnce() -> Decision) {
        let now = self.shop.clock.now();
        self.telling.announcer.decided(now, decision);
    }

    /// A wait for hosts, once each.
    pub(super) fn note_wait(&mut self, until: Timestamp) {
        if self.telling.announcer.records() && self.telling.waits != Some(until) {
            self.telling.waits = Some(until);
            let visits_active = self.visits_active();
            self.note(|| Decision::Wait { until, visits_active });
        }
    }
}

/// Crossings both ways: what was raised, and what stood before and does not any more.
pub(in crate::crawl) fn alert_notes(raised: &[Alert], before: &[AlertKind], standing: &[AlertKind]) -> Vec<AlertNote> {
    let begun = raised.iter().map(|alert| AlertNote {
        alert: alert.kind.to_string(),
        value: Some(alert.value),
        threshold: Some(alert.threshold),
        raised: true,
    });
    let over = before.iter().filter(|kind| !standing.contains(kind)).map(|kind| AlertNote {
        alert: kind.to_string(),
        value: None,
        threshold: None,
        raised: false,
    });
    begun.chain(over).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_told_when_it_begins_and_when_it_is_over() {
        let raised = [Alert { kind: AlertKind::Memory, value: 5.0, threshold: 4.0 }];
        let before = [AlertKind::ErrorRate, AlertKind::Cpu];
        let notes = alert_notes(&raised, &before, &[AlertKind::Cpu, AlertKind::Memory]);
        let told: Vec<_> = notes.iter().map(|note| (note.alert.as_str(), note.raised, note.value)).collect();
        assert_eq!(told, [("memory", true, Some(5.0)), ("error_rate", false, None)]);
    }
}
