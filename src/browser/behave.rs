//! What is done with a page after it has settled: scrolled, unfolded, clicked, within bounds; what shows is links.
//!
//! The script begins its work and returns; it is asked every few seconds what it has found. So a page that is
//! replaced, or that blocks, costs what came after the last answer, and no call outlives chromiumoxide's patience.

use std::time::Duration;

use chromiumoxide::Page;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::hook::Key;
use super::read::{self, ReadError};
use crate::model::conduct::PageSpec;
use crate::model::task::ExtractSpec;

const SCRIPT: &str = include_str!("behave.js");
const HOOK: &str = include_str!("behave_hook.js");

/// Clicks, choices and the like on one page.
const ACTIONS: u32 = 300;
/// Rounds of scrolling, of "load more" and of paging together.
const ROUNDS: u32 = 100;
/// The page is asked once in this time what it has found.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// An answer that takes longer is none: a script of the page holds it up.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Behaved {
    /// Links found on the way, each once.
    pub links: Vec<String>,
    /// It ended at a bound.
    pub cut: bool,
    /// The page no longer answered: its script is to be stopped.
    pub stuck: bool,
}

/// One answer.
#[derive(Debug, Deserialize)]
struct Told {
    done: bool,
    cut: bool,
    actions: u32,
    error: Option<String>,
    links: Vec<String>,
}

/// What the script is told.
pub(super) struct Task {
    begin: String,
    ask: String,
    own: Option<String>,
    within: Duration,
    url: String,
}

/// What is put into the page's own world, for the elements that its scripts listen on.
pub(super) fn hook(key: &Key) -> String {
    format!("({HOOK})('{}')", key.as_str())
}

impl Task {
    /// The task's behaviours, for a page with this hook.
    pub(super) fn new(page: &PageSpec, extract: &ExtractSpec, key: &Key, url: &str) -> Task {
        let name = format!("b{}", key.as_str());
        let all = crate::model::conduct::Behavior::ALL;
        let options = json!({
            "key": name,
            "hook": key.as_str(),
            "ms": page.behavior_timeout.0.as_millis() as u64,
            "actions": ACTIONS,
            "rounds": ROUNDS,
            "maxLinks": extract.max_links,
            "hashRoutes": extract.hash_routes,
            "names": all,
            "order": page.behaviors,
        });
        let script = if page.behavior_script.is_some() { format!("globalThis['{name}s']") } else { "null".to_owned() };
        Task {
            begin: format!("({SCRIPT})(Object.assign({options}, {{ script: {script} }}))"),
            ask: format!("globalThis['{name}'].poll({})", ASK_EVERY.as_millis()),
            // In a function of its own: what it declares stays there.
            own: page
                .behavior_script
                .as_ref()
                .map(|own| format!("globalThis['{name}s'] = async (crawld) => {{\n{own}\n}}; '{{}}'")),
            within: page.behavior_timeout.0,
            url: url.to_owned(),
        }
    }

    /// Does it. Ends within the task's time and a few seconds.
    pub(super) async fn run(self, page: Page) -> Behaved {
        let mut behaved = Behaved::default();
        let end = Instant::now() + self.within + ASK_EVERY;
        if let Some(own) = &self.own
            && let Err(ReadError::Failed(reason)) = ask::<serde_json::Value>(&page, own).await
        {
            tracing::warn!(url = %self.url, reason = %reason, "the behaviour script cannot be used");
            behaved.cut = true;
        }
        if ask::<serde_json::Value>(&page, &self.begin).await.is_err() {
            behaved.cut = true;
            return behaved;
        }
        loop {
            match ask::<Told>(&page, &self.ask).await {
                Ok(told) => {
                    behaved.links.extend(told.links);
                    if let Some(error) = told.error.filter(|_| told.done) {
                        tracing::warn!(url = %self.url, reason = %error, "a behaviour ended with an error");
                        behaved.cut = true;
                    }
                    if told.done {
                        behaved.cut |= told.cut;
                        tracing::debug!(url = %self.url, actions = told.actions, links = behaved.links.len(), "behaved");
                        return behaved;
                    }
                }
                Err(error) => {
                    behaved.cut = true;
                    behaved.stuck = matches!(error, ReadError::Failed(_));
                    return behaved;
                }
            }
            if Instant::now() >= end {
                behaved.cut = true;
                return behaved;
            }
        }
    }
}

async fn ask<T: serde::de::DeserializeOwned>(page: &Page, expression: &str) -> Result<T, ReadError> {
    read::ask(page.clone(), expression.to_owned(), ANSWER_WITHIN).await
}
