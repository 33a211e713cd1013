//! What answer headers mean. Pure.

use std::time::Duration;

use url::Url;

use crate::extract::says_nofollow;
use crate::model::time::Timestamp;
use crate::model::url::UrlError;

use super::client::ROBOTS_TOKEN;

/// A media type longer than this is nonsense.
const MAX_MEDIA_TYPE_BYTES: usize = 127;

/// The media type of a `Content-Type` value: without parameters, lower case.
pub fn media_type(content_type: &str) -> Option<String> {
    let media_type = content_type.split([';', ',']).next()?.trim().to_ascii_lowercase();
    let sound = media_type.contains('/') && media_type.len() <= MAX_MEDIA_TYPE_BYTES && media_type.is_ascii();
    sound.then_some(media_type)
}

/// Every header whose value is text: bytes beyond ASCII as browsers read them, one character each.
pub fn readable(headers: &http::HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| value.as_bytes().iter().map(|b| char::from(*b)).collect();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// `Content-Disposition: attachment`: the server means a file to be saved.
pub fn is_attachment(disposition: &str) -> bool {
    disposition.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("attachment"))
}

/// `Retry-After` in seconds or as a date (RFC 9110, 10.2.3); a date in the past is zero.
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?;
    Some(Timestamp::from_millis(date.timestamp().as_millisecond()).since(now))
}

/// Whether an `X-Robots-Tag` value forbids following links: for everybody, or for crawld by name.
pub fn tag_says_nofollow(value: &str) -> bool {
    match value.split_once(':') {
        // `unavailable_after: date` and `max-snippet: 3` are directives with a value, not agents.
        Some((agent, directives)) if !agent.contains(',') => {
            agent.trim().eq_ignore_ascii_case(ROBOTS_TOKEN) && says_nofollow(directives)
        }
        _ => says_nofollow(value),
    }
}

/// Where a redirect status leads, without fragment and credentials; `None` when it is no redirect or
/// names no place.
///
/// # Errors
/// A place that is no http or https URL.
pub fn redirect_target(from: &Url, status: u16, location: Option<&[u8]>) -> Option<Result<Url, UrlError>> {
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    // Many servers send UTF-8 here; what is not is read byte by byte, as browsers do.
    let location = location?;
    let text = match std::str::from_utf8(location) {
        Ok(text) => text.to_owned(),
        Err(_) => location.iter().map(|b| char::from(*b)).collect(),
    };
    let Ok(mut target) = from.join(text.trim()) else {
        return Some(Err(UrlError::Invalid(text.escape_debug().to_string())));
    };
    if !matches!(target.scheme(), "http" | "https") {
        return Some(Err(UrlError::Scheme(target.scheme().to_owned())));
    }
    target.set_fragment(None);
    // Cannot fail: http and https URLs have a host.
    let _ = target.set_username("");
    let _ = target.set_password(None);
    Some(Ok(target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_media_types() {
        assert_eq!(media_type("Text/HTML; charset=x").as_deref(), Some("text/html"));
        assert_eq!(media_type("text/html, text/html").as_deref(), Some("text/html"));
        assert_eq!(media_type("nonsense"), None);
        assert_eq!(media_type(""), None);
        assert_eq!(media_type(&format!("a/{}", "x".repeat(200))), None);
    }

    #[test]
    fn reads_retry_after() {
        let now = Timestamp::parse("2026-11-21T10:00:00Z").unwrap();
        #[track_caller]
        fn check(now: Timestamp, value: &str, expected: Option<u64>) {
            assert_eq!(retry_after(value, now), expected.map(Duration::from_secs), "{value}");
        }
        check(now, "120", Some(120));
        check(now, " 0 ", Some(0));
        check(now, "Sat, 21 Nov 2026 10:00:30 GMT", Some(30));
        check(now, "Sat, 21 Nov 2026 09:00:00 GMT", Some(0));
        check(now, "soon", None);
        check(now, "-1", None);
        check(now, "99999999999999999999999", None);
    }

    #[test]
    fn reads_robots_tags() {
        assert!(tag_says_nofollow("noindex, nofollow"));
        assert!(tag_says_nofollow("crawld: none"));
        assert!(!tag_says_nofollow("otherbot: nofollow"));
        assert!(tag_says_nofollow("nofollow, max-snippet: 3"));
        assert!(!tag_says_nofollow("index"));
    }

    #[test]
    fn tells_attachments() {
        assert!(is_attachment("Attachment; filename=a"));
        assert!(!is_attachment("inline; filename=attachment"));
    }

    #[test]
    fn finds_redirect_targets() {
        #[track_caller]
        fn check(status: u16, location: Option<&[u8]>, expected: Option<Result<&str, ()>>) {
            let from = Url::parse("http://h/d/p?q").unwrap();
            let found = redirect_target(&from, status, location);
            assert_eq!(found.as_ref().map(|r| r.as_ref().map(|u| u.as_str()).map_err(|_| ())), expected);
        }
        check(301, Some(b"/a"), Some(Ok("http://h/a")));
        check(308, Some(b"https://me:secret@o/x#f"), Some(Ok("https://o/x")));
        check(302, Some("/é".as_bytes()), Some(Ok("http://h/%C3%A9")));
        check(302, Some(b"/\xe9"), Some(Ok("http://h/%C3%A9")));
        check(302, Some(b"file:///etc/passwd"), Some(Err(())));
        check(302, Some(b"javascript:alert(1)"), Some(Err(())));
        check(302, Some(b"http://[bad"), Some(Err(())));
        check(302, None, None);
        check(200, Some(b"/a"), None);
        check(304, Some(b"/a"), None);
    }
}
