//! Which pages need a browser: learned for each kind of page from what both ways find.
//!
//! The kind of a page is its host, a coarse template of its path, and its *make*: which scripts it
//! carries, which empty places they may fill, how the server answered. A kind is compared first:
//! its pages are asked for by plain HTTP, rendered from that same answer, and both results are held
//! against each other. After enough agreement plain HTTP alone will do, with a sample compared for
//! ever; one difference sends the kind back to the browser at once, and the pages that plain HTTP was
//! trusted with since the last agreement with it.

mod book;
mod compare;

pub use book::{First, Learned, RenderBook, Second, Unchecked};
pub use compare::{Difference, Found, compare};

use xxhash_rust::xxh3::Xxh3;

use crate::model::url::CanonicalUrl;
use crate::policy::traps::parameter_names;

/// What a page shows of itself before any script has run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Make {
    /// Hash of its scripts, without what differs from page to page, and of the empty places with an id.
    pub shape: u64,
    /// Scripts that a browser would run, custom elements and handlers included.
    pub scripts: u32,
    /// It looks as if scripts were to fill it: see [`crate::extract`].
    pub hollow: bool,
    /// The HTTP status.
    pub status: u16,
}

/// How much agreement a kind of page has to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Demand {
    /// Pages that agree in a row before plain HTTP is trusted.
    pub(super) agreeing: u32,
    /// One page in so many is compared once it is; doubled with each that agrees …
    pub(super) every: u32,
    /// … up to this.
    pub(super) every_most: u32,
}

impl Make {
    /// Without a script nothing can change the page; a hollow one deserves most doubt.
    pub(super) fn demand(&self) -> Demand {
        match self {
            Make { hollow: true, .. } => Demand { agreeing: 8, every: 4, every_most: 16 },
            Make { scripts: 0, .. } => Demand { agreeing: 1, every: 16, every_most: 512 },
            _ => Demand { agreeing: 3, every: 8, every_most: 256 },
        }
    }
}

/// Directories of a path that take part in its template: deeper ones are told apart by the page's make.
const DIRECTORIES: usize = 2;

/// The coarse template of a URL's path within its host: its first directories without digits, the
/// extension of the last segment, the names of the query's parameters.
pub fn template(url: &CanonicalUrl) -> u64 {
    let path = url.path_only();
    let (directories, last) = path.rsplit_once('/').unwrap_or(("", path));
    let mut hash = Xxh3::new();
    for segment in directories.split('/').skip(1).take(DIRECTORIES) {
        hash.update(b"/");
        for word in segment.split(|c: char| !c.is_ascii_alphabetic()) {
            hash.update(word.as_bytes());
        }
    }
    let extension = last.rsplit_once('.').map_or("", |(_, extension)| extension);
    if extension.len() <= 5 {
        hash.update(b".");
        hash.update(extension.as_bytes());
    }
    if let Some(query) = url.query() {
        for name in parameter_names(query) {
            hash.update(b"?");
            hash.update(name.trim_end_matches(|c: char| c.is_ascii_digit()).as_bytes());
        }
    }
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str) -> u64 {
        template(&CanonicalUrl::parse(&format!("http://h.example{path}")).unwrap())
    }

    #[test]
    fn templates_are_coarse() {
        for same in [
            &["/en/cpp/string/basic_string.html", "/en/cpp/thread/mutex.html", "/en/cpp/vector.html"][..],
            &["/item/1", "/item/22"],
            &["/p?id=1&x=2", "/p?x=9&id=3"],
            &["/2024/01/a.html", "/1999/12/b.html"],
        ] {
            assert!(same.iter().all(|path| of(path) == of(same[0])), "{same:?}");
        }
        for (one, other) in [
            ("/en/cpp/a.html", "/en/c/a.html"),
            ("/item/1", "/items/1"),
            ("/p", "/p?x=1"),
            ("/p?x=1", "/p?y=1"),
            ("/a/b", "/a/b.html"),
            ("/a", "/a/"),
        ] {
            assert_ne!(of(one), of(other), "{one} {other}");
        }
    }

    #[test]
    fn doubt_grows_with_what_scripts_may_do() {
        let demand = |scripts, hollow| Make { scripts, hollow, ..Make::default() }.demand().agreeing;
        assert!(demand(0, false) < demand(1, false) && demand(1, false) < demand(1, true));
    }
}
