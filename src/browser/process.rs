//! One browser process: started in a group and a profile of its own, watched, ended, cleaned away.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tokio::io::AsyncReadExt;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpSocket;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::bridge::PipeEnds;
use super::config::{BrowserConfig, BrowserError};
use super::leftovers::{Identity, REMOVAL_PAUSE, REMOVAL_TRIES};
use super::{descriptors, flags};
use crate::lock::lock;
use crate::model::text::escape_control;

/// How long a browser may take to end after SIGTERM, and again after SIGKILL.
const SIGNAL_GRACE: Duration = Duration::from_secs(2);
/// From the end of a browser's connection to that of the browser, where that is why.
const NOTICED_WITHIN: Duration = Duration::from_millis(500);
/// What a browser that has ended still has in its pipe is read for so long: a child of it may hold the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Bytes of the browser's own log that are kept.
const LOG_KEPT: usize = 8 << 10;
/// The kernel should end a browser rather than the daemon; renderers carry 300 by themselves.
const OOM_SCORE: &str = "200";
/// Variables that the browser gets from the daemon's environment; the rest stays here.
const ENVIRONMENT: [&str; 5] = ["PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE"];

/// The end of the browser's own log.
#[derive(Debug, Clone, Default)]
pub(super) struct LogTail(Arc<Mutex<VecDeque<u8>>>);

impl LogTail {
    fn push(&self, bytes: &[u8]) {
        let mut kept = lock(&self.0);
        kept.extend(bytes);
        let surplus = kept.len().saturating_sub(LOG_KEPT);
        kept.drain(..surplus);
    }

    /// The last lines, for an error message: nothing in them steers a terminal.
    pub(super) fn text(&self) -> String {
        let kept = lock(&self.0);
        let bytes: Vec<u8> = kept.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().rev().filter(|line| !line.trim().is_empty()).take(5).collect();
        escape_control(&lines.into_iter().rev().collect::<Vec<_>>().join("; ")).into_owned()
    }
}

/// A running browser process and the task that owns it.
#[derive(Debug)]
pub(super) struct Process {
    /// Who it is.
    pub identity: Identity,
    /// What it printed last.
    pub log: LogTail,
    stop: CancellationToken,
    keeper: JoinHandle<()>,
    ended: Arc<OnceLock<ExitStatus>>,
    _nowhere: Nowhere,
}

/// A port on 127.0.0.1 that is ours and answers nobody: bound, never listened on, so every connection
/// to it is refused at once and no other program can take it.
#[derive(Debug)]
struct Nowhere {
    address: SocketAddr,
    _socket: TcpSocket,
}

impl Nowhere {
    fn reserve() -> io::Result<Nowhere> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        Ok(Nowhere { address: socket.local_addr()?, _socket: socket })
    }
}

/// Starts a browser. `lost` is cancelled when it ends, for whatever reason.
///
/// # Errors
/// Profile directory, process or its record cannot be made.
pub(super) fn spawn(
    config: &BrowserConfig,
    executable: &Path,
    lost: CancellationToken,
) -> Result<(Process, PipeEnds), BrowserError> {
    let profile = fresh_profile(&config.profile_root)?;
    match spawn_in(config, executable, &profile, lost) {
        Ok(started) => Ok(started),
        Err(error) => {
            let _ = fs::remove_dir_all(&profile);
            let _ = fs::remove_file(record_path(&profile));
            Err(error)
        }
    }
}

fn spawn_in(
    config: &BrowserConfig,
    executable: &Path,
    profile: &Path,
    lost: CancellationToken,
) -> Result<(Process, PipeEnds), BrowserError> {
    let failed = |source: io::Error| BrowserError::Spawn { path: executable.to_owned(), source };
    let (child_reads, we_write) = io::pipe().map_err(failed)?;
    let (we_read, child_writes) = io::pipe().map_err(failed)?;
    let nowhere = Nowhere::reserve().map_err(failed)?;
    let mut command = Command::new(executable);
    command
        .args(flags::command_line(config, executable, profile, nowhere.address))
        .env_clear()
        .envs(ENVIRONMENT.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))))
        .env("HOME", profile)
        .env("TMPDIR", profile)
        .env("XDG_RUNTIME_DIR", profile)
        .env("DBUS_SESSION_BUS_ADDRESS", "disabled:")
        .current_dir(profile)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    descriptors::hand_over(&mut command, OwnedFd::from(child_reads), OwnedFd::from(child_writes)).map_err(failed)?;
    let mut child = command.spawn().map_err(failed)?;
    // Closes the child's ends here, so that each side sees the other's end.
    drop(command);
    let gone = || failed(io::Error::other("it ended at once"));
    let pid = child.id().ok_or_else(gone)?;
    // It can only be raised from here, and a browser that will not have it is still a browser.
    let _ = fs::write(format!("/proc/{pid}/oom_score_adj"), OOM_SCORE);
    let identity = Identity::of(pid, profile).ok_or_else(gone)?;
    write_record(&identity)?;
    let handle = Pid::from_raw(pid as i32)
        .ok_or_else(gone)
        .and_then(|pid| pidfd_open(pid, PidfdFlags::NONBLOCK).map_err(|errno| failed(errno.into())))?;
    let handle = descriptors::watch(handle).map_err(failed)?;
    let ends = PipeEnds {
        commands: pipe::Sender::from_owned_fd(OwnedFd::from(we_write)).map_err(failed)?,
        answers: pipe::Receiver::from_owned_fd(OwnedFd::from(we_read)).map_err(failed)?,
    };
    let log = LogTail::default();
    let stderr = child.stderr.take();
    let stop = CancellationToken::new();
    let ended = Arc::default();
    let keeper = Keeper {
        child,
        handle,
        pid,
        profile: profile.to_owned(),
        stop: stop.clone(),
        lost,
        log: log.clone(),
        ended: Arc::clone(&ended),
    };
    let keeper = tokio::spawn(keeper.run(stderr));
    Ok((Process { identity, log, stop, keeper, ended, _nowhere: nowhere }, ends))
}

impl Process {
    /// Ends the process, its group and its profile: SIGTERM, two seconds, SIGKILL, reap, remove.
    /// Returns when that is done, after about five seconds at most.
    pub(super) async fn end(&mut self) {
        self.stop.cancel();
        if !self.keeper.is_finished() {
            let _ = timeout(SIGNAL_GRACE * 3, &mut self.keeper).await;
        }
    }

    /// How it ended by itself, before anybody asked it to, as far as that is seen within a moment: its connection
    /// ends a little before it does.
    pub(super) async fn own_end(&mut self) -> Option<ExitStatus> {
        if !self.keeper.is_finished() {
            let _ = timeout(NOTICED_WITHIN, &mut self.keeper).await;
        }
        self.ended.get().copied()
    }
}

/// The task's state: it alone signals and reaps, so a pid it signals is never another process.
struct Keeper {
    child: Child,
    handle: AsyncFd<OwnedFd>,
    pid: u32,
    profile: PathBuf,
    stop: CancellationToken,
    lost: CancellationToken,
    log: LogTail,
    ended: Arc<OnceLock<ExitStatus>>,
}

impl Keeper {
    async fn run(mut self, stderr: Option<tokio::process::ChildStderr>) {
        let _lost = self.lost.clone().drop_guard();
        let log = self.log.clone();
        let drain = async move {
            let Some(mut stderr) = stderr else { return };
            let mut bytes = [0u8; 4096];
            while let Ok(n @ 1..) = stderr.read(&mut bytes).await {
                log.push(&bytes[..n]);
            }
        };
        let mut drain = std::pin::pin!(drain);
        let mut drained = false;
        let mut guard = std::pin::pin!(self.guard());
        loop {
            tokio::select! {
                () = &mut drain, if !drained => drained = true,
                () = &mut guard => break,
            }
        }
        if !drained {
            let _ = timeout(LAST_WORDS, drain).await;
        }
    }

    async fn guard(&mut self) {
        let by_itself = tokio::select! {
            biased;
            _ = self.handle.readable() => true,
            () = self.stop.cancelled() => {
                self.signal_group(Signal::TERM);
                let _ = timeout(SIGNAL_GRACE, self.handle.readable()).await;
                false
            }
        };
        self.lost.cancel();
        // Not reaped yet, so the group number is still this browser's, even if its leader is dead.
        self.signal_group(Signal::KILL);
        if let Ok(Ok(status)) = timeout(SIGNAL_GRACE, self.child.wait()).await
            && by_itself
        {
            let _ = self.ended.set(status);
        }
        clean(&self.profile).await;
    }

    fn signal_group(&self, signal: Signal) {
        if let Some(group) = Pid::from_raw(self.pid as i32) {
            let _ = kill_process_group(group, signal);
        }
    }
}

/// A directory that no browser has used: a profile carried over could carry over damage too.
fn fresh_profile(root: &Path) -> Result<PathBuf, BrowserError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| BrowserError::Profile { path, source }
    };
    let mut private = fs::DirBuilder::new();
    private.mode(0o700);
    private.recursive(true).create(root).map_err(failed(root))?;
    let root = root.canonicalize().map_err(failed(root))?;
    let profile = root.join(format!("browser-{:x}-{:08x}", crate::clock::boottime_ms(), fastrand::u32(..)));
    private.recursive(false).create(&profile).map_err(failed(&profile))?;
    Ok(profile)
}

fn record_path(profile: &Path) -> PathBuf {
    let mut name = profile.as_os_str().to_owned();
    name.push(".json");
    PathBuf::from(name)
}

/// Written through a temporary name; not synced, because after a power cut no process is left over.
fn write_record(identity: &Identity) -> Result<(), BrowserError> {
    let path = record_path(&identity.profile);
    let temporary = path.with_extension("tmp");
    let bytes = serde_json::to_vec_pretty(identity).unwrap_or_default();
    fs::write(&temporary, bytes)
        .and_then(|()| fs::rename(&temporary, &path))
        .map_err(|source| BrowserError::Profile { path, source })
}

/// Removes profile and record. Children of the browser may still write for an instant after its
/// end, hence the tries; what stays is removed at the next start.
async fn clean(profile: &Path) {
    for _ in 0..REMOVAL_TRIES {
        match fs::remove_dir_all(profile) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => tokio::time::sleep(REMOVAL_PAUSE).await,
            _ => break,
        }
    }
    let _ = fs::remove_file(record_path(profile));
}
