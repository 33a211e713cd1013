//! Sitemaps, read as they arrive: urlset, index, text list, each gzipped or not, of any size.
//!
//! What a site says about change dates and priorities is ignored; a link that a sitemap names is judged like
//! any other. Blocking: run it where blocking is allowed, with a reader that is fed from outside.

mod input;
#[cfg(test)]
mod tests;

use std::io::{self, BufRead};

use quick_xml::Reader;
use quick_xml::events::{BytesRef, Event};

use crate::model::lease::UrlKind;
use crate::model::outcome::closed_list;
use crate::model::url::CanonicalUrl;
use input::Input;

/// Bytes of one `loc` at most; far above any URL that is crawled.
const MAX_LOC: usize = 8 * 1024;

/// Elements inside each other at most; the format needs four.
const MAX_NESTING: u32 = 64;

/// Bounds on one sitemap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SitemapCaps {
    /// Bytes after decompression.
    pub max_bytes: u64,
    /// Entries, unusable ones included.
    pub max_entries: u64,
    /// Entries handed over at a time.
    pub batch: usize,
}

impl Default for SitemapCaps {
    /// The bounds of the sitemap protocol: 50 MiB and 50,000 entries a file. Batches of 1,000.
    fn default() -> Self {
        SitemapCaps { max_bytes: 50 << 20, max_entries: 50_000, batch: 1000 }
    }
}

/// One link of a sitemap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SitemapEntry {
    /// A page, or a nested sitemap where this one is an index.
    pub kind: UrlKind,
    /// Its URL.
    pub url: CanonicalUrl,
}

closed_list! {
    /// Where reading ended.
    SitemapEnd {
        /// At the end.
        Complete = "complete",
        /// At the cap on entries.
        TooManyEntries = "too_many_entries",
        /// At the cap on bytes.
        TooManyBytes = "too_many_bytes",
        /// Where the file is damaged; what came before counts.
        Broken = "broken",
    }
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SitemapSummary {
    /// Pages handed over.
    pub pages: u64,
    /// Nested sitemaps handed over.
    pub sitemaps: u64,
    /// Entries that are no http or https URL.
    pub invalid: u64,
    /// Bytes read, after decompression.
    pub bytes: u64,
    /// Where reading ended.
    pub end: SitemapEnd,
    /// What is damaged, when `end` is broken; escaped.
    pub detail: Option<String>,
}

/// Why a sitemap could not be read at all, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum SitemapError {
    /// The source failed; what came before has been handed over, so that reading again repeats it.
    #[error("the sitemap stopped arriving: {0}")]
    Read(#[source] io::Error),
    /// The receiver of the entries failed.
    #[error("cannot hand over a sitemap's links: {0}")]
    Emit(#[source] io::Error),
    /// Neither a urlset nor an index nor a list of URLs.
    #[error("not a sitemap: {0}")]
    NotASitemap(String),
}

/// Reads one sitemap and hands its links over in batches, in order; repeated links are repeated. An index is not
/// followed: its entries come as [`UrlKind::Sitemap`].
///
/// Damaged XML or gzip ends reading and keeps what came before. Document type declarations are refused, entities are
/// never expanded, and memory is bounded whatever arrives.
///
/// # Errors
/// See [`SitemapError`].
pub fn read_sitemap(
    reader: impl BufRead,
    caps: &SitemapCaps,
    emit: &mut dyn FnMut(Vec<SitemapEntry>) -> io::Result<()>,
) -> Result<SitemapSummary, SitemapError> {
    let source_error = input::SourceError::default();
    let mut sink = Sink::new(caps, emit);
    let walked =
        Input::open(reader, caps.max_bytes, &source_error).map_err(|e| stop_broken(&e)).and_then(|mut input| {
            let stop = match input.starts_markup() {
                Ok(true) => walk_xml(&mut input, &mut sink),
                Ok(false) => walk_lines(&mut input, &mut sink),
                Err(e) => Err(stop_broken(&e)),
            };
            // At the cap the parser sees an early end of the file; that is not damage.
            let stop = if input.over() { Err(Stop::End(SitemapEnd::TooManyBytes, None)) } else { stop };
            sink.summary.bytes = input.bytes();
            stop
        });
    if let Err(Stop::Error(error)) = walked {
        return Err(error);
    }
    sink.flush()?;
    if let Some(error) = source_error.take() {
        return Err(SitemapError::Read(error));
    }
    if let Err(Stop::End(end, detail)) = walked {
        (sink.summary.end, sink.summary.detail) = (end, detail);
    }
    Ok(sink.summary)
}

/// Why reading stops before the end.
enum Stop {
    End(SitemapEnd, Option<String>),
    Error(SitemapError),
}

impl From<SitemapError> for Stop {
    fn from(error: SitemapError) -> Self {
        Stop::Error(error)
    }
}

fn stop_broken(what: &dyn std::fmt::Display) -> Stop {
    let text: String = what.to_string().chars().take(200).collect();
    Stop::End(SitemapEnd::Broken, Some(text.escape_debug().to_string()))
}

fn not_a_sitemap(what: &str) -> Stop {
    let text: String = what.chars().take(80).collect();
    Stop::Error(SitemapError::NotASitemap(text.escape_debug().to_string()))
}

/// Collects entries into batches.
struct Sink<'a> {
    caps: &'a SitemapCaps,
    emit: &'a mut dyn FnMut(Vec<SitemapEntry>) -> io::Result<()>,
    batch: Vec<SitemapEntry>,
    summary: SitemapSummary,
}

impl<'a> Sink<'a> {
    fn new(caps: &'a SitemapCaps, emit: &'a mut dyn FnMut(Vec<SitemapEntry>) -> io::Result<()>) -> Self {
        let summary =
            SitemapSummary { pages: 0, sitemaps: 0, invalid: 0, bytes: 0, end: SitemapEnd::Complete, detail: None };
        Sink { caps, emit, batch: Vec::new(), summary }
    }

    fn push(&mut self, kind: UrlKind, loc: &str) -> Result<(), Stop> {
        let summary = &mut self.summary;
        if summary.pages + summary.sitemaps + summary.invalid >= self.caps.max_entries {
            return Err(Stop::End(SitemapEnd::TooManyEntries, None));
        }
        let url = if loc.len() > MAX_LOC { None } else { CanonicalUrl::parse(loc).ok() };
        match (url, kind) {
            (None, _) => summary.invalid += 1,
            (Some(url), kind) => {
                match kind {
                    UrlKind::Page => summary.pages += 1,
                    UrlKind::Sitemap => summary.sitemaps += 1,
                }
                self.batch.push(SitemapEntry { kind, url });
            }
        }
        if self.batch.len() >= self.caps.batch { Ok(self.flush()?) } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), SitemapError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        (self.emit)(std::mem::take(&mut self.batch)).map_err(SitemapError::Emit)
    }
}

/// Where in the document the walk is.
#[derive(Default)]
struct Place {
    depth: u32,
    /// What the `url` or `sitemap` element around is.
    kind: Option<UrlKind>,
    in_loc: bool,
    loc: String,
}

fn walk_xml<R: BufRead>(input: &mut Input<R>, sink: &mut Sink<'_>) -> Result<(), Stop> {
    let mut reader = Reader::from_reader(input);
    // A bare `&` in a URL is the commonest mistake in hand-made sitemaps.
    reader.config_mut().allow_dangling_amp = true;
    let mut place = Place::default();
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        reader.get_mut().start_item();
        match reader.read_event_into(&mut buffer).map_err(|e| stop_broken(&e))? {
            Event::Start(element) => place.enter(element.local_name().as_ref())?,
            Event::Empty(element) if place.depth == 0 => root_kind(element.local_name().as_ref())?,
            Event::End(_) => place.leave(sink)?,
            Event::Text(text) => place.text(&text),
            Event::CData(text) => place.text(&text),
            Event::GeneralRef(entity) => place.entity(&entity),
            Event::DocType(_) => return Err(not_a_sitemap("it has a document type declaration")),
            Event::Eof if place.depth > 0 => return Err(stop_broken(&"it ends inside an element")),
            Event::Eof => return Ok(()),
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
        }
    }
}

fn root_kind(name: &str) -> Result<(), Stop> {
    match name {
        "urlset" | "sitemapindex" => Ok(()),
        other => Err(not_a_sitemap(&format!("its root element is <{other}>"))),
    }
}

impl Place {
    fn enter(&mut self, name: &str) -> Result<(), Stop> {
        self.depth += 1;
        match (self.depth, name) {
            (1, name) => root_kind(name)?,
            (2, "url") => self.kind = Some(UrlKind::Page),
            (2, "sitemap") => self.kind = Some(UrlKind::Sitemap),
            (2, _) => self.kind = None,
            // Deeper ones (`image:loc`) name other things than pages.
            (3, "loc") => {
                self.in_loc = self.kind.is_some();
                self.loc.clear();
            }
            (depth, _) if depth > MAX_NESTING => return Err(stop_broken(&"its elements are nested too deep")),
            _ => {}
        }
        Ok(())
    }

    fn leave(&mut self, sink: &mut Sink<'_>) -> Result<(), Stop> {
        if self.in_loc && self.depth == 3 {
            self.in_loc = false;
            if let Some(kind) = self.kind {
                sink.push(kind, self.loc.trim())?;
            }
        }
        self.depth = self.depth.saturating_sub(1);
        Ok(())
    }

    /// Text beyond the limit only has to be enough to be refused.
    fn text(&mut self, text: &str) {
        if self.in_loc && self.loc.len() <= MAX_LOC {
            self.loc.push_str(text);
        }
    }

    /// The five predefined entities and characters by number; any other stays as it is written.
    fn entity(&mut self, entity: &BytesRef<'_>) {
        if let Ok(Some(character)) = entity.resolve_char_ref() {
            return self.text(character.encode_utf8(&mut [0; 4]));
        }
        match &**entity {
            "amp" => self.text("&"),
            "lt" => self.text("<"),
            "gt" => self.text(">"),
            "quot" => self.text("\""),
            "apos" => self.text("'"),
            other => {
                for part in ["&", other, ";"] {
                    self.text(part);
                }
            }
        }
    }
}

/// A text list: one URL a line.
fn walk_lines<R: BufRead>(input: &mut Input<R>, sink: &mut Sink<'_>) -> Result<(), Stop> {
    let mut line = Vec::new();
    loop {
        line.clear();
        input.start_item();
        let read = input.read_until(b'\n', &mut line).map_err(|e| stop_broken(&e))?;
        // Cut at the cap, the last line may be half a URL.
        if read == 0 || input.over() {
            break;
        }
        for url in String::from_utf8_lossy(&line).split('\r').map(str::trim).filter(|url| !url.is_empty()) {
            sink.push(UrlKind::Page, url)?;
        }
    }
    if sink.summary.pages == 0 && sink.summary.invalid > 0 {
        return Err(not_a_sitemap("no line of it is a URL"));
    }
    Ok(())
}
