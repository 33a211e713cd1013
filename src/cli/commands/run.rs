//! `crawld run`: the daemon.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use tokio::sync::oneshot;

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::{Outcome, engine};
use crate::daemon::mode::RunMode;
use crate::exit_code::ExitCode;

#[derive(Debug, Args)]
pub(in crate::cli) struct RunArgs {
    /// Where the task files are [default: config/tasks]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    tasks_dir: Option<PathBuf>,
}

pub(in crate::cli) async fn run(mut context: Context, args: RunArgs) -> Outcome {
    if let Some(dir) = args.tasks_dir {
        let dir = std::path::absolute(dir)?;
        if !dir.is_dir() {
            let message = format!("no directory `{}`", dir.display());
            return Err(
                Failure::new(ExitCode::BadConfig, message).hint("--tasks-dir names the directory of the task files")
            );
        }
        context.config.tasks_dir = dir;
    }
    let (started, ready) = oneshot::channel();
    let end = engine::run(context.config, RunMode::Daemon, started).await;
    drop(ready);
    match end.error {
        Some(error) => Err(Failure::run(end.exit, error)),
        None => Ok(end.exit),
    }
}
