//! Sitemaps against a scripted server.

use std::io::Write as _;
use std::sync::Arc;

use super::client::Deadlines;
use super::follow::OpenGate;
use super::page::HttpFetcher;
use super::testing::*;
use crate::model::duration::Span;
use crate::model::outcome::{FailureClass, SkipReason};
use crate::model::task::FetchSpec;
use crate::model::visit::{Refusal, VisitResult};

fn urlset(entries: usize) -> Vec<u8> {
    let mut xml = b"<?xml version='1.0'?><urlset xmlns='http://www.sitemaps.org/schemas/sitemap/0.9'>".to_vec();
    for i in 0..entries {
        write!(xml, "<url><loc>http://h/page/{i}</loc></url>").unwrap();
    }
    xml.extend_from_slice(b"</urlset>");
    xml
}

async fn read(site: &Site, path: &str, fetch: FetchSpec, deadlines: Deadlines) -> (VisitResult, Vec<usize>) {
    let fetcher = HttpFetcher::new(client(&fetch, deadlines));
    let mut batches = Vec::new();
    let request = request(site.url(path), fetch, Arc::new(OpenGate));
    let result = fetcher
        .sitemap(&request, |batch| {
            batches.push(batch.len());
            // As a commit would: other tasks run before it is done.
            tokio::task::yield_now()
        })
        .await;
    (result, batches)
}

#[tokio::test]
async fn links_come_in_batches_and_the_answer_is_described() {
    let body = urlset(2500);
    let (length, site) = (
        body.len() as u64,
        Site::start(move |path| match path {
            "/old.xml" => Reply::redirect("/s.xml"),
            _ => Reply::ok("application/xml", &body),
        })
        .await,
    );
    let (result, batches) = read(&site, "/old.xml", quick(), Deadlines::default()).await;
    assert_eq!(batches, [1000, 1000, 500]);
    let VisitResult::Answer(answer) = result else { panic!("{result:?}") };
    assert_eq!((answer.http_status, answer.bytes, answer.truncated), (200, length, false));
    assert_eq!(answer.hops, [site.url("/s.xml")]);
    assert_eq!(answer.links_announced, 2500);
    assert!(answer.digest.is_some() && answer.links.is_empty() && answer.ttfb.is_some());
}

#[tokio::test]
async fn packed_files_are_unpacked() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&urlset(3)).unwrap();
    let packed = encoder.finish().unwrap();
    let site = Site::start(move |_| Reply::ok("application/gzip", &packed)).await;
    let (result, batches) = read(&site, "/s.xml.gz", quick(), Deadlines::default()).await;
    assert_eq!(batches, [3]);
    assert!(matches!(result, VisitResult::Answer(answer) if !answer.truncated));
}

#[tokio::test]
async fn what_is_no_sitemap_is_an_answer_without_links() {
    let site = Site::start(|path| match path {
        "/404" => Reply::status("404 Not Found"),
        "/503" => Reply::status("503 Later"),
        _ => Reply::ok("text/html", b"<html><body>hello</body></html>"),
    })
    .await;
    let (result, batches) = read(&site, "/404", quick(), Deadlines::default()).await;
    assert!(matches!(result, VisitResult::Answer(answer) if answer.http_status == 404) && batches.is_empty());
    let (result, batches) = read(&site, "/html", quick(), Deadlines::default()).await;
    assert!(matches!(result, VisitResult::Answer(answer) if answer.truncated) && batches.is_empty());
    let (result, _) = read(&site, "/503", quick(), Deadlines::default()).await;
    assert!(matches!(result, VisitResult::Failed(failure) if failure.class == FailureClass::ServerError));
}

#[tokio::test]
async fn endless_and_stalling_sitemaps_end() {
    let head = b"HTTP/1.1 200 OK\r\n\r\n<urlset>".to_vec();
    let endless = head.clone();
    let entry = b"<url><loc>http://h/x</loc></url>".repeat(100);
    let site = Site::start(move |path| match path {
        "/endless" => Reply::Forever(endless.clone(), entry.clone()),
        _ => Reply::Stall(head.clone()),
    })
    .await;
    let (result, batches) = read(&site, "/endless", quick(), Deadlines::default()).await;
    assert!(matches!(result, VisitResult::Answer(ref answer) if answer.truncated), "{result:?}");
    assert_eq!(batches.iter().sum::<usize>(), 50_000);
    let (result, _) = read(&site, "/stall", quick(), short_body()).await;
    assert!(matches!(result, VisitResult::Failed(failure) if failure.class == FailureClass::Timeout));
}

#[tokio::test]
async fn a_transfer_that_breaks_is_a_failure() {
    let site = Site::start(|_| {
        let xml = urlset(5);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", xml.len());
        Reply::Bytes([head.as_bytes(), &xml[..xml.len() / 2]].concat())
    })
    .await;
    let (result, _) = read(&site, "/", quick(), Deadlines::default()).await;
    assert!(matches!(result, VisitResult::Failed(_)), "{result:?}");
}

#[tokio::test]
async fn a_receiver_that_hangs_meets_the_page_deadline() {
    let site = Site::start(|_| Reply::ok("application/xml", &urlset(5000))).await;
    let fetch = FetchSpec { page_timeout: Span::millis(300), ..quick() };
    let fetcher = HttpFetcher::new(client(&fetch, Deadlines::default()));
    let request = request(site.url("/"), fetch, Arc::new(OpenGate));
    let result = fetcher.sitemap(&request, |_| std::future::pending::<()>()).await;
    assert!(matches!(result, VisitResult::Failed(failure) if failure.class == FailureClass::Timeout));
}

#[tokio::test]
async fn redirects_of_sitemaps_pass_the_gate() {
    let site = Site::start(|_| Reply::redirect("/other")).await;
    let fetcher = HttpFetcher::new(client(&quick(), Deadlines::default()));
    let gate = Arc::new(Except("other", Refusal::Skip(SkipReason::Robots)));
    let result = fetcher.sitemap(&request(site.url("/"), quick(), gate), |_| async {}).await;
    assert!(matches!(result, VisitResult::Refused { reason: SkipReason::Robots, .. }), "{result:?}");
}
