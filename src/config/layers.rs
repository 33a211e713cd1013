//! Reads the layers and remembers which one each value came from.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::check::check;
use crate::config::{Config, KEYS, Key, Problem, nearest};

/// Read when no `--config` is given and it is there.
pub const DEFAULT_FILE: &str = "config/crawld.toml";
/// Larger is not a configuration.
const FILE_MAX_BYTES: u64 = 1 << 20;
/// Variables with our prefix that are no settings.
const OTHER_VARIABLES: &[&str] = &["CRAWLD_CONFIG"];

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// A file, with the line.
    File(PathBuf, usize),
    /// An environment variable.
    Environment(String),
    /// A flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path, line) => write!(f, "{}:{line}", path.display()),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// A value given as a flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The flag with its dashes.
    pub flag: &'static str,
    /// The key it sets.
    pub key: &'static str,
    /// As typed.
    pub text: String,
}

/// What the layers are read from; a test fills it by hand.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// The environment.
    pub variables: Vec<(String, String)>,
    /// Flags.
    pub flags: Vec<Flag>,
    /// Relative paths start here.
    pub directory: PathBuf,
}

/// A configuration with its history.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What is in force.
    pub config: Config,
    /// Where each value came from, by key.
    pub origins: BTreeMap<&'static str, Origin>,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// What looks like a mistake but stops nothing.
    pub warnings: Vec<Problem>,
}

/// Why there is no configuration: every problem at once.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigError(pub Vec<Problem>);

impl Sources {
    /// The process's own environment and directory.
    pub fn process(file: Option<PathBuf>, flags: Vec<Flag>) -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
            .filter(|(name, _)| name.starts_with("CRAWLD_"))
            .collect();
        Sources { file, variables, flags, directory: std::env::current_dir().unwrap_or_default() }
    }
}

/// Reads every layer and checks the result.
///
/// # Errors
/// Every problem found, each with its place and what to do.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let mut reading = Reading {
        config: Config::default(),
        origins: KEYS.iter().map(|key| (key.name, Origin::Default)).collect(),
        problems: Vec::new(),
        warnings: Vec::new(),
    };
    let file = reading.file(sources);
    for (name, text) in &sources.variables {
        reading.variable(name, text);
    }
    for flag in &sources.flags {
        reading.text(flag.key, &flag.text, Origin::Flag(flag.flag.to_owned()));
    }
    let Reading { mut config, origins, mut problems, warnings } = reading;
    for (key, message) in check(&config) {
        problems.push(Problem::new(format!("{}: {key}", origins[key]), message));
    }
    for path in [&mut config.state_dir, &mut config.tasks_dir] {
        *path = sources.directory.join(&*path);
    }
    if problems.is_empty() { Ok(Loaded { config, origins, file, warnings }) } else { Err(ConfigError(problems)) }
}

struct Reading {
    config: Config,
    origins: BTreeMap<&'static str, Origin>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

fn key(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

fn unknown(name: &str) -> String {
    let typed = name.to_ascii_lowercase().replace('-', "_");
    match nearest(&typed, KEYS.iter().map(|key| key.name)) {
        Some(meant) => format!("unknown key: did you mean `{meant}`?"),
        None => "unknown key: `crawld config show` lists all of them".to_owned(),
    }
}

impl Reading {
    fn file(&mut self, sources: &Sources) -> Option<PathBuf> {
        let variable =
            sources.variables.iter().find(|(name, _)| name == "CRAWLD_CONFIG").map(|(_, v)| PathBuf::from(v));
        let named = sources.file.clone().or(variable);
        let shown = named.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
        let path = sources.directory.join(&shown);
        match read_bounded(&path) {
            Ok(text) => self.toml(&shown, &text),
            Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                let message =
                    format!("cannot be read ({error}): name another file with --config, or correct its permissions");
                self.problems.push(Problem::new(shown.display().to_string(), message));
                return None;
            }
        }
        Some(path)
    }

    fn toml(&mut self, path: &Path, text: &str) {
        let table = match toml::from_str::<toml::Table>(text) {
            Ok(table) => table,
            Err(error) => {
                let line = error.span().map_or(1, |span| line_at(text, span.start));
                let message = format!("is not TOML: {}", error.message());
                self.problems.push(Problem::new(format!("{}:{line}", path.display()), message));
                return;
            }
        };
        let lines = top_level_lines(text);
        for (name, value) in table {
            let line = lines.get(&name).copied().unwrap_or(1);
            let place = || format!("{}:{line}: {name}", path.display());
            let Some(key) = key(&name) else {
                let message = match value {
                    toml::Value::Table(_) => {
                        "unknown section: crawld.toml has none, every key stands at the top".to_owned()
                    }
                    _ => unknown(&name),
                };
                self.problems.push(Problem::new(place(), message));
                continue;
            };
            match (key.set_toml)(&mut self.config, value) {
                Ok(()) => {
                    self.origins.insert(key.name, Origin::File(path.to_owned(), line));
                }
                Err(message) => self.problems.push(Problem::new(place(), message)),
            }
        }
    }

    fn variable(&mut self, name: &str, text: &str) {
        let Some(rest) = name.strip_prefix("CRAWLD_") else { return };
        let lower = rest.to_ascii_lowercase();
        if key(&lower).is_some() {
            self.text(&lower, text, Origin::Environment(name.to_owned()));
        } else if !OTHER_VARIABLES.contains(&name) {
            // A warning only: other tools may use the prefix.
            self.warnings.push(Problem::new(format!("environment {name}"), format!("ignored: {}", unknown(rest))));
        }
    }

    fn text(&mut self, name: &str, text: &str, origin: Origin) {
        let Some(key) = key(name) else {
            self.problems.push(Problem::new(format!("{origin}: {name}"), unknown(name)));
            return;
        };
        match (key.set_text)(&mut self.config, text) {
            Ok(()) => {
                self.origins.insert(key.name, origin);
            }
            Err(message) => self.problems.push(Problem::new(origin.to_string(), message)),
        }
    }
}

/// Reads a text file that must be a regular file of sensible size.
pub(super) fn read_bounded(path: &Path) -> io::Result<String> {
    let meta = std::fs::metadata(path)?;
    if !meta.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    if meta.len() > FILE_MAX_BYTES {
        return Err(io::Error::other(format!("larger than {FILE_MAX_BYTES} bytes")));
    }
    std::fs::read_to_string(path)
}

/// The line (from 1) of a byte position.
pub(super) fn line_at(text: &str, position: usize) -> usize {
    text.as_bytes()[..position.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

fn top_level_lines(text: &str) -> BTreeMap<String, usize> {
    let Ok(table) = toml::de::DeTable::parse(text) else { return BTreeMap::new() };
    table.get_ref().keys().map(|key| (key.get_ref().to_string(), line_at(text, key.span().start))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(
        toml: &str,
        variables: &[(&str, &str)],
        flags: &[(&'static str, &'static str, &str)],
    ) -> (tempfile::TempDir, Sources) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("config")).unwrap();
        std::fs::write(dir.path().join(DEFAULT_FILE), toml).unwrap();
        let sources = Sources {
            file: None,
            variables: variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            flags: flags.iter().map(|(flag, key, text)| Flag { flag, key, text: (*text).to_owned() }).collect(),
            directory: dir.path().to_owned(),
        };
        (dir, sources)
    }

    #[test]
    fn later_layers_win_and_each_value_knows_its_origin() {
        let (dir, sources) = sources(
            "# a comment\nper_host = 3\ndelay = \"1s\"\nattempts = 9\n",
            &[("CRAWLD_DELAY", "2s"), ("CRAWLD_NO_SANDBOX", "1"), ("CRAWLD_CHROME", "/usr/bin/chromium")],
            &[("--state-dir", "state_dir", "elsewhere"), ("--delay", "delay", "3s")],
        );
        let loaded = load(&sources).unwrap();
        assert_eq!(loaded.config.per_host, 3);
        assert_eq!(loaded.config.delay, Span::secs(3));
        assert!(loaded.config.no_sandbox);
        assert_eq!(loaded.config.chrome, Some(PathBuf::from("/usr/bin/chromium")));
        assert_eq!(loaded.config.state_dir, dir.path().join("elsewhere"));
        let origin = |key| loaded.origins[key].to_string();
        assert_eq!(origin("per_host"), "config/crawld.toml:2");
        assert_eq!(origin("attempts"), "config/crawld.toml:4");
        assert_eq!(origin("delay"), "flag --delay");
        assert_eq!(origin("no_sandbox"), "environment CRAWLD_NO_SANDBOX");
        assert_eq!(origin("tabs"), "default");
    }

    use crate::model::duration::Span;

    #[test]
    fn every_problem_is_reported_at_once_with_its_place() {
        #[track_caller]
        fn check(name: &str, toml: &str, variables: &[(&str, &str)], expected: &[&str]) {
            let (_dir, sources) = sources(toml, variables, &[]);
            let problems = match load(&sources) {
                Ok(_) => Vec::new(),
                Err(ConfigError(problems)) => problems.iter().map(Problem::to_string).collect(),
            };
            assert_eq!(problems, expected, "{name}");
        }
        check("nothing wrong", "", &[], &[]);
        check(
            "a slip",
            "per_hots = 2\n",
            &[],
            &["config/crawld.toml:1: per_hots: unknown key: did you mean `per_host`?"],
        );
        check(
            "a section",
            "\n[browser]\ntabs = 2\n",
            &[],
            &["config/crawld.toml:2: browser: unknown section: crawld.toml has none, every key stands at the top"],
        );
        check(
            "not TOML",
            "per_host = 2\nper_host 3\n",
            &[],
            &["config/crawld.toml:2: is not TOML: key with no value, expected `=`"],
        );
        check(
            "three at once",
            "per_host = 0\nrobots = \"perhaps\"\nmax_delay = \"10ms\"\n",
            &[("CRAWLD_DELAY", "soon")],
            &[
                "config/crawld.toml:2: robots: unknown variant `perhaps`, expected `obey` or `ignore`",
                "environment CRAWLD_DELAY: `soon` is not a duration: write 250ms, 30s, 5m, 12h or 7d",
                "config/crawld.toml:1: per_host: must be at least 1 (is 0)",
                "config/crawld.toml:3: max_delay: must not be shorter than `delay` (10ms, 250ms)",
            ],
        );
    }

    #[test]
    fn an_unknown_variable_is_a_warning() {
        let (_dir, sources) = sources("", &[("CRAWLD_STATEDIR", "x")], &[]);
        let warnings = load(&sources).unwrap().warnings;
        assert_eq!(
            warnings[0].to_string(),
            "environment CRAWLD_STATEDIR: ignored: unknown key: did you mean `state_dir`?"
        );
    }

    #[test]
    fn a_named_file_must_be_there() {
        let (_dir, mut sources) = sources("", &[], &[]);
        sources.file = Some(PathBuf::from("none.toml"));
        assert!(load(&sources).unwrap_err().to_string().starts_with("none.toml: cannot be read"));
        sources.file = Some(PathBuf::from("config"));
        assert!(load(&sources).unwrap_err().to_string().contains("not a regular file"));
    }
}
