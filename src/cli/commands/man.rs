//! `crawld man`: the manual page, in roff.

use crate::cli::{Outcome, out};
use crate::exit_code::ExitCode;

pub(in crate::cli) fn run(command: clap::Command) -> Outcome {
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    out::line(String::from_utf8_lossy(&page).trim_end())?;
    Ok(ExitCode::Ok)
}
