//! One streaming pass over HTML: links, title, visible text, robots directives.

mod raw;
mod refs;
mod tokens;
#[cfg(test)]
mod tokens_tests;
mod tree;

use std::borrow::Cow;

use self::tokens::{Kind, Sink, Tag, Tokenizer};
use self::tree::{Region, Tree};
use super::entities::{Entities, MAX_REFERENCE_BYTES, Place};
use super::links::RawLinks;
use super::signs::{self, SignReader, runs_unasked};
use super::text::Folded;
use crate::model::task::ExtractSpec;

/// Bytes of a title looked at; the record keeps 1,024 characters.
const TITLE_BYTES: usize = 4096;

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

/// The streaming parser; fed UTF-8.
pub(super) struct HtmlPass {
    document: Document,
    /// `None`: a token was too long to be held, the rest is not read.
    tokens: Option<Tokenizer>,
    /// The end of the piece before: a word may lie across.
    tail: Vec<u8>,
}

/// Where tags and text go.
struct Document {
    page: Page,
    tree: Tree,
}

impl HtmlPass {
    /// For what the task takes. `text_limit`: `None` when it keeps no text.
    pub(super) fn new(text_limit: Option<usize>, spec: &ExtractSpec) -> Self {
        let page = Page {
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
        };
        let document = Document { page, tree: Tree::default() };
        HtmlPass { document, tokens: Some(Tokenizer::default()), tail: Vec::new() }
    }

    /// Reads [`super::Signs`] as well.
    pub(super) fn read_signs(&mut self) {
        self.document.page.signs = Some(SignReader::default());
    }

    /// Parses one more piece. `false`: the document has a tag that is longer than can be held, the rest is ignored.
    pub(super) fn feed(&mut self, utf8: &str) -> bool {
        let Some(tokens) = &mut self.tokens else { return false };
        if click_ends_in(&mut self.tail, utf8.as_bytes()) {
            self.document.page.clicks = true;
        }
        if !tokens.feed(utf8, &mut self.document) {
            self.tokens = None;
        }
        self.tokens.is_some()
    }

    /// The end of the document: what was found.
    pub(super) fn finish(mut self) -> Page {
        if let Some(tokens) = &mut self.tokens {
            tokens.finish(&mut self.document);
        }
        self.document.page
    }
}

impl Sink for Document {
    fn start(&mut self, tag: &Tag<'_>) -> Kind {
        let Document { page, tree } = self;
        let start = tree.look(tag, |region| page.ends(region));
        let region = page.element(tag, start.holds);
        if start.holds && tree.open(tag.name, &start, region) {
            region.into_iter().for_each(|region| page.begins(region));
        }
        start.text
    }

    fn end(&mut self, name: &str) {
        let Document { page, tree } = self;
        tree.close(name, |region| page.ends(region));
    }

    fn text(&mut self, kind: Kind, piece: &str, last: bool) {
        self.page.text(kind, piece, last);
    }

    fn in_foreign(&self) -> bool {
        self.tree.in_foreign()
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

    /// Takes what a start tag says; tells what its end will end. `holds`: elements may stand in it.
    fn element(&mut self, tag: &Tag<'_>, holds: bool) -> Option<Region> {
        let name = tag.name;
        if self.hidden > 0 {
            return (name == "template").then_some(Region::Hidden);
        }
        let drawn = self.drawings > 0;
        let block = !is_inline(name);
        if block {
            self.boundary();
        }
        if let Some(signs) = &mut self.signs {
            signs.element(&sign(tag, block, holds));
        }
        self.references(tag);
        match name {
            "base" if self.base.is_none() => {
                self.base = tag.attribute("href").map(|href| self.attribute(href).into_owned());
            }
            "meta" => self.meta(tag),
            "title" if !drawn => {
                self.titled = if self.titled == Titled::NotYet { Titled::Inside } else { Titled::Done };
            }
            "textarea" if self.titled == Titled::Inside => self.titled = Titled::Done,
            // What such a template holds becomes its parent's shadow, which is shown.
            "template" if tag.attribute("shadowrootmode").is_some() => {}
            "template" => return Some(Region::Hidden),
            "style" | "script" | "title" | "desc" | "metadata" if drawn => return Some(Region::Hidden),
            "svg" | "math" => return Some(Region::Drawing),
            _ => {}
        }
        (block && (self.text.is_some() || self.signs.is_some())).then_some(Region::Block)
    }

    fn meta(&mut self, tag: &Tag<'_>) {
        let Some(content) = tag.attribute("content") else { return };
        let is = |attribute: &str, value: &str| {
            tag.attribute(attribute).is_some_and(|found| found.trim().eq_ignore_ascii_case(value))
        };
        if is("name", "robots") || is("name", "crawld") {
            self.nofollow |= says_nofollow(content);
        } else if is("http-equiv", "refresh")
            && self.refresh(content)
            && let Some(signs) = &mut self.signs
        {
            signs.refresh();
        }
    }

    fn attribute<'v>(&mut self, value: &'v str) -> Cow<'v, str> {
        self.entities.decode(value, Place::Attribute)
    }

    fn boundary(&mut self) {
        if let Some(text) = &mut self.text {
            text.boundary();
        }
    }

    fn text(&mut self, kind: Kind, chunk: &str, last: bool) {
        if let Some(signs) = &mut self.signs {
            match kind {
                Kind::Data | Kind::Plain if self.hidden == 0 => signs.shown(chunk),
                Kind::Script | Kind::Raw => signs.raw(chunk),
                _ => {}
            }
        }
        let wanted = match kind {
            Kind::Rcdata => self.titled == Titled::Inside,
            Kind::Data | Kind::Plain => self.hidden == 0 && self.text.as_ref().is_some_and(|text| !text.is_cut()),
            _ => false,
        };
        if wanted {
            self.take_text(kind, chunk, last);
        }
        if last {
            self.carry.clear();
            if kind == Kind::Rcdata && self.titled == Titled::Inside {
                self.titled = Titled::Done;
            }
        }
    }

    fn take_text(&mut self, kind: Kind, chunk: &str, last: bool) {
        let joined;
        let mut whole = chunk;
        if !self.carry.is_empty() {
            joined = std::mem::take(&mut self.carry) + chunk;
            whole = &joined;
        }
        if !last && kind != Kind::Plain {
            let (now, later) = whole.split_at(cut_reference(whole));
            self.carry.push_str(later);
            whole = now;
        }
        let decoded = if kind == Kind::Plain { whole.into() } else { self.entities.decode(whole, Place::Text) };
        match (kind, &mut self.text) {
            (Kind::Rcdata, _) => self.title.push(&decoded),
            (_, Some(text)) => text.push(&decoded),
            (_, None) => {}
        }
    }
}

/// What the signs need to know of a start tag.
fn sign<'t>(tag: &Tag<'t>, block: bool, holds: bool) -> signs::Tag<'t> {
    let of = |wanted: bool, name| if wanted { tag.attribute(name) } else { None };
    let script = tag.name == "script";
    signs::Tag {
        name: tag.name,
        holds: block && holds,
        id: of(block, "id"),
        kind: of(script, "type"),
        src: of(script, "src"),
        handler: tag.names().map(str::to_ascii_lowercase).find(|name| runs_unasked(name)),
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
