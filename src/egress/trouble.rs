//! Why connections came to nothing, by host and port, for the visits that ask.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Instant;

use crate::lock::lock;
use crate::model::visit::Refusal;
use crate::policy::hosts::plain;

/// Reasons kept: a visit asks within a moment, and few visits run at once.
const KEPT: usize = 64;

/// The newest reasons.
#[derive(Debug, Default)]
pub(super) struct Troubles(Mutex<VecDeque<Trouble>>);

#[derive(Debug)]
struct Trouble {
    host: String,
    port: u16,
    at: Instant,
    why: Refusal,
}

impl Troubles {
    pub(super) fn note(&self, host: &str, port: u16, why: Refusal) {
        let mut kept = lock(&self.0);
        // One page's pictures from a dead host must not push out everything else.
        let host = plain(host);
        kept.retain(|trouble| trouble.port != port || trouble.host != host);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(Trouble { host, port, at: Instant::now(), why });
    }

    /// The newest reason for a host and port, unless it is older than `since`.
    pub(super) fn newest(&self, host: &str, port: u16, since: Instant) -> Option<Refusal> {
        let kept = lock(&self.0);
        let host = plain(host);
        // By its own rules Chromium may ask a site by https that was named by http.
        let same =
            |trouble: &&Trouble| trouble.host == host && (trouble.port == port || (port, trouble.port) == (80, 443));
        kept.iter().rev().find(same).filter(|trouble| trouble.at >= since).map(|trouble| trouble.why.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::outcome::{FailureClass, SkipReason};

    #[test]
    fn reasons_are_found_by_host_and_port_and_age() {
        let troubles = Troubles::default();
        let before = Instant::now();
        let dns = || Refusal::Fail(FailureClass::Dns, "x".into());
        troubles.note("A.example", 80, dns());
        troubles.note("::1", 81, Refusal::Skip(SkipReason::AddressForbidden));
        assert_eq!(troubles.newest("a.example", 80, before), Some(dns()));
        assert_eq!(troubles.newest("[::1]", 81, before), Some(Refusal::Skip(SkipReason::AddressForbidden)));
        assert_eq!(troubles.newest("a.example", 81, before), None);
        assert_eq!(troubles.newest("a.example", 80, Instant::now() + Duration::from_secs(1)), None);
        troubles.note("a.example", 443, dns());
        assert_eq!(troubles.newest("a.example", 443, before), Some(dns()));
        for port in 1000..1000 + KEPT as u16 {
            troubles.note("b.example", port, dns());
        }
        assert_eq!(troubles.newest("a.example", 80, before), None, "the oldest go");
    }
}
