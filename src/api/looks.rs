//! Looks at files and stores: off the threads that answer, a few at once, each with a deadline on its turn.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::OwnedSemaphorePermit;

use crate::api::problem::{ProblemBody, Refused};
use crate::api::routes::sessions::id;
use crate::api::server::Shared;
use crate::daemon::command::OperatorError;
use crate::state::end_note;
use crate::state::paths::{SessionPaths, StateDir};
use crate::store::StoreError;
use crate::store::reader::Reader;

/// Looks that run at once: more would take the disk and the threads from the crawl.
pub(super) const READERS: usize = 4;
/// A look that gets no turn in this time is refused.
const READER_WAIT: Duration = Duration::from_secs(5);

impl Shared {
    /// Looks at files or stores.
    ///
    /// # Errors
    /// No turn came in time: 503; or the look broke off.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refused> {
        let unavailable = |detail: &str| ProblemBody::coded("busy", StatusCode::SERVICE_UNAVAILABLE, detail);
        let turn = tokio::time::timeout(READER_WAIT, Arc::clone(&self.readers).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(unavailable("too many others are reading: ask again in a moment").into());
        };
        let looked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            look()
        });
        looked.await.map_err(|error| unavailable(&format!("reading it failed: {error}")).into())
    }

    /// A turn for what reads whole files: one at once.
    ///
    /// # Errors
    /// Another one is at it: 503.
    pub(super) async fn long_turn(&self) -> Result<OwnedSemaphorePermit, Refused> {
        let turn = tokio::time::timeout(READER_WAIT, Arc::clone(&self.long).acquire_owned()).await;
        let busy = || {
            let detail = "another verification is under way: ask again when it is done";
            ProblemBody::coded("busy", StatusCode::SERVICE_UNAVAILABLE, detail)
        };
        turn.ok().and_then(Result::ok).ok_or_else(|| busy().into())
    }

    /// Looks at the files of the session that a path names.
    ///
    /// # Errors
    /// There is none; and as for [`Shared::look`].
    pub(super) async fn at_session<T: Send + 'static>(
        &self,
        session: &str,
        look: impl FnOnce(&SessionPaths) -> Result<T, OperatorError> + Send + 'static,
    ) -> Result<T, Refused> {
        let id = id(self, session).await?;
        let dir = self.state_dir.clone();
        Ok(self.look(move || look(&existing(&dir, &id)?)).await??)
    }

    /// Reads the store of the session that a path names, as of one commit. Never waits for its writer, nor has it wait.
    ///
    /// # Errors
    /// There is no such session, it has no store any more, or the store does not read.
    pub(super) async fn in_store<T: Send + 'static>(
        &self,
        session: &str,
        read: impl FnOnce(&Reader, &SessionPaths) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Refused> {
        let look = move |paths: &SessionPaths| {
            if !paths.store().exists() {
                let why = match end_note::read(paths).good() {
                    Some((note, _)) => note.note.clone(),
                    None => "it has no store yet".to_owned(),
                };
                return Err(OperatorError::NotNow(format!("session `{}`: {why}", paths.id())));
            }
            let reader = Reader::open(&paths.store()).map_err(io)?;
            reader.snapshot(|reader| read(reader, paths)).map_err(io)
        };
        self.at_session(session, look).await
    }
}

fn io(error: StoreError) -> OperatorError {
    OperatorError::Io(error.to_string())
}

/// The paths of a session that is there.
fn existing(dir: &Path, id: &crate::model::ids::SessionId) -> Result<SessionPaths, OperatorError> {
    let state = StateDir::existing(dir).map_err(|error| OperatorError::Io(error.to_string()))?;
    let paths = state.session(id);
    match paths.dir().exists() || paths.checkpoint().exists() {
        true => Ok(paths),
        false => Err(OperatorError::UnknownSession(id.to_string())),
    }
}
