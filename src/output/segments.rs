//! The names of output files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What an output holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// One record per discovered URL.
    Urls,
    /// One record per ended URL.
    Pages,
}

impl Kind {
    /// Both, in the order in which a commit writes them.
    pub const ALL: [Kind; 2] = [Kind::Urls, Kind::Pages];

    /// The part of the file names before the number.
    pub const fn prefix(self) -> &'static str {
        match self {
            Kind::Urls => "urls",
            Kind::Pages => "pages",
        }
    }

    /// The name of a segment, numbered from 1, without a compression suffix.
    pub fn name(self, segment: u32) -> String {
        format!("{}-{segment:05}.jsonl", self.prefix())
    }

    /// Kind and number of a segment's name, compressed or not.
    pub fn parse(name: &str) -> Option<(Kind, u32, bool)> {
        let (plain, packed) = name.strip_suffix(".gz").map_or((name, false), |plain| (plain, true));
        let stem = plain.strip_suffix(".jsonl")?;
        let (prefix, digits) = stem.rsplit_once('-')?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.prefix() == prefix)?;
        let number = digits.parse().ok().filter(|n| *n > 0)?;
        (kind.name(number) == plain).then_some((kind, number, packed))
    }
}

/// A segment as found in the output folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it holds.
    pub kind: Kind,
    /// Its number.
    pub number: u32,
    /// The file to read: the plain one where both are there.
    pub path: PathBuf,
}

/// Every segment of a kind, by number; a missing folder has none.
///
/// # Errors
/// What the system says.
pub fn list(dir: &Path, kind: Kind) -> io::Result<Vec<Found>> {
    let mut found: Vec<Found> = Vec::new();
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some((its, number, packed)) = name.to_str().and_then(Kind::parse) else { continue };
        if its != kind || !entry.file_type()?.is_file() {
            continue;
        }
        match found.iter_mut().find(|f| f.number == number) {
            Some(twin) if !packed => twin.path = entry.path(),
            Some(_) => {}
            None => found.push(Found { kind, number, path: entry.path() }),
        }
    }
    found.sort_by_key(|f| f.number);
    Ok(found)
}

/// What has the name of a segment of this kind and is no file: a folder, a link, a pipe.
///
/// # Errors
/// What the system says.
pub fn no_files(dir: &Path, kind: Kind) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let ours = entry.file_name().to_str().and_then(Kind::parse).is_some_and(|(its, ..)| its == kind);
        if ours && !entry.file_type()?.is_file() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        assert_eq!(Kind::parse("urls-00001.jsonl"), Some((Kind::Urls, 1, false)));
        assert_eq!(Kind::parse("pages-123456.jsonl.gz"), Some((Kind::Pages, 123_456, true)));
        for bad in ["urls-1.jsonl", "urls-00000.jsonl", "x-00001.jsonl", "urls-00001.json", "urls-00001.jsonl.gz.tmp"] {
            assert_eq!(Kind::parse(bad), None, "{bad}");
        }
    }
}
