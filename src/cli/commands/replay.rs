//! `crawld replay SESSION`: steps through a recording, each decision with what was known when it was made.

use std::io::{BufRead, BufReader, IsTerminal};

use clap::Args;

use crate::cli::context::Context;
use crate::cli::failure::Failure;
use crate::cli::live::event_line;
use crate::cli::{Outcome, out};
use crate::daemon::feed::recorder;
use crate::daemon::session_key::SessionKey;
use crate::exit_code::ExitCode;
use crate::model::decision::{Decided, Decision};
use crate::model::event::{Event, EventId};
use crate::model::host::HostState;
use crate::model::text::escape_control;

#[derive(Debug, Args)]
pub(in crate::cli) struct ReplayArgs {
    /// The session, as `crawld sessions` lists it
    session: SessionKey,
    /// Begin after this event, such as 3.1841.2
    #[arg(long, value_name = "NUMBER", value_parser = number)]
    after: Option<EventId>,
    /// Only what concerns this URL, by its number `n`
    #[arg(long, value_name = "N")]
    url: Option<u64>,
    /// Wait for Enter after each line
    #[arg(long)]
    step: bool,
}

fn number(text: &str) -> Result<EventId, String> {
    text.parse()
}

/// A line of a recording.
enum Line {
    Event(Box<Event>),
    Decided(Box<Decided>),
    Other,
}

pub(in crate::cli) async fn run(context: &Context, args: ReplayArgs) -> Outcome {
    let state = context.existing()?;
    let session = args.session.clone().of(&state)?;
    let dir = state.session(&session).record();
    let unreadable =
        |error: std::io::Error| Failure::new(ExitCode::CannotWrite, format!("`{}`: {error}", dir.display()));
    let files = recorder::files(&dir).map_err(unreadable)?;
    if files.is_empty() {
        let hint = "`record = true` in a task (or `crawld crawl --record`) keeps a recording of its sessions";
        return Err(Failure::new(ExitCode::Nothing, format!("session {session} has no recording")).hint(hint));
    }
    let steps = args.step && std::io::stdin().is_terminal();
    for file in files {
        for text in BufReader::new(std::fs::File::open(&file).map_err(unreadable)?).lines() {
            let text = text.map_err(unreadable)?;
            let line = read(&text);
            if !concerns(&line, &args) {
                continue;
            }
            if context.json {
                out::line(&text)?;
            } else {
                out::line(&words(&line, &text))?;
            }
            if steps && std::io::stdin().read_line(&mut String::new()).map_err(unreadable)? == 0 {
                return Ok(ExitCode::Ok);
            }
        }
    }
    Ok(ExitCode::Ok)
}

fn read(text: &str) -> Line {
    if let Ok(decided) = serde_json::from_str(text) {
        return Line::Decided(Box::new(decided));
    }
    serde_json::from_str(text).map_or(Line::Other, |event| Line::Event(Box::new(event)))
}

fn concerns(line: &Line, args: &ReplayArgs) -> bool {
    let after = args.after.unwrap_or_default();
    let (late, n) = match line {
        Line::Event(event) => (event.id > after, page_of(event)),
        Line::Decided(decided) => (decided.after >= after, url_of(&decided.decision)),
        Line::Other => (true, None),
    };
    late && args.url.is_none_or(|wanted| n == Some(wanted))
}

fn page_of(event: &Event) -> Option<u64> {
    match &event.what {
        crate::model::event::What::Page { page } => Some(page.n),
        _ => None,
    }
}

fn url_of(decision: &Decision) -> Option<u64> {
    match decision {
        Decision::Visit { n, .. } | Decision::End { n, .. } | Decision::Retry { n, .. } | Decision::Release { n } => {
            Some(*n)
        }
        _ => None,
    }
}

fn words(line: &Line, text: &str) -> String {
    match line {
        Line::Event(event) => event_line(event),
        Line::Decided(decided) => {
            let at = decided.at.to_string();
            let time = at.get(11..19).unwrap_or_default();
            format!("{time} {}+ {}", decided.after, decision(&decided.decision))
        }
        Line::Other => escape_control(text).into_owned(),
    }
}

fn decision(decision: &Decision) -> String {
    match decision {
        Decision::Visit { n, url, attempt, suspect, host, visits_active } => {
            let alone = if *suspect { ", alone" } else { "" };
            let url = escape_control(url);
            format!("visit {n} {url}: attempt {attempt}{alone}, {visits_active} under way{}", known(*host))
        }
        Decision::End { n, outcome, detail, links, host } => {
            let detail = detail.as_deref().map(|detail| format!(" {}", escape_control(detail))).unwrap_or_default();
            format!("end {n}: {outcome}{detail}, {links} links{}", known(*host))
        }
        Decision::Retry { n, not_before, charged, suspect, trouble, host } => {
            let why = trouble.as_deref().map(|why| format!(" ({})", escape_control(why))).unwrap_or_default();
            let how = match (charged, suspect) {
                (_, true) => ", alone",
                (true, false) => "",
                (false, false) => ", not charged",
            };
            format!("retry {n} not before {not_before}{how}{why}{}", known(*host))
        }
        Decision::Release { n } => format!("release {n}: given back without a visit"),
        Decision::Wait { until, visits_active } => format!("wait until {until}, {visits_active} under way"),
        Decision::Hold { hold, why: Some(why) } => format!("hold {}: {}", escape_control(hold), escape_control(why)),
        Decision::Hold { hold, why: None } => format!("hold {} is over", escape_control(hold)),
        Decision::Order { order } => format!("order {}", escape_control(order)),
        Decision::Stop { reason } => format!("stop: {}", escape_control(reason)),
        Decision::Share { visits } => format!("visits at once: {visits}"),
    }
}

fn known(host: Option<HostState>) -> String {
    let Some(host) = host else { return String::new() };
    let breaker = &host.breaker;
    format!(
        "; host: delay {} ms, next at {}, breaker {} ({})",
        host.delay_ms, host.next_at, breaker.state, breaker.failures
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_shown_with_what_was_known() {
        let text = r#"{"after":"1.4.2","at":"2026-01-01T10:00:05Z","decided":"visit","n":7,"url":"http://h/\u001b","attempt":2,
            "suspect":false,"host":{"delay_ms":250,"next_at":"2026-01-01T10:00:05.250Z"},"visits_active":3}"#;
        let line = read(text);
        let args = |after: &str, url| ReplayArgs {
            session: "s1".parse().unwrap(),
            after: after.parse().ok(),
            url,
            step: false,
        };
        assert_eq!(
            words(&line, text),
            "10:00:05 1.4.2+ visit 7 http://h/\\u{1b}: attempt 2, 3 under way; host: delay 250 ms, next at \
             2026-01-01T10:00:05.250Z, breaker closed (0)"
        );
        assert!(concerns(&line, &args("1.4.2", None)) && concerns(&line, &args("", Some(7))));
        assert!(!concerns(&line, &args("1.4.3", None)) && !concerns(&line, &args("", Some(8))));
        assert_eq!(words(&read("{\"missed\":3}"), "{\"missed\":3}"), "{\"missed\":3}");
    }
}
