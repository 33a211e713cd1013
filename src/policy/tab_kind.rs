//! In which kind of tab a page is loaded: an ordinary one, whose frames are drawn though nobody sees them, or a
//! frameless one, which saves a third of the work and fails pages that wait for a frame.
//!
//! Every page says by itself whether it needs frames, in either kind of tab. So a site is first watched in ordinary
//! tabs, where that costs nothing, and moved to frameless ones where nearly no page asks for frames. Whether the hook
//! that watches misses something is found out by loading some pages both ways.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::Xxh3;

use crate::model::checkpoint::LearnedSite;
use crate::model::outcome::closed_list;
use crate::model::url::CanonicalUrl;

/// Share of a page's cost that a frameless tab saves: 23 to 37 % were measured.
const SAVED: f64 = 0.30;

/// A site or path template where less than this would be saved on average stays with ordinary tabs.
const LEAST_GAIN: f64 = 0.10;

/// Pages of a path template, or of its site, that are watched in ordinary tabs first.
const WATCHED_FIRST: u32 = 3;

/// Pages of a site after which a template not seen before is judged by its site.
const SITE_KNOWN: u32 = 8;

/// Pages that are loaded both ways and must agree before a site's pages are loaded frameless only.
const COMPARED_FIRST: u32 = 3;

/// Differences from pages that had not settled, of which none is a proof, after which they count as one.
const UNCLEAR_MOST: u32 = 3;

/// One frameless page in this many is compared for ever after.
const COMPARED_LATER: u32 = 250;

/// Above this share of pages that ask for frames the document is kept for a second load.
const KEEP_ABOVE: f64 = 0.04;

/// Counts are halved here, so that what a site does now counts more than what it did.
const COUNTS_MAX: u32 = 64;

/// Path templates remembered of a site; of others only the site's own count is kept.
const TEMPLATES_MAX: usize = 64;

/// Those that the next lifetime is told of.
const TEMPLATES_TOLD: usize = 8;

closed_list! {
    /// The kinds of tab.
    TabKind {
        /// Its frames are drawn.
        Ordinary = "ordinary",
        /// No frame is ever drawn.
        Frameless = "frameless",
    }
}

/// How a page is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// In an ordinary tab.
    Ordinary,
    /// In a frameless tab, and again in an ordinary one if it asks for frames.
    Frameless {
        /// The document is kept, because a second load is likely enough.
        keep: bool,
    },
    /// In both, the document kept; what they found is compared.
    Compare,
}

/// What a page taught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taught {
    /// It asked for frames, or could not say.
    pub demand: bool,
    /// Its scripts sent something to the server: it must not be loaded twice.
    pub posted: bool,
    /// It was loaded both ways: whether the frameless tab found all.
    pub agreed: Option<bool>,
    /// The ordinary tab was read before the page had settled: what it found otherwise may be what had come by then.
    pub unclear: bool,
}

/// Pages seen, and those of them that asked for frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    seen: u32,
    demanded: u32,
}

impl Count {
    fn add(&mut self, demand: bool) {
        if self.seen >= COUNTS_MAX {
            self.seen /= 2;
            self.demanded /= 2;
        }
        self.seen += 1;
        self.demanded += u32::from(demand);
    }

    fn share(self) -> f64 {
        f64::from(self.demanded) / f64::from(self.seen.max(1))
    }
}

/// What is known of a site (a host).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SiteMemory {
    all: Count,
    templates: BTreeMap<u64, Count>,
    agreed: u32,
    frameless: u32,
    unclear: u32,
    /// A frameless tab lost something once, or its pages send: ordinary from here on.
    ordinary_only: bool,
}

impl SiteMemory {
    /// How the next page of a template is loaded.
    pub fn start(&self, template: u64) -> Start {
        let own = self.templates.get(&template).copied().unwrap_or_default();
        let count = match own.seen >= WATCHED_FIRST {
            true => own,
            false if self.all.seen >= SITE_KNOWN => Count {
                // Judged by the site, and by the little that is known of the template.
                demanded: self.all.demanded.max(own.demanded * self.all.seen / own.seen.max(1)),
                ..self.all
            },
            false => return Start::Ordinary,
        };
        if self.ordinary_only || SAVED - count.share() < LEAST_GAIN {
            return Start::Ordinary;
        }
        if self.agreed < COMPARED_FIRST || self.frameless % COMPARED_LATER == COMPARED_LATER - 1 {
            return Start::Compare;
        }
        Start::Frameless { keep: count.share() > KEEP_ABOVE }
    }

    /// Tells the next lifetime; of path templates only the ones seen most.
    pub fn tell(&self, site: &mut LearnedSite) {
        let mut templates: Vec<_> = self.templates.iter().collect();
        templates.sort_by_key(|(_, count)| std::cmp::Reverse(count.seen));
        let told = |(template, count): &(&u64, &Count)| (format!("{template:016x}"), (count.seen, count.demanded));
        site.templates = templates.iter().take(TEMPLATES_TOLD).map(told).collect();
        site.pages = (self.all.seen, self.all.demanded);
        (site.agreed, site.frameless, site.ordinary_only) = (self.agreed, self.frameless, self.ordinary_only);
    }

    /// As an earlier lifetime told it.
    pub fn told(site: &LearnedSite) -> SiteMemory {
        let count = |(seen, demanded): (u32, u32)| {
            let seen = seen.min(COUNTS_MAX);
            Count { seen, demanded: demanded.min(seen) }
        };
        let template =
            |(name, pages): (&String, &(u32, u32))| Some((u64::from_str_radix(name, 16).ok()?, count(*pages)));
        SiteMemory {
            all: count(site.pages),
            templates: site.templates.iter().filter_map(template).take(TEMPLATES_MAX).collect(),
            agreed: site.agreed,
            frameless: site.frameless,
            unclear: 0,
            ordinary_only: site.ordinary_only,
        }
    }

    /// Learns from a page that was started in this way.
    pub fn learn(&mut self, template: u64, start: Start, page: Taught) {
        self.all.add(page.demand);
        if self.templates.contains_key(&template) || self.templates.len() < TEMPLATES_MAX {
            self.templates.entry(template).or_default().add(page.demand);
        }
        if start != Start::Ordinary {
            self.frameless = self.frameless.wrapping_add(1);
        }
        match page.agreed {
            Some(true) => self.agreed = self.agreed.saturating_add(1),
            Some(false) if page.unclear && self.unclear + 1 < UNCLEAR_MOST => self.unclear += 1,
            Some(false) => self.ordinary_only = true,
            None => {}
        }
        self.ordinary_only |= page.posted;
    }
}

/// The path template of a URL: pages of one template are likely to be made alike.
pub fn template(url: &CanonicalUrl) -> u64 {
    let path = url.path_only();
    let (directories, last) = path.rsplit_once('/').unwrap_or(("", path));
    let mut hash = Xxh3::new();
    hash.update(&[directories.matches('/').count().min(8) as u8, u8::from(url.query().is_some())]);
    let first = directories.split('/').nth(1).unwrap_or_default();
    if !first.bytes().any(|byte| byte.is_ascii_digit()) {
        hash.update(first.as_bytes());
    }
    let extension = last.rsplit_once('.').map_or("", |(_, extension)| extension);
    hash.update(b"/");
    hash.update(if extension.len() <= 5 { extension.as_bytes() } else { b"" });
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STILL: Taught = Taught { demand: false, posted: false, agreed: None, unclear: false };
    const FRAMES: Taught = Taught { demand: true, ..STILL };
    const AGREED: Taught = Taught { agreed: Some(true), ..STILL };
    const LOST: Taught = Taught { agreed: Some(false), ..STILL };
    const UNCLEAR: Taught = Taught { unclear: true, ..LOST };
    const SENT: Taught = Taught { posted: true, ..STILL };

    fn site(pages: &[(u64, Taught)]) -> SiteMemory {
        let mut site = SiteMemory::default();
        for (template, page) in pages {
            let start = site.start(*template);
            site.learn(*template, start, *page);
        }
        site
    }

    fn times(n: usize, template: u64, page: Taught) -> Vec<(u64, Taught)> {
        vec![(template, page); n]
    }

    #[test]
    fn every_rule_has_its_row() {
        #[track_caller]
        fn check(name: &str, pages: &[Vec<(u64, Taught)>], template: u64, expected: Start) {
            assert_eq!(site(&pages.concat()).start(template), expected, "{name}");
        }
        let frameless = Start::Frameless { keep: false };
        check("unknown", &[], 1, Start::Ordinary);
        check("watched", &[times(2, 1, STILL)], 1, Start::Ordinary);
        check("still pages are compared", &[times(3, 1, STILL)], 1, Start::Compare);
        check("compared twice", &[times(3, 1, STILL), times(2, 1, AGREED)], 1, Start::Compare);
        check("compared enough", &[times(3, 1, STILL), times(3, 1, AGREED)], 1, frameless);
        check("a comparison that asked for frames says nothing", &[times(9, 1, STILL)], 1, Start::Compare);
        check("frames from the first", &[times(5, 1, FRAMES)], 1, Start::Ordinary);
        check("a third asks for frames", &[times(6, 1, STILL), times(3, 1, FRAMES)], 1, Start::Ordinary);
        let few = [times(3, 1, STILL), times(20, 1, AGREED), times(2, 1, FRAMES)];
        check("few ask for frames", &few, 1, Start::Frameless { keep: true });
        check("a loss", &[times(3, 1, STILL), times(3, 1, AGREED), times(1, 1, LOST)], 1, Start::Ordinary);
        check("an unclear loss", &[times(3, 1, STILL), times(2, 1, UNCLEAR), times(3, 1, AGREED)], 1, frameless);
        check("unclear losses only", &[times(3, 1, STILL), times(3, 1, UNCLEAR)], 1, Start::Ordinary);
        check("a loss is not forgotten", &[times(4, 1, LOST), times(90, 1, STILL)], 1, Start::Ordinary);
        check("it sends", &[times(9, 1, SENT)], 1, Start::Ordinary);
        check("another template, site little known", &[times(5, 1, AGREED)], 2, Start::Ordinary);
        check("another template, site known", &[times(9, 1, AGREED)], 2, frameless);
        check("another template, restless site", &[times(9, 1, FRAMES)], 2, Start::Ordinary);
        let mixed = [times(20, 1, AGREED), times(2, 2, FRAMES)];
        check("a template that began badly", &mixed, 2, Start::Ordinary);
        check("beside it the other goes on", &mixed, 1, frameless);
    }

    #[test]
    fn one_page_in_many_is_compared_for_ever() {
        let mut site = site(&times(6, 1, AGREED));
        let mut compared = 0;
        for _ in 0..10 * COMPARED_LATER {
            let start = site.start(1);
            compared += u32::from(start == Start::Compare);
            site.learn(1, start, if start == Start::Compare { AGREED } else { STILL });
        }
        assert_eq!(compared, 10);
    }

    #[test]
    fn a_site_that_changes_is_followed() {
        let mut site = site(&times(50, 1, AGREED));
        let turn = |site: &mut SiteMemory, page| {
            (0..300)
                .take_while(|_| {
                    let start = site.start(1);
                    site.learn(1, start, page);
                    start != Start::Ordinary
                })
                .count()
        };
        assert!(turn(&mut site, FRAMES) < 40, "now it asks for frames");
        for _ in 0..200 {
            site.learn(1, Start::Ordinary, STILL);
        }
        assert_ne!(site.start(1), Start::Ordinary, "and now no more");
    }

    #[test]
    fn the_next_lifetime_goes_on_where_this_one_was() {
        for pages in [vec![], times(9, 1, AGREED), times(9, 1, FRAMES), times(5, 1, LOST)] {
            let site = site(&pages);
            let mut told = LearnedSite::default();
            site.tell(&mut told);
            assert_eq!(SiteMemory::told(&told), site);
        }
        let mut many = SiteMemory::default();
        (0..100).for_each(|template| many.learn(template, Start::Ordinary, STILL));
        (0..3).for_each(|_| many.learn(7, Start::Ordinary, STILL));
        let mut told = LearnedSite::default();
        many.tell(&mut told);
        assert_eq!(told.templates.len(), TEMPLATES_TOLD);
        assert_eq!(SiteMemory::told(&told).start(7), many.start(7));
        let damaged = LearnedSite { pages: (u32::MAX, u32::MAX), ..LearnedSite::default() };
        assert_eq!(SiteMemory::told(&damaged).start(1), Start::Ordinary);
    }

    #[test]
    fn templates_are_told_apart() {
        let of = |path: &str| template(&CanonicalUrl::parse(&format!("http://h.example{path}")).unwrap());
        assert_eq!(of("/docs/a/one.html"), of("/docs/b/two.html"));
        assert_eq!(of("/2024/05/x"), of("/2023/06/y"));
        assert_ne!(of("/docs/one.html"), of("/blog/one.html"));
        assert_ne!(of("/docs/one.html"), of("/docs/one"));
        assert_ne!(of("/docs/one"), of("/docs/one?q=1"));
        assert_ne!(of("/"), of("/docs/"));
    }
}
