//! Text in which no tag counts but the end of its own element.

use super::tokens::{Kind, is_space};

/// The longest word that has to be seen whole: `</` and a name of eleven letters at most, and what ends it.
const WORD_BYTES: usize = 16;

/// How such text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Raw {
    /// As far as the end tag of the element.
    Plain(Kind),
    /// A script: the same, but for one that is hidden in a comment and has an end tag of its own.
    Script(Hiding),
}

/// How far a script is hidden (the standard's script data, escaped, double escaped).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hiding {
    /// Not.
    No,
    /// In a comment.
    Comment,
    /// In a comment, within a script of its own.
    Script,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// All of it is text.
    Nothing,
    /// From here on more is needed to know.
    Cut(usize),
    /// The end tag.
    End(usize),
}

impl Raw {
    /// The text of a kind that is not data.
    pub(super) fn of(kind: Kind) -> Raw {
        if kind == Kind::Script { Raw::Script(Hiding::No) } else { Raw::Plain(kind) }
    }

    /// What its text is.
    pub(super) fn kind(self) -> Kind {
        match self {
            Raw::Plain(kind) => kind,
            Raw::Script(_) => Kind::Script,
        }
    }

    /// Looks for the end tag of the element `name`; `end`: nothing follows these bytes.
    pub(super) fn look(&mut self, bytes: &[u8], name: &str, end: bool) -> Found {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            let found = match self {
                Raw::Script(Hiding::Comment | Hiding::Script) => memchr::memchr2(b'<', b'-', rest),
                Raw::Plain(_) | Raw::Script(Hiding::No) => memchr::memchr(b'<', rest),
            };
            let Some(found) = found else { return Found::Nothing };
            at += found;
            let rest = &bytes[at..];
            if rest.len() < WORD_BYTES && !end {
                return Found::Cut(at);
            }
            let closes = is_word(rest, b"</", name);
            match self {
                Raw::Plain(_) | Raw::Script(Hiding::No | Hiding::Comment) if closes => return Found::End(at),
                Raw::Plain(_) => at += 1,
                Raw::Script(hiding) => at += hiding.step(rest, closes),
            }
        }
    }
}

impl Hiding {
    /// Passes by what begins here; how many bytes that is.
    fn step(&mut self, rest: &[u8], closes: bool) -> usize {
        match self {
            // The dashes may end the comment as well.
            Hiding::No if rest.starts_with(b"<!--") => {
                *self = Hiding::Comment;
                return 2;
            }
            Hiding::No => {}
            _ if rest.starts_with(b"-->") => *self = Hiding::No,
            Hiding::Comment if is_word(rest, b"<", "script") => *self = Hiding::Script,
            Hiding::Script if closes => *self = Hiding::Comment,
            Hiding::Comment | Hiding::Script => {}
        }
        1
    }
}

/// Whether this begins with a tag of this name.
fn is_word(bytes: &[u8], start: &[u8], name: &str) -> bool {
    let Some(rest) = bytes.strip_prefix(start) else { return false };
    let named = rest.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name.as_bytes()));
    named && rest.get(name.len()).is_some_and(|b| is_space(*b) || matches!(b, b'/' | b'>'))
}
