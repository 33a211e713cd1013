//! `crawld completions SHELL`.

use clap::Args;
use clap_complete::Shell;

use crate::cli::{Outcome, out};
use crate::exit_code::ExitCode;

#[derive(Debug, Args)]
pub(in crate::cli) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(in crate::cli) fn run(args: &CompletionsArgs, command: &mut clap::Command) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "crawld", &mut script);
    out::line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(ExitCode::Ok)
}
