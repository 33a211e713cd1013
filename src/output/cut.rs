//! Bringing an output file back to its committed length, keeping what is cut.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use crate::faults;
use crate::model::checkpoint::OutputFile;
use crate::output::{OutputError, sync_dir};

/// Cuts `path` to `length`, after saving the rest in `quarantine`. Answers how many bytes were cut.
///
/// # Errors
/// What the system says; the file is then as it was.
pub fn truncate_to(path: &Path, length: u64, quarantine: &Path) -> Result<u64, OutputError> {
    let at = |e| OutputError::at("cut", path, e);
    let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(at)?;
    let found = file.metadata().map_err(at)?.len();
    if found <= length {
        return Ok(0);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let kept = spare(quarantine, &format!("{name}.tail-{length}"))?;
    file.seek(SeekFrom::Start(length)).map_err(at)?;
    save(&mut file.by_ref().take(found - length), &kept).map_err(|e| OutputError::at("save", &kept, e))?;
    sync_dir(quarantine)?;
    faults::point("output.before_truncate").map_err(at)?;
    file.set_len(length).and_then(|()| file.sync_all()).map_err(at)?;
    faults::point("output.after_truncate").map_err(at)?;
    Ok(found - length)
}

/// Moves a file that no commit knows into quarantine.
///
/// # Errors
/// What the system says.
pub fn set_aside(path: &Path, quarantine: &Path) -> Result<(), OutputError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let kept = spare(quarantine, &name)?;
    fs::rename(path, &kept).map_err(|e| OutputError::at("set aside", path, e))?;
    sync_dir(quarantine)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Whether the bytes of the last committed group are those that were committed. Reads that group only.
///
/// # Errors
/// What the system says; `UnexpectedEof` when the file is too short.
pub fn group_matches(path: &Path, file: &OutputFile) -> io::Result<bool> {
    let mut handle = File::open(path)?;
    if handle.metadata()?.len() < file.committed_length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if file.last_group_hash.is_empty() || file.last_group_start >= file.committed_length {
        return Ok(true);
    }
    handle.seek(SeekFrom::Start(file.last_group_start))?;
    let mut rest = handle.take(file.committed_length - file.last_group_start);
    let mut hash = Xxh3::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match rest.read(&mut buffer)? {
            0 => return Ok(format!("{:032x}", hash.digest128()) == file.last_group_hash),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// A free name in the quarantine folder, which is made when it is not there.
fn spare(quarantine: &Path, name: &str) -> Result<PathBuf, OutputError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(quarantine)
        .map_err(|e| OutputError::at("create", quarantine, e))?;
    let mut candidate = quarantine.join(name);
    let mut round = 1;
    while fs::symlink_metadata(&candidate).is_ok() {
        round += 1;
        candidate = quarantine.join(format!("{name}.{round}"));
    }
    Ok(candidate)
}

fn save(from: &mut impl Read, to: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    io::copy(from, &mut file)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_kept_before_it_is_cut() {
        let temp = tempfile::tempdir().unwrap();
        let quarantine = temp.path().join("q/deep");
        let path = temp.path().join("urls-00001.jsonl");
        for round in ["", ".2"] {
            fs::write(&path, "abc\ndef\n").unwrap();
            assert_eq!(truncate_to(&path, 4, &quarantine).unwrap(), 4);
            assert_eq!(fs::read_to_string(&path).unwrap(), "abc\n");
            let kept = quarantine.join(format!("urls-00001.jsonl.tail-4{round}"));
            assert_eq!(fs::read_to_string(kept).unwrap(), "def\n");
        }
        assert_eq!(truncate_to(&path, 4, &quarantine).unwrap(), 0);
    }
}
