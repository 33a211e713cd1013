//! `crawld config show` and `crawld config check`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::table::Table;
use crate::cli::{Global, Outcome, out};
use crate::config::{Config, KEYS, Problem, task};
use crate::exit_code::ExitCode;
use crate::model::task::PreparedTask;
use crate::state::group;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ConfigCommand {
    /// Print every key with its value and where it came from
    Show,
    /// Report everything that is wrong with the configuration and the task files
    Check(CheckArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct CheckArgs {
    /// Task files (TOML) to check [default: all in the tasks directory]
    #[arg(value_hint = ValueHint::FilePath)]
    files: Vec<PathBuf>,
}

pub(in crate::cli) fn run(global: &Global, command: &ConfigCommand) -> Outcome {
    match command {
        ConfigCommand::Show => show(global),
        ConfigCommand::Check(args) => check(global, &args.files),
    }
}

fn show(global: &Global) -> Outcome {
    let loaded = global.load()?;
    for warning in &loaded.warnings {
        out::say(&format!("crawld: warning: {warning}"));
    }
    if global.json {
        let value = serde_json::to_value(&loaded.config).unwrap_or_default();
        let keys: serde_json::Map<String, serde_json::Value> = KEYS
            .iter()
            .map(|key| {
                let origin = loaded.origins[key.name].to_string();
                (key.name.to_owned(), json!({"value": value[key.name], "origin": origin}))
            })
            .collect();
        out::json(&keys)?;
        return Ok(ExitCode::Ok);
    }
    let mut table = Table::new(&["KEY", "VALUE", "FROM"]);
    for key in KEYS {
        let shown = key.show(&loaded.config);
        let shown = if shown.is_empty() { "(unset)".to_owned() } else { shown };
        table.row(vec![key.name.to_owned(), shown, loaded.origins[key.name].to_string()]);
    }
    out::line(&table.text())?;
    Ok(ExitCode::Ok)
}

fn check(global: &Global, files: &[PathBuf]) -> Outcome {
    let (problems, warnings, tasks) = match global.load() {
        Ok(loaded) => {
            let (tasks, mut problems) = match files {
                [] => task::load_dir(&loaded.config.tasks_dir, &loaded.config),
                files => load_files(files, &loaded.config),
            };
            if let Some(Err(why)) = loaded.config.state_group.as_deref().map(group::number) {
                problems.push(Problem::new(format!("state_group ({})", loaded.origins["state_group"]), why));
            }
            (problems, loaded.warnings, tasks.len())
        }
        Err(error) => (error.0, Vec::new(), 0),
    };
    if global.json {
        out::json(&json!({"problems": problems, "warnings": warnings, "tasks": tasks}))?;
    }
    for warning in &warnings {
        out::say(&format!("crawld: warning: {warning}"));
    }
    report(&problems, global, tasks)
}

/// The tasks of files that were named, and what is wrong with the others.
fn load_files(files: &[PathBuf], defaults: &Config) -> (Vec<PreparedTask>, Vec<Problem>) {
    let (mut tasks, mut problems) = (Vec::new(), Vec::new());
    for file in files {
        match task::load(file, defaults) {
            Ok(task) => tasks.push(task),
            Err(found) => problems.extend(found),
        }
    }
    (tasks, problems)
}

fn report(problems: &[Problem], global: &Global, tasks: usize) -> Outcome {
    if !problems.is_empty() {
        return Err(Failure::problems(ExitCode::BadConfig, problems));
    }
    if !global.json && !global.quiet {
        out::line(&format!("configuration: good; task files: {tasks}, all good"))?;
    }
    Ok(ExitCode::Ok)
}
