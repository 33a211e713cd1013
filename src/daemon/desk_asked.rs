//! What is answered to questions: from memory, or from files beside the loop.

use tracing::warn;

use crate::crawl::handle::SessionHandle;
use crate::daemon::answers::{OwnerHealth, SessionDetail, SessionSummary};
use crate::daemon::command::OperatorError;
use crate::daemon::desk::{Desk, blocking};
use crate::daemon::{records, summary};
use crate::model::ids::SessionId;
use crate::model::session::SessionStatus;

impl Desk {
    pub(super) fn sessions(&self) -> impl Future<Output = Vec<SessionSummary>> + Send + 'static {
        let running = self.supervisor.snapshots();
        let waiting = self.supervisor.waiting();
        let (dir, now) = (self.house.dir.clone(), self.house.clock.now());
        blocking(move || {
            let listing = dir.list().map(|listing| listing.sessions).unwrap_or_default();
            let known = |id: &SessionId| running.iter().any(|summary| &summary.session_id == id);
            let others = listing.into_iter().filter(|on_disk| !known(&on_disk.id));
            let others: Vec<_> =
                others.map(|on_disk| summary::offline(&dir.session(&on_disk.id), now).summary).collect();
            let mut all = running;
            all.extend(others);
            for summary in all.iter_mut().filter(|summary| waiting.contains(&summary.session_id)) {
                summary.status = SessionStatus::Queued;
            }
            all.sort_by(|a, b| b.session_start.cmp(&a.session_start).then_with(|| b.session_id.cmp(&a.session_id)));
            all
        })
    }

    /// What runs or waits here.
    pub(super) fn running(&self) -> impl Future<Output = Vec<SessionSummary>> + Send + 'static {
        let mut here = self.supervisor.snapshots();
        let waiting = self.supervisor.waiting();
        let (dir, now) = (self.house.dir.clone(), self.house.clock.now());
        async move {
            if waiting.is_empty() {
                return here;
            }
            blocking(move || {
                here.extend(waiting.into_iter().map(|id| SessionSummary {
                    status: SessionStatus::Queued,
                    ..summary::offline(&dir.session(&id), now).summary
                }));
                here
            })
            .await
        }
    }

    pub(super) fn status(
        &self,
        id: SessionId,
    ) -> impl Future<Output = Result<SessionDetail, OperatorError>> + Send + 'static {
        let paths = self.house.dir.session(&id);
        let now = self.house.clock.now();
        let snapshot = self.supervisor.handle(&id).map(SessionHandle::snapshot);
        let waits = self.supervisor.is_waiting(&id);
        blocking(move || {
            if !paths.dir().exists() && !paths.checkpoint().exists() {
                return Err(OperatorError::UnknownSession(id.to_string()));
            }
            let mut detail = summary::offline(&paths, now);
            if let Some(snapshot) = snapshot {
                detail.summary = summary::online(&snapshot, &paths, now);
                detail.alerts.clone_from(&snapshot.alerts);
            } else if waits {
                detail.summary.status = SessionStatus::Queued;
            }
            Ok(detail)
        })
    }

    /// Brings the statistics up to what was done: here a moment ago, and by what a kill cut short.
    pub(super) async fn catch_up(&mut self) {
        self.close_dead_epochs().await;
        let running = self.supervisor.snapshots();
        self.supervisor.records().book_all(&running);
        let Some(registry) = self.supervisor.records().registry() else { return };
        let running: Vec<SessionId> = running.into_iter().map(|session| session.session_id).collect();
        let (dir, now) = (self.house.dir.clone(), self.house.clock.now());
        if let Err(error) = blocking(move || records::catch_up(&dir, &registry, &running, now)).await {
            warn!(%error, "the statistics lack what sessions did before they were killed");
        }
    }

    /// One line for the service manager and for `health`.
    pub fn status_line(&self) -> String {
        let snapshots = self.supervisor.snapshots();
        let (mut fetched, mut left, mut health) = (0, 0, 1.0_f64);
        for summary in &snapshots {
            fetched += summary.counters.fetched;
            left += summary.counters.remaining();
            health = health.min(summary.health_score);
        }
        format!("{} sessions, {fetched} pages fetched, {left} URLs left, health {health:.2}", snapshots.len())
    }

    pub(super) fn health(&mut self, stopping: bool) -> OwnerHealth {
        let mut degraded: Vec<String> =
            self.supervisor.holds().into_iter().map(|(hold, why)| format!("{hold}: {why}")).collect();
        degraded.extend(self.supervisor.records().failure().map(|failure| format!("registry: {failure}")));
        let snapshots = self.supervisor.snapshots();
        let reasons: Vec<String> = snapshots.iter().filter_map(SessionSummary::stands_still).collect();
        OwnerHealth {
            status: match (stopping, reasons.is_empty()) {
                (true, _) => "stopping",
                (false, true) => "ok",
                (false, false) => "unhealthy",
            }
            .to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            mode: self.mode.name().to_owned(),
            state_dir: self.house.dir.root().display().to_string(),
            started_at: self.house.started_at,
            sessions: u32::try_from(snapshots.len()).unwrap_or(u32::MAX),
            degraded,
            alerts: self.supervisor.alerts(),
            reasons,
            orphan_epochs: self.supervisor.records().orphan_epochs(),
            listens: None,
        }
    }
}
