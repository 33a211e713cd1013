//! Plain HTTP: pages, robots.txt, sitemaps; address rules at connection time.

mod body;
mod client;
mod fault;
mod follow;
mod headers;
mod page;
#[cfg(test)]
mod page_tests;
pub mod resolve;
pub mod robots;
#[cfg(test)]
mod robots_tests;
pub mod sitemap;
mod sitemaps;
#[cfg(test)]
mod sitemaps_tests;
#[cfg(test)]
mod testing;

pub use client::{ClientError, Deadlines, HttpClient, ROBOTS_TOKEN, default_user_agent, install_tls_provider};
pub use fault::Fault;
pub use page::HttpFetcher;
pub use resolve::{AddressRules, CheckedResolver, Lookup, ResolveError, SystemLookup, check_address};
pub use robots::{RobotsAnswer, RobotsCache, StoredRobots};

use std::sync::Arc;

use crate::browser::{BrowserVisit, Browsers};
use crate::model::task::FetchMode;
use crate::model::visit::{VisitRequest, VisitResult};
use sitemap::SitemapEntry;

/// The two ways to fetch, with one face.
pub struct Fetchers {
    /// Plain HTTP with the session's client.
    pub http: HttpFetcher,
    /// Chromium; `None` where no session needs it.
    pub browser: Option<Arc<Browsers>>,
}

impl Fetchers {
    /// Visits a URL. A visit by plain HTTP cannot crash anything.
    ///
    /// # Panics
    /// Browser mode without a browser: tasks that need one are not started without it.
    pub async fn visit(&self, mode: FetchMode, req: VisitRequest) -> BrowserVisit {
        match mode {
            FetchMode::Http => BrowserVisit { result: self.http.visit(&req).await, crash: None },
            FetchMode::Browser => {
                let browsers = self.browser.as_ref().expect("browser mode only where browsers were started");
                browsers.visit(req).await
            }
        }
    }

    /// Reads a sitemap, by plain HTTP in both modes; see [`HttpFetcher::sitemap`].
    pub async fn sitemap<F, Fut>(&self, req: VisitRequest, emit: F) -> VisitResult
    where
        F: FnMut(Vec<SitemapEntry>) -> Fut,
        Fut: Future<Output = ()>,
    {
        self.http.sitemap(&req, emit).await
    }
}
