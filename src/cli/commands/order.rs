//! `checkpoint`, `pause`, `resume`, `cancel`, `retry-failed`, `release-parked`.

use clap::Args;

use crate::cli::context::Context;
use crate::cli::format::count;
use crate::cli::hands;
use crate::cli::{Outcome, out};
use crate::daemon::answers::Done;
use crate::daemon::command::SessionOrder;
use crate::daemon::session_key::SessionKey;
use crate::exit_code::ExitCode;
use crate::model::session::SessionStatus;

#[derive(Debug, Args)]
pub(in crate::cli) struct OneSession {
    /// The session, as `crawld sessions` lists it
    session: SessionKey,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ResumeArgs {
    /// The session, as `crawld sessions` lists it
    session: SessionKey,
    /// Continue past the limit that it has reached; the limit counts anew
    #[arg(long)]
    extend: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct RetryArgs {
    /// The session, as `crawld sessions` lists it
    session: SessionKey,
    /// Also the URLs that crashed their browser every time
    #[arg(long)]
    quarantined: bool,
}

pub(in crate::cli) async fn checkpoint(context: &Context, args: OneSession) -> Outcome {
    give(context, args.session, SessionOrder::Checkpoint).await
}

pub(in crate::cli) async fn pause(context: &Context, args: OneSession) -> Outcome {
    give(context, args.session, SessionOrder::Pause).await
}

pub(in crate::cli) async fn resume(context: &Context, args: ResumeArgs) -> Outcome {
    give(context, args.session, SessionOrder::Resume { extend: args.extend }).await
}

pub(in crate::cli) async fn cancel(context: &Context, args: OneSession) -> Outcome {
    give(context, args.session, SessionOrder::Cancel).await
}

pub(in crate::cli) async fn retry_failed(context: &Context, args: RetryArgs) -> Outcome {
    give(context, args.session, SessionOrder::RetryFailed { quarantined: args.quarantined }).await
}

pub(in crate::cli) async fn release_parked(context: &Context, args: OneSession) -> Outcome {
    give(context, args.session, SessionOrder::ReleaseParked).await
}

async fn give(context: &Context, session: SessionKey, order: SessionOrder) -> Outcome {
    let session = session.of(&context.existing()?)?;
    let (done, remote) = hands::with_existing(context, order.name(), async |hands, _| {
        Ok((hands.order(&session, order).await?, hands.remote()))
    })
    .await?;
    if context.json {
        out::json(&done)?;
    } else if !context.quiet {
        out::line(&sentence(&done, order, remote))?;
    }
    Ok(ExitCode::Ok)
}

fn sentence(done: &Done, order: SessionOrder, remote: bool) -> String {
    let id = &done.session_id;
    let what = match order {
        SessionOrder::Checkpoint => format!("{id}: checkpoint {} written", done.count),
        SessionOrder::Pause => format!("{id}: paused, also across restarts; `crawld resume {id}` lets it go on"),
        SessionOrder::Resume { .. } => format!("{id}: may go on"),
        SessionOrder::Cancel => format!("{id}: cancelled"),
        SessionOrder::RetryFailed { .. } => format!("{id}: {} URLs queued again", count(done.count)),
        SessionOrder::ReleaseParked => format!("{id}: {} URLs released", count(done.count)),
    };
    let waits = !remote && !done.status.ended() && done.status != SessionStatus::Paused;
    if waits && !matches!(order, SessionOrder::Checkpoint) {
        format!("{what}\nno crawld is running here: `crawld recover {id}` continues it")
    } else {
        what
    }
}
