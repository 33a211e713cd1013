//! Logs: text or JSON on stderr, journald priorities under systemd, control characters escaped.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::model::outcome::closed_list;
use crate::model::text::escape_control;

closed_list! {
    /// How logs are written.
    LogFormat {
        /// One line for people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

/// Libraries that would fill the log: the driver reports every message it does not know.
const QUIET: &[&str] = &["chromiumoxide=off", "html5ever=error", "selectors=error", "hyper=warn", "reqwest=warn"];

/// Reads a log filter: a level, or directives as `tracing_subscriber::EnvFilter` knows them.
///
/// # Errors
/// A sentence that names what is accepted.
pub fn parse_filter(text: &str) -> Result<EnvFilter, String> {
    let expected = || {
        let shown = escape_control(text);
        format!(
            "`{shown}` is not a log level: write error, warn, info, debug, trace or off, or a filter such as `info,crawld::crawl=debug`"
        )
    };
    let plain = text.trim();
    // A lone word that is no level would silently be a filter for a target of that name.
    let known = ["error", "warn", "info", "debug", "trace", "off"].contains(&plain.to_ascii_lowercase().as_str());
    if plain.is_empty() || (!known && !plain.contains(['=', ','])) {
        return Err(expected());
    }
    let quiet: Vec<&str> =
        QUIET.iter().copied().filter(|rule| !plain.contains(rule.split('=').next().unwrap_or(rule))).collect();
    // Ours come first: what the operator says later wins.
    EnvFilter::builder().parse(format!("{},{plain}", quiet.join(","))).map_err(|_| expected())
}

/// Starts logging to stderr for the rest of the process's life. A second call changes nothing.
///
/// # Errors
/// The filter is wrong; see [`parse_filter`].
pub fn init(level: &str, format: LogFormat) -> Result<(), String> {
    let filter = parse_filter(level)?;
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        LogFormat::Json => registry
            .with(tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(io::stderr))
            .try_init(),
        LogFormat::Text => {
            let lines = Lines { journal: std::env::var_os("JOURNAL_STREAM").is_some() && !io::stderr().is_terminal() };
            registry
                .with(tracing_subscriber::fmt::layer().with_ansi(false).event_format(lines).with_writer(io::stderr))
                .try_init()
        }
    };
    // Only a test initialises twice.
    let _ = started;
    Ok(())
}

/// One event a line: time, level, message, fields. Under journald a priority instead of the time.
struct Lines {
    journal: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let level = *event.metadata().level();
        let mut fields = String::new();
        context.field_format().format_fields(Writer::new(&mut fields), event)?;
        if let Some(scope) = context.event_scope() {
            for span in scope.from_root() {
                if let Some(of_span) = span.extensions().get::<FormattedFields<N>>().filter(|f| !f.is_empty()) {
                    let _ = write!(fields, " {}", of_span.fields);
                }
            }
        }
        let fields = escape_control(&fields);
        if self.journal {
            writeln!(out, "<{}>{fields}", priority(level))
        } else {
            let now = crate::clock::Clock::system().now();
            writeln!(out, "{now} {level:>5} {fields}")
        }
    }
}

/// syslog's numbers, as journald reads them.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_levels_or_directives() {
        for (text, good) in [
            ("info", true),
            ("DEBUG", true),
            ("off", true),
            ("info,crawld::api=trace", true),
            ("loud", false),
            ("", false),
            ("a=loud", false),
        ] {
            assert_eq!(parse_filter(text).is_ok(), good, "{text}");
        }
    }
}
