//! What is remembered about a host between requests, commits and restarts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::outcome::closed_list;
use crate::model::time::Timestamp;

closed_list! {
    /// The state of a circuit breaker.
    BreakerState {
        /// Requests pass.
        Closed = "closed",
        /// Requests wait until the open time is over.
        Open = "open",
        /// One probe may pass; it decides.
        HalfOpen = "half_open",
    }
}

/// A circuit breaker's memory; persisted with the *remaining* open time, so a restart or a clock
/// jump neither shortens nor lengthens it by more than the time that really passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Breaker {
    /// Where it stands.
    pub state: BreakerState,
    /// Failures in a row.
    pub failures: u32,
    /// Times it opened in a row without a success between; chooses the backoff step.
    pub openings: u32,
    /// When an open breaker lets a probe pass.
    pub open_until: Option<Timestamp>,
    /// When the first failure of the present outage was seen; giving up is counted from here.
    pub failing_since: Option<Timestamp>,
}

impl Default for Breaker {
    fn default() -> Self {
        Breaker { state: BreakerState::Closed, failures: 0, openings: 0, open_until: None, failing_since: None }
    }
}

/// Politeness memory of one host (scheme, name and port).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(default)]
pub struct HostState {
    /// The pause between two request starts now in force, in milliseconds.
    pub delay_ms: u64,
    /// Smoothed time to first byte, in milliseconds; `None` until the first answer.
    pub ema_ttfb_ms: Option<f64>,
    /// `Crawl-delay` of robots.txt after capping, in milliseconds; a floor under the delay.
    pub crawl_delay_ms: Option<u64>,
    /// No request may start before this instant.
    pub next_at: Timestamp,
    /// The host's circuit breaker.
    pub breaker: Breaker,
}

/// A robots.txt as the session's store keeps it, so that a restart asks nobody again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredRobots {
    /// When it was last asked for.
    pub asked_at: Timestamp,
    /// Since when it has been out of reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// HTTP status of the answer in force; `None` when there never was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The body of a successful answer as it came (any encoding), at most 500 KiB and a byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Vec<u8>>,
}
