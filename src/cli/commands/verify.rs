//! `crawld verify`: every record, counter and output, against the store.

use clap::Args;
use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::format::count;
use crate::cli::{Outcome, offline, out};
use crate::crawl::committer::StorePaths;
use crate::crawl::verify::{VerifyError, verify};
use crate::daemon::command::OperatorError;
use crate::daemon::session_key::SessionKey;
use crate::exit_code::ExitCode;
use crate::model::counters::Counters;
use crate::model::ids::{CommitSeq, SessionId};
use crate::model::text::escape_control;
use crate::state::end_note;
use crate::state::paths::StateDir;
use crate::store::StoreError;

#[derive(Debug, Args)]
pub(in crate::cli) struct VerifyArgs {
    /// These only [default: all]
    sessions: Vec<SessionKey>,
}

/// What was found out about one session.
#[derive(Debug, Serialize)]
struct Verified {
    session_id: SessionId,
    ok: bool,
    commit_seq: Option<CommitSeq>,
    url_records: u64,
    page_records: u64,
    counters: Option<Counters>,
    /// All of them; `problems` tells the first hundred.
    problem_count: u64,
    problems: Vec<String>,
    /// Why there was nothing to verify.
    note: Option<String>,
    /// A newer crawld wrote its store.
    #[serde(skip)]
    too_new: bool,
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
    let results = tokio::task::spawn_blocking(move || chosen.into_iter().map(|id| one(&state, id)).collect::<Vec<_>>())
        .await
        .map_err(|error| Failure::new(ExitCode::Bug, error.to_string()))?;
    report(context, &results)
}

fn one(state: &StateDir, session_id: SessionId) -> Verified {
    let paths = state.session(&session_id);
    let mut verified = Verified {
        session_id,
        ok: true,
        commit_seq: None,
        url_records: 0,
        page_records: 0,
        counters: None,
        problem_count: 0,
        problems: Vec::new(),
        note: None,
        too_new: false,
    };
    if !paths.store().exists() && end_note::read(&paths).good().is_some() {
        verified.note = Some("cleaned up: its store is gone, nothing to verify against".to_owned());
        return verified;
    }
    if !paths.dir().is_dir() {
        verified.ok = false;
        verified.problem_count = 1;
        verified.problems = vec![format!("`{}` is no directory: nothing is left to verify", paths.dir().display())];
        return verified;
    }
    let places = StorePaths { db: paths.store(), out: paths.out(), quarantine: paths.damaged() };
    match verify(&places) {
        Ok(report) => {
            verified.ok = report.sound();
            verified.commit_seq = Some(report.seq);
            verified.url_records = report.url_records;
            verified.page_records = report.page_records;
            verified.counters = Some(report.counters);
            verified.problem_count = report.problem_count;
            verified.problems = report.problems;
        }
        Err(error) => {
            verified.ok = false;
            verified.problem_count = 1;
            verified.problems = vec![error.to_string()];
            verified.too_new = matches!(error, VerifyError::Store(StoreError::TooNew { .. }));
        }
    }
    verified
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
