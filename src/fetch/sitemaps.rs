//! A sitemap by plain HTTP: streamed into the parser, its links handed over batch by batch.

use std::io::{self, BufReader, Read};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::body::Body;
use super::client::Accept;
use super::fault::Fault;
use super::follow::{Journey, Landed};
use super::page::{HttpFetcher, digest_text, failed, failure_status, head};
use super::sitemap::{SitemapCaps, SitemapEnd, SitemapEntry, SitemapError, SitemapSummary, read_sitemap};
use crate::model::visit::{VisitRequest, VisitResult};

/// What a sitemap is asked for as.
const ACCEPT_SITEMAP: &str = "application/xml,text/xml,text/plain;q=0.9,*/*;q=0.8";

/// Pieces of a body between the network and the parser.
const PIECES: usize = 8;

impl HttpFetcher {
    /// Reads one sitemap; `emit` gets its links in batches of at most 1,000, and the next batch is
    /// parsed only when it is done with the last (it commits them). The answer itself holds no links.
    /// What is no sitemap, or a damaged one, is an answer that is `truncated`.
    ///
    /// Ends within the task's page deadline, the time spent in `emit` included.
    pub async fn sitemap<F, Fut>(&self, req: &VisitRequest, emit: F) -> VisitResult
    where
        F: FnMut(Vec<SitemapEntry>) -> Fut,
        Fut: Future<Output = ()>,
    {
        let by = Instant::now() + req.fetch.page_timeout.0;
        let journey = Journey {
            client: self.client(),
            gate: req.gate.as_ref(),
            max_redirects: req.fetch.max_redirects,
            accept: Accept::Types(ACCEPT_SITEMAP),
            by,
        };
        let Landed { exchange, hops } = match journey.follow(&req.url).await {
            Ok(landed) => landed,
            Err(stopped) => return stopped.into_result(),
        };
        if let Some(failure) = failure_status(&exchange, &hops, self.client()) {
            return VisitResult::Failed(failure);
        }
        let mut answer = head(&exchange, hops);
        if !exchange.response.status().is_success() {
            return VisitResult::Answer(Box::new(answer));
        }
        let ttfb = exchange.ttfb;
        let body = Body::new(exchange, self.client().deadlines(), req.fetch.max_body_bytes, by);
        match tokio::time::timeout_at(by, read(body, emit)).await {
            Ok(Ok(seen)) => {
                answer.bytes = seen.bytes;
                answer.digest = seen.digest;
                answer.truncated = seen.cut;
                answer.links_announced = seen.links;
                VisitResult::Answer(Box::new(answer))
            }
            Ok(Err(fault)) => failed(fault, &answer, ttfb),
            Err(_) => failed(Fault::timeout("the page's deadline passed while the sitemap was read"), &answer, ttfb),
        }
    }
}

/// What came of a body.
struct Seen {
    bytes: u64,
    links: u64,
    digest: Option<String>,
    cut: bool,
}

/// Three parties: the network feeds the parser (on a blocking thread), the parser feeds `emit`. Each
/// waits for the next one, through queues of fixed length; when this future is dropped, both queues
/// close and the parser ends.
async fn read<F, Fut>(mut body: Body, mut emit: F) -> Result<Seen, Fault>
where
    F: FnMut(Vec<SitemapEntry>) -> Fut,
    Fut: Future<Output = ()>,
{
    let (pieces, arriving) = mpsc::channel::<io::Result<Bytes>>(PIECES);
    let (parsed, mut batches) = mpsc::channel::<Vec<SitemapEntry>>(1);
    let parser = tokio::task::spawn_blocking(move || parse(arriving, &parsed));
    let feed = async {
        let mut digest = Sha256::new();
        loop {
            match body.next().await {
                Ok(Some(piece)) => {
                    digest.update(&piece);
                    if pieces.send(Ok(piece)).await.is_err() {
                        // The parser has seen enough: the closing tag, a cap, or damage.
                        break Ok((body.bytes(), None, false));
                    }
                }
                Ok(None) => {
                    drop(pieces);
                    let whole = (!body.is_cut()).then(|| digest_text(&digest.finalize()));
                    break Ok((body.bytes(), whole, body.is_cut()));
                }
                Err(fault) => {
                    // The parser must not take a broken transfer for the end of the file.
                    let _ = pieces.send(Err(io::ErrorKind::UnexpectedEof.into())).await;
                    break Err(fault);
                }
            }
        }
    };
    let hand_over = async {
        let mut links = 0;
        while let Some(batch) = batches.recv().await {
            links += batch.len() as u64;
            emit(batch).await;
        }
        links
    };
    let (fed, links) = tokio::join!(feed, hand_over);
    let summary = match parser.await {
        Ok(summary) => summary,
        Err(panic) if panic.is_panic() => std::panic::resume_unwind(panic.into_panic()),
        Err(_) => return Err(Fault::timeout("the daemon is shutting down")),
    };
    let (bytes, digest, body_cut) = fed?;
    Ok(Seen { bytes, links, digest, cut: body_cut || is_cut(&summary) })
}

fn parse(
    arriving: mpsc::Receiver<io::Result<Bytes>>,
    parsed: &mpsc::Sender<Vec<SitemapEntry>>,
) -> Result<SitemapSummary, SitemapError> {
    let source = BufReader::with_capacity(64 << 10, Arriving { pieces: arriving, current: Bytes::new() });
    read_sitemap(source, &SitemapCaps::default(), &mut |batch| {
        parsed.blocking_send(batch).map_err(|_| io::ErrorKind::BrokenPipe.into())
    })
}

fn is_cut(summary: &Result<SitemapSummary, SitemapError>) -> bool {
    match summary {
        Ok(summary) => {
            if let Some(detail) = &summary.detail {
                tracing::debug!(error = detail, "the sitemap is damaged");
            }
            summary.end != SitemapEnd::Complete
        }
        Err(error) => {
            tracing::debug!(%error, "the sitemap cannot be read");
            true
        }
    }
}

/// The body as a blocking reader.
struct Arriving {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl Read for Arriving {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.current = piece?,
                None => return Ok(0),
            }
        }
        let taken = self.current.split_to(buffer.len().min(self.current.len()));
        buffer[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}
