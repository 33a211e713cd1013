//! From the links of a page to URLs for the store: canonical, inside the scope, shaped for budgets.

use std::collections::HashSet;

use crate::model::lease::{Lease, Links, NewUrl, UrlKind};
use crate::model::task::TaskSpec;
use crate::model::url::CanonicalUrl;
use crate::policy::scope::{Scope, Verdict};
use crate::policy::traps::{TrapConfig, shape};

/// What decides about a link.
#[derive(Debug)]
pub struct LinkRules {
    /// In or out.
    pub scope: Scope,
    /// Length, repetition, templates.
    pub traps: TrapConfig,
    /// Client-side routes are pages of their own.
    pub routes: bool,
}

impl LinkRules {
    /// A URL that the operator or a robots.txt named: inside whatever the scope says.
    pub fn named(&self, url: CanonicalUrl, kind: UrlKind) -> NewUrl {
        let shape = shape(&url, &self.traps);
        let key = url.key();
        NewUrl { url, key, kind, depth: 0, hops: 0, park: None, template: shape.template, query: shape.query }
    }

    /// Whether a URL that is known is inside. How far the page on which it was found lay beyond the edge is kept only
    /// for those that lie there themselves.
    pub fn holds(&self, lease: &Lease) -> bool {
        self.accept(&lease.url, lease.depth, lease.hops.saturating_sub(1), lease.kind).is_some()
    }

    /// The URL as the store wants it, or `None` outside the scope.
    ///
    /// `depth` is the URL's own; `via_hops` is how far beyond the scope's edge the page lies on
    /// which it was found.
    pub fn accept(&self, url: &CanonicalUrl, depth: u32, via_hops: u32, kind: UrlKind) -> Option<NewUrl> {
        let hops = match self.scope.judge(url, depth, via_hops) {
            Verdict::In { hops } => hops,
            Verdict::Out(_) => return None,
        };
        let shape = shape(url, &self.traps);
        Some(NewUrl {
            url: url.clone(),
            key: url.key(),
            kind,
            depth,
            hops,
            park: shape.park,
            template: shape.template,
            query: shape.query,
        })
    }
}

/// Sorts a page's links: inside (without repetition, in page order), outside, not crawlable at all.
pub fn sort_links<'a>(
    rules: &LinkRules,
    hrefs: impl Iterator<Item = &'a str>,
    kind: UrlKind,
    depth: u32,
    via_hops: u32,
) -> Links {
    let mut links = Links::default();
    let mut met = HashSet::new();
    for href in hrefs {
        links.seen += 1;
        let Ok(url) = CanonicalUrl::parse_with(href, rules.routes) else { continue };
        if met.contains(&url) {
            continue;
        }
        match rules.accept(&url, depth, via_hops, kind) {
            Some(new) => links.accepted.push(new),
            None => links.out_of_scope += 1,
        }
        met.insert(url);
    }
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
    Ok(LinkRules { scope, traps: TrapConfig::default(), routes })
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
