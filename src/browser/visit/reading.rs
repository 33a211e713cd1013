//! When a page is read, and what is done with what it says.

use std::time::Duration;

use chromiumoxide::cdp::browser_protocol::page::StopLoadingParams;
use chromiumoxide::cdp::js_protocol::runtime::TerminateExecutionParams;
use tokio::time::Instant;

use super::{End, REFRESH_GRACE, Seen, Visit};
use crate::browser::extract::{self, Extracted, Manner};
use crate::browser::read::{self, ReadError};
use crate::browser::within::{self, Questions};
use crate::model::outcome::FailureClass;
use crate::model::visit::VisitResult;
use crate::policy::settle::Settled;
use crate::policy::tab_kind::TabKind;

/// A tab whose scripts took more memory than this is not used again.
const HEAP_MAX: u64 = 256 << 20;

/// Scripts within frames of other origins are waited for this long.
const FRAMES_BUSY: Duration = Duration::from_millis(500);

impl Visit<'_> {
    /// The main frame reached a stage of its loading.
    pub(super) fn on_stage(&mut self, name: &str) {
        match name {
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

    pub(super) fn start_reading(&mut self, within: Duration) {
        let now = Instant::now();
        let latest = if self.forced { self.end } else { self.give_up };
        let deadline = (now + within).min(latest).max(now + Duration::from_millis(300));
        let busy = if self.forced { Duration::ZERO } else { self.patience.busy };
        let frameless = self.tab.kind == TabKind::Frameless;
        let sign = self.req.conduct.logged_out.as_deref();
        let manner = Manner { key: &self.tab.key, busy: Some(busy), frameless, sign };
        let expression = extract::expression(&self.req.extract, manner);
        let within = Manner { busy: Some(busy.min(FRAMES_BUSY)), ..manner };
        let frame = extract::links_expression(&self.req.extract, within);
        let questions = Questions { page: expression, frame, until: deadline };
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
            Ok(extracted) if self.forced && extracted.is_incomplete() => {
                Some(self.fail_with(FailureClass::Timeout, "the document was not complete in time"))
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
        let soon = extracted.refresh.is_some_and(|seconds| seconds <= 1);
        let deadline = now + if soon { REFRESH_GRACE } else { Duration::ZERO };
        self.held = Some((extracted, deadline.min(self.end)));
    }

    /// A bound was reached.
    pub(super) async fn on_clock(&mut self) -> Option<End> {
        if self.acting.is_now() {
            self.say_alive();
            return None;
        }
        if let Some((extracted, _)) = self.held.take() {
            let extracted = self.start_behaving(extracted)?;
            let answer = self.answer(Some(extracted));
            return Some((VisitResult::Answer(Box::new(answer)), None));
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
            let what =
                if stuck { "its script did not let the page be read" } else { "no answer from the server in time" };
            return Some(self.fail_with(FailureClass::Timeout, what));
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
