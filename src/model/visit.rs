//! What a fetcher is asked and what it answers, the same for Chromium and plain HTTP.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::conduct::{Conduct, PageCut};
use crate::model::ids::SessionId;
use crate::model::kept::Raw;
use crate::model::long::LongOperations;
use crate::model::outcome::{FailureClass, SkipReason};
use crate::model::task::{ExtractSpec, FetchSpec};
use crate::model::url::{CanonicalUrl, is_route};

/// What a fetcher needs to know about one visit.
#[derive(Clone)]
pub struct VisitRequest {
    /// The session it is for: its browser context, its cookies.
    pub session: SessionId,
    /// What to fetch.
    pub url: CanonicalUrl,
    /// Alone in a browser of its own (a suspect).
    pub solo: bool,
    /// The task's fetch settings: user agent, deadline, caps.
    pub fetch: Arc<FetchSpec>,
    /// What to take from the page.
    pub extract: Arc<ExtractSpec>,
    /// How to go about it: headers, what is blocked, behaviours.
    pub conduct: Arc<Conduct>,
    /// Asked before every redirect hop is followed (the first URL has been asked about already).
    pub gate: Arc<dyn HopGate>,
    /// What the server answered to `url` already: the browser is given it once instead of asking again.
    pub document: Option<Arc<KnownDocument>>,
    /// How a browser reaches the network for this session; without one, it reaches nothing.
    pub way_out: Option<Arc<dyn WayOut>>,
    /// Told of what takes long.
    pub long: LongOperations,
}

/// A main document that was received before the browser is sent to it.
#[derive(Clone, PartialEq, Eq)]
pub struct KnownDocument {
    /// HTTP status; no redirect.
    pub status: u16,
    /// The headers that still hold, see [`KnownDocument::new`].
    pub headers: Vec<(String, String)>,
    /// The body, decompressed.
    pub body: Vec<u8>,
}

/// Headers that are between two neighbours (RFC 9110, 7.6.1), beside those that `Connection` names.
pub const HOP_BY_HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers that say how an answer was sent, or where else to ask: of no use to whom it is given again.
const NOT_KEPT: &[&str] = &["alt-svc", "content-encoding", "content-length"];

impl KnownDocument {
    /// Keeps what of an answer can be given again.
    ///
    /// `cookies`: whether `Set-Cookie` is kept. Not when the first load shared the cookie jar: a
    /// cookie set again would roll back one that a script has changed since.
    pub fn new(
        status: u16,
        headers: impl IntoIterator<Item = (String, String)>,
        body: Vec<u8>,
        cookies: bool,
    ) -> KnownDocument {
        let holds = |name: &str| {
            !HOP_BY_HOP.iter().chain(NOT_KEPT).any(|not| name.eq_ignore_ascii_case(not))
                && (cookies || !name.eq_ignore_ascii_case("set-cookie"))
        };
        KnownDocument { status, headers: headers.into_iter().filter(|(name, _)| holds(name)).collect(), body }
    }
}

impl fmt::Debug for KnownDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownDocument").field("status", &self.status).field("bytes", &self.body.len()).finish()
    }
}

impl fmt::Debug for VisitRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VisitRequest").field("url", &self.url).field("solo", &self.solo).finish_non_exhaustive()
    }
}

/// Decides whether a redirect hop may be followed: scope, robots.txt, addresses.
pub trait HopGate: Send + Sync {
    /// Judges one hop. The caller puts its own deadline around the answer.
    fn check<'a>(&'a self, url: &'a CanonicalUrl) -> BoxFuture<'a, Result<(), Refusal>>;

    /// Whether requests to the visit's host keep a distance: a document may be needed again without being asked for
    /// again.
    fn is_spaced(&self) -> bool {
        false
    }
}

/// The way from a browser to the network: a proxy of ours, which checks where every connection goes.
pub trait WayOut: Send + Sync {
    /// Where the browser connects to.
    fn proxy(&self) -> SocketAddr;

    /// Why the newest connection to the URL's host and port came to nothing, if one did at `since` or
    /// later: the browser itself learns only that its proxy had no answer.
    fn why(&self, url: &CanonicalUrl, since: Instant) -> Option<Refusal>;

    /// How the newest answer for this URL ended before its end, if one did at `since` or later and the way
    /// can see it: `TooLarge` when it was cut at a limit.
    fn broke(&self, url: &CanonicalUrl, since: Instant) -> Option<(FailureClass, String)>;

    /// Ends a request for `url`, as the browser knows it, that no server has answered yet: the page at `here` waits for
    /// it. What goes through a tunnel can only be ended with its whole connection, which is not done to the page's own
    /// host.
    fn cut(&self, url: &str, here: &CanonicalUrl);
}

/// A boxed future, as trait objects need it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a hop is not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// For a reason that ends the URL.
    Skip(SkipReason),
    /// For a reason that may pass (robots.txt or the name cannot be had now).
    Fail(FailureClass, String),
}

/// How a visit ended, before policy has its say.
#[derive(Debug, Clone, PartialEq)]
pub enum VisitResult {
    /// An answer with a body that was read (any status that is not a failure class of its own).
    Answer(Box<PageAnswer>),
    /// A redirect hop was refused; `hops` ends with the refused URL.
    Refused {
        /// Every URL after the first, in order.
        hops: Vec<CanonicalUrl>,
        /// Why.
        reason: SkipReason,
    },
    /// The answer is a download or a type without text; headers only.
    Download(Box<PageAnswer>),
    /// The visit failed.
    Failed(VisitFailure),
}

/// A failed visit.
#[derive(Debug, Clone, PartialEq)]
pub struct VisitFailure {
    /// What kind of failure.
    pub class: FailureClass,
    /// In words, for the record's `error`.
    pub message: String,
    /// The HTTP status, where there was one.
    pub http_status: Option<u16>,
    /// What the server asked for.
    pub retry_after: Option<Duration>,
    /// Request sent to first byte, where there was one.
    pub ttfb: Option<Duration>,
    /// Every URL after the first, in order.
    pub hops: Vec<CanonicalUrl>,
}

/// An answer as extracted: bounded by the task's limits.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PageAnswer {
    /// Every URL after the first, in order; empty without a redirect. Client-side ones included.
    pub hops: Vec<CanonicalUrl>,
    /// HTTP status of the final answer.
    pub http_status: u16,
    /// Media type without parameters, lower case.
    pub content_type: Option<String>,
    /// The title, at most 1,024 characters.
    pub title: Option<String>,
    /// Visible text.
    pub text: Option<String>,
    /// Links as found: absolute or relative, in document order, resolved against `base`.
    pub links: Vec<RawLink>,
    /// Links handed over while the body was read, and not held here: those of a sitemap.
    pub links_announced: u64,
    /// The document's base URL.
    pub base: Option<String>,
    /// The page says `nofollow` (meta robots or X-Robots-Tag): its links are not followed.
    pub nofollow: bool,
    /// Fields by the task's selectors.
    pub fields: BTreeMap<String, Vec<String>>,
    /// What the server asked for, with any status; the caller classifies statuses.
    pub retry_after: Option<Duration>,
    /// Request sent to first byte.
    pub ttfb: Option<Duration>,
    /// Body bytes after decompression.
    pub bytes: u64,
    /// `sha256:` and hex, see `PageRecord::digest`.
    pub digest: Option<String>,
    /// Something was cut at a limit.
    pub truncated: bool,
    /// At which bound of the task's `page` section.
    pub cut: Option<PageCut>,
    /// It shows the task's sign of nobody being logged in.
    pub logged_out: bool,
    /// What went wrong with another way to have it, for the record's `error`.
    pub trouble: Option<String>,
    /// What is to be made of it after the visit, where the task asks for that.
    pub raw: Raw,
}

impl PageAnswer {
    /// Adds references that were found beside the document's links, resolved against `base`, where they are
    /// new and lead to the web. `routes`: those of the client's side are pages.
    pub fn add_references<'a>(&mut self, base: &str, references: impl IntoIterator<Item = &'a str>, routes: bool) {
        let mut references = references.into_iter().peekable();
        let Some(base) = references.peek().and_then(|_| url::Url::parse(base).ok()) else { return };
        let mut known: HashSet<String> = self.links.iter().map(|link| link.href.clone()).collect();
        for reference in references {
            let Ok(mut url) = base.join(reference.trim()) else { continue };
            if !url.fragment().is_some_and(|fragment| routes && is_route(fragment)) {
                url.set_fragment(None);
            }
            let href = String::from(url);
            if href.starts_with("http") && known.insert(href.clone()) {
                self.links.push(RawLink { href });
            }
        }
    }
}

/// One link of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawLink {
    /// The URL, resolved to an absolute one.
    pub href: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_document_keeps_the_headers_that_still_hold() {
        let headers = || {
            [("Content-Type", "text/html; charset=x"), ("Content-Encoding", "br"), ("set-cookie", "a=1")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
        };
        let names = |cookies| {
            let known = KnownDocument::new(200, headers(), Vec::new(), cookies);
            known.headers.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(names(true), ["Content-Type", "set-cookie"]);
        assert_eq!(names(false), ["Content-Type"]);
    }
}
