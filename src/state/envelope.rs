//! The outer form of every JSON state file: named fields on top, facts about the writing beside
//! them, last a checksum over every byte before it.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::model::ids::CommitSeq;
use crate::state::atomic_file::{Content, read_bounded};

/// What stands before the checksum's digits; the checksum covers everything before this text.
const MARK: &[u8] = b",\n  \"checksum\": \"sha256:";
const TAIL: &[u8] = b"\"\n}\n";
const HEX: usize = 64;

/// A document that is kept in an envelope.
pub trait Document: Serialize + DeserializeOwned {
    /// The newest format that this program reads and the one it writes.
    const FORMAT: u32;
    /// Whether the document itself has the field `format`, so that the envelope must not repeat it.
    const CARRIES_FORMAT: bool = false;
    /// Largest file in bytes.
    const CAP: u64;
}

/// Facts about the writing of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Envelope {
    /// Format of the file.
    pub format: u32,
    /// Program and version that wrote it.
    pub writer: String,
    /// Counts the writings of this file, from 1.
    pub generation: u64,
    /// The boot in which it was written.
    pub boot_id: String,
    /// The store commit that it describes; 0 where it describes none.
    pub commit_seq: CommitSeq,
}

impl Envelope {
    /// An envelope by this program in this boot.
    pub fn new<D: Document>(generation: u64, commit_seq: CommitSeq) -> Self {
        Envelope {
            format: D::FORMAT,
            writer: concat!("crawld/", env!("CARGO_PKG_VERSION")).to_owned(),
            generation,
            boot_id: crate::state::process::boot_id(),
            commit_seq,
        }
    }
}

/// What reading a state file came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading<T> {
    /// It is not there.
    Missing,
    /// It cannot be read for a reason outside it (permission, descriptors, I/O error).
    Unreadable(String),
    /// It is there and is not what it should be.
    Damaged(String),
    /// It was written by a newer program; leave it byte-identical.
    TooNew {
        /// Its format.
        format: u32,
    },
    /// Whole and understood.
    Good(T, Envelope),
}

impl<T> Reading<T> {
    /// The document, where it is whole.
    pub fn good(&self) -> Option<(&T, &Envelope)> {
        match self {
            Reading::Good(document, envelope) => Some((document, envelope)),
            _ => None,
        }
    }

    /// Why it cannot be read, where the reason lies outside it.
    pub fn refused(&self) -> Option<&str> {
        match self {
            Reading::Unreadable(why) => Some(why),
            _ => None,
        }
    }

    /// Whether this is [`Reading::TooNew`].
    pub fn too_new(&self) -> bool {
        matches!(self, Reading::TooNew { .. })
    }

    /// Turns a document that fails `check` into [`Reading::Damaged`].
    #[must_use]
    pub fn filter(self, check: impl FnOnce(&T) -> bool, why: &str) -> Self {
        match self {
            Reading::Good(document, _) if !check(&document) => Reading::Damaged(why.to_owned()),
            other => other,
        }
    }
}

/// Writes a document and its envelope as one pretty-printed JSON object.
///
/// # Errors
/// The document cannot be written as JSON (a map with keys that are no strings).
pub fn seal<D: Document>(document: &D, envelope: &Envelope) -> serde_json::Result<Vec<u8>> {
    let mut bytes = open_object(serde_json::to_vec_pretty(document)?);
    let facts = open_object(serde_json::to_vec_pretty(envelope)?);
    let mut rest = &facts[1..];
    if D::CARRIES_FORMAT {
        // The envelope's first member is `format`; the document has it already.
        rest = &rest[rest.iter().position(|b| *b == b',').map_or(0, |at| at + 1)..];
    }
    if bytes.len() > 1 {
        bytes.push(b',');
    }
    bytes.extend_from_slice(rest);
    let sum = hex(&Sha256::digest(&bytes));
    bytes.extend_from_slice(MARK);
    bytes.extend_from_slice(sum.as_bytes());
    bytes.extend_from_slice(TAIL);
    Ok(bytes)
}

/// `{\n  "a": 1\n}` without its end.
fn open_object(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.len().saturating_sub(2));
    bytes
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads and verifies a file written by [`seal`].
pub fn read<D: Document>(path: &Path) -> Reading<D> {
    match read_bounded(path, D::CAP) {
        Content::Missing => Reading::Missing,
        Content::Wrong(why) => Reading::Damaged(why),
        Content::Refused(error) => Reading::Unreadable(format!("`{}`: {error}", path.display())),
        Content::Bytes(bytes) => unseal(&bytes),
    }
}

/// Verifies and reads the bytes of a sealed document.
pub fn unseal<D: Document>(bytes: &[u8]) -> Reading<D> {
    #[derive(Deserialize)]
    struct Format {
        format: u64,
    }
    let format = |bytes: &[u8]| serde_json::from_slice::<Format>(bytes).ok().map(|f| f.format);
    let Some((body, sum)) = split(bytes) else {
        // Not our shape. A newer program may seal differently: whole JSON that says so is believed.
        return match format(bytes) {
            Some(newer) if newer > u64::from(D::FORMAT) => Reading::TooNew { format: clamp(newer) },
            _ => Reading::Damaged("no checksum at its end: cut or not written by crawld".to_owned()),
        };
    };
    if hex(&Sha256::digest(body)).as_bytes() != sum {
        return Reading::Damaged("the checksum does not match".to_owned());
    }
    if let Some(newer) = format(bytes).filter(|f| *f > u64::from(D::FORMAT)) {
        return Reading::TooNew { format: clamp(newer) };
    }
    match (serde_json::from_slice::<D>(bytes), serde_json::from_slice::<Envelope>(bytes)) {
        (Ok(document), Ok(envelope)) => Reading::Good(document, envelope),
        (Err(error), _) | (_, Err(error)) => Reading::Damaged(format!("not the document it should be: {error}")),
    }
}

fn clamp(format: u64) -> u32 {
    u32::try_from(format).unwrap_or(u32::MAX)
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_suffix(TAIL)?;
    let at = rest.len().checked_sub(HEX)?;
    let (body, sum) = rest.split_at(at);
    Some((body.strip_suffix(MARK)?, sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Note {
        zebra: u32,
        apple: String,
    }
    impl Document for Note {
        const FORMAT: u32 = 2;
        const CAP: u64 = 4096;
    }

    fn note() -> Note {
        Note { zebra: 1, apple: "ä\"\n".into() }
    }

    #[test]
    fn named_fields_first_then_facts_then_the_checksum() {
        let text = String::from_utf8(seal(&note(), &Envelope::new::<Note>(7, 9)).unwrap()).unwrap();
        let keys: Vec<&str> =
            text.lines().filter_map(|l| l.strip_prefix("  \"")?.split_once('"')).map(|(key, _)| key).collect();
        assert_eq!(
            keys,
            ["zebra", "apple", "format", "writer", "generation", "boot_id", "commit_seq", "checksum"],
            "{text}"
        );
        let Reading::Good(back, envelope) = unseal::<Note>(text.as_bytes()) else { panic!("{text}") };
        assert_eq!((back, envelope.generation, envelope.commit_seq, envelope.format), (note(), 7, 9, 2));
    }

    #[test]
    fn every_cut_and_every_flipped_byte_is_seen() {
        let bytes = seal(&note(), &Envelope::new::<Note>(1, 1)).unwrap();
        for cut in 0..bytes.len() {
            assert!(matches!(unseal::<Note>(&bytes[..cut]), Reading::Damaged(_)), "cut at {cut}");
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                let read = unseal::<Note>(&flipped);
                assert!(matches!(read, Reading::Damaged(_)), "byte {at} bit {bit}: {read:?}");
            }
        }
        let mut longer = bytes;
        longer.push(b'\n');
        assert!(matches!(unseal::<Note>(&longer), Reading::Damaged(_)));
    }

    #[test]
    fn newer_formats_are_recognised_in_our_shape_and_in_others() {
        let mut envelope = Envelope::new::<Note>(1, 1);
        envelope.format = 3;
        let bytes = seal(&note(), &envelope).unwrap();
        assert_eq!(unseal::<Note>(&bytes), Reading::TooNew { format: 3 });
        assert_eq!(unseal::<Note>(br#"{"format": 9, "crc": 1}"#), Reading::TooNew { format: 9 });
        assert!(matches!(unseal::<Note>(br#"{"format": 1}"#), Reading::Damaged(_)));
        assert!(matches!(unseal::<Note>(b""), Reading::Damaged(_)));
    }
}
