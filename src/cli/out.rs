//! stdout for data. A reader that closes the pipe has seen enough: that is success.

use std::io::{self, Write};

use serde::Serialize;

use crate::cli::failure::Failure;
use crate::exit_code::ExitCode;

/// Writes text, ended by a newline.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    check(out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()))
}

/// Writes a value as one JSON object, pretty for people with `jq`-less eyes.
pub(super) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::new(ExitCode::Bug, format!("cannot write as JSON: {error}")))?;
    line(&text)
}

/// Talk for people, on stderr.
pub(super) fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

fn check(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Ok(()) => Ok(()),
        // The exit is right here, where nothing of the reader's is lost any more.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(i32::from(ExitCode::Ok.code())),
        Err(error) => Err(Failure::new(ExitCode::CannotWrite, format!("cannot write to stdout: {error}"))),
    }
}
