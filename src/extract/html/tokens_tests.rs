//! The tokenizer beside another one that was written from the same standard.

use std::cell::RefCell;

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{
    BufferQueue, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer as Other, TokenizerOpts,
};
use proptest::prelude::*;

use super::tokens::{Kind, Sink, Tag, Tokenizer};
use super::tree::kind_behind;

/// What a reader of a document hears.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    Start(String, Vec<(String, String)>, bool),
    End(String),
    Text(String),
}

/// Collects it; text in one piece, however it came.
#[derive(Debug, Default)]
struct Ear(Vec<Heard>);

impl Ear {
    fn text_of(&mut self, piece: &str) {
        match self.0.last_mut() {
            _ if piece.is_empty() => {}
            Some(Heard::Text(text)) => text.push_str(piece),
            _ => self.0.push(Heard::Text(piece.to_owned())),
        }
    }
}

impl Sink for Ear {
    fn start(&mut self, tag: &Tag<'_>) -> Kind {
        let mut attributes: Vec<(String, String)> = Vec::new();
        for name in tag.names().map(str::to_ascii_lowercase) {
            if attributes.iter().all(|(known, _)| *known != name) {
                let value = tag.attribute(&name).unwrap().to_owned();
                attributes.push((name, value));
            }
        }
        self.0.push(Heard::Start(tag.name.to_owned(), attributes, tag.self_closing));
        kind_behind(tag.name)
    }

    fn end(&mut self, name: &str) {
        self.0.push(Heard::End(name.to_owned()));
    }

    fn text(&mut self, _kind: Kind, piece: &str, _last: bool) {
        self.text_of(piece);
    }

    fn in_foreign(&self) -> bool {
        false
    }
}

struct OtherEar(RefCell<Ear>);

impl TokenSink for OtherEar {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut ear = self.0.borrow_mut();
        match token {
            Token::CharacterTokens(text) => ear.text_of(&text),
            Token::TagToken(tag) if tag.kind == TagKind::EndTag => ear.0.push(Heard::End(tag.name.to_string())),
            Token::TagToken(tag) => {
                let attribute =
                    |attribute: &html5ever::Attribute| (attribute.name.local.to_string(), attribute.value.to_string());
                let attributes = tag.attrs.iter().map(attribute).collect();
                ear.0.push(Heard::Start(tag.name.to_string(), attributes, tag.self_closing));
                return match kind_behind(&tag.name) {
                    Kind::Data => TokenSinkResult::Continue,
                    Kind::Rcdata => TokenSinkResult::RawData(RawKind::Rcdata),
                    Kind::Raw => TokenSinkResult::RawData(RawKind::Rawtext),
                    Kind::Script => TokenSinkResult::RawData(RawKind::ScriptData),
                    Kind::Plain => TokenSinkResult::Plaintext,
                };
            }
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

fn heard_by_other(html: &str) -> Vec<Heard> {
    let other = Other::new(OtherEar(RefCell::default()), TokenizerOpts::default());
    let queue = BufferQueue::default();
    queue.push_back(StrTendril::from(html));
    let _ = other.feed(&queue);
    other.end();
    other.sink.0.take().0
}

fn heard(pieces: &[&str]) -> Vec<Heard> {
    let (mut ear, mut tokens) = (Ear::default(), Tokenizer::default());
    for piece in pieces {
        assert!(tokens.feed(piece, &mut ear));
    }
    tokens.finish(&mut ear);
    ear.0
}

/// What documents are made of, and what they are broken with. Of references and of lines' ends the other tokenizer
/// makes something else.
const PARTS: &[&str] = &[
    "<",
    ">",
    "</",
    "/",
    "/>",
    "!",
    "-",
    "--",
    "<!--",
    "-->",
    "--!>",
    "<!-->",
    "<!--->",
    "<!",
    "<?",
    "?>",
    "=",
    "'",
    "\"",
    " ",
    "\n",
    "\t",
    "a",
    "B",
    "é",
    "x-y",
    "<a href=",
    "<a href='",
    "<p>",
    "<P x=1 X=2 y>",
    "</p>",
    "<br/>",
    "<script",
    "<script>",
    "</script",
    "</SCRIPT >",
    "script",
    "<title>",
    "</title>",
    "<textarea>",
    "</textarea",
    "<style>",
    "</style/",
    "<noscript>",
    "</noscript>",
    "<plaintext>",
    "<![CDATA[",
    "]]>",
    "<!doctype html>",
    "<!DOCTYPE x \"y",
    "</>",
    "</ ",
    "<3",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn both_hear_the_same(parts in prop::collection::vec(prop::sample::select(PARTS), 0..40)) {
        let html = parts.concat();
        let heard_whole = heard(&[&html]);
        prop_assert_eq!(&heard_whole, &heard_by_other(&html), "{}", html);
        prop_assert_eq!(&heard_whole, &heard(&parts), "part by part: {}", html);
        let letters: Vec<String> = html.chars().map(String::from).collect();
        let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
        prop_assert_eq!(&heard_whole, &heard(&letters), "letter by letter: {}", html);
    }
}

#[test]
fn a_tag_in_a_million_pieces_is_read_as_fast_as_in_one() {
    let (mut ear, mut tokens) = (Ear::default(), Tokenizer::default());
    assert!(tokens.feed("<p title='", &mut ear));
    for _ in 0..1_000_000 {
        assert!(tokens.feed(">", &mut ear));
    }
    assert!(tokens.feed("'>text", &mut ear));
    tokens.finish(&mut ear);
    assert_eq!(ear.0.len(), 2);
}
