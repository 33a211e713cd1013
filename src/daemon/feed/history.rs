//! What happened besides pages, for those who come back: in memory, and in two small files that a kill leaves whole.
//!
//! The files are written before anybody is told and never synced: they survive every death of the process, not every
//! loss of power. Pages need none: they are in the outputs.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::model::event::EventId;
use crate::model::time::Timestamp;

/// A file is put behind the one before it at this size, in bytes; so there are at most two of it.
const FILE_MAX: u64 = 1 << 20;
/// Bytes of text in memory at most.
const MEMORY_MAX: usize = 2 << 20;

/// The first line of a file: events after this number are in it, as far as they are no pages.
#[derive(Serialize, Deserialize)]
struct Head {
    after: EventId,
}

/// What of an event's line is looked at.
#[derive(Deserialize)]
struct Line {
    id: EventId,
    at: Timestamp,
}

/// Remembered events of one session, oldest first.
#[derive(Debug, Default, Clone)]
pub(super) struct Memory {
    events: VecDeque<(EventId, Timestamp, Bytes)>,
    bytes: usize,
    floor: EventId,
}

impl Memory {
    /// Everything after this number is here.
    pub(super) fn floor(&self) -> EventId {
        self.floor
    }

    /// Events with numbers above `after`, up to `upto`.
    pub(super) fn between(&self, after: EventId, upto: EventId) -> impl Iterator<Item = (EventId, Bytes)> {
        let inside = self.events.iter().filter(move |(id, ..)| *id > after && *id <= upto);
        inside.map(|(id, _, text)| (*id, text.clone()))
    }

    /// One more; those older than `keep` and those beyond the bound are forgotten.
    pub(super) fn push(&mut self, id: EventId, at: Timestamp, text: Bytes, keep: Duration) {
        self.bytes += text.len();
        self.events.push_back((id, at, text));
        while let Some((oldest, then, text)) = self.events.front() {
            let old = at.since(*then) > keep;
            if !old && self.bytes <= MEMORY_MAX {
                return;
            }
            self.floor = self.floor.max(*oldest);
            self.bytes -= text.len();
            self.events.pop_front();
        }
    }

    /// Events up to this number may be missing.
    pub(super) fn gone(&mut self, upto: EventId) {
        self.floor = self.floor.max(upto);
    }
}

/// The two files of a session.
#[derive(Debug)]
pub(super) struct Files {
    path: PathBuf,
    file: Option<File>,
    bytes: u64,
    /// The last number written, or that failed to be.
    last: EventId,
    /// Something could not be written: the files begin anew.
    torn: bool,
}

fn earlier(path: &Path) -> PathBuf {
    path.with_extension("prev.jsonl")
}

/// What the files of a session hold; `begin` is where a new lifetime begins, if one does.
pub(super) fn load(path: &Path, begin: Option<EventId>, keep: Duration) -> Memory {
    let mut memory = Memory::default();
    let (older, newer) = (read(&earlier(path)), read(path));
    let head = older.as_ref().ok().or(newer.as_ref().ok()).map(|(head, _)| *head);
    // A session that was crawled before without such files: what happened then is not known.
    memory.floor = head.unwrap_or_else(|| begin.filter(|begin| begin.epoch > 1).unwrap_or_default());
    for (_, lines) in [older, newer].into_iter().flatten() {
        for text in lines {
            if let Ok(line) = serde_json::from_slice::<Line>(&text) {
                memory.push(line.id, line.at, text.into(), keep);
            }
        }
    }
    memory
}

fn read(path: &Path) -> io::Result<(EventId, Vec<Vec<u8>>)> {
    let mut lines = BufReader::new(File::open(path)?.take(FILE_MAX * 4)).split(b'\n');
    let head = lines.next().transpose()?.unwrap_or_default();
    let Head { after } = serde_json::from_slice(&head).map_err(io::Error::other)?;
    Ok((after, lines.collect::<io::Result<_>>()?))
}

impl Files {
    /// The files behind this path; made with the first event.
    pub(super) fn new(path: PathBuf, last: EventId) -> Self {
        Files { path, file: None, bytes: 0, last, torn: false }
    }

    /// Writes an event down.
    ///
    /// # Errors
    /// What the system says; the next event begins the files anew, and they say so.
    pub(super) fn append(&mut self, id: EventId, text: &[u8]) -> io::Result<()> {
        let written = self.try_append(id, text);
        if written.is_err() {
            (self.file, self.torn) = (None, true);
        }
        self.last = id;
        written
    }

    /// Events up to this number never came: the files begin anew after it.
    pub(super) fn missed(&mut self, upto: EventId) {
        (self.file, self.torn, self.last) = (None, true, upto);
    }

    fn try_append(&mut self, id: EventId, text: &[u8]) -> io::Result<()> {
        if self.torn {
            for path in [earlier(&self.path), self.path.clone()] {
                match fs::remove_file(path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            self.torn = false;
        } else if self.bytes > FILE_MAX {
            self.file = None;
            fs::rename(&self.path, earlier(&self.path))?;
        }
        let mut line = Vec::with_capacity(text.len() + 64);
        if self.file.is_none() {
            let (file, bytes, whole) = open(&self.path)?;
            if bytes == 0 {
                // What failed to be written counts as gone.
                serde_json::to_writer(&mut line, &Head { after: self.last.min(id) })?;
                line.push(b'\n');
            } else if !whole {
                line.push(b'\n');
            }
            (self.file, self.bytes) = (Some(file), bytes);
        }
        line.extend_from_slice(text);
        line.push(b'\n');
        self.bytes += line.len() as u64;
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(&line))
    }
}

/// Opens for appending: the file, its length, and whether its last line is whole.
fn open(path: &Path) -> io::Result<(File, u64, bool)> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    let bytes = file.metadata()?.len();
    let mut last = [b'\n'];
    if bytes > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    Ok((file, bytes, last == [b'\n']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::{CheckpointNote, Event, What};

    const KEEP: Duration = Duration::from_secs(1800);

    fn event(commit: u64, seconds: i64) -> (EventId, Timestamp, Bytes) {
        let (id, at) = (EventId::new(1, commit, 1), Timestamp::from_millis(seconds * 1000));
        let what = What::Checkpoint { checkpoint: CheckpointNote { generation: commit } };
        (id, at, serde_json::to_vec(&Event::new(id, None, at, what)).unwrap().into())
    }

    fn numbers(memory: &Memory) -> Vec<u64> {
        memory.between(EventId::default(), EventId::LAST).map(|(id, _)| id.commit_seq).collect()
    }

    #[test]
    fn memory_forgets_by_age_and_says_up_to_where() {
        let mut memory = Memory::default();
        for seconds in [0, 600, 1200, 2000, 2500] {
            let (id, at, text) = event(seconds as u64, seconds);
            memory.push(id, at, text, KEEP);
        }
        assert_eq!(numbers(&memory), [1200, 2000, 2500]);
        assert_eq!(memory.floor(), EventId::new(1, 600, 1));
        assert_eq!(memory.between(EventId::new(1, 1200, 1), EventId::new(1, 2000, 1)).count(), 1);
    }

    #[test]
    fn what_was_written_is_there_after_a_kill_and_a_torn_line_spoils_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let mut files = Files::new(path.clone(), EventId::default());
        for commit in 1..=3 {
            let (id, _, text) = event(commit, 0);
            files.append(id, &text).unwrap();
        }
        fs::write(&path, [fs::read(&path).unwrap(), b"{\"id\":\"1.4".to_vec()].concat()).unwrap();
        let mut files = Files::new(path.clone(), EventId::new(1, 3, 1));
        let (id, _, text) = event(5, 0);
        files.append(id, &text).unwrap();
        let memory = load(&path, Some(EventId::new(2, 5, 0)), KEEP);
        assert_eq!((numbers(&memory), memory.floor()), (vec![1, 2, 3, 5], EventId::default()));
    }

    #[test]
    fn files_stay_small_and_say_what_they_lack() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let mut files = Files::new(path.clone(), EventId::default());
        let fat = " ".repeat(100_000);
        for commit in 1..=40 {
            let (id, _, text) = event(commit, 0);
            let text = format!("{fat}{}", std::str::from_utf8(&text).unwrap());
            files.append(id, text.as_bytes()).unwrap();
        }
        let on_disk: u64 =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
        assert!(on_disk < 3 * FILE_MAX, "{on_disk}");
        let memory = load(&path, None, KEEP);
        let (first, last) = (numbers(&memory)[0], numbers(&memory).last().copied());
        assert_eq!((memory.floor(), last), (EventId::new(1, first - 1, 1), Some(40)));
        // Without the earlier one, what it held is gone.
        fs::remove_file(earlier(&path)).unwrap();
        let memory = load(&path, None, KEEP);
        assert_eq!(memory.floor().commit_seq + 1, numbers(&memory)[0]);
        let unknown = load(&dir.path().join("none"), Some(EventId::new(4, 9, 0)), KEEP);
        assert_eq!(unknown.floor(), EventId::new(4, 9, 0));
    }

    #[test]
    fn a_write_that_failed_is_a_gap_that_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub").join("events.jsonl");
        let mut files = Files::new(path.clone(), EventId::default());
        let (id, _, text) = event(1, 0);
        assert!(files.append(id, &text).is_err());
        fs::create_dir(dir.path().join("sub")).unwrap();
        let (id, _, text) = event(2, 0);
        files.append(id, &text).unwrap();
        let memory = load(&path, None, KEEP);
        assert_eq!((numbers(&memory), memory.floor()), (vec![2], EventId::new(1, 1, 1)));
    }
}
