//! What a page leaves behind by option is made after its visit: off the visits' threads, a few at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::extract::{self, Made};
use crate::model::kept::{KeptKind, LeftOut, Raw};
use crate::model::lease::VisitEnd;
use crate::model::outcome::OutcomeKind;
use crate::model::record::PageRecord;
use crate::model::task::ExtractSpec;
use crate::model::visit::VisitResult;

/// The visit goes on without what is not made by then.
const WITHIN: Duration = Duration::from_secs(60);

/// Makes what the task asks for of pages that have ended.
pub struct Keeper {
    extract: Arc<ExtractSpec>,
    /// One place for each core: a page that takes long holds up no more than itself and its place.
    turns: Arc<Semaphore>,
}

impl Keeper {
    /// For a session's pages.
    pub fn new(extract: Arc<ExtractSpec>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Keeper { extract, turns: Arc::new(Semaphore::new(cores)) }
    }

    /// Completes the record that keeps the page, if there is one, with what is made of `raw`.
    pub async fn keep(&self, raw: Raw, end: &mut VisitEnd) {
        let Some(record) = keeping(end) else { return };
        let Some(source) = raw.source else { return };
        let address = record.final_url.clone().unwrap_or_else(|| record.url.clone());
        let (spec, turns) = (Arc::clone(&self.extract), Arc::clone(&self.turns));
        let making = async move {
            let place = turns.acquire_owned().await;
            let make = move || {
                let made = extract::make(&source, &address, &spec);
                drop(place);
                made
            };
            tokio::task::spawn_blocking(make).await
        };
        let made = match tokio::time::timeout(WITHIN, making).await {
            Ok(Ok(made)) => made,
            Ok(Err(panic)) if panic.is_panic() => std::panic::resume_unwind(panic.into_panic()),
            Ok(Err(_)) => self.nothing("the daemon was shutting down"),
            Err(_) => self.nothing("it took too long"),
        };
        record.kept.markdown = made.markdown;
        record.kept.metadata = made.metadata;
        record.kept.left_out.extend(made.left_out);
    }

    fn nothing(&self, reason: &str) -> Made {
        let asked = [(KeptKind::Markdown, self.extract.markdown), (KeptKind::Metadata, self.extract.metadata)];
        let asked = asked.into_iter().filter(|(_, asked)| *asked);
        let left_out = asked.map(|(kind, _)| LeftOut { kind, reason: reason.to_owned() }).collect();
        Made { left_out, ..Made::default() }
    }
}

/// The record that says what the page holds: that of the URL, or that of where it redirects to.
fn keeping(end: &mut VisitEnd) -> Option<&mut PageRecord> {
    match end {
        VisitEnd::Ended { target: Some(target), .. } => Some(&mut target.record),
        VisitEnd::Ended { record, .. } if record.outcome == OutcomeKind::Fetched => Some(record),
        _ => None,
    }
}

/// Takes what a visit brought for later out of its result.
pub fn take_raw(result: &mut VisitResult) -> Raw {
    match result {
        VisitResult::Answer(answer) => std::mem::take(&mut answer.raw),
        _ => Raw::default(),
    }
}
