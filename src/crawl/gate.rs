//! What may be fetched at all: scope, address and robots.txt, asked before every request of a visit.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::crawl::links::LinkRules;
use crate::crawl::worker::Workshop;
use crate::fetch::HttpClient;
use crate::fetch::robots::{RobotsAnswer, RobotsCache};
use crate::lock::lock;
use crate::model::host::StoredRobots;
use crate::model::lease::Lease;
use crate::model::outcome::{FailureClass, SkipReason};
use crate::model::task::{FetchMode, RobotsPolicy};
use crate::model::url::CanonicalUrl;
use crate::model::visit::{BoxFuture, HopGate, Refusal};

/// robots.txt as one session asks for it.
#[derive(Clone)]
pub struct RobotsDesk {
    /// Obey, or never ask.
    pub policy: RobotsPolicy,
    /// The daemon's cache.
    pub cache: Arc<RobotsCache>,
    /// The user agent whose group applies.
    pub user_agent: Arc<str>,
}

/// What the visit's robots.txt answers said besides yes or no.
#[derive(Debug, Default)]
pub struct Learned {
    /// Answers that were fetched just now, by host key: to be stored.
    pub fresh: Vec<(String, StoredRobots)>,
    /// Whether the visited host's robots.txt was asked about at all.
    pub asked: bool,
    /// `Crawl-delay` of the visited host, in seconds.
    pub crawl_delay: Option<f64>,
    /// Sitemaps that the visited host names.
    pub sitemaps: Vec<String>,
}

/// The gate of one visit.
pub struct Gate {
    /// The visit's lease: its depth and hops are those of every redirect target.
    pub lease: Lease,
    /// Scope.
    pub rules: Arc<LinkRules>,
    /// The session's client: it knows which addresses may be reached.
    pub client: Arc<HttpClient>,
    /// What connects next is the browser.
    browser: AtomicBool,
    /// robots.txt.
    pub robots: RobotsDesk,
    learned: Mutex<Learned>,
}

impl Gate {
    /// The gate of one leased URL.
    pub fn new(shop: &Workshop, lease: Lease) -> Self {
        Gate {
            lease,
            rules: shop.rules.clone(),
            client: shop.client.clone(),
            browser: AtomicBool::new(shop.mode == FetchMode::Browser),
            robots: shop.robots.clone(),
            learned: Mutex::default(),
        }
    }

    /// Judges the visit's own URL: address and robots.txt (it is in scope, or it would have no lease).
    pub async fn check_first(&self) -> Result<(), Refusal> {
        self.check_address_and_robots(&self.lease.url).await
    }

    /// From here on it is the browser that asks.
    pub fn browser_asks(&self) {
        self.browser.store(true, Ordering::Relaxed);
    }

    /// Judges the address alone of a URL that has passed the gate otherwise.
    pub async fn check_address(&self, url: &CanonicalUrl) -> Result<(), Refusal> {
        self.client.check_address(url).await.map(drop).map_err(Refusal::from)
    }

    /// What was learned on the way.
    pub fn learned(&self) -> Learned {
        std::mem::take(&mut lock(&self.learned))
    }

    async fn check_address_and_robots(&self, url: &CanonicalUrl) -> Result<(), Refusal> {
        // Said here by its name and before anything is asked. What is connected to is checked again: by the client
        // itself, and for the browser by its proxy.
        if self.browser.load(Ordering::Relaxed) {
            self.client.check_address(url).await.map_err(Refusal::from)?;
        }
        if self.robots.policy == RobotsPolicy::Ignore {
            return Ok(());
        }
        let answer = self.robots.cache.access(&self.client, url.host_key()).await?;
        self.learn(url.host_key(), &answer);
        match answer.access().judge(&self.robots.user_agent, url.document()) {
            Some(verdict) if verdict.allowed => Ok(()),
            Some(_) => Err(Refusal::Skip(SkipReason::Robots)),
            None => {
                let why =
                    format!("robots.txt of {} cannot be had, so nothing there may be fetched yet", url.host_key());
                Err(Refusal::Fail(FailureClass::RobotsUnreachable, why))
            }
        }
    }

    fn learn(&self, host_key: &str, answer: &RobotsAnswer) {
        let mut learned = lock(&self.learned);
        if let Some(stored) = &answer.fresh {
            learned.fresh.push((host_key.to_owned(), stored.clone()));
        }
        if host_key == self.lease.url.host_key() {
            learned.asked = true;
            learned.crawl_delay = answer.access().crawl_delay(&self.robots.user_agent);
            learned.sitemaps = answer.access().sitemaps().to_vec();
        }
    }
}

impl HopGate for Gate {
    fn check<'a>(&'a self, url: &'a CanonicalUrl) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(async move {
            if self.rules.accept(url, self.lease.depth, self.lease.hops, self.lease.kind).is_none() {
                return Err(Refusal::Skip(SkipReason::Redirect));
            }
            self.check_address_and_robots(url).await
        })
    }
}
