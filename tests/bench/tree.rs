//! CPU and memory of a whole process tree, from outside: a browser's processes come and go.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Ticks of `/proc/PID/stat` in a second: 100 on every Linux that Chromium runs on.
const TICKS: f64 = 100.0;
/// How often the tree is looked at: what a process did after the last look before its end is not counted.
const EVERY: Duration = Duration::from_millis(50);
/// How often memory is added up, which costs the kernel more.
const MEMORY_EVERY: Duration = Duration::from_millis(400);

/// What a tree took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reading {
    /// CPU of every process that was ever seen in it, user and kernel.
    pub cpu: Duration,
    /// The most proportional memory (PSS) at one look, in bytes; 0 where it was not asked for.
    pub peak_pss: u64,
}

/// Looks at a tree until stopped.
pub struct Meter {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Reading>,
}

impl Meter {
    /// Starts looking at `root` and everything below it.
    pub fn start(root: u32, memory: bool) -> Meter {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut tree = Tree::of(root);
            let (mut peak_pss, mut looked) = (0, Instant::now());
            loop {
                let last = stopped.load(Ordering::Relaxed);
                tree.look();
                if memory && looked.elapsed() >= MEMORY_EVERY {
                    looked = Instant::now();
                    peak_pss = tree.pss().max(peak_pss);
                }
                if last {
                    return Reading { cpu: tree.cpu(), peak_pss };
                }
                std::thread::sleep(EVERY);
            }
        });
        Meter { stop, thread }
    }

    /// A last look, and the sum.
    pub fn stop(self) -> Reading {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the meter only reads files")
    }
}

/// A process: its id, and when it started, because ids are used again.
type Id = (u32, u64);

struct Tree {
    root: u32,
    /// Ticks of every process that was ever in the tree; one whose parent has died stays in it.
    seen: HashMap<Id, u64>,
    alive: Vec<u32>,
}

impl Tree {
    fn of(root: u32) -> Tree {
        Tree { root, seen: HashMap::new(), alive: Vec::new() }
    }

    fn look(&mut self) {
        let all = processes();
        let mut inside: HashSet<u32> = HashSet::from([self.root]);
        inside.extend(all.iter().filter(|p| self.seen.contains_key(&(p.pid, p.start))).map(|p| p.pid));
        loop {
            let before = inside.len();
            inside.extend(all.iter().filter(|p| inside.contains(&p.parent)).map(|p| p.pid).collect::<Vec<_>>());
            if inside.len() == before {
                break;
            }
        }
        self.alive.clear();
        for process in all.iter().filter(|process| inside.contains(&process.pid)) {
            self.alive.push(process.pid);
            self.seen.insert((process.pid, process.start), process.ticks);
        }
    }

    fn cpu(&self) -> Duration {
        Duration::from_secs_f64(self.seen.values().sum::<u64>() as f64 / TICKS)
    }

    fn pss(&self) -> u64 {
        let of = |pid: &u32| {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
            Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
        };
        self.alive.iter().filter_map(of).sum()
    }
}

struct Stat {
    pid: u32,
    parent: u32,
    start: u64,
    ticks: u64,
}

fn processes() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let stat = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in brackets may hold anything; the fields behind it are plain.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        let parent = u32::try_from(number(1)?).ok()?;
        Some(Stat { pid, parent, start: number(19)?, ticks: number(11)? + number(12)? })
    };
    pids.filter_map(stat).collect()
}

/// Proportional memory of `root` and everything below it now, in bytes.
pub fn pss(root: u32) -> u64 {
    let mut tree = Tree::of(root);
    tree.look();
    tree.pss()
}

/// The main processes of browsers below `root`.
pub fn browsers(root: u32) -> Vec<u32> {
    let mut tree = Tree::of(root);
    tree.look();
    let is_browser = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        line.contains("--remote-debugging-pipe") && !line.contains("--type=")
    };
    tree.alive.into_iter().filter(is_browser).collect()
}
