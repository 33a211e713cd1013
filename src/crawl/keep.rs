//! What a page leaves behind by option is made after its visit: off the visits' threads, a few at once.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tracing::warn;

use crate::extract::{self, pdf::is_pdf};
use crate::model::ids::Epoch;
use crate::model::kept::{Kept, KeptFile, KeptKind, LeftOut, Raw, Source};
use crate::model::lease::VisitEnd;
use crate::model::outcome::{OutcomeKind, SkipReason};
use crate::model::record::PageRecord;
use crate::model::task::ExtractSpec;
use crate::model::time::Timestamp;
use crate::model::visit::VisitResult;
use crate::output::{OutputError, files};

/// The visit goes on without what is not made by then.
const WITHIN: Duration = Duration::from_secs(60);
/// A page whose files found no space is visited again after this time, at no cost to its attempts.
const NO_SPACE_WAIT: Duration = Duration::from_secs(2);

/// Makes what the task asks for of pages that have ended.
pub struct Keeper {
    bench: Arc<Workbench>,
    /// One place for each core: a page that takes long holds up no more than itself and its place.
    turns: Arc<Semaphore>,
}

impl Keeper {
    /// For the pages of a session in one lifetime; `out` is the folder of its outputs.
    pub fn new(extract: Arc<ExtractSpec>, out: PathBuf, epoch: Epoch) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let bench = Workbench { extract, out, epoch, next: AtomicU64::default() };
        Keeper { bench: Arc::new(bench), turns: Arc::new(Semaphore::new(cores)) }
    }

    /// Completes the record that keeps the page, if there is one, with what is made of `raw`. Where the
    /// disk is full, the page is to be visited again.
    pub async fn keep(&self, raw: Raw, end: &mut VisitEnd, now: Timestamp) {
        let Some(record) = keeping(end) else { return };
        let raw = self.read_pdf(raw, record).await;
        let address = record.final_url.clone().unwrap_or_else(|| record.url.clone());
        let bench = Arc::clone(&self.bench);
        let turns = Arc::clone(&self.turns);
        let making = async move {
            let place = turns.acquire_owned().await;
            let make = move || {
                let made = bench.make(raw, &address);
                drop(place);
                made
            };
            tokio::task::spawn_blocking(make).await
        };
        let made = match tokio::time::timeout(WITHIN, making).await {
            Ok(Ok(made)) => made,
            Ok(Err(panic)) if panic.is_panic() => std::panic::resume_unwind(panic.into_panic()),
            Ok(Err(_)) => Ok(self.nothing("the daemon was shutting down")),
            Err(_) => Ok(self.nothing("it took too long")),
        };
        match made {
            Ok(kept) => record.kept = kept,
            Err(error) => {
                warn!(url = %record.url, %error, "no space for a page's files; it is visited again");
                let (lease, not_before) = (end.lease().clone(), now + NO_SPACE_WAIT);
                *end = VisitEnd::Retry { lease, not_before, charged: false, suspect: false, crash_alone: None };
            }
        }
    }

    /// The text of a PDF document goes into its record; the document itself stays where it is wanted.
    async fn read_pdf(&self, mut raw: Raw, record: &mut PageRecord) -> Raw {
        let spec = &self.bench.extract;
        let pdf = raw.files.iter().find(|(kind, body)| *kind == KeptKind::Download && is_pdf(body));
        if let Some((_, body)) = pdf.filter(|_| spec.pdf_text) {
            let _turn = self.turns.acquire().await;
            let most = usize::try_from(spec.text_max_bytes).unwrap_or(usize::MAX);
            match extract::pdf::text(body, most).await {
                Ok((text, cut)) => {
                    record.text = Some(text);
                    record.truncated |= cut;
                }
                Err(reason) => raw.left_out.push(LeftOut::new(KeptKind::PdfText, reason.escape_debug().to_string())),
            }
        }
        if !spec.downloads {
            raw.files.retain(|(kind, _)| *kind != KeptKind::Download);
        }
        raw
    }

    fn nothing(&self, reason: &str) -> Kept {
        let asked = self.bench.extract.kept_kinds();
        Kept { left_out: asked.map(|kind| LeftOut::new(kind, reason)).collect(), ..Kept::default() }
    }
}

/// What the pages' things are made with.
struct Workbench {
    extract: Arc<ExtractSpec>,
    out: PathBuf,
    epoch: Epoch,
    /// Of the passing names of files.
    next: AtomicU64,
}

impl Workbench {
    /// Makes everything; an error means that the disk is full, and then nothing is left on it.
    fn make(&self, raw: Raw, address: &str) -> Result<Kept, OutputError> {
        let Raw { console, requests, left_out, .. } = raw;
        let mut kept = Kept { console, requests, left_out, ..Kept::default() };
        let mut bodies = Vec::new();
        if let Some(source) = &raw.source {
            let made = extract::make(source, address, &self.extract);
            (kept.markdown, kept.metadata) = (made.markdown, made.metadata);
            kept.left_out.extend(made.left_out);
            if self.extract.html {
                match packed(source, self.extract.capture_max_bytes) {
                    Some(body) => bodies.push((KeptKind::Html, body)),
                    None => kept.left_out.push(self.too_large(KeptKind::Html)),
                }
            }
        }
        bodies.extend(raw.files);
        let mut room = self.extract.capture_max_bytes;
        for (kind, body) in bodies {
            let Some(left) = room.checked_sub(body.len() as u64) else {
                kept.left_out.push(self.too_large(kind));
                continue;
            };
            match self.write(kind, &body) {
                Ok(file) => {
                    room = left;
                    kept.files.push(file);
                }
                Err(error) if error.is_no_space() => {
                    kept.files.iter().for_each(|file| files::discard(&self.out, &file.passing));
                    return Err(error);
                }
                Err(error) => {
                    warn!(%error, "a page's file is not kept");
                    kept.left_out.push(LeftOut::new(kind, "it could not be written"));
                }
            }
        }
        Ok(kept)
    }

    fn too_large(&self, kind: KeptKind) -> LeftOut {
        let most = self.extract.capture_max_bytes;
        LeftOut::new(kind, format!("the page's files would be larger than {most} bytes"))
    }

    fn write(&self, kind: KeptKind, body: &[u8]) -> Result<KeptFile, OutputError> {
        let passing = format!("{}-{}", self.epoch, self.next.fetch_add(1, Ordering::Relaxed));
        files::write_new(&self.out, &passing, body)?;
        let sha256 = Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(KeptFile { kind, name: String::new(), bytes: body.len() as u64, sha256, passing })
    }
}

/// The HTML as a gzipped file; `None` when it is not whole or larger than `most` bytes before packing.
fn packed(source: &Source, most: u64) -> Option<Vec<u8>> {
    if source.cut || source.html.len() as u64 > most {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let doctype: &[u8] = if source.standards { b"<!DOCTYPE html>\n" } else { b"" };
    // Writing to memory does not fail.
    encoder.write_all(doctype).and_then(|()| encoder.write_all(source.html.as_bytes())).ok()?;
    encoder.finish().ok()
}

/// The record that says what the page holds: that of the URL, or that of where it redirects to.
fn keeping(end: &mut VisitEnd) -> Option<&mut PageRecord> {
    match end {
        VisitEnd::Ended { target: Some(target), .. } => Some(&mut target.record),
        VisitEnd::Ended { record, .. } => {
            let kept = record.outcome == OutcomeKind::Fetched || record.skip_reason == Some(SkipReason::Download);
            kept.then_some(record)
        }
        _ => None,
    }
}

/// Takes what a visit brought for later out of its result.
pub fn take_raw(result: &mut VisitResult) -> Raw {
    match result {
        VisitResult::Answer(answer) | VisitResult::Download(answer) => std::mem::take(&mut answer.raw),
        _ => Raw::default(),
    }
}
