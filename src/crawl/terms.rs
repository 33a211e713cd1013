//! The part of a task that an operator may change while its session runs: scope and politeness.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use crate::crawl::links::{LinkRules, link_rules, named, sitemap_hosts};
use crate::lock::lock;
use crate::model::lease::{NewUrl, UrlKind};
use crate::model::task::{PolitenessSpec, TaskSpec};
use crate::model::url::CanonicalUrl;

/// What visits go by.
#[derive(Debug)]
pub struct Terms {
    /// Scope and traps.
    pub rules: Arc<LinkRules>,
    /// How gently hosts are treated.
    pub politeness: Arc<PolitenessSpec>,
    /// What the task names, where its scope was changed after URLs had been found: these are judged once more.
    pub rescoped: Option<HashSet<CanonicalUrl>>,
    /// Host keys whose robots.txt is read for sitemaps.
    pub sitemap_hosts: HashSet<String>,
}

impl Terms {
    /// The terms of a task; `rescoped`: they are not those that it began with.
    ///
    /// # Errors
    /// What in the task is no rule.
    pub fn new(spec: &TaskSpec, rescoped: bool) -> Result<Terms, String> {
        let rules = Arc::new(link_rules(spec)?);
        let politeness = Arc::new(spec.politeness.clone());
        let sitemap_hosts = sitemap_hosts(spec);
        Ok(Terms { rules, politeness, rescoped: rescoped.then(|| named(spec)), sitemap_hosts })
    }
}

impl Terms {
    /// Pages that the operator names, as the store wants them.
    pub fn seeds(&self, urls: &[CanonicalUrl]) -> Vec<NewUrl> {
        urls.iter().map(|url| self.rules.named(url.clone(), UrlKind::Page)).collect()
    }
}

/// The terms in force. A visit goes by those that it has begun with.
#[derive(Debug)]
pub struct InForce(Mutex<Arc<Terms>>);

impl InForce {
    /// Begins with these.
    pub fn new(terms: Terms) -> Self {
        InForce(Mutex::new(Arc::new(terms)))
    }

    /// Those that hold now.
    pub fn now(&self) -> Arc<Terms> {
        lock(&self.0).clone()
    }

    /// Others hold from now on.
    pub fn put(&self, terms: Arc<Terms>) {
        *lock(&self.0) = terms;
    }
}
