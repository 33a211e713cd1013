//! A page by plain HTTP: redirects, limits, and extraction while the body streams.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderMap, LINK, REFRESH, RETRY_AFTER};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::body::Body;
use super::client::{ACCEPT_PAGE, Accept, Exchange, HttpClient};
use super::cookies::Cookies;
use super::fault::Fault;
use super::follow::{Journey, Landed, Stopped};
use super::headers;
use crate::extract::{BodyKind, Extracted, Extractor, Signs};
use crate::model::kept::{KeptKind, LeftOut};
use crate::model::outcome::FailureClass;
use crate::model::url::CanonicalUrl;
use crate::model::visit::{KnownDocument, PageAnswer, Refusal, VisitFailure, VisitRequest, VisitResult};
use crate::policy::hints;
use crate::policy::retry::classify_status;

/// Fetches pages by plain HTTP.
pub struct HttpFetcher {
    client: Arc<HttpClient>,
}

impl HttpFetcher {
    /// The session's cookies, where they are kept.
    pub(super) fn cookies(&self) -> Option<&Arc<Cookies>> {
        self.client.cookies()
    }

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
        self.follow(req, Accept::Types(ACCEPT_PAGE), &mut None).await
    }

    /// Visits one URL with a browser's own headers, see [`super::browser_headers`], and keeps what a
    /// browser would need to show the same document.
    pub async fn visit_as(&self, req: &VisitRequest, headers: &HeaderMap) -> PlainVisit {
        let mut kept = Some(Kept::default());
        let result = self.follow(req, Accept::As(headers), &mut kept).await;
        let Kept { headers, body, whole, signs } = kept.unwrap_or_default();
        let status = match &result {
            VisitResult::Answer(answer) => answer.http_status,
            _ => 0,
        };
        // Signs are those of HTML alone: of nothing else would a browser make more.
        let document = signs.filter(|_| whole).map(|_| Arc::new(KnownDocument::new(status, headers, body, true)));
        PlainVisit { result, signs, document }
    }

    async fn follow(&self, req: &VisitRequest, accept: Accept<'_>, kept: &mut Option<Kept>) -> VisitResult {
        let by = Instant::now() + req.fetch.page_timeout.0;
        let journey = Journey {
            client: &self.client,
            gate: req.gate.as_ref(),
            max_redirects: req.fetch.max_redirects,
            accept,
            by,
        };
        match journey.follow(&req.url).await {
            Ok(landed) => self.read(req, landed, by, kept).await,
            Err(stopped) => stopped.into_result(),
        }
    }

    async fn read(&self, req: &VisitRequest, landed: Landed, by: Instant, kept: &mut Option<Kept>) -> VisitResult {
        let Landed { exchange, hops } = landed;
        if let Some(failure) = failure_status(&exchange, &hops, &self.client) {
            return VisitResult::Failed(failure);
        }
        let mut answer = head(&exchange, hops);
        let named = header_links(exchange.response.headers());
        let attachment = exchange.header(CONTENT_DISPOSITION).is_some_and(headers::is_attachment);
        let kind = match answer.content_type.as_deref() {
            _ if attachment => Some(BodyKind::Download),
            Some(media_type) => Some(BodyKind::of(media_type)),
            None => None,
        };
        if kind == Some(BodyKind::Download) {
            let good = exchange.response.status().is_success();
            if good && req.extract.takes_download(answer.content_type.as_deref()) {
                let most = req.extract.capture_max_bytes;
                let body = Body::new(exchange, self.client.deadlines(), most, by);
                match whole(body).await {
                    Ok(body) => {
                        answer.bytes = body.len() as u64;
                        answer.raw.files.push((KeptKind::Download, body));
                    }
                    Err(reason) => answer.raw.left_out.push(LeftOut::new(KeptKind::Download, reason)),
                }
            }
            // A 404 that comes with a picture is still a fetched 404.
            return if good { VisitResult::Download(Box::new(answer)) } else { VisitResult::Answer(Box::new(answer)) };
        }
        let content_type = exchange.header(CONTENT_TYPE).map(str::to_owned);
        let ttfb = exchange.ttfb;
        if let Some(kept) = kept {
            kept.headers = headers::readable(exchange.response.headers());
        }
        let body = Body::new(exchange, self.client.deadlines(), req.fetch.max_body_bytes, by);
        match self.extract(req, &mut answer, kind, content_type.as_deref(), body, by, kept).await {
            Ok(()) => {
                let at = answer.hops.last().unwrap_or(&req.url).clone();
                answer.add_references(at.as_str(), named.iter().map(String::as_str), req.extract.hash_routes);
                VisitResult::Answer(Box::new(answer))
            }
            Err(fault) => failed(fault, &answer, ttfb),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "what a body is read by, all of it from one place")]
    async fn extract(
        &self,
        req: &VisitRequest,
        answer: &mut PageAnswer,
        kind: Option<BodyKind>,
        content_type: Option<&str>,
        mut body: Body,
        by: Instant,
        kept: &mut Option<Kept>,
    ) -> Result<(), Fault> {
        let address = answer.hops.last().unwrap_or(&req.url).clone();
        let first = body.next().await?.unwrap_or_else(Bytes::new);
        let kind = kind.unwrap_or_else(|| BodyKind::sniff(&first));
        let mut extractor = Extractor::new(&req.extract, &address, kind, content_type);
        if kept.is_some() {
            extractor = extractor.with_signs();
        }
        let mut digest = Sha256::new();
        let mut piece = Some(first);
        while let Some(bytes) = piece {
            digest.update(&bytes);
            extractor.feed(&bytes);
            if let Some(kept) = kept {
                kept.take(&bytes);
            }
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
        if let Some(kept) = kept {
            kept.whole &= !answer.truncated;
            kept.signs = extracted.signs;
        }
        take(answer, extracted);
        Ok(())
    }
}

/// Larger documents are not kept for the browser; it asks for them itself.
const KEPT_BYTES: usize = 8 << 20;

/// A visit by plain HTTP with what a browser needs to show the same document.
#[derive(Debug)]
pub struct PlainVisit {
    /// How it ended.
    pub result: VisitResult,
    /// What the document shows of its scripts; `None` where there is no HTML.
    pub signs: Option<Signs>,
    /// The document, where it is HTML and not too large.
    pub document: Option<Arc<KnownDocument>>,
}

/// What is kept of an answer while it is read.
struct Kept {
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    whole: bool,
    signs: Option<Signs>,
}

impl Default for Kept {
    fn default() -> Self {
        Kept { headers: Vec::new(), body: Vec::new(), whole: true, signs: None }
    }
}

impl Kept {
    fn take(&mut self, bytes: &[u8]) {
        self.whole &= self.body.len() + bytes.len() <= KEPT_BYTES;
        if self.whole {
            self.body.extend_from_slice(bytes);
        } else {
            self.body = Vec::new();
        }
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

/// References in the headers of an answer.
fn header_links(headers: &HeaderMap) -> Vec<String> {
    let named = [(LINK, "link"), (REFRESH, "refresh")];
    let of = |(header, name): (http::HeaderName, &'static str)| {
        let values = headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| hints::header_links(name, value)).collect::<Vec<_>>()
    };
    named.into_iter().flat_map(of).collect()
}

fn take(answer: &mut PageAnswer, extracted: Extracted) {
    answer.title = extracted.title;
    answer.text = extracted.text;
    answer.links = extracted.links;
    answer.base = extracted.base;
    answer.fields = extracted.fields;
    answer.nofollow |= extracted.nofollow;
    answer.truncated |= extracted.truncated;
    answer.raw.source = extracted.source;
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
fn in_words(fault: Fault) -> String {
    match fault {
        Fault::Forbidden => "its address may not be reached".to_owned(),
        Fault::Failed(_, why) => why.escape_debug().to_string(),
    }
}

/// All of a body, or why not.
async fn whole(mut body: Body) -> Result<Vec<u8>, String> {
    let mut all = Vec::new();
    while let Some(piece) = body.next().await.map_err(in_words)? {
        all.extend_from_slice(&piece);
    }
    if body.is_cut() { Err(format!("it is larger than {} bytes", body.bytes())) } else { Ok(all) }
}
