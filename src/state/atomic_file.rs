//! Files that are there whole or not at all, and reads that neither hang nor follow links.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::faults::point;

/// Names of temporaries start so; see [`sweep_temporaries`].
pub const TEMP_PREFIX: &str = ".crawld-tmp-";

/// Kill and fault points of an atomic replacement, in order.
pub const POINTS: &[&str] = &[
    "file.before_create",
    "file.before_write",
    "file.after_write",
    "file.after_sync",
    "file.before_rotate",
    "file.after_rotate",
    "file.before_rename",
    "file.after_rename",
    "file.after_dir_sync",
];

/// How much a replaced file survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Power loss: file and directory are synced.
    Full,
    /// Death of the process: readers see the old or the new file, never a mixture. A power loss may
    /// leave either, or an empty file.
    Atomic,
}

/// A file operation that the system refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {step} `{path}`: {source}")]
pub struct FileError {
    /// What was being done.
    pub step: &'static str,
    /// The file that was to be changed or read.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl FileError {
    /// An error of `step` on `path`.
    pub fn at(step: &'static str, path: &Path, source: io::Error) -> Self {
        FileError { step, path: path.to_owned(), source }
    }
}

/// Replaces `path` with `bytes` (mode 0600), creating it when missing.
///
/// # Errors
/// What the system said; the old file is then still there, and no temporary is left.
pub fn replace(path: &Path, bytes: &[u8], durability: Durability) -> Result<(), FileError> {
    put(path, bytes, durability, None, None)
}

/// As [`replace`]; where the file's folder is open to a group, the group may read the file as well (0640).
///
/// # Errors
/// As for [`replace`].
pub fn replace_shared(path: &Path, bytes: &[u8], durability: Durability) -> Result<(), FileError> {
    put(path, bytes, durability, None, readers(path))
}

/// The group to which the folder of `path` was opened; see [`super::StateDir::share_with`].
fn readers(path: &Path) -> Option<u32> {
    let folder = fs::metadata(path.parent()?).ok()?;
    (folder.mode() & 0o777 == 0o750).then(|| folder.gid())
}

/// Replaces `path` durably, as [`replace_shared`] does, and keeps what was there as `previous`.
///
/// # Errors
/// As for [`replace`].
pub fn replace_keeping(path: &Path, previous: &Path, bytes: &[u8]) -> Result<(), FileError> {
    put(path, bytes, Durability::Full, Some(previous), readers(path))
}

fn put(
    path: &Path,
    bytes: &[u8],
    durability: Durability,
    previous: Option<&Path>,
    group: Option<u32>,
) -> Result<(), FileError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let (file, temp) = create_temporary(dir).map_err(|e| FileError::at("make a temporary file beside", path, e))?;
    let temp = Unlink(temp);
    if let Some(group) = group {
        let shared =
            fchown(&file, None, Some(group)).and_then(|()| file.set_permissions(fs::Permissions::from_mode(0o640)));
        shared.map_err(|e| FileError::at("open to its group", path, e))?;
    }
    fill(file, bytes, durability).map_err(|e| FileError::at("write", path, e))?;
    if let Some(previous) = previous {
        rotate(path, previous, dir).map_err(|e| FileError::at("keep the previous version of", path, e))?;
    }
    swap(&temp.0, path, dir, durability).map_err(|e| FileError::at("replace", path, e))
}

/// Removes a temporary on every way out; after the rename there is nothing left to remove.
struct Unlink(PathBuf);

impl Drop for Unlink {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Creates a new empty file (0600) in `dir` under a temporary name.
///
/// # Errors
/// What the system says.
pub fn create_temporary(dir: &Path) -> io::Result<(File, PathBuf)> {
    point("file.before_create")?;
    let path = temporary_name(dir);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits() as i32)
        .open(&path)?;
    Ok((file, path))
}

/// A fresh temporary name in `dir`.
pub fn temporary_name(dir: &Path) -> PathBuf {
    dir.join(format!("{TEMP_PREFIX}{:016x}", fastrand::u64(..)))
}

fn fill(mut file: File, bytes: &[u8], durability: Durability) -> io::Result<()> {
    point("file.before_write")?;
    file.write_all(bytes)?;
    point("file.after_write")?;
    if durability == Durability::Full {
        file.sync_all()?;
    }
    point("file.after_sync")
}

fn rotate(path: &Path, previous: &Path, dir: &Path) -> io::Result<()> {
    point("file.before_rotate")?;
    let link = Unlink(temporary_name(dir));
    match fs::hard_link(path, &link.0) {
        // When both already are the same file the rename does nothing, and the guard removes the link.
        Ok(()) => fs::rename(&link.0, previous)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // A file system without hard links: no previous version is kept.
        Err(error) if matches!(errno(&error), Some(Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK)) => {}
        Err(error) => return Err(error),
    }
    point("file.after_rotate")
}

fn swap(temp: &Path, path: &Path, dir: &Path, durability: Durability) -> io::Result<()> {
    point("file.before_rename")?;
    fs::rename(temp, path)?;
    point("file.after_rename")?;
    if durability == Durability::Full {
        sync_dir(dir)?;
    }
    point("file.after_dir_sync")
}

/// Makes the entries of a directory durable.
///
/// # Errors
/// What the system says.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Removes temporaries that a killed process left in `dir` longer than `age` ago; a younger one may be
/// in use. Only regular files with our prefix are removed; what cannot be removed stays.
pub fn sweep_temporaries(dir: &Path, age: Duration) -> usize {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let ours = |entry: &fs::DirEntry| stale_temporary(entry, age) && entry.file_type().is_ok_and(|t| t.is_file());
    entries.flatten().filter(ours).filter(|entry| fs::remove_file(entry.path()).is_ok()).count()
}

/// Whether an entry has a temporary's name and has not changed for at least `age`.
pub fn stale_temporary(entry: &fs::DirEntry, age: Duration) -> bool {
    let modified = entry.metadata().and_then(|meta| meta.modified());
    // A time in the future says nothing.
    let idle = modified.ok().and_then(|at| at.elapsed().ok());
    entry.file_name().to_string_lossy().starts_with(TEMP_PREFIX) && idle.is_some_and(|idle| idle >= age)
}

/// What a bounded read found.
#[derive(Debug)]
pub enum Content {
    /// No such file.
    Missing,
    /// The file's bytes.
    Bytes(Vec<u8>),
    /// Something that cannot be a file of ours: a link, a directory, a FIFO, too large.
    Wrong(String),
    /// The system refused for a reason outside the file (permission, descriptors, I/O error).
    Refused(io::Error),
}

/// Reads a whole regular file of at most `cap` bytes. Never blocks on a FIFO, never follows a link
/// in the last component.
pub fn read_bounded(path: &Path, cap: u64) -> Content {
    let file = match open_regular(path) {
        Ok(file) => file,
        Err(error) => return judge(error),
    };
    let mut bytes = Vec::new();
    match file.take(cap + 1).read_to_end(&mut bytes) {
        Err(error) => judge(error),
        Ok(n) if n as u64 > cap => Content::Wrong(format!("larger than {cap} bytes")),
        Ok(_) => Content::Bytes(bytes),
    }
}

/// Opens a regular file for reading without blocking and without following a last link.
///
/// # Errors
/// The system's; `ELOOP` for a link, `InvalidInput` for anything else that is not a regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    if meta.nlink() == 0 {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(file)
}

/// Sorts an error of opening or reading into "not there", "wrong kind of thing" and "environment".
pub fn judge(error: io::Error) -> Content {
    if error.kind() == io::ErrorKind::NotFound {
        return Content::Missing;
    }
    match errno(&error) {
        Some(Errno::LOOP) => Content::Wrong("a symbolic link".into()),
        Some(Errno::NXIO | Errno::NODEV) => Content::Wrong("a socket or device".into()),
        Some(Errno::NOTDIR) => Content::Wrong("its folder is not a directory".into()),
        Some(Errno::ISDIR) => Content::Wrong("a directory".into()),
        None if error.kind() == io::ErrorKind::InvalidInput => Content::Wrong(error.to_string()),
        _ => Content::Refused(error),
    }
}

fn errno(error: &io::Error) -> Option<Errno> {
    Errno::from_io_error(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn replacing_keeps_the_previous_version_and_leaves_no_temporary() {
        let temp = tempfile::tempdir().unwrap();
        let (path, prev) = (temp.path().join("f"), temp.path().join("f.prev"));
        for text in ["one", "two", "three"] {
            replace_keeping(&path, &prev, text.as_bytes()).unwrap();
        }
        assert_eq!((fs::read(&path).unwrap(), fs::read(&prev).unwrap()), (b"three".to_vec(), b"two".to_vec()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        // As after a death between rotation and rename: both names are one file.
        fs::remove_file(&prev).unwrap();
        fs::hard_link(&path, &prev).unwrap();
        replace_keeping(&path, &prev, b"four").unwrap();
        assert_eq!((fs::read(&path).unwrap(), fs::read(&prev).unwrap()), (b"four".to_vec(), b"three".to_vec()));
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_link_is_replaced_not_followed() {
        let temp = tempfile::tempdir().unwrap();
        let (path, target) = (temp.path().join("f"), temp.path().join("target"));
        fs::write(&target, "safe").unwrap();
        symlink(&target, &path).unwrap();
        replace(&path, b"new", Durability::Atomic).unwrap();
        assert_eq!((fs::read(&path).unwrap(), fs::read(&target).unwrap()), (b"new".to_vec(), b"safe".to_vec()));
    }

    #[test]
    fn a_failed_replacement_leaves_the_old_file_alone() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("f");
        fs::create_dir(&path).unwrap();
        assert!(replace(&path, b"new", Durability::Full).is_err());
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    }

    #[test]
    fn sweeping_removes_only_our_temporaries() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temporary_name(temp.path()), "").unwrap();
        fs::write(temp.path().join("keep"), "").unwrap();
        assert_eq!(sweep_temporaries(temp.path(), Duration::from_secs(60)), 0, "perhaps in use");
        assert_eq!(sweep_temporaries(temp.path(), Duration::ZERO), 1);
        assert!(temp.path().join("keep").exists());
    }

    #[test]
    fn reading_refuses_everything_but_small_regular_files() {
        #[track_caller]
        fn check(name: &str, path: &Path, expected: &str) {
            let got = match read_bounded(path, 4) {
                Content::Missing => "missing",
                Content::Bytes(_) => "bytes",
                Content::Wrong(_) => "wrong",
                Content::Refused(_) => "refused",
            };
            assert_eq!(got, expected, "{name}");
        }
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        fs::write(at("small"), "1234").unwrap();
        fs::write(at("large"), "12345").unwrap();
        symlink(at("small"), at("link")).unwrap();
        fs::create_dir(at("dir")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        check("missing", &at("none"), "missing");
        check("small", &at("small"), "bytes");
        check("large", &at("large"), "wrong");
        check("link", &at("link"), "wrong");
        check("directory", &at("dir"), "wrong");
        check("fifo", &at("fifo"), "wrong");
        check("socket", &at("socket"), "wrong");
        check("device", Path::new("/dev/null"), "wrong");
        check("below a file", &at("small/x"), "wrong");
    }
}
