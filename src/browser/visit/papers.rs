//! The documents of a navigation that are known already, and those kept for another load of the same page.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::model::visit::KnownDocument;

/// Bytes kept of one page's documents at most.
pub(super) const KEPT_MAX: usize = 8 << 20;

/// One document; without a URL it answers whatever is asked first.
type Paper = (Option<String>, Arc<KnownDocument>);

/// The main frame's documents, in the order in which they are asked for: redirects, and where the page went by
/// itself.
#[derive(Debug, Default)]
pub(in crate::browser) struct Papers {
    given: VecDeque<Paper>,
    keep: bool,
    kept: Vec<Paper>,
    bytes: usize,
}

impl Papers {
    /// What is known beforehand, and whether what comes is kept.
    pub(in crate::browser) fn new(document: Option<Arc<KnownDocument>>, keep: bool) -> Papers {
        let given = document.into_iter().map(|document| (None, document)).collect();
        Papers { given, keep, ..Papers::default() }
    }

    /// What another load of the page in the same context is given. Cookies are in the jar by now: set again, they
    /// would roll back what scripts have changed since.
    pub(in crate::browser) fn for_second_load(self) -> Papers {
        let without_cookies = |(url, known): Paper| {
            let set = known.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
            let bare = || KnownDocument::new(known.status, known.headers.clone(), known.body.clone(), false);
            (url, if set { Arc::new(bare()) } else { known })
        };
        Papers { given: self.kept.into_iter().map(without_cookies).collect(), ..Papers::default() }
    }

    /// Its first request will be answered from here.
    pub(in crate::browser) fn has_first(&self) -> bool {
        !self.given.is_empty()
    }

    /// The answer to this request, if it is the next one known. A page that asks for something else goes another
    /// way than before: then nothing of it is known any more.
    pub(super) fn take(&mut self, url: &str) -> Option<Arc<KnownDocument>> {
        if self.given.front()?.0.as_deref().is_some_and(|known| known != url) {
            self.given.clear();
            return None;
        }
        let (_, known) = self.given.pop_front()?;
        self.kept.push((Some(url.to_owned()), Arc::clone(&known)));
        Some(known)
    }

    /// Whether the next answer is to be kept.
    pub(super) fn keeps(&self) -> bool {
        self.keep && self.bytes < KEPT_MAX
    }

    /// Keeps an answer.
    pub(super) fn put(&mut self, url: &str, document: Arc<KnownDocument>) {
        self.bytes += document.body.len();
        self.kept.push((Some(url.to_owned()), document));
    }

    /// An answer went by that was not kept: what follows it is of no use.
    pub(super) fn lose(&mut self) {
        self.keep = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(status: u16) -> Arc<KnownDocument> {
        let headers = [("Set-Cookie", "a=1"), ("Location", "/2")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        Arc::new(KnownDocument::new(status, headers, b"x".to_vec(), true))
    }

    #[test]
    fn a_second_load_is_given_the_same_answers_in_the_same_order() {
        let mut first = Papers::new(None, true);
        assert!(first.take("http://h/1").is_none() && first.keeps());
        first.put("http://h/1", document(302));
        first.put("http://h/2", document(200));
        let mut second = first.for_second_load();
        assert!(second.has_first() && !second.keeps());
        let redirect = second.take("http://h/1").unwrap();
        assert_eq!((redirect.status, redirect.headers.len()), (302, 1), "without its cookie");
        assert_eq!(second.take("http://h/2").unwrap().status, 200);
        assert!(second.take("http://h/2").is_none(), "once");
    }

    #[test]
    fn a_page_that_goes_another_way_asks_the_network() {
        let mut first = Papers::new(None, true);
        first.put("http://h/1", document(200));
        first.put("http://h/2", document(200));
        let mut second = first.for_second_load();
        assert!(second.take("http://h/1").is_some() && second.take("http://h/3").is_none());
        assert!(second.take("http://h/2").is_none());
    }

    #[test]
    fn what_was_known_beforehand_is_known_again() {
        let mut first = Papers::new(Some(document(200)), false);
        assert!(first.take("http://h/any").is_some() && first.take("http://h/2").is_none());
        let mut second = first.for_second_load();
        assert!(second.take("http://h/any").is_some());
    }
}
