//! Whether plain HTTP found what the browser found on the same page.

use std::collections::{BTreeMap, HashSet};

use crate::model::outcome::closed_list;

closed_list! {
    /// What the browser found otherwise.
    Difference {
        /// The page led elsewhere by itself.
        Moved = "moved",
        /// Another HTTP status.
        Status = "status",
        /// Whether links may be followed.
        Nofollow = "nofollow",
        /// Links of the crawl that only one of them has.
        Links = "links",
        /// Another title.
        Title = "title",
        /// Text that plain HTTP does not have.
        Text = "text",
        /// Other values of a field.
        Fields = "fields",
    }
}

/// What one way found, as far as it matters.
#[derive(Debug, Clone, Default)]
pub struct Found<'a> {
    /// Where the page led by itself, or by redirects after the first answer.
    pub moved: bool,
    /// HTTP status.
    pub status: u16,
    /// Links are not followed.
    pub nofollow: bool,
    /// Canonical links that belong to the crawl.
    pub links: HashSet<&'a str>,
    /// Title.
    pub title: &'a str,
    /// Visible text; `None` when the task keeps none.
    pub text: Option<&'a str>,
    /// Fields by name.
    pub fields: Option<&'a BTreeMap<String, Vec<String>>>,
}

/// Of a hundred different words of a rendered page so many may be missing: a clock, a counter …
const MISSING_PERCENT: usize = 1;
/// … and in a short one so many.
const MISSING_LEAST: usize = 2;

/// The first thing that the browser found and plain HTTP did not, or found otherwise.
///
/// Text that a style sheet hides is in the plain text only, and is no loss.
pub fn compare(plain: &Found<'_>, rendered: &Found<'_>) -> Option<Difference> {
    let checks = [
        (plain.moved != rendered.moved, Difference::Moved),
        (plain.status != rendered.status, Difference::Status),
        (plain.nofollow != rendered.nofollow, Difference::Nofollow),
        (plain.links != rendered.links, Difference::Links),
        (!same_words(plain.title, rendered.title), Difference::Title),
        (!same_fields(plain.fields, rendered.fields), Difference::Fields),
    ];
    let first = checks.into_iter().find_map(|(differs, what)| differs.then_some(what));
    first.or_else(|| text_lost(plain.text, rendered.text).then_some(Difference::Text))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || c == '\u{feff}' || c == '\u{200b}').filter(|word| !word.is_empty())
}

fn same_words(one: &str, other: &str) -> bool {
    words(one).eq(words(other))
}

fn same_fields(one: Option<&BTreeMap<String, Vec<String>>>, other: Option<&BTreeMap<String, Vec<String>>>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return one.is_none() && other.is_none() };
    let same = |a: &[String], b: &[String]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_words(a, b));
    one.len() == other.len() && one.iter().all(|(name, values)| other.get(name).is_some_and(|o| same(values, o)))
}

/// Whether more words of the rendered text are missing than may be. Case counts not (style sheets
/// change it), nor where words end (blocks and inline elements trade places by style).
fn text_lost(plain: Option<&str>, rendered: Option<&str>) -> bool {
    let (Some(plain), Some(rendered)) = (plain, rendered) else { return false };
    if plain == rendered {
        return false;
    }
    let (plain, rendered) = (plain.to_lowercase(), rendered.to_lowercase());
    let known: HashSet<&str> = words(&plain).collect();
    let shown: HashSet<&str> = words(&rendered).collect();
    let allowed = (shown.len() * MISSING_PERCENT / 100).max(MISSING_LEAST);
    let mut missing = shown.iter().filter(|word| !known.contains(**word)).peekable();
    if missing.peek().is_none() {
        return false;
    }
    let squeezed: String = words(&plain).collect();
    let finder = |word: &str| memchr::memmem::find(squeezed.as_bytes(), word.as_bytes()).is_some();
    missing.filter(|word| !finder(word)).take(allowed + 1).count() > allowed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &'static str) -> Found<'static> {
        Found {
            status: 200,
            links: ["http://h/a", "http://h/b"].into(),
            title: "T",
            text: Some(text),
            ..Found::default()
        }
    }

    #[track_caller]
    fn check(name: &str, rendered: Found<'_>, expected: Option<Difference>) {
        let plain = page("Home About one two three four five hidden words");
        assert_eq!(compare(&plain, &rendered), expected, "{name}");
    }

    #[test]
    fn differences_are_named() {
        let same = || page("Home\nAbout\none two three four five");
        check("hidden text is no loss", same(), None);
        check("upper case by style", page("HOME ABOUT ONE"), None);
        check("blocks by style", page("HomeAbout on e two"), None);
        check("two words more", page("Home 12:00 5s"), None);
        check("three words more", page("Home 12:00 5s later"), Some(Difference::Text));
        check("no text", Found { text: Some(""), ..same() }, None);
        check(
            "a link more",
            Found { links: ["http://h/a", "http://h/b", "http://h/c"].into(), ..same() },
            Some(Difference::Links),
        );
        check("a link less", Found { links: ["http://h/a"].into(), ..same() }, Some(Difference::Links));
        check("title with other spaces", Found { title: " T\n", ..same() }, None);
        check("title", Found { title: "T2", ..same() }, Some(Difference::Title));
        check("moved", Found { moved: true, title: "T2", ..same() }, Some(Difference::Moved));
        check("status", Found { status: 404, ..same() }, Some(Difference::Status));
        check("nofollow", Found { nofollow: true, ..same() }, Some(Difference::Nofollow));
        let fields = BTreeMap::from([("price".to_owned(), vec!["5".to_owned()])]);
        check("fields", Found { fields: Some(&fields), ..same() }, Some(Difference::Fields));
    }

    #[test]
    fn fields_are_compared_by_their_words() {
        let fields = |value: &str| BTreeMap::from([("price".to_owned(), vec![value.to_owned()])]);
        let (one, spaced, other) = (fields("5 €"), fields(" 5\n€ "), fields("6 €"));
        let with = |fields| Found { fields: Some(fields), ..page("") };
        assert_eq!(compare(&with(&one), &with(&spaced)), None);
        assert_eq!(compare(&with(&one), &with(&other)), Some(Difference::Fields));
    }

    #[test]
    fn long_texts_may_miss_one_word_in_a_hundred() {
        let long: String = (0..500).map(|n| format!("word{n} ")).collect();
        let with = |more: &str| long.clone() + more;
        let lost = |more: &str| text_lost(Some(&long), Some(&with(more)));
        assert!(!lost("a1 b2 c3 d4 e5"));
        assert!(lost("a1 b2 c3 d4 e5 f6 g7"));
        assert!(!text_lost(None, Some("x")));
    }
}
