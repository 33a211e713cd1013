//! Scope: which links belong to a crawl.

use std::collections::{HashMap, HashSet};

use regex::{Regex, RegexSet};

use crate::model::outcome::closed_list;
use crate::model::task::{ScopePreset, ScopeSpec};
use crate::model::url::CanonicalUrl;

closed_list! {
    /// Why a link is outside.
    OutRule {
        /// Deeper than `max_depth`.
        Depth = "depth",
        /// An exclude pattern matches.
        Exclude = "exclude",
        /// Beyond the preset's edge, with no extra hop left.
        Preset = "preset",
        /// No include pattern matches, with no extra hop left.
        Include = "include",
    }
}

/// Whether a link belongs to the crawl.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    In {
        /// Links followed beyond the scope's edge to reach it, to be kept with the URL; 0 inside.
        hops: u32,
    },
    /// It does not.
    Out(OutRule),
}

/// Why a scope cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// A pattern is not a regex, or too large a one.
    #[error("{key}[{index}]: `{pattern}` is not a usable regex: {reason}")]
    Pattern {
        /// The key in the task.
        key: &'static str,
        /// Position in its list, from 0.
        index: usize,
        /// The pattern, escaped.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `custom` without a pattern would take nothing in.
    #[error(
        "scope.include is empty, but scope.preset = \"custom\" goes by it alone: add a pattern, or take another preset"
    )]
    NothingIncluded,
}

/// Where a URL lies, however it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Within every edge.
    Inside,
    /// Beyond the edge of this rule: extra hops lead there.
    Beyond(OutRule),
    /// Excluded: nothing leads there.
    Excluded,
}

/// The compiled scope of a task.
#[derive(Debug, Clone)]
pub struct Scope {
    preset: ScopePreset,
    /// Host without `www.` → what the seeds there open up.
    sites: HashMap<String, Vec<Site>>,
    /// Registrable domains, and hosts that have none.
    domains: HashSet<String>,
    include: RegexSet,
    exclude: RegexSet,
    max_depth: Option<u32>,
    extra_hops: u32,
}

/// The seeds of one host and port.
#[derive(Debug, Clone)]
struct Site {
    port: Port,
    directories: Vec<String>,
    pages: HashSet<String>,
}

/// http and https on their own ports are one site; another port is a site of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Port {
    Usual,
    Other(u16),
}

impl Scope {
    /// Compiles a scope.
    ///
    /// # Errors
    /// When a pattern is not a regex, or `custom` has none to go by.
    pub fn new(spec: &ScopeSpec, seeds: &[CanonicalUrl]) -> Result<Scope, ScopeError> {
        if spec.preset == ScopePreset::Custom && spec.include.is_empty() {
            return Err(ScopeError::NothingIncluded);
        }
        let mut scope = Scope {
            preset: spec.preset,
            sites: HashMap::new(),
            domains: HashSet::new(),
            include: patterns("scope.include", &spec.include)?,
            exclude: patterns("scope.exclude", &spec.exclude)?,
            max_depth: spec.max_depth,
            extra_hops: spec.extra_hops,
        };
        for seed in seeds {
            scope.add_seed(seed);
        }
        Ok(scope)
    }

    /// Judges a link.
    ///
    /// `depth` is the link's own (its page's plus one), `page_hops` the hops of the page it was found on
    /// (0 for a seed). A link back into the scope counts from 0 again. Patterns are looked for anywhere in
    /// the whole URL. `exclude` and `max_depth` hold for extra hops too. Seeds need no judging: they are
    /// what the user asked for.
    pub fn judge(&self, url: &CanonicalUrl, depth: u32, page_hops: u32) -> Verdict {
        self.judge_place(self.place(url), depth, page_hops)
    }

    /// The part of [`Scope::judge`] that holds for a URL wherever it is found.
    pub fn place(&self, url: &CanonicalUrl) -> Place {
        if !self.exclude.is_empty() && self.exclude.is_match(url.as_str()) {
            return Place::Excluded;
        }
        self.beyond(url).map_or(Place::Inside, Place::Beyond)
    }

    /// The rest of [`Scope::judge`], for a URL whose place is known.
    pub fn judge_place(&self, place: Place, depth: u32, page_hops: u32) -> Verdict {
        if self.max_depth.is_some_and(|max| depth > max) {
            return Verdict::Out(OutRule::Depth);
        }
        let hops = page_hops.saturating_add(1);
        match place {
            Place::Inside => Verdict::In { hops: 0 },
            Place::Beyond(_) if hops <= self.extra_hops => Verdict::In { hops },
            Place::Beyond(rule) => Verdict::Out(rule),
            Place::Excluded => Verdict::Out(OutRule::Exclude),
        }
    }

    /// Judges a sitemap that another one names or redirects to; `from` is that one.
    ///
    /// It is read for the pages it names, which are judged themselves: so neither `include` nor a preset narrower than
    /// its site holds for it, and no depth. Sites are those of the sitemap protocol, a bit wider: the registrable
    /// domain of the sitemap that names it, and what the preset takes in.
    pub fn takes_sitemap(&self, url: &CanonicalUrl, from: &CanonicalUrl) -> bool {
        let excluded = !self.exclude.is_empty() && self.exclude.is_match(url.as_str());
        !excluded && (domain(url.host()) == domain(from.host()) || self.in_preset(url))
    }

    /// The edge that the URL lies beyond; `None` inside.
    fn beyond(&self, url: &CanonicalUrl) -> Option<OutRule> {
        if !self.in_preset(url) {
            return Some(OutRule::Preset);
        }
        let included = self.include.is_empty() || self.include.is_match(url.as_str());
        (!included).then_some(OutRule::Include)
    }

    fn in_preset(&self, url: &CanonicalUrl) -> bool {
        match self.preset {
            ScopePreset::Page => self.site(url).is_some_and(|site| site.pages.contains(url.path())),
            ScopePreset::Prefix => self.site(url).is_some_and(|site| {
                let path = url.path_only();
                site.directories.iter().any(|directory| path.starts_with(directory.as_str()))
            }),
            ScopePreset::Host => self.site(url).is_some(),
            ScopePreset::Domain => self.domains.contains(domain(url.host())),
            ScopePreset::Any | ScopePreset::Custom => true,
        }
    }

    fn site(&self, url: &CanonicalUrl) -> Option<&Site> {
        let port = port(url);
        self.sites.get(bare_host(url.host()))?.iter().find(|site| site.port == port)
    }

    fn add_seed(&mut self, seed: &CanonicalUrl) {
        self.domains.insert(domain(seed.host()).to_owned());
        let sites = self.sites.entry(bare_host(seed.host()).to_owned()).or_default();
        let port = port(seed);
        let at = sites.iter().position(|site| site.port == port).unwrap_or_else(|| {
            sites.push(Site { port, directories: Vec::new(), pages: HashSet::new() });
            sites.len() - 1
        });
        let site = &mut sites[at];
        let path = seed.path_only();
        let directory = &path[..path.rfind('/').map_or(0, |slash| slash + 1)];
        if !site.directories.iter().any(|known| directory.starts_with(known.as_str())) {
            site.directories.retain(|known| !known.starts_with(directory));
            site.directories.push(directory.to_owned());
        }
        site.pages.insert(seed.path().to_owned());
    }
}

fn patterns(key: &'static str, list: &[String]) -> Result<RegexSet, ScopeError> {
    let error = |index: usize, pattern: &str, e: &regex::Error| ScopeError::Pattern {
        key,
        index,
        pattern: pattern.escape_debug().to_string(),
        reason: e.to_string(),
    };
    for (index, pattern) in list.iter().enumerate() {
        Regex::new(pattern).map_err(|e| error(index, pattern, &e))?;
    }
    // Each compiles alone, so only their sum can be too large.
    RegexSet::new(list).map_err(|e| error(list.len().saturating_sub(1), &list.join(" "), &e))
}

/// `www.` in front makes no other site: one of the two names nearly always redirects to the other.
fn bare_host(host: &str) -> &str {
    host.strip_prefix("www.").filter(|rest| rest.contains('.')).unwrap_or(host)
}

fn port(url: &CanonicalUrl) -> Port {
    match (url.scheme(), url.port()) {
        ("http", 80) | ("https", 443) => Port::Usual,
        (_, port) => Port::Other(port),
    }
}

/// The registrable domain by the Public Suffix List; the host itself for addresses, single labels and
/// public suffixes, whose subdomains belong to strangers.
fn domain(host: &str) -> &str {
    let address = host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok();
    if address { host } else { psl::domain_str(host).unwrap_or(host) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> CanonicalUrl {
        CanonicalUrl::parse(text).unwrap()
    }

    #[track_caller]
    fn check(spec: ScopeSpec, seed: &str, rows: &[(&str, Verdict)]) {
        let scope = Scope::new(&spec, &[url(seed)]).unwrap();
        for (link, want) in rows {
            assert_eq!(scope.judge(&url(link), 1, 0), *want, "{} from {seed}: {link}", spec.preset);
        }
    }

    fn preset(preset: ScopePreset) -> ScopeSpec {
        ScopeSpec { preset, ..ScopeSpec::default() }
    }

    const IN: Verdict = Verdict::In { hops: 0 };
    const OUT: Verdict = Verdict::Out(OutRule::Preset);

    #[test]
    fn page_is_the_seed_alone() {
        check(
            preset(ScopePreset::Page),
            "http://a.example/x?q=1",
            &[
                ("http://a.example/x?q=1", IN),
                ("https://a.example/x?q=1", IN),
                ("https://www.a.example/x?q=1", IN),
                ("http://a.example/x", OUT),
                ("http://a.example/x?q=2", OUT),
                ("http://b.example/x?q=1", OUT),
            ],
        );
    }

    #[test]
    fn prefix_is_the_seeds_directory() {
        check(
            preset(ScopePreset::Prefix),
            "http://a.example/docs/v1/index.html?a/b",
            &[
                ("http://a.example/docs/v1/", IN),
                ("https://a.example/docs/v1/x/y", IN),
                ("http://a.example/docs/v1", OUT),
                ("http://a.example/docs/v10/", OUT),
                ("http://a.example/?/docs/v1/", OUT),
                ("http://b.example/docs/v1/", OUT),
            ],
        );
        check(preset(ScopePreset::Prefix), "http://a.example/docs", &[("http://a.example/other", IN)]);
    }

    #[test]
    fn host_is_name_and_port() {
        check(
            preset(ScopePreset::Host),
            "http://a.example/x",
            &[
                ("http://a.example/", IN),
                ("https://a.example/y", IN),
                ("http://www.a.example/", IN),
                ("http://a.example:8080/", OUT),
                ("https://a.example:80/", OUT),
                ("http://b.a.example/", OUT),
                ("http://example/", OUT),
            ],
        );
        check(
            preset(ScopePreset::Host),
            "http://127.0.0.1:9000/",
            &[
                ("http://127.0.0.1:9000/x", IN),
                ("https://127.0.0.1:9000/x", IN),
                ("http://127.0.0.1/", OUT),
                ("http://127.0.0.1:9001/", OUT),
                ("http://localhost:9000/", OUT),
            ],
        );
        check(preset(ScopePreset::Host), "http://www.a.example/", &[("http://a.example/", IN)]);
        check(preset(ScopePreset::Host), "http://www.com/", &[("http://com/", OUT), ("http://x.www.com/", OUT)]);
        check(preset(ScopePreset::Host), "http://www.localhost/", &[("http://localhost/", OUT)]);
    }

    #[test]
    fn domain_is_the_registrable_one() {
        check(
            preset(ScopePreset::Domain),
            "http://www.shop.co.uk/",
            &[
                ("https://shop.co.uk:8443/", IN),
                ("http://a.b.shop.co.uk/", IN),
                ("http://other.co.uk/", OUT),
                ("http://co.uk/", OUT),
            ],
        );
        check(preset(ScopePreset::Domain), "http://me.github.io/", &[("http://you.github.io/", OUT)]);
        check(
            preset(ScopePreset::Domain),
            "http://github.io/",
            &[("http://github.io/x", IN), ("http://me.github.io/", OUT)],
        );
        check(
            preset(ScopePreset::Domain),
            "http://10.0.0.1/",
            &[("http://10.0.0.1:81/", IN), ("http://20.0.0.1/", OUT)],
        );
        check(preset(ScopePreset::Domain), "http://[::1]/", &[("http://[::1]/x", IN), ("http://[::2]/", OUT)]);
        check(
            preset(ScopePreset::Domain),
            "http://localhost/",
            &[("http://localhost:81/x", IN), ("http://remotehost/", OUT)],
        );
    }

    #[test]
    fn any_and_custom_go_by_patterns() {
        check(preset(ScopePreset::Any), "http://a.example/", &[("http://b.example/", IN)]);
        let custom = ScopeSpec { include: vec!["//b\\.".into(), "\\.pdf$".into()], ..preset(ScopePreset::Custom) };
        let out = Verdict::Out(OutRule::Include);
        let rows = [("http://b.example/", IN), ("http://c.example/x.pdf", IN), ("http://a.example/", out)];
        check(custom, "http://a.example/", &rows);
    }

    #[test]
    fn patterns_narrow_a_preset() {
        let spec =
            ScopeSpec { include: vec!["/en/".into()], exclude: vec!["[?&]print=".into()], ..ScopeSpec::default() };
        let (exclude, include) = (Verdict::Out(OutRule::Exclude), Verdict::Out(OutRule::Include));
        check(
            spec,
            "http://a.example/en/",
            &[
                ("http://a.example/en/x", IN),
                ("http://a.example/de/x", include),
                ("http://a.example/en/x?print=1", exclude),
                ("http://b.example/en/x", OUT),
                ("http://b.example/en/x?print=1", exclude),
            ],
        );
    }

    #[test]
    fn sitemaps_are_taken_from_their_site_whatever_the_pages_must_be() {
        #[track_caller]
        fn check(name: &str, spec: ScopeSpec, sitemap: &str, taken: bool) {
            let scope = Scope::new(&spec, &[url("http://a.example.org/docs/")]).unwrap();
            let from = url("http://a.example.org/sitemap.xml");
            assert_eq!(scope.takes_sitemap(&url(sitemap), &from), taken, "{name}");
        }
        let own = "http://a.example.org/maps/1.xml";
        let narrow =
            |preset| ScopeSpec { preset, include: vec!["/docs/".into()], max_depth: Some(0), ..ScopeSpec::default() };
        check("beyond the prefix, include and depth", narrow(ScopePreset::Prefix), own, true);
        check("beyond the page", narrow(ScopePreset::Page), own, true);
        check("another host of the site", narrow(ScopePreset::Host), "https://static.example.org/1.xml", true);
        check("a stranger's", narrow(ScopePreset::Host), "http://b.example.com/1.xml", false);
        check("a stranger's, in a crawl of everything", preset(ScopePreset::Any), "http://b.example.com/1.xml", true);
        let excluding = ScopeSpec { exclude: vec!["/maps/".into()], ..ScopeSpec::default() };
        check("excluded", excluding, own, false);
    }

    #[test]
    fn depth_is_counted_from_the_seed() {
        let spec = ScopeSpec { max_depth: Some(2), ..ScopeSpec::default() };
        let scope = Scope::new(&spec, &[url("http://a.example/")]).unwrap();
        for (depth, want) in
            [(0, IN), (2, IN), (3, Verdict::Out(OutRule::Depth)), (u32::MAX, Verdict::Out(OutRule::Depth))]
        {
            assert_eq!(scope.judge(&url("http://a.example/x"), depth, 0), want, "{depth}");
        }
    }

    #[test]
    fn extra_hops_lead_over_the_edge_and_back() {
        let spec =
            ScopeSpec { extra_hops: 2, exclude: vec!["secret".into()], max_depth: Some(9), ..ScopeSpec::default() };
        let scope = Scope::new(&spec, &[url("http://a.example/")]).unwrap();
        for (link, depth, page_hops, want) in [
            ("http://b.example/", 1, 0, Verdict::In { hops: 1 }),
            ("http://c.example/", 2, 1, Verdict::In { hops: 2 }),
            ("http://d.example/", 3, 2, OUT),
            ("http://a.example/y", 3, 2, IN),
            ("http://b.example/secret", 1, 0, Verdict::Out(OutRule::Exclude)),
            ("http://b.example/", 10, 0, Verdict::Out(OutRule::Depth)),
            ("http://b.example/", 1, u32::MAX, OUT),
        ] {
            assert_eq!(scope.judge(&url(link), depth, page_hops), want, "{link} after {page_hops} hops");
        }
    }

    #[test]
    fn several_seeds_open_several_sites() {
        let seeds =
            ["http://a.example/x/1", "http://a.example/x/y/2", "http://a.example:81/z/", "http://b.example/"].map(url);
        let scope = Scope::new(&preset(ScopePreset::Prefix), &seeds).unwrap();
        for (link, want) in [
            ("http://a.example/x/y", IN),
            ("http://a.example/z/", OUT),
            ("http://a.example:81/z/1", IN),
            ("http://a.example:81/x/", OUT),
            ("https://b.example/anything", IN),
        ] {
            assert_eq!(scope.judge(&url(link), 1, 0), want, "{link}");
        }
    }

    #[test]
    fn a_bad_pattern_is_named_with_its_place() {
        let spec = ScopeSpec { exclude: vec!["ok".into(), "a(b\n".into()], ..ScopeSpec::default() };
        let error = Scope::new(&spec, &[]).unwrap_err().to_string();
        assert!(error.starts_with("scope.exclude[1]: `a(b\\n` is not a usable regex: "), "{error}");
        assert_eq!(Scope::new(&preset(ScopePreset::Custom), &[]).unwrap_err(), ScopeError::NothingIncluded);
        let huge = ScopeSpec { include: vec!["(a{1000}){1000}".into()], ..ScopeSpec::default() };
        assert!(Scope::new(&huge, &[]).unwrap_err().to_string().contains("size limit"));
    }
}
