//! Kernel locks with the holder's facts written in: freed by any death, never stolen.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};
use serde::{Deserialize, Serialize};

use crate::model::time::Timestamp;
use crate::policy::oom::{self, GroupKills, OomKills};
use crate::state::atomic_file::{Content, read_bounded};
use crate::state::cgroup::OomGroup;
use crate::state::process;

/// A probe holds a shared lock for an instant; a taker waits that long before it believes it.
const PROBE_GRACE: Duration = Duration::from_millis(100);

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Process id.
    pub pid: u32,
    /// Its start time in clock ticks since boot.
    pub start_ticks: u64,
    /// Its boot.
    pub boot_id: String,
    /// When it took the lock.
    pub started_at: Timestamp,
    /// What it was doing: `run`, `crawl`, `recover`, …
    pub command: String,
    /// Milliseconds since boot when it took the lock: a clock that nobody can set.
    #[serde(default)]
    pub boottime_ms: u64,
    /// The kernel's count of out-of-memory kills on the machine then.
    #[serde(default)]
    pub oom_kills: Option<u64>,
    /// Those in its own cgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_group: Option<OomGroup>,
}

impl Holder {
    /// This process, about to do `command`.
    pub fn me(command: &str, now: Timestamp) -> Self {
        Holder {
            pid: std::process::id(),
            start_ticks: process::own_start_ticks(),
            boot_id: process::boot_id(),
            started_at: now,
            command: command.to_owned(),
            boottime_ms: crate::clock::boottime_ms(),
            oom_kills: process::oom_kills(),
            oom_group: OomGroup::own(),
        }
    }

    /// Whether the out-of-memory killer may explain its death, as far as the kernel's counters tell now.
    pub fn oom_killed(&self) -> bool {
        let of = |group: &OomGroup| GroupKills { id: group.id, kills: group.kills };
        let then = OomKills { group: self.oom_group.as_ref().map(of), machine: self.oom_kills };
        let group = self.oom_group.as_ref().and_then(OomGroup::now);
        oom::grew(&then, &OomKills { group, machine: process::oom_kills() })
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} (`{}`, since {})", self.pid, self.command.escape_debug(), self.started_at)
    }
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("`{}` is held by {}: stop it first, or use another --state-dir", .path.display(),
        .holder.as_ref().map_or_else(|| "another process".to_owned(), ToString::to_string))]
    Held {
        /// The lock file.
        path: PathBuf,
        /// Who, when it can be read.
        holder: Option<Box<Holder>>,
    },
    /// The lock file cannot be used.
    #[error("cannot lock `{path}`: {source}")]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// An exclusive lock, held until dropped or until the process dies. The file itself is never removed
/// by us: its directory is moved or deleted only with the lock held.
#[derive(Debug)]
pub struct Lock {
    _file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock, creating the file when missing.
    ///
    /// # Errors
    /// [`LockError::Held`] when another process (or this one) has it.
    pub fn take(path: &Path, me: &Holder) -> Result<Lock, LockError> {
        let at = |source| LockError::Io { path: path.to_owned(), source };
        let give_up = Instant::now() + PROBE_GRACE;
        loop {
            let file = open(path, true).map_err(at)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    // Moved away or deleted between open and lock: this lock would guard nothing.
                    if !same_file(&file, path) {
                        continue;
                    }
                    write_holder(&file, me).map_err(at)?;
                    return Ok(Lock { _file: file, path: path.to_owned() });
                }
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < give_up => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(LockError::Held { path: path.to_owned(), holder: read_holder(path).map(Box::new) });
                }
                Err(error) => return Err(at(error.into())),
            }
        }
    }

    /// The lock file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether a lock is held, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// Nobody has it; the last holder, when one is written there.
    Free(Option<Holder>),
    /// Somebody has it.
    Held(Option<Holder>),
}

/// Looks whether a lock is held, without creating the file and without keeping the lock.
///
/// # Errors
/// The file is there but cannot be looked at.
pub fn probe(path: &Path) -> io::Result<Probe> {
    let file = match open(path, false) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Probe::Free(None)),
        Err(error) => return Err(error),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(Probe::Free(read_holder(path))),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(Probe::Held(read_holder(path))),
        Err(error) => Err(error.into()),
    }
}

fn open(path: &Path, create: bool) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .write(create)
        .create(create)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags.bits() as i32)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file)
}

fn same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

fn write_holder(file: &File, me: &Holder) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(me)?;
    text.push(b'\n');
    file.set_len(0)?;
    file.write_all_at(&text, 0)
}

fn read_holder(path: &Path) -> Option<Holder> {
    match read_bounded(path, 4096) {
        Content::Bytes(bytes) => serde_json::from_slice(&bytes).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> Holder {
        Holder { boottime_ms: 7, oom_kills: Some(1), ..Holder::me("run", Timestamp::from_millis(0)) }
    }

    #[test]
    fn one_owner_at_a_time_named_to_the_others() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("l");
        assert_eq!(probe(&path).unwrap(), Probe::Free(None));
        let lock = Lock::take(&path, &me()).unwrap();
        assert_eq!(probe(&path).unwrap(), Probe::Held(Some(me())));
        match Lock::take(&path, &me()) {
            Err(LockError::Held { holder, .. }) => assert_eq!(holder.as_deref(), Some(&me())),
            other => panic!("{other:?}"),
        }
        drop(lock);
        assert_eq!(probe(&path).unwrap(), Probe::Free(Some(me())));
        Lock::take(&path, &me()).unwrap();
    }

    #[test]
    fn a_kill_elsewhere_does_not_explain_the_holder_s_death() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("memory.events");
        std::fs::write(&file, "oom_kill 2\n").unwrap();
        let id = std::fs::metadata(temp.path()).unwrap().ino();
        let holder = |kills| {
            let group = OomGroup { file: file.clone(), id, kills };
            Holder { oom_group: Some(group), oom_kills: Some(0), ..me() }
        };
        assert!(!holder(2).oom_killed(), "whatever the machine counts");
        assert!(holder(1).oom_killed());
    }

    #[test]
    fn a_lock_file_that_is_no_file_is_an_error_not_a_wait() {
        let temp = tempfile::tempdir().unwrap();
        let fifo = temp.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(matches!(Lock::take(&fifo, &me()), Err(LockError::Io { .. })));
        assert!(probe(&fifo).is_err());
        assert!(probe(temp.path()).is_err());
    }
}
