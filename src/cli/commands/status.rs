//! `crawld status [SESSION]`: where things stand; with `--check`, an exit code for a monitor.

use clap::Args;

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::{Outcome, offline, out, session_table};
use crate::daemon::answers::{OwnerHealth, SessionDetail, SessionSummary};
use crate::daemon::session_key::SessionKey;
use crate::exit_code::ExitCode;
use crate::model::session::SessionStatus;

#[derive(Debug, Args)]
pub(in crate::cli) struct StatusArgs {
    /// The session [default: all]
    session: Option<SessionKey>,
    /// Exit non-zero when a session that should be crawling is below the threshold
    #[arg(long)]
    check: bool,
    /// Health that `--check` asks for, 0 to 1
    #[arg(long, value_name = "HEALTH", default_value_t = 0.7, value_parser = share)]
    threshold: f64,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("write a number from 0 to 1".to_owned()),
    }
}

pub(in crate::cli) async fn run(context: &Context, args: StatusArgs) -> Outcome {
    let state = context.existing()?;
    let named = args.session.map(|named| named.of(&state)).transpose()?;
    let (details, summaries) = match &named {
        Some(session) => (vec![offline::session_or_files(context, &state, session).await?], Vec::new()),
        None => (Vec::new(), offline::sessions_or_files(context, &state).await?),
    };
    let looked_at: Vec<&SessionSummary> = details.iter().map(|d| &d.summary).chain(&summaries).collect();
    if looked_at.is_empty() && !context.json {
        return Err(context.nothing("no sessions"));
    }
    let owner = if named.is_none() { offline::owner(&state).await } else { None };
    print(context, &details, &summaries, owner.as_ref())?;
    // Of one session that was asked for, or for a monitor: nothing can be said of how it stands.
    let asked_for = named.is_some() || args.check;
    if let Some((id, why)) = looked_at.iter().find_map(|s| Some((&s.session_id, s.too_new()?))).filter(|_| asked_for) {
        return Err(Failure::new(ExitCode::BadConfig, format!("session {id}: {why}")).hint(concat!(
            "this is crawld ",
            env!("CARGO_PKG_VERSION"),
            ": run the newer one on the same state directory"
        )));
    }
    if args.check { check(&looked_at, args.threshold) } else { Ok(ExitCode::Ok) }
}

fn print(
    context: &Context,
    details: &[SessionDetail],
    summaries: &[SessionSummary],
    owner: Option<&OwnerHealth>,
) -> Result<(), Failure> {
    match (context.json, details.first()) {
        (true, Some(detail)) => out::json(detail),
        (true, None) => out::json(&serde_json::json!({ "sessions": summaries, "owner": owner })),
        (false, _) if context.quiet => Ok(()),
        (false, Some(detail)) => out::line(&session_table::detail(detail, context.now())),
        (false, None) => {
            out::line(&session_table::sessions(summaries, context.now()))?;
            let alerts = owner.map(|owner| owner.alerts.as_slice()).unwrap_or_default();
            for alert in alerts {
                out::line(&format!("alert: {alert}"))?;
            }
            Ok(())
        }
    }
}

/// Sessions that should be crawling, judged; ended, queued and paused ones are in nobody's way.
fn check(sessions: &[&SessionSummary], threshold: f64) -> Outcome {
    for summary in sessions {
        let judged = matches!(summary.status, SessionStatus::Active | SessionStatus::Crashed | SessionStatus::Failed);
        if judged && summary.health_score < threshold {
            let worst = summary.health_factors.iter().min_by(|a, b| a.value.total_cmp(&b.value));
            let why = match (summary.status, worst) {
                (SessionStatus::Active, Some(factor)) => {
                    format!(": {} {:.2}, {}", factor.name, factor.value, factor.reason)
                }
                _ => match &summary.status_reason {
                    Some(reason) => format!(": {} ({reason})", summary.status),
                    None => format!(": {}", summary.status),
                },
            };
            let id = &summary.session_id;
            let message = format!("session {id} has health {:.2}, below {threshold:.2}{why}", summary.health_score);
            return Err(
                Failure::new(ExitCode::Stopped, message).hint(format!("`crawld status {id}` shows every factor"))
            );
        }
    }
    Ok(ExitCode::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::session_table::tests::summary;

    #[test]
    fn check_judges_only_what_should_be_crawling() {
        for (status, health, exit) in [
            (SessionStatus::Active, 0.9, 0),
            (SessionStatus::Active, 0.5, 4),
            (SessionStatus::Crashed, 0.0, 4),
            (SessionStatus::Completed, 0.0, 0),
            (SessionStatus::Paused, 0.1, 0),
        ] {
            let one = SessionSummary { status, health_score: health, ..summary() };
            let code = check(&[&one], 0.7).unwrap_or_else(|failure| failure.code);
            assert_eq!(code.code(), exit, "{status} {health}");
        }
    }
}
