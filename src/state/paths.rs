//! Every path under the state directory, named once.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use crate::model::ids::SessionId;
use crate::model::time::Timestamp;
use crate::state::atomic_file::sync_dir;

/// Why a directory cannot hold crawld's state.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// It, or a directory of ours in it, is a symbolic link or no directory at all.
    #[error("`{0}` is not a plain directory (symbolic links are refused): name the real directory with --state-dir")]
    NotADirectory(PathBuf),
    /// It belongs to somebody else.
    #[error("`{path}` belongs to user {owner}, but crawld runs as user {me}: use the owner, or another --state-dir")]
    ForeignOwner {
        /// The directory.
        path: PathBuf,
        /// Its owner's user id.
        owner: u32,
        /// Our effective user id.
        me: u32,
    },
    /// It cannot be made or looked at.
    #[error(
        "cannot use `{path}` as state directory: {source}: name another with --state-dir, or correct its permissions"
    )]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The daemon's durable memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir {
    root: PathBuf,
}

/// What lies in `sessions/` under one id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnDisk {
    /// The session.
    pub id: SessionId,
    /// It has a directory.
    pub dir: bool,
    /// It has a checkpoint, a previous checkpoint or a heartbeat.
    pub files: bool,
}

/// What lies in `sessions/`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Sessions, by id.
    pub sessions: Vec<OnDisk>,
    /// Entries that are not ours by name or by type; never touched.
    pub strangers: Vec<PathBuf>,
}

impl StateDir {
    /// Opens the state directory, making it and its folders (mode 0700) where they are missing.
    ///
    /// # Errors
    /// A symbolic link, a foreign owner, or anything the system refuses.
    pub fn open(path: &Path) -> Result<Self, StateDirError> {
        let at = |source| StateDirError::Io { path: path.to_owned(), source };
        let root = std::path::absolute(path).map_err(at)?;
        private_dir(&root)?;
        let dir = StateDir { root };
        for folder in [dir.sessions(), dir.quarantine(), dir.trash()] {
            private_dir(&folder)?;
        }
        sync_dir(&dir.root).map_err(at)?;
        Ok(dir)
    }

    /// Opens the way to heartbeats and checkpoints to a group (0750), or closes it again. Everything
    /// else stays the owner's: their folders and files are 0700 and 0600.
    ///
    /// # Errors
    /// We may not give the directory to that group, or what the system says.
    pub fn share_with(&self, group: Option<u32>) -> Result<(), StateDirError> {
        for folder in [self.sessions(), self.root.clone()] {
            let at = |source| StateDirError::Io { path: folder.clone(), source };
            let shared = fs::metadata(&folder).map_err(at)?.mode() & 0o050 == 0o050;
            match group {
                Some(_) => {
                    chown(&folder, None, group).map_err(at)?;
                    fs::set_permissions(&folder, fs::Permissions::from_mode(0o750)).map_err(at)?;
                }
                None if shared && folder == self.sessions() => {
                    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).map_err(at)?;
                }
                None => {}
            }
        }
        Ok(())
    }

    /// A state directory for reading only: nothing is made.
    ///
    /// # Errors
    /// It does not exist, or as for [`StateDir::open`].
    pub fn existing(path: &Path) -> Result<Self, StateDirError> {
        let root = std::path::absolute(path).map_err(|source| StateDirError::Io { path: path.to_owned(), source })?;
        check_ours(&root)?;
        let dir = StateDir { root };
        if dir.sessions().symlink_metadata().is_ok() {
            check_ours(&dir.sessions())?;
        }
        Ok(dir)
    }

    /// The directory itself: absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The lock of the directory's one owner.
    pub fn lock(&self) -> PathBuf {
        self.root.join("crawld.lock")
    }

    /// The API's socket.
    pub fn socket(&self) -> PathBuf {
        self.root.join("crawld.sock")
    }

    /// Where the API is reached over TCP; there while it is.
    pub fn api_address(&self) -> PathBuf {
        self.root.join("api-address")
    }

    /// The token of the API for everything.
    pub fn api_token(&self) -> PathBuf {
        self.root.join("api-token")
    }

    /// The token of the API for reading only.
    pub fn api_token_readonly(&self) -> PathBuf {
        self.root.join("api-token-readonly")
    }

    /// The registry of sessions.
    pub fn registry(&self) -> PathBuf {
        self.root.join("crawld.db")
    }

    /// Where the sessions are.
    pub fn sessions(&self) -> PathBuf {
        self.root.join("sessions")
    }

    /// Where damaged state is moved.
    pub fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    /// Where the janitor moves what it is about to delete.
    pub fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }

    /// Where browser profiles live while their browsers do.
    pub fn browsers(&self) -> PathBuf {
        self.root.join("browsers")
    }

    /// Intents of restarts that have been decided but not finished.
    pub fn intents(&self) -> PathBuf {
        self.root.join("intents")
    }

    /// The place in quarantine for a session moved there at `now`.
    pub fn quarantine_for(&self, id: &SessionId, now: Timestamp) -> PathBuf {
        self.quarantine().join(format!("{id}-{}", compact(now)))
    }

    /// The paths of one session.
    pub fn session(&self, id: &SessionId) -> SessionPaths {
        SessionPaths { sessions: self.sessions(), id: id.clone() }
    }

    /// What lies in `sessions/`. Hidden entries (unfinished temporaries) are left out.
    ///
    /// # Errors
    /// The folder cannot be read; a missing folder is an empty listing.
    pub fn list(&self) -> io::Result<Listing> {
        let entries = match fs::read_dir(self.sessions()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Listing::default()),
            Err(error) => return Err(error),
        };
        let mut found: BTreeMap<SessionId, (bool, bool)> = BTreeMap::new();
        let mut strangers = Vec::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with('.') {
                continue;
            }
            if let Some(id) = file_of(&name) {
                found.entry(id).or_default().1 = true;
            } else if let (Some(id), true) = (exact_id(&name), entry.file_type()?.is_dir()) {
                found.entry(id).or_default().0 = true;
            } else {
                strangers.push(entry.path());
            }
        }
        strangers.sort();
        let sessions = found.into_iter().map(|(id, (dir, files))| OnDisk { id, dir, files }).collect();
        Ok(Listing { sessions, strangers })
    }

    /// Why the file system under this directory deserves a warning, if it does: locks and fsync
    /// mean less over a network, and nothing in memory survives a reboot.
    pub fn file_system_warning(&self) -> Option<&'static str> {
        file_system_warning(&self.root)
    }
}

/// The same of any directory: of the one, say, in which a state directory would be made.
pub fn file_system_warning(directory: &Path) -> Option<&'static str> {
    let kind = rustix::fs::statfs(directory).ok()?.f_type as u32;
    // Magic numbers of statfs(2).
    match kind {
        0x6969 | 0x517B | 0xFF53_4D42 | 0xFE53_4D42 | 0x0102_1997 | 0x00C3_6400 | 0x5346_414F => {
            Some("the state directory is on a network file system: its locks and its fsync may not hold")
        }
        0x0102_1994 | 0x8584_58F6 => Some("the state directory is in memory: nothing in it survives a reboot"),
        0x6573_5546 => Some("the state directory is on a FUSE file system: its fsync may not hold"),
        _ => None,
    }
}

/// `20251121T100000007Z`: an instant as part of a file name.
pub fn compact(at: Timestamp) -> String {
    at.to_string().chars().filter(|c| c.is_ascii_alphanumeric()).collect()
}

fn exact_id(name: &str) -> Option<SessionId> {
    name.parse::<SessionId>().ok().filter(|id| id.as_str() == name)
}

/// The session that a file named like a checkpoint or heartbeat belongs to.
fn file_of(name: &str) -> Option<SessionId> {
    let rest = name.strip_prefix("checkpoint_").or_else(|| name.strip_prefix("heartbeat_"))?;
    exact_id(rest.strip_suffix(".json").or_else(|| rest.strip_suffix(".json.prev"))?)
}

fn private_dir(path: &Path) -> Result<(), StateDirError> {
    let made = fs::DirBuilder::new().mode(0o700).recursive(true).create(path);
    match check_ours(path) {
        Err(StateDirError::Io { .. }) if made.is_err() => {
            made.map_err(|source| StateDirError::Io { path: path.to_owned(), source })
        }
        checked => checked,
    }
}

fn check_ours(path: &Path) -> Result<(), StateDirError> {
    let meta = fs::symlink_metadata(path).map_err(|source| StateDirError::Io { path: path.to_owned(), source })?;
    if !meta.is_dir() {
        return Err(StateDirError::NotADirectory(path.to_owned()));
    }
    let me = rustix::process::geteuid().as_raw();
    if meta.uid() != me {
        return Err(StateDirError::ForeignOwner { path: path.to_owned(), owner: meta.uid(), me });
    }
    Ok(())
}

/// The paths of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionPaths {
    sessions: PathBuf,
    id: SessionId,
}

impl SessionPaths {
    /// The session.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// The folder that holds all sessions.
    pub fn parent(&self) -> &Path {
        &self.sessions
    }

    /// Makes the session's directory and `out/` (0700), durably.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(&self) -> io::Result<()> {
        fs::DirBuilder::new().mode(0o700).recursive(true).create(self.out())?;
        sync_dir(&self.dir())?;
        sync_dir(&self.sessions)
    }

    /// The session's directory.
    pub fn dir(&self) -> PathBuf {
        self.sessions.join(self.id.as_str())
    }

    /// The checkpoint.
    pub fn checkpoint(&self) -> PathBuf {
        self.sessions.join(format!("checkpoint_{}.json", self.id))
    }

    /// The checkpoint before it.
    pub fn checkpoint_prev(&self) -> PathBuf {
        self.sessions.join(format!("checkpoint_{}.json.prev", self.id))
    }

    /// The heartbeat.
    pub fn heartbeat(&self) -> PathBuf {
        self.sessions.join(format!("heartbeat_{}.json", self.id))
    }

    /// The lock of the session's one owner.
    pub fn lock(&self) -> PathBuf {
        self.dir().join("session.lock")
    }

    /// The task as accepted.
    pub fn task(&self) -> PathBuf {
        self.dir().join("task.json")
    }

    /// The store.
    pub fn store(&self) -> PathBuf {
        self.dir().join("frontier.db")
    }

    /// The folder of the outputs.
    pub fn out(&self) -> PathBuf {
        self.dir().join("out")
    }

    /// The cookies of its browser context; written by the browser's pool, there once a page has set any.
    pub fn cookies(&self) -> PathBuf {
        self.dir().join("cookies.json")
    }

    /// The in-flight note.
    pub fn in_flight(&self) -> PathBuf {
        self.dir().join("in-flight")
    }

    /// What a dying process left to say.
    pub fn last_words(&self) -> PathBuf {
        self.dir().join("last-words.json")
    }

    /// The last recovery decision.
    pub fn recovery(&self) -> PathBuf {
        self.dir().join("recovery.json")
    }

    /// What happened besides pages, for watchers who come back.
    pub fn events(&self) -> PathBuf {
        self.dir().join("events.jsonl")
    }

    /// The file before that.
    pub fn events_prev(&self) -> PathBuf {
        self.events().with_extension("prev.jsonl")
    }

    /// The folder of the recording, where the task asks for one.
    pub fn record(&self) -> PathBuf {
        self.dir().join("record")
    }

    /// How it ended; outlives its store, and is written when it moves to another machine.
    pub fn ended(&self) -> PathBuf {
        self.dir().join("ended.json")
    }

    /// Where this session's damaged parts (cut tails, unreadable stores) are kept.
    pub fn damaged(&self) -> PathBuf {
        self.dir().join("damaged")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn opening_makes_private_folders_and_is_repeatable() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a/app-memory");
        let dir = StateDir::open(&path).unwrap();
        assert_eq!(StateDir::open(&path).unwrap(), dir);
        for folder in [dir.root().to_owned(), dir.sessions(), dir.quarantine(), dir.trash()] {
            assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700, "{folder:?}");
        }
    }

    #[test]
    fn links_and_files_are_refused() {
        let temp = tempfile::tempdir().unwrap();
        let real = temp.path().join("real");
        fs::create_dir(&real).unwrap();
        let link = temp.path().join("link");
        symlink(&real, &link).unwrap();
        assert!(matches!(StateDir::open(&link), Err(StateDirError::NotADirectory(_))));
        symlink(temp.path(), real.join("sessions")).unwrap();
        assert!(matches!(StateDir::open(&real), Err(StateDirError::NotADirectory(_))));
        let file = temp.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(StateDir::open(&file), Err(StateDirError::NotADirectory(_))));
        assert!(matches!(StateDir::existing(&temp.path().join("none")), Err(StateDirError::Io { .. })));
    }

    #[test]
    fn listing_finds_directories_orphans_and_strangers() {
        let temp = tempfile::tempdir().unwrap();
        let dir = StateDir::open(temp.path()).unwrap();
        fs::create_dir(dir.sessions().join("s1")).unwrap();
        fs::write(dir.sessions().join("checkpoint_s1.json"), "").unwrap();
        fs::write(dir.sessions().join("checkpoint_s2.json.prev"), "").unwrap();
        fs::write(dir.sessions().join("heartbeat_s3.json"), "").unwrap();
        fs::write(dir.sessions().join("notes.txt"), "").unwrap();
        fs::write(dir.sessions().join(".crawld-tmp-x"), "").unwrap();
        symlink("/etc", dir.sessions().join("s4")).unwrap();
        let listing = dir.list().unwrap();
        let seen: Vec<_> = listing.sessions.iter().map(|s| (s.id.as_str(), s.dir, s.files)).collect();
        assert_eq!(seen, [("s1", true, true), ("s2", false, true), ("s3", false, true)]);
        assert_eq!(listing.strangers, [dir.sessions().join("notes.txt"), dir.sessions().join("s4")]);
    }
}
