//! Sessions as a table, one session as a page, and the end of a crawl as a table.

use serde::Serialize;

use crate::cli::format::{age, bytes, count, duration, percent};
use crate::cli::table::Table;
use crate::daemon::answers::{SessionDetail, SessionSummary};
use crate::model::counters::Counters;
use crate::model::ids::{SessionId, TaskId};
use crate::model::session::{SessionStatus, StopReason};
use crate::model::text::escape_control;
use crate::model::time::Timestamp;
use std::path::Path;
use std::time::Duration;

/// What `crawl --json` prints at the end.
#[derive(Debug, Serialize)]
pub(super) struct CrawlEnd<'a> {
    pub session_id: &'a SessionId,
    pub task_id: Option<&'a TaskId>,
    pub status: SessionStatus,
    pub stop_reason: Option<StopReason>,
    pub counters: &'a Counters,
    pub output_dir: &'a str,
    pub outputs: Vec<Output>,
}

/// One output file at the end of a crawl.
#[derive(Debug, Serialize)]
pub(super) struct Output {
    /// Absolute path.
    pub path: String,
    /// Bytes that are committed.
    pub bytes: u64,
}

impl<'a> From<&'a SessionSummary> for CrawlEnd<'a> {
    fn from(summary: &'a SessionSummary) -> Self {
        let file = |file: &crate::model::checkpoint::OutputFile| Output {
            path: Path::new(&summary.output_dir).join(&file.name).display().to_string(),
            bytes: file.committed_length,
        };
        CrawlEnd {
            session_id: &summary.session_id,
            task_id: summary.task_id.as_ref(),
            status: summary.status,
            stop_reason: summary.stop_reason,
            counters: &summary.counters,
            output_dir: &summary.output_dir,
            outputs: summary.outputs.iter().map(file).collect(),
        }
    }
}

/// Every session on a line.
pub(super) fn sessions(all: &[SessionSummary], now: Timestamp) -> String {
    let mut table = Table::new(&["SESSION", "TASK", "STATUS", "DONE", "LEFT", "FAILED", "PROGRESS", "HEALTH", "AGE"]);
    for session in all {
        let known = |text: String| if session.too_new().is_some() { "?".to_owned() } else { text };
        table.row(vec![
            session.session_id.to_string(),
            task(session),
            session.status.to_string(),
            known(count(session.counters.ended())),
            known(count(session.counters.remaining())),
            known(count(session.counters.failed)),
            known(percent(session.estimated_progress)),
            health(session),
            age(session.session_start, now),
        ]);
    }
    let newer = all.iter().filter_map(|session| Some(format!("\n{}: {}", session.session_id, session.too_new()?)));
    table.text() + &newer.collect::<String>()
}

fn task(session: &SessionSummary) -> String {
    session.task_id.as_ref().map_or_else(|| "?".to_owned(), TaskId::to_string)
}

/// A health score only means something while somebody crawls.
fn health(session: &SessionSummary) -> String {
    match session.status {
        SessionStatus::Active | SessionStatus::Crashed => format!("{:.2}", session.health_score),
        _ => "-".to_owned(),
    }
}

/// One session in full.
pub(super) fn detail(session: &SessionDetail, now: Timestamp) -> String {
    let s = &session.summary;
    let c = &s.counters;
    let mut table = Table::new(&["session", s.session_id.as_str()]);
    let mut row = |name: &str, value: String| table.row(vec![name.to_owned(), value]);
    row("task", task(s));
    row("status", with_reason(s));
    row("epoch", s.epoch.to_string());
    if s.too_new().is_some() {
        row("progress", "not known to this crawld".to_owned());
    } else {
        row(
            "progress",
            format!("{} of {} URLs ({})", count(c.ended()), count(c.discovered), percent(s.estimated_progress)),
        );
        row("urls", urls(c));
    }
    // A session that nobody crawls has no rate; the last one it had says nothing about it now.
    if s.status == SessionStatus::Active {
        let rates = s.rates;
        row("rate", format!("{:.1} pages/s, {:.1} over 15 m", rates.pages_per_second_1m, rates.pages_per_second_15m));
    }
    if let Some(eta) = s.eta_seconds {
        row("eta", duration(Duration::from_secs(eta)));
    }
    row("active", duration(Duration::from_secs_f64(s.active_seconds.max(0.0))));
    row("heartbeat", s.last_heartbeat.map_or("none".to_owned(), |_| format!("{} ago", age(s.last_heartbeat, now))));
    row("checkpoint", s.last_checkpoint.map_or("none".to_owned(), |_| format!("{} ago", age(s.last_checkpoint, now))));
    row("health", health(s));
    for factor in &s.health_factors {
        row(&format!("  {}", factor.name), format!("{:.2}  {}", factor.value, factor.reason));
    }
    for (name, list) in [
        ("alerts", session.alerts.iter().map(|alert| alert.as_str()).collect::<Vec<_>>().join(", ")),
        ("failed", pairs(session.failures_by_class.iter().map(|(k, v)| (k.as_str(), *v)))),
        ("skipped", pairs(session.skips_by_reason.iter().map(|(k, v)| (k.as_str(), *v)))),
        ("parked", pairs(session.parked_by_reason.iter().map(|(k, v)| (k.as_str(), *v)))),
    ] {
        if !list.is_empty() {
            row(name, list);
        }
    }
    if let Some(egress) = &session.egress {
        let text = format!(
            "{} received by {} connections, {} addresses refused, {} cut at a limit",
            bytes(egress.bytes_received),
            count(egress.connections),
            count(egress.addresses_refused),
            count(egress.cut_at_limit)
        );
        row("browser's network", text);
    }
    if let Some(url) = &s.current_url {
        row("now at", url.clone());
    }
    row("outputs", s.output_dir.clone());
    table.text()
}

/// A session that this process has just left is neither active nor queued any more.
fn last_status(s: &SessionSummary) -> String {
    match s.stop_reason {
        Some(reason) if !s.status.ended() && s.status != SessionStatus::Paused => format!("stopped ({reason})"),
        _ => with_reason(s),
    }
}

fn with_reason(s: &SessionSummary) -> String {
    match (&s.status_reason, s.stop_reason) {
        (Some(reason), _) => format!("{} ({reason})", s.status),
        (None, Some(reason)) => format!("{} ({reason})", s.status),
        (None, None) => s.status.to_string(),
    }
}

fn urls(c: &Counters) -> String {
    format!(
        "{} fetched, {} failed, {} skipped, {} queued, {} in flight, {} parked",
        count(c.fetched),
        count(c.failed),
        count(c.skipped),
        count(c.queued),
        count(c.in_flight),
        count(c.parked)
    )
}

fn pairs<'a>(all: impl Iterator<Item = (&'a str, u64)>) -> String {
    all.filter(|(_, n)| *n > 0).map(|(name, n)| format!("{name} {}", count(n))).collect::<Vec<_>>().join(", ")
}

/// The end of a crawl: what was done, where the outputs are, how to go on; `owned` when a crawld keeps running
/// that goes on by itself once it is told.
pub(super) fn end(s: &SessionSummary, owned: bool) -> String {
    let mut table = Table::new(&["session", s.session_id.as_str()]);
    let mut row = |name: &str, value: String| table.row(vec![name.to_owned(), value]);
    row("status", last_status(s));
    row("urls", urls(&s.counters));
    row("received", bytes(s.counters.bytes));
    row("active", duration(Duration::from_secs_f64(s.active_seconds.max(0.0))));
    row("outputs", s.output_dir.clone());
    if let Some(next) = next_step(s, owned) {
        row("continue", next);
    }
    if s.counters.parked > 0 && s.status == SessionStatus::Completed {
        row("parked", format!("crawld release-parked {}", s.session_id));
    }
    if s.counters.failed > 0 && s.status == SessionStatus::Completed {
        row("retry", format!("crawld retry-failed {0}  (`crawld status {0}` says what failed)", s.session_id));
    }
    table.text()
}

/// The command that continues a session, where one does.
fn next_step(s: &SessionSummary, owned: bool) -> Option<String> {
    let id = escape_control(s.session_id.as_str()).into_owned();
    let then = if owned { String::new() } else { format!(", then crawld recover {id}") };
    match s.status {
        SessionStatus::Completed | SessionStatus::Cancelled | SessionStatus::Migrated => None,
        SessionStatus::Expired => Some(format!("crawld resume {id} --extend{then}")),
        SessionStatus::Paused if s.held_by_operator() => Some(format!("crawld resume {id}{then}")),
        _ => Some(format!("crawld recover {id}  (or the same command again)")),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::heartbeat::Rates;

    /// A session halfway through.
    pub(in crate::cli) fn summary() -> SessionSummary {
        SessionSummary {
            session_id: "session_1763719200000_abcdefgh".parse().unwrap(),
            task_id: "docs".parse().ok(),
            status: SessionStatus::Active,
            status_reason: None,
            stop_reason: None,
            epoch: 2,
            counters: Counters {
                discovered: 1500,
                queued: 700,
                in_flight: 4,
                parked: 6,
                fetched: 700,
                failed: 40,
                skipped: 50,
                bytes: 5_000_000,
                ..Counters::default()
            },
            estimated_progress: 0.526,
            rates: Rates { pages_per_second_1m: 5.25, pages_per_second_15m: 4.0 },
            eta_seconds: Some(134),
            health_score: 0.98,
            health_factors: Vec::new(),
            session_start: Some(Timestamp::from_millis(0)),
            started_at: None,
            active_seconds: 3700.0,
            current_url: None,
            last_heartbeat: Some(Timestamp::from_millis(7_000_000)),
            last_checkpoint: None,
            output_dir: "/srv/app-memory/sessions/session_1763719200000_abcdefgh/out".into(),
            outputs: Vec::new(),
        }
    }

    #[test]
    fn sessions_stand_in_a_table() {
        let strange = SessionSummary {
            session_id: "old".parse().unwrap(),
            task_id: None,
            status: SessionStatus::Completed,
            ..summary()
        };
        insta::assert_snapshot!(sessions(&[summary(), strange], Timestamp::from_millis(7_300_000)), @r"
        SESSION                         TASK  STATUS     DONE  LEFT  FAILED  PROGRESS  HEALTH  AGE
        session_1763719200000_abcdefgh  docs  active     790   704   40      52 %      0.98    2 h 1 m
        old                             ?     completed  790   704   40      52 %      -       2 h 1 m
        ");
    }

    #[test]
    fn the_end_says_where_the_outputs_are_and_how_to_go_on() {
        let stopped =
            SessionSummary { status: SessionStatus::Active, stop_reason: Some(StopReason::Shutdown), ..summary() };
        insta::assert_snapshot!(end(&stopped, false), @r"
        session   session_1763719200000_abcdefgh
        status    stopped (shutdown)
        urls      700 fetched, 40 failed, 50 skipped, 700 queued, 4 in flight, 6 parked
        received  4.8 MiB
        active    1 h 1 m
        outputs   /srv/app-memory/sessions/session_1763719200000_abcdefgh/out
        continue  crawld recover session_1763719200000_abcdefgh  (or the same command again)
        ");
        let next = |status, status_reason: Option<&str>| {
            let paused = SessionSummary { status, status_reason: status_reason.map(str::to_owned), ..stopped.clone() };
            next_step(&paused, false).unwrap_or_default()
        };
        let resume = "crawld resume session_1763719200000_abcdefgh, then crawld recover session_1763719200000_abcdefgh";
        assert_eq!(next(SessionStatus::Paused, None), resume, "stopped while its operator held it");
        assert_eq!(next(SessionStatus::Paused, Some("operator: paused by the operator")), resume);
        assert!(next(SessionStatus::Paused, Some("disk: 1 GiB free")).contains("the same command again"));
        let done =
            SessionSummary { status: SessionStatus::Completed, stop_reason: Some(StopReason::Finished), ..summary() };
        insta::assert_snapshot!(end(&done, false), @r"
        session   session_1763719200000_abcdefgh
        status    completed (finished)
        urls      700 fetched, 40 failed, 50 skipped, 700 queued, 4 in flight, 6 parked
        received  4.8 MiB
        active    1 h 1 m
        outputs   /srv/app-memory/sessions/session_1763719200000_abcdefgh/out
        parked    crawld release-parked session_1763719200000_abcdefgh
        retry     crawld retry-failed session_1763719200000_abcdefgh  (`crawld status session_1763719200000_abcdefgh` says what failed)
        ");
    }
}
