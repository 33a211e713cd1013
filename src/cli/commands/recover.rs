//! `crawld recover`: looks, decides, says why, repairs, continues.

use clap::Args;
use serde::Serialize;
use tokio::sync::oneshot;

use crate::cli::commands::crawl::with_display;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::format::{age, count, percent};
use crate::cli::hands::{self, Hands};
use crate::cli::session_table::{self, CrawlEnd};
use crate::cli::table::Table;
use crate::cli::{Outcome, engine, out, words};
use crate::daemon;
use crate::daemon::answers::{RecoveryItem, RecoveryReport, RecoveryResult, SessionSummary};
use crate::daemon::command::{OperatorError, RecoverRequest, Strategy};
use crate::daemon::mode::RunMode;
use crate::daemon::session_key::SessionKey;
use crate::exit_code::ExitCode;
use crate::model::ids::SessionId;
use crate::model::session::{Cause, Decision};
use crate::model::text::escape_control;
use crate::model::time::Timestamp;

#[derive(Debug, Args)]
pub(in crate::cli) struct RecoverArgs {
    /// These only [default: all]
    sessions: Vec<SessionKey>,
    /// Show what would be done; change nothing
    #[arg(long)]
    dry_run: bool,
    /// What to do with them; auto follows the recovery table
    #[arg(long, default_value = "auto", value_parser = words(Strategy::ALL.iter().map(|w| w.as_str())))]
    strategy: String,
    /// Decide and repair, but crawl nothing
    #[arg(long)]
    no_run: bool,
}

/// A line of `--json`: the item, and where its session stood at the end of this run.
#[derive(Debug, Serialize)]
struct ItemEnd<'a> {
    #[serde(flatten)]
    item: &'a RecoveryItem,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<CrawlEnd<'a>>,
}

pub(in crate::cli) async fn run(context: &Context, args: RecoverArgs) -> Outcome {
    let state = context.existing()?;
    let gone = |id: &&SessionId| {
        let paths = state.session(id);
        let interrupted = state.intents().join(format!("{id}.json"));
        ![paths.dir(), paths.checkpoint(), interrupted].iter().any(|path| path.exists())
    };
    let named: Vec<SessionId> =
        args.sessions.iter().cloned().map(|named| named.of(&state)).collect::<Result<_, _>>()?;
    if let Some(id) = named.iter().find(gone) {
        return Err(OperatorError::UnknownSession(id.to_string()).into());
    }
    let strategy = Strategy::parse(&args.strategy).unwrap_or(Strategy::Auto);
    let owner = hands::owner(context).await?;
    if let Some(client) = owner {
        context.say(match args.no_run {
            true => "crawld: a crawld is running here; asking it to repair what it does not run",
            false => "crawld: a crawld is running here; asking it",
        });
        return ask(context, &Hands::Remote(client), request(&args, named, strategy)).await;
    }
    if args.dry_run {
        let report =
            daemon::dry_run(context.config.clone(), &state, context.now(), &request(&args, named, strategy))
                .map_err(|error| Failure::new(ExitCode::CannotWrite, format!("no temporary directory: {error}")))?;
        return conclude(context, &report, &[], !args.sessions.is_empty());
    }
    here(context, named, args.no_run, strategy).await
}

fn request(args: &RecoverArgs, sessions: Vec<SessionId>, strategy: Strategy) -> RecoverRequest {
    RecoverRequest { sessions, strategy, dry_run: args.dry_run, no_run: args.no_run, ..RecoverRequest::default() }
}

async fn ask(context: &Context, hands: &Hands, request: RecoverRequest) -> Outcome {
    let named = !request.sessions.is_empty();
    let report = hands.recover(request).await?;
    let verdict = conclude(context, &report, &report.repaired, named)?;
    print_ends(context, &report.repaired)?;
    Ok(verdict)
}

/// Without an owner: be the owner, for as long as there is something to continue.
async fn here(context: &Context, sessions: Vec<SessionId>, no_run: bool, strategy: Strategy) -> Outcome {
    let (started, ready) = oneshot::channel();
    let named = !sessions.is_empty();
    let mode = RunMode::Recover { sessions, strategy, no_run };
    let mut report = None;
    let run = engine::run(context.config.clone(), mode, started);
    let end = with_display(context, run, ready, |context, started| {
        if !context.json && !context.quiet && acted(&started.recovery) {
            // The table first: what follows is its consequence.
            let _ = out::line(&table(&started.recovery, context.now()));
        }
        report = Some(started.recovery.clone());
    })
    .await;
    let report = report.unwrap_or_default();
    if let Some(error) = end.error {
        if context.json {
            print_json(&report, &end.sessions)?;
        }
        return Err(Failure::run(end.exit, error));
    }
    if !acted(&report) {
        return conclude(context, &report, &end.sessions, named);
    }
    say_over(context, &report, named);
    if context.json {
        print_json(&report, &end.sessions)?;
    }
    print_ends(context, &end.sessions)?;
    Ok(verdict(&report, end.exit))
}

/// How each session was left, for a person.
fn print_ends(context: &Context, ends: &[SessionSummary]) -> Result<(), Failure> {
    if context.json || context.quiet {
        return Ok(());
    }
    for summary in ends {
        out::line(&format!("\n{}", session_table::end(summary, false)))?;
    }
    Ok(())
}

/// Whether any line is about more than a session that ended long ago.
fn acted(report: &RecoveryReport) -> bool {
    report.sessions.iter().any(|item| !over(item))
}

/// A session that ended long ago: nothing to recover, and no news.
fn over(item: &RecoveryItem) -> bool {
    item.decision == Decision::Skip && matches!(item.info.cause, Cause::AlreadyEnded | Cause::Migrated)
}

/// Prints the report and finds the exit code.
fn conclude(context: &Context, report: &RecoveryReport, ends: &[SessionSummary], named: bool) -> Outcome {
    if context.json {
        print_json(report, ends)?;
    } else if acted(report) && !context.quiet {
        out::line(&table(report, context.now()))?;
    }
    if !acted(report) {
        return Err(nothing(context, report, named));
    }
    say_over(context, report, named);
    Ok(verdict(report, ExitCode::Ok))
}

/// Exit 5. A session that was named is told about.
fn nothing(context: &Context, report: &RecoveryReport, named: bool) -> Failure {
    match report.sessions.as_slice() {
        [] => context.nothing("nothing to recover"),
        [_, ..] if !named => context.nothing("nothing to recover"),
        [first, others @ ..] => {
            for item in others {
                context.say(&format!("crawld: {}", over_since(item)));
            }
            let failure = Failure::new(ExitCode::Nothing, format!("nothing to recover: {}", over_since(first)));
            let id = &first.info.session_id;
            match (first.info.cause, &first.message) {
                (Cause::Migrated, _) => {
                    failure.hint("continue it where it is now, or bring it home with `crawld import`")
                }
                (_, Some(_)) => failure,
                (_, None) => failure
                    .hint(format!("`crawld verify {id}` looks closer; `crawld retry-failed {id}` gives it work again")),
            }
        }
    }
}

/// Tells of named sessions that ended long ago, beside others that are recovered.
fn say_over(context: &Context, report: &RecoveryReport, named: bool) {
    for item in report.sessions.iter().filter(|item| named && over(item)) {
        context.say(&format!("crawld: {}", over_since(item)));
    }
}

/// Why there is nothing to do about a session, in words.
fn over_since(item: &RecoveryItem) -> String {
    let info = &item.info;
    let text = match (&item.message, info.cause) {
        (_, Cause::Migrated) => format!("session {} was exported: it lives elsewhere", info.session_id),
        (Some(why), _) => format!("session {} has already ended ({}): {why}", info.session_id, info.status),
        (None, _) => format!("session {} has already ended ({}), and is whole", info.session_id, info.status),
    };
    escape_control(&text).into_owned()
}

/// Exit codes of a recovery, the first one that anything asks for: what could not be done before what wants a
/// person, and both before how the sessions that were continued ended.
const PRECEDENCE: [ExitCode; 7] = [
    ExitCode::Bug,
    ExitCode::CannotWrite,
    ExitCode::NoBrowser,
    ExitCode::InUse,
    ExitCode::BadConfig,
    ExitCode::Stopped,
    ExitCode::SomeFailed,
];

/// What the shell hears: of the decisions, and of `end`, how the continued sessions ended. Sessions that want a
/// person count where nothing else could be recovered; beside others the table tells of them.
fn verdict(report: &RecoveryReport, end: ExitCode) -> ExitCode {
    let moved = report.sessions.iter().any(|item| item.decision != Decision::Skip);
    let counts =
        |item: &&RecoveryItem| !moved || item.result == RecoveryResult::Failed || item.info.cause == Cause::Environment;
    let asked: Vec<ExitCode> = report.sessions.iter().filter(counts).map(RecoveryItem::asks_for).chain([end]).collect();
    PRECEDENCE.into_iter().find(|code| asked.contains(code)).unwrap_or(end)
}

fn print_json(report: &RecoveryReport, ends: &[SessionSummary]) -> Result<(), Failure> {
    let items: Vec<ItemEnd<'_>> = report
        .sessions
        .iter()
        .map(|item| {
            let id = item.new_session_id.as_ref().unwrap_or(&item.info.session_id);
            let end = ends.iter().find(|summary| summary.session_id == *id).map(CrawlEnd::from);
            ItemEnd { item, end }
        })
        .collect();
    out::json(&serde_json::json!({ "sessions": items }))
}

/// The table of a recovery, without what is over.
fn table(report: &RecoveryReport, now: Timestamp) -> String {
    let mut table =
        Table::new(&["SESSION", "TASK", "STATUS", "CRASH REASON", "AGE", "PROGRESS", "URLS LEFT", "DECISION", "CAUSE"]);
    for item in report.sessions.iter().filter(|item| !over(item)) {
        let info = &item.info;
        let cause = match &item.message {
            Some(message) => format!("{}: {message}", info.cause),
            None => info.cause.to_string(),
        };
        let known = |text: String| if info.cause == Cause::FormatTooNew { "?".to_owned() } else { text };
        table.row(vec![
            info.session_id.to_string(),
            info.task_id.as_ref().map_or_else(|| "?".to_owned(), ToString::to_string),
            info.status.to_string(),
            info.crash_reason.to_string(),
            age(info.last_heartbeat.max(info.last_checkpoint), now),
            known(percent(info.estimated_progress)),
            known(count(info.urls_remaining)),
            decision(item),
            cause,
        ]);
    }
    table.text()
}

fn decision(item: &RecoveryItem) -> String {
    match (item.result, &item.new_session_id) {
        (RecoveryResult::Failed, _) => format!("{} (failed)", item.decision),
        (_, Some(new)) => format!("{} as {new}", item.decision),
        _ => item.decision.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::session::{CrashReason, SessionRecoveryInfo, SessionStatus};

    fn item(id: &str, decision: Decision, cause: Cause, message: Option<&str>) -> RecoveryItem {
        RecoveryItem {
            info: SessionRecoveryInfo {
                session_id: id.parse().unwrap(),
                task_id: "docs".parse().ok(),
                last_checkpoint: Some(Timestamp::from_millis(0)),
                last_heartbeat: Some(Timestamp::from_millis(60_000)),
                status: SessionStatus::Crashed,
                recovery_possible: true,
                estimated_progress: 0.478,
                urls_remaining: 1234,
                crash_reason: CrashReason::Killed,
                recovery_strategy: decision,
                cause,
            },
            decision,
            result: RecoveryResult::Planned,
            new_session_id: None,
            message: message.map(str::to_owned),
            exit: None,
        }
    }

    #[test]
    fn the_exit_code_tells_of_what_could_not_be_done() {
        #[track_caller]
        fn check(name: &str, items: &[(Decision, Cause, Option<ExitCode>)], end: ExitCode, expected: u8) {
            let items = items.iter().map(|(decision, cause, failed)| {
                let result = if failed.is_some() { RecoveryResult::Failed } else { RecoveryResult::Planned };
                RecoveryItem { result, exit: *failed, ..item("a", *decision, *cause, None) }
            });
            let report = RecoveryReport { sessions: items.collect(), repaired: Vec::new() };
            assert_eq!(verdict(&report, end).code(), expected, "{name}");
        }
        let good = (Decision::Resume, Cause::Crash, None);
        let person = (Decision::Skip, Cause::NeedsOperator, None);
        let disk = (Decision::Skip, Cause::Environment, None);
        let failed = |code| (Decision::Resume, Cause::Crash, Some(code));
        check("all well", &[good], ExitCode::Ok, 0);
        check("pages failed", &[good], ExitCode::SomeFailed, 3);
        check("stopped", &[good], ExitCode::Stopped, 4);
        check("a person is wanted", &[person], ExitCode::Ok, 78);
        check("a newer format", &[(Decision::Skip, Cause::FormatTooNew, None)], ExitCode::Ok, 78);
        check("a crash loop", &[(Decision::Skip, Cause::CrashLoop, None)], ExitCode::Ok, 78);
        check("its process hangs", &[(Decision::Skip, Cause::OwnerHung, None)], ExitCode::Ok, 75);
        check("another runs it", &[(Decision::Skip, Cause::OwnerAlive, None)], ExitCode::Ok, 0);
        check("a person is wanted beside a recovered one", &[person, good], ExitCode::SomeFailed, 3);
        check("it cannot be read", &[disk], ExitCode::Ok, 73);
        check("one cannot be read, others are done", &[disk, good], ExitCode::Ok, 73);
        check("no browser", &[failed(ExitCode::NoBrowser)], ExitCode::Ok, 69);
        check("no browser for one, another stopped", &[failed(ExitCode::NoBrowser), good], ExitCode::Stopped, 69);
        check("taken meanwhile", &[failed(ExitCode::InUse), good], ExitCode::SomeFailed, 75);
        check("a bug before all", &[failed(ExitCode::Bug), disk, person], ExitCode::Stopped, 70);
        check("broken while it ran", &[good], ExitCode::CannotWrite, 73);
        check("left alone", &[(Decision::Skip, Cause::TooOld, None)], ExitCode::Ok, 0);
    }

    #[test]
    fn the_table_says_what_is_done_with_each_session_and_why() {
        let mut report = RecoveryReport {
            sessions: vec![
                item("session_1_aaaaaaaa", Decision::Resume, Cause::Crash, None),
                item("b", Decision::Skip, Cause::CrashLoop, Some("see\u{1b}[2J log")),
            ],
            repaired: Vec::new(),
        };
        assert!(acted(&report));
        insta::assert_snapshot!(table(&report, Timestamp::from_millis(120_000)), @r"
        SESSION             TASK  STATUS   CRASH REASON  AGE      PROGRESS  URLS LEFT  DECISION  CAUSE
        session_1_aaaaaaaa  docs  crashed  killed        1 m 0 s  47 %      1 234      resume    crash
        b                   docs  crashed  killed        1 m 0 s  47 %      1 234      skip      crash_loop: see\u{1b}[2J log
        ");
        report.sessions.truncate(1);
        report.sessions[0] = item("b", Decision::Skip, Cause::AlreadyEnded, None);
        assert!(!acted(&report));
    }
}
