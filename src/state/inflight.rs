//! The in-flight note: which visits had really started when the process died.
//!
//! A header and one fixed slot per concurrent visit, each 32 checksummed bytes written in place
//! without fsync. It survives the death of the process; after a reboot it is not believed.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use xxhash_rust::xxh3::xxh3_64;

use crate::model::ids::UrlNo;
use crate::state::atomic_file::{Content, FileError, read_bounded};
use crate::state::process;

const SLOT: usize = 32;
const MAGIC: &[u8; 8] = b"crwlnote";
const CAP: u64 = 1 << 20;
const SOLO: u32 = 1;

/// Kill points around the note's writes.
pub const POINTS: &[&str] = &["note.before_start", "note.after_start", "note.before_end", "note.after_end"];

/// A visit that had started and not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// The URL's number.
    pub no: UrlNo,
    /// Its attempt.
    pub attempt: u32,
    /// It ran alone in its browser.
    pub solo: bool,
}

/// The note of a running session.
#[derive(Debug)]
pub struct InflightNote {
    file: File,
    slots: usize,
    path: std::path::PathBuf,
}

impl InflightNote {
    /// Starts an empty note with `slots` slots (visits at once), discarding what an earlier lifetime
    /// wrote: read that first and commit what it says.
    ///
    /// # Errors
    /// What the system said.
    pub fn open(path: &Path, slots: usize) -> Result<Self, FileError> {
        let at = |e| FileError::at("open", path, e);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
            .open(path)
            .map_err(at)?;
        // The header last, so that a note with a header is a whole note.
        file.set_len((SLOT * (slots + 1)) as u64).map_err(at)?;
        file.write_all_at(&header(&process::boot_id()), 0).map_err(at)?;
        Ok(InflightNote { file, slots, path: path.to_owned() })
    }

    /// Notes that a visit starts.
    ///
    /// # Errors
    /// What the system said, or a slot beyond those asked for.
    pub fn start(&self, slot: usize, no: UrlNo, attempt: u32, solo: bool) -> Result<(), FileError> {
        crate::faults::point("note.before_start").map_err(|e| self.at(e))?;
        self.put(slot, &entry(no, attempt, solo))?;
        crate::faults::point("note.after_start").map_err(|e| self.at(e))
    }

    /// Notes that the visit in `slot` has ended.
    ///
    /// # Errors
    /// As for [`InflightNote::start`].
    pub fn end(&self, slot: usize) -> Result<(), FileError> {
        crate::faults::point("note.before_end").map_err(|e| self.at(e))?;
        self.put(slot, &[0; SLOT])?;
        crate::faults::point("note.after_end").map_err(|e| self.at(e))
    }

    fn put(&self, slot: usize, bytes: &[u8; SLOT]) -> Result<(), FileError> {
        if slot >= self.slots {
            return Err(self.at(io::Error::new(io::ErrorKind::InvalidInput, "no such slot")));
        }
        self.file.write_all_at(bytes, (SLOT * (slot + 1)) as u64).map_err(|e| self.at(e))
    }

    fn at(&self, source: io::Error) -> FileError {
        FileError::at("write", &self.path, source)
    }
}

/// Reads the note of an earlier lifetime of this boot. `None`: missing, damaged or of another boot, so
/// any leased URL may have started.
pub fn read(path: &Path) -> Option<Vec<Started>> {
    let Content::Bytes(bytes) = read_bounded(path, CAP) else { return None };
    let (slots, rest) = bytes.as_chunks::<SLOT>();
    let (first, slots) = slots.split_first()?;
    if !rest.is_empty() || *first != header(&process::boot_id()) {
        return None;
    }
    let mut started = Vec::new();
    for slot in slots.iter().filter(|slot| **slot != [0; SLOT]) {
        let (body, sum) = slot.split_at(SLOT - 8);
        if xxh3_64(body).to_le_bytes() != *sum {
            return None;
        }
        let word = |at: usize| u32::from_le_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]);
        started.push(Started {
            no: u64::from(word(0)) | u64::from(word(4)) << 32,
            attempt: word(8),
            solo: word(12) & SOLO != 0,
        });
    }
    Some(started)
}

fn header(boot: &str) -> [u8; SLOT] {
    let mut bytes = [0; SLOT];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..16].copy_from_slice(&1u64.to_le_bytes());
    bytes[16..24].copy_from_slice(&xxh3_64(boot.as_bytes()).to_le_bytes());
    seal(bytes)
}

fn entry(no: UrlNo, attempt: u32, solo: bool) -> [u8; SLOT] {
    let mut bytes = [0; SLOT];
    bytes[..8].copy_from_slice(&no.to_le_bytes());
    bytes[8..12].copy_from_slice(&attempt.to_le_bytes());
    bytes[12..16].copy_from_slice(&(if solo { SOLO } else { 0 }).to_le_bytes());
    seal(bytes)
}

fn seal(mut bytes: [u8; SLOT]) -> [u8; SLOT] {
    let sum = xxh3_64(&bytes[..SLOT - 8]);
    bytes[SLOT - 8..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_started_visits_are_found() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("in-flight");
        assert_eq!(read(&path), None);
        let note = InflightNote::open(&path, 3).unwrap();
        assert_eq!(read(&path), Some(vec![]));
        note.start(0, 7, 1, false).unwrap();
        note.start(2, u64::MAX, 3, true).unwrap();
        note.start(1, 8, 1, false).unwrap();
        note.end(1).unwrap();
        let expected =
            vec![Started { no: 7, attempt: 1, solo: false }, Started { no: u64::MAX, attempt: 3, solo: true }];
        assert_eq!(read(&path), Some(expected));
        assert!(note.start(3, 1, 1, false).is_err(), "no such slot");
        drop(InflightNote::open(&path, 1).unwrap());
        assert_eq!(read(&path), Some(vec![]), "a new lifetime starts empty");
    }

    #[test]
    fn a_damaged_note_or_one_of_another_boot_says_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("in-flight");
        let note = InflightNote::open(&path, 2).unwrap();
        note.start(1, 7, 1, false).unwrap();
        let whole = fs::read(&path).unwrap();
        for at in (0..SLOT).chain(2 * SLOT..3 * SLOT) {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&path, &damaged).unwrap();
            assert_eq!(read(&path), None, "byte {at}");
        }
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(read(&path), None, "cut");
        let mut other = whole;
        other[..SLOT].copy_from_slice(&header("another boot"));
        fs::write(&path, other).unwrap();
        assert_eq!(read(&path), None, "another boot");
    }
}
