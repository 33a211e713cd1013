//! The real binary, measured from outside: `/proc`, its socket, its exit.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;

/// Ticks of `/proc/PID/stat` in a second: 100 on every Linux that Chromium runs on.
const TICKS: f64 = 100.0;
/// Longer than this a request may not take, or the bench is stuck.
const ANSWER: Duration = Duration::from_secs(60);

/// A place on a real disk (a tmpfs would make every sync free), with a state directory to come.
pub struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// An empty one below `target/`.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("bench-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
        Place { dir: dir.expect("a directory below target/tmp") }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    /// Starts `crawld ARGS…` here; its output goes to `out` and `err`.
    pub fn spawn(&self, args: &[&str]) -> Daemon {
        let file = |name: &str| File::create(self.path().join(name)).expect("an output file");
        // Another build, to compare with.
        let told = std::env::var_os("CRAWLD_BENCH_BINARY");
        let mut command = Command::new(told.unwrap_or_else(|| env!("CARGO_BIN_EXE_crawld").into()));
        command.args(args).arg("--state-dir").arg(self.state()).current_dir(self.path());
        command.stdin(Stdio::null()).stdout(file("out")).stderr(file("err")).process_group(0);
        if rustix::process::geteuid().is_root() {
            command.env("CRAWLD_NO_SANDBOX", "1");
        }
        let child = command.spawn().expect("crawld starts");
        Daemon { pid: child.id(), child, socket: self.state().join("crawld.sock"), out: self.path().join("out") }
    }

    /// The end of what it wrote to stderr, for the message of a failure.
    pub fn said(&self) -> String {
        let text = fs::read_to_string(self.path().join("err")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// A running crawld; killed when dropped.
pub struct Daemon {
    pid: u32,
    child: Child,
    socket: PathBuf,
    out: PathBuf,
}

impl Daemon {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// CPU of this process alone, all its threads; of its browsers nothing.
    pub fn cpu(&self) -> Duration {
        let (_, ticks) = self.stat().expect("a child of ours has a stat until it is waited for");
        Duration::from_secs_f64(ticks as f64 / TICKS)
    }

    /// Resident bytes now and at the peak.
    pub fn memory(&self) -> (u64, u64) {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let field = |name: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) << 10
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    /// One request on a new connection: the answer's body, and how long connecting and answering took.
    pub fn ask(&self, method: &str, path: &str) -> std::io::Result<(Vec<u8>, Duration)> {
        let started = Instant::now();
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(ANSWER))?;
        let head = format!(
            "{method} /api/v1{path} HTTP/1.1\r\nHost: crawld\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let took = started.elapsed();
        let strange = || std::io::Error::other(format!("{path}: {}", String::from_utf8_lossy(&answer)));
        if !answer.starts_with(b"HTTP/1.1 200") {
            return Err(strange());
        }
        let body = memchr::memmem::find(&answer, b"\r\n\r\n").ok_or_else(strange)?;
        Ok((answer[body + 4..].to_vec(), took))
    }

    /// The one session, once there is one.
    pub fn session(&self) -> Option<Value> {
        let (body, _) = self.ask("GET", "/sessions").ok()?;
        serde_json::from_slice::<Vec<Value>>(&body).ok()?.pop()
    }

    /// Waits until the one session is as wanted; `None` at the deadline or when the daemon has ended.
    pub fn until(&mut self, deadline: Duration, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        let end = Instant::now() + deadline;
        while Instant::now() < end && !self.ended() {
            if let Some(session) = self.session().filter(|session| wanted(session)) {
                return Some(session);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        None
    }

    /// Whether the process is over; it is not waited for, so that its CPU can still be read.
    pub fn ended(&self) -> bool {
        self.stat().is_none_or(|(state, _)| state == 'Z')
    }

    /// Waits for the end; the CPU it took in all, and what it printed.
    pub fn finish(mut self, deadline: Duration) -> Option<(Duration, Value)> {
        let end = Instant::now() + deadline;
        while !self.ended() {
            if Instant::now() > end {
                return None;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let cpu = self.cpu();
        let _ = self.child.wait();
        Some((cpu, serde_json::from_slice(&fs::read(&self.out).ok()?).ok()?))
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }

    /// Ctrl-C: a clean stop.
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        let _ = self.child.wait();
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid.cast_signed()) {
            let _ = kill_process(pid, signal);
        }
    }

    /// State, and ticks in user and kernel mode.
    fn stat(&self) -> Option<(char, u64)> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        // The name in brackets may hold anything; the fields behind it are plain.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
        Some((fields.first()?.chars().next()?, ticks))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // The group holds only what this bench started; browsers end with their daemon.
            if let Some(group) = Pid::from_raw(self.pid.cast_signed()) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = self.child.wait();
        }
    }
}
