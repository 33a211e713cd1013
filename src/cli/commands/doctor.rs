//! `crawld doctor`: does this machine have what a long crawl needs? And if not, what to do.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::browser::{BrowserConfig, self_test};
use crate::cli::format::bytes;
use crate::cli::table::Table;
use crate::cli::{Global, Outcome, out};
use crate::config::Config;
use crate::exit_code::ExitCode;
use crate::model::endpoint::DebugEndpoint;
use crate::state::paths::{StateDir, file_system_warning};

/// 65,536 is what the systemd unit asks for; a browser tab takes some tens of descriptors.
const WANTED_FILES: u64 = 4096;
/// A clock before the year 2024 was never set.
const SANE_CLOCK_MS: i64 = 1_704_067_200_000;
const LOCAL_DISK: &str = "use a directory on a local disk";

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Grade {
    Good,
    Warning,
    Bad,
}

/// One finding.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    grade: Grade,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Finding {
    fn good(what: &'static str, found: impl Into<String>) -> Self {
        Finding { what, grade: Grade::Good, found: found.into(), advice: None }
    }

    fn warning(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Finding { what, grade: Grade::Warning, found: found.into(), advice: Some(advice.into()) }
    }

    fn bad(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Finding { what, grade: Grade::Bad, found: found.into(), advice: Some(advice.into()) }
    }
}

pub(in crate::cli) async fn run(global: &Global) -> Outcome {
    let mut findings = Vec::new();
    let config = match global.load() {
        Ok(loaded) => {
            let file = loaded.file.map_or_else(|| "built-in defaults".to_owned(), |path| path.display().to_string());
            findings.push(Finding::good("configuration", file));
            loaded.config
        }
        Err(error) => {
            findings.push(Finding::bad(
                "configuration",
                error.to_string(),
                "correct it; the rest is checked with defaults",
            ));
            Config::default()
        }
    };
    let _ = crate::telemetry::init("off", config.log_format);
    findings.push(state_directory(&config.state_dir));
    findings.push(disk(&config));
    findings.push(open_files());
    findings.push(clock());
    findings.push(namespaces());
    let browser_failed = browser(&config, &mut findings).await;
    report(global, &findings, browser_failed)
}

fn report(global: &Global, findings: &[Finding], browser_failed: Option<ExitCode>) -> Outcome {
    if global.json {
        out::json(&serde_json::json!({ "findings": findings }))?;
    } else {
        let mut table = Table::new(&["CHECK", "", "FOUND"]);
        for finding in findings {
            let grade = match finding.grade {
                Grade::Good => "good",
                Grade::Warning => "look",
                Grade::Bad => "BAD",
            };
            table.row(vec![finding.what.to_owned(), grade.to_owned(), finding.found.clone()]);
            if let Some(advice) = &finding.advice {
                table.row(vec![String::new(), String::new(), format!("-> {advice}")]);
            }
        }
        out::line(&table.text())?;
    }
    let bad = findings.iter().any(|finding| finding.grade == Grade::Bad);
    Ok(match (browser_failed, bad) {
        (Some(code), _) => code,
        (None, true) => ExitCode::BadConfig,
        (None, false) => ExitCode::Ok,
    })
}

fn state_directory(path: &Path) -> Finding {
    let what = "state directory";
    let shown = path.display().to_string();
    if !path.exists() {
        let parent = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        // Tried, not asked: /proc and its like call themselves writable to root.
        return match tempfile::tempdir_in(parent) {
            Ok(_) => match file_system_warning(parent) {
                Some(warning) => Finding::warning(what, format!("{shown} (will be made): {warning}"), LOCAL_DISK),
                None => Finding::good(what, format!("{shown} (will be made)")),
            },
            Err(error) => Finding::bad(
                what,
                format!("{shown} cannot be made: {error}"),
                format!("make `{}` writable, or name another directory with --state-dir", parent.display()),
            ),
        };
    }
    let state = match StateDir::existing(path) {
        Ok(state) => state,
        Err(error) => return Finding::bad(what, error.to_string(), "name a directory of your own with --state-dir"),
    };
    if let Err(error) = tempfile::Builder::new().prefix(".doctor-").tempfile_in(path) {
        return Finding::bad(what, format!("{shown} cannot be written: {error}"), "correct its owner and mode (0700)");
    }
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(path).map_or(0, |meta| meta.permissions().mode() & 0o777);
    match state.file_system_warning() {
        Some(warning) => Finding::warning(what, format!("{shown}: {warning}"), LOCAL_DISK),
        None if mode & 0o077 != 0 => {
            Finding::warning(what, format!("{shown} has mode {mode:o}"), format!("chmod 700 {shown}"))
        }
        None => Finding::good(what, shown),
    }
}

fn disk(config: &Config) -> Finding {
    let existing = config.state_dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let Ok(stat) = rustix::fs::statvfs(existing) else {
        return Finding::warning("disk", "the free space cannot be read", "check the file system");
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let whole = stat.f_blocks.saturating_mul(stat.f_frsize);
    let reserve = config.disk_reserve_bytes.min(whole / 100 * u64::from(config.disk_reserve_percent));
    let found = format!("{} free, {} kept in reserve", bytes(free), bytes(reserve));
    if free <= reserve {
        Finding::bad("disk", found, "free some space: crawling pauses below the reserve")
    } else if free < reserve.saturating_mul(2) {
        Finding::warning("disk", found, "free some space: the reserve is near")
    } else {
        Finding::good("disk", found)
    }
}

fn open_files() -> Finding {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    match limit.current {
        Some(current) if current < WANTED_FILES => Finding::warning(
            "open files",
            format!("limit {current}"),
            format!("raise it: `ulimit -n {WANTED_FILES}`, or LimitNOFILE= in the unit"),
        ),
        Some(current) => Finding::good("open files", format!("limit {current}")),
        None => Finding::good("open files", "no limit"),
    }
}

fn clock() -> Finding {
    let now = crate::clock::Clock::system().now();
    if now.millis() < SANE_CLOCK_MS {
        return Finding::bad("clock", now.to_string(), "set the clock: ages and certificates are judged by it");
    }
    Finding::good("clock", now.to_string())
}

/// Chromium's sandbox needs user namespaces that an ordinary user may make.
fn namespaces() -> Finding {
    let what = "user namespaces";
    let number = |path: &str| std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
    if number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0) {
        return Finding::bad(what, "switched off", "sysctl kernel.unprivileged_userns_clone=1");
    }
    if number("/proc/sys/user/max_user_namespaces") == Some(0) {
        return Finding::bad(what, "none allowed", "sysctl user.max_user_namespaces=15000");
    }
    if number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1) {
        return Finding::warning(
            what,
            "restricted by AppArmor",
            "give Chromium an AppArmor profile with `userns,`, or sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        );
    }
    Finding::good(what, "allowed")
}

async fn browser(config: &Config, findings: &mut Vec<Finding>) -> Option<ExitCode> {
    let profiles = match tempfile::Builder::new().prefix("crawld-doctor-").tempdir() {
        Ok(dir) => dir,
        Err(error) => {
            findings.push(Finding::bad(
                "browser",
                format!("no temporary directory: {error}"),
                "set TMPDIR to a writable directory",
            ));
            return Some(ExitCode::CannotWrite);
        }
    };
    let settings = BrowserConfig {
        attach: config.cdp_url.as_deref().and_then(|url| DebugEndpoint::parse(url).ok()),
        executable: config.chrome.clone(),
        no_sandbox: config.no_sandbox,
        ..BrowserConfig::new(PathBuf::from(profiles.path()))
    };
    let test = match self_test(settings).await {
        Ok(test) => test,
        Err(error) => {
            let advice = "the message says what to do; `crawld crawl --fetch http` works without a browser";
            findings.push(Finding::bad("browser", error.to_string(), advice));
            return Some(error.exit_code());
        }
    };
    let place = test.attached.as_ref().map_or_else(|| test.executable.display().to_string(), |at| at.to_string());
    let found = format!("{} ({place}), up in {} ms", test.version, test.launch_ms);
    findings.push(match test.script_ran {
        true => Finding::good("browser", found),
        false => Finding::bad("browser", format!("{found}, but it runs no page"), "see the problems below"),
    });
    if test.attached.is_some() {
        findings.push(Finding::warning(
            "address rules",
            "do not hold for what pages load: the browser is attached (cdp_url)",
            "unset cdp_url to have crawld start a browser that can reach only what it may",
        ));
        findings.extend(test.problems.into_iter().map(|problem| Finding::warning("browser", problem, "as it says")));
        return (!test.script_ran).then_some(ExitCode::NoBrowser);
    }
    findings.push(match (config.no_sandbox, test.renderer_seccomp && test.renderer_namespace) {
        (_, true) => Finding::good("sandbox", "on: seccomp and a user namespace of its own"),
        (true, false) => Finding::warning(
            "sandbox",
            "off, as CRAWLD_NO_SANDBOX asks",
            "run crawld as an ordinary user and unset CRAWLD_NO_SANDBOX",
        ),
        (false, false) => Finding::bad("sandbox", "not in force", "look at the user namespaces above"),
    });
    for problem in test.problems {
        findings.push(Finding::warning("browser", problem, "as it says"));
    }
    (!test.script_ran).then_some(ExitCode::NoBrowser)
}
