//! A document that has come whole and is held up by a script or a style sheet that has not: that one is cut, and the
//! rest of the document is read.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::{LOAD_AFTER_READY, Visit};
use crate::browser::read;

/// What comes after the one that was cut can hang as well.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// A page that does not answer in this time is held up by a script that runs.
const ASK_WITHIN: Duration = Duration::from_millis(500);

/// What the document waits for: what it includes so far and what has not been answered.
const QUESTION: &str = "(() => {
  const answered = new Set(performance.getEntriesByType('resource').map((entry) => entry.name));
  const all = [...document.querySelectorAll('script[src],link[rel~=stylesheet i][href]')].map((e) => e.src || e.href);
  const open = all.filter((url) => /^https?:/.test(url) && !answered.has(url)).slice(-20);
  return JSON.stringify({ arrived: performance.getEntriesByType('navigation')[0]?.responseEnd > 0, open });
})()";

#[derive(Debug, Deserialize)]
struct Waits {
    arrived: bool,
    open: Vec<String>,
}

impl Visit<'_> {
    /// Its document is there: looks at it later, at half of the time for loading at the latest.
    pub(super) fn watch_for_hanging(&mut self) {
        let now = Instant::now();
        let due = now + LOAD_AFTER_READY.min(self.give_up.saturating_duration_since(now) / 2);
        self.look_at = self.look_at.or(Some(due));
    }

    /// When it is looked what the document waits for.
    pub(super) fn hang_due(&self) -> Option<Instant> {
        let waits = self.ready_at.is_none() && self.reading.is_none() && !self.forced && Instant::now() < self.give_up;
        self.look_at.filter(|_| waits && self.document.is_some())
    }

    /// Cuts what holds the document up, where there is something between browser and network that can.
    pub(super) async fn cut_hanging(&mut self) {
        self.look_at = Some(Instant::now() + AGAIN_AFTER);
        let Some(way_out) = self.req.way_out.clone() else { return };
        let asked = read::ask::<Waits>(self.tab.page.clone(), QUESTION.to_owned(), ASK_WITHIN).await;
        let Some(waits) = asked.ok().filter(|waits| waits.arrived) else { return };
        let here = self.hops.last().unwrap_or(&self.req.url);
        for url in waits.open {
            tracing::debug!(url = %here, held_up_by = %url, "a page waits for what does not come");
            way_out.cut(&url, here);
        }
    }
}
