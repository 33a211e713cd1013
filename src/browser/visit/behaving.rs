//! Between reading a page and answering: the task's behaviours. Where the page would go meanwhile is a link.

use std::collections::HashSet;
use std::pin::Pin;
use std::time::Duration;

use chromiumoxide::cdp::js_protocol::runtime::TerminateExecutionParams;
use tokio::time::Instant;

use super::Visit;
use crate::browser::behave::{Behaved, Task};
use crate::browser::extract::Extracted;
use crate::browser::read;
use crate::browser::response::Head;
use crate::clock::Clock;
use crate::model::conduct::PageCut;
use crate::model::long::{KEEPALIVE, Operation, Voice};
use crate::model::visit::{PageAnswer, RawLink};

/// For reading the page once more, besides the behaviours' own time.
const READ_AGAIN: Duration = Duration::from_secs(20);

/// How far the behaviours of a visit are.
#[derive(Default)]
pub(super) struct Acting {
    at: At,
    /// The work itself.
    pub work: Option<Pin<Box<dyn Future<Output = Behaved> + Send>>>,
    /// When log and heartbeat are told next.
    pub say_at: Option<Instant>,
    voice: Option<Voice>,
    links: Vec<String>,
    cut: bool,
    /// The page as it was before, should it be beyond reading afterwards.
    before: Option<Extracted>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum At {
    #[default]
    Before,
    Now,
    After,
}

impl Acting {
    /// The page is being worked on.
    pub(super) fn is_now(&self) -> bool {
        self.at == At::Now
    }

    /// The page has been read already, and is not left any more.
    pub(super) fn has_begun(&self) -> bool {
        self.at != At::Before
    }
}

impl Visit<'_> {
    /// Begins the task's behaviours, where it has any and the page is one; gives back what was read otherwise.
    pub(super) fn start_behaving(&mut self, read: Extracted) -> Option<Extracted> {
        let page = &self.req.conduct.page;
        let good = |head: &Head| (200..300).contains(&head.status) && !head.still;
        let good = self.document.as_ref().is_some_and(|document| good(&document.head));
        if !page.behaves() || self.acting.has_begun() || !good || self.forced || self.spent.cut.is_some() {
            return Some(read);
        }
        let here = self.hops.last().unwrap_or(&self.req.url);
        let task = Task::new(page, &self.req.extract, &self.tab.key, here.as_str());
        let now = Instant::now();
        self.give_up = now + page.behavior_timeout.0 + READ_AGAIN;
        self.end = self.give_up + read::FORCED_WITHIN;
        self.acting.at = At::Now;
        self.acting.before = Some(read);
        let voice = Voice::new(&self.req.long, Operation::Behaviors, &self.req.url, Clock::system().now());
        self.acting.voice = Some(voice);
        self.acting.say_at = Some(now + KEEPALIVE);
        self.acting.work = Some(Box::pin(task.run(self.tab.page.clone())));
        None
    }

    /// The behaviours ended: the page is read once more, as it is now.
    pub(super) async fn on_behaved(&mut self, behaved: Behaved) {
        self.acting.at = At::After;
        self.acting.work = None;
        self.acting.say_at = None;
        self.acting.voice = None;
        self.acting.cut = behaved.cut;
        self.acting.links.extend(behaved.links);
        if behaved.stuck {
            self.clean = false;
            self.small(TerminateExecutionParams::default()).await;
        }
        self.start_reading(read::WITHIN);
    }

    /// What was read before, when the page cannot be read afterwards.
    pub(super) fn read_before(&mut self) -> Option<Extracted> {
        let before = self.acting.before.take().filter(|_| self.acting.at == At::After)?;
        self.clean = false;
        self.acting.cut = true;
        Some(before)
    }

    /// Where the page would have gone.
    pub(super) fn stray(&mut self, url: &str) {
        if self.acting.links.len() < self.req.extract.max_links as usize {
            self.acting.links.push(url.to_owned());
        }
    }

    /// Tells log and heartbeat that nothing is stuck.
    pub(super) fn say_alive(&mut self) {
        let now = Instant::now();
        let elapsed = self.acting.voice.as_mut().map_or(Duration::ZERO, |voice| voice.alive(Clock::system().now()));
        tracing::info!(session_id = %self.req.session.as_str(), url = %self.req.url,
            elapsed_ms = elapsed.as_millis() as u64, "a page is still worked on");
        self.acting.say_at = Some(now + KEEPALIVE);
    }

    /// Adds what the behaviours found.
    pub(super) fn add_found(&mut self, answer: &mut PageAnswer) {
        let most = self.req.extract.max_links as usize;
        let known: HashSet<String> = answer.links.iter().map(|link| link.href.clone()).collect();
        let found = std::mem::take(&mut self.acting.links).into_iter().filter(|href| !known.contains(href));
        let room = most.saturating_sub(answer.links.len());
        let mut found: Vec<RawLink> = found.map(|href| RawLink { href }).collect();
        self.acting.cut |= found.len() > room;
        found.truncate(room);
        answer.links.extend(found);
        if self.acting.cut {
            answer.truncated = true;
            answer.cut = answer.cut.or(Some(PageCut::Behaviors));
        }
    }
}
