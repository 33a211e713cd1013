//! Files of their own beside the records: written under a passing name, given their own by the commit.
//!
//! A name holds the number of the commit, so a file that no commit knows is known by its name: no list
//! of files is kept anywhere but in the records.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::faults;
use crate::model::ids::{CommitSeq, UrlNo};
use crate::model::kept::KeptKind;
use crate::output::{OutputError, cut, sync_dir};

/// The folder of the files, beside the segments.
pub const FOLDER: &str = "files";
/// The folder in it where files are written that no commit has named yet.
const NEW: &str = "new";
/// Commits whose files share a folder.
const SHARE: u64 = 1_000;

/// Kill and fault points of a file, in order of passage.
pub const POINTS: &[&str] = &[
    "files.before_write",
    "files.after_write",
    "files.before_place",
    "files.after_place",
    "files.after_sync",
    "files.before_set_aside",
    "files.after_set_aside",
];

/// What a file's name says. Written as `files/00012/00000345-12678.pdf`, relative to the outputs' folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileName {
    /// The commit that named it.
    pub seq: CommitSeq,
    /// The URL whose page left it.
    pub n: UrlNo,
    /// What it is.
    pub kind: KeptKind,
}

impl FileName {
    /// The name; `None` for kinds that are no files.
    pub fn path(self) -> Option<String> {
        let FileName { seq, n, kind } = self;
        kind.extension().map(|end| format!("{FOLDER}/{:05}/{n:08}-{seq}.{end}", seq / SHARE))
    }

    /// Reads a name back; `None` when no commit gives such a one.
    pub fn parse(path: &str) -> Option<FileName> {
        let name = path.rsplit('/').next()?;
        let (stem, end) = name.split_once('.')?;
        let (n, seq) = stem.split_once('-')?;
        let kind = KeptKind::ALL.iter().copied().find(|kind| kind.extension() == Some(end))?;
        let name = FileName { seq: seq.parse().ok()?, n: n.parse().ok()?, kind };
        (name.path().as_deref() == Some(path)).then_some(name)
    }
}

/// Where new files are written.
fn new_folder(out: &Path) -> PathBuf {
    out.join(FOLDER).join(NEW)
}

/// Writes a file durably under a passing name, which must be new. Nothing is left behind by an error.
///
/// # Errors
/// What the system says.
pub fn write_new(out: &Path, name: &str, body: &[u8]) -> Result<(), OutputError> {
    let folder = new_folder(out);
    let path = folder.join(name);
    let at = |step: &'static str| {
        let path = path.clone();
        move |error| OutputError::at(step, &path, error)
    };
    folder_at(&folder).map_err(at("make a folder for"))?;
    let write = || {
        faults::point("files.before_write")?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(body)?;
        file.sync_data()?;
        faults::point("files.after_write")
    };
    let written = write().map_err(at("write"));
    if written.is_err() {
        // Left over, it goes at the next opening.
        let _ = fs::remove_file(&path);
    }
    written
}

/// Removes a file that no commit will name.
pub fn discard(out: &Path, name: &str) {
    // Left over, it goes at the next opening.
    let _ = fs::remove_file(new_folder(out).join(name));
}

/// Removes every file that has no name of its own: what its writer did not live to hand over.
pub fn sweep(out: &Path) {
    for entry in fs::read_dir(new_folder(out)).into_iter().flatten().flatten() {
        // What cannot be removed is in nobody's way.
        let _ = fs::remove_file(entry.path());
    }
}

/// Gives files their names, group by group; each group is settled or rolled back as a whole.
#[derive(Debug)]
pub struct Placer {
    out: PathBuf,
    /// From and to.
    placed: Vec<(PathBuf, PathBuf)>,
}

impl Placer {
    /// For a session's outputs.
    pub fn new(out: &Path) -> Self {
        Placer { out: out.to_owned(), placed: Vec::new() }
    }

    /// Gives each file its name (relative to the outputs' folder) and makes that durable.
    ///
    /// # Errors
    /// What the system says; `roll_back` undoes the part that was done.
    pub fn place(&mut self, files: &[(String, String)]) -> Result<(), OutputError> {
        let mut folders: Vec<PathBuf> = Vec::new();
        for (from, to) in files {
            let (from, to) = (new_folder(&self.out).join(from), self.out.join(to));
            let at = |step: &'static str| {
                let to = to.clone();
                move |error| OutputError::at(step, &to, error)
            };
            let folder = to.parent().unwrap_or(&self.out).to_owned();
            if !folders.contains(&folder) {
                if !folder.is_dir() {
                    folder_at(&folder).map_err(at("make a folder for"))?;
                    sync_dir(&self.out.join(FOLDER))?;
                    sync_dir(&self.out)?;
                }
                folders.push(folder);
            }
            faults::point("files.before_place").map_err(at("name"))?;
            fs::rename(&from, &to).map_err(at("name"))?;
            self.placed.push((from, to.clone()));
            faults::point("files.after_place").map_err(at("name"))?;
        }
        for folder in &folders {
            sync_dir(folder)?;
            faults::point("files.after_sync").map_err(|error| OutputError::at("sync", folder, error))?;
        }
        Ok(())
    }

    /// The group is committed: the names hold. Files that it did not want go.
    pub fn settle(&mut self, unwanted: &[String]) {
        self.placed.clear();
        unwanted.iter().for_each(|name| discard(&self.out, name));
    }

    /// See [`sweep`].
    pub fn sweep(&self) {
        sweep(&self.out);
    }

    /// Takes the names of the group back, so that another may give them.
    ///
    /// # Errors
    /// What the system says; the next opening sets such files aside.
    pub fn roll_back(&mut self) -> Result<(), OutputError> {
        while let Some((from, to)) = self.placed.pop() {
            fs::rename(&to, &from).map_err(|error| OutputError::at("take the name back from", &to, error))?;
        }
        Ok(())
    }
}

/// Every file that has a name, and every path under the folder that no commit could have named.
///
/// # Errors
/// What the system says; a missing folder holds nothing.
pub fn list(out: &Path, from: CommitSeq) -> Result<(Vec<FileName>, Vec<PathBuf>), OutputError> {
    let root = out.join(FOLDER);
    let (mut known, mut foreign) = (Vec::new(), Vec::new());
    for folder in entries(&root)? {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let share = name.parse::<u64>().ok().filter(|share| format!("{share:05}") == name);
        match share {
            Some(share) if share < from / SHARE => {}
            Some(_) => {
                for path in entries(&folder)? {
                    let file = path.strip_prefix(out).ok().and_then(|path| FileName::parse(&path.to_string_lossy()));
                    match file {
                        Some(file) if file.seq < from => {}
                        Some(file) => known.push(file),
                        None => foreign.push(path),
                    }
                }
            }
            None if name == NEW => {}
            None => foreign.push(folder),
        }
    }
    Ok((known, foreign))
}

/// Moves a file that no record names into quarantine.
///
/// # Errors
/// What the system says.
pub fn set_aside(out: &Path, name: FileName, quarantine: &Path) -> Result<PathBuf, OutputError> {
    let path = out.join(name.path().unwrap_or_default());
    faults::point("files.before_set_aside").map_err(|error| OutputError::at("set aside", &path, error))?;
    cut::set_aside(&path, quarantine)?;
    faults::point("files.after_set_aside").map_err(|error| OutputError::at("set aside", &path, error))?;
    Ok(path)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, OutputError> {
    let at = |error| OutputError::at("list", folder, error);
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>().map_err(at),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(at(error)),
    }
}

fn folder_at(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        let name = FileName { seq: 12_678, n: 345, kind: KeptKind::Html };
        assert_eq!(name.path().as_deref(), Some("files/00012/00000345-12678.html.gz"));
        assert_eq!(FileName::parse("files/00012/00000345-12678.html.gz"), Some(name));
        assert_eq!(FileName { kind: KeptKind::Markdown, ..name }.path(), None);
        for bad in ["files/00011/00000345-12678.html.gz", "files/00012/345-12678.html.gz", "files/new/1-1", "x", ""] {
            assert_eq!(FileName::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn files_are_named_taken_back_and_set_aside() {
        let temp = tempfile::tempdir().unwrap();
        let out = temp.path().join("out");
        let name = FileName { seq: 7, n: 3, kind: KeptKind::Html };
        let to = name.path().unwrap();
        write_new(&out, "1-1", b"x").unwrap();
        assert!(write_new(&out, "1-1", b"y").is_err(), "a name is used once");
        write_new(&out, "1-1", b"x").unwrap();
        let mut placer = Placer::new(&out);
        let group = [("1-1".to_owned(), to.clone())];
        placer.place(&group).unwrap();
        assert!(out.join(&to).exists());
        placer.roll_back().unwrap();
        assert!(!out.join(&to).exists());
        placer.place(&group).unwrap();
        write_new(&out, "1-2", b"x").unwrap();
        placer.settle(&["1-2".to_owned()]);
        assert!(!new_folder(&out).join("1-2").exists());
        placer.roll_back().unwrap();
        assert_eq!(list(&out, 0).unwrap(), (vec![name], vec![]));
        assert_eq!(list(&out, 8).unwrap(), (vec![], vec![]));
        assert!(placer.place(&group).is_err(), "nothing is there to be named");
        write_new(&out, "1-3", b"x").unwrap();
        sweep(&out);
        assert_eq!(fs::read_dir(new_folder(&out)).unwrap().count(), 0);
        set_aside(&out, name, &temp.path().join("q")).unwrap();
        assert_eq!(list(&out, 0).unwrap(), (vec![], vec![]));
        assert!(temp.path().join("q/00000003-7.html.gz").exists());
    }
}
