//! What passes the bridge: decided on the text of a message, without parsing it.
//!
//! Chromium writes events as `{"method":"…","params":{…},"sessionId":"…"}`, so the beginning names
//! the event; chromiumoxide writes commands as `{"id":…,"method":"…",…}`.

use std::borrow::Cow;

use memchr::memmem;

use super::activity::Activity;

/// How crawld names its own navigation towards chromiumoxide, which would otherwise queue it behind
/// every earlier one and hold back the reply until its own idea of an end.
pub(super) const NAVIGATE: &str = "Crawld.navigate";

/// What becomes of a command.
#[derive(Debug, PartialEq)]
pub(super) enum Command<'a> {
    /// It goes to the browser.
    Pass(Cow<'a, str>),
    /// It is answered here.
    Answer(String),
}

/// Commands of chromiumoxide's tab set-up that only make Chromium send events that nobody reads.
const NEEDLESS: [&str; 2] = [r#""method":"Performance.enable""#, r#""method":"Log.enable""#];

/// Judges a command.
pub(super) fn command(text: &str) -> Command<'_> {
    let head = &text[..text.floor_char_boundary(160)];
    if head.contains(NAVIGATE) {
        return Command::Pass(Cow::Owned(text.replacen(NAVIGATE, "Page.navigate", 1)));
    }
    match (NEEDLESS.iter().any(|needless| head.contains(needless)), call_id(head)) {
        (true, Some(id)) => Command::Answer(format!(r#"{{"id":{id},"result":{{}}}}"#)),
        _ => Command::Pass(Cow::Borrowed(text)),
    }
}

fn call_id(head: &str) -> Option<u64> {
    let rest = head.strip_prefix(r#"{"id":"#)?;
    rest[..rest.find(|c: char| !c.is_ascii_digit())?].parse().ok()
}

/// Events that nobody reads.
const UNREAD: [&[u8]; 9] = [
    b"Network.",
    b"Runtime.consoleAPICalled",
    b"Runtime.exceptionThrown",
    b"Runtime.bindingCalled",
    b"Page.frameResized",
    b"Page.frameClearedScheduledNavigation",
    b"Page.frameStartedNavigating",
    b"Log.",
    b"Performance.",
];

/// Whether a message of the browser goes on to chromiumoxide. Network events do not: what settling
/// needs of them is counted in `activity`.
pub(super) fn wanted(message: &[u8], activity: &Activity) -> bool {
    let Some(name) = message.strip_prefix(br#"{"method":""#) else { return true };
    if name.starts_with(b"Network.") {
        count(name, message, activity);
        return false;
    }
    !UNREAD.iter().any(|unread| name.starts_with(unread))
}

fn count(name: &[u8], message: &[u8], activity: &Activity) {
    let starts = name.starts_with(b"Network.requestWillBeSent\"");
    let ends = name.starts_with(b"Network.loadingFinished\"") || name.starts_with(b"Network.loadingFailed\"");
    if !starts && !ends {
        return;
    }
    let (Some(session), Some(request)) =
        (last_text(message, b"\"sessionId\":\""), first_text(message, b"\"requestId\":\""))
    else {
        return;
    };
    if ends {
        activity.ended(session, request);
    } else if CONTENT_TYPES.iter().any(|kind| memmem::rfind(message, kind).is_some()) {
        activity.started(session, request);
    }
}

/// Requests whose answers can become content: those that scripts make, and scripts.
const CONTENT_TYPES: [&[u8]; 3] = [br#""type":"XHR""#, br#""type":"Fetch""#, br#""type":"Script""#];

fn first_text<'a>(message: &'a [u8], key: &[u8]) -> Option<&'a str> {
    text_at(message, memmem::find(message, key)? + key.len())
}

fn last_text<'a>(message: &'a [u8], key: &[u8]) -> Option<&'a str> {
    text_at(message, memmem::rfind(message, key)? + key.len())
}

fn text_at(message: &[u8], start: usize) -> Option<&str> {
    let rest = &message[start..];
    std::str::from_utf8(&rest[..memchr::memchr(b'"', rest)?]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_renamed_answered_or_passed() {
        #[track_caller]
        fn check(text: &str, expected: Command<'_>) {
            assert_eq!(command(text), expected);
        }
        check(
            r#"{"id":7,"method":"Crawld.navigate","sessionId":"A","params":{"url":"http://h/Crawld.navigate"}}"#,
            Command::Pass(Cow::Owned(
                r#"{"id":7,"method":"Page.navigate","sessionId":"A","params":{"url":"http://h/Crawld.navigate"}}"#
                    .into(),
            )),
        );
        check(
            r#"{"id":31,"method":"Log.enable","sessionId":"A","params":{}}"#,
            Command::Answer(r#"{"id":31,"result":{}}"#.into()),
        );
        let other = r#"{"id":8,"method":"Page.enable","params":{}}"#;
        check(other, Command::Pass(Cow::Borrowed(other)));
    }

    #[test]
    fn network_events_are_counted_and_dropped() {
        let activity = Activity::default();
        let seen = activity.watch("S");
        let start = br#"{"method":"Network.requestWillBeSent","params":{"requestId":"9.1","request":{},"type":"Fetch"},"sessionId":"S"}"#;
        let image = br#"{"method":"Network.requestWillBeSent","params":{"requestId":"9.2","request":{},"type":"Image"},"sessionId":"S"}"#;
        let end = br#"{"method":"Network.loadingFinished","params":{"requestId":"9.1"},"sessionId":"S"}"#;
        assert!(!wanted(start, &activity) && !wanted(image, &activity));
        assert_eq!(seen.pending(), 1);
        assert!(!wanted(end, &activity));
        assert_eq!(seen.pending(), 0);
    }

    #[test]
    fn answers_and_read_events_pass() {
        let activity = Activity::default();
        assert!(wanted(br#"{"id":1,"result":{"method":"Network."}}"#, &activity));
        assert!(wanted(br#"{"method":"Fetch.requestPaused","params":{}}"#, &activity));
        assert!(!wanted(br#"{"method":"Log.entryAdded","params":{}}"#, &activity));
    }
}
