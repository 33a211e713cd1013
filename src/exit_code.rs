//! Exit codes: documented, closed, the same for every command.

use crate::model::outcome::closed_list;

closed_list! {
    /// Why the process ended.
    ExitCode {
        /// 0: all done.
        Ok = "ok",
        /// 2: wrong usage.
        Usage = "usage",
        /// 3: done, some pages failed.
        SomeFailed = "some_failed",
        /// 4: stopped, can be continued.
        Stopped = "stopped",
        /// 5: nothing there to act on.
        Nothing = "nothing",
        /// 69: no usable browser.
        NoBrowser = "no_browser",
        /// 70: a bug.
        Bug = "bug",
        /// 73: state cannot be written.
        CannotWrite = "cannot_write",
        /// 75: state directory in use.
        InUse = "in_use",
        /// 78: bad config or task, format too new, needs the operator.
        BadConfig = "bad_config",
    }
}

impl ExitCode {
    /// The number that the shell sees.
    pub const fn code(self) -> u8 {
        match self {
            ExitCode::Ok => 0,
            ExitCode::Usage => 2,
            ExitCode::SomeFailed => 3,
            ExitCode::Stopped => 4,
            ExitCode::Nothing => 5,
            ExitCode::NoBrowser => 69,
            ExitCode::Bug => 70,
            ExitCode::CannotWrite => 73,
            ExitCode::InUse => 75,
            ExitCode::BadConfig => 78,
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        std::process::ExitCode::from(code.code())
    }
}
