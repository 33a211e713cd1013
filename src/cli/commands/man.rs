//! `crawld man`: the manual page, in roff: the program, each of its commands with its flags, the environment, the files.

use clap::{Arg, ArgAction, Command};

use crate::cli::{AFTER_HELP, Outcome, out};
use crate::config::KEYS;
use crate::exit_code::ExitCode;

const FILES: &[(&str, &str)] = &[
    ("config/crawld.toml", "The configuration, when it is there; --config names another one."),
    ("config/tasks/*.toml", "The tasks that crawld run takes up."),
    ("app-memory/", "The state directory: all sessions, their outputs under sessions/SESSION/out."),
];

pub(in crate::cli) fn run(command: Command) -> Outcome {
    out::line(page(command)?.trim_end())?;
    Ok(ExitCode::Ok)
}

/// The page. Commands have no pages of their own, so all of them stand here.
fn page(mut command: Command) -> std::io::Result<String> {
    // Its flags stand in every command once it is built, so the commands are taken before.
    let commands: Vec<Command> = command.get_subcommands().cloned().collect();
    command = command.after_help(None::<&str>);
    let mut head = Vec::new();
    let man = clap_mangen::Man::new(command);
    man.render_title(&mut head)?;
    man.render_name_section(&mut head)?;
    man.render_synopsis_section(&mut head)?;
    man.render_description_section(&mut head)?;
    man.render_options_section(&mut head)?;
    let mut page = String::from_utf8_lossy(&head).into_owned();
    page.push_str(".SH COMMANDS\n");
    for command in &commands {
        describe(&mut page, "crawld", command);
    }
    page.push_str(".SH ENVIRONMENT\nEvery key of the configuration can be set here too.\n");
    entry(&mut page, "CRAWLD_CONFIG", "The configuration file, as --config names it.");
    for key in KEYS {
        entry(&mut page, &key.variable(), &key.doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" "));
    }
    page.push_str(".SH FILES\n");
    for (file, what) in FILES {
        entry(&mut page, file, what);
    }
    page.push_str(".SH EXIT STATUS\n");
    line(&mut page, AFTER_HELP.trim_start_matches("Exit codes: "));
    Ok(page)
}

/// One command with its arguments and flags, then the commands below it.
fn describe(page: &mut String, above: &str, command: &Command) {
    let name = format!("{above} {}", command.get_name());
    let arguments: Vec<String> = command.get_positionals().map(positional).collect();
    let flags = if command.get_opts().next().is_some() { " [OPTIONS]" } else { "" };
    let more = arguments.iter().map(|argument| format!(" {argument}")).collect::<String>();
    page.push_str(&format!(".SS {}\n", roff(&format!("{name}{flags}{more}"))));
    line(page, &command.get_about().map(ToString::to_string).unwrap_or_default());
    for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let words: Vec<String> =
            argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        let takes_words = argument.get_action().takes_values() && !words.is_empty();
        let words = if takes_words { format!(" [{}]", words.join(", ")) } else { String::new() };
        entry(page, &called(argument), &format!("{help}{words}"));
    }
    for below in command.get_subcommands() {
        describe(page, &name, below);
    }
}

/// How an argument is written.
fn called(argument: &Arg) -> String {
    if argument.is_positional() {
        return positional(argument);
    }
    let short = argument.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
    let long = argument.get_long().map(|long| format!("--{long}")).unwrap_or_default();
    let value = match argument.get_action() {
        ArgAction::Set | ArgAction::Append => format!(" {}", value(argument)),
        _ => String::new(),
    };
    format!("{short}{long}{value}")
}

fn positional(argument: &Arg) -> String {
    let many = if matches!(argument.get_action(), ArgAction::Append) { "..." } else { "" };
    match argument.is_required_set() {
        true => format!("{}{many}", value(argument)),
        false => format!("[{}]{many}", value(argument)),
    }
}

fn value(argument: &Arg) -> String {
    let named = argument.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
    named.unwrap_or_else(|| argument.get_id().as_str().to_uppercase())
}

fn entry(page: &mut String, what: &str, text: &str) {
    page.push_str(&format!(".TP\n\\fB{}\\fR\n", roff(what)));
    line(page, text);
}

fn line(page: &mut String, text: &str) {
    page.push_str(&roff(text));
    page.push('\n');
}

/// Text as roff takes it: no escapes and no requests in it.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('\n', " ");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}
