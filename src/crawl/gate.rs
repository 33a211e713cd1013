//! What may be fetched at all: scope, address and robots.txt, asked before every request of a visit.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::clock::Clock;
use crate::crawl::governor::HostGovernor;
use crate::crawl::links::LinkRules;
use crate::crawl::worker::Workshop;
use crate::fetch::HttpClient;
use crate::fetch::robots::{RobotsAnswer, RobotsCache};
use crate::lock::lock;
use crate::model::host::StoredRobots;
use crate::model::lease::Lease;
use crate::model::outcome::{FailureClass, SkipReason};
use crate::model::task::{FetchMode, PolitenessSpec, RobotsPolicy};
use crate::model::url::CanonicalUrl;
use crate::model::visit::{BoxFuture, HopGate, Refusal};

/// A visit whose request would have to wait longer for its host gives its slot back.
const PATIENCE: Duration = Duration::from_secs(1);

/// A redirect that would have to wait longer is not followed: where it leads to gets a turn of its own.
const HOP_PATIENCE: Duration = Duration::from_secs(10);

/// Why a visit does not ask for its URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Barred {
    /// It may not.
    Refused(Refusal),
    /// The host is to be left alone for a while.
    NotYet,
}

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
    governor: HostGovernor,
    politeness: Arc<PolitenessSpec>,
    clock: Clock,
    sent: AtomicBool,
    learned: Mutex<Learned>,
}

impl Gate {
    /// The gate of one leased URL.
    pub fn new(shop: &Workshop, lease: Lease) -> Self {
        let terms = shop.in_force.now();
        Gate {
            lease,
            rules: terms.rules.clone(),
            client: shop.client.clone(),
            browser: AtomicBool::new(shop.mode == FetchMode::Browser),
            robots: shop.robots.clone(),
            governor: shop.governor.clone(),
            politeness: terms.politeness.clone(),
            clock: shop.clock.clone(),
            sent: AtomicBool::new(false),
            learned: Mutex::default(),
        }
    }

    /// Judges the visit's own URL: address and robots.txt (it is in scope, or it would have no lease); then waits for
    /// the moment at which its request may be sent.
    ///
    /// # Errors
    /// It may not be sent, or not for so long that the visit should not wait for it.
    pub async fn check_first(&self) -> Result<(), Barred> {
        self.check_address_and_robots(&self.lease.url).await.map_err(Barred::Refused)?;
        if self.depart(&self.lease.url, PATIENCE).await { Ok(()) } else { Err(Barred::NotYet) }
    }

    /// Whether a request of the visit has been let go, robots.txt not counted.
    pub fn has_sent(&self) -> bool {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits for the host's moment; `false` where that is too far off.
    async fn depart(&self, url: &CanonicalUrl, patience: Duration) -> bool {
        let now = self.clock.now();
        let Ok(at) = self.governor.depart(url.host_key(), &self.politeness, patience, now) else { return false };
        if at > now {
            tokio::time::sleep(at.since(now)).await;
        }
        self.sent.store(true, Ordering::Relaxed);
        true
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
        self.teach(url.host_key(), &answer);
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

    /// What robots.txt asks for holds from the next request on, whatever becomes of this visit.
    fn teach(&self, host_key: &str, answer: &RobotsAnswer) {
        let now = self.clock.now();
        let asked = answer.access().crawl_delay(&self.robots.user_agent);
        let delay = asked.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
        self.governor.set_crawl_delay(host_key, &self.politeness, delay, now);
        if let Some(asked) = answer.retry_after {
            self.governor.quiet(host_key, &self.politeness, asked, now);
        }
    }

    fn learn(&self, host_key: &str, answer: &RobotsAnswer) {
        let mut learned = lock(&self.learned);
        if let Some(stored) = &answer.fresh {
            learned.fresh.push((host_key.to_owned(), stored.clone()));
        }
        if host_key == self.lease.url.host_key() {
            learned.asked = true;
            learned.sitemaps = answer.access().sitemaps().to_vec();
        }
    }
}

impl HopGate for Gate {
    fn check<'a>(&'a self, url: &'a CanonicalUrl) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(async move {
            if self.rules.redirect(url, &self.lease).is_none() {
                return Err(Refusal::Skip(SkipReason::Redirect));
            }
            self.check_address_and_robots(url).await?;
            if self.depart(url, HOP_PATIENCE).await { Ok(()) } else { Err(Refusal::Skip(SkipReason::Redirect)) }
        })
    }

    fn is_spaced(&self) -> bool {
        !self.governor.gap(self.lease.url.host_key(), &self.politeness, self.clock.now()).is_zero()
    }
}
