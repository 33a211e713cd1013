//! What has been worked out of links: the pages of a site name the same ones again and again.

use std::sync::{Arc, Mutex};

use crate::lock::lock;
use crate::model::quick::QuickMap;
use crate::model::url::{CanonicalUrl, UrlKey};
use crate::policy::scope::Place;
use crate::policy::traps::Shape;

/// Links that are remembered at most, about 300 bytes each; then all are forgotten, and those in use come back.
const MOST: usize = 16_384;

/// What is true of a link wherever it stands.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) url: CanonicalUrl,
    pub(super) key: UrlKey,
    pub(super) shape: Shape,
    pub(super) place: Place,
}

/// Links by their text.
#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<QuickMap<Box<str>, Arc<Link>>>);

impl Memory {
    /// Hands `take` what these links are, in their order, with the text of each; what is not known is `find`'s to
    /// work out, and `None` where that is no link.
    pub(super) fn each<'h>(
        &self,
        hrefs: impl Iterator<Item = &'h str>,
        find: impl Fn(&str) -> Option<Link>,
        mut take: impl FnMut(Option<&Arc<Link>>),
    ) {
        let known: Vec<_> = {
            let links = lock(&self.0);
            hrefs.map(|href| (href, links.get(href).cloned())).collect()
        };
        let mut new = Vec::new();
        for (href, link) in known {
            match link {
                Some(link) => take(Some(&link)),
                None => {
                    let link = find(href).map(Arc::new);
                    take(link.as_ref());
                    new.extend(link.map(|link| (Box::from(href), link)));
                }
            }
        }
        if !new.is_empty() {
            let mut links = lock(&self.0);
            if links.len() + new.len() > MOST {
                links.clear();
            }
            links.extend(new.into_iter().take(MOST));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::policy::traps::{TrapConfig, shape};

    #[test]
    fn a_link_is_worked_out_once_and_a_bounded_number_is_kept() {
        let memory = Memory::default();
        let worked = Cell::new(0);
        let ask = |hrefs: &[String]| {
            let mut found = Vec::new();
            let find = |href: &str| {
                worked.set(worked.get() + 1);
                let url = CanonicalUrl::parse(href).ok()?;
                let (key, shape) = (url.key(), shape(&url, &TrapConfig::default()));
                Some(Link { url, key, shape, place: Place::Inside })
            };
            memory.each(hrefs.iter().map(String::as_str), find, |link| {
                found.push(link.map(|link| link.url.as_str().to_owned()));
            });
            (found, worked.take())
        };
        let some = ["http://h/a?utm_source=x", "mailto:x", "http://h/b"].map(str::to_owned);
        let expected = vec![Some("http://h/a".to_owned()), None, Some("http://h/b".to_owned())];
        assert_eq!(ask(&some), (expected.clone(), 3));
        assert_eq!(ask(&some), (expected, 1));
        let many: Vec<String> = (0..MOST + 10).map(|n| format!("http://h/{n}")).collect();
        assert_eq!(ask(&many).1, MOST + 10);
        assert_eq!(lock(&memory.0).len(), MOST);
        assert_eq!(ask(&many[MOST..]).1, 10);
        assert_eq!(lock(&memory.0).len(), 10);
    }
}
