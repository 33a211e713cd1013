//! Cookies as a session keeps them: in the words of Chromium's protocol, which are those of the file.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A cookie. Its value is never printed.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredCookie {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Where it belongs to, when it is of a single host; `domain` is not there then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The domain that it is for with everything below it, with a dot before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// The path that it is for with everything below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Only by https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure: Option<bool>,
    /// Not for scripts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_only: Option<bool>,
    /// `Strict`, `Lax` or `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_site: Option<String>,
    /// When it ends, in seconds since the unix epoch; none: with its session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<f64>,
    /// It counts only within the pages of one site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_key: Option<Value>,
    /// What else the browser says of it.
    #[serde(flatten)]
    pub more: serde_json::Map<String, Value>,
}

impl fmt::Debug for StoredCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.domain.as_ref().or(self.url.as_ref());
        f.debug_struct("StoredCookie").field("name", &self.name).field("place", &place).finish_non_exhaustive()
    }
}
