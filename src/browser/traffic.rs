//! What passes the bridge: decided on the text of a message, without parsing it.
//!
//! Chromium writes events as `{"method":"…","params":{…},"sessionId":"…"}`, so the beginning names
//! the event; chromiumoxide writes commands as `{"id":…,"method":"…",…}`.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// How crawld names its own navigation towards chromiumoxide, which would otherwise queue it behind
/// every earlier one and hold back the reply until its own idea of an end.
pub(super) const NAVIGATE: &str = "Crawld.navigate";

/// How crawld names its own wish to hear of bytes received, which otherwise nobody reads.
pub(super) const COUNT_BYTES: &str = "Crawld.countBytes";

/// How crawld names its own wish to hear what the browser says of a page in its console.
pub(super) const HEAR_LOG: &str = "Crawld.hearLog";

/// How crawld names a command to a session that chromiumoxide knows nothing of.
pub(super) const IN_SESSION: &str = "Crawld.inSession";

/// Names of our own, and what the browser calls them.
const OURS: [(&str, &str); 3] =
    [(NAVIGATE, "Page.navigate"), (COUNT_BYTES, "Network.enable"), (HEAR_LOG, "Log.enable")];

/// What becomes of a command.
#[derive(Debug, PartialEq)]
pub(super) enum Command<'a> {
    /// It goes to the browser.
    Pass(Cow<'a, str>),
    /// It is answered here.
    Answer(String),
}

/// Commands of chromiumoxide's tab set-up that only make Chromium send events that nobody reads: a quarter of
/// what a page costs. Requests under way are counted in the page, documents are judged by `Fetch`.
const NEEDLESS: [&str; 3] =
    [r#""method":"Network.enable""#, r#""method":"Performance.enable""#, r#""method":"Log.enable""#];

/// Judges a command.
pub(super) fn command(text: &str) -> Command<'_> {
    let head = &text[..text.floor_char_boundary(160)];
    if let Some((own, name)) = OURS.iter().find(|(own, _)| head.contains(own)) {
        return Command::Pass(Cow::Owned(text.replacen(own, name, 1)));
    }
    if head.contains(IN_SESSION)
        && let Some(text) = in_session(text)
    {
        return Command::Pass(Cow::Owned(text));
    }
    match (NEEDLESS.iter().any(|needless| head.contains(needless)), call_id(head)) {
        (true, Some(id)) => Command::Answer(format!(r#"{{"id":{id},"result":{{}}}}"#)),
        _ => Command::Pass(Cow::Borrowed(text)),
    }
}

/// The command within, addressed to its session.
fn in_session(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Outer<'a> {
        id: u64,
        #[serde(borrow)]
        params: Inner<'a>,
    }
    #[derive(Deserialize)]
    struct Inner<'a> {
        session: Cow<'a, str>,
        method: Cow<'a, str>,
        #[serde(borrow)]
        params: &'a RawValue,
    }
    let Outer { id, params } = serde_json::from_str(text).ok()?;
    let session = serde_json::to_string(&params.session).ok()?;
    Some(format!(r#"{{"id":{id},"method":"{}","sessionId":{session},"params":{}}}"#, params.method, params.params))
}

/// The number of a command.
pub(super) fn call_id(head: &str) -> Option<u64> {
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

/// Sent only where it was asked for.
const COUNTED: &[u8] = b"Network.dataReceived";

/// Whether a message of the browser goes on to chromiumoxide.
pub(super) fn wanted(message: &[u8]) -> bool {
    let Some(name) = message.strip_prefix(br#"{"method":""#) else { return true };
    if name.starts_with(COUNTED) {
        return true;
    }
    !UNREAD.iter().any(|unread| name.starts_with(unread))
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
        check(
            r#"{"id":9,"method":"Crawld.inSession","params":{"session":"S","method":"Runtime.evaluate","params":{"expression":"1"}}}"#,
            Command::Pass(Cow::Owned(
                r#"{"id":9,"method":"Runtime.evaluate","sessionId":"S","params":{"expression":"1"}}"#.into(),
            )),
        );
        let other = r#"{"id":8,"method":"Page.enable","params":{}}"#;
        check(other, Command::Pass(Cow::Borrowed(other)));
    }

    #[test]
    fn answers_and_read_events_pass() {
        assert!(wanted(br#"{"id":1,"result":{"method":"Network."}}"#));
        assert!(wanted(br#"{"method":"Fetch.requestPaused","params":{}}"#));
        assert!(!wanted(br#"{"method":"Log.entryAdded","params":{}}"#));
    }
}
