//! How a task's visits present themselves, and what they do with a page beyond loading it: settings as written.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::duration::Span;
use crate::model::outcome::closed_list;
use crate::model::url::CanonicalUrl;

closed_list! {
    /// A kind of request that a page makes for itself.
    BlockType {
        /// Pictures.
        Image = "image",
        /// Fonts.
        Font = "font",
        /// Audio and video.
        Media = "media",
        /// Style sheets.
        Stylesheet = "stylesheet",
        /// Scripts.
        Script = "script",
        /// Requests of scripts: fetch, XMLHttpRequest, event streams.
        Fetch = "fetch",
        /// Everything else but documents: manifests, captions, pings, prefetches.
        Other = "other",
    }
}

closed_list! {
    /// Something that is done with a page after it has settled, to find what it shows only then.
    Behavior {
        /// Scroll down until nothing new comes.
        Scroll = "scroll",
        /// Press "load more" buttons until nothing new comes.
        LoadMore = "load_more",
        /// Open what can be unfolded.
        Details = "details",
        /// Press "next page" controls that are not links.
        Pagination = "pagination",
        /// Move the pointer over menus.
        Hover = "hover",
        /// Choose each option of selections and radio buttons.
        Select = "select",
        /// Click elements that listen to clicks.
        ClickHandlers = "click_handlers",
    }
}

closed_list! {
    /// At which bound a page was cut.
    PageCut {
        /// `page.max_requests`.
        Requests = "max_requests",
        /// `page.max_bytes`.
        Bytes = "max_bytes",
        /// `page.behavior_timeout`, or a bound on rounds or links.
        Behaviors = "behaviors",
    }
}

/// User name and password for one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BasicAuth {
    /// The user name.
    pub user: String,
    /// Where the password is: `env:NAME` or `file:PATH`.
    pub password: String,
}

/// Headers by host: `example.org` (its default ports), `example.org:8080`, or `https://example.org` alone.
pub type HeaderSpec = BTreeMap<String, BTreeMap<String, String>>;

/// What is done with pages beyond loading them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PageSpec {
    /// Kinds of requests that pages may not make (browser only).
    pub block_types: Vec<BlockType>,
    /// Hosts that pages may not ask, with everything below them; `file:PATH` in a task file is a list of such.
    pub block_hosts: Vec<String>,
    /// Requests of one page at most, its document included (browser only); none: no limit.
    pub max_requests: Option<u32>,
    /// Bytes received by one page at most, as sent (browser only); none: no limit.
    pub max_bytes: Option<u64>,
    /// What is done with a page after it has settled (browser only).
    pub behaviors: Vec<Behavior>,
    /// JavaScript that runs before the behaviours; in a task file the name of a `.js` file beside it.
    pub behavior_script: Option<String>,
    /// Deadline of a page's behaviours, besides that of its loading.
    pub behavior_timeout: Span,
}

impl Default for PageSpec {
    fn default() -> Self {
        PageSpec {
            block_types: Vec::new(),
            block_hosts: Vec::new(),
            max_requests: None,
            max_bytes: None,
            behaviors: Vec::new(),
            behavior_script: None,
            behavior_timeout: Span::secs(30),
        }
    }
}

impl PageSpec {
    /// Something is done with pages after they have settled.
    pub fn behaves(&self) -> bool {
        !self.behaviors.is_empty() || self.behavior_script.is_some()
    }
}

impl Conduct {
    /// Time that a page may take beyond its deadline, for its behaviours and for reading it again.
    pub fn extra_time(&self) -> Duration {
        if self.page.behaves() { self.page.behavior_timeout.0 + Duration::from_secs(30) } else { Duration::ZERO }
    }
}

/// A place that headers are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderPlace {
    /// Only by this scheme.
    pub scheme: Option<String>,
    /// Lower case; IPv6 in brackets.
    pub host: String,
    /// None: the scheme's own.
    pub port: Option<u16>,
}

impl HeaderPlace {
    /// Reads `host`, `host:port`, or either with `http://` or `https://` before it.
    pub fn parse(text: &str) -> Option<HeaderPlace> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme @ ("http" | "https"), rest)) => (Some(scheme), rest),
            Some(_) => return None,
            None => (None, text),
        };
        if rest.is_empty() || rest.contains(['/', '?', '#', '@', '*', ' ']) {
            return None;
        }
        let url = CanonicalUrl::parse(&format!("{}://{rest}/", scheme.unwrap_or("http"))).ok()?;
        let default = if scheme == Some("https") { 443 } else { 80 };
        let port = (url.port() != default).then_some(url.port());
        Some(HeaderPlace { scheme: scheme.map(str::to_owned), host: url.host().to_ascii_lowercase(), port })
    }

    /// Whether a request goes there.
    pub fn is(&self, scheme: &str, host: &str, port: u16) -> bool {
        let default = if scheme == "https" { 443 } else { 80 };
        self.scheme.as_deref().is_none_or(|own| own == scheme)
            && self.host.eq_ignore_ascii_case(host)
            && port == self.port.unwrap_or(default)
    }
}

/// Headers with their values, by place. Shows no value when printed: some are secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct HostHeaders(Vec<(HeaderPlace, Vec<(String, String)>)>);

impl HostHeaders {
    /// Adds headers for a place.
    pub fn add(&mut self, place: HeaderPlace, headers: Vec<(String, String)>) {
        self.0.push((place, headers));
    }

    /// No header for anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The places.
    pub fn places(&self) -> impl Iterator<Item = &HeaderPlace> {
        self.0.iter().map(|(place, _)| place)
    }

    /// The headers of a request to this URL.
    pub fn of(&self, url: &::url::Url) -> Vec<(&str, &str)> {
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return Vec::new() };
        let here = self.0.iter().filter(|(place, _)| place.is(url.scheme(), host, port));
        here.flat_map(|(_, headers)| headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))).collect()
    }
}

impl fmt::Debug for HostHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |(place, headers): &(HeaderPlace, Vec<(String, String)>)| {
            (place.host.clone(), headers.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>())
        };
        f.debug_map().entries(self.0.iter().map(names)).finish()
    }
}

/// A window's size, `1280x1024`: each side 1 to 10,000 pixels.
pub fn viewport(text: &str) -> Option<(u32, u32)> {
    let (width, height) = text.split_once('x')?;
    let side = |text: &str| text.parse::<u32>().ok().filter(|side| (1..=10_000).contains(side));
    Some((side(width)?, side(height)?))
}

/// How the visits of a session go about their pages: the task's settings, references resolved.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conduct {
    /// The task's settings.
    pub page: PageSpec,
    /// Headers by host, basic authentication among them.
    pub headers: HostHeaders,
    /// CSS selector of what a page shows for which nobody is logged in.
    pub logged_out: Option<String>,
}

closed_list! {
    /// What the daemon's configuration may let tasks from the API ask for, besides public addresses.
    ApiGrant {
        /// `allow_private_networks`: networks of this machine and beside it.
        PrivateNetworks = "private_networks",
        /// What is read on this machine (`cookies_file`, secrets as `env:` and `file:`, logins), and a proxy.
        LocalFiles = "local_files",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_go_where_they_are_meant_to_go() {
        #[track_caller]
        fn check(place: &str, url: &str, expected: bool) {
            let mut headers = HostHeaders::default();
            headers.add(HeaderPlace::parse(place).unwrap(), vec![("X-Token".into(), "secret".into())]);
            let url = ::url::Url::parse(url).unwrap();
            assert_eq!(!headers.of(&url).is_empty(), expected, "{place} {url}");
            assert!(!format!("{headers:?}").contains("secret"));
        }
        check("docs.example", "http://docs.example/x", true);
        check("docs.example", "https://docs.example/x", true);
        check("Docs.example", "https://DOCS.example/x", true);
        check("docs.example", "http://docs.example:8080/", false);
        check("docs.example", "http://sub.docs.example/", false);
        check("docs.example", "http://docs.example.evil/", false);
        check("docs.example:8080", "http://docs.example:8080/", true);
        check("docs.example:8080", "http://docs.example/", false);
        check("https://docs.example", "http://docs.example/", false);
        check("https://docs.example", "https://docs.example/", true);
        check("[::1]:80", "http://[::1]/", true);
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in ["", "*", "*.example", "a/b", "user@host", "ftp://a", "a b", "https://"] {
            assert_eq!(HeaderPlace::parse(text), None, "{text}");
        }
    }
}
