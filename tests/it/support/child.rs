//! The real binary as a child process: its own process group, its output in files, gone when the test ends.

use std::fs::{self, File};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use super::{poll, proc};

/// How long any command may take before the test calls it hung.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A command line of crawld in the making.
pub struct Crawld {
    command: Command,
    logs: PathBuf,
}

impl Crawld {
    /// `crawld ARGS… --state-dir STATE`; stdout and stderr go to numbered files in `logs`.
    pub fn new(logs: &Path, state: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_crawld"));
        command.args(args).arg("--state-dir").arg(state).stdin(Stdio::null()).process_group(0);
        for name in ["FAILPOINTS", "CRAWLD_CHROME", "CRAWLD_NO_SANDBOX", "NOTIFY_SOCKET"] {
            command.env_remove(name);
        }
        // Tests run beside each other, and an address of the machine has one owner.
        command.env("CRAWLD_API_LISTEN", "off");
        Crawld { command, logs: logs.to_owned() }
    }

    /// The same command line for another copy of the binary.
    pub fn program(mut self, binary: &Path) -> Self {
        let mut other = Command::new(binary);
        other.args(self.command.get_args()).stdin(Stdio::null()).process_group(0);
        if let Some(dir) = self.command.get_current_dir() {
            other.current_dir(dir);
        }
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => other.env(name, value),
                None => other.env_remove(name),
            };
        }
        self.command = other;
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Adds arguments.
    pub fn args(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    /// Arms fault points; they act only in a build with the feature `failpoints`.
    pub fn failpoints(self, text: &str) -> Self {
        self.env("FAILPOINTS", text)
    }

    /// Changes the command itself (directory, user, limits).
    pub fn tweak(mut self, change: impl FnOnce(&mut Command)) -> Self {
        change(&mut self.command);
        self
    }

    /// Starts it.
    pub fn spawn(mut self) -> Child {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        fs::create_dir_all(&self.logs).expect("log directory");
        let stdout = self.logs.join(format!("{number:04}.out"));
        let stderr = self.logs.join(format!("{number:04}.err"));
        self.command.stdout(File::create(&stdout).expect("stdout file"));
        self.command.stderr(File::create(&stderr).expect("stderr file"));
        let child = self.command.spawn().expect("the binary starts");
        Child { pid: child.id(), child, stdout, stderr, ended: None }
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn run(self) -> Ended {
        self.spawn().wait(PATIENCE)
    }
}

/// A running crawld.
pub struct Child {
    /// Its process id, also the id of its group.
    pub pid: u32,
    child: std::process::Child,
    stdout: PathBuf,
    stderr: PathBuf,
    ended: Option<ExitStatus>,
}

impl Child {
    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("wait for our own child");
        }
        self.ended.is_some()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(mut self, deadline: Duration) -> Ended {
        if poll::until(deadline, || self.has_ended().then_some(())).is_none() {
            panic!("crawld (pid {}) had not ended after {deadline:?}\n{}", self.pid, self.said());
        }
        self.collect()
    }

    /// SIGKILL to the daemon alone, not to its browsers: they must notice by themselves.
    pub fn kill(mut self) -> Ended {
        proc::kill(self.pid);
        self.ended = Some(self.child.wait().expect("wait for our own child"));
        self.collect()
    }

    /// Sends a signal to the daemon alone.
    pub fn signal(&self, signal: Signal) {
        proc::signal(self.pid, signal);
    }

    /// What it has written to stderr so far.
    pub fn stderr(&self) -> String {
        read_lossy(&self.stderr)
    }

    /// What it has written so far, for the message of a failing test.
    pub fn said(&self) -> String {
        format!("--- stdout\n{}\n--- stderr (end)\n{}", read_lossy(&self.stdout), tail(&self.stderr()))
    }

    fn collect(&mut self) -> Ended {
        let status = self.ended.expect("set by the callers");
        Ended {
            code: status.code(),
            signal: status.signal(),
            stdout: read_lossy(&self.stdout),
            stderr: read_lossy(&self.stderr),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // The group holds only what this child started; browsers have groups of their own and end with it.
        if let Some(group) = Pid::from_raw(self.pid as i32).filter(|_| self.ended.is_none()) {
            let _ = kill_process_group(group, Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ended {
    /// Fails the test unless the exit code is `code`.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "exit code; {}", self.said());
        self
    }

    /// The JSON document on stdout.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("stdout is no JSON ({e}); {}", self.said()))
    }

    /// What it said, for the message of a failing test.
    pub fn said(&self) -> String {
        format!("signal {:?}\n--- stdout\n{}\n--- stderr (end)\n{}", self.signal, self.stdout, tail(&self.stderr))
    }
}

fn read_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
