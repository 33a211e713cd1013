//! Why connections came to nothing, by host and port, for the visits that ask.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Instant;

use crate::lock::lock;
use crate::model::url::CanonicalUrl;
use crate::policy::hosts::plain;

/// Reasons kept: a visit asks within a moment, and few visits run at once.
const KEPT: usize = 64;

/// The newest reasons.
#[derive(Debug)]
pub(super) struct Troubles<T>(Mutex<VecDeque<Trouble<T>>>);

#[derive(Debug)]
struct Trouble<T> {
    host: String,
    port: u16,
    /// Path and query; none: all of the host and port.
    path: Option<String>,
    at: Instant,
    why: T,
}

impl<T> Default for Troubles<T> {
    fn default() -> Self {
        Troubles(Mutex::default())
    }
}

impl<T: Clone> Troubles<T> {
    pub(super) fn note(&self, host: &str, port: u16, path: Option<&str>, why: T) {
        let mut kept = lock(&self.0);
        // One page's pictures from a dead host must not push out everything else.
        let host = plain(host);
        kept.retain(|trouble| trouble.port != port || trouble.host != host || trouble.path.as_deref() != path);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(Trouble { host, port, path: path.map(str::to_owned), at: Instant::now(), why });
    }

    /// The newest reason for a URL's host and port, and its path where that is known, unless it is older
    /// than `since`.
    pub(super) fn newest(&self, url: &CanonicalUrl, since: Instant) -> Option<T> {
        let kept = lock(&self.0);
        let (host, port) = (plain(url.host()), url.port());
        let path = url.path();
        // By its own rules Chromium may ask a site by https that was named by http.
        let same = |trouble: &&Trouble<T>| {
            trouble.host == host
                && (trouble.port == port || (port, trouble.port) == (80, 443))
                && trouble.path.as_deref().is_none_or(|noted| noted == path)
        };
        kept.iter().rev().find(same).filter(|trouble| trouble.at >= since).map(|trouble| trouble.why.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::outcome::FailureClass;

    #[test]
    fn reasons_are_found_by_host_port_path_and_age() {
        let troubles = Troubles::default();
        let before = Instant::now();
        let found = |url: &str, since| troubles.newest(&CanonicalUrl::parse(url).unwrap(), since);
        let dns = Some(FailureClass::Dns);
        troubles.note("A.example", 80, None, FailureClass::Dns);
        troubles.note("::1", 81, None, FailureClass::Tls);
        assert_eq!(found("http://a.example/x", before), dns);
        assert_eq!(found("http://[::1]:81/", before), Some(FailureClass::Tls));
        assert_eq!(found("http://a.example:81/", before), None);
        assert_eq!(found("http://a.example/", Instant::now() + Duration::from_secs(1)), None);
        troubles.note("a.example", 443, None, FailureClass::Dns);
        assert_eq!(found("https://a.example/", before), dns);
        troubles.note("c.example", 80, Some("/long?x=1"), FailureClass::TooLarge);
        assert_eq!(found("http://c.example/long?x=1", before), Some(FailureClass::TooLarge));
        assert_eq!(found("http://c.example/long", before), None, "another document");
        for port in 1000..1000 + KEPT as u16 {
            troubles.note("b.example", port, None, FailureClass::Dns);
        }
        assert_eq!(found("http://a.example/", before), None, "the oldest go");
    }
}
