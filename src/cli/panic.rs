//! A panic is a bug: one line that says so and where the state is, exit 70.

use std::io::Write;

use crate::exit_code::ExitCode;
use crate::model::text::escape_control;

/// Adds the line to whatever hook is installed already; the daemon adds its note behind this one.
pub(super) fn install() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|at| format!(" ({}:{})", at.file(), at.line())).unwrap_or_default();
        let what = info
            .payload()
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| info.payload().downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        let line = format!(
            "crawld: bug: {}{place}\n  hint: nothing that was committed is lost; `crawld recover` continues it. Please report this line\n",
            escape_control(&what)
        );
        let _ = std::io::stderr().write_all(line.as_bytes());
        // A task's panic is caught and handled by its owner; only the main thread takes the process down.
        if std::thread::current().name() == Some("main") {
            std::process::exit(i32::from(ExitCode::Bug.code()));
        }
    }));
}
