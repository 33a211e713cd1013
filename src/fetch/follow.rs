//! The redirect loop: every hop is judged before it is followed.

use tokio::time::Instant;
use url::Url;

use super::client::{Accept, Exchange, HttpClient};
use super::fault::Fault;
use super::headers::redirect_target;
use crate::model::outcome::{FailureClass, SkipReason};
use crate::model::url::CanonicalUrl;
use crate::model::visit::{BoxFuture, HopGate, Refusal, VisitFailure, VisitResult};

/// An answer that is not a redirect.
pub(super) struct Landed {
    pub(super) exchange: Exchange,
    /// Every URL after the first, in order.
    pub(super) hops: Vec<CanonicalUrl>,
}

/// Why no such answer was reached.
pub(super) struct Stopped {
    /// Every URL after the first; the last one may not have been asked.
    pub(super) hops: Vec<CanonicalUrl>,
    pub(super) why: Refusal,
}

impl Stopped {
    pub(super) fn into_result(self) -> VisitResult {
        match self.why {
            Refusal::Skip(reason) => VisitResult::Refused { hops: self.hops, reason },
            Refusal::Fail(class, message) => VisitResult::Failed(VisitFailure {
                class,
                message,
                http_status: None,
                retry_after: None,
                ttfb: None,
                hops: self.hops,
            }),
        }
    }
}

/// A gate that lets every hop pass: addresses are still checked by the client.
pub(super) struct OpenGate;

impl HopGate for OpenGate {
    fn check<'a>(&'a self, _url: &'a CanonicalUrl) -> BoxFuture<'a, Result<(), Refusal>> {
        Box::pin(async { Ok(()) })
    }
}

/// What a redirect loop needs to know.
pub(super) struct Journey<'a> {
    pub(super) client: &'a HttpClient,
    pub(super) gate: &'a dyn HopGate,
    pub(super) max_redirects: u32,
    pub(super) accept: Accept<'a>,
    pub(super) by: Instant,
}

impl Journey<'_> {
    /// Asks for `first` and follows redirects.
    ///
    /// What a server redirects to is asked for as the server wrote it: it may insist on a session id
    /// or a spelling that the canonical form drops. Hops are canonical, so such a redirect is none.
    pub(super) async fn follow(&self, first: &CanonicalUrl) -> Result<Landed, Stopped> {
        let mut hops: Vec<CanonicalUrl> = Vec::new();
        let cookies = || self.client.cookies().map_or(0, |cookies| cookies.changes());
        let first_url = Url::parse(first.as_str()).expect("a canonical URL parses");
        let mut asked: Vec<(Url, u64)> = vec![(first_url, cookies())];
        loop {
            let (at, _) = &asked[asked.len() - 1];
            let exchange = match self.client.get(at, self.accept, self.by).await {
                Ok(exchange) => exchange,
                Err(fault) => return Err(Stopped { hops, why: fault.into() }),
            };
            let location = exchange.response.headers().get(http::header::LOCATION).map(|value| value.as_bytes());
            let Some(target) = redirect_target(at, exchange.response.status().as_u16(), location) else {
                return Ok(Landed { exchange, hops });
            };
            let hop = target.and_then(|target| Ok((CanonicalUrl::from_url(target.clone())?, target)));
            // Nothing but http and https is fetched: such a place is outside of every scope.
            let Ok((page, target)) = hop else {
                return Err(Stopped { hops, why: Refusal::Skip(SkipReason::OutOfScope) });
            };
            let moved = page.as_str() != hops.last().unwrap_or(first).document();
            if moved {
                hops.push(page);
            }
            // With the same cookies the same request gets the same redirect: such a loop never ends by itself.
            let next = (target, cookies());
            let again = asked.contains(&next);
            if again || asked.len() > self.max_redirects as usize {
                let message = if again { "redirects in a loop" } else { "too many redirects" };
                let message = format!("{message} (after {})", asked.len());
                return Err(Stopped { hops, why: Refusal::Fail(FailureClass::TooManyRedirects, message) });
            }
            if moved && let Err(why) = self.ask_gate(&hops[hops.len() - 1]).await {
                return Err(Stopped { hops, why });
            }
            asked.push(next);
        }
    }

    async fn ask_gate(&self, url: &CanonicalUrl) -> Result<(), Refusal> {
        let by = self.by.min(Instant::now() + self.client.deadlines().gate);
        let late = || Refusal::Fail(FailureClass::Timeout, "a redirect could not be judged in time".to_owned());
        tokio::time::timeout_at(by, self.gate.check(url)).await.unwrap_or_else(|_| Err(late()))
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Refusal {
        match fault {
            Fault::Forbidden => Refusal::Skip(SkipReason::AddressForbidden),
            Fault::Failed(class, message) => Refusal::Fail(class, message),
        }
    }
}
