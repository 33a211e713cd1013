//! What was learned about each kind of page, and what to do with the next page of it.

use std::collections::{BTreeMap, HashMap};

use xxhash_rust::xxh3::Xxh3;

use super::{Difference, Make, template};
use crate::model::checkpoint::LearnedMode;
use crate::model::ids::UrlNo;
use crate::model::outcome::FetchReason;
use crate::model::task::FetchMode;
use crate::model::url::CanonicalUrl;

/// What is stored is of use only to the same rules.
const RULES: u32 = 1;

/// Kinds of pages remembered at most, about 300 bytes each.
const KINDS_MOST: usize = 20_000;

/// After so many differences in a row under one path template its pages go to the browser at once …
const STRAIGHT_AFTER: u32 = 3;
/// … but for one in so many, doubled each time up to the second number.
const RETRY_EVERY: (u32, u32) = (32, 512);

/// Pages that are remembered for the case that plain HTTP was wrongly trusted with them, over all kinds, about 150 bytes
/// each; further ones stay as they are.
const UNCHECKED_MOST: usize = 20_000;

/// A kind that fell back has to show twice the agreement each time, up to this many doublings.
const DOUBLINGS: u32 = 5;

/// How a page is asked for first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// By plain HTTP; [`RenderBook::second`] decides with the answer.
    Plain,
    /// By the browser alone.
    Browser(FetchReason),
}

/// What becomes of a page that plain HTTP has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Second {
    /// It ends as it is.
    Enough,
    /// It is rendered as well, and both are compared.
    Render(FetchReason),
}

/// What a comparison changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Learned {
    /// Pages of the kind are fetched another way from here on.
    pub changed: bool,
    /// Pages that ended by plain HTTP and that a browser has to show after all.
    pub again: Vec<Unchecked>,
}

/// A page that plain HTTP was trusted with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unchecked {
    /// The number of the URL that was visited.
    pub no: UrlNo,
    /// The page, which that URL may have redirected to.
    pub url: CanonicalUrl,
}

/// The memory of one session; losing it costs only learning anew.
#[derive(Debug, Clone, Default)]
pub struct RenderBook {
    kinds: HashMap<(u64, u64), Kind>,
    places: HashMap<u64, Place>,
    /// Pages remembered as unchecked, over all kinds.
    unchecked: usize,
}

#[derive(Debug, Clone)]
struct Kind {
    mode: FetchMode,
    /// Comparisons that agreed, in a row.
    agreed: u32,
    /// One page in so many is compared, while plain HTTP is trusted …
    every: u32,
    /// … and so many went by since the last one.
    since: u32,
    /// How often trust was lost.
    falls: u32,
    pages: u64,
    /// The first page of the kind.
    example: String,
    /// Pages that ended by plain HTTP since the last comparison that agreed …
    unchecked: Vec<Unchecked>,
    /// … and how many of them were there when the one under way began.
    before_sample: usize,
}

#[derive(Debug, Clone)]
struct Place {
    /// Comparisons that differed, in a row.
    differed: u32,
    every: u32,
    since: u32,
}

impl Default for Place {
    fn default() -> Self {
        Place { differed: 0, every: RETRY_EVERY.0, since: 0 }
    }
}

/// Host and path template of a URL.
fn place(url: &CanonicalUrl) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(url.host_key().as_bytes());
    hash.update(&template(url).to_le_bytes());
    hash.digest()
}

fn kind(url: &CanonicalUrl, make: &Make) -> (u64, u64) {
    let mut hash = Xxh3::new();
    hash.update(&make.shape.to_le_bytes());
    hash.update(&make.status.to_le_bytes());
    hash.update(&[u8::from(make.hollow), u8::from(make.scripts == 0)]);
    (place(url), hash.digest())
}

impl RenderBook {
    /// How to begin with a URL's visit number `attempt` (from 1).
    pub fn first(&mut self, url: &CanonicalUrl, attempt: u32) -> First {
        if attempt > 1 {
            return First::Browser(FetchReason::Retry);
        }
        let Some(place) = self.places.get_mut(&place(url)) else { return First::Plain };
        if place.differed < STRAIGHT_AFTER {
            return First::Plain;
        }
        place.since += 1;
        if place.since < place.every {
            return First::Browser(FetchReason::Differs);
        }
        place.since = 0;
        place.every = (place.every * 2).min(RETRY_EVERY.1);
        First::Plain
    }

    /// What to do with a page that plain HTTP has brought on the visit of URL number `no`.
    pub fn second(&mut self, no: UrlNo, url: &CanonicalUrl, make: &Make) -> Second {
        self.make_room();
        let demand = make.demand();
        let kind = self.kinds.entry(kind(url, make)).or_insert_with(|| Kind {
            mode: FetchMode::Auto,
            agreed: 0,
            every: demand.every,
            since: 0,
            falls: 0,
            pages: 0,
            example: url.as_str().to_owned(),
            unchecked: Vec::new(),
            before_sample: 0,
        });
        kind.pages += 1;
        match kind.mode {
            FetchMode::Auto => Second::Render(FetchReason::Unknown),
            FetchMode::Browser => Second::Render(FetchReason::Differs),
            FetchMode::Http => {
                kind.since += 1;
                if kind.since < kind.every {
                    if self.unchecked < UNCHECKED_MOST {
                        kind.unchecked.push(Unchecked { no, url: url.clone() });
                        self.unchecked += 1;
                    }
                    return Second::Enough;
                }
                kind.since = 0;
                kind.before_sample = kind.unchecked.len();
                Second::Render(FetchReason::Sample)
            }
        }
    }

    /// Takes note of a comparison.
    pub fn learn(&mut self, url: &CanonicalUrl, make: &Make, difference: Option<Difference>) -> Learned {
        let place = self.places.entry(place(url)).or_default();
        match difference {
            None => *place = Place::default(),
            Some(_) => place.differed = place.differed.saturating_add(1),
        }
        let demand = make.demand();
        // Forgotten since it was asked about: then it is learned anew.
        let Some(kind) = self.kinds.get_mut(&kind(url, make)) else { return Learned::default() };
        let before = kind.mode;
        if difference.is_some() {
            kind.falls += u32::from(kind.mode == FetchMode::Http);
            kind.agreed = 0;
            kind.mode = FetchMode::Browser;
            let again = std::mem::take(&mut kind.unchecked);
            self.unchecked -= again.len();
            return Learned { changed: before != kind.mode, again };
        }
        kind.agreed = kind.agreed.saturating_add(1);
        let doublings = kind.falls + u32::from(kind.mode == FetchMode::Browser);
        if kind.mode == FetchMode::Http {
            kind.every = (kind.every * 2).min(demand.every_most);
            let checked = kind.before_sample.min(kind.unchecked.len());
            kind.unchecked.drain(..checked);
            kind.before_sample = 0;
            self.unchecked -= checked;
        } else if kind.agreed >= demand.agreeing << doublings.min(DOUBLINGS) {
            (kind.mode, kind.every, kind.since) = (FetchMode::Http, demand.every, 0);
        }
        Learned { changed: before != kind.mode, again: Vec::new() }
    }

    fn make_room(&mut self) {
        if self.kinds.len() >= KINDS_MOST {
            self.kinds.retain(|_, kind| kind.mode != FetchMode::Auto);
            if self.kinds.len() >= KINDS_MOST / 2 {
                self.kinds.clear();
            }
            self.unchecked = self.kinds.values().map(|kind| kind.unchecked.len()).sum();
        }
        if self.places.len() >= KINDS_MOST {
            self.places.clear();
        }
    }

    /// What was learned, the kinds with the most pages first, by their first pages: for the checkpoint.
    pub fn learned(&self, most: usize) -> BTreeMap<String, LearnedMode> {
        let mut kinds: Vec<_> = self.kinds.iter().collect();
        kinds.sort_by(|(a, one), (b, other)| other.pages.cmp(&one.pages).then(a.cmp(b)));
        let shown = kinds.into_iter().take(most).map(|((place, make), kind)| {
            let learned = LearnedMode {
                mode: kind.mode,
                pages: kind.pages,
                agreed: kind.agreed,
                compared_one_in: if kind.mode == FetchMode::Http { kind.every } else { 1 },
                falls: kind.falls,
                kind: format!("{RULES}-{place:016x}-{make:016x}"),
            };
            (kind.example.clone(), learned)
        });
        shown.collect()
    }

    /// Takes over what an earlier lifetime learned; what other rules learned is left out.
    pub fn restore(&mut self, learned: &BTreeMap<String, LearnedMode>) {
        for (example, learned) in learned.iter().take(KINDS_MOST / 2) {
            let Some(key) = read_key(&learned.kind) else { continue };
            let kind = Kind {
                mode: learned.mode,
                agreed: learned.agreed,
                every: learned.compared_one_in.clamp(1, 1 << 16),
                since: 0,
                falls: learned.falls,
                pages: learned.pages,
                example: example.clone(),
                unchecked: Vec::new(),
                before_sample: 0,
            };
            self.kinds.insert(key, kind);
        }
    }
}

fn read_key(text: &str) -> Option<(u64, u64)> {
    let mut parts = text.split('-');
    let rules: u32 = parts.next()?.parse().ok()?;
    let mut hex = || u64::from_str_radix(parts.next()?, 16).ok();
    let key = (hex()?, hex()?);
    (rules == RULES).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: Make = Make { shape: 7, scripts: 2, hollow: false, status: 200 };
    const BARE: Make = Make { shape: 0, scripts: 0, hollow: false, status: 200 };
    const HOLLOW: Make = Make { shape: 9, scripts: 1, hollow: true, status: 200 };

    fn url(n: u32) -> CanonicalUrl {
        CanonicalUrl::parse(&format!("http://h.example/docs/{n}.html")).unwrap()
    }

    /// One page after the other; returns how each was fetched, a letter a page: `h`ttp, `b`oth, browser `s`traight.
    fn crawl(book: &mut RenderBook, make: Make, pages: std::ops::Range<u32>, same: impl Fn(u32) -> bool) -> String {
        let mut ways = String::new();
        for n in pages {
            match book.first(&url(n), 1) {
                First::Browser(_) => ways.push('s'),
                First::Plain => match book.second(n.into(), &url(n), &make) {
                    Second::Enough => ways.push('h'),
                    Second::Render(_) => {
                        ways.push('b');
                        book.learn(&url(n), &make, (!same(n)).then_some(Difference::Text));
                    }
                },
            }
        }
        ways
    }

    #[test]
    fn agreement_is_trusted_and_checked_for_ever() {
        #[track_caller]
        fn check(make: Make, expected: &str) {
            let mut book = RenderBook::default();
            let ways = crawl(&mut book, make, 0..expected.len() as u32, |_| true);
            assert_eq!(ways, expected);
            let later = crawl(&mut book, make, 1000..6000, |_| true);
            assert!(later.contains('b'), "a sample is compared for ever");
        }
        check(PAGE, "bbbhhhhhhhbhhhhhhhhhhhhhhhb");
        check(BARE, "bhhhhhhhhhhhhhhhb");
        check(HOLLOW, "bbbbbbbbhhhbhhhhhhhb");
    }

    #[test]
    fn rendering_stays_a_small_part() {
        let ways = crawl(&mut RenderBook::default(), PAGE, 0..4400, |_| true);
        let rendered = ways.matches('b').count();
        assert!(rendered < 30, "{rendered} of 4,400");
    }

    #[test]
    fn differences_go_to_the_browser_and_are_tried_again_seldom() {
        let mut book = RenderBook::default();
        let ways = crawl(&mut book, PAGE, 0..1000, |_| false);
        assert!(ways.starts_with("bbbsssss") && !ways.contains('h'), "{ways}");
        assert!(ways.matches('b').count() < 10, "{ways}");
    }

    #[test]
    fn one_difference_ends_the_trust_and_it_costs_more_to_win_again() {
        let mut book = RenderBook::default();
        assert!(crawl(&mut book, PAGE, 0..10, |_| true).ends_with("hhh"));
        let fallen = crawl(&mut book, PAGE, 10..14, |_| false);
        assert_eq!(fallen, "bbbs", "the sample is due at the first of them");
        // It is the same again from here on.
        let ways = crawl(&mut book, PAGE, 14..400, |_| true);
        let again = ways.find('h').expect("trusted again");
        assert_eq!(ways[..again].matches('b').count(), 12, "{ways}");
        assert_eq!(&ways[again..again + 8], "hhhhhhhb");
    }

    #[test]
    fn kinds_of_one_place_are_learned_apart() {
        let mut book = RenderBook::default();
        crawl(&mut book, PAGE, 0..4, |_| true);
        assert_eq!(book.second(5, &url(5), &PAGE), Second::Enough);
        let other = Make { shape: 8, ..PAGE };
        assert_eq!(book.second(5, &url(5), &other), Second::Render(FetchReason::Unknown));
        assert_eq!(book.second(5, &url(5), &Make { status: 404, ..PAGE }), Second::Render(FetchReason::Unknown));
        let elsewhere = CanonicalUrl::parse("http://h.example/app/5.html").unwrap();
        assert_eq!(book.second(5, &elsewhere, &PAGE), Second::Render(FetchReason::Unknown));
        assert_eq!(book.first(&url(5), 2), First::Browser(FetchReason::Retry));
    }

    #[test]
    fn what_was_learned_is_restored() {
        let mut book = RenderBook::default();
        crawl(&mut book, PAGE, 0..20, |_| true);
        crawl(&mut book, HOLLOW, 20..22, |_| false);
        let learned = book.learned(100);
        assert_eq!(learned.len(), 2);
        let mut again = RenderBook::default();
        again.restore(&learned);
        assert_eq!(again.learned(100), learned);
        assert_eq!(again.second(30, &url(30), &PAGE), Second::Enough);
        assert_eq!(again.second(30, &url(30), &HOLLOW), Second::Render(FetchReason::Differs));
        assert_eq!(book.learned(1).values().map(|kind| kind.pages).collect::<Vec<_>>(), [20]);
        let foreign =
            learned.into_iter().map(|(url, kind)| (url, LearnedMode { kind: format!("9{}", kind.kind), ..kind }));
        let mut stranger = RenderBook::default();
        stranger.restore(&foreign.collect());
        assert!(stranger.learned(9).is_empty(), "other rules' memory is of no use");
    }

    #[test]
    fn memory_is_bounded() {
        let mut book = RenderBook::default();
        for shape in 0..(KINDS_MOST as u64 * 2) {
            book.second(1, &url(1), &Make { shape, ..PAGE });
        }
        assert!(book.kinds.len() <= KINDS_MOST);
    }

    #[test]
    fn pages_since_the_last_agreement_are_asked_for_again() {
        let mut book = RenderBook::default();
        // Compared are 0 to 2, 10, and 26.
        assert_eq!(crawl(&mut book, PAGE, 0..26, |_| true), "bbbhhhhhhhbhhhhhhhhhhhhhhh");
        assert_eq!(book.unchecked, 15, "those up to the tenth were checked by it");
        assert!(matches!(book.second(26, &url(26), &PAGE), Second::Render(_)));
        // While the sample is rendered, others go on.
        assert_eq!(book.second(27, &url(27), &PAGE), Second::Enough);
        let learned = book.clone().learn(&url(26), &PAGE, None);
        assert_eq!(learned, Learned::default());
        let learned = book.learn(&url(26), &PAGE, Some(Difference::Links));
        let again: Vec<_> = learned.again.iter().map(|page| page.no).collect();
        assert_eq!((learned.changed, again), (true, (11..26).chain([27]).collect()));
        assert_eq!((book.unchecked, &learned.again[0].url), (0, &url(11)));
        assert_eq!(book.learn(&url(28), &PAGE, Some(Difference::Links)), Learned::default(), "once");
    }

    #[test]
    fn a_sample_that_agrees_speaks_for_the_pages_before_it() {
        let mut book = RenderBook::default();
        crawl(&mut book, PAGE, 0..26, |_| true);
        book.second(26, &url(26), &PAGE);
        book.second(27, &url(27), &PAGE);
        book.learn(&url(26), &PAGE, None);
        let again = book.learn(&url(28), &PAGE, Some(Difference::Text)).again;
        assert_eq!(again.iter().map(|page| page.no).collect::<Vec<_>>(), [27]);
    }

    #[test]
    fn what_is_remembered_of_trusted_pages_is_bounded() {
        let mut book = RenderBook::default();
        for shape in 0..200 {
            let make = Make { shape, ..BARE };
            book.second(1, &url(1), &make);
            book.learn(&url(1), &make, None);
            for n in 0..400 {
                book.second(n, &url(1), &make);
            }
        }
        let kept: usize = book.kinds.values().map(|kind| kind.unchecked.len()).sum();
        assert_eq!((kept, book.unchecked), (UNCHECKED_MOST, UNCHECKED_MOST));
    }
}
