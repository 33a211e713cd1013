//! Whether a frameless tab found what an ordinary one did.

use std::collections::HashSet;

use crate::model::visit::{PageAnswer, VisitResult};

/// Compares two loads of one page; none: they cannot be compared, because not both brought a page.
pub(super) fn found_all(frameless: &VisitResult, ordinary: &VisitResult) -> Option<bool> {
    let (VisitResult::Answer(frameless), VisitResult::Answer(ordinary)) = (frameless, ordinary) else { return None };
    Some(links(ordinary).is_subset(&links(frameless)) && says_the_same(frameless, ordinary))
}

fn links(answer: &PageAnswer) -> HashSet<&str> {
    answer.links.iter().map(|link| link.href.as_str()).collect()
}

fn says_the_same(one: &PageAnswer, other: &PageAnswer) -> bool {
    one.fields == other.fields
        && plain(one.title.as_deref()) == plain(other.title.as_deref())
        && plain(one.text.as_deref()) == plain(other.text.as_deref())
}

/// Words without digits: clocks and counters differ from load to load.
fn plain(text: Option<&str>) -> String {
    let text = text.unwrap_or_default();
    let words = text.split(|c: char| c.is_whitespace() || c.is_ascii_digit()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::outcome::SkipReason;
    use crate::model::visit::RawLink;

    fn page(text: &str, links: &[&str]) -> VisitResult {
        let links = links.iter().map(|href| RawLink { href: (*href).to_owned() }).collect();
        VisitResult::Answer(Box::new(PageAnswer { text: Some(text.to_owned()), links, ..PageAnswer::default() }))
    }

    #[test]
    fn what_is_missing_is_noticed_and_clocks_are_not() {
        #[track_caller]
        fn check(name: &str, frameless: VisitResult, ordinary: VisitResult, expected: Option<bool>) {
            assert_eq!(found_all(&frameless, &ordinary), expected, "{name}");
        }
        check("the same", page("a b", &["/1"]), page("a  b", &["/1"]), Some(true));
        check("a link more", page("a", &["/1", "/2"]), page("a", &["/1"]), Some(true));
        check("a link less", page("a", &[]), page("a", &["/1"]), Some(false));
        check("other words", page("loading", &[]), page("done", &[]), Some(false));
        check("another time", page("it is 12:01:33", &[]), page("it is 9:07:01", &[]), Some(true));
        let refused = VisitResult::Refused { hops: Vec::new(), reason: SkipReason::Robots };
        check("no page", page("a", &[]), refused, None);
    }
}
