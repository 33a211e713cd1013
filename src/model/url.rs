//! Canonical URLs: the form in which URLs are compared, stored and fetched.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// An absolute http or https URL in canonical form.
///
/// Parsed by the WHATWG rules (lower-case scheme and host, IDNA, no default port, no dot segments), then:
/// no fragment (but a route, where the task has it so), no user name or password, no trailing dot of the host, percent-encoding in its shortest
/// upper-case form, no empty query, no tracking parameters and no session ids. The order of the query's
/// parameters is kept: servers may tell it apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CanonicalUrl(String);

/// What stands for a path with its query: the first 128 bits of its SHA-256, the same on every machine and
/// in every version. Nobody can make two paths that share one, so equal keys are equal paths.
pub type UrlKey = [u8; 16];

/// The key of a path with its query.
pub fn key_of(path: &str) -> UrlKey {
    let digest: [u8; 32] = Sha256::digest(path).into();
    digest.first_chunk().copied().expect("16 of 32 bytes")
}

/// Version of the canonicalisation rules; a change makes old seen-sets wrong. Routes are kept or not by the task, which
/// a session never changes.
pub const CANONICAL_VERSION: u32 = 1;

/// Query parameters (lower case) that say where a visitor came from, never what is shown.
const TRACKERS: &[&str] = &["gclid", "gclsrc", "dclid", "gbraid", "wbraid", "fbclid", "msclkid"];

/// Query parameters (lower case) that carry a session id.
const SESSION_IDS: &[&str] = &["jsessionid", "phpsessid", "sid", "cfid", "cftoken"];

/// Prefixes (lower case) of parameter names that are dropped.
const DROPPED_PREFIXES: &[&str] = &["utm_", "aspsessionid"];

/// The one path parameter that servlet containers put into links for visitors without cookies.
const PATH_SESSION_ID: &str = ";jsessionid=";

/// Characters of a bad URL that an error message shows.
const SHOWN: usize = 120;

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

impl UrlError {
    fn invalid(text: &str) -> Self {
        UrlError::Invalid(text.chars().take(SHOWN).collect::<String>().escape_debug().to_string())
    }

    fn scheme(text: &str) -> Self {
        UrlError::Scheme(text.chars().take(SHOWN).collect::<String>().escape_debug().to_string())
    }
}

/// Whether a fragment (without its `#`) names a client-side route: `/…` or `!/…`. The root route alone is the
/// document itself.
pub fn is_route(fragment: &str) -> bool {
    let path = fragment.strip_prefix('!').unwrap_or(fragment);
    path.strip_prefix('/').is_some_and(|rest| !rest.is_empty())
}

impl CanonicalUrl {
    /// Canonicalises an absolute URL.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let url = ::url::Url::parse(text).map_err(|_| UrlError::invalid(text))?;
        Self::from_url(url)
    }

    /// The same, and a client-side route (`#/…`, `#!/…`) stays when `routes` are pages of their own.
    pub fn parse_with(text: &str, routes: bool) -> Result<Self, UrlError> {
        let url = ::url::Url::parse(text).map_err(|_| UrlError::invalid(text))?;
        let route = url.fragment().filter(|fragment| routes && is_route(fragment)).map(str::to_owned);
        let CanonicalUrl(document) = Self::from_url(url)?;
        Ok(match route {
            Some(route) => CanonicalUrl(format!("{document}#{}", shorten_percent(&route).unwrap_or(route))),
            None => CanonicalUrl(document),
        })
    }

    /// Canonicalises a link found in a document with this base URL. Links of other schemes are told by
    /// their first characters, without parsing the rest (a `data:` link can be a whole picture).
    pub fn join(base: &::url::Url, href: &str) -> Result<Self, UrlError> {
        let href = href.trim_matches(|c: char| c <= ' ');
        if let Some(scheme) = other_scheme(href) {
            return Err(UrlError::scheme(scheme));
        }
        Self::from_url(base.join(href).map_err(|_| UrlError::invalid(href))?)
    }

    /// Canonicalises a parsed URL.
    pub fn from_url(mut url: ::url::Url) -> Result<Self, UrlError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(UrlError::scheme(url.scheme()));
        }
        if url.fragment().is_some() {
            url.set_fragment(None);
        }
        if !url.username().is_empty() || url.password().is_some() {
            // Both fail only for URLs without a host, which http and https cannot be.
            let _ = url.set_username("");
            let _ = url.set_password(None);
        }
        if url.host_str().is_some_and(|host| host.ends_with('.')) {
            let host = url.host_str().unwrap_or_default().trim_end_matches('.').to_owned();
            if host.is_empty() || url.set_host(Some(&host)).is_err() {
                return Err(UrlError::invalid(url.as_str()));
            }
        }
        rewrite_path(&mut url);
        rewrite_query(&mut url);
        Ok(CanonicalUrl(url.into()))
    }

    /// The whole URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The URL as the `url` crate's type, as a base to join links to.
    ///
    /// # Errors
    /// Only for a value that was not made by this type's own constructors (a damaged file).
    pub fn to_url(&self) -> Result<::url::Url, UrlError> {
        ::url::Url::parse(&self.0).map_err(|_| UrlError::invalid(&self.0))
    }

    /// What a server is asked for: the URL without its route.
    pub fn document(&self) -> &str {
        self.0.split_once('#').map_or(&self.0, |(document, _)| document)
    }

    /// It is a client-side route, which only a browser can follow.
    pub fn is_route(&self) -> bool {
        self.0.contains('#')
    }

    /// `scheme://host[:port]`: what politeness, robots.txt and breakers are kept by.
    pub fn host_key(&self) -> &str {
        self.0.split_at(self.split()).0
    }

    /// Path and query (and route), from the first slash.
    pub fn path(&self) -> &str {
        self.0.split_at(self.split()).1
    }

    /// Path without the query.
    pub fn path_only(&self) -> &str {
        let path = self.path();
        path.split_once('?').map_or(path, |(path, _)| path)
    }

    /// The query without its question mark.
    pub fn query(&self) -> Option<&str> {
        self.path().split_once('?').map(|(_, query)| query)
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &str {
        self.0.split_once("://").map_or("", |(scheme, _)| scheme)
    }

    /// Host name or address; an IPv6 address stands in brackets.
    pub fn host(&self) -> &str {
        self.authority().0
    }

    /// The port, the scheme's own where the URL names none.
    pub fn port(&self) -> u16 {
        let default = if self.scheme() == "https" { 443 } else { 80 };
        self.authority().1.and_then(|port| port.parse().ok()).unwrap_or(default)
    }

    /// What stands for path and query in the seen-set, within the host; see [`UrlKey`].
    pub fn key(&self) -> UrlKey {
        key_of(self.path())
    }

    /// Puts the two halves together again, as the store keeps them.
    pub fn from_parts(host_key: &str, path: &str) -> Self {
        CanonicalUrl(format!("{host_key}{path}"))
    }

    fn authority(&self) -> (&str, Option<&str>) {
        let key = self.host_key();
        let authority = key.split_once("://").map_or(key, |(_, authority)| authority);
        // The last colon belongs to a port unless it stands inside an IPv6 address's brackets.
        match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (authority, None),
        }
    }

    fn split(&self) -> usize {
        let bytes = self.0.as_bytes();
        // The first colon is the scheme's.
        let colon = memchr::memchr(b':', bytes).filter(|at| bytes[*at..].starts_with(b"://"));
        let start = colon.map_or(0, |at| at + 3);
        memchr::memchr(b'/', &bytes[start..]).map_or(bytes.len(), |i| start + i)
    }
}

impl fmt::Display for CanonicalUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The scheme of an absolute link when it is neither http nor https.
fn other_scheme(href: &str) -> Option<&str> {
    let end = href.bytes().position(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.')))?;
    let scheme = &href[..end];
    let absolute = href.as_bytes()[end] == b':' && scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    let fetched = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    (absolute && !fetched).then_some(scheme)
}

fn rewrite_path(url: &mut ::url::Url) {
    if !url.path().bytes().any(|b| matches!(b, b'%' | b';')) {
        return;
    }
    // Taking a session id out can leave a dot segment, which only the parser folds; that can bring no new
    // session id, so the second round ends it.
    for _ in 0..2 {
        let shortest = shorten_percent(url.path());
        let path = shortest.as_deref().unwrap_or(url.path());
        let stripped = strip_path_session(path);
        let Some(new) = stripped.or(shortest) else { return };
        url.set_path(&new);
    }
}

fn rewrite_query(url: &mut ::url::Url) {
    let Some(query) = url.query() else { return };
    let shortest = shorten_percent(query);
    let text = shortest.as_deref().unwrap_or(query);
    if text.is_empty() {
        url.set_query(None);
    } else if text.split('&').any(is_dropped) {
        let kept = text.split('&').filter(|pair| !is_dropped(pair)).collect::<Vec<_>>().join("&");
        url.set_query(if kept.is_empty() { None } else { Some(&kept) });
    } else if let Some(new) = shortest {
        url.set_query(Some(&new));
    }
}

fn is_dropped(pair: &str) -> bool {
    let name = pair.split_once('=').map_or(pair, |(name, _)| name);
    TRACKERS.iter().chain(SESSION_IDS).any(|known| name.eq_ignore_ascii_case(known))
        || DROPPED_PREFIXES.iter().any(|prefix| starts_with_ignore_case(name, prefix))
}

fn starts_with_ignore_case(text: &str, prefix: &str) -> bool {
    text.len() >= prefix.len() && text.as_bytes()[..prefix.len()].eq_ignore_ascii_case(prefix.as_bytes())
}

/// The path without `;jsessionid=…` parameters; `None` when it has none.
fn strip_path_session(path: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = path;
    let mut found = false;
    while let Some(at) = rest.find(';') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let session = starts_with_ignore_case(rest, PATH_SESSION_ID);
        let end = rest[1..].find(['/', ';']).map_or(rest.len(), |i| i + 1);
        if !session {
            out.push_str(&rest[..end]);
        }
        found |= session;
        rest = &rest[end..];
    }
    out.push_str(rest);
    found.then_some(out)
}

/// Percent-encoding in its shortest form: unreserved characters decoded, the other hex digits in upper
/// case (RFC 3986, 6.2.2). `None` when the text is so already.
fn shorten_percent(text: &str) -> Option<String> {
    if !text.contains('%') {
        return None;
    }
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    // Where the last `%` without two hex digits went in `out`: a digit decoded right behind it would
    // make an escape of it, and the result would not be canonical.
    let mut stray = None;
    let mut i = 0;
    while let Some(at) = text[i..].find('%').map(|offset| i + offset) {
        out.push_str(&text[i..at]);
        let Some(byte) = hex_pair(bytes.get(at + 1), bytes.get(at + 2)) else {
            stray = Some(out.len());
            out.push('%');
            i = at + 1;
            continue;
        };
        let completes = byte.is_ascii_hexdigit() && stray.is_some_and(|s: usize| out.len() - s <= 2);
        if (byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')) && !completes {
            out.push(byte as char);
        } else {
            out.push_str(&text[at..at + 3].to_ascii_uppercase());
        }
        i = at + 3;
    }
    out.push_str(&text[i..]);
    (out != text).then_some(out)
}

fn hex_pair(high: Option<&u8>, low: Option<&u8>) -> Option<u8> {
    let digit = |b: &u8| (*b as char).to_digit(16);
    Some((digit(high?)? * 16 + digit(low?)?) as u8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(input: &str, want: &str) {
        let got = CanonicalUrl::parse(input).unwrap_or_else(|e| panic!("{input}: {e}"));
        assert_eq!(got.as_str(), want, "{input}");
        assert_eq!(CanonicalUrl::parse(want).unwrap(), got, "{want} is not stable");
    }

    #[test]
    fn urls_are_brought_to_one_form() {
        for (input, want) in [
            ("HTTP://Example.ORG", "http://example.org/"),
            ("http://example.org:80/a", "http://example.org/a"),
            ("https://example.org:443/", "https://example.org/"),
            ("https://example.org:80/", "https://example.org:80/"),
            ("http://example.org./a", "http://example.org/a"),
            ("http://example.org.:8080/a", "http://example.org:8080/a"),
            ("http://user:pw@example.org/a", "http://example.org/a"),
            ("http://user@example.org/a", "http://example.org/a"),
            ("http://example.org/a#top", "http://example.org/a"),
            ("http://example.org/a/./b/../c", "http://example.org/a/c"),
            ("http://example.org/a/%2e%2E/c", "http://example.org/c"),
            ("http://example.org\\a\\b", "http://example.org/a/b"),
            ("http://example.org/%7Eme/%61", "http://example.org/~me/a"),
            ("http://example.org/a%2fb%3a", "http://example.org/a%2Fb%3A"),
            ("http://example.org/%c3%a9", "http://example.org/%C3%A9"),
            ("http://example.org/é", "http://example.org/%C3%A9"),
            ("http://example.org/%zz%4", "http://example.org/%zz%4"),
            ("http://example.org/%%34%31", "http://example.org/%%341"),
            ("http://example.org/%4%31", "http://example.org/%4%31"),
            ("http://example.org/%2525", "http://example.org/%2525"),
            ("http://example.org/a b", "http://example.org/a%20b"),
            ("http://bücher.example/", "http://xn--bcher-kva.example/"),
            ("http://example.org/?", "http://example.org/"),
            ("http://example.org?q=1", "http://example.org/?q=1"),
            ("http://example.org/?b=2&a=1", "http://example.org/?b=2&a=1"),
            ("http://example.org/?q=%41%2f", "http://example.org/?q=A%2F"),
            ("http://example.org/?utm_source=x&UTM_Medium=y&q=1", "http://example.org/?q=1"),
            ("http://example.org/?q=1&gclid=abc&r=2", "http://example.org/?q=1&r=2"),
            ("http://example.org/?fbclid=abc", "http://example.org/"),
            ("http://example.org/?PHPSESSID=abc&a", "http://example.org/?a"),
            ("http://example.org/?sid=1&side=2", "http://example.org/?side=2"),
            ("http://example.org/?ASPSESSIONIDABCD=1", "http://example.org/"),
            ("http://example.org/?CFID=1&CFTOKEN=2&x=3", "http://example.org/?x=3"),
            ("http://example.org/?%73id=4", "http://example.org/"),
            ("http://example.org/a;jsessionid=1F?x", "http://example.org/a?x"),
            ("http://example.org/a;JSESSIONID=1/b;v=2", "http://example.org/a/b;v=2"),
            ("http://example.org/a;v=1;jsessionid=1;w=2", "http://example.org/a;v=1;w=2"),
            ("http://example.org/a/..;jsessionid=1/b", "http://example.org/b"),
            ("http://example.org/jsessionid=1", "http://example.org/jsessionid=1"),
            ("http://0x7f.1/", "http://127.0.0.1/"),
            ("http://[0:0::1]:8080/", "http://[::1]:8080/"),
            ("  http://example.org/a\n", "http://example.org/a"),
        ] {
            check(input, want);
        }
    }

    #[test]
    fn what_cannot_be_crawled_is_refused() {
        for text in
            ["", "a/b", "//example.org/", "http://", "http://./", "http://a b/", "http://[::1/", "http://a:99999/"]
        {
            assert!(matches!(CanonicalUrl::parse(text), Err(UrlError::Invalid(_))), "{text}");
        }
        for text in ["ftp://example.org/", "javascript:alert(1)", "mailto:a@b", "file:///etc/passwd", "data:,x"] {
            assert!(matches!(CanonicalUrl::parse(text), Err(UrlError::Scheme(_))), "{text}");
        }
    }

    #[test]
    fn links_are_resolved_against_their_base() {
        let base = ::url::Url::parse("https://example.org/dir/page?x=1#f").unwrap();
        for (href, want) in [
            ("other", Some("https://example.org/dir/other")),
            ("/", Some("https://example.org/")),
            ("?y=2", Some("https://example.org/dir/page?y=2")),
            ("#frag", Some("https://example.org/dir/page?x=1")),
            ("", Some("https://example.org/dir/page?x=1")),
            ("//cdn.example/x", Some("https://cdn.example/x")),
            (" \t../up ", Some("https://example.org/up")),
            ("http:relative", Some("http://relative/")),
            ("a:b", None),
            ("JavaScript:void(0)", None),
            ("java\nscript:void(0)", None),
            ("tel:+1", None),
            ("./a:b", Some("https://example.org/dir/a:b")),
        ] {
            assert_eq!(CanonicalUrl::join(&base, href).ok().as_ref().map(CanonicalUrl::as_str), want, "{href}");
        }
    }

    #[test]
    fn routes_are_kept_where_they_are_pages() {
        for (input, want) in [
            ("http://h.example/app#/a", "http://h.example/app#/a"),
            ("http://h.example/app?x#!/a%2fb/%41?y=1", "http://h.example/app?x#!/a%2Fb/A?y=1"),
            ("http://h.example#/a b", "http://h.example/#/a%20b"),
            ("http://h.example/app#/", "http://h.example/app"),
            ("http://h.example/app#!/", "http://h.example/app"),
            ("http://h.example/app#top", "http://h.example/app"),
            ("http://h.example/app#!top", "http://h.example/app"),
        ] {
            let url = CanonicalUrl::parse_with(input, true).unwrap();
            assert_eq!(url.as_str(), want, "{input}");
            assert_eq!(CanonicalUrl::parse_with(want, true).unwrap(), url, "{want} is not stable");
            assert_eq!(CanonicalUrl::from_parts(url.host_key(), url.path()), url);
            let plain = CanonicalUrl::parse(input).unwrap();
            assert_eq!(
                (CanonicalUrl::parse_with(input, false).unwrap(), url.document()),
                (plain.clone(), plain.as_str())
            );
            assert_eq!(url.is_route(), url != plain);
        }
    }

    #[test]
    fn parts_are_told_apart() {
        for (text, key, host, port, path) in [
            ("http://a.example/x?y", "http://a.example", "a.example", 80, "/x?y"),
            ("https://a.example", "https://a.example", "a.example", 443, "/"),
            ("http://a.example:8080/", "http://a.example:8080", "a.example", 8080, "/"),
            ("http://[::1]/", "http://[::1]", "[::1]", 80, "/"),
            ("http://[::1]:81/?a://b", "http://[::1]:81", "[::1]", 81, "/?a://b"),
        ] {
            let url = CanonicalUrl::parse(text).unwrap();
            assert_eq!((url.host_key(), url.host(), url.port(), url.path()), (key, host, port, path), "{text}");
            assert_eq!(CanonicalUrl::from_parts(url.host_key(), url.path()), url);
        }
        let damaged = CanonicalUrl("nonsense".into());
        assert_eq!((damaged.scheme(), damaged.host(), damaged.port(), damaged.path()), ("", "nonsense", 80, ""));
    }

    #[test]
    fn the_hash_never_changes() {
        // The first half of what `printf / | sha256sum` prints.
        let key = CanonicalUrl::parse("http://a.example/").unwrap().key();
        assert_eq!(u128::from_be_bytes(key), 0x8a5e_dab2_8263_2443_219e_051e_4ade_2d1d);
    }

    proptest! {
        #[test]
        fn canonical_is_canonical(tail in "[a-c%2345eE./;?&=#:@ \\\\~]{0,24}", session in "(;jsessionid=[0-9/;.]{0,4})?") {
            if let Ok(url) = CanonicalUrl::parse(&format!("http://h.example/{tail}{session}/{tail}")) {
                prop_assert_eq!(CanonicalUrl::parse(url.as_str()).unwrap(), url.clone());
                prop_assert!(!url.as_str().contains('#'));
                prop_assert!(url.path().starts_with('/'));
            }
        }

        #[test]
        fn any_text_is_judged_without_a_panic(text in "\\PC{0,60}") {
            let base = ::url::Url::parse("https://example.org/").unwrap();
            if let Ok(url) = CanonicalUrl::join(&base, &text) {
                prop_assert_eq!(CanonicalUrl::parse(url.as_str()).unwrap(), url);
            }
        }
    }
}
