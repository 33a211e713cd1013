//! One output: appended to group by group, each group settled or rolled back as a whole.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_128;

use crate::faults;
use crate::model::checkpoint::OutputFile;
use crate::output::segments::Kind;
use crate::output::{OutputError, sync_dir};

/// The kill and fault points of one kind.
struct Points {
    before_append: &'static str,
    after_append: &'static str,
    before_sync: &'static str,
    after_sync: &'static str,
}

const URLS: Points = Points {
    before_append: "output.before_append_urls",
    after_append: "output.after_append_urls",
    before_sync: "output.before_sync_urls",
    after_sync: "output.after_sync_urls",
};

const PAGES: Points = Points {
    before_append: "output.before_append_pages",
    after_append: "output.after_append_pages",
    before_sync: "output.before_sync_pages",
    after_sync: "output.after_sync_pages",
};

/// An output of a session. Between two settled groups the file may be longer than committed, never shorter.
#[derive(Debug)]
pub struct Sink {
    dir: PathBuf,
    kind: Kind,
    limit: u64,
    /// The settled segment, and whether there is one at all (number 0: none yet).
    settled: Position,
    pending: Option<Position>,
    file: Option<File>,
    poisoned: bool,
}

#[derive(Debug, Clone, Default)]
struct Position {
    segment: u32,
    length: u64,
    group_start: u64,
    group_hash: String,
}

impl Sink {
    /// Continues after the settled files; they are expected to have their settled lengths.
    pub fn new(dir: &Path, kind: Kind, limit: u64, last: Option<(u32, &OutputFile)>) -> Self {
        let settled = last.map_or_else(Position::default, |(segment, file)| Position {
            segment,
            length: file.committed_length,
            group_start: file.last_group_start,
            group_hash: file.last_group_hash.clone(),
        });
        let dir = dir.to_owned();
        Sink { dir, kind, limit: limit.max(1), settled, pending: None, file: None, poisoned: false }
    }

    /// Appends one group of whole lines; a second call before `settle` extends nothing and is refused.
    ///
    /// # Errors
    /// `NoSpace`: rolled back, to be tried again. `Io`: the sink accepts nothing more.
    pub fn append(&mut self, group: &[u8]) -> Result<(), OutputError> {
        if group.is_empty() {
            return Ok(());
        }
        debug_assert!(self.pending.is_none(), "one group at a time");
        self.usable()?;
        let result = self.try_append(group);
        self.after(result)
    }

    /// Makes the appended group durable.
    ///
    /// # Errors
    /// As for `append`. A failed sync is never repeated on the same descriptor.
    pub fn sync(&mut self) -> Result<(), OutputError> {
        if self.pending.is_none() {
            return Ok(());
        }
        self.usable()?;
        let points = self.points();
        let path = self.path();
        let result = faults::point(points.before_sync)
            .and_then(|()| self.file.as_ref().map_or(Ok(()), File::sync_data))
            .and_then(|()| faults::point(points.after_sync))
            .map_err(|e| OutputError::at("sync", &path, e));
        if result.is_err() {
            self.file = None;
        }
        self.after(result)
    }

    /// The group is committed: its end is the file's new length.
    pub fn settle(&mut self) {
        if let Some(pending) = self.pending.take() {
            self.settled = pending;
        }
    }

    /// Takes back what was appended and not settled.
    ///
    /// # Errors
    /// `Io`: the tail could not be cut; the sink accepts nothing more, and the next opening cuts it.
    pub fn roll_back(&mut self) -> Result<(), OutputError> {
        let Some(pending) = self.pending.take() else { return Ok(()) };
        self.file = None;
        let path = self.dir.join(self.kind.name(pending.segment));
        let result = if pending.segment == self.settled.segment {
            OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(self.settled.length))
        } else {
            match fs::remove_file(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                other => other,
            }
        };
        result.map_err(|e| {
            self.poisoned = true;
            OutputError::Io { step: "cut back", path, source: e }
        })
    }

    /// The output as it will be once the group is settled; `None` before the first group.
    pub fn mark(&self) -> Option<OutputFile> {
        let at = self.pending.as_ref().unwrap_or(&self.settled);
        (at.segment > 0).then(|| self.describe(at, false))
    }

    /// The segment that the group in hand has finished, when it started a new one.
    pub fn finished(&self) -> Option<OutputFile> {
        let pending = self.pending.as_ref()?;
        (self.settled.segment > 0 && pending.segment != self.settled.segment)
            .then(|| self.describe(&self.settled, true))
    }

    /// Whether a group waits to be settled.
    pub fn has_group(&self) -> bool {
        self.pending.is_some()
    }

    /// The number of the segment written to, pending group included.
    pub fn segment(&self) -> u32 {
        self.pending.as_ref().map_or(self.settled.segment, |p| p.segment)
    }

    fn describe(&self, at: &Position, sealed: bool) -> OutputFile {
        OutputFile {
            name: self.kind.name(at.segment),
            committed_length: at.length,
            last_group_start: at.group_start,
            last_group_hash: at.group_hash.clone(),
            sealed,
        }
    }

    fn try_append(&mut self, group: &[u8]) -> Result<(), OutputError> {
        let points = self.points();
        let mut next = self.settled.clone();
        if next.segment == 0 || next.length >= self.limit {
            next = Position { segment: next.segment + 1, ..Position::default() };
            // Before the file exists, so that a failure on the way removes it.
            self.pending = Some(next.clone());
            self.rotate(next.segment)?;
        } else {
            self.pending = Some(next.clone());
        }
        let path = self.path();
        let fault = |name| faults::point(name).map_err(|e| OutputError::at("append to", &path, e));
        fault(points.before_append)?;
        if self.file.is_none() {
            let file = OpenOptions::new().write(true).open(&path);
            self.file = Some(file.map_err(|e| OutputError::at("open", &path, e))?);
        }
        let file = self.file.as_ref().expect("opened above");
        file.write_all_at(group, next.length).map_err(|e| OutputError::at("append to", &path, e))?;
        fault(points.after_append)?;
        next.group_start = next.length;
        next.length += group.len() as u64;
        next.group_hash = format!("{:032x}", xxh3_128(group));
        self.pending = Some(next);
        Ok(())
    }

    fn rotate(&mut self, segment: u32) -> Result<(), OutputError> {
        let path = self.dir.join(self.kind.name(segment));
        let make = || {
            faults::point("output.before_rotate")?;
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)
        };
        self.file = Some(make().map_err(|e| OutputError::at("create", &path, e))?);
        sync_dir(&self.dir)?;
        faults::point("output.after_rotate").map_err(|e| OutputError::at("create", &path, e))
    }

    /// Rolls back after a full disk, so that the same group can be tried again; poisons after all else.
    fn after(&mut self, result: Result<(), OutputError>) -> Result<(), OutputError> {
        match &result {
            Ok(()) => {}
            Err(OutputError::NoSpace { .. }) => self.roll_back()?,
            Err(OutputError::Io { .. }) => self.poisoned = true,
        }
        result
    }

    fn usable(&self) -> Result<(), OutputError> {
        if !self.poisoned {
            return Ok(());
        }
        let source = std::io::Error::other("an earlier write failed; resume the session to write again");
        Err(OutputError::Io { step: "append to", path: self.path(), source })
    }

    fn points(&self) -> &'static Points {
        match self.kind {
            Kind::Urls => &URLS,
            Kind::Pages => &PAGES,
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.join(self.kind.name(self.segment().max(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_settled_rolled_back_and_rotated() {
        let temp = tempfile::tempdir().unwrap();
        let mut sink = Sink::new(temp.path(), Kind::Urls, 6, None);
        let first = temp.path().join("urls-00001.jsonl");
        let second = temp.path().join("urls-00002.jsonl");
        assert!(sink.mark().is_none());
        sink.append(b"abc\n").unwrap();
        sink.sync().unwrap();
        sink.roll_back().unwrap();
        assert!(!first.exists(), "an unsettled first segment goes away");
        for group in [b"abc\n", b"def\n"] {
            sink.append(group).unwrap();
            sink.sync().unwrap();
            assert!(sink.finished().is_none());
            sink.settle();
        }
        let mark = sink.mark().unwrap();
        assert_eq!((mark.committed_length, mark.last_group_start), (8, 4));
        assert_eq!(mark.last_group_hash, format!("{:032x}", xxh3_128(b"def\n")));
        sink.append(b"ghi\n").unwrap();
        assert_eq!(sink.finished().map(|f| (f.name, f.sealed)), Some(("urls-00001.jsonl".into(), true)));
        sink.roll_back().unwrap();
        assert!(!second.exists() && sink.finished().is_none());
        sink.append(b"ghi\n").unwrap();
        sink.sync().unwrap();
        sink.settle();
        let mark = sink.mark().unwrap();
        let mut again = Sink::new(temp.path(), Kind::Urls, 6, Some((2, &mark)));
        again.append(b"jkl\n").unwrap();
        again.sync().unwrap();
        again.roll_back().unwrap();
        assert_eq!(fs::read(second).unwrap(), b"ghi\n");
    }
}
