//! `crawld watch [SESSION]`: what happens, as it happens. Lines for a file or a pipe, a live view on a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use tokio::time::Instant;

use crate::api::client::watch::{News, Over, Place, Watcher};
use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::live::{Screen, event_line};
use crate::cli::{Outcome, hands, out};
use crate::daemon::session_key::SessionKey;
use crate::exit_code::ExitCode;
use crate::model::event::{EventId, Notice};
use crate::model::text::escape_control;
use crate::policy::reconnect::Ending;

/// A terminal is drawn so often at most.
const DRAW: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(in crate::cli) struct WatchArgs {
    /// The session [default: all]
    session: Option<SessionKey>,
    /// Begin with what came after this number, such as 3.1841.2; 0.0.0 is the beginning
    #[arg(long, value_name = "NUMBER", requires = "session", value_parser = number)]
    after: Option<EventId>,
}

fn number(text: &str) -> Result<EventId, String> {
    text.parse()
}

pub(in crate::cli) async fn run(context: &Context, args: WatchArgs) -> Outcome {
    let state = context.existing()?;
    let session = args.session.map(|named| named.of(&state)).transpose()?;
    if hands::owner(context).await?.is_none() {
        return Err(context.nothing("no crawld is running: there is nothing to watch"));
    }
    let live = std::io::stdout().is_terminal() && !context.json;
    let mut watcher = Watcher::new(Place::StateDir(state.root().to_owned()), session, args.after);
    let mut view = View { json: context.json, quiet: context.quiet, screen: live.then(Screen::default), drawn: None };
    loop {
        let late = view.late();
        let news = tokio::select! {
            news = watcher.next() => news,
            () = tokio::time::sleep_until(late.unwrap_or_else(Instant::now)), if late.is_some() => {
                view.draw()?;
                continue;
            }
            _ = tokio::signal::ctrl_c() => break,
        };
        match news {
            Ok(news) => view.show(news)?,
            Err(over) => {
                view.draw()?;
                return ended(context, &over);
            }
        }
    }
    view.draw()?;
    watcher.close().await;
    Ok(ExitCode::Ok)
}

/// How it is shown.
struct View {
    json: bool,
    quiet: bool,
    screen: Option<Screen>,
    /// When the screen was last drawn, and whether something came since.
    drawn: Option<(Instant, bool)>,
}

impl View {
    /// When the screen is to be drawn although nothing more comes.
    fn late(&self) -> Option<Instant> {
        self.drawn.filter(|(_, news)| *news).map(|(at, _)| at + DRAW)
    }

    fn show(&mut self, news: News) -> Result<(), Failure> {
        if self.json {
            return match news {
                News::Event(_, text) | News::Notice(_, text) | News::Unknown(text) => out::line(text.as_str()),
                News::Reconnecting { .. } => {
                    self.say(&news);
                    Ok(())
                }
            };
        }
        if let Some(screen) = &mut self.screen {
            screen.take(&news);
            match self.drawn {
                Some((at, _)) if at.elapsed() < DRAW => self.drawn = Some((at, true)),
                _ => self.draw()?,
            }
            return Ok(());
        }
        match &news {
            News::Event(event, _) => out::line(&event_line(event)),
            News::Notice(Notice::Hello { .. } | Notice::Alive {}, _) | News::Unknown(_) => Ok(()),
            News::Notice(..) | News::Reconnecting { .. } => {
                self.say(&news);
                Ok(())
            }
        }
    }

    fn say(&self, news: &News) {
        if !self.quiet
            && let Some(text) = sentence(news)
        {
            out::say(&text);
        }
    }

    fn draw(&mut self) -> Result<(), Failure> {
        if let Some(screen) = &mut self.screen {
            out::line(&screen.draw())?;
            self.drawn = Some((Instant::now(), false));
        }
        Ok(())
    }
}

/// What a connection says of itself, in words.
pub(in crate::cli) fn sentence(news: &News) -> Option<String> {
    Some(match news {
        News::Notice(Notice::Lost { count }, _) => format!("{count} events were left out: this end was too slow"),
        News::Notice(Notice::Gone { from, to, .. }, _) => {
            format!("between {from} and {to} only pages are still known")
        }
        News::Notice(Notice::Ended { status, stop_reason }, _) => match stop_reason {
            Some(reason) => format!("the session is {status} ({reason})"),
            None => format!("the session is {status}"),
        },
        News::Notice(Notice::Error { problem }, _) => format!("crawld says: {}", escape_control(problem)),
        News::Reconnecting { ending, reason, pause, tries } => {
            let why = if reason.is_empty() { String::new() } else { format!(" ({})", escape_control(reason)) };
            format!("connection {ending}{why}; try {tries} in {:.0} s", pause.as_secs_f64())
        }
        News::Event(..) | News::Unknown(_) | News::Notice(Notice::Hello { .. } | Notice::Alive {}, _) => return None,
    })
}

fn ended(context: &Context, over: &Over) -> Outcome {
    match over.ending {
        Ending::SessionEnded | Ending::Closed => Ok(ExitCode::Ok),
        Ending::UnknownSession => Err(context.nothing(&format!("no such session: {}", escape_control(&over.reason)))),
        _ => {
            let message = format!("the daemon cannot be watched any more: {}", escape_control(&over.to_string()));
            Err(Failure::new(ExitCode::Stopped, message).hint("`crawld status` says where things stand"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_cannot_steer_the_terminal() {
        let news = News::Reconnecting {
            ending: Ending::CircuitOpen,
            reason: "\u{1b}[2J".into(),
            pause: Duration::from_secs(3),
            tries: 2,
        };
        assert_eq!(sentence(&news).unwrap(), "connection circuit_open (\\u{1b}[2J); try 2 in 3 s");
        assert_eq!(sentence(&News::Unknown("{}".into())), None);
    }
}
