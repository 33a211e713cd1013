//! Whoever carries out a command: the directory's owner over its socket, or this process for a moment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::api::client::Client;
use crate::api::{ExportBody, ImportBody};
use crate::cli::context::Context;
use crate::cli::engine;
use crate::cli::failure::Failure;
use crate::daemon::answers::{CleanupReport, Done, RecoveryReport, SessionDetail, StatsReport, Submitted};
use crate::daemon::command::{CleanupRequest, Operator, OperatorError, RecoverRequest, SessionOrder, StopLevel};
use crate::daemon::mode::RunMode;
use crate::exit_code::ExitCode;
use crate::model::ids::SessionId;
use crate::state::lock::{Probe, probe};
use crate::state::paths::StateDir;

/// A starting owner binds its socket after its recovery; this long a command waits for it.
const STARTING: Duration = Duration::from_secs(10);
const STARTING_POLL: Duration = Duration::from_millis(100);
/// An owner whose loop does not answer within this hangs. An order sent to it would wait, and be carried
/// out when nobody expects it any more.
const TURNS_WITHIN: Duration = Duration::from_secs(10);

/// Carries out commands.
pub(super) enum Hands {
    /// The owner of the directory.
    Remote(Client),
    /// This process.
    Local(Operator),
}

/// The owner's socket; `None` without an owner. Waits for an owner that is just starting.
pub(super) async fn owner(context: &Context) -> Result<Option<Client>, Failure> {
    let state = context.state_dir();
    let lock = state.join("crawld.lock");
    let give_up = tokio::time::Instant::now() + STARTING;
    loop {
        let found = Client::find(state).await.map_err(|error| {
            let message = format!("cannot reach crawld on `{}`: {error}", state.join("crawld.sock").display());
            Failure::new(ExitCode::InUse, message).hint("run the command as the user that runs crawld")
        })?;
        if let Some(client) = found {
            return lively(client, state).await.map(Some);
        }
        match probe(&lock) {
            Ok(Probe::Held(_)) if tokio::time::Instant::now() < give_up => tokio::time::sleep(STARTING_POLL).await,
            Ok(Probe::Held(holder)) => {
                let who = holder.map_or_else(|| "another process".to_owned(), |holder| holder.to_string());
                let message = format!("`{}` is held by {who}, which does not answer", lock.display());
                return Err(Failure::new(ExitCode::InUse, message).hint("look at its log; it may still be recovering"));
            }
            _ => return Ok(None),
        }
    }
}

/// The owner, if its loop turns.
async fn lively(client: Client, state: &Path) -> Result<Client, Failure> {
    if matches!(tokio::time::timeout(TURNS_WITHIN, client.health()).await, Ok(Ok(_))) {
        return Ok(client);
    }
    let who = match probe(&state.join("crawld.lock")) {
        Ok(Probe::Held(Some(holder))) => holder.to_string(),
        _ => "the crawld that runs there".to_owned(),
    };
    let message = format!("{who} holds `{}` and hangs: it was asked nothing", state.display());
    Err(Failure::new(ExitCode::InUse, message).hint(
        "look at its log. Killing it is safe (kill -9 too): everything committed stays, and the next start recovers",
    ))
}

/// Calls with the owner's hands, or without an owner with our own.
pub(super) async fn with<T>(
    context: &Context,
    command: &'static str,
    work: impl AsyncFnOnce(&Hands) -> Result<T, Failure>,
) -> Result<T, Failure> {
    if let Some(client) = owner(context).await? {
        return work(&Hands::Remote(client)).await;
    }
    let (started, ready) = oneshot::channel();
    let running = tokio::spawn(engine::run(context.config.clone(), RunMode::Once { command }, started));
    let Ok(started) = ready.await else {
        let end = running.await.map_err(|error| Failure::new(ExitCode::Bug, error.to_string()))?;
        let error = end.error.map(|error| Failure::run(end.exit, error));
        return Err(error.unwrap_or_else(|| Failure::new(end.exit, "crawld ended before it began")));
    };
    let hands = Hands::Local(started.operator.clone());
    let result = work(&hands).await;
    let told = started.operator.shutdown(StopLevel::Drain).await;
    drop((hands, started));
    let end = running.await.map_err(|error| Failure::new(ExitCode::Bug, error.to_string()))?;
    match (result, told, end.error) {
        (Ok(_), Ok(()), Some(error)) => Err(Failure::run(end.exit, error)),
        (result, ..) => result,
    }
}

/// As [`with`], for commands that make no state directory of their own.
pub(super) async fn with_existing<T>(
    context: &Context,
    command: &'static str,
    work: impl AsyncFnOnce(&Hands, &StateDir) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let state = context.existing()?;
    with(context, command, async |hands| work(hands, &state).await).await
}

impl Hands {
    /// Whether a running crawld was asked.
    pub(super) fn remote(&self) -> bool {
        matches!(self, Hands::Remote(_))
    }

    pub(super) async fn status(&self, session: &SessionId) -> Result<SessionDetail, OperatorError> {
        match self {
            Hands::Remote(client) => client.status(session).await,
            Hands::Local(operator) => operator.status(session.clone()).await,
        }
    }

    pub(super) async fn order(&self, session: &SessionId, order: SessionOrder) -> Result<Done, OperatorError> {
        match self {
            Hands::Remote(client) => client.order(session, order).await,
            Hands::Local(operator) => operator.order(session.clone(), order).await,
        }
    }

    pub(super) async fn recover(&self, request: RecoverRequest) -> Result<RecoveryReport, OperatorError> {
        match self {
            Hands::Remote(client) => client.recover(&request).await,
            Hands::Local(operator) => operator.recover(request).await,
        }
    }

    pub(super) async fn cleanup(&self, request: CleanupRequest) -> Result<CleanupReport, OperatorError> {
        match self {
            Hands::Remote(client) => client.cleanup(&request).await,
            Hands::Local(operator) => operator.cleanup(request).await,
        }
    }

    pub(super) async fn export(&self, session: SessionId, file: PathBuf, copy: bool) -> Result<Done, OperatorError> {
        match self {
            Hands::Remote(client) => client.export(&ExportBody { session: session.into(), file, copy }).await,
            Hands::Local(operator) => operator.export(session, file, copy).await,
        }
    }

    pub(super) async fn import(&self, file: PathBuf) -> Result<Submitted, OperatorError> {
        match self {
            Hands::Remote(client) => client.import(&ImportBody { file }).await,
            Hands::Local(operator) => operator.import(file).await,
        }
    }

    pub(super) async fn stats(&self) -> Result<StatsReport, OperatorError> {
        match self {
            Hands::Remote(client) => client.stats().await,
            Hands::Local(operator) => operator.stats().await,
        }
    }
}
