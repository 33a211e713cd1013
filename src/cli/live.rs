//! Events for a person's eyes: a line each, and a screen that shows where sessions stand and what came last.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::time::Duration;

use crate::api::client::watch::News;
use crate::cli::commands::watch::sentence;
use crate::cli::format::{count, duration};
use crate::model::event::{Event, Notice, PageNote, ProgressNote, What};
use crate::model::ids::SessionId;
use crate::model::outcome::OutcomeKind;
use crate::model::text::escape_control;

/// Lines of the feed on the screen.
const FEED: usize = 15;
/// Characters of a line; what is longer is cut, so that a line stays one on most terminals.
const WIDE: usize = 160;
/// Sessions on the screen.
const SESSIONS: usize = 8;

/// One line for an event.
pub(super) fn event_line(event: &Event) -> String {
    let at = event.at.to_string();
    let time = at.get(11..19).unwrap_or_default();
    cut(&format!("{time} {} {}", event.id, what(&event.what)))
}

fn what(what: &What) -> String {
    match what {
        What::Page { page } => page_words(page),
        What::Status { status } => {
            let from = status.from.map(|from| format!("{from} -> ")).unwrap_or_default();
            format!("status {from}{}{}", status.to, because(status.reason.as_deref()))
        }
        What::Health { health } => {
            let worst = health.factors.iter().min_by(|a, b| a.value.total_cmp(&b.value)).filter(|f| f.value < 1.0);
            let why = worst.map(|factor| format!("{}: {}", factor.name, factor.reason));
            format!("health {:.2} {}{}", health.score, escape_control(&health.level), because(why.as_deref()))
        }
        What::Breaker { breaker } => {
            format!("breaker {} {} after {} failures", breaker.state, escape_control(&breaker.host), breaker.failures)
        }
        What::BrowserRestart { browser_restart } => {
            format!("browser lost, restart {}{}", browser_restart.restarts, because(browser_restart.cause.as_deref()))
        }
        What::Checkpoint { checkpoint } => format!("checkpoint {}", checkpoint.generation),
        What::Alert { alert } => match (alert.raised, alert.value, alert.threshold) {
            (true, Some(value), Some(threshold)) => {
                format!("ALERT {} {value:.2} (threshold {threshold:.2})", escape_control(&alert.alert))
            }
            (true, ..) => format!("ALERT {}", escape_control(&alert.alert)),
            (false, ..) => format!("alert over: {}", escape_control(&alert.alert)),
        },
        What::Progress { progress } => progress_words(progress),
    }
}

fn page_words(page: &PageNote) -> String {
    let how = match (page.outcome, page.http_status, page.failure_class, page.skip_reason) {
        (OutcomeKind::Fetched, Some(status), ..) => status.to_string(),
        (OutcomeKind::Failed, _, Some(class), _) => format!("failed {class}"),
        (OutcomeKind::Skipped, _, _, Some(reason)) => format!("skipped {reason}"),
        (kind, ..) => kind.to_string(),
    };
    let title = page.title.as_deref().map(|title| format!("  {}", escape_control(title))).unwrap_or_default();
    format!("{how} {} ms {}{title}", page.duration_ms, escape_control(&page.url))
}

fn progress_words(progress: &ProgressNote) -> String {
    let counters = &progress.counters;
    let eta =
        progress.eta_seconds.map(|eta| format!(", ETA {}", duration(Duration::from_secs(eta)))).unwrap_or_default();
    format!(
        "{} done, {} queued, {} failed, {:.1} pages/s, {} under way{eta}",
        count(counters.ended()),
        count(counters.remaining()),
        count(counters.failed),
        progress.rates.pages_per_second_1m,
        progress.visits_active,
    )
}

fn because(reason: Option<&str>) -> String {
    reason.map(|reason| format!(" ({})", escape_control(reason))).unwrap_or_default()
}

fn cut(line: &str) -> String {
    match line.char_indices().nth(WIDE) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// The newest of one session.
#[derive(Debug, Default)]
struct Standing {
    progress: Option<String>,
    status: Option<String>,
    health: Option<f64>,
}

/// What a terminal shows.
#[derive(Debug, Default)]
pub(super) struct Screen {
    sessions: BTreeMap<SessionId, Standing>,
    feed: VecDeque<String>,
    connection: Option<String>,
    drawn_lines: usize,
}

impl Screen {
    /// Takes note of news.
    pub(super) fn take(&mut self, news: &News) {
        match news {
            News::Event(event, _) => self.event(event),
            News::Notice(Notice::Hello { .. }, _) => self.connection = None,
            News::Reconnecting { .. } => self.connection = sentence(news),
            News::Notice(..) => {
                if let Some(words) = sentence(news) {
                    self.push(words);
                }
            }
            News::Unknown(_) => {}
        }
    }

    fn event(&mut self, event: &Event) {
        if let Some(session) = &event.session_id {
            // The oldest make room: ids begin with the time.
            while self.sessions.len() >= SESSIONS && !self.sessions.contains_key(session) {
                self.sessions.pop_first();
            }
            let standing = self.sessions.entry(session.clone()).or_default();
            match &event.what {
                What::Progress { progress } => standing.progress = Some(progress_words(progress)),
                What::Status { status } => standing.status = Some(status.to.to_string()),
                What::Health { health } => standing.health = Some(health.score),
                _ => {}
            }
        }
        if !matches!(event.what, What::Progress { .. }) {
            self.push(event_line(event));
        }
    }

    fn push(&mut self, line: String) {
        if self.feed.len() == FEED {
            self.feed.pop_front();
        }
        self.feed.push_back(line);
    }

    /// The screen, over the one drawn before.
    pub(super) fn draw(&mut self) -> String {
        let mut text = String::new();
        if self.drawn_lines > 0 {
            // Up to where the last one began, and everything below away.
            let _ = write!(text, "\u{1b}[{}F\u{1b}[0J", self.drawn_lines);
        }
        let lines = self.lines();
        self.drawn_lines = lines.len();
        text.push_str(&lines.join("\n"));
        text
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (session, standing) in &self.sessions {
            let status = standing.status.as_deref().unwrap_or("");
            let health = standing.health.map(|health| format!(" health {health:.2}")).unwrap_or_default();
            lines.push(cut(&format!("{session} {status}{health}")));
            lines.push(cut(&format!("  {}", standing.progress.as_deref().unwrap_or("no news yet"))));
        }
        lines.push(String::new());
        lines.extend(self.feed.iter().cloned());
        lines.extend(self.connection.iter().map(|words| cut(words)));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::{CheckpointNote, EventId};
    use crate::model::time::Timestamp;

    fn page(title: &str) -> Event {
        let url = crate::model::url::CanonicalUrl::parse("http://h.example/").unwrap();
        let record = crate::model::record::PageRecord {
            title: Some(title.into()),
            http_status: Some(200),
            duration_ms: 12,
            ..crate::model::record::PageRecord::new(
                &url,
                crate::model::outcome::Outcome::Fetched,
                Timestamp::from_millis(0),
            )
        };
        let (page, at) = PageNote::of(&record);
        Event::new(EventId::new(1, 2, 3), "s1".parse().ok(), at, What::Page { page })
    }

    #[test]
    fn a_page_is_a_line_whatever_its_title() {
        assert_eq!(event_line(&page("A title")), "00:00:00 1.2.3 200 12 ms http://h.example/  A title");
        let hostile = event_line(&page(&format!("\u{1b}[2J\n\u{202e}{}", "x".repeat(5000))));
        assert!(!hostile.contains(['\u{1b}', '\n', '\u{202e}']) && hostile.chars().count() == WIDE + 1);
    }

    #[test]
    fn a_screen_replaces_the_one_before_and_stays_small() {
        let mut screen = Screen::default();
        for _ in 0..40 {
            screen.take(&News::Event(Box::new(page("t")), "".into()));
        }
        let first = screen.draw();
        assert!(!first.contains('\u{1b}') && first.lines().count() == 2 + 1 + FEED, "{first}");
        assert!(screen.draw().starts_with(&format!("\u{1b}[{}F\u{1b}[0J", 3 + FEED)));
        for n in 0..20 {
            let what = What::Checkpoint { checkpoint: CheckpointNote { generation: 1 } };
            let session = format!("session_{n:013}_abcdefgh").parse().ok();
            let event = Event::new(EventId::new(1, 1, 1), session, Timestamp::from_millis(0), what);
            screen.take(&News::Event(Box::new(event), "".into()));
        }
        assert_eq!(screen.lines().len(), SESSIONS * 2 + 1 + FEED);
    }
}
