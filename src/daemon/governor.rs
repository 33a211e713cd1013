//! The host governor: delay, requests in flight and circuit breaker of every host, shared by all sessions of the
//! daemon, so that two sessions never double the rate of one.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::frontier::HostPermit;
use crate::model::host::{BreakerState, HostState};
use crate::model::outcome::FailureClass;
use crate::model::task::PolitenessSpec;
use crate::model::time::Timestamp;
use crate::policy::breaker::{self, BreakerConfig, Permit};
use crate::policy::delay::{self, DelayConfig};

/// Hosts kept in memory at most before idle ones are forgotten.
const HOSTS_KEPT: usize = 50_000;

/// How a visit ended, as far as its host is concerned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum VisitSignal {
    /// The host answered (a 404 is an answer).
    Ok {
        /// Request sent to first byte; `None` where it could not be measured.
        ttfb: Option<Duration>,
    },
    /// 429, or 503 with `Retry-After`.
    Throttled {
        /// What it asked for.
        retry_after: Option<Duration>,
    },
    /// The visit failed otherwise.
    Failed(FailureClass),
    /// Nothing was learned about the host.
    Neutral,
}

/// A host with a breaker that is not closed.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenBreaker {
    /// `scheme://host[:port]`.
    pub host_key: String,
    /// Its memory.
    pub state: HostState,
}

#[derive(Debug, Default)]
struct Host {
    state: HostState,
    in_flight: u32,
    /// The longest delay floor that a session asked for while visits overlapped.
    touched: Timestamp,
}

#[derive(Debug)]
struct Inner {
    hosts: Mutex<HashMap<Arc<str>, Host>>,
    breaker: BreakerConfig,
    kept: usize,
}

/// The governor; clones share one memory.
#[derive(Debug, Clone)]
pub struct HostGovernor {
    inner: Arc<Inner>,
}
