//! The process tree below a child of ours, read from `/proc`.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// One living process.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its parent's id.
    pub parent: u32,
    /// Its command line, arguments joined by spaces.
    pub command: String,
}

/// Every living descendant of `root`, parents before children.
pub fn descendants(root: u32) -> Vec<Process> {
    let all: Vec<Process> = fs::read_dir("/proc")
        .expect("/proc is readable")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(read)
        .collect();
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for process in all.iter().filter(|process| process.parent == parent) {
            parents.push(process.pid);
            found.push(process.clone());
        }
    }
    found
}

/// Main processes of browsers below `root`: they speak on a debugging pipe and are no helper process.
pub fn browsers(root: u32) -> Vec<Process> {
    descendants(root)
        .into_iter()
        .filter(|process| process.command.contains("--remote-debugging-pipe") && !process.command.contains("--type="))
        .collect()
}

/// Renderers below `root`.
pub fn renderers(root: u32) -> Vec<Process> {
    descendants(root).into_iter().filter(|process| process.command.contains("--type=renderer")).collect()
}

/// Living processes, whoever their parent is, whose command line contains `text`.
pub fn with_command(text: &str) -> Vec<Process> {
    fs::read_dir("/proc")
        .expect("/proc is readable")
        .filter_map(|entry| read(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .filter(|process| process.command.contains(text))
        .collect()
}

/// Sends SIGKILL; a process that is gone already is no error.
pub fn kill(pid: u32) {
    signal(pid, Signal::KILL);
}

/// Sends a signal; a process that is gone already is no error.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid as i32) {
        let _ = kill_process(pid, signal);
    }
}

fn read(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold spaces and brackets; the fields after the last one are plain.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    if state == "Z" {
        return None;
    }
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    Some(Process { pid, parent, command: String::from_utf8_lossy(&command).replace('\0', " ") })
}
