//! What a page holds: links, text, title, fields.

mod article;
mod charset;
mod cost;
mod entities;
mod feed;
mod fields;
mod html;
mod links;
pub mod pdf;
mod signs;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;

use url::Url;

pub use article::{Made, make};
pub use fields::{FieldError, FieldSelectors};
pub use html::says_nofollow;
pub use signs::Signs;

use crate::model::kept::Source;
use crate::model::task::ExtractSpec;
use crate::model::url::CanonicalUrl;
use crate::model::visit::RawLink;

/// Characters of a title that are kept.
pub const MAX_TITLE_CHARS: usize = 1024;

/// Decoded bytes that are kept where a whole document is needed: fields and feeds.
const WHOLE_BYTES: usize = 4 << 20;

/// How a body is read, by its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    /// Parsed for links, title, text, fields.
    Html,
    /// Kept as text.
    Text,
    /// RSS, Atom, other XML: links only.
    Feed,
    /// Read and counted, nothing taken: JSON, scripts, style sheets.
    Opaque,
    /// Not read at all: images, archives, documents, everything unknown.
    Download,
}

impl BodyKind {
    /// Judges a media type (lower case, without parameters).
    pub fn of(media_type: &str) -> Self {
        match media_type {
            "text/html" | "application/xhtml+xml" | "image/svg+xml" => BodyKind::Html,
            "text/plain" | "text/markdown" => BodyKind::Text,
            "text/xml" | "application/xml" | "application/rss+xml" | "application/atom+xml" | "application/rdf+xml" => {
                BodyKind::Feed
            }
            "application/json"
            | "application/javascript"
            | "application/ecmascript"
            | "application/x-javascript"
            | "application/x-ndjson" => BodyKind::Opaque,
            "text/calendar" => BodyKind::Download,
            other if other.starts_with("text/") || other.ends_with("+json") || other.ends_with("+xml") => {
                BodyKind::Opaque
            }
            _ => BodyKind::Download,
        }
    }

    /// Judges the first bytes of a body that came without a type.
    pub fn sniff(start: &[u8]) -> Self {
        let unmarked = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
        if unmarked.starts_with(b"<?xml") {
            BodyKind::Feed
        } else if unmarked.starts_with(b"<") {
            BodyKind::Html
        } else if start.contains(&0) {
            BodyKind::Opaque
        } else {
            BodyKind::Text
        }
    }
}

/// What was taken from a body.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Extracted {
    /// At most [`MAX_TITLE_CHARS`] characters, whitespace folded; `None` when empty or absent.
    pub title: Option<String>,
    /// Visible text, when the task keeps text.
    pub text: Option<String>,
    /// Absolute http and https links in document order, each once.
    pub links: Vec<RawLink>,
    /// What the links were resolved against.
    pub base: Option<String>,
    /// A robots meta element says that links are not to be followed.
    pub nofollow: bool,
    /// Fields by the task's selectors.
    pub fields: BTreeMap<String, Vec<String>>,
    /// What the document shows of its scripts, where that was asked for.
    pub signs: Option<Signs>,
    /// A limit cut something.
    pub truncated: bool,
    /// The HTML, where the task asks for something that is made of it.
    pub source: Option<Source>,
}

/// Takes a body apart as it streams in; memory is bounded whatever the body holds.
pub struct Extractor {
    address: Url,
    decoder: charset::Utf8Stream,
    decoded: String,
    pass: Pass,
    spec: ExtractSpec,
    /// The decoded document, kept for fields and feeds.
    whole: Option<String>,
    /// The decoded HTML, kept for what is made of it later, and its limit in bytes.
    source: Option<(Source, usize)>,
    truncated: bool,
}

enum Pass {
    Html(Box<html::HtmlPass>),
    Text(String),
    Feed,
    Nothing,
}

impl Extractor {
    /// For a body of `kind` from `address` whose `Content-Type` value (with parameters) was `content_type`.
    pub fn new(spec: &ExtractSpec, address: &CanonicalUrl, kind: BodyKind, content_type: Option<&str>) -> Self {
        let text_limit = spec.text.then(|| usize::try_from(spec.text_max_bytes).unwrap_or(usize::MAX));
        let pass = match kind {
            BodyKind::Html => Pass::Html(Box::new(html::HtmlPass::new(text_limit, spec))),
            BodyKind::Text if spec.text => Pass::Text(String::new()),
            BodyKind::Feed => Pass::Feed,
            _ => Pass::Nothing,
        };
        let whole = match pass {
            Pass::Html(_) if !spec.fields.is_empty() => Some(String::new()),
            Pass::Feed => Some(String::new()),
            _ => None,
        };
        let source_max = usize::try_from(spec.source_max()).unwrap_or(usize::MAX);
        let source = (source_max > 0 && matches!(pass, Pass::Html(_))).then(|| (Source::default(), source_max));
        Extractor {
            address: Url::parse(address.as_str()).expect("a canonical URL parses"),
            decoder: charset::Utf8Stream::new(content_type),
            decoded: String::new(),
            pass,
            spec: spec.clone(),
            whole,
            source,
            truncated: false,
        }
    }

    /// Looks for [`Signs`] as well; only HTML has any.
    pub fn with_signs(mut self) -> Self {
        if let Pass::Html(pass) = &mut self.pass {
            pass.read_signs();
        }
        self
    }

    /// Finishing takes longer than a task should hold its thread: do it on a blocking one.
    pub fn finishes_slowly(&self) -> bool {
        self.whole.as_ref().is_some_and(|whole| whole.len() > 16 << 10 || !self.spec.fields.is_empty())
    }

    /// Takes the next piece of the body.
    pub fn feed(&mut self, bytes: &[u8]) {
        if matches!(self.pass, Pass::Nothing) {
            return;
        }
        // A body may come in one piece: what is decoded at once stays small.
        for piece in bytes.chunks(64 << 10) {
            self.decoder.feed(piece, &mut self.decoded);
            self.consume();
        }
    }

    fn consume(&mut self) {
        let limit = usize::try_from(self.spec.text_max_bytes).unwrap_or(usize::MAX);
        if let Some(whole) = &mut self.whole {
            self.truncated |= !append(whole, &self.decoded, WHOLE_BYTES);
        }
        if let Some((source, limit)) = &mut self.source {
            source.cut |= !append(&mut source.html, &self.decoded, *limit);
        }
        match &mut self.pass {
            Pass::Html(pass) => self.truncated |= !pass.feed(&self.decoded),
            Pass::Text(text) => self.truncated |= !append(text, &self.decoded, limit),
            Pass::Feed | Pass::Nothing => {}
        }
        self.decoded.clear();
    }

    /// The body is complete (or was cut: then what came counts).
    pub fn finish(mut self) -> Extracted {
        self.decoder.finish(&mut self.decoded);
        self.consume();
        let mut extracted = Extracted { truncated: self.truncated, ..Extracted::default() };
        extracted.source = self.source.map(|(source, _)| source);
        match self.pass {
            Pass::Nothing => {}
            Pass::Text(text) => extracted.text = Some(text),
            Pass::Feed => {
                let mut links = links::RawLinks::new(self.spec.max_links as usize).with_routes(self.spec.hash_routes);
                feed::feed_links(self.whole.as_deref().unwrap_or_default(), &mut links);
                extracted.truncated |= links.is_cut();
                extracted.links = links.resolve(&self.address);
                extracted.base = Some(self.address.into());
            }
            Pass::Html(pass) => {
                take_page(pass.finish(), &self.address, &self.spec, &mut extracted);
                if let Some(whole) = self.whole {
                    // The task's selectors were compiled when it was accepted.
                    let selected = FieldSelectors::compile(&self.spec).map(|fields| fields.select(&whole));
                    let (fields, cut) = selected.unwrap_or_default();
                    extracted.fields = fields;
                    extracted.truncated |= cut;
                }
            }
        }
        extracted
    }
}

/// The links of a document that stands in an attribute of a frame: it has the base of the page around it.
fn srcdoc_links(srcdoc: &str, outer: &Url, spec: &ExtractSpec) -> Vec<RawLink> {
    let mut pass = html::HtmlPass::new(None, spec);
    pass.feed(srcdoc);
    let page = pass.finish();
    page.links.resolve(&links::document_base(outer, page.base.as_deref()))
}

fn take_page(page: html::Page, address: &Url, spec: &ExtractSpec, extracted: &mut Extracted) {
    let title = page.title.into_string();
    let end = title.char_indices().nth(MAX_TITLE_CHARS).map_or(title.len(), |(i, _)| i);
    extracted.title = (!title.is_empty()).then(|| title[..end].to_owned());
    if let Some(text) = page.text {
        extracted.truncated |= text.is_cut();
        extracted.text = Some(text.into_string());
    }
    let base = links::document_base(address, page.base.as_deref());
    let links = page.links;
    extracted.truncated |= links.is_cut();
    let mut based = base.clone();
    based.set_fragment(None);
    let elsewhere = links.has_fragments() && based != *address;
    extracted.links = links.resolve(&base);
    if elsewhere {
        let there = vec![RawLink { href: based.into() }];
        links::add_new(&mut extracted.links, there, spec.max_links as usize);
    }
    for srcdoc in page.srcdocs {
        links::add_new(&mut extracted.links, srcdoc_links(&srcdoc, &base, spec), spec.max_links as usize);
    }
    extracted.base = Some(base.into());
    extracted.nofollow = page.nofollow;
    extracted.signs = page.signs.map(signs::SignReader::finish);
}

/// Appends as much as fits into `limit` bytes. `false`: it was cut.
fn append(to: &mut String, more: &str, limit: usize) -> bool {
    let room = limit.saturating_sub(to.len());
    let end = more.floor_char_boundary(room);
    to.push_str(&more[..end]);
    end == more.len()
}
