//! The bytes of a sitemap on their way to the parser: decompressed, counted, in UTF-8.

use std::cell::RefCell;
use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};
use std::rc::Rc;

use encoding_rs::{CoderResult, Decoder, Encoding, UTF_8, UTF_16BE, UTF_16LE};
use flate2::bufread::MultiGzDecoder;

/// Bytes of one tag, text or line at most: bounds the parser's buffer.
const MAX_ITEM: usize = 1 << 20;

/// Bytes looked at to tell gzip and the encoding.
const HEAD: usize = 512;

/// The last error of the source itself, as against one of the decompressor.
#[derive(Debug, Clone, Default)]
pub(super) struct SourceError(Rc<RefCell<Option<io::Error>>>);

impl SourceError {
    pub(super) fn take(&self) -> Option<io::Error> {
        self.0.borrow_mut().take()
    }

    fn note<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            let kind = error.kind();
            if kind != io::ErrorKind::Interrupted {
                *self.0.borrow_mut() = Some(error);
            }
            kind.into()
        })
    }
}

/// A reader with its first bytes put back.
type Peeked<R> = Chain<Cursor<Vec<u8>>, R>;

struct Tap<R> {
    inner: R,
    error: SourceError,
}

impl<R: BufRead> Read for Tap<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let result = self.inner.read(buf);
        self.error.note(result)
    }
}

impl<R: BufRead> BufRead for Tap<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let result = self.inner.fill_buf();
        self.error.note(result)
    }

    fn consume(&mut self, amount: usize) {
        self.inner.consume(amount);
    }
}

enum Unpacked<R: BufRead> {
    Plain(Peeked<Tap<R>>),
    Gzip(Box<BufReader<MultiGzDecoder<Peeked<Tap<R>>>>>),
}

impl<R: BufRead> Read for Unpacked<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Unpacked::Plain(inner) => inner.read(buf),
            Unpacked::Gzip(inner) => inner.read(buf),
        }
    }
}

impl<R: BufRead> BufRead for Unpacked<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Unpacked::Plain(inner) => inner.fill_buf(),
            Unpacked::Gzip(inner) => inner.fill_buf(),
        }
    }

    fn consume(&mut self, amount: usize) {
        match self {
            Unpacked::Plain(inner) => inner.consume(amount),
            Unpacked::Gzip(inner) => inner.consume(amount),
        }
    }
}

/// A sitemap's text, in UTF-8 whatever it came in, bounded in all and for each item.
pub(super) struct Input<R: BufRead> {
    inner: Peeked<Unpacked<R>>,
    decoder: Decoder,
    text: Vec<u8>,
    at: usize,
    finished: bool,
    bytes: u64,
    max_bytes: u64,
    over: bool,
    item_left: usize,
}

impl<R: BufRead> Input<R> {
    pub(super) fn open(reader: R, max_bytes: u64, error: &SourceError) -> io::Result<Self> {
        let mut tap = Tap { inner: reader, error: error.clone() };
        let head = peek(&mut tap)?;
        let gzip = head.starts_with(&[0x1f, 0x8b]);
        let plain = Cursor::new(head).chain(tap);
        let mut unpacked = if gzip {
            Unpacked::Gzip(Box::new(BufReader::new(MultiGzDecoder::new(plain))))
        } else {
            Unpacked::Plain(plain)
        };
        let head = peek(&mut unpacked)?;
        let decoder = declared_encoding(&head).new_decoder();
        let inner = Cursor::new(head).chain(unpacked);
        Ok(Input {
            inner,
            decoder,
            text: Vec::new(),
            at: 0,
            finished: false,
            bytes: 0,
            max_bytes,
            over: false,
            item_left: MAX_ITEM,
        })
    }

    /// Skips white space and says whether markup follows.
    pub(super) fn starts_markup(&mut self) -> io::Result<bool> {
        loop {
            self.start_item();
            let text = self.fill_buf()?;
            let blank = text.iter().take_while(|b| b.is_ascii_whitespace()).count();
            match text.get(blank) {
                Some(byte) => return Ok(*byte == b'<'),
                None if text.is_empty() => return Ok(false),
                None => self.consume(blank),
            }
        }
    }

    /// The next bytes belong to another item.
    pub(super) fn start_item(&mut self) {
        self.item_left = MAX_ITEM;
    }

    /// Whether the cap on bytes was reached with more to come.
    pub(super) fn over(&self) -> bool {
        self.over
    }

    /// Bytes read so far, after decompression.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn refill(&mut self) -> io::Result<()> {
        self.text.clear();
        self.at = 0;
        while self.text.is_empty() && !self.finished {
            let left = usize::try_from(self.max_bytes - self.bytes).unwrap_or(usize::MAX);
            let chunk = self.inner.fill_buf()?;
            self.over = left == 0 && !chunk.is_empty();
            let chunk = &chunk[..chunk.len().min(left).min(16 * 1024)];
            self.finished = chunk.is_empty();
            let room = self.decoder.max_utf8_buffer_length(chunk.len()).unwrap_or(64 * 1024);
            self.text.resize(room, 0);
            // The buffer holds the worst case, so one call takes the whole chunk.
            let (result, read, written, _) = self.decoder.decode_to_utf8(chunk, &mut self.text, self.finished);
            debug_assert!(result == CoderResult::InputEmpty && read == chunk.len());
            self.text.truncate(written);
            self.bytes += read as u64;
            self.inner.consume(read);
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Input<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let amount = available.len().min(buf.len());
        buf[..amount].copy_from_slice(&available[..amount]);
        self.consume(amount);
        Ok(amount)
    }
}

impl<R: BufRead> BufRead for Input<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at >= self.text.len() {
            self.refill()?;
        }
        let rest = &self.text[self.at..];
        if self.item_left == 0 && !rest.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a tag, text or line is longer than 1 MiB"));
        }
        Ok(&rest[..rest.len().min(self.item_left)])
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
        self.item_left = self.item_left.saturating_sub(amount);
    }
}

/// Takes the first bytes off a reader.
fn peek(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD);
    reader.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// The encoding that the XML declaration names; a byte-order mark overrides it later. UTF-16 without a mark
/// cannot have been declared in bytes that read as ASCII.
fn declared_encoding(head: &[u8]) -> &'static Encoding {
    let head = &head[..head.windows(2).position(|pair| pair == b"?>").unwrap_or(0)];
    let name = b"encoding=";
    let Some(at) = head.windows(name.len()).position(|window| window == name) else { return UTF_8 };
    let label = head[at + name.len()..].split(|b| matches!(b, b'"' | b'\'')).nth(1).unwrap_or_default();
    let found = Encoding::for_label(label).unwrap_or(UTF_8);
    if found == UTF_16LE || found == UTF_16BE { UTF_8 } else { found }
}
