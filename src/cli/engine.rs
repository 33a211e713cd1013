//! The one call into the daemon.

use tokio::sync::oneshot;

use crate::config::Config;
use crate::daemon::mode::{RunEnd, RunMode, Started};

/// Owns the state directory until `mode` is done.
pub(super) async fn run(config: Config, mode: RunMode, started: oneshot::Sender<Started>) -> RunEnd {
    let _ = (config, mode, started);
    RunEnd::failed(crate::exit_code::ExitCode::Bug, "this build cannot crawl yet", "")
}
