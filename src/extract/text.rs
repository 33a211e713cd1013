//! Visible text: whitespace folded, bounded.

/// Collects text, folding every run of whitespace into one space, up to a number of bytes.
#[derive(Debug)]
pub struct Folded {
    text: String,
    limit: usize,
    gap: bool,
    cut: bool,
}

impl Folded {
    /// Keeps at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Folded { text: String::new(), limit, gap: false, cut: false }
    }

    /// A boundary between words: a block element starts or ends here.
    pub fn boundary(&mut self) {
        self.gap = true;
    }

    /// Appends text as it stands in the document.
    pub fn push(&mut self, text: &str) {
        let mut rest = text;
        while !self.cut {
            let words = rest.trim_start_matches(is_space);
            self.gap |= words.len() < rest.len();
            if words.is_empty() {
                return;
            }
            let (plain, behind) = words.split_at(plain_words(words));
            let space = usize::from(self.gap && !self.text.is_empty());
            if self.text.len() + space + plain.len() > self.limit {
                return self.push_words(words);
            }
            if space == 1 {
                self.text.push(' ');
            }
            self.gap = false;
            self.text.push_str(plain);
            rest = behind;
        }
    }

    /// The same word by word.
    fn push_words(&mut self, text: &str) {
        for (index, word) in text.split(is_space).enumerate() {
            self.gap |= index > 0;
            if word.is_empty() {
                continue;
            }
            let space = usize::from(self.gap && !self.text.is_empty());
            if self.text.len() + space + word.len() > self.limit {
                return self.cut_at(word, space);
            }
            if space == 1 {
                self.text.push(' ');
            }
            self.gap = false;
            self.text.push_str(word);
        }
    }

    fn cut_at(&mut self, word: &str, space: usize) {
        self.cut = true;
        let room = self.limit.saturating_sub(self.text.len() + space);
        let end = word.floor_char_boundary(room);
        if end > 0 {
            self.text.extend(std::iter::repeat_n(' ', space));
            self.text.push_str(&word[..end]);
        }
    }

    /// Nothing more is taken: the limit was reached.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// The text so far.
    pub fn into_string(self) -> String {
        self.text
    }
}

/// How many bytes at the start need no folding: words with nothing but a single space between two of them.
fn plain_words(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'!'..=b'\x7f' | b'\0'..=b'\x08' | b'\x0e'..=b'\x1f' => at += 1,
            b' ' if bytes.get(at + 1).is_some_and(u8::is_ascii_graphic) => at += 2,
            0x80.. => match text[at..].chars().next() {
                Some(c) if !is_space(c) => at += c.len_utf8(),
                _ => return at,
            },
            _ => return at,
        }
    }
    at
}

fn is_space(c: char) -> bool {
    c.is_whitespace() || c == '\u{feff}' || c == '\u{200b}'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(limit: usize, pieces: &[&str], expected: &str, cut: bool) {
        let mut folded = Folded::new(limit);
        for piece in pieces {
            match *piece {
                "|" => folded.boundary(),
                text => folded.push(text),
            }
        }
        assert_eq!(folded.is_cut(), cut);
        assert_eq!(folded.into_string(), expected);
    }

    #[test]
    fn folds_and_bounds() {
        check(100, &["  a \n\t b ", "c"], "a b c", false);
        check(100, &["a", "b"], "ab", false);
        check(100, &["a", "|", "b", "|", "|"], "a b", false);
        check(100, &["a b  c d\ne", "f g ", " h\u{7f} é è\u{200b}ê"], "a b c d ef g h\u{7f} é è ê", false);
        check(100, &[" ", "a", "\n"], "a", false);
        check(7, &["a bc def"], "a bc de", true);
        check(8, &["a bc def"], "a bc def", false);
        check(100, &["\u{a0}a\u{a0}\u{2003}b"], "a b", false);
        check(3, &["abcdef"], "abc", true);
        check(3, &["ab", " ", "cd", "e"], "ab", true);
        check(4, &["ab", " ", "cd", "e"], "ab c", true);
        check(3, &["aé€"], "aé", true);
        check(0, &["a"], "", true);
        check(0, &["  "], "", false);
    }
}
