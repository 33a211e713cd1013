//! `crawld verify`: every record, counter and output, against the store.

use clap::Args;

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::format::count;
use crate::cli::{Outcome, offline, out};
use crate::daemon::command::OperatorError;
use crate::daemon::session_key::SessionKey;
use crate::daemon::verified::{Verified, verified};
use crate::exit_code::ExitCode;
use crate::model::ids::SessionId;
use crate::model::text::escape_control;

#[derive(Debug, Args)]
pub(in crate::cli) struct VerifyArgs {
    /// These only [default: all]
    sessions: Vec<SessionKey>,
}

pub(in crate::cli) async fn run(context: &Context, args: VerifyArgs) -> Outcome {
    let state = context.existing()?;
    let named: Vec<SessionId> = args.sessions.into_iter().map(|named| named.of(&state)).collect::<Result<_, _>>()?;
    let all = offline::listing(&state)?.sessions;
    if let Some(missing) = named.iter().find(|id| all.iter().all(|known| known.id != **id)) {
        return Err(OperatorError::UnknownSession(missing.to_string()).into());
    }
    let known = all.into_iter().filter(|session| session.dir).map(|session| session.id);
    let chosen = if named.is_empty() { known.collect() } else { named };
    if chosen.is_empty() {
        return Err(context.nothing("no sessions"));
    }
    // Whole files are read: off the async threads.
    let results = tokio::task::spawn_blocking(move || {
        chosen.into_iter().map(|id| verified(&state.session(&id))).collect::<Vec<_>>()
    })
    .await
    .map_err(|error| Failure::new(ExitCode::Bug, error.to_string()))?;
    report(context, &results)
}

/// `s1: good: 300 URL records and 300 page records up to commit 41`
fn sentence(verified: &Verified) -> String {
    let id = &verified.session_id;
    match (&verified.note, verified.commit_seq) {
        (Some(note), _) => format!("{id}: {note}"),
        (None, Some(seq)) => format!(
            "{id}: good: {} URL records and {} page records up to commit {seq}",
            count(verified.url_records),
            count(verified.page_records)
        ),
        (None, None) => format!("{id}: good"),
    }
}

fn report(context: &Context, results: &[Verified]) -> Outcome {
    if context.json {
        out::json(&serde_json::json!({ "sessions": results }))?;
    } else {
        for result in results {
            if result.ok && !context.quiet {
                out::line(&sentence(result))?;
            }
            for problem in &result.problems {
                out::line(&format!("{}: {}", result.session_id, escape_control(problem)))?;
            }
            let told = result.problems.len() as u64;
            if result.problem_count > told {
                let more = count(result.problem_count - told);
                out::line(&format!("{}: and {more} problems more", result.session_id))?;
            }
        }
    }
    let bad = results.iter().filter(|result| !result.ok).count();
    if bad == 0 {
        return Ok(ExitCode::Ok);
    }
    Err(Failure::new(ExitCode::BadConfig, format!("{bad} of {} sessions do not verify", results.len())).hint(
        match results.iter().all(|result| result.ok || result.too_new) {
            true => "use the crawld that wrote them",
            false => "`crawld recover SESSION` repairs what can be repaired",
        },
    ))
}
