//! Which elements are open, as far as it matters to a reader of text and links: how the text behind a tag is read, and
//! where an element ends that has no end tag of its own.

use super::tokens::{Kind, Tag};

/// Elements deeper than this are not kept, as browsers (at half of it) do not.
const DEPTH_MOST: usize = 1024;

/// Buckets by which a stray end tag is told without a search.
const BUCKETS: usize = 1024;

/// Elements whose end matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Region {
    /// What is inside is not shown.
    Hidden,
    /// A drawing: its titles are not the document's.
    Drawing,
    /// Words on both sides of it are apart.
    Block,
}

/// Whose names and rules hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Space {
    Html,
    Svg,
    MathMl,
}

/// An open element.
#[derive(Debug, Clone, Copy)]
struct Open {
    name: u64,
    region: Option<Region>,
    /// Whose rules hold within.
    within: Space,
}

/// The open elements.
#[derive(Debug)]
pub(super) struct Tree {
    open: Vec<Open>,
    buckets: Box<[u16; BUCKETS]>,
}

impl Default for Tree {
    fn default() -> Self {
        Tree { open: Vec::new(), buckets: Box::new([0; BUCKETS]) }
    }
}

/// What a start tag opens.
pub(super) struct Start {
    /// Elements may stand in it: it has an end.
    pub(super) holds: bool,
    /// As what the text behind it is read.
    pub(super) text: Kind,
    within: Space,
}

impl Tree {
    /// Whether drawings' and formulas' own rules hold here.
    pub(super) fn in_foreign(&self) -> bool {
        self.space() != Space::Html
    }

    /// What a start tag would open here. `left` is told of the elements that it ends by leaving a drawing.
    pub(super) fn look(&mut self, tag: &Tag<'_>, left: impl FnMut(Region)) -> Start {
        if self.in_foreign() && breaks_out(tag) {
            self.leave_foreign(left);
        }
        let space = self.space();
        let within = match (space, tag.name) {
            (_, "svg") => Space::Svg,
            (_, "math") => Space::MathMl,
            (Space::Svg, "foreignobject" | "desc" | "title") => Space::Html,
            (Space::MathMl, "mi" | "mo" | "mn" | "ms" | "mtext") => Space::Html,
            (Space::MathMl, "annotation-xml") if holds_html(tag) => Space::Html,
            (space, _) => space,
        };
        let drawn = space != Space::Html || within != Space::Html;
        let holds = if drawn { !tag.self_closing } else { !is_void(tag.name) };
        Start { holds, text: if drawn { Kind::Data } else { kind_behind(tag.name) }, within }
    }

    /// Opens an element. `false`: it is too deep to be kept.
    pub(super) fn open(&mut self, name: &str, start: &Start, region: Option<Region>) -> bool {
        if self.open.len() >= DEPTH_MOST {
            return false;
        }
        let name = id(name);
        self.buckets[bucket(name)] += 1;
        self.open.push(Open { name, region, within: start.within });
        true
    }

    /// An end tag: `ended` is told of everything that it ends, the innermost first.
    pub(super) fn close(&mut self, name: &str, mut ended: impl FnMut(Region)) {
        if self.in_foreign() && matches!(name, "p" | "br") {
            self.leave_foreign(&mut ended);
        }
        let name = id(name);
        if self.buckets[bucket(name)] == 0 {
            return;
        }
        if let Some(at) = self.open.iter().rposition(|open| open.name == name) {
            self.cut(at, ended);
        }
    }

    fn space(&self) -> Space {
        self.open.last().map_or(Space::Html, |open| open.within)
    }

    fn leave_foreign(&mut self, ended: impl FnMut(Region)) {
        let at = self.open.iter().rposition(|open| open.within == Space::Html).map_or(0, |at| at + 1);
        self.cut(at, ended);
    }

    fn cut(&mut self, at: usize, mut ended: impl FnMut(Region)) {
        for open in self.open.drain(at..).rev() {
            self.buckets[bucket(open.name)] -= 1;
            if let Some(region) = open.region {
                ended(region);
            }
        }
    }
}

/// A name as a number: short ones by their letters, others by a hash.
fn id(name: &str) -> u64 {
    let bytes = name.as_bytes();
    if bytes.len() > 8 {
        return xxhash_rust::xxh3::xxh3_64(bytes);
    }
    bytes.iter().fold(0, |id, byte| id << 8 | u64::from(*byte))
}

fn bucket(id: u64) -> usize {
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    (id.wrapping_mul(SPREAD) >> 54) as usize % BUCKETS
}

/// How the text behind a start tag of HTML is read, where scripts run.
pub(super) fn kind_behind(name: &str) -> Kind {
    match name {
        "title" | "textarea" => Kind::Rcdata,
        "style" | "xmp" | "iframe" | "noembed" | "noframes" | "noscript" => Kind::Raw,
        "script" => Kind::Script,
        "plaintext" => Kind::Plain,
        _ => Kind::Data,
    }
}

/// Elements of HTML that nothing stands in.
fn is_void(name: &str) -> bool {
    matches!(
        name,
        "area"
            | "base"
            | "basefont"
            | "bgsound"
            | "br"
            | "col"
            | "embed"
            | "hr"
            | "img"
            | "input"
            | "keygen"
            | "link"
            | "meta"
            | "param"
            | "source"
            | "track"
            | "wbr"
    )
}

/// Elements of HTML that a drawing or a formula cannot hold: they end it (13.2.6.5).
fn breaks_out(tag: &Tag<'_>) -> bool {
    match tag.name {
        "font" => ["color", "face", "size"].iter().any(|name| tag.attribute(name).is_some()),
        "b" | "big" | "blockquote" | "body" | "br" | "center" | "code" | "dd" | "div" | "dl" | "dt" | "em"
        | "embed" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "head" | "hr" | "i" | "img" | "li" | "listing"
        | "menu" | "meta" | "nobr" | "ol" | "p" | "pre" | "ruby" | "s" | "small" | "span" | "strong" | "strike"
        | "sub" | "sup" | "table" | "tt" | "u" | "ul" | "var" => true,
        _ => false,
    }
}

/// An annotation of a formula that is HTML.
fn holds_html(tag: &Tag<'_>) -> bool {
    let encoding = tag.attribute("encoding").unwrap_or_default();
    ["text/html", "application/xhtml+xml"].iter().any(|html| encoding.eq_ignore_ascii_case(html))
}

#[cfg(test)]
mod tests {
    use super::super::tokens::{Sink, Tokenizer};
    use super::*;

    /// Tells what is read as text, and what ends.
    #[derive(Default)]
    struct Seen {
        tree: Tree,
        ended: Vec<Region>,
        text: Vec<(Kind, String)>,
        open: bool,
    }

    impl Sink for Seen {
        fn start(&mut self, tag: &Tag<'_>) -> Kind {
            let start = self.tree.look(tag, |region| self.ended.push(region));
            let region = match tag.name {
                "svg" | "math" => Some(Region::Drawing),
                "template" => Some(Region::Hidden),
                "div" => Some(Region::Block),
                _ => None,
            };
            if start.holds {
                self.tree.open(tag.name, &start, region);
            }
            start.text
        }

        fn end(&mut self, name: &str) {
            self.tree.close(name, |region| self.ended.push(region));
        }

        fn text(&mut self, kind: Kind, piece: &str, last: bool) {
            match self.text.last_mut() {
                _ if piece.is_empty() => {}
                Some((before, text)) if *before == kind && self.open => text.push_str(piece),
                _ => self.text.push((kind, piece.to_owned())),
            }
            self.open = !last;
        }

        fn in_foreign(&self) -> bool {
            self.tree.in_foreign()
        }
    }

    fn read(html: &str) -> Seen {
        let (mut seen, mut tokens) = (Seen::default(), Tokenizer::default());
        assert!(tokens.feed(html, &mut seen));
        tokens.finish(&mut seen);
        seen
    }

    #[test]
    fn elements_end_with_those_around_them() {
        #[track_caller]
        fn check(html: &str, ended: &[Region], open: usize) {
            let seen = read(html);
            assert_eq!((seen.ended.as_slice(), seen.tree.open.len()), (ended, open), "{html}");
        }
        use Region::{Block, Drawing, Hidden};
        check("<div><template><div>", &[], 3);
        check("<div><template><div></div></template></div>", &[Block, Hidden, Block], 0);
        check("<div><template><p><div></p></DIV>", &[Block, Hidden, Block], 0);
        check("<div><template><i></div>", &[Hidden, Block], 0);
        check("</div></template><br></br><img></div>", &[], 0);
        check("<svg><g/><path/></svg>", &[Drawing], 0);
        check("<svg/><math/>", &[], 0);
        check("<svg><g><p>", &[Drawing], 1);
        check("<svg><g></p>", &[Drawing], 0);
        check("<svg><foreignobject><div><p>", &[], 4);
        check("<svg><font>", &[], 2);
        check("<svg><font color=x>", &[Drawing], 1);
        check("<div/>", &[], 1);
    }

    #[test]
    fn text_is_read_by_the_rules_of_the_place() {
        #[track_caller]
        fn check(html: &str, expected: &[(Kind, &str)]) {
            let seen = read(html).text;
            let seen: Vec<_> = seen.iter().map(|(kind, text)| (*kind, text.as_str())).collect();
            assert_eq!(seen, expected, "{html}");
        }
        check("<title>a<b></title>c", &[(Kind::Rcdata, "a<b>"), (Kind::Data, "c")]);
        check("<svg><title>a<b>c", &[(Kind::Data, "a"), (Kind::Data, "c")]);
        check("<svg><style>a<g>b", &[(Kind::Data, "a"), (Kind::Data, "b")]);
        check("<svg><desc><style>a<g>b", &[(Kind::Raw, "a<g>b")]);
        check("<math><mi><script>a<b>", &[(Kind::Script, "a<b>")]);
        check("<math><annotation-xml encoding=TEXT/html><xmp>a<b>", &[(Kind::Raw, "a<b>")]);
        check("<math><annotation-xml><xmp>a<b>", &[(Kind::Data, "a")]);
        check("<svg><![CDATA[a<b>]]>c", &[(Kind::Data, "c")]);
        check("<p><![CDATA[a<b>]]>c", &[(Kind::Data, "]]>c")]);
        check("<plaintext>a<b></plaintext>", &[(Kind::Plain, "a<b></plaintext>")]);
    }

    #[test]
    fn no_depth_is_too_deep() {
        let seen = read(&"<div><template>".repeat(2 * DEPTH_MOST));
        assert_eq!(seen.tree.open.len(), DEPTH_MOST);
        let mut seen = read(&format!("{}{}", "<i>".repeat(DEPTH_MOST), "</b>".repeat(100_000)));
        seen.tree.close("i", |_| ());
        assert_eq!(seen.tree.open.len(), DEPTH_MOST - 1);
    }
}
