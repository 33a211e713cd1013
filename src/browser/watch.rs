//! What a page's console says and what the page asks for: gathered from the browser's events, bounded, once a visit.

mod events;

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use events::{Answered, News, Sent, cut, line, logged, millis, spoken, thrown};

use crate::model::kept::{KeptKind, LeftOut, Raw};
use crate::model::task::ExtractSpec;
use crate::model::watched::{
    ADDRESS_MAX, ADDRESSES_MAX, ConsoleLevel, ConsoleMessage, MESSAGES_MAX, PageRequest, REQUESTS_MAX,
};

/// Documents of a visit whose late requests are told from those of the next.
const LOADERS_MAX: usize = 1_000;

/// What a task wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Console messages as bad as this, and worse ones.
    pub console: Option<ConsoleLevel>,
    /// Requests.
    pub requests: bool,
}

impl Wanted {
    /// Of a task; none: nothing.
    pub(super) fn of(spec: &ExtractSpec) -> Option<Wanted> {
        let wanted = Wanted { console: spec.console, requests: spec.requests };
        (wanted.console.is_some() || wanted.requests).then_some(wanted)
    }
}

/// What was heard of a tab in the visit under way.
#[derive(Debug)]
pub(super) struct Watch {
    wanted: Wanted,
    /// The main frame.
    target: String,
    /// The visit's document is there: what the console says is its own.
    shown: bool,
    messages: Vec<ConsoleMessage>,
    more_messages: bool,
    /// The visit's document was asked for: what is asked for from now on is its own.
    asked: bool,
    requests: Vec<PageRequest>,
    more_requests: bool,
    /// Requests without an end: place, and when each began.
    open: HashMap<String, (usize, f64)>,
    addresses: usize,
    first: Option<f64>,
    loaders: HashSet<String>,
    /// Documents of the visit before: what they still ask for is not this one's.
    stale: HashSet<String>,
}

#[derive(Deserialize)]
struct Event<'a> {
    method: &'a str,
    #[serde(borrow)]
    params: &'a RawValue,
}

impl Event<'_> {
    fn read<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(self.params.get()).ok()
    }
}

impl Watch {
    pub(super) fn new(wanted: Wanted, target: &str) -> Watch {
        Watch {
            wanted,
            target: target.to_owned(),
            shown: false,
            messages: Vec::new(),
            more_messages: false,
            asked: false,
            requests: Vec::new(),
            more_requests: false,
            open: HashMap::new(),
            addresses: 0,
            first: None,
            loaders: HashSet::new(),
            stale: HashSet::new(),
        }
    }

    /// A visit begins.
    pub(super) fn begin(&mut self) {
        let stale = std::mem::take(&mut self.loaders);
        *self = Watch { stale, ..Watch::new(self.wanted, &std::mem::take(&mut self.target)) };
    }

    /// Gives what was heard so far.
    pub(super) fn take(&mut self, raw: &mut Raw) {
        if self.wanted.console.is_some() {
            raw.console = Some(std::mem::take(&mut self.messages));
            if self.more_messages {
                raw.left_out.push(LeftOut::new(KeptKind::Console, format!("more than {MESSAGES_MAX} messages")));
            }
        }
        if self.wanted.requests {
            raw.requests = Some(std::mem::take(&mut self.requests));
            if self.more_requests {
                let reason = format!("more than {REQUESTS_MAX} requests, or {ADDRESSES_MAX} bytes of addresses");
                raw.left_out.push(LeftOut::new(KeptKind::Requests, reason));
            }
        }
        self.begin();
    }

    /// An event of the tab.
    pub(super) fn hear(&mut self, message: &[u8]) {
        // What cannot be read is passed over: text of a page that is no text.
        let Ok(event) = serde_json::from_slice::<Event<'_>>(message) else { return };
        match event.method {
            "Runtime.executionContextsCleared" => {
                self.shown = true;
                self.messages.clear();
                self.more_messages = false;
            }
            "Runtime.consoleAPICalled" => self.said(event.read().and_then(spoken)),
            "Runtime.exceptionThrown" => self.said(event.read().map(thrown)),
            "Log.entryAdded" => self.said(event.read().and_then(logged)),
            _ if !self.wanted.requests => {}
            "Network.requestWillBeSent" => self.sent(event.read()),
            "Network.requestServedFromCache" => self.on(event.read(), |request, _| request.cached = true),
            "Network.responseReceived" => self.on(event.read(), |request, news| {
                if let Some(answer) = &news.response {
                    answered(request, answer);
                }
            }),
            "Network.loadingFinished" | "Network.loadingFailed" => self.ended(event.read()),
            _ => {}
        }
    }

    fn said(&mut self, message: Option<ConsoleMessage>) {
        let Some(message) = message.filter(|_| self.shown) else { return };
        if self.wanted.console.is_none_or(|least| message.level > least) {
            return;
        }
        if self.messages.len() >= MESSAGES_MAX {
            self.more_messages = true;
            return;
        }
        self.messages.push(message);
    }

    fn sent(&mut self, sent: Option<Sent>) {
        let Some(sent) = sent.filter(|sent| !self.stale.contains(&sent.loader_id)) else { return };
        let kind = sent.r#type.unwrap_or_default().to_ascii_lowercase();
        self.asked |= kind == "document" && sent.frame_id.as_deref() == Some(self.target.as_str());
        if !self.asked {
            return;
        }
        if !sent.loader_id.is_empty() && self.loaders.len() < LOADERS_MAX {
            self.loaders.insert(sent.loader_id);
        }
        let began = *self.first.get_or_insert(sent.timestamp);
        if let (Some(answer), Some((place, since))) = (&sent.redirect_response, self.open.remove(&sent.request_id)) {
            let request = &mut self.requests[place];
            answered(request, answer);
            request.bytes = Some(answer.encoded_data_length.max(0.0) as u64);
            request.duration_ms = Some(millis(sent.timestamp - since));
        }
        if !sent.request.url.starts_with("http") {
            return;
        }
        let url = cut(&sent.request.url, ADDRESS_MAX);
        if self.requests.len() >= REQUESTS_MAX || self.addresses + url.len() > ADDRESSES_MAX {
            self.more_requests = true;
            return;
        }
        self.addresses += url.len();
        self.open.insert(sent.request_id, (self.requests.len(), sent.timestamp));
        let start_ms = millis(sent.timestamp - began);
        let method = cut(&sent.request.method, 32);
        self.requests.push(PageRequest { url, method, kind: cut(&kind, 32), start_ms, ..PageRequest::default() });
    }

    fn on(&mut self, news: Option<News>, note: impl FnOnce(&mut PageRequest, &News)) {
        let Some(news) = news else { return };
        if let Some((place, _)) = self.open.get(&news.request_id) {
            note(&mut self.requests[*place], &news);
        }
    }

    fn ended(&mut self, news: Option<News>) {
        let Some(news) = news else { return };
        let Some((place, since)) = self.open.remove(&news.request_id) else { return };
        let request = &mut self.requests[place];
        request.duration_ms = Some(millis(news.timestamp - since));
        match news.error_text {
            Some(why) => request.error = Some(line(&why, 200)),
            None => request.bytes = Some(news.encoded_data_length.max(0.0) as u64),
        }
    }
}

/// Whether a watch reads events of this name.
pub(super) fn is_heard(name: &[u8]) -> bool {
    matches!(
        name,
        b"Runtime.consoleAPICalled"
            | b"Runtime.exceptionThrown"
            | b"Runtime.executionContextsCleared"
            | b"Log.entryAdded"
            | b"Network.requestWillBeSent"
            | b"Network.requestServedFromCache"
            | b"Network.responseReceived"
            | b"Network.loadingFinished"
            | b"Network.loadingFailed"
    )
}

fn answered(request: &mut PageRequest, answer: &Answered) {
    request.status = u16::try_from(answer.status).ok().filter(|status| *status > 0);
    request.content_type = Some(line(&answer.mime_type, 200)).filter(|kind| !kind.is_empty());
    request.cached |= answer.from_disk_cache;
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::watched::{ConsoleSource, MESSAGE_MAX};

    fn watch(console: Option<ConsoleLevel>) -> Watch {
        let mut watch = Watch::new(Wanted { console, requests: true }, "T");
        watch.begin();
        watch
    }

    fn tell(watch: &mut Watch, method: &str, params: Value) {
        watch.hear(json!({ "method": method, "params": params, "sessionId": "S" }).to_string().as_bytes());
    }

    fn send(watch: &mut Watch, id: &str, loader: &str, url: &str, at: f64) {
        let kind = if id == loader { "Document" } else { "Script" };
        let params = json!({ "requestId": id, "loaderId": loader, "request": { "url": url, "method": "GET" },
            "timestamp": at, "type": kind, "frameId": "T" });
        tell(watch, "Network.requestWillBeSent", params);
    }

    fn say(watch: &mut Watch, kind: &str, text: &str) {
        let params = json!({ "type": kind, "args": [{ "type": "string", "value": text }] });
        tell(watch, "Runtime.consoleAPICalled", params);
    }

    #[test]
    fn requests_are_followed_to_their_ends() {
        let mut watch = watch(None);
        send(&mut watch, "early", "L0", "http://h/of-the-page-before", 1.0);
        send(&mut watch, "L1", "L1", "http://h/", 10.0);
        let redirect = json!({ "requestId": "L1", "loaderId": "L1", "request": { "url": "http://h/2", "method": "GET" },
            "timestamp": 10.1, "type": "Document", "frameId": "T",
            "redirectResponse": { "status": 302, "mimeType": "", "encodedDataLength": 90.0 } });
        tell(&mut watch, "Network.requestWillBeSent", redirect);
        tell(
            &mut watch,
            "Network.responseReceived",
            json!({ "requestId": "L1", "timestamp": 10.2, "response": { "status": 200, "mimeType": "text/html" } }),
        );
        tell(
            &mut watch,
            "Network.loadingFinished",
            json!({ "requestId": "L1", "timestamp": 10.3, "encodedDataLength": 1234.0 }),
        );
        send(&mut watch, "7", "L1", "http://h/a.js", 10.35);
        tell(
            &mut watch,
            "Network.loadingFailed",
            json!({ "requestId": "7", "timestamp": 10.4, "errorText": "net::ERR_FAILED" }),
        );
        send(&mut watch, "8", "L1", "http://h/open.js", 10.45);
        send(&mut watch, "9", "L1", "data:text/css,x", 10.45);
        let mut raw = Raw::default();
        watch.take(&mut raw);
        let seen = raw.requests.unwrap();
        let brief: Vec<_> =
            seen.iter().map(|r| (r.url.as_str(), r.status, r.bytes, r.start_ms, r.duration_ms)).collect();
        assert_eq!(
            brief,
            [
                ("http://h/", Some(302), Some(90), 0, Some(100)),
                ("http://h/2", Some(200), Some(1234), 100, Some(200)),
                ("http://h/a.js", None, None, 350, Some(50)),
                ("http://h/open.js", None, None, 450, None),
            ]
        );
        assert_eq!((seen[1].kind.as_str(), seen[2].error.as_deref()), ("document", Some("net::ERR_FAILED")));
        assert_eq!((raw.console, raw.left_out), (None, vec![]));
        send(&mut watch, "L2", "L2", "http://h/next", 20.0);
        send(&mut watch, "10", "L1", "http://h/late-of-the-page-before", 20.1);
        let mut raw = Raw::default();
        watch.take(&mut raw);
        assert_eq!(raw.requests.unwrap().len(), 1);
    }

    #[test]
    fn the_console_is_that_of_the_page_alone_and_as_bad_as_asked() {
        let mut watch = watch(Some(ConsoleLevel::Error));
        say(&mut watch, "error", "of the page before");
        tell(&mut watch, "Runtime.executionContextsCleared", json!({}));
        say(&mut watch, "error", "two\nlines \u{1b}[31m");
        say(&mut watch, "warning", "not so bad");
        say(&mut watch, "log", "not bad");
        let description = "TypeError: x is not a function\n    at f (http://h/a.js:3:1)";
        tell(
            &mut watch,
            "Runtime.exceptionThrown",
            json!({ "timestamp": 1.0, "exceptionDetails": {
            "text": "Uncaught", "lineNumber": 2, "url": "http://h/a.js", "exception": { "description": description } } }),
        );
        tell(
            &mut watch,
            "Log.entryAdded",
            json!({ "entry": {
            "source": "network", "level": "error", "text": "Failed to load resource", "url": "http://h/x.png" } }),
        );
        let mut raw = Raw::default();
        watch.take(&mut raw);
        let said = raw.console.unwrap();
        let brief: Vec<_> = said.iter().map(|m| (m.source, m.text.as_str(), m.url.as_deref(), m.line)).collect();
        assert_eq!(
            brief,
            [
                (ConsoleSource::Script, "two lines \\u{1b}[31m", None, None),
                (ConsoleSource::Exception, "Uncaught TypeError: x is not a function", Some("http://h/a.js"), Some(3)),
                (ConsoleSource::Browser, "Failed to load resource", Some("http://h/x.png"), None),
            ]
        );
    }

    #[test]
    fn a_flood_is_bounded_and_said() {
        let mut watch = watch(Some(ConsoleLevel::Warning));
        tell(&mut watch, "Runtime.executionContextsCleared", json!({}));
        for i in 0..2 * MESSAGES_MAX {
            say(&mut watch, "warning", &format!("{i} {}", "x".repeat(5_000)));
        }
        send(&mut watch, "L1", "L1", "http://h/", 1.0);
        for i in 0..2 * REQUESTS_MAX {
            send(&mut watch, &i.to_string(), "L1", &format!("http://h/{}", "y".repeat(3_000)), 1.0);
        }
        let mut raw = Raw::default();
        watch.take(&mut raw);
        assert!(raw.console.unwrap().iter().all(|message| message.text.len() <= MESSAGE_MAX));
        assert!(raw.requests.unwrap().iter().map(|request| request.url.len()).sum::<usize>() <= ADDRESSES_MAX);
        assert_eq!(
            raw.left_out.iter().map(|left| left.kind).collect::<Vec<_>>(),
            [KeptKind::Console, KeptKind::Requests]
        );
        watch.hear(b"no event");
    }
}
