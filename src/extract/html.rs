//! One streaming pass over HTML: links, title, visible text, robots directives.

mod refs;

use std::borrow::Cow;
use std::sync::{Arc, LazyLock, Mutex};

use lol_html::html_content::TextType;
use lol_html::send::{DocumentContentHandlers, ElementContentHandlers, HtmlRewriter, Settings};
use lol_html::{MemorySettings, Selector};

use crate::lock::lock;

use super::entities::{Entities, MAX_REFERENCE_BYTES, Place};
use super::links::RawLinks;
use super::signs::{SignReader, Tag, runs_unasked};
use super::text::Folded;
use crate::model::task::ExtractSpec;

/// What the parser may hold of one document: open elements and one unfinished token.
const PARSER_MEMORY: usize = 4 << 20;

/// Bytes of a title looked at; the record keeps 1,024 characters.
const TITLE_BYTES: usize = 4096;

static EVERYTHING: LazyLock<Selector> = LazyLock::new(|| "*".parse().expect("`*` is a selector"));

type Element<'a, 'b> = lol_html::html_content::Element<'a, 'b, lol_html::send::SendHandlerTypes>;

/// Where the rewritten document would go: nobody reads it.
type Ignore = fn(&[u8]);

/// What the pass has found so far.
pub(super) struct Page {
    pub(super) title: Folded,
    pub(super) text: Option<Folded>,
    pub(super) links: RawLinks,
    pub(super) base: Option<String>,
    pub(super) nofollow: bool,
    /// Documents that stand in attributes of frames.
    pub(super) srcdocs: Vec<String>,
    /// References to resources are wanted as well.
    resources: bool,
    /// The form that was opened last does not ask by GET.
    posts: bool,
    /// A handler of clicks may stand in the document so far; nearly none has one.
    clicks: bool,
    /// Read only where the choice of a fetch mode asks for them.
    pub(super) signs: Option<SignReader>,
    titled: Titled,
    hidden: u32,
    drawings: u32,
    /// A reference that the end of a chunk may have cut.
    carry: String,
    entities: Entities,
}

/// Where the first `<title>` is.
#[derive(PartialEq)]
enum Titled {
    NotYet,
    Inside,
    Done,
}

/// Elements whose end matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Region {
    /// What is inside is not shown.
    Hidden,
    /// A drawing: its titles are not the document's.
    Drawing,
    /// Words on both sides of it are apart.
    Block,
}

/// The streaming parser; fed UTF-8.
pub(super) struct HtmlPass {
    page: Arc<Mutex<Page>>,
    rewriter: Option<HtmlRewriter<'static, Ignore>>,
    /// The end of the piece before: a word may lie across.
    tail: Vec<u8>,
}

impl HtmlPass {
    /// For what the task takes. `text_limit`: `None` when it keeps no text.
    pub(super) fn new(text_limit: Option<usize>, spec: &ExtractSpec) -> Self {
        let page = Arc::new(Mutex::new(Page {
            title: Folded::new(TITLE_BYTES),
            text: text_limit.map(Folded::new),
            links: RawLinks::new(spec.max_links as usize).with_routes(spec.hash_routes),
            base: None,
            nofollow: false,
            srcdocs: Vec::new(),
            resources: spec.resource_links,
            posts: false,
            clicks: false,
            signs: None,
            titled: Titled::NotYet,
            hidden: 0,
            drawings: 0,
            carry: String::new(),
            entities: Entities::default(),
        }));
        let (on_element, on_text) = (Arc::clone(&page), Arc::clone(&page));
        let elements = ElementContentHandlers::default().element(move |element: &mut Element<'_, '_>| {
            let region = lock(&on_element).element(element);
            if let Some(region) = region.filter(|_| element.can_have_content()) {
                lock(&on_element).begins(region);
                let on_end = Arc::clone(&on_element);
                element.on_end_tag(Box::new(move |_| {
                    lock(&on_end).ends(region);
                    Ok(())
                }))?;
            }
            Ok(())
        });
        let document =
            DocumentContentHandlers::default().text(move |chunk: &mut lol_html::html_content::TextChunk<'_>| {
                lock(&on_text).text(chunk.text_type(), chunk.as_str(), chunk.last_in_text_node());
                Ok(())
            });
        let memory =
            MemorySettings::new().with_preallocated_parsing_buffer_size(0).with_max_allowed_memory_usage(PARSER_MEMORY);
        let settings = Settings::new_send()
            .append_element_content_handler((Cow::Borrowed(&*EVERYTHING), elements))
            .append_document_content_handler(document)
            .with_memory_settings(memory)
            .with_strict(false);
        HtmlPass { page, rewriter: Some(HtmlRewriter::new(settings, (|_| ()) as Ignore)), tail: Vec::new() }
    }

    /// Reads [`super::Signs`] as well.
    pub(super) fn read_signs(&mut self) {
        lock(&self.page).signs = Some(SignReader::default());
    }

    /// Parses one more piece. `false`: the document needs more memory than it gets, the rest is ignored.
    pub(super) fn feed(&mut self, utf8: &str) -> bool {
        let Some(rewriter) = &mut self.rewriter else { return false };
        if click_ends_in(&mut self.tail, utf8.as_bytes()) {
            lock(&self.page).clicks = true;
        }
        if rewriter.write(utf8.as_bytes()).is_err() {
            // A rewriter that failed must not be used again.
            self.rewriter = None;
        }
        self.rewriter.is_some()
    }

    /// The end of the document; hands `take` what was found.
    pub(super) fn finish<T>(mut self, take: impl FnOnce(&mut Page) -> T) -> T {
        if let Some(rewriter) = self.rewriter.take() {
            // Only the memory limit can fail here, and then what was found still counts.
            let _ = rewriter.end();
        }
        take(&mut lock(&self.page))
    }
}

impl Page {
    fn begins(&mut self, region: Region) {
        match region {
            Region::Hidden => self.hidden += 1,
            Region::Drawing => self.drawings += 1,
            Region::Block => {}
        }
    }

    fn ends(&mut self, region: Region) {
        match region {
            Region::Hidden => self.hidden = self.hidden.saturating_sub(1),
            Region::Drawing => self.drawings = self.drawings.saturating_sub(1),
            Region::Block => {}
        }
        if region != Region::Hidden {
            self.boundary();
        }
        if let Some(signs) = &mut self.signs {
            signs.block_ends();
        }
    }

    /// Takes what a start tag says; tells what its end will end.
    fn element(&mut self, element: &Element<'_, '_>) -> Option<Region> {
        let name = element.tag_name();
        if self.hidden > 0 {
            return (name == "template").then_some(Region::Hidden);
        }
        let drawn = self.drawings > 0;
        let block = !is_inline(&name);
        if block {
            self.boundary();
        }
        if let Some(signs) = &mut self.signs {
            signs.element(&tag(&name, block, element));
        }
        self.references(&name, element);
        match name.as_str() {
            "base" if self.base.is_none() => {
                self.base = element.get_attribute("href").map(|href| self.attribute(&href));
            }
            "meta" => self.meta(element),
            "title" if !drawn => {
                self.titled = if self.titled == Titled::NotYet { Titled::Inside } else { Titled::Done };
            }
            "textarea" if self.titled == Titled::Inside => self.titled = Titled::Done,
            // What such a template holds becomes its parent's shadow, which is shown.
            "template" if element.has_attribute("shadowrootmode") => {}
            "template" => return Some(Region::Hidden),
            "style" | "script" | "title" | "desc" | "metadata" if drawn => return Some(Region::Hidden),
            "svg" | "math" => return Some(Region::Drawing),
            _ => {}
        }
        (block && (self.text.is_some() || self.signs.is_some())).then_some(Region::Block)
    }

    fn meta(&mut self, element: &Element<'_, '_>) {
        let Some(content) = element.get_attribute("content") else { return };
        let is = |attribute: &str, value: &str| {
            element.get_attribute(attribute).is_some_and(|a| a.trim().eq_ignore_ascii_case(value))
        };
        if is("name", "robots") || is("name", "crawld") {
            self.nofollow |= says_nofollow(&content);
        } else if is("http-equiv", "refresh")
            && self.refresh(&content)
            && let Some(signs) = &mut self.signs
        {
            signs.refresh();
        }
    }

    fn attribute(&mut self, value: &str) -> String {
        self.entities.decode(value, Place::Attribute).into_owned()
    }

    fn boundary(&mut self) {
        if let Some(text) = &mut self.text {
            text.boundary();
        }
    }

    fn text(&mut self, kind: TextType, chunk: &str, last: bool) {
        if let Some(signs) = &mut self.signs {
            match kind {
                TextType::Data | TextType::PlainText if self.hidden == 0 => signs.shown(chunk),
                TextType::ScriptData | TextType::RawText => signs.raw(chunk),
                _ => {}
            }
        }
        let wanted = match kind {
            TextType::RCData => self.titled == Titled::Inside,
            TextType::Data | TextType::PlainText => {
                self.hidden == 0 && self.text.as_ref().is_some_and(|text| !text.is_cut())
            }
            _ => false,
        };
        if wanted {
            self.take_text(kind, chunk, last);
        }
        if last {
            self.carry.clear();
            if kind == TextType::RCData && self.titled == Titled::Inside {
                self.titled = Titled::Done;
            }
        }
    }

    fn take_text(&mut self, kind: TextType, chunk: &str, last: bool) {
        let joined;
        let mut whole = chunk;
        if !self.carry.is_empty() {
            joined = std::mem::take(&mut self.carry) + chunk;
            whole = &joined;
        }
        if !last && kind != TextType::PlainText {
            let (now, later) = whole.split_at(cut_reference(whole));
            self.carry.push_str(later);
            whole = now;
        }
        let decoded = if kind == TextType::PlainText { whole.into() } else { self.entities.decode(whole, Place::Text) };
        match (kind, &mut self.text) {
            (TextType::RCData, _) => self.title.push(&decoded),
            (_, Some(text)) => text.push(&decoded),
            (_, None) => {}
        }
    }
}

/// What the signs need to know of a start tag.
fn tag<'n>(name: &'n str, block: bool, element: &Element<'_, '_>) -> Tag<'n> {
    let script = name == "script";
    Tag {
        name,
        holds: block && element.can_have_content(),
        id: if block { element.get_attribute("id") } else { None },
        kind: if script { element.get_attribute("type") } else { None },
        src: if script { element.get_attribute("src") } else { None },
        handler: element
            .attributes()
            .iter()
            .map(lol_html::html_content::Attribute::name)
            .find(|name| runs_unasked(name)),
    }
}

/// Whether the name of a click handler may end in this piece; `tail` is the end of the one before.
fn click_ends_in(tail: &mut Vec<u8>, piece: &[u8]) -> bool {
    // In every usual spelling of `onclick`.
    const CLICK: [&[u8]; 2] = [b"lick", b"LICK"];
    let has = |bytes: &[u8]| CLICK.iter().any(|word| memchr::memmem::find(bytes, word).is_some());
    let across = CLICK[0].len() - 1;
    tail.extend_from_slice(&piece[..piece.len().min(across)]);
    let found = has(tail) || has(piece);
    if piece.len() >= across {
        tail.clear();
        tail.extend_from_slice(&piece[piece.len() - across..]);
    } else {
        tail.drain(..tail.len().saturating_sub(across));
    }
    found
}

/// Where a reference begins that the next chunk may complete; the length without one.
fn cut_reference(text: &str) -> usize {
    let tail = text.len().saturating_sub(MAX_REFERENCE_BYTES);
    match memchr::memrchr(b'&', &text.as_bytes()[tail..]) {
        Some(at) if !text.as_bytes()[tail + at..].contains(&b';') => tail + at,
        _ => text.len(),
    }
}

/// Whether a robots directive list forbids following links.
pub fn says_nofollow(directives: &str) -> bool {
    directives.split(',').any(|d| {
        let d = d.trim();
        d.eq_ignore_ascii_case("nofollow") || d.eq_ignore_ascii_case("none")
    })
}

/// Elements that do not separate words.
fn is_inline(name: &str) -> bool {
    matches!(
        name,
        "a" | "abbr"
            | "acronym"
            | "b"
            | "bdi"
            | "bdo"
            | "big"
            | "cite"
            | "code"
            | "data"
            | "del"
            | "dfn"
            | "em"
            | "font"
            | "i"
            | "img"
            | "ins"
            | "kbd"
            | "label"
            | "mark"
            | "nobr"
            | "q"
            | "rb"
            | "rp"
            | "rt"
            | "ruby"
            | "s"
            | "samp"
            | "script"
            | "small"
            | "span"
            | "strike"
            | "strong"
            | "style"
            | "sub"
            | "sup"
            | "template"
            | "time"
            | "tt"
            | "u"
            | "var"
            | "wbr"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_robots_directives() {
        assert!(says_nofollow("noindex, NoFollow"));
        assert!(says_nofollow("none"));
        assert!(!says_nofollow("index,follow,max-snippet:-1"));
    }
}
