//! Events of the browser, as far as a watch reads them, and what they say.

use serde::Deserialize;
use serde_json::Value;

use crate::model::text::escape_control;
use crate::model::watched::{ADDRESS_MAX, ConsoleLevel, ConsoleMessage, ConsoleSource, MESSAGE_MAX};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sent {
    pub(super) request_id: String,
    pub(super) loader_id: String,
    pub(super) request: Asked,
    pub(super) timestamp: f64,
    pub(super) redirect_response: Option<Answered>,
    pub(super) r#type: Option<String>,
    pub(super) frame_id: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Asked {
    pub(super) url: String,
    pub(super) method: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
pub(super) struct Answered {
    pub(super) status: i64,
    pub(super) mime_type: String,
    pub(super) from_disk_cache: bool,
    pub(super) encoded_data_length: f64,
}

/// The events about a request that was sent.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct News {
    pub(super) request_id: String,
    #[serde(default)]
    pub(super) timestamp: f64,
    pub(super) response: Option<Answered>,
    #[serde(default)]
    pub(super) encoded_data_length: f64,
    pub(super) error_text: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spoken {
    pub(super) r#type: String,
    #[serde(default)]
    pub(super) args: Vec<Remote>,
    pub(super) stack_trace: Option<Stack>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Remote {
    pub(super) value: Option<Value>,
    pub(super) unserializable_value: Option<String>,
    pub(super) description: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stack {
    pub(super) call_frames: Vec<Frame>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Frame {
    pub(super) url: String,
    pub(super) line_number: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Thrown {
    pub(super) exception_details: Details,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Details {
    pub(super) text: String,
    pub(super) line_number: i64,
    pub(super) url: Option<String>,
    pub(super) exception: Option<Remote>,
    pub(super) stack_trace: Option<Stack>,
}

#[derive(Deserialize)]
pub(super) struct Logged {
    pub(super) entry: Entry,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    pub(super) level: String,
    pub(super) text: String,
    pub(super) url: Option<String>,
    pub(super) line_number: Option<i64>,
}

pub(super) fn spoken(said: Spoken) -> Option<ConsoleMessage> {
    let level = match said.r#type.as_str() {
        "error" | "assert" => ConsoleLevel::Error,
        "warning" => ConsoleLevel::Warning,
        _ => return None,
    };
    let words: Vec<String> = said.args.into_iter().map(Remote::words).collect();
    let place = said.stack_trace.and_then(Stack::top);
    Some(message(level, ConsoleSource::Script, &words.join(" "), place))
}

pub(super) fn thrown(thrown: Thrown) -> ConsoleMessage {
    let details = thrown.exception_details;
    let what = details.exception.map(Remote::words).unwrap_or_default();
    let text = if what.is_empty() { details.text } else { format!("{} {what}", details.text) };
    let own = details.url.filter(|url| !url.is_empty()).map(|url| (url, Some(details.line_number)));
    let place = own.or_else(|| details.stack_trace.and_then(Stack::top));
    message(ConsoleLevel::Error, ConsoleSource::Exception, &text, place)
}

pub(super) fn logged(logged: Logged) -> Option<ConsoleMessage> {
    let level = ConsoleLevel::parse(&logged.entry.level)?;
    let place = logged.entry.url.map(|url| (url, logged.entry.line_number));
    Some(message(level, ConsoleSource::Browser, &logged.entry.text, place))
}

pub(super) fn message(
    level: ConsoleLevel,
    source: ConsoleSource,
    text: &str,
    at: Option<(String, Option<i64>)>,
) -> ConsoleMessage {
    let (url, number) = at.filter(|(url, _)| !url.is_empty()).unzip();
    let number = number.flatten().and_then(|number| u64::try_from(number).ok()).map(|number| number + 1);
    ConsoleMessage {
        level,
        source,
        text: line(text, MESSAGE_MAX),
        url: url.map(|url| cut(&url, ADDRESS_MAX)),
        line: number,
    }
}

impl Remote {
    /// As a console shows it; of an error its words, without where it came by.
    fn words(self) -> String {
        match (self.value, self.unserializable_value, self.description) {
            (Some(Value::String(text)), ..) => text,
            (Some(value), None, None) => value.to_string(),
            (_, Some(text), _) => text,
            (_, _, Some(text)) => text.split("\n    at ").next().unwrap_or_default().to_owned(),
            (None, None, None) => "undefined".to_owned(),
        }
    }
}

impl Stack {
    fn top(self) -> Option<(String, Option<i64>)> {
        self.call_frames.into_iter().next().map(|frame| (frame.url, Some(frame.line_number)))
    }
}

/// On one line, with nothing that could steer a terminal, cut.
pub(super) fn line(text: &str, most: usize) -> String {
    let head = &text[..text.floor_char_boundary(4 * most)];
    let folded = head.split_whitespace().collect::<Vec<_>>().join(" ");
    cut(&escape_control(&folded), most)
}

pub(super) fn cut(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].to_owned()
}

pub(super) fn millis(seconds: f64) -> u64 {
    (seconds * 1000.0).round().max(0.0) as u64
}
