//! A page by plain HTTP: redirects, limits, and extraction while the body streams.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, RETRY_AFTER};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::body::Body;
use super::client::{ACCEPT_PAGE, Exchange, HttpClient};
use super::fault::Fault;
use super::follow::{Journey, Landed, Stopped};
use super::headers;
use crate::extract::{BodyKind, Extracted, Extractor};
use crate::model::outcome::FailureClass;
use crate::model::url::CanonicalUrl;
use crate::model::visit::{PageAnswer, Refusal, VisitFailure, VisitRequest, VisitResult};
use crate::policy::retry::classify_status;

/// Fetches pages by plain HTTP.
pub struct HttpFetcher {
    client: Arc<HttpClient>,
}

impl HttpFetcher {
    /// With the session's client.
    pub fn new(client: Arc<HttpClient>) -> Self {
        HttpFetcher { client }
    }

    /// The session's client, for robots.txt and sitemaps.
    pub fn client(&self) -> &Arc<HttpClient> {
        &self.client
    }

    /// Visits one URL. Always answers within the task's page deadline.
    pub async fn visit(&self, req: &VisitRequest) -> VisitResult {
        let by = Instant::now() + req.fetch.page_timeout.0;
        let journey = Journey {
            client: &self.client,
            gate: req.gate.as_ref(),
            max_redirects: req.fetch.max_redirects,
            accept: ACCEPT_PAGE,
            by,
        };
        match journey.follow(&req.url).await {
            Ok(landed) => self.read(req, landed, by).await,
            Err(stopped) => stopped.into_result(),
        }
    }

    async fn read(&self, req: &VisitRequest, landed: Landed, by: Instant) -> VisitResult {
        let Landed { exchange, hops } = landed;
        if let Some(failure) = failure_status(&exchange, &hops, &self.client) {
            return VisitResult::Failed(failure);
        }
        let mut answer = head(&exchange, hops);
        let attachment = exchange.header(CONTENT_DISPOSITION).is_some_and(headers::is_attachment);
        let kind = match answer.content_type.as_deref() {
            _ if attachment => Some(BodyKind::Download),
            Some(media_type) => Some(BodyKind::of(media_type)),
            None => None,
        };
        if kind == Some(BodyKind::Download) {
            let good = exchange.response.status().is_success();
            // A 404 that comes with a picture is still a fetched 404.
            return if good { VisitResult::Download(Box::new(answer)) } else { VisitResult::Answer(Box::new(answer)) };
        }
        let content_type = exchange.header(CONTENT_TYPE).map(str::to_owned);
        let ttfb = exchange.ttfb;
        let body = Body::new(exchange, self.client.deadlines(), req.fetch.max_body_bytes, by);
        match self.extract(req, &mut answer, kind, content_type.as_deref(), body, by).await {
            Ok(()) => VisitResult::Answer(Box::new(answer)),
            Err(fault) => failed(fault, &answer, ttfb),
        }
    }

    async fn extract(
        &self,
        req: &VisitRequest,
        answer: &mut PageAnswer,
        kind: Option<BodyKind>,
        content_type: Option<&str>,
        mut body: Body,
        by: Instant,
    ) -> Result<(), Fault> {
        let address = answer.hops.last().unwrap_or(&req.url).clone();
        let first = body.next().await?.unwrap_or_else(Bytes::new);
        let kind = kind.unwrap_or_else(|| BodyKind::sniff(&first));
        let mut extractor = Extractor::new(&req.extract, &address, kind, content_type);
        let mut digest = Sha256::new();
        let mut piece = Some(first);
        while let Some(bytes) = piece {
            digest.update(&bytes);
            extractor.feed(&bytes);
            piece = body.next().await?;
        }
        answer.bytes = body.bytes();
        if body.is_cut() {
            if kind == BodyKind::Opaque {
                let message = format!("the body is larger than {} bytes", req.fetch.max_body_bytes);
                return Err(Fault::Failed(FailureClass::TooLarge, message));
            }
            answer.truncated = true;
        } else {
            answer.digest = Some(digest_text(&digest.finalize()));
        }
        // Closing the connection of a cut body, or giving back that of a complete one, need not wait.
        drop(body);
        let extracted = finish(extractor, by).await?;
        take(answer, extracted);
        Ok(())
    }
}

async fn finish(extractor: Extractor, by: Instant) -> Result<Extracted, Fault> {
    if !extractor.finishes_slowly() {
        return Ok(extractor.finish());
    }
    let finishing = tokio::task::spawn_blocking(move || extractor.finish());
    match tokio::time::timeout_at(by, finishing).await {
        Ok(Ok(extracted)) => Ok(extracted),
        Ok(Err(panic)) if panic.is_panic() => std::panic::resume_unwind(panic.into_panic()),
        Ok(Err(_)) => Err(Fault::timeout("the daemon is shutting down")),
        Err(_) => Err(Fault::timeout("the page's deadline passed while its fields were extracted")),
    }
}

fn take(answer: &mut PageAnswer, extracted: Extracted) {
    answer.title = extracted.title;
    answer.text = extracted.text;
    answer.links = extracted.links;
    answer.base = extracted.base;
    answer.fields = extracted.fields;
    answer.nofollow |= extracted.nofollow;
    answer.truncated |= extracted.truncated;
}

/// What the headers alone say.
pub(super) fn head(exchange: &Exchange, hops: Vec<CanonicalUrl>) -> PageAnswer {
    let tags = exchange.response.headers().get_all("x-robots-tag");
    PageAnswer {
        hops,
        http_status: exchange.response.status().as_u16(),
        content_type: exchange.header(CONTENT_TYPE).and_then(headers::media_type),
        nofollow: tags.iter().filter_map(|tag| tag.to_str().ok()).any(headers::tag_says_nofollow),
        ttfb: Some(exchange.ttfb),
        ..PageAnswer::default()
    }
}

pub(super) fn failure_status(exchange: &Exchange, hops: &[CanonicalUrl], client: &HttpClient) -> Option<VisitFailure> {
    let status = exchange.response.status().as_u16();
    let retry_after = exchange.header(RETRY_AFTER).and_then(|value| headers::retry_after(value, client.now()));
    let class = classify_status(status, retry_after.is_some())?;
    Some(VisitFailure {
        class,
        message: format!("the server answered {status}"),
        http_status: Some(status),
        retry_after,
        ttfb: Some(exchange.ttfb),
        hops: hops.to_vec(),
    })
}

pub(super) fn failed(fault: Fault, answer: &PageAnswer, ttfb: Duration) -> VisitResult {
    match Refusal::from(fault) {
        Refusal::Fail(class, message) => VisitResult::Failed(VisitFailure {
            class,
            message,
            http_status: Some(answer.http_status),
            retry_after: None,
            ttfb: Some(ttfb),
            hops: answer.hops.clone(),
        }),
        why @ Refusal::Skip(_) => Stopped { hops: answer.hops.clone(), why }.into_result(),
    }
}

pub(super) fn digest_text(digest: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("sha256:");
    for byte in digest {
        write!(text, "{byte:02x}").expect("writing to a string");
    }
    text
}
