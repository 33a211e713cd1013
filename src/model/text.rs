//! Text from outside, made fit for a person's eyes.

use std::borrow::Cow;
use std::fmt::Write;

/// Escapes what could forge a line or steer a terminal: C0, DEL, C1 and bidirectional controls.
///
/// Everything from outside passes here before a person reads it.
pub fn escape_control(text: &str) -> Cow<'_, str> {
    if !text.contains(dangerous) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            c if dangerous(c) => {
                let _ = write!(safe, "\\u{{{:x}}}", c as u32);
            }
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

fn dangerous(c: char) -> bool {
    // Cc is C0, DEL and C1; then the bidirectional marks, embeddings, overrides and isolates,
    // line and paragraph separators, and the byte order mark.
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_steers_a_terminal() {
        for (text, safe) in [
            ("plain ünïcode 漢字", "plain ünïcode 漢字"),
            ("two\nlines\r\t", "two\\nlines\\r\\t"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("a\u{202e}b\u{2066}c\u{200f}", "a\\u{202e}b\\u{2066}c\\u{200f}"),
            ("\u{7f}\u{0}", "\\u{7f}\\u{0}"),
        ] {
            assert_eq!(escape_control(text), safe);
        }
    }
}
