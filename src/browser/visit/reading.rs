//! When a page is read, and what is done with what it says.

use std::sync::Arc;
use std::time::Duration;

use chromiumoxide::cdp::browser_protocol::page::StopLoadingParams;
use chromiumoxide::cdp::js_protocol::runtime::TerminateExecutionParams;
use tokio::time::Instant;

use super::{Broke, End, Seen, Visit};
use crate::browser::extract::{self, Extracted, Manner};
use crate::browser::read::{self, ReadError};
use crate::browser::within::{self, Questions};
use crate::model::outcome::FailureClass;
use crate::model::visit::VisitResult;
use crate::policy::settle::Settled;
use crate::policy::tab_kind::TabKind;

/// A tab whose scripts took more memory than this is not used again.
const HEAP_MAX: u64 = 256 << 20;
/// The end of a page's loading and the stages that it reached are told independently: those come within this.
const STAGES_WITHIN: Duration = Duration::from_millis(250);

/// Scripts within frames of other origins are waited for this long.
const FRAMES_BUSY: Duration = Duration::from_millis(500);

impl Visit<'_> {
    /// The main frame reached a stage of its loading.
    pub(super) fn on_stage(&mut self, name: &str) {
        match name {
            "init" | "commit" => {
                self.committed = true;
                self.watch_for_hanging();
            }
            "DOMContentLoaded" => self.ready_at = self.ready_at.or_else(|| Some(Instant::now())),
            "load" if !self.loaded => {
                self.loaded = true;
                self.ready_at = self.ready_at.or_else(|| Some(Instant::now()));
                if self.reading.is_none() && self.held.is_none() && self.early.is_none() {
                    self.start_reading(read::WITHIN);
                }
            }
            "networkIdle" => {
                self.idle = true;
                if self.early.is_some() {
                    self.start_reading(read::WITHIN);
                }
            }
            _ => {}
        }
    }

    /// When a page whose loading has ended without a parsed document counts as one that broke off.
    pub(super) fn break_due(&self) -> Option<Instant> {
        let waits = self.committed && self.ready_at.is_none() && self.reading.is_none() && !self.forced;
        self.stopped_at.filter(|_| waits && self.document.is_some()).map(|at| at + STAGES_WITHIN)
    }

    /// The document's body ended before its end: the proxy knows why, as far as it can see into the connection.
    fn on_break(&mut self) -> Option<End> {
        self.stopped_at = None;
        self.broke = Some(match self.cut_off() {
            Some((FailureClass::TooLarge, _)) => Broke::Cut,
            Some((class, message)) => {
                self.clean = false;
                return Some(self.fail_with(class, &message));
            }
            None => Broke::Off,
        });
        self.forced = true;
        self.start_reading(read::FORCED_WITHIN);
        None
    }

    /// What the proxy knows of the document's end.
    pub(super) fn cut_off(&self) -> Option<(FailureClass, String)> {
        let url = self.hops.last().unwrap_or(&self.req.url);
        self.req.way_out.as_ref()?.broke(url, self.asked_at.into_std())
    }

    /// The end with what was read.
    fn finish(&mut self, extracted: Extracted) -> End {
        // Nothing of another document on the same connection is held against this one.
        let url = self.hops.last().unwrap_or(&self.req.url);
        let ended = self.cut_off().filter(|_| url.scheme() == "http");
        if let Some((class, message)) = &ended {
            let in_part = self.document.as_ref().is_some_and(|document| document.head.reads_in_part());
            if *class != FailureClass::TooLarge || !in_part {
                self.clean = false;
                return self.fail_with(*class, message);
            }
        }
        let mut answer = self.answer(Some(extracted));
        answer.truncated |= ended.is_some() || answer.bytes > self.req.fetch.max_body_bytes;
        (VisitResult::Answer(Box::new(answer)), None)
    }

    pub(super) fn start_reading(&mut self, within: Duration) {
        let now = Instant::now();
        // Once loading was given up, half of what is left is kept for the case that its script holds it up.
        let latest = match (self.forced, now < self.give_up) {
            (true, _) => self.end,
            (false, true) => self.give_up,
            (false, false) => now + self.end.saturating_duration_since(now) / 2,
        };
        let deadline = (now + within).min(latest).max(now + Duration::from_millis(300));
        // What is waited for must leave time to read.
        let busy = if self.forced { Duration::ZERO } else { self.patience.busy.min((deadline - now) / 2) };
        let frameless = self.tab.kind == TabKind::Frameless;
        let sign = self.req.conduct.logged_out.as_deref();
        let still = self.document.as_ref().is_some_and(|document| document.head.still);
        let manner = Manner { key: &self.tab.key, busy: Some(busy), frameless, still, hooked: false, sign };
        let expression = extract::expression(&self.req.extract, manner);
        let (key, spec) = (self.tab.key.clone(), Arc::clone(&self.req.extract));
        let busy = Some(busy.min(FRAMES_BUSY));
        let frame = move |hooked| {
            let manner = Manner { key: &key, busy, frameless, still: false, hooked, sign: None };
            extract::links_expression(&spec, manner)
        };
        let questions = Questions { page: expression, frame: Box::new(frame), until: deadline };
        let reading = within::page(self.tab.page.clone(), self.tab.browser.clone(), questions);
        self.reading = Some((Box::pin(reading), deadline));
    }

    /// The page answered.
    pub(super) fn on_read(&mut self, read: Result<Extracted, ReadError>) -> Option<End> {
        self.reading = None;
        let read = match read {
            Err(error) => self.read_before().ok_or(error),
            read => read,
        };
        match read {
            Ok(extracted) if self.forced && extracted.is_incomplete() && !self.holds_enough(&extracted) => {
                let (class, what) = match self.broke {
                    Some(_) => (FailureClass::Protocol, "the answer broke off before its end"),
                    None => (FailureClass::Timeout, "the document was not complete in time"),
                };
                Some(self.fail_with(class, what))
            }
            Ok(extracted) => {
                self.hold(extracted);
                None
            }
            // The document was replaced under the question: the events say by what.
            Err(ReadError::Replaced) => {
                self.loaded = false;
                self.early = None;
                None
            }
            Err(ReadError::Failed(reason)) => {
                self.clean = false;
                Some(self.fail_with(FailureClass::Browser, &format!("the page could not be read: {reason}")))
            }
        }
    }

    /// A document that is not parsed to its end is a page all the same: cut at the limit of what is read, or here as
    /// a whole and held up by what it includes.
    fn holds_enough(&self, extracted: &Extracted) -> bool {
        match self.broke {
            Some(broke) => broke == Broke::Cut,
            None => extracted.arrived,
        }
    }

    /// Keeps what was read until it is sure that the page is not about to become another.
    fn hold(&mut self, extracted: Extracted) {
        let now = Instant::now();
        let again = self.tab.kind == TabKind::Frameless && extracted.demand != 0 && !extracted.posted;
        let late = self.patience.modules.filter(|_| extracted.modules && !self.idle && !self.forced && !again);
        if let (Some(wait), None) = (late, &self.early) {
            self.early = Some((extracted, (now + wait).min(self.give_up)));
            return;
        }
        let modules_brought = self.early.take().map(|(early, _)| !early.same_content(&extracted));
        // What a page leaves behind in a tab is not always given back.
        self.clean &= extracted.heap <= HEAP_MAX && !extracted.frames_lost;
        let settled = Settled { settled: extracted.settled, modules_brought };
        let demand = extracted.hooked.then_some(extracted.demand);
        self.seen = Some(Seen { settled, demand, posted: extracted.posted });
        self.held = Some((extracted, now.min(self.end)));
    }

    /// A bound was reached.
    pub(super) async fn on_clock(&mut self) -> Option<End> {
        if self.acting.is_now() {
            self.say_alive();
            return None;
        }
        if let Some((extracted, _)) = self.held.take() {
            let extracted = self.start_behaving(extracted)?;
            return Some(self.finish(extracted));
        }
        if self.break_due().is_some_and(|due| Instant::now() >= due) {
            return self.on_break();
        }
        if self.hang_due().is_some_and(|due| Instant::now() >= due) {
            self.cut_hanging().await;
            return None;
        }
        if self.reading.is_none() && self.early.is_some() {
            // Its network never is idle: read once more, and that is it.
            self.idle = true;
            self.start_reading(read::WITHIN);
            return None;
        }
        let stuck = self.reading.take().is_some();
        if stuck && let Some(before) = self.read_before() {
            self.small(TerminateExecutionParams::default()).await;
            self.hold(before);
            return None;
        }
        let over = Instant::now() >= self.give_up;
        if (stuck && self.forced) || (over && self.document.is_none()) {
            self.clean = false;
            let (class, what) = match (stuck, self.asked) {
                (true, _) => (FailureClass::Timeout, "its script did not let the page be read"),
                (false, true) => (FailureClass::Timeout, "no answer from the server in time"),
                (false, false) => (FailureClass::Browser, "the browser did not ask the server in time"),
            };
            return Some(self.fail_with(class, what));
        }
        self.clean = false;
        if stuck || self.ready_at.is_none() {
            self.forced = true;
            self.small(TerminateExecutionParams::default()).await;
        } else {
            self.small(StopLoadingParams::default()).await;
        }
        self.start_reading(read::FORCED_WITHIN);
        None
    }
}
