//! The systemd unit: accepted by systemd, and tight.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::skip;

/// Highest exposure that `systemd-analyze security` may show: 0 is tight, 10 is open. Measured: 1.9.
const EXPOSURE_MAX: &str = "25";

/// A copy of the unit whose `ExecStart` is the binary under test.
fn copy(dir: &Path) -> std::path::PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/systemd/crawld.service");
    let unit = fs::read_to_string(&source).unwrap_or_else(|e| panic!("{}: {e}", source.display()));
    let started: Vec<String> = unit
        .lines()
        .map(|line| match line.strip_prefix("ExecStart=") {
            Some(command) => {
                let rest = command.split_once(' ').map_or("", |(_, rest)| rest);
                format!("ExecStart={} {rest}", env!("CARGO_BIN_EXE_crawld"))
            }
            None => line.to_owned(),
        })
        .collect();
    let path = dir.join("crawld.service");
    fs::write(&path, started.join("\n") + "\n").expect("copy of the unit");
    path
}

fn analyze(test: &str, args: &[&str], unit: &Path) -> Option<Output> {
    match Command::new("systemd-analyze").args(args).arg(unit).output() {
        Ok(output) => Some(output),
        Err(error) => {
            skip::because(test, &format!("systemd-analyze: {error}"));
            None
        }
    }
}

#[test]
fn is_accepted_without_a_word() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let unit = copy(dir.path());
    let Some(output) = analyze("unit_file::is_accepted_without_a_word", &["verify"], &unit) else { return };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[test]
fn exposes_little() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let unit = copy(dir.path());
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let args = ["security", "--offline=true", "--no-pager", &threshold];
    let Some(output) = analyze("unit_file::exposes_little", &args, &unit) else { return };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}
