//! A panic is a bug: one line that says so and what to do, a note for the next start, exit 70.

use std::io::Write;

use crate::clock::Clock;
use crate::exit_code::ExitCode;
use crate::model::session::CrashReason;
use crate::model::text::escape_control;
use crate::state::last_words;

/// Installs the hook.
pub(super) fn install() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|at| format!(" ({}:{})", at.file(), at.line())).unwrap_or_default();
        let what = info
            .payload()
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| info.payload().downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        // A task's panic is caught and handled by its owner; only the main thread takes the process down.
        let dying = std::thread::current().name() == Some("main");
        if dying {
            last_words::leave_all(CrashReason::Panic, Clock::system().now(), &format!("{what}{place}"));
        }
        let line = format!(
            "crawld: bug: {}{place}\n  hint: nothing that was committed is lost; `crawld recover` continues it. Please report this line\n",
            escape_control(&what)
        );
        let _ = std::io::stderr().write_all(line.as_bytes());
        if dying {
            std::process::exit(i32::from(ExitCode::Bug.code()));
        }
    }));
}
