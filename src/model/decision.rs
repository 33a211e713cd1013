//! What a recorded session writes down of its decisions, with what was known when each was made.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::event::EventId;
use crate::model::host::HostState;
use crate::model::ids::UrlNo;
use crate::model::outcome::{Outcome, OutcomeKind};
use crate::model::time::Timestamp;

/// A line of a recording that is no event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Decided {
    /// The last event before it.
    pub after: EventId,
    /// When.
    pub at: Timestamp,
    /// What was decided.
    #[serde(flatten)]
    pub decision: Decision,
}

/// One decision: `decided` names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "decided", rename_all = "snake_case")]
pub enum Decision {
    /// This URL is visited next.
    Visit {
        /// Its number.
        n: UrlNo,
        /// The URL.
        url: String,
        /// Which visit to it: 1 for the first.
        attempt: u32,
        /// It may have taken a browser or the daemon down: alone.
        suspect: bool,
        /// What was known of its host, this request counted.
        host: Option<HostState>,
        /// Visits running besides.
        visits_active: u32,
    },
    /// This URL ends so, once it is committed.
    End {
        /// Its number.
        n: UrlNo,
        /// Fetched, failed or skipped.
        outcome: OutcomeKind,
        /// The failure class or the skip reason.
        detail: Option<String>,
        /// Links inside the scope that it brought.
        links: u64,
        /// What is known of its host now.
        host: Option<HostState>,
    },
    /// This URL is visited again.
    Retry {
        /// Its number.
        n: UrlNo,
        /// Not before this.
        not_before: Timestamp,
        /// Whether the visit counts as an attempt.
        charged: bool,
        /// From now on it is visited alone.
        suspect: bool,
        /// What went wrong.
        trouble: Option<String>,
        /// What is known of its host now.
        host: Option<HostState>,
    },
    /// This URL was given back without a visit.
    Release {
        /// Its number.
        n: UrlNo,
    },
    /// No host may be asked before this; said once a wait.
    Wait {
        /// Until when.
        until: Timestamp,
        /// Visits running meanwhile.
        visits_active: u32,
    },
    /// Something holds the crawl, or lets go of it.
    Hold {
        /// Which condition.
        hold: String,
        /// Why; `None` when it is over.
        why: Option<String>,
    },
    /// An order was taken.
    Order {
        /// Which.
        order: String,
    },
    /// The session is being stopped.
    Stop {
        /// Why.
        reason: String,
    },
    /// It may have another number of visits at once.
    Share {
        /// How many.
        visits: u32,
    },
}

impl Decision {
    /// The failure class or skip reason of an outcome.
    pub fn detail(outcome: Outcome) -> Option<String> {
        match outcome {
            Outcome::Fetched => None,
            Outcome::Failed(class) => Some(class.as_str().to_owned()),
            Outcome::Skipped(reason) => Some(reason.as_str().to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_one_flat_object_and_reads_back() {
        let decided = Decided {
            after: EventId::new(1, 2, 3),
            at: Timestamp::from_millis(0),
            decision: Decision::Release { n: 7 },
        };
        let value = serde_json::to_value(&decided).unwrap();
        let expected =
            serde_json::json!({"after": "1.2.3", "at": "1970-01-01T00:00:00.000Z", "decided": "release", "n": 7});
        assert_eq!(value, expected);
        assert_eq!(serde_json::from_value::<Decided>(value).unwrap(), decided);
    }
}
