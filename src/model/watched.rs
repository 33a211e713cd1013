//! What the browser noticed while a page loaded: messages of its console, and the requests that it made.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::outcome::closed_list;

/// Console messages kept of a page; of each at most [`MESSAGE_MAX`] bytes.
pub const MESSAGES_MAX: usize = 100;
/// Bytes of a console message.
pub const MESSAGE_MAX: usize = 1 << 10;
/// Requests kept of a page.
pub const REQUESTS_MAX: usize = 1_000;
/// Bytes of an address beside a message or a request; of a longer one its beginning.
pub const ADDRESS_MAX: usize = 2 << 10;
/// Bytes of all addresses of a page's requests together.
pub const ADDRESSES_MAX: usize = 256 << 10;

closed_list! {
    /// How bad a console message is; as a setting, the least bad one that is kept.
    ConsoleLevel {
        /// Errors, failed assertions and exceptions that nobody caught.
        Error = "error",
        /// Warnings.
        Warning = "warning",
    }
}

closed_list! {
    /// Where a console message comes from.
    ConsoleSource {
        /// A script said it.
        Script = "script",
        /// An exception, or a rejected promise, that nobody caught.
        Exception = "exception",
        /// The browser says it: of the network, of security, of what it does not do any more.
        Browser = "browser",
    }
}

/// A message of a page's console. Texts are folded to one line, cut, and have their control characters escaped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConsoleMessage {
    /// How bad it is.
    pub level: ConsoleLevel,
    /// Where it comes from.
    pub source: ConsoleSource,
    /// What it says.
    pub text: String,
    /// The script or resource that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The line there, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
}

/// A request that a page made. What is not known by the time the page is read is absent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct PageRequest {
    /// Where to; the beginning of a very long one.
    pub url: String,
    /// The HTTP method.
    pub method: String,
    /// What for, in Chromium's words and lower case: document, stylesheet, image, script, xhr, fetch, font and so on.
    #[serde(rename = "type")]
    pub kind: String,
    /// The HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Media type of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Bytes received, headers included, as sent (compressed).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// When it began, counted from the page's first request.
    pub start_ms: u64,
    /// How long it took to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// It was answered from a cache, and nothing was sent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cached: bool,
    /// Why it failed, in Chromium's words; `net::ERR_BLOCKED_BY_CLIENT` where crawld itself refused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
