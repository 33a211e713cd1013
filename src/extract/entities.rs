//! Character references: `&amp;` and its relatives in text and attribute values.

use std::borrow::Cow;
use std::collections::HashMap;

/// Longest reference that is looked up; the standard's longest name has 33 bytes.
pub const MAX_REFERENCE_BYTES: usize = 40;

/// Rare names asked of the HTML parser at most; more of them in one page stay as they are.
const MAX_RARE_NAMES: usize = 512;

/// Where a reference stands: in attributes `&copy=1` is a query parameter, not a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Between tags.
    Text,
    /// In an attribute value.
    Attribute,
}

/// Decodes character references, remembering the rare ones of a page.
#[derive(Debug, Default)]
pub struct Entities {
    rare: HashMap<String, Option<String>>,
}

impl Entities {
    /// Decodes every reference in `text`.
    pub fn decode<'t>(&mut self, text: &'t str, place: Place) -> Cow<'t, str> {
        let Some(first) = memchr::memchr(b'&', text.as_bytes()) else {
            return Cow::Borrowed(text);
        };
        let mut out = String::with_capacity(text.len());
        out.push_str(&text[..first]);
        let mut rest = &text[first..];
        while let Some(at) = memchr::memchr(b'&', rest.as_bytes()) {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            match self.reference(rest, place) {
                Some((decoded, length)) => {
                    out.push_str(&decoded);
                    rest = &rest[length..];
                }
                None => {
                    out.push('&');
                    rest = &rest[1..];
                }
            }
        }
        out.push_str(rest);
        Cow::Owned(out)
    }

    /// The reference at the start of `text`: what it stands for, and its length in bytes.
    fn reference(&mut self, text: &str, place: Place) -> Option<(Cow<'static, str>, usize)> {
        if text.as_bytes().get(1) == Some(&b'#') {
            return numeric(text).map(|(c, length)| (Cow::Owned(c.to_string()), length));
        }
        let name_end = text[1..]
            .bytes()
            .take(MAX_REFERENCE_BYTES)
            .position(|b| !b.is_ascii_alphanumeric())
            .map_or(text.len().min(MAX_REFERENCE_BYTES), |i| i + 1);
        if !text.is_char_boundary(name_end) {
            return None;
        }
        let name = &text[1..name_end];
        let next = text.as_bytes().get(name_end).copied();
        if next == Some(b';') {
            return self.named(name).map(|decoded| (decoded, name_end + 1));
        }
        // The old names count without a semicolon; inside attributes not before `=`.
        if place == Place::Attribute && next == Some(b'=') {
            return None;
        }
        old_name(name).map(|decoded| (Cow::Borrowed(decoded), name_end))
    }

    fn named(&mut self, name: &str) -> Option<Cow<'static, str>> {
        if let Some(decoded) = common(name) {
            return Some(Cow::Borrowed(decoded));
        }
        if name.is_empty() {
            return None;
        }
        if let Some(known) = self.rare.get(name) {
            return known.clone().map(Cow::Owned);
        }
        if self.rare.len() >= MAX_RARE_NAMES {
            return None;
        }
        let decoded = ask_parser(name);
        self.rare.insert(name.to_owned(), decoded.clone());
        decoded.map(Cow::Owned)
    }
}

fn old_name(name: &str) -> Option<&'static str> {
    matches!(name, "amp" | "AMP" | "lt" | "LT" | "gt" | "GT" | "quot" | "QUOT" | "nbsp" | "copy" | "reg")
        .then(|| common(name))
        .flatten()
}

fn common(name: &str) -> Option<&'static str> {
    Some(match name {
        "amp" | "AMP" => "&",
        "lt" | "LT" => "<",
        "gt" | "GT" => ">",
        "quot" | "QUOT" => "\"",
        "apos" => "'",
        "nbsp" => "\u{a0}",
        "copy" => "©",
        "reg" => "®",
        "hellip" => "…",
        "mdash" => "—",
        "ndash" => "–",
        "lsquo" => "‘",
        "rsquo" => "’",
        "ldquo" => "“",
        "rdquo" => "”",
        "laquo" => "«",
        "raquo" => "»",
        "middot" => "·",
        "bull" => "•",
        "times" => "×",
        "shy" => "\u{ad}",
        "zwnj" => "\u{200c}",
        _ => return None,
    })
}

/// The full table (2,231 names) lives in the HTML parser.
fn ask_parser(name: &str) -> Option<String> {
    let reference = format!("&{name};");
    let fragment = scraper::Html::parse_fragment(&reference);
    let text: String = fragment.root_element().text().collect();
    (text != reference && !text.ends_with(';')).then_some(text)
}

/// `&#65;`, `&#x41;`, with the standard's repairs for windows-1252 numbers.
fn numeric(text: &str) -> Option<(char, usize)> {
    let body = &text[2..];
    let (digits, radix, skipped) = match body.as_bytes().first()? {
        b'x' | b'X' => (&body[1..], 16, 3),
        _ => (body, 10, 2),
    };
    let length = digits.bytes().take(MAX_REFERENCE_BYTES).take_while(|b| (*b as char).is_digit(radix)).count();
    if length == 0 {
        return None;
    }
    let number = u32::from_str_radix(&digits[..length], radix).unwrap_or(u32::MAX);
    let end = skipped + length;
    let semicolon = usize::from(text.as_bytes().get(end) == Some(&b';'));
    let decoded = match number {
        0x80..=0x9f => {
            let bytes = [number as u8];
            encoding_rs::WINDOWS_1252.decode_without_bom_handling(&bytes).0.chars().next()
        }
        0 => None,
        _ => char::from_u32(number),
    };
    Some((decoded.unwrap_or(char::REPLACEMENT_CHARACTER), end + semicolon))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(place: Place, text: &str, expected: &str) {
        assert_eq!(Entities::default().decode(text, place), expected);
    }

    #[test]
    fn decodes_references() {
        check(Place::Text, "plain", "plain");
        check(Place::Text, "a &amp; b &lt;c&gt;", "a & b <c>");
        check(Place::Text, "&#65;&#x42;&#X43&#128;&#0;&#xD800;&#99999999999;", "ABC€\u{fffd}\u{fffd}\u{fffd}");
        check(Place::Text, "&copy 2020 &nope; &; & &#; &#x;", "© 2020 &nope; &; & &#; &#x;");
        check(Place::Text, "&alefsym;&CounterClockwiseContourIntegral;&NotEqualTilde;", "ℵ∳≂̸");
        check(Place::Text, "&amp;amp;", "&amp;");
        check(Place::Text, "tail &", "tail &");
        check(Place::Text, "&é &aé;", "&é &aé;");
        check(Place::Attribute, "?a=1&amp;b=2&copy=3&lt=4", "?a=1&b=2&copy=3&lt=4");
    }

    #[test]
    fn rare_names_are_asked_for_a_bounded_number_of_times() {
        let mut entities = Entities::default();
        let text: String = (0..2 * MAX_RARE_NAMES).map(|i| format!("&n{i};")).collect();
        assert_eq!(entities.decode(&text, Place::Text), text);
        assert_eq!(entities.rare.len(), MAX_RARE_NAMES);
    }
}
