//! A session: one in full, a new one.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::routing::{get, post};

use crate::api::SubmitBody;
use crate::api::access::{Access, Standing};
use crate::api::guard::Caller;
use crate::api::routes::{Answer, Route, body};
use crate::api::server::Shared;
use crate::config::Problem;
use crate::config::task::{Draft, name_private, prepare};
use crate::daemon::answers::{SessionDetail, Submitted};
use crate::daemon::command::OperatorError;
use crate::daemon::session_key::SessionKey;
use crate::model::ids::SessionId;
use crate::model::task::TaskOrigin;
use crate::model::text::escape_control;
use crate::state::paths::StateDir;

pub(super) const ROUTES: &[Route] = &[
    Route::post("/sessions", Access::Full, "Start a session, or join the unfinished one of the same task", || {
        post(submit)
    })
    .takes::<SubmitBody>()
    .answers::<Submitted>(),
    Route::get("/sessions/{id}", Access::Read, "One session in full", || get(one)).answers::<SessionDetail>(),
];

/// The session of a path.
pub(in crate::api) async fn id(shared: &Shared, text: &str) -> Result<SessionId, OperatorError> {
    let key = text.parse().map_err(|_| OperatorError::UnknownSession(escape_control(text).into_owned()))?;
    known(shared, key).await
}

/// The session of a key; its task, where one is named, is compared with the session's own.
pub(super) async fn known(shared: &Shared, key: SessionKey) -> Result<SessionId, OperatorError> {
    let dir = shared.state_dir.clone();
    let look = move || {
        let state = StateDir::existing(&dir).map_err(|error| OperatorError::Io(error.to_string()))?;
        key.of(&state)
    };
    let looked = tokio::task::spawn_blocking(look).await;
    looked.unwrap_or_else(|error| Err(OperatorError::Io(format!("the session's task was not read: {error}"))))
}

async fn one(State(shared): State<Shared>, Path(session): Path<String>) -> Answer<SessionDetail> {
    Ok(Json(shared.operator.status(id(&shared, &session).await?).await?))
}

async fn submit(State(shared): State<Shared>, Extension(caller): Extension<Caller>, bytes: Bytes) -> Answer<Submitted> {
    let SubmitBody { task, origin, file, new } = body(&bytes)?;
    let (origin, file) = author(origin, file, caller.standing, &shared.config.tasks_dir)
        .map_err(|why| OperatorError::Invalid(vec![Problem::new("request: origin", why)]))?;
    let draft = Draft::from_json(task).map_err(OperatorError::Invalid)?;
    let mut task = prepare(&draft, &shared.config, origin).map_err(OperatorError::Invalid)?;
    task.file = file;
    name_private(&mut task).await;
    Ok(Json(shared.operator.submit(task, new).await?))
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
        (_, Standing::Guest | Standing::Full | Standing::ReadOnly | Standing::Nobody) => {
            Err("only the user that runs crawld speaks as its operator: run the command as that user")
        }
        (TaskOrigin::File, _) => {
            let own = file.filter(|file| std::path::Path::new(file).parent() == Some(tasks_dir));
            Ok(if own.is_some() { (TaskOrigin::File, own) } else { (TaskOrigin::Command, None) })
        }
        (TaskOrigin::Command, _) => Ok((TaskOrigin::Command, None)),
    }
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
        use Standing::{Full, Guest, Operator};
        use TaskOrigin::{Api, Command, File, Import};
        let own = Some("/etc/tasks/a.toml");
        check(Api, None, Operator, Ok((Api, None)));
        check(Api, own, Operator, Ok((Api, None)));
        check(Api, None, Guest, Ok((Api, None)));
        check(Command, own, Operator, Ok((Command, None)));
        check(Command, None, Guest, Err("only the user that runs crawld"));
        check(Command, None, Full, Err("only the user that runs crawld"));
        check(File, own, Full, Err("only the user that runs crawld"));
        check(Api, own, Full, Ok((Api, None)));
        check(File, own, Operator, Ok((File, own)));
        check(File, own, Guest, Err("only the user that runs crawld"));
        check(File, Some("/tmp/a.toml"), Operator, Ok((Command, None)));
        check(File, Some("/etc/tasks/../passwd"), Operator, Ok((Command, None)));
        check(File, None, Operator, Err("`file` must be given"));
        check(Import, None, Operator, Err("POST /import"));
    }
}
