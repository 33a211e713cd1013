//! The proxy between browser and network: a browser reaches what its session may reach, whatever a page tries.
//!
//! Chromium resolves names and connects by itself, for a page's images, requests, sockets and workers as
//! for the page. So every context gets a proxy of its session's own, and no other way: the proxy resolves
//! once, checks every address, and connects to what it has checked. Where it refuses or fails, the browser
//! sees a broken connection and never a page of ours; the reason is kept for the visit that asks ([`WayOut`]).

mod body;
mod cuts;
mod dial;
mod forward;
mod link;
mod listener;
mod meter;
mod own;
mod peer;
mod tally;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_real;
#[cfg(test)]
mod tests_upstream;
mod trouble;
mod tunnel;
mod upstream;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use crate::fetch::CheckedResolver;
use crate::model::checkpoint::EgressFacts;
use crate::model::outcome::FailureClass;
use crate::model::proxy::Upstream;
use crate::model::task::FetchSpec;
use crate::model::url::CanonicalUrl;
use crate::model::visit::{Refusal, WayOut};
use crate::policy::hosts::HostSet;
use link::Shared;
pub use own::Claim;

/// Deadlines and bounds of one session's proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For a name and a TCP connection.
    pub connect: Duration,
    /// From a request to the head of its answer.
    pub first_byte: Duration,
    /// A body or a tunnel in which nothing moves for this long is cut.
    pub idle: Duration,
    /// Life of a tunnel.
    pub tunnel: Duration,
    /// Bytes of one body, as sent.
    pub body_bytes: u64,
    /// Bytes out of a tunnel without a pause: it carries the answers to many requests.
    pub burst_bytes: u64,
}

impl Limits {
    /// What follows from a task's settings: nothing of a page outlives its visit by much.
    pub fn of(fetch: &FetchSpec) -> Limits {
        Limits {
            connect: Duration::from_secs(10),
            first_byte: fetch.page_timeout.0,
            idle: fetch.page_timeout.0.max(Duration::from_secs(90)),
            tunnel: Duration::from_secs(3600),
            body_bytes: fetch.max_body_bytes,
            burst_bytes: fetch.max_body_bytes.saturating_mul(4),
        }
    }
}

/// One session's proxy. Dropping it closes its port and every connection through it.
#[derive(Debug)]
pub struct Egress {
    address: SocketAddr,
    shared: Arc<Shared>,
    _claim: Claim,
    _accepting: AbortOnDropHandle<()>,
}

impl Egress {
    /// Opens a proxy on a free port of 127.0.0.1. It serves processes of this user only, and connects to
    /// what `resolver` permits, never to a listener of our own.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn open(resolver: CheckedResolver, limits: Limits) -> io::Result<Egress> {
        Egress::by(resolver, HostSet::default(), None, limits).await
    }

    /// As [`Egress::open`], refuses connections to these hosts, and makes the others through a proxy of the task's.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn by(
        resolver: CheckedResolver,
        blocked: HostSet,
        upstream: Option<Upstream>,
        limits: Limits,
    ) -> io::Result<Egress> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(resolver, blocked, upstream, limits));
        let accepting = tokio::spawn(listener::accept(listener, address, Arc::clone(&shared)));
        Ok(Egress { address, shared, _claim: Claim::new(address), _accepting: AbortOnDropHandle::new(accepting) })
    }

    /// What went through it so far.
    pub fn facts(&self) -> EgressFacts {
        self.shared.tally.facts()
    }
}

impl WayOut for Egress {
    fn proxy(&self) -> SocketAddr {
        self.address
    }

    fn why(&self, url: &CanonicalUrl, since: Instant) -> Option<Refusal> {
        self.shared.troubles.newest(url, since)
    }

    fn broke(&self, url: &CanonicalUrl, since: Instant) -> Option<(FailureClass, String)> {
        self.shared.broken.newest(url, since)
    }

    fn cut(&self, url: &str, here: &CanonicalUrl) {
        self.shared.cuts.cut(url, here.as_str());
    }
}
