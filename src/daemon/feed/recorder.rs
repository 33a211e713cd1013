//! The recording of one session: every event and decision, in files of bounded size and number.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes of one file, about.
const FILE_MAX: u64 = 8 << 20;
/// Files kept; the oldest is removed for a new one. 64 MiB with `FILE_MAX`.
const FILES: usize = 8;

/// Writes a recording. A lifetime begins a file of its own, so a torn last line is the end of a file.
#[derive(Debug)]
pub(super) struct Recorder {
    dir: PathBuf,
    file: Option<BufWriter<File>>,
    bytes: u64,
}

impl Recorder {
    /// A recording in this folder; made with the first line.
    pub(super) fn new(dir: PathBuf) -> Self {
        Recorder { dir, file: None, bytes: 0 }
    }

    /// Writes a line; on the disk's cache after `flush`.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn append(&mut self, text: &[u8]) -> io::Result<()> {
        if self.bytes > FILE_MAX {
            self.flush()?;
            self.file = None;
        }
        if self.file.is_none() {
            (self.file, self.bytes) = (Some(BufWriter::new(next_file(&self.dir)?)), 0);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        self.bytes += text.len() as u64 + 1;
        file.write_all(text)?;
        file.write_all(b"\n")
    }

    /// Hands everything to the system: from then on only a loss of power loses it.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), BufWriter::flush)
    }
}

/// The files of a recording, oldest first; none where there is no folder.
///
/// # Errors
/// What the system says.
pub fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if number(&path).is_some() {
            found.push(path);
        }
    }
    found.sort_by_key(|path| number(path));
    Ok(found)
}

fn number(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.strip_prefix("record-")?.strip_suffix(".jsonl")?.parse().ok()
}

fn next_file(dir: &Path) -> io::Result<File> {
    fs::DirBuilder::new().mode(0o700).recursive(true).create(dir)?;
    let found = files(dir)?;
    let next = found.last().and_then(|path| number(path)).unwrap_or(0) + 1;
    let spare = (found.len() + 1).saturating_sub(FILES);
    for old in found.iter().take(spare) {
        fs::remove_file(old)?;
    }
    let path = dir.join(format!("record-{next:05}.jsonl"));
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_is_bounded_and_each_lifetime_begins_a_file() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("record");
        assert!(files(&dir).unwrap().is_empty());
        for life in 0..FILES + 3 {
            let mut recorder = Recorder::new(dir.clone());
            recorder.append(format!("{life}").as_bytes()).unwrap();
            recorder.flush().unwrap();
        }
        let kept = files(&dir).unwrap();
        assert_eq!(kept.len(), FILES);
        assert_eq!(fs::read_to_string(&kept[0]).unwrap(), "3\n");
        let mut recorder = Recorder::new(dir.clone());
        let line = vec![b'x'; 1 << 20];
        (0..20).for_each(|_| recorder.append(&line).unwrap());
        recorder.flush().unwrap();
        let bytes: u64 = files(&dir).unwrap().iter().map(|path| fs::metadata(path).unwrap().len()).sum();
        assert!(files(&dir).unwrap().len() == FILES && bytes < FILE_MAX * 9, "{bytes}");
    }
}
