//! The list of sessions: of the registry, so that ten thousand cost no more than a hundred, with what runs here on top.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::routing::get;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::access::Access;
use crate::api::problem::ProblemBody;
use crate::api::routes::pages::LIMIT;
use crate::api::routes::{Answer, Route, query};
use crate::api::server::Shared;
use crate::daemon::answers::SessionSummary;
use crate::daemon::command::OperatorError;
use crate::daemon::summary::offline;
use crate::model::ids::{SessionId, TaskId};
use crate::model::session::SessionStatus;
use crate::model::time::Timestamp;
use crate::state::paths::{SessionPaths, StateDir};
use crate::store::registry::{ListedSession, Registry, SessionFilter};

pub(super) const ROUTES: &[Route] =
    &[Route::get("/sessions", Access::Read, "Sessions, newest first; filtered by status and task", || get(list))
        .query::<SessionsQuery>()
        .answers::<SessionPage>()];

/// Sessions that one page looks at at most, in pages of the registry: a filter that matches few ends with a cursor.
const ROUNDS: usize = 10;

/// Which sessions.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SessionsQuery {
    /// Only with this status.
    pub status: Option<SessionStatus>,
    /// Only of this task.
    pub task: Option<TaskId>,
    /// At most so many: 100 unless said, 1,000 at most.
    pub limit: Option<usize>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

/// Some of the sessions.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SessionPage {
    /// Newest first. Those that have ended well are told without their outputs; the session itself tells them.
    pub sessions: Vec<SessionSummary>,
    /// Where the next page begins; none: this is the last one.
    pub next: Option<String>,
}

/// Where a page begins: the start and the id of the session before it.
fn cursor(text: &str) -> Option<(Timestamp, String)> {
    let (start, id) = text.split_once('~')?;
    let start = start.parse().ok().map(Timestamp::from_millis)?;
    id.parse::<SessionId>().ok().map(|id| (start, id.to_string()))
}

fn cursor_of(start: Timestamp, id: &SessionId) -> String {
    format!("{}~{id}", start.millis())
}

async fn list(State(shared): State<Shared>, uri: Uri) -> Answer<SessionPage> {
    let asked: SessionsQuery = query(&uri)?;
    let limit = asked.limit.unwrap_or(LIMIT.0).clamp(1, LIMIT.1);
    let after = match &asked.cursor {
        None => None,
        Some(text) => Some(cursor(text).ok_or_else(|| {
            ProblemBody::field("query", "query: cursor", "is none of ours: take `next` of the page before")
        })?),
    };
    let Some(registry) = shared.registry.clone() else {
        return Ok(Json(without_registry(shared.operator.sessions().await?, &asked, after, limit)));
    };
    let running = shared.operator.running().await?;
    let running: HashMap<SessionId, SessionSummary> =
        running.into_iter().map(|summary| (summary.session_id.clone(), summary)).collect();
    let (dir, now) = (shared.state_dir.clone(), shared.clock.now());
    let look = move || {
        let state = StateDir::existing(&dir).map_err(|error| OperatorError::Io(error.to_string()))?;
        let roll = Roll { state, registry, running, now };
        roll.page(&asked, after, limit)
    };
    Ok(Json(shared.look(look).await??))
}

/// The same from a list of all, for a daemon that has no registry.
fn without_registry(
    all: Vec<SessionSummary>,
    asked: &SessionsQuery,
    after: Option<(Timestamp, String)>,
    limit: usize,
) -> SessionPage {
    let place = |summary: &SessionSummary| (summary.session_start.unwrap_or_default(), summary.session_id.to_string());
    let mut all: Vec<SessionSummary> = all.into_iter().filter(|summary| matches(asked, summary)).collect();
    all.retain(|summary| after.as_ref().is_none_or(|after| place(summary) < *after));
    let more = all.len() > limit;
    all.truncate(limit);
    let next = all.last().filter(|_| more);
    SessionPage {
        next: next.map(|last| cursor_of(last.session_start.unwrap_or_default(), &last.session_id)),
        sessions: all,
    }
}

fn matches(asked: &SessionsQuery, summary: &SessionSummary) -> bool {
    asked.status.is_none_or(|status| status == summary.status)
        && asked.task.as_ref().is_none_or(|task| summary.task_id.as_ref() == Some(task))
}

/// What a page is made of.
struct Roll {
    state: StateDir,
    registry: Arc<Registry>,
    running: HashMap<SessionId, SessionSummary>,
    now: Timestamp,
}

impl Roll {
    fn page(
        &self,
        asked: &SessionsQuery,
        after: Option<(Timestamp, String)>,
        limit: usize,
    ) -> Result<SessionPage, OperatorError> {
        // An end that was declared stands in the registry; all else is seen anew.
        let declared = asked.status.filter(|status| status.ended() && *status != SessionStatus::Migrated);
        let mut filter = SessionFilter {
            task: asked.task.as_ref().map(TaskId::to_string),
            status: None,
            unfinished: asked.status.is_some_and(|status| !status.ended()),
            after,
        };
        // A session that runs again is not ended any more, whatever its row says.
        if self.running.is_empty() {
            filter.status = declared;
        }
        let mut sessions = Vec::new();
        for _ in 0..ROUNDS {
            let listed = self.registry.listed(&filter, limit).map_err(|error| OperatorError::Io(error.to_string()))?;
            let more = listed.len() >= limit;
            for session in listed {
                let place = (session.row.session_start, session.row.id.clone());
                let summary = self.summary(session).filter(|summary| matches(asked, summary));
                sessions.extend(summary);
                filter.after = Some((place.0, place.1.to_string()));
                if sessions.len() >= limit {
                    return Ok(SessionPage { sessions, next: Some(cursor_of(place.0, &place.1)) });
                }
            }
            if !more {
                return Ok(SessionPage { sessions, next: None });
            }
        }
        let next = filter.after.map(|(start, id)| format!("{}~{id}", start.millis()));
        Ok(SessionPage { sessions, next })
    }

    /// A session as it stands; none, where nothing is left of it.
    fn summary(&self, listed: ListedSession) -> Option<SessionSummary> {
        if let Some(summary) = self.running.get(&listed.row.id) {
            return Some(summary.clone());
        }
        let paths = self.state.session(&listed.row.id);
        if !paths.dir().exists() && !paths.checkpoint().exists() {
            return None;
        }
        match listed.row.status {
            SessionStatus::Completed | SessionStatus::Cancelled => Some(at_rest(listed, &paths)),
            _ => Some(offline(&paths, self.now).summary),
        }
    }
}

/// From the registry alone: of a session that has ended, and does not change any more.
fn at_rest(listed: ListedSession, paths: &SessionPaths) -> SessionSummary {
    let ListedSession { row, epoch } = listed;
    SessionSummary {
        session_id: row.id,
        task_id: row.task_id,
        status: row.status,
        status_reason: None,
        stop_reason: row.stop_reason,
        epoch: epoch.map_or(0, |(epoch, _)| epoch),
        counters: row.counters,
        estimated_progress: row.counters.progress(),
        rates: Default::default(),
        eta_seconds: None,
        health_score: 0.0,
        health_factors: Vec::new(),
        session_start: Some(row.session_start),
        started_at: epoch.map(|(_, start)| start),
        active_seconds: row.duration_seconds,
        current_url: None,
        last_heartbeat: row.last_life,
        last_checkpoint: row.session_end,
        output_dir: paths.out().display().to_string(),
        outputs: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_and_nothing_else_is_one() {
        let id: SessionId = "session_1763720000123_abc123xy".parse().unwrap();
        let at = Timestamp::from_millis(1_763_720_000_123);
        assert_eq!(cursor(&cursor_of(at, &id)), Some((at, id.to_string())));
        for text in ["", "~", "1", "x~a", "1~../../etc", "1~", "9999999999999999999999~a", "1~a/b"] {
            assert_eq!(cursor(text), None, "{text}");
        }
    }
}
