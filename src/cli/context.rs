//! What every command needs: the configuration, how to speak, where the state is.

use std::io::IsTerminal;
use std::path::Path;

use crate::cli::failure::Failure;
use crate::cli::{Global, out};
use crate::config::{Config, Flag, Loaded, Origin, Sources, load};
use crate::exit_code::ExitCode;
use crate::model::time::Timestamp;
use crate::state::paths::StateDir;

/// A command's surroundings.
#[derive(Debug)]
pub(super) struct Context {
    pub config: Config,
    pub json: bool,
    pub quiet: bool,
    /// A browser was named on this command line.
    pub names_browser: bool,
}

impl Global {
    /// The layers, with these flags on top.
    pub(super) fn load(&self) -> Result<Loaded, crate::config::ConfigError> {
        load(&Sources::process(self.config.clone(), self.flags()))
    }

    fn flags(&self) -> Vec<Flag> {
        let state_dir = self.state_dir.as_ref().map(|path| path.display().to_string());
        [
            ("--state-dir", "state_dir", state_dir),
            ("--cdp-url", "cdp_url", self.cdp_url.clone()),
            ("--cdp-unsafe", "cdp_unsafe", self.cdp_unsafe.then(|| "true".to_owned())),
            ("--log-level", "log_level", self.log_level.clone()),
            ("--log-format", "log_format", self.log_format.clone()),
        ]
        .into_iter()
        .filter_map(|(flag, key, text)| text.map(|text| Flag { flag, key, text }))
        .collect()
    }
}

/// What is logged where nobody has said it.
fn default_level(quiet: bool, command: &str) -> &'static str {
    match (quiet, command) {
        (true, _) => "error",
        (false, "run") => "info",
        // A foreground command shows progress; its log is for what needs attention.
        (false, _) => "warn",
    }
}

impl Context {
    /// Reads the configuration and starts logging.
    pub(super) fn load(global: &Global, command: &str) -> Result<Context, Failure> {
        // A slip on the command line is wrong usage; one in a file is a bad configuration.
        if let Some(Err(message)) = global.log_level.as_deref().map(crate::telemetry::parse_filter) {
            return Err(Failure::new(ExitCode::Usage, format!("--log-level: {message}")));
        }
        let loaded = global.load()?;
        let by_default = loaded.origins.get("log_level") == Some(&Origin::Default);
        let level = match by_default {
            true => default_level(global.quiet, command),
            false => loaded.config.log_level.as_str(),
        };
        crate::telemetry::init(level, loaded.config.log_format)
            .map_err(|message| Failure::new(ExitCode::BadConfig, format!("log_level: {message}")))?;
        if !global.quiet {
            for warning in &loaded.warnings {
                out::say(&format!("crawld: warning: {warning}"));
            }
        }
        let names_browser = global.cdp_url.is_some();
        Ok(Context { config: loaded.config, json: global.json, quiet: global.quiet, names_browser })
    }

    pub(super) fn state_dir(&self) -> &Path {
        &self.config.state_dir
    }

    /// The state directory, which must be there.
    pub(super) fn existing(&self) -> Result<StateDir, Failure> {
        let path = self.state_dir();
        if !path.exists() {
            return Err(self.nothing("nothing there: no state directory yet"));
        }
        StateDir::existing(path).map_err(|error| Failure::new(ExitCode::CannotWrite, error.to_string()))
    }

    /// Exit 5, with the place that was looked at.
    pub(super) fn nothing(&self, what: &str) -> Failure {
        Failure::new(ExitCode::Nothing, format!("{what} in `{}`", self.state_dir().display()))
            .hint("name another directory with --state-dir, or begin with `crawld crawl URL`")
    }

    /// Whether a person looks at stderr.
    pub(super) fn terminal(&self) -> bool {
        std::io::stderr().is_terminal()
    }

    /// Talk, unless `--quiet`.
    pub(super) fn say(&self, text: &str) {
        if !self.quiet {
            out::say(text);
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        crate::clock::Clock::system().now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_leaves_errors_only() {
        let levels = [(true, "crawl"), (true, "run"), (false, "crawl"), (false, "run")];
        assert_eq!(levels.map(|(quiet, command)| default_level(quiet, command)), ["error", "error", "warn", "info"]);
        assert_eq!(Config::default().log_level, default_level(false, "run"), "the daemon's is the one of its file");
    }
}
