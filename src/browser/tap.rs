//! Who listens to which tab's events beside chromiumoxide, which neither needs nor always understands them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::watch::{Wanted, Watch, is_heard};
use crate::lock::lock;
use crate::model::kept::Raw;

/// The watches of a browser's tabs, by the session under which each tab is attached.
#[derive(Debug, Clone, Default)]
pub(super) struct Taps(Arc<Mutex<HashMap<String, Arc<Mutex<Watch>>>>>);

impl Taps {
    /// Watches a tab from now on, until what is returned is dropped.
    pub(super) fn open(&self, session: &str, target: &str, wanted: Wanted) -> Tap {
        let watch = Arc::new(Mutex::new(Watch::new(wanted, target)));
        lock(&self.0).insert(session.to_owned(), Arc::clone(&watch));
        Tap { taps: self.clone(), session: session.to_owned(), watch }
    }

    /// A message of the browser, on its way.
    pub(super) fn hear(&self, message: &[u8]) {
        let Some(rest) = message.strip_prefix(br#"{"method":""#) else { return };
        let name = &rest[..memchr::memchr(b'"', rest).unwrap_or(0)];
        if !is_heard(name) {
            return;
        }
        let watch = session_of(message).and_then(|session| lock(&self.0).get(session).cloned());
        if let Some(watch) = watch {
            lock(&watch).hear(message);
        }
    }
}

/// The session of an event, which Chromium writes at its end.
fn session_of(message: &[u8]) -> Option<&str> {
    let rest = message.strip_suffix(br#""}"#)?;
    let start = memchr::memrchr(b'"', rest)? + 1;
    rest[..start].ends_with(br#","sessionId":""#).then(|| std::str::from_utf8(&rest[start..]).ok())?
}

/// A tab that is watched.
#[derive(Debug)]
pub(super) struct Tap {
    taps: Taps,
    session: String,
    watch: Arc<Mutex<Watch>>,
}

impl Tap {
    /// A visit begins.
    pub(super) fn begin(&self) {
        lock(&self.watch).begin();
    }

    /// Gives what the visit brought.
    pub(super) fn take(&self, raw: &mut Raw) {
        lock(&self.watch).take(raw);
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        lock(&self.taps.0).remove(&self.session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::watched::ConsoleLevel;

    #[test]
    fn each_tab_hears_its_own_events() {
        let taps = Taps::default();
        let wanted = Wanted { console: Some(ConsoleLevel::Error), requests: false };
        let (one, two) = (taps.open("A1", "T1", wanted), taps.open("B2", "T2", wanted));
        let tell = |text: &str, session: &str| {
            taps.hear(
                format!(r#"{{"method":"Runtime.executionContextsCleared","params":{{}},"sessionId":"{session}"}}"#)
                    .as_bytes(),
            );
            let said = format!(
                r#"{{"method":"Runtime.consoleAPICalled","params":{{"type":"error","args":[{{"value":"{text}"}}]}},"sessionId":"{session}"}}"#
            );
            taps.hear(said.as_bytes());
        };
        tell("for one", "A1");
        tell(r#"\",\"sessionId\":\"A1"#, "B2");
        taps.hear(br#"{"method":"Runtime.consoleAPICalled""#);
        let said = |tap: &Tap| {
            let mut raw = Raw::default();
            tap.take(&mut raw);
            raw.console.unwrap().into_iter().map(|message| message.text).collect::<Vec<_>>()
        };
        assert_eq!(said(&one), ["for one"]);
        assert_eq!(said(&two), [r#"","sessionId":"A1"#]);
        drop(one);
        tell("to nobody", "A1");
        assert_eq!(lock(&taps.0).len(), 1);
    }
}
