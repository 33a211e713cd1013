//! Plain HTTP: pages, robots.txt, sitemaps; address rules at connection time.

mod body;
mod client;
mod cookies;
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

pub use client::{
    ClientError, Deadlines, HttpClient, ROBOTS_TOKEN, browser_headers, default_user_agent, install_tls_provider,
};
pub use cookies::Cookies;
pub use fault::Fault;
pub use page::{HttpFetcher, PlainVisit};
pub use resolve::{AddressRules, CheckedResolver, Lookup, ResolveError, SystemLookup, check_address};
pub use robots::{RobotsAnswer, RobotsCache, StoredRobots};

use std::sync::Arc;

use http::HeaderMap;
use tokio::sync::OnceCell;

use crate::browser::{BrowserVisit, Browsers};
use crate::model::ids::SessionId;
use crate::model::task::{FetchMode, FetchSpec};
use crate::model::visit::{VisitRequest, VisitResult};
use sitemap::SitemapEntry;

/// The two ways to fetch, with one face.
pub struct Fetchers {
    /// Plain HTTP with the session's client.
    pub http: HttpFetcher,
    /// Chromium; `None` where no session needs it.
    pub browser: Option<Arc<Browsers>>,
    browser_headers: OnceCell<HeaderMap>,
}

impl Fetchers {
    /// Plain HTTP, and Chromium where it is needed.
    pub fn new(http: HttpFetcher, browser: Option<Arc<Browsers>>) -> Self {
        Fetchers { http, browser, browser_headers: OnceCell::new() }
    }

    /// Visits a URL. A visit by plain HTTP cannot crash anything.
    ///
    /// In mode `auto` this is the rendering; what comes before it is the session's affair.
    ///
    /// # Panics
    /// A mode that renders without a browser: tasks that need one are not started without it.
    pub async fn visit(&self, mode: FetchMode, req: VisitRequest) -> BrowserVisit {
        match mode {
            FetchMode::Http => BrowserVisit { result: self.http.visit(&req).await, crash: None },
            FetchMode::Browser | FetchMode::Auto => {
                let browsers = self.browser.as_ref().expect("browser mode only where browsers were started");
                let session = req.session.clone();
                self.tell_browser(browsers, &session).await;
                let visit = browsers.visit(req).await;
                self.learn_cookies(browsers, &session).await;
                visit
            }
        }
    }

    /// The browser gets the cookies that servers have set with plain requests: in its context, or in the file that its
    /// next one begins with.
    async fn tell_browser(&self, browsers: &Browsers, session: &SessionId) {
        let Some(cookies) = self.http.cookies() else { return };
        let news = cookies.take_news();
        if !news.is_empty() {
            cookies.save(true).await;
            browsers.set_cookies(session, &news).await;
        }
    }

    /// Plain requests get the cookies of the browser, every few seconds.
    async fn learn_cookies(&self, browsers: &Browsers, session: &SessionId) {
        let Some(cookies) = self.http.cookies() else { return };
        if cookies.look_is_due()
            && let Some(all) = browsers.cookies(session).await
        {
            cookies.take_over(all);
        }
    }

    /// Writes down the cookies that plain requests have got: every few seconds, or `now`.
    pub async fn keep_cookies(&self, now: bool) {
        if let Some(cookies) = self.http.cookies() {
            cookies.save(now).await;
        }
    }

    /// Asks for a page by plain HTTP as the browser would: their answers must not vary by who asks.
    ///
    /// # Errors
    /// There is no browser to be like; says why.
    pub async fn plain(&self, req: &VisitRequest) -> Result<PlainVisit, String> {
        let headers = self.browser_headers.get_or_try_init(|| self.ask_headers(&req.fetch)).await?;
        Ok(self.http.visit_as(req, headers).await)
    }

    async fn ask_headers(&self, fetch: &FetchSpec) -> Result<HeaderMap, String> {
        let browsers = self.browser.as_ref().ok_or("there is no browser")?;
        let user_agent = browsers.user_agent(fetch).await.map_err(|error| error.to_string())?;
        client::browser_headers(&user_agent, fetch).map_err(|error| error.to_string())
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
