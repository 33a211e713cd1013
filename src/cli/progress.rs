//! The foreground display: a bar on a terminal, a line every 10 s elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::{Instant, MissedTickBehavior};

use crate::cli::context::Context;
use crate::cli::format::{count, duration};
use crate::cli::hands::Hands;
use crate::cli::out;
use crate::daemon::answers::SessionSummary;
use crate::daemon::command::OperatorError;
use crate::model::ids::SessionId;
use crate::model::session::SessionStatus;

/// How often a person's eye wants news.
const POLL: Duration = Duration::from_millis(500);
/// How often a log file wants a line.
const LINE: Duration = Duration::from_secs(10);

/// Shows where sessions stand until told to stop.
pub(super) struct Display {
    bar: Option<ProgressBar>,
    quiet: bool,
    next_line: Instant,
}

impl Display {
    pub(super) fn new(context: &Context) -> Self {
        let bar = (context.terminal() && !context.quiet).then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{bar:24.green} {pos}/{len}  {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style);
            bar
        });
        Display { bar, quiet: context.quiet, next_line: Instant::now() + LINE }
    }

    /// Shows the newest numbers.
    pub(super) fn show(&mut self, all: &[SessionSummary]) {
        if all.is_empty() || self.quiet {
            return;
        }
        if let Some(bar) = &self.bar {
            let (ended, discovered) =
                all.iter().fold((0, 0), |(e, d), s| (e + s.counters.ended(), d + s.counters.discovered));
            bar.set_length(discovered);
            bar.set_position(ended);
            bar.set_message(line(all));
        } else if Instant::now() >= self.next_line {
            self.next_line = Instant::now() + LINE;
            out::say(&line(all));
        }
    }
}

impl Drop for Display {
    /// The bar makes room for the last words, however the wait ended.
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Follows sessions until all have ended or are held, or nobody answers any more. The future never
/// ends by itself while a session runs: race it with whatever else may end the wait.
///
/// # Errors
/// The owner is gone, or a session is.
pub(super) async fn follow(
    context: &Context,
    hands: &Hands,
    sessions: &[SessionId],
) -> Result<Vec<SessionSummary>, OperatorError> {
    let mut display = Display::new(context);
    let mut ticks = tokio::time::interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut all = Vec::with_capacity(sessions.len());
        for session in sessions {
            all.push(hands.status(session).await?.summary);
        }
        display.show(&all);
        if all.iter().all(|summary| summary.status.ended()) {
            return Ok(all);
        }
    }
}

/// `120 done, 34 queued, 2 failed, 5.2 pages/s, ETA 1 m 3 s, health 0.98`
pub(super) fn line(all: &[SessionSummary]) -> String {
    let sum = |pick: fn(&SessionSummary) -> u64| all.iter().map(pick).sum::<u64>();
    let rate: f64 = all.iter().map(|s| s.rates.pages_per_second_1m).sum();
    // What is held does not come to an end by itself.
    let eta = all.iter().filter(|s| s.status != SessionStatus::Paused).filter_map(|s| s.eta_seconds).max();
    let health = all.iter().map(|s| s.health_score).fold(1.0, f64::min);
    let mut text = format!(
        "{} done, {} queued, {} failed, {rate:.1} pages/s, ETA {}, health {health:.2}",
        count(sum(|s| s.counters.ended())),
        count(sum(|s| s.counters.remaining())),
        count(sum(|s| s.counters.failed)),
        eta.map_or_else(|| "-".to_owned(), |eta| duration(Duration::from_secs(eta))),
    );
    let of = |status| all.iter().filter(move |s: &&SessionSummary| s.status == status);
    let held = of(SessionStatus::Paused).map(|s| s.status_reason.as_deref().unwrap_or("by the operator")).next();
    if let Some(reason) = held {
        text.push_str(&format!(", paused: {}", crate::model::text::escape_control(reason)));
    } else if let Some(reason) = of(SessionStatus::Active).find_map(|s| s.status_reason.as_deref()) {
        text.push_str(&format!("; {}", crate::model::text::escape_control(reason)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::session_table::tests::summary;

    #[test]
    fn one_line_says_where_a_crawl_stands() {
        let active = summary();
        assert_eq!(
            line(std::slice::from_ref(&active)),
            "790 done, 704 queued, 40 failed, 5.2 pages/s, ETA 2 m 14 s, health 0.98"
        );
        let held = SessionSummary {
            status: SessionStatus::Paused,
            status_reason: Some("disk\u{1b}[2J".into()),
            eta_seconds: None,
            ..summary()
        };
        assert_eq!(
            line(&[active, held]),
            "1 580 done, 1 408 queued, 80 failed, 10.5 pages/s, ETA 2 m 14 s, health 0.98, paused: disk\\u{1b}[2J"
        );
    }
}
