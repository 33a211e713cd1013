//! `crawld stats`: what each day came to.

use std::time::Duration;

use clap::Args;

use crate::cli::context::Context;
use crate::cli::format::{bytes, count, duration};
use crate::cli::table::Table;
use crate::cli::{Outcome, hands, out};
use crate::exit_code::ExitCode;

#[derive(Debug, Args)]
pub(in crate::cli) struct StatsArgs {
    /// Days to show, newest first
    #[arg(long, value_name = "N", default_value_t = 30)]
    days: usize,
}

pub(in crate::cli) async fn run(context: &Context, args: StatsArgs) -> Outcome {
    let mut report = hands::with_existing(context, "stats", async |hands, _| Ok(hands.stats().await?)).await?;
    report.days.truncate(args.days);
    if context.json {
        out::json(&report)?;
        return Ok(ExitCode::Ok);
    }
    let mut table =
        Table::new(&["DAY", "STARTED", "ENDED", "CRASHES", "FETCHED", "FAILED", "SKIPPED", "RECEIVED", "ACTIVE"]);
    for day in &report.days {
        table.row(vec![
            day.day.clone(),
            count(day.numbers.sessions_started),
            count(day.numbers.sessions_ended),
            count(day.numbers.crashes),
            count(day.numbers.fetched),
            count(day.numbers.failed),
            count(day.numbers.skipped),
            bytes(day.numbers.bytes),
            duration(Duration::from_secs_f64(day.numbers.active_seconds.max(0.0))),
        ]);
    }
    if table.is_empty() {
        return Err(context.nothing("no statistics yet"));
    }
    out::line(&table.text())?;
    Ok(ExitCode::Ok)
}
