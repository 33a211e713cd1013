//! Named points at which tests kill the process or make a call fail.
//!
//! Without the feature `failpoints` every point compiles to nothing. With it, the environment
//! variable `FAILPOINTS` (or `fail::cfg`) arms a point: `store.before_commit=3*off->return(kill)`
//! kills the process with SIGKILL at the fourth passage; `return(ENOSPC)` and `return(EIO)` make an
//! I/O step fail with that error; `return(say)` says on stderr that the point was passed.

use std::io;

/// Passes the named kill-and-fault point.
///
/// # Errors
/// The armed I/O error; never without the feature `failpoints`.
#[inline]
pub fn point(name: &'static str) -> io::Result<()> {
    #[cfg(feature = "failpoints")]
    {
        fail::fail_point!(name, |action| act(name, action.as_deref()));
    }
    let _ = name;
    Ok(())
}

#[cfg(feature = "failpoints")]
fn act(name: &str, action: Option<&str>) -> io::Result<()> {
    match action {
        Some("ENOSPC") => Err(io::Error::from_raw_os_error(28)),
        Some("EIO") => Err(io::Error::from_raw_os_error(5)),
        Some("say") => {
            eprintln!("passed {name}");
            Ok(())
        }
        Some("kill") | None => {
            let me = rustix::process::getpid();
            let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
            unreachable!("SIGKILL at `{name}` returned")
        }
        Some(other) => panic!("fault point `{name}`: unknown action `{other}`"),
    }
}

/// Arms the points named in `FAILPOINTS`; call once at the start of `main`.
pub fn arm_from_environment() {
    #[cfg(feature = "failpoints")]
    std::mem::forget(fail::FailScenario::setup());
}
