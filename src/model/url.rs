//! Canonical URLs: the form in which URLs are compared, stored and fetched.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An absolute http or https URL in canonical form.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CanonicalUrl(String);

/// Version of the canonicalisation rules; a change makes old seen-sets wrong.
pub const CANONICAL_VERSION: u32 = 1;

/// Why a link is not a URL that can be crawled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Does not parse.
    #[error("`{0}` is not a URL")]
    Invalid(String),
    /// Another scheme than http and https.
    #[error("scheme `{0}` is not fetched (http and https are)")]
    Scheme(String),
}

impl CanonicalUrl {
    /// Canonicalises an absolute URL.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let url = ::url::Url::parse(text).map_err(|_| UrlError::Invalid(text.escape_debug().to_string()))?;
        Self::from_url(url)
    }

    /// Canonicalises a parsed URL.
    pub fn from_url(mut url: ::url::Url) -> Result<Self, UrlError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(UrlError::Scheme(url.scheme().to_owned()));
        }
        url.set_fragment(None);
        Ok(CanonicalUrl(url.into()))
    }

    /// The whole URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `scheme://host[:port]`: what politeness, robots.txt and breakers are kept by.
    pub fn host_key(&self) -> &str {
        self.0.split_at(self.split()).0
    }

    /// Path and query, from the first slash.
    pub fn path(&self) -> &str {
        self.0.split_at(self.split()).1
    }

    /// Puts the two halves together again, as the store keeps them.
    pub fn from_parts(host_key: &str, path: &str) -> Self {
        CanonicalUrl(format!("{host_key}{path}"))
    }

    fn split(&self) -> usize {
        let start = self.0.find("://").map_or(0, |i| i + 3);
        self.0[start..].find('/').map_or(self.0.len(), |i| start + i)
    }
}

impl fmt::Display for CanonicalUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
