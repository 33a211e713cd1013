//! `crawld sessions`: all of them, newest first.

use crate::cli::context::Context;
use crate::cli::offline;
use crate::cli::{Outcome, out, session_table};
use crate::exit_code::ExitCode;

pub(in crate::cli) async fn run(context: &Context) -> Outcome {
    let state = context.existing()?;
    let all = offline::sessions_or_files(context, &state).await?;
    if context.json {
        out::json(&serde_json::json!({ "sessions": all }))?;
        return Ok(ExitCode::Ok);
    }
    if all.is_empty() {
        return Err(context.nothing("no sessions"));
    }
    out::line(&session_table::sessions(&all, context.now()))?;
    Ok(ExitCode::Ok)
}
