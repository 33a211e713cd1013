//! Judges the response of a main document by its head, before a byte of its body is read.

use std::time::Duration;

use crate::model::outcome::FailureClass;
use crate::policy::hints::header_links;

/// What becomes of a document's response.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// It is loaded and read.
    Load,
    /// A redirect: the next request will be asked about.
    Redirect,
    /// It has no body to load.
    Empty,
    /// A file, not a page: not loaded.
    Download,
    /// Its status is a failure.
    Failed(FailureClass),
    /// It announces more bytes than allowed.
    TooLarge(u64),
}

/// The head of a response: what of it matters here.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Head {
    /// HTTP status.
    pub status: u16,
    /// Media type without parameters, lower case.
    pub content_type: Option<String>,
    /// `X-Robots-Tag` says that links are not to be followed.
    pub nofollow: bool,
    /// What the server asked for.
    pub retry_after: Option<Duration>,
    /// Announced length of the body as sent.
    pub content_length: Option<u64>,
    /// References in its headers.
    pub references: Vec<String>,
    /// Its scripts may not run.
    pub still: bool,
    attachment: bool,
    location: Option<String>,
}

impl Head {
    /// Reads a head. `now_unix` in seconds, for `Retry-After` with a date.
    pub(super) fn read<'a>(status: u16, headers: impl Iterator<Item = (&'a str, &'a str)>, now_unix: i64) -> Head {
        let mut head = Head { status, ..Head::default() };
        for (name, value) in headers {
            match name.to_ascii_lowercase().as_str() {
                "content-type" => {
                    let media = value.split([';', ',']).next().unwrap_or_default().trim().to_ascii_lowercase();
                    // What is no type says nothing, and Chromium looks for itself.
                    head.content_type = media.contains('/').then_some(media);
                }
                "content-disposition" => {
                    let kind = value.split(';').next().unwrap_or_default().trim();
                    head.attachment = kind.eq_ignore_ascii_case("attachment");
                }
                "content-length" => head.content_length = value.trim().parse().ok(),
                "location" => head.location = Some(value.trim().to_owned()),
                "content-security-policy" => head.still |= stops_scripts(value),
                "x-robots-tag" => head.nofollow |= says_nofollow(value),
                "retry-after" => head.retry_after = retry_after(value, now_unix),
                name @ ("link" | "refresh") => head.references.extend(header_links(name, value)),
                _ => {}
            }
        }
        head
    }

    /// The beginning of such a document is worth reading where the rest is too long; the same kinds as by plain
    /// HTTP, where all others only are counted.
    pub(super) fn reads_in_part(&self) -> bool {
        self.content_type.as_deref().is_none_or(|media| {
            matches!(
                media,
                "text/html"
                    | "application/xhtml+xml"
                    | "text/plain"
                    | "text/markdown"
                    | "text/xml"
                    | "application/xml"
                    | "application/rss+xml"
                    | "application/atom+xml"
                    | "application/rdf+xml"
            )
        })
    }

    /// Decides, `max_bytes` being the task's limit for a body.
    pub(super) fn verdict(&self, max_bytes: u64) -> Verdict {
        match self.status {
            204 | 205 => Verdict::Empty,
            301 | 302 | 303 | 307 | 308 if self.location.is_some() => Verdict::Redirect,
            429 => Verdict::Failed(FailureClass::Throttled),
            503 if self.retry_after.is_some() => Verdict::Failed(FailureClass::Throttled),
            500..=599 => Verdict::Failed(FailureClass::ServerError),
            _ if self.attachment || !self.has_text() => Verdict::Download,
            _ => match self.content_length {
                Some(length) if length > max_bytes => Verdict::TooLarge(length),
                _ => Verdict::Load,
            },
        }
    }

    /// It redirects from `here` to what is not the web.
    pub(super) fn leaves_the_web(&self, here: &str) -> bool {
        let to = self.location.as_deref().and_then(|to| url::Url::parse(here).ok()?.join(to).ok());
        to.is_some_and(|to| !matches!(to.scheme(), "http" | "https"))
    }

    /// A feed by its type, which Chromium would show as plain text.
    pub(super) fn is_feed(&self) -> bool {
        matches!(
            self.content_type.as_deref(),
            Some("application/rss+xml" | "application/atom+xml" | "application/rdf+xml")
        )
    }

    /// A type that Chromium shows as a document with text; without a type it looks for itself.
    fn has_text(&self) -> bool {
        let Some(media) = self.content_type.as_deref() else { return true };
        media.starts_with("text/") && media != "text/calendar"
            || media.ends_with("+xml")
            || media.ends_with("+json")
            || matches!(
                media,
                "application/xml"
                    | "application/xhtml"
                    | "application/json"
                    | "application/javascript"
                    | "application/x-javascript"
                    | "unknown/unknown"
                    | "application/unknown"
                    | "*/*"
            )
    }
}

/// `Content-Security-Policy: sandbox` without `allow-scripts`, in one of its policies.
fn stops_scripts(value: &str) -> bool {
    value.split([',', ';']).any(|directive| {
        let mut words = directive.split_ascii_whitespace();
        let sandbox = words.next().is_some_and(|name| name.eq_ignore_ascii_case("sandbox"));
        sandbox && !words.any(|flag| flag.eq_ignore_ascii_case("allow-scripts"))
    })
}

/// `X-Robots-Tag: nofollow`, `none`, or either after a name that is meant for everybody or for us.
fn says_nofollow(value: &str) -> bool {
    let (agent, rules) = match value.split_once(':') {
        Some((agent, rules)) if !agent.contains(',') => (agent.trim(), rules),
        _ => ("*", value),
    };
    let for_us = agent == "*" || agent.eq_ignore_ascii_case("crawld");
    for_us && rules.split(',').any(|rule| matches!(rule.trim().to_ascii_lowercase().as_str(), "nofollow" | "none"))
}

/// `Retry-After` as seconds or as a date (RFC 9110, 10.2.3).
fn retry_after(value: &str, now_unix: i64) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?;
    Some(Duration::from_secs(u64::try_from(date.timestamp().as_second() - now_unix).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, headers: &[(&str, &str)]) -> Head {
        Head::read(status, headers.iter().copied(), 784_111_777)
    }

    #[test]
    fn heads_are_judged() {
        #[track_caller]
        fn check(name: &str, status: u16, headers: &[(&str, &str)], expected: Verdict) {
            assert_eq!(head(status, headers).verdict(1000), expected, "{name}");
        }
        check("page", 200, &[("Content-Type", "Text/HTML; charset=x")], Verdict::Load);
        check("no type", 200, &[], Verdict::Load);
        check("not found is a page", 404, &[("content-type", "text/html")], Verdict::Load);
        check("feed", 200, &[("content-type", "application/rss+xml")], Verdict::Load);
        check("json", 200, &[("content-type", "application/json")], Verdict::Load);
        check("no type at all", 200, &[("content-type", "html")], Verdict::Load);
        check("nothing", 204, &[], Verdict::Empty);
        check("redirect", 302, &[("location", "/x")], Verdict::Redirect);
        check("redirect to nowhere", 302, &[], Verdict::Load);
        check(
            "attachment",
            200,
            &[("content-type", "text/html"), ("content-disposition", "attachment; filename=x")],
            Verdict::Download,
        );
        check("inline", 200, &[("content-disposition", "inline")], Verdict::Load);
        check("pdf", 200, &[("content-type", "application/pdf")], Verdict::Download);
        check("image", 200, &[("content-type", "image/png")], Verdict::Download);
        check("svg", 200, &[("content-type", "image/svg+xml")], Verdict::Load);
        check("too many requests", 429, &[], Verdict::Failed(FailureClass::Throttled));
        check("busy", 503, &[("retry-after", "5")], Verdict::Failed(FailureClass::Throttled));
        check("down", 503, &[], Verdict::Failed(FailureClass::ServerError));
        check("large", 200, &[("content-length", "1001")], Verdict::TooLarge(1001));
    }

    #[test]
    fn policies_that_stop_scripts_are_known() {
        let still = |policy| head(200, &[("Content-Security-Policy", policy)]).still;
        assert!(still("sandbox") && still("default-src 'none'; SANDBOX allow-forms") && still("a-b c, sandbox;"));
        assert!(!still("default-src 'none'") && !still("sandbox allow-forms allow-scripts") && !still("x sandbox"));
    }

    #[test]
    fn redirects_out_of_the_web_are_known() {
        let leaves = |to| head(302, &[("location", to)]).leaves_the_web("http://h/a");
        assert!(leaves("ftp://h/x") && leaves("view-source:http://h/") && leaves("gopher:x"));
        assert!(!leaves("/x") && !leaves("//h/x") && !leaves("HTTPS://h/"));
    }

    #[test]
    fn robots_tags_and_waits_are_read() {
        assert!(head(200, &[("X-Robots-Tag", "noindex, nofollow")]).nofollow);
        assert!(head(200, &[("X-Robots-Tag", "crawld: none")]).nofollow);
        assert!(!head(200, &[("X-Robots-Tag", "otherbot: nofollow")]).nofollow);
        let wait = |value| head(429, &[("Retry-After", value)]).retry_after;
        assert_eq!(wait("120"), Some(Duration::from_secs(120)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:47 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("soon"), None);
    }
}
