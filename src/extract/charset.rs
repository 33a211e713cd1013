//! From bytes of an unknown encoding to UTF-8, as they stream in.
//!
//! Order of precedence as in the HTML standard ("determining the character encoding"): byte order
//! mark, transport (`Content-Type`), declaration inside the first 1,024 bytes, a guess.

use encoding_rs::{Decoder, Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252, X_USER_DEFINED};

/// Bytes looked at for a declaration (HTML standard, "prescan a byte stream").
const PRESCAN_BYTES: usize = 1024;

/// Decodes a body into UTF-8; holds at most 1 KiB back until the encoding is known.
pub struct Utf8Stream {
    from_header: Option<&'static Encoding>,
    held: Vec<u8>,
    decoder: Option<Decoder>,
}

impl Utf8Stream {
    /// For a body whose `Content-Type` header (the whole value) was `content_type`.
    pub fn new(content_type: Option<&str>) -> Self {
        Utf8Stream { from_header: content_type.and_then(charset_of), held: Vec::new(), decoder: None }
    }

    /// Decodes one more piece of the body, appending to `out`.
    pub fn feed(&mut self, bytes: &[u8], out: &mut String) {
        if let Some(decoder) = &mut self.decoder {
            return decode(decoder, bytes, out, false);
        }
        self.held.extend_from_slice(bytes);
        if self.held.len() >= PRESCAN_BYTES {
            self.start(out, false);
        }
    }

    /// The body is complete: what is held back comes out.
    pub fn finish(&mut self, out: &mut String) {
        match &mut self.decoder {
            Some(decoder) => decode(decoder, &[], out, true),
            None => self.start(out, true),
        }
    }

    fn start(&mut self, out: &mut String, last: bool) {
        let held = std::mem::take(&mut self.held);
        let encoding = choose(self.from_header, &held);
        let decoder = self.decoder.insert(encoding.new_decoder_with_bom_removal());
        decode(decoder, &held, out, last);
    }
}

fn decode(decoder: &mut Decoder, bytes: &[u8], out: &mut String, last: bool) {
    // `None`: longer than memory can hold; such a piece never reaches here (pieces are bounded).
    if let Some(room) = decoder.max_utf8_buffer_length(bytes.len()) {
        out.reserve(room);
        let _ = decoder.decode_to_string(bytes, out, last);
    }
}

fn choose(from_header: Option<&'static Encoding>, start: &[u8]) -> &'static Encoding {
    if let Some((from_bom, _)) = Encoding::for_bom(start) {
        return from_bom;
    }
    let head = &start[..start.len().min(PRESCAN_BYTES)];
    from_header.or_else(|| declared(head)).unwrap_or_else(|| guess(head))
}

/// The `charset` parameter of a `Content-Type` value.
fn charset_of(content_type: &str) -> Option<&'static Encoding> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let named = name.trim().eq_ignore_ascii_case("charset");
        named.then(|| Encoding::for_label(value.trim().trim_matches(['"', '\'']).as_bytes())).flatten()
    })
}

/// A declaration in markup: `<meta charset=…>`, `<meta … content="…charset=…">` or `<?xml encoding=…?>`.
fn declared(head: &[u8]) -> Option<&'static Encoding> {
    let text: Vec<u8> = head.to_ascii_lowercase();
    let xml = text.starts_with(b"<?xml").then(|| value_after(&text[..find(&text, b"?>", 0)?], b"encoding")).flatten();
    let found = xml.or_else(|| declared_by_meta(&text))?;
    // A document cannot declare UTF-16 in ASCII: the standard reads that as UTF-8.
    Some(match found {
        e if e == UTF_16LE || e == UTF_16BE => UTF_8,
        e if e == X_USER_DEFINED => WINDOWS_1252,
        e => e,
    })
}

fn declared_by_meta(text: &[u8]) -> Option<&'static Encoding> {
    let mut at = 0;
    loop {
        let comment = find(text, b"<!--", at);
        let meta = find(text, b"<meta", at)?;
        if let Some(comment) = comment.filter(|c| *c < meta) {
            at = find(text, b"-->", comment)? + 3;
            continue;
        }
        let end = find(text, b">", meta).unwrap_or(text.len());
        if let Some(encoding) = value_after(&text[meta..end], b"charset") {
            return Some(encoding);
        }
        at = meta + 5;
    }
}

/// The encoding named by `key = value` inside `tag`, quoted or not.
fn value_after(tag: &[u8], key: &[u8]) -> Option<&'static Encoding> {
    let mut at = 0;
    while let Some(found) = find(tag, key, at) {
        at = found + key.len();
        let rest = tag[at..].trim_ascii_start();
        if let Some(value) = rest.strip_prefix(b"=") {
            let value = value.trim_ascii_start();
            let value = value.strip_prefix(b"\"").or_else(|| value.strip_prefix(b"'")).unwrap_or(value);
            let end = value.iter().position(|b| b"\"'; \t\r\n\x0c>?/".contains(b)).unwrap_or(value.len());
            return Encoding::for_label(&value[..end]);
        }
    }
    None
}

fn find(text: &[u8], what: &[u8], from: usize) -> Option<usize> {
    memchr::memmem::find(text.get(from..)?, what).map(|i| from + i)
}

/// Nobody said: UTF-8 where the start is valid UTF-8 (ASCII is), else the web's old default.
fn guess(head: &[u8]) -> &'static Encoding {
    match std::str::from_utf8(head) {
        Ok(_) => UTF_8,
        // A character cut by the end of the head is no fault.
        Err(fault) if fault.error_len().is_none() => UTF_8,
        Err(_) => WINDOWS_1252,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode_all(content_type: Option<&str>, body: &[u8], step: usize) -> String {
        let mut stream = Utf8Stream::new(content_type);
        let mut out = String::new();
        for piece in body.chunks(step.max(1)) {
            stream.feed(piece, &mut out);
        }
        stream.finish(&mut out);
        out
    }

    #[track_caller]
    fn check(name: &str, content_type: Option<&str>, body: &[u8], expected: &str) {
        for step in [1, 3, 7, 4096] {
            assert!(decode_all(content_type, body, step).contains(expected), "{name}, pieces of {step}");
        }
    }

    #[test]
    fn finds_the_encoding_where_it_is_said() {
        let latin = b"<p>caf\xe9</p>";
        check("header", Some("text/html; charset=ISO-8859-1"), latin, "café");
        check("quoted header", Some("text/html; Charset=\"windows-1252\""), latin, "café");
        check("guess latin", Some("text/html"), latin, "café");
        check("guess utf-8", None, "<p>café</p>".as_bytes(), "café");
        check("meta", None, b"<meta charset=koi8-r><p>\xcd\xc9\xd2", "мир");
        check(
            "meta http-equiv",
            None,
            b"<meta http-equiv=content-type content='text/html; charset=shift_jis'>\x93\xfa",
            "日",
        );
        check(
            "meta in a comment",
            None,
            b"<!-- <meta charset=koi8-r> --><meta charset=windows-1251>\xec\xe8\xf0",
            "мир",
        );
        check("xml", None, b"<?xml version='1.0' encoding='windows-1251'?><a>\xec\xe8\xf0</a>", "мир");
        check("header beats meta", Some("text/html;charset=utf-8"), "<meta charset=koi8-r>мир".as_bytes(), "мир");
        check("bom beats header", Some("text/html;charset=koi8-r"), b"\xef\xbb\xbf\xd0\xbc\xd0\xb8\xd1\x80", "мир");
        check("utf-16 by bom", None, b"\xff\xfea\0b\0", "ab");
        check("utf-16 in meta is utf-8", None, "<meta charset=utf-16>мир".as_bytes(), "мир");
        check("unknown label", Some("text/html; charset=klingon"), "мир".as_bytes(), "мир");
        check("meta without value", None, "<meta charset><meta charset=>мир".as_bytes(), "мир");
    }

    #[test]
    fn broken_bytes_become_replacement_characters() {
        check("broken", Some("text/html; charset=utf-8"), b"a\xff\xfeb", "a\u{fffd}\u{fffd}b");
        check("cut short", Some("text/html; charset=utf-8"), b"a\xe2\x82", "a\u{fffd}");
    }
}
