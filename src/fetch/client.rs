//! The HTTP client of one session: its address rules, its user agent, a deadline on every phase.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Once};
use std::time::Duration;

use http::header::{
    ACCEPT, ACCEPT_LANGUAGE, COOKIE, HeaderMap, HeaderName, HeaderValue, UPGRADE_INSECURE_REQUESTS, USER_AGENT,
};
use tokio::time::Instant;
use url::Url;

use super::cookies::Cookies;
use super::fault::Fault;
use super::resolve::{AddressRules, CheckedResolver, Lookup, ResolveError, SystemLookup, with_port};
use crate::clock::Clock;
use crate::model::conduct::HostHeaders;
use crate::model::outcome::{FailureClass, SkipReason};
use crate::model::proxy::ProxyNames;
use crate::model::task::FetchSpec;
use crate::model::time::Timestamp;
use crate::model::url::CanonicalUrl;
use crate::model::visit::{Refusal, WayOut};

/// The product token that robots.txt groups are matched with.
pub const ROBOTS_TOKEN: &str = "crawld";

/// Idle connections kept per host: as many as a task may well ask it with at once, or each further one is made anew for
/// every request.
const IDLE_PER_HOST: usize = 32;

/// How long an idle connection is kept; servers close theirs soon after.
const IDLE_FOR: Duration = Duration::from_secs(15);

/// What pages are asked for as.
pub(super) const ACCEPT_PAGE: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

/// What Chromium 156 asks for when it navigates.
const ACCEPT_BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/jxl,image/avif,image/webp,\
    image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7";

/// The user agent of plain HTTP requests when the task names none.
pub fn default_user_agent() -> String {
    format!("crawld/{} (+https://crawld.invalid/)", env!("CARGO_PKG_VERSION"))
}

/// Deadlines of the phases of a request; the page's own deadline lies over all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// Name, TCP and TLS.
    pub connect: Duration,
    /// From the request until the answer's headers are complete, connecting not counted.
    pub first_byte: Duration,
    /// In every such span of a body …
    pub rate_window: Duration,
    /// … at least so many bytes must come.
    pub rate_bytes: u64,
    /// For the answer of a redirect gate, which may have to fetch a robots.txt.
    pub gate: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Deadlines {
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(30),
            rate_window: Duration::from_secs(30),
            rate_bytes: 1024,
            gate: Duration::from_secs(60),
        }
    }
}

/// Why a session's client cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A setting that cannot be sent as a header.
    #[error("fetch.{key}: `{value}` cannot be sent as an HTTP header: use printable ASCII")]
    Header {
        /// The key in the task.
        key: &'static str,
        /// What it holds.
        value: String,
    },
    /// reqwest cannot be set up.
    #[error("the HTTP client cannot be set up: {0}")]
    Setup(#[source] reqwest::Error),
}

/// The HTTP client of one session.
pub struct HttpClient {
    client: reqwest::Client,
    resolver: CheckedResolver,
    deadlines: Deadlines,
    clock: Clock,
    host_headers: HostHeaders,
    way_out: Option<Arc<dyn WayOut>>,
    cookies: Option<Arc<Cookies>>,
}

impl HttpClient {
    /// A client that reaches only what `rules` permits.
    ///
    /// # Errors
    /// The task's user agent or language is no header value, or TLS cannot be set up.
    pub fn new(rules: Arc<dyn AddressRules>, fetch: &FetchSpec, clock: Clock) -> Result<Self, ClientError> {
        Self::with(rules, Arc::new(SystemLookup), fetch, clock, Deadlines::default())
    }

    /// As [`HttpClient::new`], with another resolver and other deadlines.
    ///
    /// # Errors
    /// See [`HttpClient::new`].
    pub fn with(
        rules: Arc<dyn AddressRules>,
        lookup: Arc<dyn Lookup>,
        fetch: &FetchSpec,
        clock: Clock,
        deadlines: Deadlines,
    ) -> Result<Self, ClientError> {
        let resolver = CheckedResolver::new(rules, lookup);
        let client = client(&resolver, fetch, deadlines, None)?;
        let host_headers = HostHeaders::default();
        Ok(HttpClient { client, resolver, deadlines, clock, host_headers, way_out: None, cookies: None })
    }

    /// Leaves the names of sites to the task's proxy, where the task says so.
    #[must_use]
    pub fn names_by(self, names: ProxyNames) -> Self {
        HttpClient { resolver: self.resolver.names_by(names), ..self }
    }

    /// Makes every connection by this way, which checks what it connects to.
    ///
    /// # Errors
    /// See [`HttpClient::new`].
    pub fn through(self, way_out: Arc<dyn WayOut>, fetch: &FetchSpec) -> Result<Self, ClientError> {
        let client = client(&self.resolver, fetch, self.deadlines, Some(way_out.proxy()))?;
        Ok(HttpClient { client, way_out: Some(way_out), ..self })
    }

    /// Sends these as well, each to its own host alone: also with requests for robots.txt and sitemaps.
    #[must_use]
    pub fn with_host_headers(self, host_headers: HostHeaders) -> Self {
        HttpClient { host_headers, ..self }
    }

    /// Keeps the session's cookies and sends them where they belong.
    #[must_use]
    pub fn with_cookies(self, cookies: Cookies) -> Self {
        HttpClient { cookies: Some(Arc::new(cookies)), ..self }
    }

    /// The session's cookies, where they are kept.
    pub(super) fn cookies(&self) -> Option<&Arc<Cookies>> {
        self.cookies.as_ref()
    }

    /// The headers of the task's own for this URL.
    fn own_headers(&self, url: &Url) -> HeaderMap {
        let own = self.host_headers.of(url);
        let own = own.into_iter().filter_map(|(name, value)| {
            let mut value = HeaderValue::from_str(value).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value))
        });
        own.collect()
    }

    /// Resolves a URL's host and checks its addresses by the rules of this client: for requests that
    /// somebody else sends (the browser). This client's own requests are checked as they connect.
    ///
    /// # Errors
    /// An unknown name, or a set with a forbidden address in it.
    pub async fn check_address(&self, url: &CanonicalUrl) -> Result<Vec<IpAddr>, ResolveError> {
        self.resolver.check(url).await
    }

    /// The resolver behind this client, for connections that somebody else makes for its session.
    pub fn resolver(&self) -> CheckedResolver {
        self.resolver.clone()
    }

    pub(super) fn deadlines(&self) -> Deadlines {
        self.deadlines
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Sends one GET and waits for the answer's headers; redirects are answers like others.
    pub(super) async fn get(&self, url: &Url, accept: Accept<'_>, by: Instant) -> Result<Exchange, Fault> {
        let port = match self.resolver.check_literal(url) {
            Ok(port) => port,
            Err(ResolveError::Forbidden { .. }) => return Err(Fault::Forbidden),
            Err(error) => return Err(Fault::Failed(FailureClass::Protocol, error.to_string())),
        };
        let request = self.client.get(url.clone());
        let request = match accept {
            Accept::Types(types) => request.header(ACCEPT, HeaderValue::from_static(types)),
            Accept::As(headers) => request.headers(headers.clone()),
        };
        let mut headers = self.own_headers(url);
        if let Some(cookie) = self.cookies.as_ref().and_then(|cookies| cookies.header(url)) {
            headers.insert(COOKIE, cookie);
        }
        let request = request.headers(headers).send();
        let (sent, since) = (Instant::now(), std::time::Instant::now());
        let phase = sent + self.deadlines.connect + self.deadlines.first_byte;
        match tokio::time::timeout_at(phase.min(by), with_port(port, request)).await {
            Ok(Ok(response)) => {
                if let Some(cookies) = &self.cookies {
                    cookies.note(url, response.headers());
                }
                Ok(Exchange { response, ttfb: sent.elapsed() })
            }
            Ok(Err(error)) => Err(self.said_by_way_out(url, since).unwrap_or_else(|| Fault::of(&error))),
            Err(_) if by <= phase => Err(Fault::timeout("the page's deadline passed before an answer came")),
            Err(_) => Err(Fault::timeout("no answer within the first-byte deadline")),
        }
    }
}

impl HttpClient {
    /// What became of a connection that somebody else was to make.
    fn said_by_way_out(&self, url: &Url, since: std::time::Instant) -> Option<Fault> {
        let url = CanonicalUrl::from_url(url.clone()).ok()?;
        match self.way_out.as_ref()?.why(&url, since)? {
            Refusal::Skip(SkipReason::AddressForbidden) => Some(Fault::Forbidden),
            Refusal::Skip(_) => None,
            Refusal::Fail(class, why) => Some(Fault::Failed(class, why)),
        }
    }
}

fn client(
    resolver: &CheckedResolver,
    fetch: &FetchSpec,
    deadlines: Deadlines,
    proxy: Option<SocketAddr>,
) -> Result<reqwest::Client, ClientError> {
    install_tls_provider();
    let user_agent = fetch.user_agent.clone().unwrap_or_else(default_user_agent);
    let user_agent = header("user_agent", &user_agent)?;
    let mut headers = HeaderMap::new();
    if let Some(language) = &fetch.accept_language {
        headers.insert(ACCEPT_LANGUAGE, header("accept_language", language)?);
    }
    let proxy = proxy.map(|proxy| reqwest::Proxy::all(format!("http://{proxy}")).map_err(ClientError::Setup));
    let proxy = proxy.transpose()?;
    let builder = || {
        let builder = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .user_agent(user_agent.clone())
            .default_headers(headers.clone())
            .dns_resolver(resolver.clone())
            .connect_timeout(deadlines.connect)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .pool_idle_timeout(IDLE_FOR)
            .tls_danger_accept_invalid_certs(fetch.ignore_https_errors);
        match &proxy {
            Some(proxy) => builder.proxy(proxy.clone()),
            None => builder,
        }
    };
    // A machine without CA certificates can still crawl http; https then fails with class tls.
    builder().build().or_else(|error| {
        tracing::warn!(%error, "no CA certificates: https pages will fail");
        builder().tls_certs_only(std::iter::empty()).build().map_err(ClientError::Setup)
    })
}

/// What a request asks for.
#[derive(Clone, Copy)]
pub(super) enum Accept<'a> {
    /// These media types, in crawld's own name.
    Types(&'static str),
    /// What another client would ask for, with its headers.
    As(&'a HeaderMap),
}

/// The headers of a browser's navigation: its user agent, and what of the rest answers are known to vary by.
///
/// A language is sent only where the task names one, as Chromium without a window does.
///
/// # Errors
/// The user agent or the language cannot be sent as a header.
pub fn browser_headers(user_agent: &str, fetch: &FetchSpec) -> Result<HeaderMap, ClientError> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static(ACCEPT_BROWSER));
    headers.insert(USER_AGENT, header("user_agent", user_agent)?);
    headers.insert(UPGRADE_INSECURE_REQUESTS, HeaderValue::from_static("1"));
    if let Some(language) = &fetch.accept_language {
        headers.insert(ACCEPT_LANGUAGE, header("accept_language", language)?);
    }
    Ok(headers)
}

/// An answer whose body has not been read.
pub(super) struct Exchange {
    pub(super) response: reqwest::Response,
    pub(super) ttfb: Duration,
}

impl Exchange {
    /// A header's value as text; one that is not readable ASCII counts as absent.
    pub(super) fn header(&self, name: http::header::HeaderName) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }
}

/// Installs ring as the process's TLS provider, once; harmless when another one is there.
pub fn install_tls_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // `Err` means that somebody installed one before: that one serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

fn header(key: &'static str, value: &str) -> Result<HeaderValue, ClientError> {
    HeaderValue::from_str(value).map_err(|_| ClientError::Header { key, value: value.escape_debug().to_string() })
}
