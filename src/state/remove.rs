//! Deleting a tree: beneath one folder only, never through a link, never across a mount.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat, unlinkat};

/// Deeper trees are not ours.
const DEPTH_MAX: u32 = 32;

/// Deletes `name` (a file, a link itself, or a tree) in the folder `parent`; tells how many entries
/// went. What lies on another file system stays, and with it the folders above it.
///
/// # Errors
/// The first refusal; what was deleted before stays deleted.
pub fn remove_beneath(parent: &Path, name: &CStr) -> io::Result<u64> {
    let parent = File::open(parent)?;
    let device = rustix::fs::fstat(&parent)?.st_dev;
    let mut removed = 0;
    remove(parent.as_fd(), name, device, 0, &mut removed)?;
    Ok(removed)
}

fn remove(parent: impl AsFd, name: &CStr, device: u64, depth: u32, removed: &mut u64) -> io::Result<()> {
    let stat = match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if stat.st_dev != device {
        return Err(io::Error::new(io::ErrorKind::CrossesDevices, "another file system is mounted inside"));
    }
    let mut flags = AtFlags::empty();
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        if depth >= DEPTH_MAX {
            return Err(io::Error::other("nested deeper than any folder of crawld"));
        }
        let inner = openat(
            &parent,
            name,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        empty(&inner, device, depth + 1, removed)?;
        flags = AtFlags::REMOVEDIR;
    }
    unlinkat(&parent, name, flags)?;
    *removed += 1;
    Ok(())
}

fn empty(folder: &OwnedFd, device: u64, depth: u32, removed: &mut u64) -> io::Result<()> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            remove(folder, name, device, depth, removed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn trees_go_and_what_links_point_at_stays() {
        let temp = tempfile::tempdir().unwrap();
        let outside = temp.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("precious"), "").unwrap();
        let trash = temp.path().join("trash");
        fs::create_dir_all(trash.join("a/b/c")).unwrap();
        fs::write(trash.join("a/b/f"), "").unwrap();
        symlink(&outside, trash.join("a/link")).unwrap();
        symlink(&outside, trash.join("l")).unwrap();
        assert_eq!(remove_beneath(&trash, c"a").unwrap(), 5);
        assert_eq!(remove_beneath(&trash, c"l").unwrap(), 1);
        assert_eq!(remove_beneath(&trash, c"none").unwrap(), 0);
        assert!(outside.join("precious").exists());
        assert_eq!(fs::read_dir(&trash).unwrap().count(), 0);
    }

    #[test]
    fn a_tree_too_deep_is_not_ours() {
        let temp = tempfile::tempdir().unwrap();
        let deep = (0..40).fold(temp.path().join("a"), |path, _| path.join("d"));
        fs::create_dir_all(&deep).unwrap();
        assert!(remove_beneath(temp.path(), c"a").is_err());
        assert!(deep.exists());
    }
}
