//! From the links of a page to URLs for the store: canonical, inside the scope, shaped for budgets.

mod memory;

use std::collections::HashSet;

use self::memory::{Link, Memory};
use xxhash_rust::xxh3::xxh3_64;

use crate::fetch::sitemap::SitemapEntry;
use crate::model::lease::{Lease, Links, NewUrl, UrlKind};
use crate::model::quick::QuickSet;
use crate::model::task::TaskSpec;
use crate::model::url::CanonicalUrl;
use crate::policy::scope::{Scope, Verdict};
use crate::policy::traps::{TrapConfig, shape, sitemap_level};

/// Depth of what sitemaps name. They stand beside the seeds, however many indexes lead to them and whatever link was
/// found first.
const SITEMAP_ENTRY_DEPTH: u32 = 1;

/// What decides about a link.
#[derive(Debug)]
pub struct LinkRules {
    /// In or out.
    pub scope: Scope,
    /// Length, repetition, templates.
    pub traps: TrapConfig,
    /// Client-side routes are pages of their own.
    pub routes: bool,
    known: Memory,
}

impl LinkRules {
    /// Rules of these parts.
    pub fn new(scope: Scope, traps: TrapConfig, routes: bool) -> Self {
        LinkRules { scope, traps, routes, known: Memory::default() }
    }

    /// A URL that the operator or a robots.txt named: inside whatever the scope says.
    pub fn named(&self, url: CanonicalUrl, kind: UrlKind) -> NewUrl {
        let shape = shape(&url, &self.traps);
        let key = url.key();
        NewUrl { url, key, kind, depth: 0, hops: 0, park: None, template: shape.template, query: shape.query }
    }

    /// Whether a URL that is known is inside. How far the page on which it was found lay beyond the edge is kept only
    /// for those that lie there themselves.
    pub fn holds(&self, lease: &Lease) -> bool {
        match lease.kind {
            UrlKind::Page => self.accept(&lease.url, lease.depth, lease.hops.saturating_sub(1)).is_some(),
            UrlKind::Sitemap => self.accept_sitemap(&lease.url, &lease.url, lease.hops).is_some(),
        }
    }

    /// The page as the store wants it, or `None` outside the scope.
    ///
    /// `depth` is the URL's own; `via_hops` is how far beyond the scope's edge the page lies on
    /// which it was found.
    pub fn accept(&self, url: &CanonicalUrl, depth: u32, via_hops: u32) -> Option<NewUrl> {
        match self.scope.judge(url, depth, via_hops) {
            Verdict::In { hops } => Some(NewUrl { depth, hops, ..self.shaped(url, UrlKind::Page) }),
            Verdict::Out(_) => None,
        }
    }

    /// A sitemap that another one, `from`, names or redirects to; `None` where it is not to be read.
    pub fn accept_sitemap(&self, url: &CanonicalUrl, from: &CanonicalUrl, indexes_above: u32) -> Option<NewUrl> {
        let new = || {
            let new = NewUrl { hops: indexes_above, ..self.shaped(url, UrlKind::Sitemap) };
            NewUrl { park: new.park.or(sitemap_level(indexes_above)), ..new }
        };
        self.scope.takes_sitemap(url, from).then(new)
    }

    /// Where the leased URL redirects to, or `None` where it is not to be followed.
    pub fn redirect(&self, url: &CanonicalUrl, lease: &Lease) -> Option<NewUrl> {
        match lease.kind {
            UrlKind::Page => self.accept(url, lease.depth, lease.hops),
            UrlKind::Sitemap => self.accept_sitemap(url, &lease.url, lease.hops),
        }
    }

    fn shaped(&self, url: &CanonicalUrl, kind: UrlKind) -> NewUrl {
        let shape = shape(url, &self.traps);
        let (url, key) = (url.clone(), url.key());
        NewUrl { url, key, kind, depth: 0, hops: 0, park: shape.park, template: shape.template, query: shape.query }
    }
}

/// Sorts what a sitemap names: pages by the scope, sitemaps by their site.
pub fn sort_entries(rules: &LinkRules, lease: &Lease, entries: &[SitemapEntry]) -> Links {
    let of = |kind| entries.iter().filter(move |entry| entry.kind == kind).map(|entry| &entry.url);
    let pages = of(UrlKind::Page).map(CanonicalUrl::as_str);
    let mut links = sort_links(rules, pages, SITEMAP_ENTRY_DEPTH, 0);
    for url in of(UrlKind::Sitemap) {
        links.seen += 1;
        match rules.accept_sitemap(url, &lease.url, lease.hops.saturating_add(1)) {
            Some(new) => links.accepted.push(new),
            None => links.out_of_scope += 1,
        }
    }
    links
}

impl LinkRules {
    /// What is true of a link wherever it stands; `None` where it is none.
    fn link(&self, href: &str) -> Option<Link> {
        let url = CanonicalUrl::parse_with(href, self.routes).ok()?;
        let (key, shape, place) = (url.key(), shape(&url, &self.traps), self.scope.place(&url));
        Some(Link { url, key, shape, place })
    }
}

/// Sorts a page's links: inside (without repetition, in page order), outside, not crawlable at all.
pub fn sort_links<'a>(rules: &LinkRules, hrefs: impl Iterator<Item = &'a str>, depth: u32, via_hops: u32) -> Links {
    let mut links = Links::default();
    let mut met = QuickSet::default();
    let find = |href: &str| rules.link(href);
    rules.known.each(hrefs, find, |link| {
        links.seen += 1;
        let Some(link) = link.filter(|link| met.insert((xxh3_64(link.url.host_key().as_bytes()), link.key))) else {
            return;
        };
        match rules.scope.judge_place(link.place, depth, via_hops) {
            Verdict::In { hops } => links.accepted.push(NewUrl {
                url: link.url.clone(),
                key: link.key,
                kind: UrlKind::Page,
                depth,
                hops,
                park: link.shape.park,
                template: link.shape.template,
                query: link.shape.query,
            }),
            Verdict::Out(_) => links.out_of_scope += 1,
        }
    });
    links
}

/// What the task names by itself: seeds and sitemaps.
pub(super) fn named(spec: &TaskSpec) -> HashSet<CanonicalUrl> {
    let routes = spec.extract.hash_routes;
    let named = spec.seeds.iter().chain(&spec.sitemaps);
    named.filter_map(|text| CanonicalUrl::parse_with(text, routes).ok()).collect()
}

/// Hosts whose robots.txt is read for sitemaps: those of the seeds.
pub fn sitemap_hosts(spec: &TaskSpec) -> HashSet<String> {
    let seeds = spec.seeds.iter().filter(|_| spec.scope.use_sitemaps);
    seeds.filter_map(|seed| CanonicalUrl::parse(seed).ok()).map(|url| url.host_key().to_owned()).collect()
}

/// The rules of a task.
///
/// # Errors
/// What in the task is none.
pub(super) fn link_rules(spec: &TaskSpec) -> Result<LinkRules, String> {
    let routes = spec.extract.hash_routes;
    let seeds: Vec<CanonicalUrl> = spec
        .seeds
        .iter()
        .map(|seed| CanonicalUrl::parse_with(seed, routes))
        .collect::<Result<_, _>>()
        .map_err(|e| e.to_string())?;
    let scope = Scope::new(&spec.scope, &seeds).map_err(|error| error.to_string())?;
    Ok(LinkRules::new(scope, TrapConfig::default(), routes))
}

/// The task's seeds, in the crawl whatever the scope says of them: the operator named them.
///
/// # Errors
/// What in the task is no URL.
pub(super) fn seeds(spec: &TaskSpec, rules: &LinkRules) -> Result<Vec<NewUrl>, String> {
    let pages = spec.seeds.iter().map(|seed| (seed, UrlKind::Page));
    let sitemaps = spec.sitemaps.iter().map(|sitemap| (sitemap, UrlKind::Sitemap));
    let mut met = HashSet::new();
    let mut urls = Vec::new();
    for (text, kind) in pages.chain(sitemaps) {
        let url = CanonicalUrl::parse_with(text, rules.routes).map_err(|error| error.to_string())?;
        if met.insert(url.clone()) {
            urls.push(rules.named(url, kind));
        }
    }
    Ok(urls)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::outcome::ParkReason;
    use crate::model::task::{ScopePreset, ScopeSpec};

    const SITE: &str = "http://h.example";

    fn rules(scope: ScopeSpec) -> LinkRules {
        let scope = Scope::new(&scope, &[url("/docs/")]).unwrap();
        LinkRules::new(scope, TrapConfig::default(), false)
    }

    fn url(path: &str) -> CanonicalUrl {
        CanonicalUrl::parse(&format!("{SITE}{path}")).unwrap()
    }

    fn sitemap(depth: u32, indexes_above: u32) -> Lease {
        Lease {
            no: 1,
            host: 1,
            url: url("/sitemap.xml"),
            kind: UrlKind::Sitemap,
            depth,
            hops: indexes_above,
            via: None,
            attempt: 1,
            epoch: 1,
            suspect: false,
            crashes: (0, 0),
            supersedes: None,
        }
    }

    #[test]
    fn what_a_sitemap_names_is_one_link_deep_however_it_was_found() {
        #[track_caller]
        fn check(name: &str, lease: &Lease, kind: UrlKind, path: &str, want: Option<(u32, u32, Option<ParkReason>)>) {
            let spec = ScopeSpec { preset: ScopePreset::Prefix, max_depth: Some(1), ..ScopeSpec::default() };
            let links = sort_entries(&rules(spec), lease, &[SitemapEntry { kind, url: url(path) }]);
            let got = links.accepted.first().map(|new| (new.depth, new.hops, new.park));
            assert_eq!((got, links.seen), (want, 1), "{name}");
            assert_eq!(links.out_of_scope, u64::from(want.is_none()), "{name}");
        }
        let (page, map) = (UrlKind::Page, UrlKind::Sitemap);
        check("page", &sitemap(0, 0), page, "/docs/x", Some((1, 0, None)));
        check("page outside", &sitemap(0, 0), page, "/blog/x", None);
        check("page of a sitemap below three indexes", &sitemap(0, 3), page, "/docs/x", Some((1, 0, None)));
        check("page of a sitemap that a link led to first", &sitemap(7, 0), page, "/docs/x", Some((1, 0, None)));
        check("nested, beside the prefix", &sitemap(0, 0), map, "/maps/1.xml", Some((0, 1, None)));
        check("nested, the deepest", &sitemap(0, 2), map, "/maps/1.xml", Some((0, 3, None)));
        check("deeper", &sitemap(0, 3), map, "/maps/1.xml", Some((0, 4, Some(ParkReason::SitemapDepth))));
    }

    #[test]
    fn a_sitemap_may_move_within_its_site() {
        let rules = rules(ScopeSpec { preset: ScopePreset::Prefix, ..ScopeSpec::default() });
        let lease = sitemap(0, 2);
        let moved = rules.redirect(&url("/maps/all.xml"), &lease).unwrap();
        assert_eq!((moved.kind, moved.depth, moved.hops), (UrlKind::Sitemap, 0, 2));
        assert_eq!(rules.redirect(&url("/maps/x"), &Lease { kind: UrlKind::Page, ..lease }), None);
    }
}
