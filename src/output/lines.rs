//! Reading outputs line by line, compressed or not, with bounded memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use flate2::read::MultiGzDecoder;

/// A line longer than this is damage: no record comes near it.
const LINE_MAX: u64 = 256 << 20;

/// The whole lines of a segment.
pub struct Lines {
    source: Box<dyn BufRead + Send>,
    buffer: Vec<u8>,
    offset: u64,
}

impl Lines {
    /// Opens a segment; a name that ends in `.gz` is unpacked on the way.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        Lines::open_at(path, 0)
    }

    /// The same from an offset of the file on, at which a line begins.
    ///
    /// # Errors
    /// What the system says.
    pub fn open_at(path: &Path, offset: u64) -> io::Result<Self> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        let file = BufReader::with_capacity(1 << 18, file);
        let packed = path.extension().is_some_and(|e| e == "gz");
        let source: Box<dyn BufRead + Send> = if packed {
            Box::new(BufReader::with_capacity(1 << 18, MultiGzDecoder::new(file)))
        } else {
            Box::new(file)
        };
        Ok(Lines { source, buffer: Vec::new(), offset })
    }

    /// The next whole line without its end; `None` at the end or before a torn last line.
    ///
    /// # Errors
    /// What the system says, a damaged compression included.
    pub fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        self.buffer.clear();
        let read = self.source.by_ref().take(LINE_MAX).read_until(b'\n', &mut self.buffer)?;
        if self.buffer.last() != Some(&b'\n') {
            return Ok(None);
        }
        self.offset += read as u64;
        Ok(Some(&self.buffer[..read - 1]))
    }

    /// Where the last line returned ends, in bytes of the unpacked text.
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

/// The last whole lines before `end` of a plain file, newest first: at most `count` of them and at most
/// `bytes` of text.
///
/// # Errors
/// What the system says.
pub fn tail(path: &Path, end: u64, count: usize, bytes: u64) -> io::Result<Vec<Vec<u8>>> {
    let mut file = File::open(path)?;
    let end = end.min(file.metadata()?.len());
    let mut window = (64 << 10).min(bytes);
    loop {
        let from = end.saturating_sub(window);
        file.seek(SeekFrom::Start(from))?;
        let mut text = Vec::new();
        file.by_ref().take(end - from).read_to_end(&mut text)?;
        let whole_from = if from == 0 { 0 } else { memchr::memchr(b'\n', &text).map_or(text.len(), |i| i + 1) };
        let whole_to = memchr::memrchr(b'\n', &text).map_or(0, |i| i + 1);
        let whole = text.get(whole_from..whole_to).unwrap_or_default();
        let enough = memchr::memchr_iter(b'\n', whole).count() >= count;
        if from == 0 || window >= bytes || enough {
            let lines = whole.split(|b| *b == b'\n').filter(|line| !line.is_empty());
            let mut lines: Vec<Vec<u8>> = lines.map(<[u8]>::to_vec).collect();
            lines.reverse();
            lines.truncate(count);
            return Ok(lines);
        }
        window = (window * 4).min(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::compress::compress;

    #[test]
    fn lines_are_the_same_packed_or_not_and_torn_ones_are_left_out() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("urls-00001.jsonl");
        std::fs::write(&path, "one\ntwo\nthr").unwrap();
        let read = |path: &Path| {
            let mut lines = Lines::open(path).unwrap();
            let mut all = Vec::new();
            while let Some(line) = lines.next_line().unwrap() {
                all.push(String::from_utf8_lossy(line).into_owned());
            }
            (all, lines.offset())
        };
        let plain = read(&path);
        assert_eq!(plain, (vec!["one".to_owned(), "two".to_owned()], 8));
        assert_eq!(tail(&path, 8, 1, 1 << 20).unwrap(), [b"two".to_vec()]);
        assert_eq!(tail(&path, 100, 9, 1 << 20).unwrap().len(), 2);
        compress(temp.path(), "urls-00001.jsonl").unwrap();
        assert!(!path.exists());
        assert_eq!(read(&temp.path().join("urls-00001.jsonl.gz")), plain);
    }
}
