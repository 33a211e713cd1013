//! Links as they stand in a document, bounded, and what they resolve to.

use url::{Position, Url};

use crate::model::quick::QuickSet;
use crate::model::url::is_route;
use crate::model::visit::RawLink;

/// A longer reference than this is no link that anybody could follow.
const MAX_HREF_BYTES: usize = 16 << 10;

/// Bytes of references kept per page.
const MAX_TOTAL_BYTES: usize = 4 << 20;

/// References in document order, each once.
#[derive(Debug)]
pub struct RawLinks {
    /// All of them, one behind the other.
    text: String,
    /// Where each ends.
    ends: Vec<usize>,
    known: QuickSet<u64>,
    limit: usize,
    cut: bool,
    fragments: bool,
    routes: bool,
}

impl RawLinks {
    /// Takes at most `limit` references.
    pub fn new(limit: usize) -> Self {
        RawLinks {
            text: String::new(),
            ends: Vec::new(),
            known: QuickSet::default(),
            limit,
            cut: false,
            fragments: false,
            routes: false,
        }
    }

    /// Client-side routes are links as well.
    pub fn with_routes(mut self, routes: bool) -> Self {
        self.routes = routes;
        self
    }

    /// Takes one reference, unless it is known, cannot lead to a page, or a limit is reached.
    pub fn push(&mut self, href: &str) {
        let href = href.trim_matches(|c: char| c <= ' ');
        // A place in this document; with a base declared, one in that.
        self.fragments |= href.starts_with('#');
        let place = href.strip_prefix('#').is_some_and(|fragment| !(self.routes && is_route(fragment)));
        if href.is_empty() || place || has_foreign_scheme(href) {
            return;
        }
        let full = self.ends.len() >= self.limit || self.text.len() + href.len() > MAX_TOTAL_BYTES;
        if href.len() > MAX_HREF_BYTES || full {
            self.cut = true;
            return;
        }
        if self.known.insert(xxhash_rust::xxh3::xxh3_64(href.as_bytes())) {
            self.text.push_str(href);
            self.ends.push(self.text.len());
        }
    }

    /// A reference was nothing but a fragment.
    pub fn has_fragments(&self) -> bool {
        self.fragments
    }

    /// Something was left out because of a limit.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// Absolute http and https URLs without fragments but routes, each once, in document order.
    pub fn resolve(self, base: &Url) -> Vec<RawLink> {
        let mut known = QuickSet::with_capacity_and_hasher(self.ends.len(), Default::default());
        let mut links = Vec::with_capacity(self.ends.len());
        let mut from = 0;
        for end in self.ends {
            let href = &self.text[std::mem::replace(&mut from, end)..end];
            let Some(href) = join_plain(base, href).or_else(|| join(base, href, self.routes)) else { continue };
            if known.insert(xxhash_rust::xxh3::xxh3_64(href.as_bytes())) {
                links.push(RawLink { href });
            }
        }
        links
    }
}

/// By the rules for URLs, all of them.
fn join(base: &Url, href: &str, routes: bool) -> Option<String> {
    let mut url = base.join(href).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    if !url.fragment().is_some_and(|fragment| routes && is_route(fragment)) {
        url.set_fragment(None);
    }
    Some(url.into())
}

/// The same for the references that nearly all are: a path in plain letters, with or without dot segments and a
/// fragment that is no route. `None` for all others.
fn join_plain(base: &Url, href: &str) -> Option<String> {
    let (path, fragment) = href.split_once('#').unwrap_or((href, ""));
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-._~/%!$&()*+,;=@".contains(b);
    let is_path = !path.is_empty() && !path.starts_with("//") && path.bytes().all(|b| plain(&b));
    // An encoded dot counts as one in dot segments.
    let dotted = || {
        memchr::memchr_iter(b'%', path.as_bytes()).any(|at| {
            let hex = path.as_bytes().get(at + 1..at + 3);
            hex.is_some_and(|hex| hex.eq_ignore_ascii_case(b"2e"))
        })
    };
    if !is_path || is_route(fragment) || dotted() {
        return None;
    }
    let origin = &base[..Position::BeforePath];
    let directory = if path.starts_with('/') { "/" } else { &base.path()[..base.path().rfind('/')? + 1] };
    let mut url = String::with_capacity(origin.len() + directory.len() + path.len());
    url.push_str(origin);
    url.push_str(directory);
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." => {}
            ".." => {
                // Up to the slash before the last one, but not above the root.
                let above = url[origin.len()..url.len() - 1].rfind('/').map_or(0, |slash| slash);
                url.truncate(origin.len() + above + 1);
            }
            segment => {
                url.push_str(segment);
                url.extend(segments.peek().map(|_| '/'));
            }
        }
    }
    Some(url)
}

/// Appends links that are not there yet, up to a number of all.
pub fn add_new(links: &mut Vec<RawLink>, more: Vec<RawLink>, most: usize) {
    let mut known: QuickSet<String> = links.iter().map(|link| link.href.clone()).collect();
    for link in more {
        if links.len() < most && known.insert(link.href.clone()) {
            links.push(link);
        }
    }
}

/// `mailto:`, `javascript:`, `data:` and so on, recognised early so that they use up no limit.
fn has_foreign_scheme(href: &str) -> bool {
    let Some((scheme, _)) = href.split_once(':') else { return false };
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    is_scheme && !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https")
}

/// The base that references are resolved against: the document's own declaration, if it is usable.
pub fn document_base(address: &Url, declared: Option<&str>) -> Url {
    declared
        .and_then(|href| address.join(href.trim()).ok())
        .filter(|base| matches!(base.scheme(), "http" | "https"))
        .unwrap_or_else(|| address.clone())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resolved(limit: usize, hrefs: &[&str]) -> (Vec<String>, bool) {
        let mut links = RawLinks::new(limit);
        hrefs.iter().for_each(|href| links.push(href));
        let cut = links.is_cut();
        let base = Url::parse("http://h/d/p.html").unwrap();
        (links.resolve(&base).into_iter().map(|l| l.href).collect(), cut)
    }

    #[track_caller]
    fn check(hrefs: &[&str], expected: &[&str]) {
        let expected: Vec<String> = expected.iter().map(|s| (*s).to_owned()).collect();
        assert_eq!(resolved(100, hrefs), (expected, false));
    }

    #[test]
    fn resolves_and_filters() {
        check(
            &["a", "/b", "//o/c", "?q", "https://s/x"],
            &["http://h/d/a", "http://h/b", "http://o/c", "http://h/d/p.html?q", "https://s/x"],
        );
        check(
            &["#top", "", "  ", "mailto:a@b", "JavaScript:x()", "data:,x", "tel:1", "ftp://f/", "file:///etc/passwd"],
            &[],
        );
        check(&["a", "a", "a#x", " a\n", "./a"], &["http://h/d/a"]);
        check(&["HTTP://H/up", "a:b/c", "1:2", "http://[bad"], &["http://h/up", "http://h/d/1:2"]);
    }

    #[test]
    fn routes_are_links_where_they_are_pages() {
        let mut links = RawLinks::new(100).with_routes(true);
        ["#/a", "#top", "#/", "x#!/b", "x#c", "#/a"].iter().for_each(|href| links.push(href));
        let found: Vec<_> =
            links.resolve(&Url::parse("http://h/d/p#/z").unwrap()).into_iter().map(|l| l.href).collect();
        assert_eq!(found, ["http://h/d/p#/a", "http://h/d/x#!/b", "http://h/d/x"]);
    }

    #[test]
    fn bounds_number_and_size() {
        let (links, cut) = resolved(2, &["a", "b", "a", "c"]);
        assert_eq!((links.len(), cut), (2, true));
        let long = "x".repeat(MAX_HREF_BYTES + 1);
        assert_eq!(resolved(9, &[&long, "b"]), (vec!["http://h/d/b".to_owned()], true));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn plain_references_lead_where_all_lead(
            base in "http://(u:p@)?h(:81)?/([ab./é]{0,8}(\\?a/b)?)",
            href in "/?(\\.\\./|\\./|[ab%2eE.]{0,3}/?){0,4}([-._~%!$&()*+,;=@:?\\[\\\\ ]|é)?(a?\\.{0,2})(#/?x?)?",
        ) {
            let base = Url::parse(&base).unwrap();
            if let Some(joined) = join_plain(&base, &href) {
                prop_assert_eq!(Some(joined), join(&base, &href, true), "{} from {}", href, base);
            }
        }
    }

    #[test]
    fn base_must_be_a_web_address() {
        let at = Url::parse("http://h/d/p").unwrap();
        assert_eq!(document_base(&at, Some("/e/")).as_str(), "http://h/e/");
        assert_eq!(document_base(&at, Some("data:,x")).as_str(), "http://h/d/p");
        assert_eq!(document_base(&at, None).as_str(), "http://h/d/p");
    }
}
