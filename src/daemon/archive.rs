//! Sessions as files: `export` packs one that is not running, `import` unpacks one that nobody vouches for.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use tar::{Archive, Builder, EntryType, Header};

use crate::daemon::departure;
use crate::daemon::restart::move_aside;
use crate::faults::point;
use crate::model::checkpoint::Checkpoint;
use crate::model::ids::SessionId;
use crate::model::session::SessionStatus;
use crate::model::task::{FetchSpec, StoredTask, TaskOrigin};
use crate::model::text::escape_control;
use crate::model::time::Timestamp;
use crate::output::files::{self, FileName};
use crate::state::atomic_file::{create_temporary, open_regular, stale_temporary, sync_dir, temporary_name};
use crate::state::checkpoint_file::CheckpointWriter;
use crate::state::end_note;
use crate::state::envelope::{self, Reading};
use crate::state::lock::{Holder, Lock, LockError};
use crate::state::paths::{SessionPaths, StateDir};
use crate::state::remove::remove_beneath;
use crate::state::{FileError, task_file};

/// Kill points of export and import.
pub const POINTS: &[&str] = &[
    "export.before_write",
    "export.before_rename",
    "export.before_mark",
    "export.after_mark",
    "export.after_marks",
    "import.before_unpack",
    "import.after_unpack",
    "import.before_rename",
    "import.after_rename",
    "import.after_checkpoint",
];

/// Every entry of an archive lies under this name.
const TOP: &str = "crawld-session/";
/// Entries of an archive at most.
const ENTRIES_MAX: usize = 10_000_000;
/// Bytes of a single JSON file at most.
const SMALL_MAX: u64 = 64 << 20;
/// Bytes of padding after the last entry at most.
const PADDING_MAX: u64 = 1 << 20;
/// Dropped permissions that are named one by one.
const NAMED_MAX: usize = 5;
/// Space that stays free when an archive is unpacked.
const SPACE_LEFT: u64 = 256 << 20;

/// Why a session was not exported or imported.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It runs, or its lock cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no such session, or nothing in it can be used.
    #[error("session {0} cannot be exported: {1}")]
    NotExportable(SessionId, String),
    /// The target of an export is there already.
    #[error("`{0}` exists already: name another file")]
    Exists(PathBuf),
    /// The archive holds something that no export writes.
    #[error("`{file}` is not a session export: {why}")]
    Refused {
        /// The archive.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The state directory has this session already.
    #[error("session {0} is here already: nothing was imported")]
    Known(SessionId),
}

fn at(step: &'static str, path: &Path) -> impl Fn(io::Error) -> ArchiveError {
    let path = path.to_owned();
    move |source| FileError { step, path: path.clone(), source }.into()
}

/// Packs a session into `file`. Unless `copy`, it is marked as migrated afterwards and will not be
/// resumed here. Returns the size of the file.
///
/// # Errors
/// The session runs or is not whole enough, `file` exists, or what the system said.
pub fn export(dir: &StateDir, id: &SessionId, file: &Path, copy: bool, now: Timestamp) -> Result<u64, ArchiveError> {
    let paths = dir.session(id);
    if !paths.dir().is_dir() {
        return Err(ArchiveError::NotExportable(id.clone(), "it is not in this state directory".into()));
    }
    if fs::symlink_metadata(file).is_ok() {
        return Err(ArchiveError::Exists(file.to_owned()));
    }
    let _lock = Lock::take(&paths.lock(), &Holder::me("export", now))?;
    if task_file::read(&paths).good().is_none() {
        return Err(ArchiveError::NotExportable(id.clone(), "its task.json is not usable: recover it first".into()));
    }
    // Packed once more: the archive must not say that the session is elsewhere.
    let left = departure::found(&paths);
    if left {
        departure::unmark(&paths).map_err(|error| ArchiveError::NotExportable(id.clone(), error.to_string()))?;
    }
    let written = write(&paths, file, now);
    if left || (!copy && written.is_ok()) {
        departure::mark(&paths, file, now)?;
    }
    written
}

/// Writes the archive, beside its place first.
fn write(paths: &SessionPaths, file: &Path, now: Timestamp) -> Result<u64, ArchiveError> {
    let folder = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (target, temp) = create_temporary(folder).map_err(at("write beside", file))?;
    let written = pack(paths, target, now).map_err(at("write", file)).and_then(|bytes| {
        point("export.before_rename").map_err(at("write", file))?;
        fs::rename(&temp, file).map_err(at("rename to", file))?;
        sync_dir(folder).map_err(at("sync the folder of", file))?;
        Ok(bytes)
    });
    if written.is_err() {
        let _ = fs::remove_file(&temp);
    }
    written
}

fn pack(paths: &SessionPaths, target: File, now: Timestamp) -> io::Result<u64> {
    point("export.before_write")?;
    let zipped = GzEncoder::new(BufWriter::new(target), flate2::Compression::default());
    let mut builder = Builder::new(zipped);
    // The task first: an importer sees at once what it is.
    let mut entries = vec![("task.json".to_owned(), paths.task())];
    entries.push(("checkpoint.json".to_owned(), paths.checkpoint()));
    if end_note::read(paths).good().is_some() && !departure::noted(paths) {
        entries.push(("ended.json".to_owned(), paths.ended()));
    }
    // The session's own state, and as secret as it was at home: the file is the operator's alone (0600).
    entries.push(("cookies.json".to_owned(), paths.cookies()));
    entries.push(("frontier.db".to_owned(), paths.store()));
    entries.push(("frontier.db-wal".to_owned(), wal(&paths.store())));
    let mut outputs: Vec<String> = fs::read_dir(paths.out())
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| format!("out/{}", entry.file_name().to_string_lossy()))
        .filter(|name| known(name))
        .collect();
    outputs.extend(page_files(paths)?);
    outputs.sort();
    entries.extend(outputs.into_iter().map(|name| (name.clone(), paths.dir().join(name))));
    for (name, path) in entries {
        append(&mut builder, &name, &path, now)?;
    }
    let file = builder.into_inner()?.finish()?.into_inner().map_err(|e| e.into_error())?;
    file.sync_all()?;
    Ok(file.metadata()?.len())
}

/// The files that pages left, by their names below the session's directory.
fn page_files(paths: &SessionPaths) -> io::Result<Vec<String>> {
    let (files, _) = files::list(&paths.out(), 0).map_err(io::Error::other)?;
    Ok(files.into_iter().filter_map(FileName::path).map(|name| format!("out/{name}")).collect())
}

fn wal(store: &Path) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

fn append(builder: &mut Builder<impl Write>, name: &str, path: &Path, now: Timestamp) -> io::Result<()> {
    let file = match open_regular(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let size = file.metadata()?.len();
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_size(size);
    header.set_mode(0o600);
    header.set_mtime(u64::try_from(now.millis() / 1000).unwrap_or(0));
    builder.append_data(&mut header, format!("{TOP}{name}"), BufReader::new(file).take(size))
}

/// The names an export may hold.
fn known(name: &str) -> bool {
    if matches!(
        name,
        "task.json" | "checkpoint.json" | "ended.json" | "cookies.json" | "frontier.db" | "frontier.db-wal"
    ) {
        return true;
    }
    if name.strip_prefix("out/").is_some_and(|name| FileName::parse(name).is_some()) {
        return true;
    }
    let Some(rest) = name.strip_prefix("out/urls-").or_else(|| name.strip_prefix("out/pages-")) else { return false };
    let number = rest.strip_suffix(".jsonl.gz").or_else(|| rest.strip_suffix(".jsonl"));
    number.is_some_and(|n| (1..=12).contains(&n.len()) && n.bytes().all(|b| b.is_ascii_digit()))
}

/// A session that was unpacked into this state directory, ready to be recovered like any other.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The session.
    pub session_id: SessionId,
    /// Its task, without the grants of its former home.
    pub task: StoredTask,
    /// What was not taken over, in sentences.
    pub notes: Vec<String>,
}

/// Unpacks a session from `file`. Nothing in it is trusted: only regular files with the names an export
/// writes, bounded in number and size; what the former operator allowed is not allowed here.
///
/// # Errors
/// The file is not such an export, the session is here already, or what the system said. Nothing is
/// left behind then.
pub fn import(dir: &StateDir, file: &Path, now: Timestamp) -> Result<Imported, ArchiveError> {
    let source = open_regular(file).map_err(at("read", file))?;
    let room = rustix::fs::statvfs(dir.root()).map_or(u64::MAX, |fs| fs.f_bavail.saturating_mul(fs.f_frsize));
    let temp = temporary_name(&dir.sessions());
    let made = unpack(source, &temp, room.saturating_sub(SPACE_LEFT))
        .map_err(|refusal| match refusal {
            Refusal::Io(error) => at("unpack", file)(error),
            Refusal::Bad(why) => ArchiveError::Refused { file: file.to_owned(), why },
        })
        .and_then(|()| settle(dir, &temp, file, now));
    if made.is_err() {
        discard(&temp);
    }
    made
}

enum Refusal {
    Io(io::Error),
    Bad(String),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // What the decoders say about damaged data.
            io::ErrorKind::InvalidData
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::Other => Refusal::Bad(error.to_string()),
            _ => Refusal::Io(error),
        }
    }
}

fn unpack(source: File, temp: &Path, room: u64) -> Result<(), Refusal> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    point("import.before_unpack")?;
    fs::DirBuilder::new().mode(0o700).recursive(true).create(temp.join("out"))?;
    let mut archive = Archive::new(GzDecoder::new(BufReader::new(source)));
    let mut left = room;
    for (n, entry) in archive.entries()?.enumerate() {
        let mut entry = entry?;
        if n >= ENTRIES_MAX {
            return Err(Refusal::Bad(format!("more than {ENTRIES_MAX} entries")));
        }
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = path.strip_prefix(TOP).filter(|name| known(name));
        let Some(name) = name else { return Err(Refusal::Bad(format!("it holds `{}`", path.escape_debug()))) };
        if entry.header().entry_type() != EntryType::Regular {
            return Err(Refusal::Bad(format!("`{name}` is not a regular file")));
        }
        let cap = if name.ends_with(".json") { SMALL_MAX.min(left) } else { left };
        if entry.size() > cap {
            return Err(Refusal::Bad(format!("`{name}` is too large: {} bytes, {cap} fit", entry.size())));
        }
        left -= entry.size();
        if let Some(folder) = temp.join(name).parent() {
            fs::DirBuilder::new().mode(0o700).recursive(true).create(folder)?;
        }
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(temp.join(name)).map_err(|error| {
                match error.kind() {
                    io::ErrorKind::AlreadyExists => Refusal::Bad(format!("`{name}` twice")),
                    _ => Refusal::Io(error),
                }
            })?;
        let size = entry.size();
        if io::copy(&mut (&mut entry).take(size), &mut file)? != size {
            return Err(Refusal::Bad(format!("`{name}` is cut")));
        }
        file.sync_all()?;
    }
    // The end of the stream carries its checksum; tar itself stops before it.
    if io::copy(&mut archive.into_inner().take(PADDING_MAX), &mut io::sink())? >= PADDING_MAX {
        return Err(Refusal::Bad("it goes on after its end".to_owned()));
    }
    point("import.after_unpack")?;
    Ok(())
}

/// Checks what was unpacked, takes its grants away, and puts it in its place.
fn settle(dir: &StateDir, temp: &Path, file: &Path, now: Timestamp) -> Result<Imported, ArchiveError> {
    let refused = |why: String| ArchiveError::Refused { file: file.to_owned(), why };
    let task = match envelope::read::<StoredTask>(&temp.join("task.json")) {
        Reading::Good(task, _) => task,
        Reading::TooNew { format } => {
            return Err(refused(format!("it was written by a newer crawld (format {format})")));
        }
        _ => return Err(refused("its task.json is missing or damaged".into())),
    };
    let paths = dir.session(&task.session_id);
    let here = [paths.dir(), paths.checkpoint(), paths.checkpoint_prev(), paths.heartbeat()];
    let known = here.iter().any(|path| fs::symlink_metadata(path).is_ok());
    // What was exported from here comes home over what it left behind.
    if known && !departure::found(&paths) {
        return Err(ArchiveError::Known(task.session_id));
    }
    if !looks_like_sqlite(&temp.join("frontier.db")) {
        return Err(refused("its frontier.db is not a database".into()));
    }
    let checkpoint = match envelope::read::<Checkpoint>(&temp.join("checkpoint.json")) {
        Reading::Good(checkpoint, _) if checkpoint.session_id == task.session_id => Some(checkpoint),
        _ => None,
    };
    let _ = fs::remove_file(temp.join("checkpoint.json"));
    let (task, mut notes) = without_grants(task);
    let bytes = envelope::seal(&task, &envelope::Envelope::new::<StoredTask>(1, 0))
        .map_err(|e| at("write", &paths.task())(e.into()))?;
    crate::state::atomic_file::replace(&temp.join("task.json"), &bytes, crate::state::Durability::Full)?;
    if known {
        let _lock = Lock::take(&paths.lock(), &Holder::me("import", now))?;
        let place = move_aside(dir, &paths, now).map_err(at("move aside", &paths.dir()))?;
        notes.push(format!("what the session left here when it was exported is kept in `{}`", place.display()));
    }
    point("import.before_rename").map_err(at("place", &paths.dir()))?;
    let placed = sync_dir(&temp.join("out")).and_then(|()| sync_dir(temp)).and_then(|()| fs::rename(temp, paths.dir()));
    placed.and_then(|()| sync_dir(paths.parent())).map_err(at("place", &paths.dir()))?;
    point("import.after_rename").map_err(at("place", &paths.dir()))?;
    if let Some(checkpoint) = checkpoint {
        CheckpointWriter::open(&paths).write(at_home(checkpoint, now))?;
        point("import.after_checkpoint").map_err(at("place", &paths.checkpoint()))?;
    }
    Ok(Imported { session_id: task.session_id.clone(), task, notes })
}

/// Grants are decisions of the operator of one machine.
fn without_grants(mut task: StoredTask) -> (StoredTask, Vec<String>) {
    let mut notes = Vec::new();
    let networks: Vec<String> = task.spec.allow_private_networks.iter().map(ToString::to_string).collect();
    let named: Vec<String> = task.named_private.iter().map(|named| format!("{}:{}", named.host, named.port)).collect();
    let secrets = take_secrets(&mut task.spec.fetch);
    let login: Vec<String> = task.spec.login.iter().map(|login| login.url.clone()).collect();
    let proxy: Vec<String> = task.spec.fetch.proxy.iter().map(|proxy| proxy.url.clone()).collect();
    for (what, dropped) in [
        ("allow_private_networks", networks),
        ("private addresses named as seeds", named),
        ("fetch.proxy", proxy),
        ("login", login),
        ("secrets and cookies named in fetch", secrets),
    ] {
        if !dropped.is_empty() {
            let some = dropped.iter().take(NAMED_MAX).map(|text| escape_control(text)).collect::<Vec<_>>().join(", ");
            let more = dropped.len().saturating_sub(NAMED_MAX);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            notes.push(format!("not taken over: {what} ({some}{more}); submit the same task here to allow it again"));
        }
    }
    task.ungranted |= !notes.is_empty();
    task.named_private.clear();
    task.spec.allow_private_networks.clear();
    task.spec.fetch.proxy = None;
    task.spec.login = None;
    task.origin = TaskOrigin::Import;
    task.file = None;
    (task, notes)
}

/// Takes out what names files and variables: on this machine they would be this machine's, and leave it in headers.
fn take_secrets(fetch: &mut FetchSpec) -> Vec<String> {
    let mut taken: Vec<String> = fetch.cookies_file.take().into_iter().collect();
    taken.extend(std::mem::take(&mut fetch.auth).into_values().map(|auth| auth.password));
    for headers in fetch.headers.values_mut() {
        headers.retain(|_, value| {
            let stays = !value.starts_with("env:") && !value.starts_with("file:");
            if !stays {
                taken.push(value.clone());
            }
            stays
        });
    }
    taken
}

/// Here the session is not migrated, it has arrived.
fn at_home(mut checkpoint: Checkpoint, now: Timestamp) -> Checkpoint {
    let progress = &mut checkpoint.progress_snapshot;
    if progress.status == SessionStatus::Migrated {
        progress.status = SessionStatus::Active;
    }
    checkpoint.checkpoint_time = now;
    checkpoint.browser_session_info = None;
    checkpoint
}

/// A missing store is rebuilt from the outputs; anything but a database in its place is refused.
fn looks_like_sqlite(path: &Path) -> bool {
    let mut head = [0; 16];
    match open_regular(path).and_then(|mut file| file.read_exact(&mut head)) {
        Ok(()) => head == *b"SQLite format 3\0",
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Removes what an import that was interrupted longer than `age` ago left behind.
pub fn sweep(dir: &StateDir, age: Duration) -> usize {
    let entries = fs::read_dir(dir.sessions()).into_iter().flatten().flatten();
    let left = entries.filter(|entry| stale_temporary(entry, age) && entry.file_type().is_ok_and(|t| t.is_dir()));
    left.map(|entry| discard(&entry.path())).count()
}

fn discard(temp: &Path) {
    use std::os::unix::ffi::OsStrExt;
    let name = temp.file_name().and_then(|name| std::ffi::CString::new(name.as_bytes()).ok());
    if let (Some(parent), Some(name)) = (temp.parent(), name) {
        let _ = remove_beneath(parent, &name);
    }
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
