//! `crawld export` and `crawld import`: a session moves to another machine.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::{Outcome, hands, out};
use crate::daemon::session_key::SessionKey;
use crate::exit_code::ExitCode;
use crate::model::ids::SessionId;
use crate::model::session::SessionStatus;
use crate::model::text::escape_control;

#[derive(Debug, Args)]
pub(in crate::cli) struct ExportArgs {
    /// The session
    session: SessionKey,
    /// The file to write (a tar archive)
    #[arg(value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// Keep it usable here; otherwise it is marked as migrated
    #[arg(long)]
    copy: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ImportArgs {
    /// The file that `crawld export` wrote
    #[arg(value_hint = ValueHint::FilePath)]
    file: PathBuf,
}

pub(in crate::cli) async fn export(context: &Context, args: ExportArgs) -> Outcome {
    let file = std::path::absolute(&args.file)?;
    if file.exists() {
        return Err(
            Failure::new(ExitCode::CannotWrite, format!("`{}` exists", file.display())).hint("name another file")
        );
    }
    let session = args.session.of(&context.existing()?)?;
    let done = hands::with_existing(context, "export", async |hands, _| {
        Ok(hands.export(session.clone(), file.clone(), args.copy).await?)
    })
    .await?;
    if context.json {
        out::json(&done)?;
    } else if !context.quiet {
        out::line(&format!(
            "{}: written to {}; `crawld import FILE` continues it elsewhere",
            done.session_id,
            file.display()
        ))?;
    }
    Ok(ExitCode::Ok)
}

pub(in crate::cli) async fn import(context: &Context, args: ImportArgs) -> Outcome {
    let file = std::path::absolute(&args.file)?;
    if file.exists() && !file.is_file() {
        let message = format!("`{}` is no regular file, so it is no session export", file.display());
        return Err(Failure::new(ExitCode::BadConfig, message));
    }
    if !file.is_file() {
        return Err(Failure::new(ExitCode::Nothing, format!("no file `{}`", file.display())));
    }
    let (submitted, status, remote) = hands::with(context, "import", async |hands| {
        let submitted = hands.import(file.clone()).await?;
        let status = hands.status(&submitted.session_id).await.map(|detail| detail.summary.status).ok();
        Ok((submitted, status, hands.remote()))
    })
    .await?;
    if context.json {
        out::json(&submitted)?;
    } else if !context.quiet {
        let next = next(&submitted.session_id, status, submitted.waits, remote);
        out::line(&format!("{}: imported; {next}", submitted.session_id))?;
        for note in &submitted.notes {
            context.say(&format!("crawld: warning: {}", escape_control(note)));
        }
    }
    Ok(ExitCode::Ok)
}

/// What becomes of an imported session.
fn next(id: &SessionId, status: Option<SessionStatus>, waits: bool, remote: bool) -> String {
    match (status, waits, remote) {
        (Some(status), ..) if status.ended() => format!("it is {status}, its outputs are here"),
        (_, true, _) => "it waits for you".to_owned(),
        (_, false, true) => "it is continued".to_owned(),
        (_, false, false) => format!("`crawld recover {id}` continues it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_waits_for_nobody() {
        #[track_caller]
        fn check(status: Option<SessionStatus>, waits: bool, remote: bool, expected: &str) {
            let said = next(&"s1".parse().unwrap(), status, waits, remote);
            assert!(said.contains(expected), "{said}");
        }
        check(Some(SessionStatus::Completed), true, false, "it is completed");
        check(Some(SessionStatus::Expired), false, true, "it is expired");
        check(Some(SessionStatus::Paused), true, false, "waits for you");
        check(Some(SessionStatus::Active), false, true, "is continued");
        check(None, false, false, "`crawld recover s1`");
    }
}
