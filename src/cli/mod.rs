//! The command line: parsing, commands, what a person reads.
//!
//! Data goes to stdout, talk to stderr; `--json` is for machines; every error ends in what to do.

mod commands;
mod context;
mod engine;
mod failure;
mod format;
mod hands;
mod live;
mod offline;
mod out;
mod panic;
mod progress;
mod session_table;
mod table;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueHint};
use std::path::PathBuf;

use crate::cli::commands as cmd;
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::config::LogFormat;
use crate::exit_code::ExitCode;
use crate::extract::pdf;

/// What a command comes to.
type Outcome = Result<ExitCode, Failure>;

const AFTER_HELP: &str = "\
Exit codes: 0 all done, 2 wrong usage, 3 done but some pages failed, 4 stopped and can be continued, \
5 nothing there to act on, 69 no usable browser, 70 a bug, 73 state cannot be written, 75 state directory \
in use, 78 bad config or task, format too new, or the operator is needed.";

/// Drives headless-browser crawls that survive any crash.
#[derive(Debug, Parser)]
#[command(name = "crawld", version, after_help = AFTER_HELP, max_term_width = 100, infer_long_args = false)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Flags of every command, accepted after it too.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
struct Global {
    /// The daemon's durable memory [default: app-memory]
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    state_dir: Option<PathBuf>,
    /// Configuration file [default: config/crawld.toml, when it is there]
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,
    /// Print JSON on stdout, for machines
    #[arg(long, global = true)]
    json: bool,
    /// Use the running browser at this http:// or ws:// URL instead of starting one; needs --cdp-unsafe
    #[arg(long, global = true, value_name = "URL", value_hint = ValueHint::Url)]
    cdp_url: Option<String>,
    /// Accept that an attached browser is held to no address rule
    #[arg(long, global = true)]
    cdp_unsafe: bool,
    /// No progress, no talk; errors only
    #[arg(long, short, global = true)]
    quiet: bool,
    /// error, warn, info, debug, trace, or a filter
    #[arg(long, global = true, value_name = "LEVEL")]
    log_level: Option<String>,
    /// text or json, on stderr
    #[arg(long, global = true, value_name = "FORMAT", value_parser = words(LogFormat::ALL.iter().map(|w| w.as_str())))]
    log_format: Option<String>,
}

/// The accepted words of a closed list, as clap wants them.
fn words(all: impl Iterator<Item = &'static str>) -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(all.collect::<Vec<_>>())
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Crawl a site in the foreground; the same command again continues it
    Crawl(Box<cmd::crawl::CrawlArgs>),
    /// Run the daemon: recover, run the tasks of config/tasks, take commands
    Run(cmd::run::RunArgs),
    /// Look at what a crash left, decide, repair, continue
    Recover(cmd::recover::RecoverArgs),
    /// Hand a task file to the running daemon
    Submit(cmd::submit::SubmitArgs),
    /// List all sessions
    Sessions,
    /// Show one session in full, or where all of them stand
    Status(cmd::status::StatusArgs),
    /// See what happens, as it happens
    Watch(cmd::watch::WatchArgs),
    /// Step through the recording of a session: every decision, and what was known when it was made
    Replay(cmd::replay::ReplayArgs),
    /// Write a checkpoint now
    Checkpoint(cmd::order::OneSession),
    /// Hold a session; it stays held across restarts
    Pause(cmd::order::OneSession),
    /// Let a paused session go on, or extend one that reached a limit
    Resume(cmd::order::ResumeArgs),
    /// End a session for good
    Cancel(cmd::order::OneSession),
    /// Queue a session's failed URLs again
    RetryFailed(cmd::order::RetryArgs),
    /// Queue the URLs that a trap budget has set aside
    ReleaseParked(cmd::order::OneSession),
    /// Remove the state of old sessions
    Cleanup(cmd::cleanup::CleanupArgs),
    /// Check every record, counter and output of sessions
    Verify(cmd::verify::VerifyArgs),
    /// Pack a session into a file, for another machine
    Export(cmd::archive::ExportArgs),
    /// Unpack a session and continue it here
    Import(cmd::archive::ImportArgs),
    /// Daily numbers
    Stats(cmd::stats::StatsArgs),
    /// Ask a robots.txt
    #[command(subcommand)]
    Robots(cmd::robots::RobotsCommand),
    /// Print a JSON Schema
    Schema(cmd::schema::SchemaArgs),
    /// The configuration in force, and what is wrong with it
    #[command(subcommand)]
    Config(cmd::config::ConfigCommand),
    /// Check browser, sandbox, disk, limits, clock and permissions
    Doctor,
    /// Print a completion script for a shell
    Completions(cmd::completions::CompletionsArgs),
    /// Print the manual page
    Man,
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Command::Run(_) => "run",
            Command::Crawl(_) => "crawl",
            Command::Recover(_) => "recover",
            _ => "",
        }
    }
}

/// Parses, calls, prints what went wrong.
pub fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|argument| argument == pdf::ARGUMENT) {
        return if pdf::serve() { ExitCode::Ok } else { ExitCode::Bug };
    }
    panic::install();
    // By this name it is the running program also after another was put in its place.
    pdf::made_by("/proc/self/exe".into());
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe is no error of the user's.
            let _ = error.print();
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::Ok,
                _ => ExitCode::Usage,
            };
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("crawld").build() {
        Ok(runtime) => runtime,
        Err(error) => {
            Failure::new(ExitCode::CannotWrite, format!("cannot start: {error}"))
                .hint("look at the limits on processes and descriptors (`ulimit -a`)")
                .print();
            return ExitCode::CannotWrite;
        }
    };
    let outcome = runtime.block_on(dispatch(cli));
    // Blocking work that is still under way (a name lookup, say) must not hold up the end.
    runtime.shutdown_background();
    outcome.unwrap_or_else(|failure| {
        failure.print();
        failure.code
    })
}

async fn dispatch(cli: Cli) -> Outcome {
    let Cli { global, command } = cli;
    // These need no configuration, so that a bad one does not stand in their way.
    match &command {
        Command::Robots(args) => return cmd::robots::run(&global, args).await,
        Command::Schema(args) => return cmd::schema::run(args),
        Command::Completions(args) => return cmd::completions::run(args, &mut Cli::command()),
        Command::Man => return cmd::man::run(Cli::command()),
        Command::Config(args) => return cmd::config::run(&global, args),
        Command::Doctor => return cmd::doctor::run(&global).await,
        _ => {}
    }
    let context = Context::load(&global, command.name())?;
    match command {
        Command::Crawl(args) => cmd::crawl::run(&context, *args).await,
        Command::Run(args) => cmd::run::run(context, args).await,
        Command::Recover(args) => cmd::recover::run(&context, args).await,
        Command::Submit(args) => cmd::submit::run(&context, args).await,
        Command::Sessions => cmd::sessions::run(&context).await,
        Command::Status(args) => cmd::status::run(&context, args).await,
        Command::Watch(args) => cmd::watch::run(&context, args).await,
        Command::Replay(args) => cmd::replay::run(&context, args).await,
        Command::Checkpoint(args) => cmd::order::checkpoint(&context, args).await,
        Command::Pause(args) => cmd::order::pause(&context, args).await,
        Command::Resume(args) => cmd::order::resume(&context, args).await,
        Command::Cancel(args) => cmd::order::cancel(&context, args).await,
        Command::RetryFailed(args) => cmd::order::retry_failed(&context, args).await,
        Command::ReleaseParked(args) => cmd::order::release_parked(&context, args).await,
        Command::Cleanup(args) => cmd::cleanup::run(&context, args).await,
        Command::Verify(args) => cmd::verify::run(&context, args).await,
        Command::Export(args) => cmd::archive::export(&context, args).await,
        Command::Import(args) => cmd::archive::import(&context, args).await,
        Command::Stats(args) => cmd::stats::run(&context, args).await,
        Command::Robots(_)
        | Command::Schema(_)
        | Command::Config(_)
        | Command::Doctor
        | Command::Completions(_)
        | Command::Man => unreachable!("handled before the configuration was read"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_are_taken_before_and_after_the_command() {
        for line in [
            "crawld --state-dir d --json status",
            "crawld status --state-dir d --json",
            "crawld robots test f http://a/ --json --state-dir d",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert!(cli.global.json && cli.global.state_dir.is_some(), "{line}");
        }
    }

    #[test]
    fn wrong_usage_is_told_from_help() {
        for (line, kind) in [
            ("crawld crawl", ErrorKind::MissingRequiredArgument),
            ("crawld crawl http://a --scope planet", ErrorKind::InvalidValue),
            ("crawld crawl http://a --delay soon", ErrorKind::ValueValidation),
            ("crawld crawl http://a --max-pages -1", ErrorKind::UnknownArgument),
            ("crawld pause ../../etc", ErrorKind::ValueValidation),
            ("crawld status --check --threshold 7", ErrorKind::ValueValidation),
            ("crawld schema nothing", ErrorKind::InvalidValue),
            ("crawld crawl --help", ErrorKind::DisplayHelp),
        ] {
            assert_eq!(Cli::try_parse_from(line.split(' ')).unwrap_err().kind(), kind, "{line}");
        }
    }

    fn help(command: &str) -> String {
        let mut cli = Cli::command();
        let sub = cli.find_subcommand_mut(command).expect("a command of ours");
        // Without the part that is the same everywhere, and wide enough not to wrap.
        let text = sub.clone().term_width(200).max_term_width(200).render_help().to_string();
        text.split("\nEverywhere:").next().unwrap_or_default().trim_end().to_owned()
    }

    #[test]
    fn help_of_recover() {
        insta::assert_snapshot!(help("recover"), @r"
        Look at what a crash left, decide, repair, continue

        Usage: recover [OPTIONS] [SESSIONS]...

        Arguments:
          [SESSIONS]...  These only [default: all]

        Options:
              --dry-run              Show what would be done; change nothing
              --strategy <STRATEGY>  What to do with them; auto follows the recovery table [default: auto] [possible values: auto, resume, restart, skip]
              --no-run               Decide and repair, but crawl nothing
          -h, --help                 Print help
        ");
    }

    #[test]
    fn help_of_status() {
        insta::assert_snapshot!(help("status"), @r"
        Show one session in full, or where all of them stand

        Usage: status [OPTIONS] [SESSION]

        Arguments:
          [SESSION]  The session [default: all]

        Options:
              --check               Exit non-zero when a session that should be crawling is below the threshold
              --threshold <HEALTH>  Health that `--check` asks for, 0 to 1 [default: 0.7]
          -h, --help                Print help
        ");
    }
}
