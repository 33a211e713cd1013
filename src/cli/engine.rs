//! The one call into the daemon, with the API put on top of it.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::api::{self, Doors};
use crate::config::Config;
use crate::daemon::mode::{RunEnd, RunMode, Started};
use crate::daemon::{self, ApiGround, ServeApi};

/// Owns the state directory until `mode` is done.
pub(super) async fn run(config: Config, mode: RunMode, started: oneshot::Sender<Started>) -> RunEnd {
    let config = Arc::new(config);
    let shared = Arc::clone(&config);
    let serve_api: ServeApi = Box::new(move |ground: ApiGround| {
        let doors = Doors::open(&shared, &ground)?;
        Ok(tokio::spawn(api::serve(doors, shared, ground)))
    });
    daemon::run(config, mode, serve_api, started).await
}
