//! What went wrong, what to do, and the exit code.

use std::io::Write;

use crate::config::{ConfigError, Problem};
use crate::daemon::command::OperatorError;
use crate::daemon::mode::RunError;
use crate::exit_code::ExitCode;
use crate::model::text::escape_control;

/// A command that did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// For the shell.
    pub code: ExitCode,
    lines: Vec<String>,
    hint: Option<String>,
}

impl Failure {
    pub(super) fn new(code: ExitCode, message: impl Into<String>) -> Self {
        Failure { code, lines: vec![message.into()], hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Every problem on a line of its own.
    pub(super) fn problems(code: ExitCode, problems: &[Problem]) -> Self {
        Failure { code, lines: problems.iter().map(Problem::to_string).collect(), hint: None }
    }

    pub(super) fn run(code: ExitCode, error: RunError) -> Self {
        Failure { code, lines: vec![error.message], hint: error.hint }
    }

    /// As a person reads it.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for line in self.lines.iter().flat_map(|line| line.lines()) {
            text.push_str(&format!("crawld: error: {}\n", escape_control(line)));
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!("  hint: {}\n", escape_control(hint)));
        }
        text
    }

    pub(super) fn print(&self) {
        // Nobody left to tell when stderr is closed.
        let _ = std::io::stderr().write_all(self.text().as_bytes());
    }
}

impl From<OperatorError> for Failure {
    fn from(error: OperatorError) -> Self {
        let failure = Failure::new(error.exit_code(), error.to_string());
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Failure::problems(ExitCode::BadConfig, &error.0)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::new(ExitCode::CannotWrite, error.to_string())
    }
}
