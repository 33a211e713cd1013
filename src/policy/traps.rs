//! Crawler traps: what the shape of a URL shows, and the budgets that catch the rest.
//!
//! Nothing is dropped: a URL that looks like part of a trap is parked, counted, and can be released.

use xxhash_rust::xxh3::Xxh3;

use crate::model::outcome::ParkReason;
use crate::model::task::ScopeSpec;
use crate::model::url::CanonicalUrl;

/// Limits on the shape of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrapConfig {
    /// Bytes of the whole URL at most.
    pub max_url_bytes: usize,
    /// Path segments at most.
    pub max_segments: usize,
    /// A path segment may stand in a path fewer times than this, next to each other or not.
    pub max_repeats: usize,
}

impl Default for TrapConfig {
    /// What large crawlers use: 2,048 bytes, 20 segments, three times the same one.
    fn default() -> Self {
        TrapConfig { max_url_bytes: 2048, max_segments: 20, max_repeats: 3 }
    }
}

/// Indexes that may stand above a sitemap. The protocol knows one; sites nest two, and a chain without an end is a trap.
pub const SITEMAP_LEVELS: u32 = 3;

/// Whether a sitemap with so many indexes above it is to be parked.
pub fn sitemap_level(indexes_above: u32) -> Option<ParkReason> {
    (indexes_above > SITEMAP_LEVELS).then_some(ParkReason::SitemapDepth)
}

/// What a URL shows by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shape {
    /// Set when the URL alone is reason enough to park it.
    pub park: Option<ParkReason>,
    /// Hash of the path template that budgets are counted by (within the host); `None` for a URL without a
    /// query and without a variable part in its path, which no generator makes by the million.
    pub template: Option<u64>,
    /// Hash of the query's parameters, in any order; `None` without a query.
    pub query: Option<u64>,
}

/// What the store has counted already, without the URL in question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BudgetCounts {
    /// URLs of the host that are queued, in flight or ended.
    pub host_urls: u64,
    /// Those of them under the URL's template; 0 without a template.
    pub template_urls: u64,
    /// Distinct parameter sets among those, the URL's own not counted; 0 without a query.
    pub template_queries: u64,
}

/// Whether a new URL is to be parked because a budget is used up.
pub fn budget(counts: &BudgetCounts, spec: &ScopeSpec) -> Option<ParkReason> {
    if counts.host_urls >= spec.host_budget {
        Some(ParkReason::HostBudget)
    } else if counts.template_urls >= spec.pattern_budget {
        Some(ParkReason::PatternBudget)
    } else if counts.template_queries >= spec.query_budget {
        Some(ParkReason::QueryExplosion)
    } else {
        None
    }
}

/// Looks at a URL alone.
pub fn shape(url: &CanonicalUrl, config: &TrapConfig) -> Shape {
    // A parked URL may be released, so it is counted like any other; a too long one is not taken apart.
    if url.as_str().len() > config.max_url_bytes {
        return Shape { park: Some(ParkReason::TooLong), ..Shape::default() };
    }
    let path = url.path_only();
    let query = url.query();
    Shape {
        park: repeats(path, config).then_some(ParkReason::RepeatedSegments),
        template: template(path, query),
        query: query.map(query_hash),
    }
}

fn repeats(path: &str, config: &TrapConfig) -> bool {
    // Empty segments (`//`) make a path deep as well; the slash at the end does not.
    let depth = path.strip_suffix('/').unwrap_or(path).bytes().filter(|b| *b == b'/').count();
    if depth > config.max_segments {
        return true;
    }
    let segments = || path.split('/').filter(|segment| !segment.is_empty());
    segments().enumerate().any(|(at, segment)| {
        segments().skip(at).filter(|other| *other == segment).take(config.max_repeats).count() >= config.max_repeats
    })
}

/// Directories as they are but for digits and ids, the class of the last segment, the names of parameters.
fn template(path: &str, query: Option<&str>) -> Option<u64> {
    if query.is_none() && !path.bytes().any(|b| b.is_ascii_digit()) {
        return None;
    }
    let (directories, last) = path.rsplit_once('/').unwrap_or(("", path));
    let mut hash = Xxh3::new();
    for segment in directories.split('/').skip(1) {
        hash.update(b"/");
        put_segment(&mut hash, segment);
    }
    hash.update(b"//");
    put_class(&mut hash, last);
    if let Some(query) = query {
        for name in parameter_names(query) {
            hash.update(b"&");
            put_segment(&mut hash, name);
        }
    }
    Some(hash.digest())
}

/// Names of a query's parameters, each once, in order.
pub(super) fn parameter_names(query: &str) -> Vec<&str> {
    let mut names: Vec<&str> = query.split('&').map(|pair| pair.split_once('=').map_or(pair, |p| p.0)).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// A segment with digit runs as `0` and ids as `#`, word by word.
fn put_segment(hash: &mut Xxh3, segment: &str) {
    if is_uuid(segment) {
        return hash.update(b"#");
    }
    for (at, word) in segment.split(|c: char| !c.is_ascii_alphanumeric()).enumerate() {
        if at > 0 {
            hash.update(b"-");
        }
        put_word(hash, word);
    }
}

fn put_word(hash: &mut Xxh3, word: &str) {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    if digits == 0 {
        return hash.update(word.as_bytes());
    }
    // Letters and digits mixed (a hash, a base-36 key) are an id; `v2`, `page17` and `2024` are not.
    let letters_first = word.trim_start_matches(|c: char| c.is_ascii_alphabetic()).bytes().all(|b| b.is_ascii_digit());
    let digits_first = word.trim_start_matches(|c: char| c.is_ascii_digit()).bytes().all(|b| b.is_ascii_alphabetic());
    let hex = word.len() >= 8 && word.bytes().all(|b| b.is_ascii_hexdigit());
    if digits < word.len() && (hex || !(letters_first || digits_first)) {
        return hash.update(b"#");
    }
    let mut rest = word;
    while !rest.is_empty() {
        let letters = rest.bytes().take_while(|b| !b.is_ascii_digit()).count();
        hash.update(&rest.as_bytes()[..letters]);
        if letters < rest.len() {
            hash.update(b"0");
        }
        rest = rest[letters..].trim_start_matches(|c: char| c.is_ascii_digit());
    }
}

/// The last segment only by what kind it is, and its extension: else every page would be a template.
fn put_class(hash: &mut Xxh3, last: &str) {
    let (name, extension) = match last.rsplit_once('.') {
        Some((name, ext)) if !name.is_empty() && is_extension(ext) => (name, ext),
        _ => (last, ""),
    };
    let has = |test: fn(&u8) -> bool| name.bytes().any(|b| test(&b));
    let class: &[u8] = match (has(u8::is_ascii_digit), has(|b| !b.is_ascii_digit())) {
        _ if is_uuid(name) => b"#",
        (false, false) => b"",
        (true, false) => b"0",
        (true, true) => b"a0",
        (false, true) => b"a",
    };
    hash.update(class);
    hash.update(b".");
    hash.update(extension.to_ascii_lowercase().as_bytes());
}

fn is_extension(text: &str) -> bool {
    (1..=5).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphabetic())
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

fn query_hash(query: &str) -> u64 {
    let mut pairs: Vec<&str> = query.split('&').collect();
    pairs.sort_unstable();
    let mut hash = Xxh3::new();
    for pair in pairs {
        hash.update(pair.as_bytes());
        hash.update(b"&");
    }
    hash.digest()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn of(path: &str) -> Shape {
        shape(&CanonicalUrl::from_parts("http://a.example", path), &TrapConfig::default())
    }

    #[test]
    fn shapes_of_traps_are_parked() {
        for (name, path, want) in [
            ("plain", "/a/b/c".to_owned(), None),
            ("root", "/".into(), None),
            ("twice", "/a/b/a".into(), None),
            ("three in a row", "/a/a/a".into(), Some(ParkReason::RepeatedSegments)),
            ("three apart", "/a/x/a/y/a/z".into(), Some(ParkReason::RepeatedSegments)),
            ("only in the query", "/a?/a/a/a".into(), None),
            ("three alike but not the same", "/a1/a2/a3".into(), None),
            ("trailing slash", "/a/a/".into(), None),
            ("twenty deep", (0..20).map(|n| format!("/d{n}")).collect(), None),
            ("twenty deep, a directory", (0..20).map(|n| format!("/d{n}")).collect::<String>() + "/", None),
            ("twenty-one deep", (0..21).map(|n| format!("/d{n}")).collect(), Some(ParkReason::RepeatedSegments)),
            ("empty segments", "/".repeat(25), Some(ParkReason::RepeatedSegments)),
            ("some empty segments", "/a//b///c".into(), None),
            ("just short enough", format!("/{}", "x".repeat(2048 - 17)), None),
            ("one too long", format!("/{}", "x".repeat(2048 - 16)), Some(ParkReason::TooLong)),
            ("a long query", format!("/?{}", "x".repeat(2048)), Some(ParkReason::TooLong)),
        ] {
            assert_eq!(of(&path).park, want, "{name}");
        }
    }

    #[test]
    fn only_variable_urls_cost_a_template() {
        for path in ["/", "/wiki/Main_Page", "/en/cpp/string/basic_string.html", "/a/b/"] {
            assert_eq!(of(path), Shape::default(), "{path}");
        }
        for path in ["/p/1", "/v2/docs", "/?q", "/wiki/Main?action=edit"] {
            assert!(of(path).template.is_some(), "{path}");
        }
    }

    #[test]
    fn generated_urls_share_a_template() {
        for group in [
            &["/item/1", "/item/22", "/item/987654"][..],
            &["/2024/01/02/first-post", "/1999/12/31/other"],
            &["/cal?month=1&year=2024", "/cal?year=1900&month=12"],
            &["/p/a1.html?x=1", "/p/b2.html?x="],
            &["/o/550e8400-e29b-41d4-a716-446655440000/x", "/o/deadbeef-dead-beef-dead-beefdeadbee1/x"],
            &["/g/3f2a9c1d77/x", "/g/9e107d9d372bb6826bd81d3542a419d6/x", "/g/a1b2c3d4/x"],
            &["/v/dQw4w9WgXcQ/", "/v/a1b2c3z/"],
            &["/list?f[0]=a", "/list?f[17]=b"],
            &["/page12/x", "/page3/y"],
        ] {
            let templates: HashSet<_> = group.iter().map(|path| of(path).template.unwrap()).collect();
            assert_eq!(templates.len(), 1, "{group:?}");
        }
    }

    #[test]
    fn different_places_have_different_templates() {
        let paths = [
            "/item/1",
            "/thing/1",
            "/item/1.html",
            "/item/1?x",
            "/item/1?y",
            "/item/1/",
            "/item/a1",
            "/item2/1",
            "/it/em/1",
        ];
        let templates: HashSet<_> = paths.iter().map(|path| of(path).template.unwrap()).collect();
        assert_eq!(templates.len(), paths.len());
    }

    #[test]
    fn parameter_sets_are_told_apart_by_names_and_values_only() {
        assert_eq!(of("/x").query, None);
        assert_eq!(of("/x?a=1&b=2").query, of("/y?b=2&a=1").query);
        assert_ne!(of("/x?a=1&b=2").query, of("/x?a=1&b=3").query);
        assert_ne!(of("/x?a=1&b=2").query, of("/x?a=1").query);
        assert_ne!(of("/x?ab").query, of("/x?a&b").query);
    }

    #[test]
    fn budgets_park_in_order() {
        let spec = ScopeSpec { host_budget: 100, pattern_budget: 10, query_budget: 5, ..ScopeSpec::default() };
        for (counts, want) in [
            ((0, 0, 0), None),
            ((99, 9, 4), None),
            ((100, 0, 0), Some(ParkReason::HostBudget)),
            ((50, 10, 0), Some(ParkReason::PatternBudget)),
            ((50, 9, 5), Some(ParkReason::QueryExplosion)),
            ((50, 10, 5), Some(ParkReason::PatternBudget)),
            ((100, 10, 5), Some(ParkReason::HostBudget)),
            ((u64::MAX, 0, 0), Some(ParkReason::HostBudget)),
        ] {
            let counts = BudgetCounts { host_urls: counts.0, template_urls: counts.1, template_queries: counts.2 };
            assert_eq!(budget(&counts, &spec), want, "{counts:?}");
        }
    }

    #[test]
    fn templates_stay_near_the_number_of_directories() {
        let mut templates = HashSet::new();
        for n in 0..10_000_u64 {
            let id = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            for path in [
                format!("/shop/item-{n}.html"),
                format!("/shop/{id:016x}/view"),
                format!("/blog/{}/{}/post-{n}", n % 30, n % 12),
                format!("/search?q={id}&page={n}"),
                format!("/t/{n}-{id:x}/reply?x={n}"),
            ] {
                templates.insert(of(&path).template.unwrap());
            }
        }
        assert!(templates.len() <= 12, "{}", templates.len());
    }

    proptest! {
        #[test]
        fn any_path_has_a_shape(path in "/[a-f0-9/.?&=%é-]{0,80}") {
            let shape = of(&path);
            prop_assert_eq!(shape.query.is_some(), path.contains('?'));
            prop_assert_eq!(shape, of(&path));
        }
    }
}
