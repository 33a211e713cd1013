//! The documents of a visit: every request and every response of one is judged before it goes on.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use chromiumoxide::Page;
use chromiumoxide::cdp::browser_protocol::fetch::{
    self, EventRequestPaused, FailRequestParams, FulfillRequestParams, HeaderEntry, TakeResponseBodyAsStreamParams,
};
use chromiumoxide::cdp::browser_protocol::io;
use chromiumoxide::cdp::browser_protocol::network::{ErrorReason, ResourceType};
use chromiumoxide::cdp::browser_protocol::page::ClientNavigationReason;
use futures_util::{FutureExt, StreamExt};
use tokio::time::Instant;

use super::papers::KEPT_MAX;
use super::{Document, End, Visit};
use crate::browser::response::{Head, Verdict};
use crate::clock::Clock;
use crate::model::kept::{KeptKind, LeftOut};
use crate::model::outcome::FailureClass;
use crate::model::url::CanonicalUrl;
use crate::model::visit::{KnownDocument, Refusal, VisitResult};

/// A document that is kept must be complete within this time.
const KEEP_WITHIN: Duration = Duration::from_secs(5);

impl Visit<'_> {
    /// Judges a paused document: one of a frame, of the page, or of a redirect.
    pub(super) async fn on_paused(&mut self, paused: &EventRequestPaused) -> Option<End> {
        let at_response = paused.response_status_code.is_some() || paused.response_error_reason.is_some();
        if paused.resource_type != ResourceType::Document {
            self.on_resource(paused).await;
            return None;
        }
        if paused.frame_id.as_ref() != self.tab.target {
            self.on_frame(paused, at_response).await;
            return None;
        }
        if at_response { self.on_response(paused).await } else { self.on_request(paused).await }
    }

    /// Frames within the page: its own affair, as long as they stay on the web and send nothing.
    async fn on_frame(&mut self, paused: &EventRequestPaused, at_response: bool) {
        let reads = is_reading(&paused.request.method);
        if reads && paused.response_status_code.is_some_and(|status| (200..300).contains(&status)) {
            self.opens(&paused.request.url);
        }
        let web = paused.request.url.starts_with("http://") || paused.request.url.starts_with("https://");
        if !at_response && web && !reads {
            self.refuse_form(paused).await;
        } else if at_response || (web && self.affords()) {
            self.let_through(paused).await;
        } else {
            self.fail(paused, ErrorReason::BlockedByClient).await;
        }
    }

    /// A form that sends itself: crawling submits nothing.
    /// An empty answer, because an aborted submission would leave the parser waiting.
    async fn refuse_form(&mut self, paused: &EventRequestPaused) {
        self.small(FulfillRequestParams::new(paused.request_id.clone(), 204)).await;
    }

    /// Whether a page asks for this because it said that it would be refreshed: a link, and read as one.
    fn is_refresh(&mut self, url: &str) -> bool {
        let mut is = false;
        while let Some(Some(event)) = self.tab.refreshes.next().now_or_never() {
            let reason = &event.reason;
            let refresh =
                matches!(reason, ClientNavigationReason::MetaTagRefresh | ClientNavigationReason::HttpHeaderRefresh);
            let ours = event.frame_id.as_ref() == self.tab.target;
            is |= refresh && ours && event.url.split('#').next() == Some(url);
        }
        is
    }

    async fn on_request(&mut self, paused: &EventRequestPaused) -> Option<End> {
        let url = CanonicalUrl::parse(&paused.request.url);
        let refresh = self.is_refresh(&paused.request.url);
        if !self.asked {
            if !refresh && url.as_ref().is_ok_and(|url| same_but_scheme(url, &self.req.url)) {
                self.asked = true;
                self.asked_at = Instant::now();
                self.affords();
                match self.papers.take(&paused.request.url) {
                    Some(known) => return self.give(paused, &known).await,
                    None => self.let_through(paused).await,
                }
            } else {
                // A late redirect of the page before.
                self.fail(paused, ErrorReason::Aborted).await;
            }
            return None;
        }
        if !is_reading(&paused.request.method) {
            self.clean = false;
            self.refuse_form(paused).await;
            return None;
        }
        if refresh {
            self.opens(&paused.request.url);
            self.small(FulfillRequestParams::new(paused.request_id.clone(), 204)).await;
            return None;
        }
        if self.acting.has_begun() {
            self.fail(paused, ErrorReason::Aborted).await;
            self.stray(&paused.request.url);
            return None;
        }
        let url = match url {
            Ok(url) => url,
            Err(error) => {
                self.fail(paused, ErrorReason::Aborted).await;
                return Some(
                    self.fail_with(FailureClass::Protocol, &format!("redirect to what is not the web: {error}")),
                );
            }
        };
        self.on_hop(paused, url).await
    }

    async fn on_hop(&mut self, paused: &EventRequestPaused, url: CanonicalUrl) -> Option<End> {
        self.redirects += 1;
        let here = self.hops.last().unwrap_or(&self.req.url);
        let moved = here.document() != url.as_str();
        if moved {
            self.hops.push(url.clone());
        }
        if self.redirects > self.req.fetch.max_redirects {
            self.fail(paused, ErrorReason::Aborted).await;
            let most = self.req.fetch.max_redirects;
            return Some(self.fail_with(FailureClass::TooManyRedirects, &format!("more than {most} redirects")));
        }
        let known = self.papers.take(&paused.request.url);
        if moved && known.is_none() {
            let gate = Arc::clone(&self.req.gate);
            match tokio::time::timeout_at(self.give_up, gate.check(&url)).await {
                Ok(Ok(())) => {}
                Ok(Err(Refusal::Skip(reason))) => {
                    self.fail(paused, ErrorReason::Aborted).await;
                    return Some((VisitResult::Refused { hops: self.hops.clone(), reason }, None));
                }
                Ok(Err(Refusal::Fail(class, message))) => {
                    self.fail(paused, ErrorReason::Aborted).await;
                    return Some(self.fail_with(class, &message));
                }
                Err(_) => {
                    self.fail(paused, ErrorReason::Aborted).await;
                    return Some(self.fail_with(FailureClass::Timeout, "no decision about a redirect in time"));
                }
            }
        }
        self.document = None;
        self.committed = false;
        self.look_at = None;
        self.stopped_at = None;
        self.broke = None;
        self.ready_at = None;
        self.loaded = false;
        self.reading = None;
        self.held = None;
        self.early = None;
        self.idle = false;
        self.asked_at = Instant::now();
        match known {
            Some(known) => self.give(paused, &known).await,
            None => {
                self.let_through(paused).await;
                None
            }
        }
    }

    async fn on_response(&mut self, paused: &EventRequestPaused) -> Option<End> {
        if !self.asked {
            self.fail(paused, ErrorReason::Aborted).await;
            return None;
        }
        if let Some(reason) = &paused.response_error_reason {
            self.let_through(paused).await;
            // The reply to our own navigation says it more precisely; a page's own has none. A
            // document that was let through before fails here when its loading is stopped.
            return (self.reply.is_none() && self.document.is_none())
                .then(|| self.net_failure(&upper_snake(reason.as_ref())));
        }
        self.ttfb = Some(self.asked_at.elapsed());
        let status = u16::try_from(paused.response_status_code.unwrap_or_default()).unwrap_or_default();
        let headers =
            paused.response_headers.iter().flatten().map(|header| (header.name.as_str(), header.value.as_str()));
        let head = Head::read(status, headers.clone(), now_seconds());
        if head.verdict(u64::MAX) == Verdict::Redirect && head.leaves_the_web(&paused.request.url) {
            self.fail(paused, ErrorReason::Aborted).await;
            return Some(self.fail_with(FailureClass::Protocol, "redirect to what is not the web"));
        }
        let keeps = self.papers.keeps() || head.is_feed();
        let kept_headers = keeps.then(|| headers.map(owned).collect::<Vec<_>>());
        let mut verdict = head.verdict(self.req.fetch.max_body_bytes);
        // The proxy cuts it at the limit, where it can see into the connection.
        let cut = self.req.way_out.is_some() && paused.request.url.starts_with("http://");
        if matches!(verdict, Verdict::TooLarge(_)) && cut && head.reads_in_part() {
            verdict = Verdict::Load;
        }
        let retry_after = head.retry_after;
        let loader = paused.network_id.as_ref().map(|id| id.as_ref().to_owned());
        if verdict != Verdict::Redirect {
            self.document = Some(Document { loader, head });
        }
        let kind = self.document.as_ref().and_then(|document| document.head.content_type.as_deref());
        let saves = verdict == Verdict::Download && self.req.extract.takes_download(kind);
        let saved = if saves { Some(self.save(paused).await) } else { None };
        match verdict {
            Verdict::Load | Verdict::Redirect => {
                let Some(headers) = kept_headers else {
                    self.papers.lose();
                    self.let_through(paused).await;
                    return None;
                };
                return self.keep(paused, status, headers, verdict == Verdict::Redirect).await;
            }
            _ => self.fail(paused, ErrorReason::Aborted).await,
        }
        Some(match verdict {
            Verdict::Download => {
                let mut answer = self.answer(None);
                match saved {
                    Some(Ok(body)) => {
                        answer.bytes = body.len() as u64;
                        answer.raw.files.push((KeptKind::Download, body));
                    }
                    Some(Err(reason)) => answer.raw.left_out.push(LeftOut::new(KeptKind::Download, reason)),
                    None => {}
                }
                (VisitResult::Download(Box::new(answer)), None)
            }
            Verdict::Failed(class) => {
                let mut end = self.fail_with(class, &format!("the server answered {status}"));
                if let VisitResult::Failed(failure) = &mut end.0 {
                    failure.retry_after = retry_after;
                }
                end
            }
            Verdict::TooLarge(length) => {
                self.fail_with(FailureClass::TooLarge, &format!("the server announced {length} bytes"))
            }
            Verdict::Empty | Verdict::Load | Verdict::Redirect => {
                (VisitResult::Answer(Box::new(self.answer(None))), None)
            }
        })
    }

    /// Answers the request with the document that is known already, so that its server is not asked twice.
    async fn give(&mut self, paused: &EventRequestPaused, known: &KnownDocument) -> Option<End> {
        let headers = known.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let head = Head::read(known.status, headers, now_seconds());
        let loader = paused.network_id.as_ref().map(|id| id.as_ref().to_owned());
        if head.verdict(u64::MAX) != Verdict::Redirect {
            self.document = Some(Document { loader, head });
        }
        self.fulfil(paused, known).await;
        None
    }

    async fn fulfil(&mut self, paused: &EventRequestPaused, known: &KnownDocument) {
        // A feed is shown as the XML that it is: by its own type it would be plain text.
        let feed = |(name, value): &(String, String)| {
            let typed = name.eq_ignore_ascii_case("content-type")
                && Head::read(200, [(&**name, &**value)].into_iter(), 0).is_feed();
            let parameters = value.find(';').map_or("", |at| &value[at..]);
            if typed { format!("application/xml{parameters}") } else { value.clone() }
        };
        let headers = known.headers.iter().map(|header| (header.0.clone(), feed(header)));
        let mut answer = FulfillRequestParams::new(paused.request_id.clone(), i64::from(known.status));
        answer.response_headers = Some(headers.map(|(name, value)| HeaderEntry::new(name, value)).collect());
        answer.body = Some(BASE64.encode(&known.body).into());
        self.small(answer).await;
    }

    /// Lets an answer through as it came, and keeps it for another load. Its page is parsed only when all of it is
    /// there, so a body that does not end soon is given up here, and its page loaded anew without this.
    async fn keep(
        &mut self,
        paused: &EventRequestPaused,
        status: u16,
        headers: Vec<(String, String)>,
        redirect: bool,
    ) -> Option<End> {
        if redirect {
            let known = KnownDocument::new(status, headers, Vec::new(), false);
            self.papers.put(&paused.request.url, Arc::new(known));
            self.let_through(paused).await;
            return None;
        }
        // A feed cannot be shown but as a whole.
        let feed = self.document.as_ref().is_some_and(|document| document.head.is_feed());
        let bound = if feed { self.give_up } else { (Instant::now() + KEEP_WITHIN).min(self.give_up) };
        let body = body_of(self.tab.page.clone(), paused.request_id.clone(), KEPT_MAX as u64);
        let Some(body) = tokio::time::timeout_at(bound, body).await.ok().flatten() else {
            self.papers.lose();
            self.clean = false;
            self.fail(paused, ErrorReason::Aborted).await;
            let unknown = match feed {
                true => (FailureClass::Protocol, "the feed broke off, or is too long".to_owned()),
                false => (FailureClass::Browser, "the document did not come to an end soon".to_owned()),
            };
            let (class, message) = self.cut_off().filter(|_| feed).unwrap_or(unknown);
            return Some(self.fail_with(class, &message));
        };
        let known = Arc::new(KnownDocument::new(status, headers, body, false));
        self.papers.put(&paused.request.url, Arc::clone(&known));
        self.fulfil(paused, &known).await;
        None
    }

    /// Reads the body of a download, whole and within the page's time; its request is to be ended then.
    async fn save(&mut self, paused: &EventRequestPaused) -> Result<Vec<u8>, String> {
        let most = self.req.extract.capture_max_bytes;
        let body = body_of(self.tab.page.clone(), paused.request_id.clone(), most);
        match tokio::time::timeout_at(self.give_up, body).await {
            Ok(Some(body)) => Ok(body),
            Ok(None) => Err(format!("it broke off, or is larger than {most} bytes")),
            Err(_) => {
                self.clean = false;
                Err("it was not complete in time".to_owned())
            }
        }
    }

    /// Ends a paused request in the browser.
    pub(super) async fn fail(&mut self, paused: &EventRequestPaused, reason: ErrorReason) {
        self.small(FailRequestParams::new(paused.request_id.clone(), reason)).await;
    }
}

/// The decoded body of a paused response; none when it is too large or cannot be had.
async fn body_of(page: Page, request: fetch::RequestId, most: u64) -> Option<Vec<u8>> {
    let stream = page.execute(TakeResponseBodyAsStreamParams::new(request)).await.ok()?.result.stream;
    let mut body = Vec::new();
    while body.len() as u64 <= most {
        let chunk = page.execute(io::ReadParams::new(stream.clone())).await.ok()?.result;
        match chunk.base64_encoded {
            Some(true) => body.extend(BASE64.decode(&chunk.data).ok()?),
            _ => body.extend_from_slice(chunk.data.as_bytes()),
        }
        if chunk.eof && body.len() as u64 <= most {
            let _ = page.execute(io::CloseParams::new(stream)).await;
            return Some(body);
        }
    }
    None
}

/// Methods that change nothing.
pub(super) fn is_reading(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS")
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// For `Retry-After` with a date.
fn now_seconds() -> i64 {
    Clock::system().now().millis() / 1000
}

/// Equal, or equal but for an upgrade from http to https by Chromium's own rules.
fn same_but_scheme(one: &CanonicalUrl, other: &CanonicalUrl) -> bool {
    let bare = |url: &CanonicalUrl| url.document().split_once("://").map(|(_, rest)| rest.to_owned());
    bare(one) == bare(other)
}

/// `NameNotResolved` as `NAME_NOT_RESOLVED`.
fn upper_snake(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 8);
    for (i, c) in name.chars().enumerate() {
        if i > 0 && c.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(c.to_ascii_uppercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::browser::classify::net_error;

    #[test]
    fn reasons_of_the_protocol_read_as_net_errors() {
        assert_eq!(net_error(&upper_snake("NameNotResolved")), FailureClass::Dns);
        assert_eq!(net_error(&upper_snake("ConnectionRefused")), FailureClass::Connect);
        assert_eq!(net_error(&upper_snake("TimedOut")), FailureClass::Timeout);
    }

    #[test]
    fn an_upgrade_to_https_is_the_same_request() {
        let url = |text| CanonicalUrl::parse(text).unwrap();
        assert!(same_but_scheme(&url("http://h/a?b"), &url("https://h/a?b")));
        assert!(!same_but_scheme(&url("http://h/a"), &url("http://h/b")));
    }
}
