//! Path patterns of robots.txt: `*` for any run, `$` for the end, compared in one percent-encoding.

use std::borrow::Cow;

use memchr::memmem;

/// The path pattern of one rule, ready for matching.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pattern {
    text: Box<str>,
    /// Normalised, still with its wildcards, without the anchor.
    glob: Box<str>,
    anchored: bool,
}

impl Pattern {
    /// Reads a pattern as written, without surrounding white space and not empty.
    pub(super) fn new(text: &str) -> Pattern {
        let (body, anchored) = match text.strip_suffix('$') {
            Some(body) => (body, true),
            None => (text, false),
        };
        let mut glob = normalise(body, true).into_owned();
        // RFC 9309 wants `/` or `*` first; people who leave it out mean it from the root.
        if !glob.starts_with(['/', '*']) {
            glob.insert(0, '/');
        }
        Pattern { text: text.into(), glob: glob.into_boxed_str(), anchored }
    }

    /// For a pattern that names a directory's index page: the directory itself, which is the same page. Only
    /// `allow` lines are widened so (a search engine's custom that webmasters count on).
    pub(super) fn of_index(text: &str) -> Option<Pattern> {
        let directory = text.rfind("/index.htm").filter(|at| !text[at + 1..].contains('/'))?;
        let pattern = Pattern::new(&format!("{}$", &text[..=directory]));
        Some(Pattern { text: text.into(), ..pattern })
    }

    /// The pattern as written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Its weight against other patterns that match too: octets in normalised form.
    pub(super) fn octets(&self) -> usize {
        self.glob.len() + usize::from(self.anchored)
    }

    /// Whether it matches a normalised path. Each literal between two stars is looked for once, leftmost
    /// first, so the time is linear in the path for each literal and never exponential.
    pub(super) fn matches(&self, path: &str) -> bool {
        let mut literals = self.glob.split('*');
        let first = literals.next().unwrap_or_default();
        let Some(mut rest) = path.strip_prefix(first) else { return false };
        let Some(last) = literals.next_back() else {
            return !self.anchored || rest.is_empty();
        };
        for literal in literals.filter(|literal| !literal.is_empty()) {
            match memmem::find(rest.as_bytes(), literal.as_bytes()) {
                Some(at) => rest = &rest[at + literal.len()..],
                None => return false,
            }
        }
        if self.anchored { rest.ends_with(last) } else { memmem::find(rest.as_bytes(), last.as_bytes()).is_some() }
    }
}

/// Path and query of a URL (or of a bare path) in the form that patterns are compared in.
pub(super) fn normal_path(url: &str) -> Cow<'_, str> {
    let after_scheme = match url.find("://") {
        Some(at) if url[..at].bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.')) => {
            let authority = &url[at + 3..];
            &authority[authority.find(['/', '?', '#']).unwrap_or(authority.len())..]
        }
        _ => url,
    };
    let path = after_scheme.split_once('#').map_or(after_scheme, |(path, _)| path);
    if path.starts_with('/') {
        normalise(path, false)
    } else {
        normalise(&format!("/{path}"), false).into_owned().into()
    }
}

/// One percent-encoding for patterns and paths (RFC 9309, 2.2.2): unreserved characters bare, reserved
/// ones as they were written (`%2F` is not `/`), everything else encoded, hex digits in upper case. A
/// literal `*` or `$` is always encoded, so that those of a pattern stand for themselves (2.2.3).
fn normalise(text: &str, pattern: bool) -> Cow<'_, str> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let bytes = text.as_bytes();
    let plain = |b: &u8| unreserved(*b) || (reserved(*b) && *b != b'$' && (pattern || *b != b'*'));
    if bytes.iter().all(plain) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    let encode = |out: &mut String, b: u8| {
        out.push('%');
        out.push(HEX[usize::from(b >> 4)] as char);
        out.push(HEX[usize::from(b & 15)] as char);
    };
    let mut i = 0;
    while i < bytes.len() {
        let b = bytes[i];
        i += 1;
        if b == b'%' {
            let digit = |at: usize| bytes.get(at).and_then(|b| (*b as char).to_digit(16));
            match (digit(i), digit(i + 1)) {
                (Some(high), Some(low)) => {
                    let value = (high * 16 + low) as u8;
                    if unreserved(value) {
                        out.push(value as char)
                    } else {
                        encode(&mut out, value)
                    }
                    i += 2;
                }
                _ => out.push('%'),
            }
        } else if plain(&b) {
            out.push(b as char);
        } else {
            encode(&mut out, b);
        }
    }
    Cow::Owned(out)
}

fn unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~')
}

fn reserved(b: u8) -> bool {
    matches!(
        b,
        b':' | b'/'
            | b'?'
            | b'#'
            | b'['
            | b']'
            | b'@'
            | b'!'
            | b'$'
            | b'&'
            | b'\''
            | b'('
            | b')'
            | b'*'
            | b'+'
            | b','
            | b';'
            | b'='
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same by plain backtracking, for short input.
    fn slow(glob: &[u8], path: &[u8], anchored: bool) -> bool {
        match glob.first() {
            None => !anchored || path.is_empty(),
            Some(b'*') => (0..=path.len()).any(|i| slow(&glob[1..], &path[i..], anchored)),
            Some(b) => path.first() == Some(b) && slow(&glob[1..], &path[1..], anchored),
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_backtracking(glob in "[/*][ab*]{0,6}", path in "/[ab]{0,8}", anchored: bool) {
            let pattern = Pattern::new(&format!("{glob}{}", if anchored { "$" } else { "" }));
            prop_assert_eq!(pattern.matches(&path), slow(glob.as_bytes(), path.as_bytes(), anchored));
        }

        #[test]
        fn normal_form_is_stable(path in "/\\PC{0,30}") {
            let once = normal_path(&path).into_owned();
            // A stray `%` can meet digits that were encoded before; robots.txt has no better answer.
            prop_assume!(!path.contains('%'));
            prop_assert_eq!(normal_path(&once).into_owned(), once.clone());
        }
    }

    #[test]
    fn many_stars_cost_no_more_than_their_number() {
        let pattern = Pattern::new(&format!("/{}b$", "*a".repeat(5000)));
        assert!(!pattern.matches(&format!("/{}", "a".repeat(20_000))));
    }
}
