//! Finds the browser's program: the ELF itself, never a wrapper script, which would outlive a kill
//! of the browser or the browser a kill of it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::config::BrowserError;

/// Where distributions keep the program, the lean headless shell first.
const KNOWN: &[&str] = &[
    "/usr/lib/chromium/chromium-headless-shell",
    "/usr/lib/chromium/chromium",
    "/usr/lib/chromium-browser/chromium-browser",
    "/usr/lib64/chromium-browser/chromium-browser",
    "/opt/google/chrome/chrome",
    "/opt/chromium.org/chromium/chromium",
];

/// Names looked for on `PATH`.
const NAMES: &[&str] = &[
    "chromium-headless-shell",
    "chrome-headless-shell",
    "headless_shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
];

/// Finds the browser's ELF: `explicit`, then `CRAWLD_CHROME`, then the known places, then `PATH`.
/// An explicit wrapper script is resolved to the program beside the known places where possible.
///
/// # Errors
/// `BrowserError::NotFound`, with what to install; an explicit path that does not work is not
/// replaced by another browser.
pub fn find_executable(explicit: Option<&Path>) -> Result<PathBuf, BrowserError> {
    let named = explicit.map(Path::to_owned).or_else(|| std::env::var_os("CRAWLD_CHROME").map(PathBuf::from));
    if let Some(path) = named {
        return resolve(&path).ok_or_else(|| {
            let why =
                if starts_with(&path, b"#!") { "a script: name the program that it starts" } else { "no program" };
            BrowserError::NotFound { looked: format!("`{}` is {why}", path.display()) }
        });
    }
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<PathBuf> = std::env::split_paths(&on_path).collect();
    let candidates =
        KNOWN.iter().map(PathBuf::from).chain(NAMES.iter().flat_map(|name| dirs.iter().map(move |dir| dir.join(name))));
    candidates
        .into_iter()
        .find_map(|path| resolve(&path))
        .ok_or_else(|| BrowserError::NotFound { looked: "in /usr/lib/chromium, /opt and on PATH".to_owned() })
}

/// The ELF behind a path, when there is one.
fn resolve(path: &Path) -> Option<PathBuf> {
    let real = path.canonicalize().ok()?;
    if is_elf(&real) {
        return Some(real);
    }
    // Debian's `/usr/bin/chromium*` are scripts that start the program of the same name there.
    let name = path.file_name()?;
    let beside = Path::new("/usr/lib/chromium").join(name);
    is_elf(&beside).then_some(beside)
}

fn is_elf(path: &Path) -> bool {
    starts_with(path, b"\x7fELF")
}

fn starts_with<const N: usize>(path: &Path, magic: &[u8; N]) -> bool {
    let mut first = [0u8; N];
    path.is_file() && File::open(path).and_then(|mut file| file.read_exact(&mut first)).is_ok() && first == *magic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explicit_path_that_does_not_work_is_an_error_that_helps() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("my-browser");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        for path in [script, dir.path().join("absent")] {
            let error = find_executable(Some(&path)).unwrap_err().to_string();
            assert!(error.contains("apt install") && error.contains("CRAWLD_CHROME"), "{error}");
        }
    }

    #[test]
    fn an_elf_is_taken_as_it_is() {
        let own = std::env::current_exe().unwrap();
        assert_eq!(find_executable(Some(&own)).unwrap(), own.canonicalize().unwrap());
    }
}
