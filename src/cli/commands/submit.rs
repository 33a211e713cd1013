//! `crawld submit TASKFILE`: hands a task to the running daemon.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use serde_json::json;

use crate::api::SubmitBody;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::{Outcome, hands, out};
use crate::config::task::{Draft, prepare};
use crate::exit_code::ExitCode;
use crate::model::task::TaskOrigin;

#[derive(Debug, Args)]
pub(in crate::cli) struct SubmitArgs {
    /// The task file (TOML)
    #[arg(value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// Start another session although one of the same task is unfinished
    #[arg(long)]
    new: bool,
}

pub(in crate::cli) async fn run(context: &Context, args: SubmitArgs) -> Outcome {
    let wrong = |problems: Vec<_>| Failure::problems(ExitCode::BadConfig, &problems);
    let mut draft = Draft::from_file(&args.file).map_err(wrong)?;
    let task = prepare(&draft, &context.config, TaskOrigin::Command).map_err(wrong)?;
    let Some(client) = hands::owner(context).await? else {
        let message = format!("no crawld is running on `{}`", context.state_dir().display());
        let hint = format!("start one with `crawld run`, or crawl it here: `crawld crawl {}`", args.file.display());
        return Err(Failure::new(ExitCode::Nothing, message).hint(hint));
    };
    draft.set("id", json!(task.task_id));
    // A file of the tasks directory stays tied to it: editing it means something to recovery.
    let path = std::path::absolute(&args.file)?;
    let tied = path.parent() == Some(context.config.tasks_dir.as_path());
    let (origin, file) =
        if tied { (TaskOrigin::File, Some(path.display().to_string())) } else { (TaskOrigin::Command, None) };
    let submitted = client.submit(&SubmitBody { task: draft.to_json(), origin, file, new: args.new }).await?;
    if context.json {
        out::json(&submitted)?;
    } else if !context.quiet {
        let id = &submitted.session_id;
        let held = submitted.joined && client.status(id).await.is_ok_and(|detail| detail.summary.held_by_operator());
        let verb = super::crawl::verb(id, submitted.joined, held);
        out::line(&format!("task {}: session {} {verb}", submitted.task_id, submitted.session_id))?;
    }
    Ok(ExitCode::Ok)
}
