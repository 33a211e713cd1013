//! What a load of a page leaves for another one, and whether it needs one.

use super::papers::Papers;
use crate::browser::report::BrowserVisit;
use crate::model::outcome::FailureClass;
use crate::model::visit::VisitResult;
use crate::policy::settle::Settled;

/// What a load leaves for another one of the same page.
pub(in crate::browser) struct Left {
    /// What was seen of a page that was read.
    pub seen: Option<Seen>,
    /// The documents that were kept.
    pub papers: Papers,
}

impl Left {
    /// Its scripts sent something to a server.
    pub(in crate::browser) fn posted(&self) -> bool {
        self.seen.is_some_and(|seen| seen.posted)
    }

    /// Loaded without frames, it asked for them, could not say, or did not come to an end for want of them.
    pub(in crate::browser) fn needs_frames(&self, visit: &BrowserVisit) -> bool {
        match (&visit.result, self.seen) {
            // Its answer broke off or is too long: so would the next one.
            (VisitResult::Failed(failure), _) if is_of_the_answer(failure.class) => false,
            (_, Some(seen)) => seen.demand != Some(0),
            (VisitResult::Failed(failure), None) => {
                visit.crash.is_none()
                    && failure.http_status.is_some()
                    && matches!(failure.class, FailureClass::Timeout | FailureClass::Browser)
            }
            _ => false,
        }
    }
}

/// Whether a failure lies in what the server sent, in whatever tab.
pub(in crate::browser) fn is_of_the_answer(class: FailureClass) -> bool {
    matches!(class, FailureClass::Protocol | FailureClass::TooLarge)
}

/// What was seen of a page.
#[derive(Debug, Clone, Copy)]
pub(in crate::browser) struct Seen {
    /// How it settled.
    pub settled: Settled,
    /// What of it needs frames to be drawn, as the hook's bits; none: the hook did not answer.
    pub demand: Option<u32>,
    /// Its scripts sent something to a server.
    pub posted: bool,
}
