//! Tags and text of a document as it streams by, as the HTML standard tells them apart (13.2.5, tokenization).
//!
//! Character references are left to the reader, and what only a validator would ask for (the text of comments,
//! document types, faults) is passed over. Nothing is held but the token that a piece has cut.

use super::raw::{Found, Raw};

/// Bytes of an unfinished tag that are held; a document with a longer one is read no further.
const TOKEN_BYTES: usize = 4 << 20;

/// Attributes of a tag that are looked at.
const ATTRIBUTES_MOST: usize = 4096;

/// Fewer bytes than this are not looked at again and again while they trickle in.
const WAIT_BYTES: usize = 64;

/// Where text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Between tags.
    Data,
    /// In a title or a text area: references count, tags do not.
    Rcdata,
    /// In a style sheet, a frame, a `noscript`: nothing counts but the end.
    Raw,
    /// In a script, which may hide another one in a comment.
    Script,
    /// Behind `<plaintext>`: there is no end.
    Plain,
}

/// Who is told.
pub(super) trait Sink {
    /// A start tag; says as what the text behind it is read.
    fn start(&mut self, tag: &Tag<'_>) -> Kind;
    /// An end tag, its name in lower case.
    fn end(&mut self, name: &str);
    /// A piece of text, and whether something else follows it.
    fn text(&mut self, kind: Kind, piece: &str, last: bool);
    /// Whether `<![CDATA[` means something here: within drawings and formulas.
    fn in_foreign(&self) -> bool;
}

/// A start tag.
#[derive(Debug)]
pub(super) struct Tag<'a> {
    /// In lower case.
    pub(super) name: &'a str,
    /// It ends in `/>`.
    pub(super) self_closing: bool,
    text: &'a str,
    attributes: &'a [Attribute],
}

/// Where name and value of an attribute stand; tokens have less than 4 GiB.
#[derive(Debug, Clone, Copy)]
struct Attribute {
    name: (u32, u32),
    value: (u32, u32),
}

impl<'a> Tag<'a> {
    /// The value of an attribute as it stands in the document; of several with one name, the first. `name` in
    /// lower case.
    pub(super) fn attribute(&self, name: &str) -> Option<&'a str> {
        let found = self.attributes.iter().find(|attribute| self.part(attribute.name).eq_ignore_ascii_case(name))?;
        Some(self.part(found.value))
    }

    /// The names of its attributes, as they stand there.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.attributes.iter().map(|attribute| self.part(attribute.name))
    }

    fn part(&self, (from, to): (u32, u32)) -> &'a str {
        &self.text[from as usize..to as usize]
    }
}

/// What stands at the place where reading goes on.
#[derive(Debug, Clone, Copy)]
enum State {
    Data,
    Raw(Raw),
    Plain,
    Comment,
    /// Up to the next `>`: a document type, or something that is no tag.
    Bogus,
    Cdata,
}

/// What a `<` in data begins.
enum Markup {
    /// Nothing: it is text.
    Text,
    /// More bytes are needed to know.
    Cut,
    /// A start tag (or an end tag) whose name begins so many bytes behind it.
    Tag { end: bool },
    /// Something that shows nothing; reading goes on so many bytes behind it.
    Skip(State, usize),
}

/// Takes documents apart.
#[derive(Debug)]
pub(super) struct Tokenizer {
    state: State,
    /// Begins with what the last piece has cut.
    held: String,
    /// How long that has to be before it is looked at again: twice as long each time, so that a token in a million
    /// pieces costs no more than one in a few.
    wait: usize,
    /// Text has been told whose last piece has not.
    open: bool,
    /// The name of the last tag.
    name: String,
    attributes: Vec<Attribute>,
}

impl Default for Tokenizer {
    fn default() -> Self {
        Tokenizer {
            state: State::Data,
            held: String::new(),
            wait: 0,
            open: false,
            name: String::new(),
            attributes: Vec::new(),
        }
    }
}

impl Tokenizer {
    /// Reads one more piece. `false`: a token is longer than can be held, the document is to be read no further.
    pub(super) fn feed(&mut self, piece: &str, sink: &mut impl Sink) -> bool {
        if self.held.is_empty() {
            let read = self.read(piece, false, sink);
            self.held.push_str(&piece[read..]);
        } else {
            self.held.push_str(piece);
            if self.held.len() < self.wait {
                return true;
            }
            let mut held = std::mem::take(&mut self.held);
            let read = self.read(&held, false, sink);
            held.drain(..read);
            self.held = held;
        }
        self.wait = (2 * self.held.len()).max(WAIT_BYTES);
        self.held.len() <= TOKEN_BYTES
    }

    /// The document is over.
    pub(super) fn finish(&mut self, sink: &mut impl Sink) {
        let held = std::mem::take(&mut self.held);
        self.read(&held, true, sink);
        self.text("", true, sink);
    }

    /// Reads as far as can be; `end`: nothing follows. How many bytes need not come again.
    fn read(&mut self, text: &str, end: bool, sink: &mut impl Sink) -> usize {
        let mut at = 0;
        while at < text.len() {
            let next = match self.state {
                State::Data => self.data(text, at, end, sink),
                State::Raw(raw) => self.raw(raw, text, at, end, sink),
                State::Plain => {
                    self.text(&text[at..], end, sink);
                    Some(text.len())
                }
                State::Comment => self.skip(comment_end(&text.as_bytes()[at..]), 3, text, at),
                State::Bogus => self.skip(memchr::memchr(b'>', &text.as_bytes()[at..]).map(|i| i + 1), 0, text, at),
                State::Cdata => {
                    let found = memchr::memmem::find(&text.as_bytes()[at..], b"]]>");
                    self.skip(found.map(|i| i + 3), 2, text, at)
                }
            };
            match next {
                Some(next) if next > at => at = next,
                // The rest is a token that has not come to its end.
                Some(_) | None => return at,
            }
        }
        at
    }

    /// Text and the tag behind it; the text alone where the tag is cut. Where reading goes on.
    fn data(&mut self, text: &str, from: usize, end: bool, sink: &mut impl Sink) -> Option<usize> {
        let mut at = from;
        loop {
            let Some(found) = memchr::memchr(b'<', &text.as_bytes()[at..]) else {
                self.text(&text[from..], end, sink);
                return Some(text.len());
            };
            at += found;
            match markup(&text.as_bytes()[at..], end, || sink.in_foreign()) {
                Markup::Text => at += 1,
                Markup::Tag { end: closing } => {
                    let name = at + 1 + usize::from(closing);
                    let Some((next, self_closing)) = self.tag(text, name) else {
                        return self.cut(text, from, at, end, sink);
                    };
                    self.text(&text[from..at], true, sink);
                    if closing {
                        sink.end(&self.name);
                    } else {
                        let tag = Tag { name: &self.name, self_closing, text, attributes: &self.attributes };
                        self.state = State::of(sink.start(&tag));
                    }
                    return Some(next);
                }
                Markup::Skip(state, length) => {
                    self.text(&text[from..at], true, sink);
                    self.state = state;
                    return Some(at + length);
                }
                Markup::Cut => return self.cut(text, from, at, end, sink),
            }
        }
    }

    /// Text behind a tag that has its own way of ending.
    fn raw(&mut self, mut raw: Raw, text: &str, from: usize, end: bool, sink: &mut impl Sink) -> Option<usize> {
        let kind = raw.kind();
        let found = raw.look(&text.as_bytes()[from..], &self.name, end);
        self.state = State::Raw(raw);
        match found {
            Found::Nothing => {
                self.tell(kind, &text[from..], end, sink);
                Some(text.len())
            }
            Found::Cut(at) => self.cut_of(kind, text, from, from + at, end, sink),
            Found::End(at) => {
                let name = from + at + 2;
                // The name stays what it is: it was found to be the same.
                let Some((next, _)) = self.tag(text, name) else {
                    return self.cut_of(kind, text, from, from + at, end, sink);
                };
                self.tell(kind, &text[from..from + at], true, sink);
                self.state = State::Data;
                sink.end(&self.name);
                Some(next)
            }
        }
    }

    /// Tells the text before a token that is cut. At the end of the document such a token is nothing.
    fn cut(&mut self, text: &str, from: usize, at: usize, end: bool, sink: &mut impl Sink) -> Option<usize> {
        self.cut_of(Kind::Data, text, from, at, end, sink)
    }

    fn cut_of(
        &mut self,
        kind: Kind,
        text: &str,
        from: usize,
        at: usize,
        end: bool,
        sink: &mut impl Sink,
    ) -> Option<usize> {
        if at > from || end {
            self.tell(kind, &text[from..at], end, sink);
        }
        Some(if end { text.len() } else { at })
    }

    /// Passes over what shows nothing, up to its end or, where that has not come, but for `keep` bytes that may belong
    /// to it.
    fn skip(&mut self, ends: Option<usize>, keep: usize, text: &str, at: usize) -> Option<usize> {
        match ends {
            Some(length) => {
                self.state = State::Data;
                Some(at + length)
            }
            None => Some(text.floor_char_boundary(text.len().saturating_sub(keep)).max(at)),
        }
    }

    /// Reads name and attributes of a tag, whose name begins at `from`. Where it ends and whether that is in `/>`;
    /// `None` where it is cut.
    fn tag(&mut self, text: &str, from: usize) -> Option<(usize, bool)> {
        let bytes = text.as_bytes();
        let mut at = from + bytes[from..].iter().position(|b| is_space(*b) || matches!(b, b'/' | b'>'))?;
        let name = from..at;
        self.attributes.clear();
        let self_closing = loop {
            match *bytes.get(at)? {
                b'>' => break false,
                b'/' if *bytes.get(at + 1)? == b'>' => {
                    at += 1;
                    break true;
                }
                b if b == b'/' || is_space(b) => at += 1,
                _ => at = self.attribute(bytes, at)?,
            }
        };
        self.name.clear();
        self.name.push_str(&text[name]);
        self.name.make_ascii_lowercase();
        Some((at + 1, self_closing))
    }

    fn attribute(&mut self, bytes: &[u8], from: usize) -> Option<usize> {
        // An equals sign in front belongs to the name.
        let rest = &bytes[from + 1..];
        let mut at = from + 1 + rest.iter().position(|b| is_space(*b) || matches!(b, b'/' | b'>' | b'='))?;
        let name = (from, at);
        at = past_space(bytes, at)?;
        let mut value = (at, at);
        if bytes[at] == b'=' {
            at = past_space(bytes, at + 1)?;
            match bytes[at] {
                quote @ (b'"' | b'\'') => {
                    let length = memchr::memchr(quote, &bytes[at + 1..])?;
                    value = (at + 1, at + 1 + length);
                    at = value.1 + 1;
                }
                _ => {
                    let length = bytes[at..].iter().position(|b| is_space(*b) || *b == b'>')?;
                    value = (at, at + length);
                    at = value.1;
                }
            }
        }
        let span = |(from, to): (usize, usize)| Some((u32::try_from(from).ok()?, u32::try_from(to).ok()?));
        if let (Some(name), Some(value)) = (span(name), span(value))
            && self.attributes.len() < ATTRIBUTES_MOST
        {
            self.attributes.push(Attribute { name, value });
        }
        Some(at)
    }

    fn text(&mut self, piece: &str, last: bool, sink: &mut impl Sink) {
        let kind = match self.state {
            State::Raw(raw) => raw.kind(),
            State::Plain => Kind::Plain,
            _ => Kind::Data,
        };
        self.tell(kind, piece, last, sink);
    }

    fn tell(&mut self, kind: Kind, piece: &str, last: bool, sink: &mut impl Sink) {
        if !piece.is_empty() || (last && self.open) {
            sink.text(kind, piece, last);
            self.open = !last;
        }
    }
}

impl State {
    fn of(kind: Kind) -> State {
        match kind {
            Kind::Data => State::Data,
            Kind::Plain => State::Plain,
            Kind::Rcdata | Kind::Raw | Kind::Script => State::Raw(Raw::of(kind)),
        }
    }
}

/// What the `<` at the start begins.
fn markup(bytes: &[u8], end: bool, in_foreign: impl Fn() -> bool) -> Markup {
    // Of a beginning that may become `whole`, more is needed.
    let cut = |whole: &[u8]| !end && bytes.len() < whole.len() && whole.starts_with(bytes);
    match bytes.get(1) {
        None if end => Markup::Text,
        None => Markup::Cut,
        Some(b) if b.is_ascii_alphabetic() => Markup::Tag { end: false },
        Some(b'/') => match bytes.get(2) {
            None if end => Markup::Text,
            None => Markup::Cut,
            Some(b) if b.is_ascii_alphabetic() => Markup::Tag { end: true },
            Some(b'>') => Markup::Skip(State::Data, 3),
            Some(_) => Markup::Skip(State::Bogus, 2),
        },
        Some(b'!') if cut(b"<!--->") || cut(b"<![CDATA[") => Markup::Cut,
        Some(b'!') if bytes.starts_with(b"<!--") => match &bytes[4..] {
            [b'>', ..] => Markup::Skip(State::Data, 5),
            [b'-', b'>', ..] => Markup::Skip(State::Data, 6),
            _ => Markup::Skip(State::Comment, 4),
        },
        Some(b'!') if bytes.starts_with(b"<![CDATA[") && in_foreign() => Markup::Skip(State::Cdata, 9),
        Some(b'!') => Markup::Skip(State::Bogus, 2),
        Some(b'?') => Markup::Skip(State::Bogus, 2),
        Some(_) => Markup::Text,
    }
}

/// Where a comment ends, if it does: behind `-->` or `--!>`.
fn comment_end(bytes: &[u8]) -> Option<usize> {
    let mut ends = memchr::memchr_iter(b'>', bytes);
    ends.find(|at| bytes[..*at].ends_with(b"--") || bytes[..*at].ends_with(b"--!")).map(|at| at + 1)
}

fn past_space(bytes: &[u8], from: usize) -> Option<usize> {
    bytes.get(from..)?.iter().position(|b| !is_space(*b)).map(|i| from + i)
}

/// Whitespace within tags.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b'\x0c')
}
