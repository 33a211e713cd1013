//! `crawld config show` and `crawld config check`.

use clap::Subcommand;
use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::table::Table;
use crate::cli::{Global, Outcome, out};
use crate::config::{KEYS, Problem, task};
use crate::exit_code::ExitCode;
use crate::state::group;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ConfigCommand {
    /// Print every key with its value and where it came from
    Show,
    /// Report everything that is wrong with the configuration and the task files
    Check,
}

pub(in crate::cli) fn run(global: &Global, command: &ConfigCommand) -> Outcome {
    match command {
        ConfigCommand::Show => show(global),
        ConfigCommand::Check => check(global),
    }
}

fn show(global: &Global) -> Outcome {
    let loaded = global.load()?;
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

fn check(global: &Global) -> Outcome {
    let (problems, warnings, tasks) = match global.load() {
        Ok(loaded) => {
            let (tasks, mut problems) = task::load_dir(&loaded.config.tasks_dir, &loaded.config);
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

fn report(problems: &[Problem], global: &Global, tasks: usize) -> Outcome {
    if !problems.is_empty() {
        return Err(Failure::problems(ExitCode::BadConfig, problems));
    }
    if !global.json && !global.quiet {
        out::line(&format!("configuration: good; task files: {tasks}, all good"))?;
    }
    Ok(ExitCode::Ok)
}
