//! The one call into the daemon.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::api;
use crate::config::Config;
use crate::daemon::ServeApi;
use crate::daemon::mode::{RunEnd, RunMode, Started};

/// Owns the state directory until `mode` is done.
pub(super) async fn run(config: Config, mode: RunMode, started: oneshot::Sender<Started>) -> RunEnd {
    let config = Arc::new(config);
    let for_api = config.clone();
    let serve: ServeApi = Box::new(move |state_dir, operator, stop| {
        let listener = api::bind(state_dir)?;
        Ok(tokio::spawn(async move {
            if let Err(error) = api::serve(listener, operator, for_api, stop).await {
                tracing::warn!(%error, "the API ended");
            }
        }))
    });
    crate::daemon::run(config, mode, serve, started).await
}
