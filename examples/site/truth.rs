//! What a complete crawl of the site, from `/` and with its robots.txt obeyed, must have found.

use std::collections::BTreeMap;

use super::{Config, pages};

/// How a URL must have ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Fetched with this status.
    Fetched(u16),
    /// Failed with this class.
    Failed(&'static str),
    /// Skipped for this reason.
    Skipped(&'static str),
}

/// Every path that must have a page record, with its ending. The calendar is not in it: it has no end.
///
/// `scripted`: whether the pages' scripts run.
pub fn endings(config: &Config, scripted: bool) -> BTreeMap<String, Ending> {
    let mut all = BTreeMap::new();
    let mut fetched = |path: String| all.insert(path, Ending::Fetched(200));
    fetched("/".to_owned());
    for n in 1..=config.pages {
        fetched(format!("/light/{n}"));
        if let Some(path) = pages::script_link(config, n).filter(|_| scripted) {
            fetched(path);
        }
    }
    if config.sitemaps {
        for path in ["/sitemap.xml", "/sitemap-1.xml", "/sitemap-2.xml.gz"] {
            fetched(path.to_owned());
        }
        for n in 1..=pages::SITEMAP_PAGES {
            fetched(format!("/archive/{n}"));
        }
    }
    if config.lab {
        fetched("/lab/".to_owned());
        // The targets of redirects get records of their own.
        for path in ["/lab/moved", "/lab/found", "/lab/chain-end"] {
            fetched(path.to_owned());
        }
        all.extend(pages::LAB.iter().map(|path| ((*path).to_owned(), lab(path))));
    }
    if config.poison {
        // What fetches it without a browser has nothing that it could kill.
        let ending = if scripted { Ending::Skipped("poison") } else { Ending::Fetched(200) };
        all.insert("/poison".to_owned(), ending);
    }
    all
}

fn lab(path: &str) -> Ending {
    match path {
        // Wherever it leads: what lies outside the scope is named in `final_url` and goes unfetched.
        "/lab/301" | "/lab/302" | "/lab/chain" | "/lab/away" => Ending::Skipped("redirect"),
        "/lab/loop" => Ending::Failed("too_many_redirects"),
        "/lab/missing" => Ending::Fetched(404),
        "/lab/gone" => Ending::Fetched(410),
        "/lab/broken" => Ending::Failed("server_error"),
        "/lab/file.zip" => Ending::Skipped("download"),
        "/private/door" => Ending::Skipped("robots"),
        _ => Ending::Fetched(200),
    }
}

/// The title that the record of a path must carry, where it is worth checking.
pub fn title(path: &str) -> Option<String> {
    let n = path.strip_prefix("/light/")?.parse().ok()?;
    Some(pages::title(n))
}
