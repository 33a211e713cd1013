//! `crawld cleanup`: removes the state of old sessions.

use clap::Args;

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::format::bytes;
use crate::cli::table::Table;
use crate::cli::{Outcome, hands, out};
use crate::daemon::command::CleanupRequest;
use crate::daemon::janitor;
use crate::exit_code::ExitCode;
use crate::model::duration::Span;
use crate::model::text::escape_control;

#[derive(Debug, Args)]
pub(in crate::cli) struct CleanupArgs {
    /// Sessions that ended longer ago than this [default: auto_session_cleanup_age]
    #[arg(long, value_name = "AGE")]
    older_than: Option<Span>,
    /// Show what would be removed; change nothing
    #[arg(long)]
    dry_run: bool,
    /// The outputs as well: what was crawled is lost
    #[arg(long)]
    purge_outputs: bool,
}

pub(in crate::cli) async fn run(context: &Context, args: CleanupArgs) -> Outcome {
    let request =
        CleanupRequest { older_than: args.older_than, dry_run: args.dry_run, purge_outputs: args.purge_outputs };
    let state = context.existing()?;
    let report = match hands::owner(context).await? {
        None if args.dry_run => {
            let options = janitor::options(&context.config, &request);
            janitor::clean(&state, context.now(), &options, true)
                .map_err(|error| Failure::new(ExitCode::CannotWrite, error.to_string()))?
        }
        _ => hands::with_existing(context, "cleanup", async |hands, _| Ok(hands.cleanup(request).await?)).await?,
    };
    if context.json {
        out::json(&report)?;
        return Ok(ExitCode::Ok);
    }
    let mut table = Table::new(&["SESSION", "WHAT", "SIZE", "WHY"]);
    for item in &report.removed {
        table.row(vec![item.session_id.to_string(), item.what.clone(), bytes(item.bytes), item.reason.clone()]);
    }
    if !table.is_empty() {
        out::line(&table.text())?;
    }
    for note in &report.notes {
        context.say(&escape_control(note));
    }
    let verb = if report.dry_run { "would be freed" } else { "freed" };
    context.say(&format!("{} {verb}", bytes(report.freed_bytes)));
    Ok(ExitCode::Ok)
}
