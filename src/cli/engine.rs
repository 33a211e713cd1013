//! The one call into the daemon, with the API put on top of it.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::api;
use crate::config::Config;
use crate::daemon::command::Operator;
use crate::daemon::mode::{RunEnd, RunMode, Started};
use crate::daemon::{self, ServeApi};

/// Owns the state directory until `mode` is done.
pub(super) async fn run(config: Config, mode: RunMode, started: oneshot::Sender<Started>) -> RunEnd {
    let config = Arc::new(config);
    let shared = Arc::clone(&config);
    let serve_api: ServeApi = Box::new(move |state_dir: &Path, operator: Operator, stop: CancellationToken| {
        let listener = api::bind(state_dir)?;
        let state_dir = state_dir.to_owned();
        Ok(tokio::spawn(async move {
            if let Err(error) = api::serve(listener, operator, shared, &state_dir, stop).await {
                tracing::error!(%error, "API ended");
            }
        }))
    });
    daemon::run(config, mode, serve_api, started).await
}
