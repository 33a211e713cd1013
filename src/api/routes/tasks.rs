//! The task files of this daemon, and the session that each has.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use axum::routing::get;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::access::Access;
use crate::api::routes::{Answer, Route};
use crate::api::server::Shared;
use crate::config::Problem;
use crate::config::task::load_dir;
use crate::daemon::command::OperatorError;
use crate::model::ids::{SessionId, TaskId};
use crate::model::session::SessionStatus;
use crate::model::task::FetchMode;
use crate::store::registry::SessionFilter;

pub(super) const ROUTES: &[Route] =
    &[Route::get("/tasks", Access::Read, "Task files, and the newest session of each", || get(tasks))
        .answers::<Tasks>()];

/// A task file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskView {
    /// The task.
    pub task_id: TaskId,
    /// The name of its file in the tasks directory.
    pub file: String,
    /// How it fetches pages.
    pub fetch_mode: FetchMode,
    /// How many seeds it has.
    pub seeds: usize,
    /// Whether it starts anew after each end.
    pub rerun: bool,
    /// Its newest session.
    pub session_id: Option<SessionId>,
    /// Where that stood when it was last booked; `GET /sessions/{id}` says where it stands.
    pub status: Option<SessionStatus>,
}

/// The task files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tasks {
    /// By file name.
    pub tasks: Vec<TaskView>,
    /// What is wrong with those that cannot be used.
    pub problems: Vec<Problem>,
}

async fn tasks(State(shared): State<Shared>) -> Answer<Tasks> {
    let running = shared.operator.running().await?;
    let running: HashMap<SessionId, SessionStatus> =
        running.into_iter().map(|summary| (summary.session_id, summary.status)).collect();
    let (config, registry) = (shared.config.clone(), shared.registry.clone());
    let look = move || {
        let (prepared, problems) = load_dir(&config.tasks_dir, &config);
        let mut tasks = Vec::new();
        for task in prepared {
            let filter = SessionFilter { task: Some(task.task_id.to_string()), ..SessionFilter::default() };
            let newest = match &registry {
                Some(registry) => registry.listed(&filter, 1).map_err(|error| OperatorError::Io(error.to_string()))?,
                None => Vec::new(),
            };
            let newest = newest.into_iter().next().map(|listed| listed.row);
            let path = task.file.as_deref().map(std::path::Path::new).and_then(std::path::Path::file_name);
            tasks.push(TaskView {
                task_id: task.task_id,
                file: path.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
                fetch_mode: task.spec.fetch.mode,
                seeds: task.spec.seeds.len(),
                rerun: task.spec.rerun,
                status: newest.as_ref().map(|row| running.get(&row.id).copied().unwrap_or(row.status)),
                session_id: newest.map(|row| row.id),
            });
        }
        Ok::<_, OperatorError>(Tasks { tasks, problems })
    };
    Ok(Json(shared.look(look).await??))
}
