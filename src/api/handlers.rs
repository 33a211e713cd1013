//! One function a route: read the request, ask the operator, write the answer.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;

use crate::api::listener::{Caller, Standing};
use crate::api::problem::{ProblemBody, Refused};
use crate::api::server::Shared;
use crate::api::{ExportBody, ImportBody, OrderBody, RecoverBody, ShutdownBody, SubmitBody};
use crate::config::Problem;
use crate::config::task::{Draft, name_private, prepare};
use crate::daemon::answers::{
    CleanupReport, Done, OwnerHealth, RecoveryReport, SessionDetail, SessionSummary, StatsReport, Submitted,
};
use crate::daemon::command::{OperatorError, SessionOrder};
use crate::daemon::session_key::SessionKey;
use crate::model::heartbeat::Heartbeat;
use crate::model::ids::SessionId;
use crate::model::task::TaskOrigin;
use crate::model::text::escape_control;
use crate::state::paths::StateDir;

type Answer<T> = Result<Json<T>, Refused>;

/// Reads a JSON body; an empty one is `{}`.
fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refused> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body)
        .map_err(|error| ProblemBody::request(StatusCode::BAD_REQUEST, format!("the body is wrong: {error}")).into())
}

/// The session of a path.
async fn id(shared: &Shared, text: &str) -> Result<SessionId, OperatorError> {
    let key = text.parse().map_err(|_| OperatorError::UnknownSession(escape_control(text).into_owned()))?;
    known(shared, key).await
}

/// The session of a key; its task, where one is named, is compared with the session's own.
async fn known(shared: &Shared, key: SessionKey) -> Result<SessionId, OperatorError> {
    let dir = shared.state_dir.clone();
    let look = move || {
        let state = StateDir::existing(&dir).map_err(|error| OperatorError::Io(error.to_string()))?;
        key.of(&state)
    };
    let looked = tokio::task::spawn_blocking(look).await;
    looked.unwrap_or_else(|error| Err(OperatorError::Io(format!("the session's task was not read: {error}"))))
}

pub(super) async fn health(State(shared): State<Shared>) -> Answer<OwnerHealth> {
    Ok(Json(shared.operator.health().await?))
}

pub(super) async fn sessions(State(shared): State<Shared>) -> Answer<Vec<SessionSummary>> {
    Ok(Json(shared.operator.sessions().await?))
}

pub(super) async fn session(State(shared): State<Shared>, Path(session): Path<String>) -> Answer<SessionDetail> {
    Ok(Json(shared.operator.status(id(&shared, &session).await?).await?))
}

pub(super) async fn heartbeat(State(shared): State<Shared>, Path(session): Path<String>) -> Answer<Heartbeat> {
    let detail = shared.operator.status(id(&shared, &session).await?).await?;
    let missing = || OperatorError::NotNow(format!("session `{}` has no heartbeat yet", detail.summary.session_id));
    Ok(Json(detail.heartbeat.ok_or_else(missing)?))
}

/// Whose word a task is, from what the client claims and who it is; and the task file that it is tied to, which must
/// be one of this daemon's own.
fn author(
    claimed: TaskOrigin,
    file: Option<String>,
    standing: Standing,
    tasks_dir: &std::path::Path,
) -> Result<(TaskOrigin, Option<String>), &'static str> {
    match (claimed, standing) {
        (TaskOrigin::Import, _) => Err("a session is imported with POST /import"),
        (TaskOrigin::File, _) if file.is_none() => Err("`file` must be given with it"),
        (TaskOrigin::Api, _) => Ok((TaskOrigin::Api, None)),
        (_, Standing::Guest) => {
            Err("only the user that runs crawld speaks as its operator: run the command as that user")
        }
        (TaskOrigin::File, _) => {
            let own = file.filter(|file| std::path::Path::new(file).parent() == Some(tasks_dir));
            Ok(if own.is_some() { (TaskOrigin::File, own) } else { (TaskOrigin::Command, None) })
        }
        (TaskOrigin::Command, _) => Ok((TaskOrigin::Command, None)),
    }
}

pub(super) async fn submit(
    State(shared): State<Shared>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    body: Bytes,
) -> Answer<Submitted> {
    let SubmitBody { task, origin, file, new } = read(&body)?;
    let (origin, file) = author(origin, file, caller.standing, &shared.config.tasks_dir)
        .map_err(|why| OperatorError::Invalid(vec![Problem::new("request: origin", why)]))?;
    let draft = Draft::from_json(task).map_err(OperatorError::Invalid)?;
    let mut task = prepare(&draft, &shared.config, origin).map_err(OperatorError::Invalid)?;
    task.file = file;
    name_private(&mut task).await;
    Ok(Json(shared.operator.submit(task, new).await?))
}

pub(super) async fn order(
    State(shared): State<Shared>,
    Path((session, order)): Path<(String, String)>,
    body: Bytes,
) -> Answer<Done> {
    let OrderBody { extend, quarantined } = read(&body)?;
    let order = match order.as_str() {
        "checkpoint" => SessionOrder::Checkpoint,
        "pause" => SessionOrder::Pause,
        "resume" => SessionOrder::Resume { extend },
        "cancel" => SessionOrder::Cancel,
        "retry-failed" => SessionOrder::RetryFailed { quarantined },
        "release-parked" => SessionOrder::ReleaseParked,
        _ => return Err(ProblemBody::request(StatusCode::NOT_FOUND, "no such order").into()),
    };
    Ok(Json(shared.operator.order(id(&shared, &session).await?, order).await?))
}

pub(super) async fn recover(State(shared): State<Shared>, body: Bytes) -> Answer<RecoveryReport> {
    let mut body: RecoverBody = read(&body)?;
    let mut sessions = Vec::new();
    for key in std::mem::take(&mut body.sessions) {
        sessions.push(known(&shared, key).await?);
    }
    Ok(Json(shared.operator.recover(body.about(sessions)).await?))
}

pub(super) async fn cleanup(State(shared): State<Shared>, body: Bytes) -> Answer<CleanupReport> {
    Ok(Json(shared.operator.cleanup(read(&body)?).await?))
}

pub(super) async fn export(State(shared): State<Shared>, body: Bytes) -> Answer<Done> {
    let ExportBody { session, file, copy } = read(&body)?;
    let session = known(&shared, session).await?;
    Ok(Json(shared.operator.export(session, file, copy).await?))
}

pub(super) async fn import(State(shared): State<Shared>, body: Bytes) -> Answer<Submitted> {
    let ImportBody { file } = read(&body)?;
    Ok(Json(shared.operator.import(file).await?))
}

pub(super) async fn stats(State(shared): State<Shared>) -> Answer<StatsReport> {
    Ok(Json(shared.operator.stats().await?))
}

pub(super) async fn shutdown(State(shared): State<Shared>, body: Bytes) -> Answer<serde_json::Value> {
    let ShutdownBody { level } = read(&body)?;
    shared.operator.shutdown(level).await?;
    Ok(Json(serde_json::json!({ "stopping": true })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_says_of_itself_counts_for_no_more_than_who_it_is() {
        type Expected<'a> = Result<(TaskOrigin, Option<&'a str>), &'a str>;
        #[track_caller]
        fn check(claimed: TaskOrigin, file: Option<&str>, standing: Standing, expected: Expected<'_>) {
            let got = author(claimed, file.map(str::to_owned), standing, std::path::Path::new("/etc/tasks"));
            match (got, expected) {
                (Ok((origin, file)), Ok(expected)) => assert_eq!((origin, file.as_deref()), expected),
                (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
                (got, expected) => panic!("{claimed} {file:?} {standing:?}: {got:?} instead of {expected:?}"),
            }
        }
        use Standing::{Guest, Operator};
        use TaskOrigin::{Api, Command, File, Import};
        let own = Some("/etc/tasks/a.toml");
        check(Api, None, Operator, Ok((Api, None)));
        check(Api, own, Operator, Ok((Api, None)));
        check(Api, None, Guest, Ok((Api, None)));
        check(Command, own, Operator, Ok((Command, None)));
        check(Command, None, Guest, Err("only the user that runs crawld"));
        check(File, own, Operator, Ok((File, own)));
        check(File, own, Guest, Err("only the user that runs crawld"));
        check(File, Some("/tmp/a.toml"), Operator, Ok((Command, None)));
        check(File, Some("/etc/tasks/../passwd"), Operator, Ok((Command, None)));
        check(File, None, Operator, Err("`file` must be given"));
        check(Import, None, Operator, Err("POST /import"));
    }
}
