//! CPU and memory of our process tree: the daemon, its browsers and everything they started.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::Instant;

use super::parse::{ProcessStat, process_stat, resident};
use super::read;

/// Clock ticks per second as `/proc` counts them: fixed at 100 on every Linux that Chromium runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// The process tree at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TreeSample {
    /// CPU since the sample before, in percent of one core; `None` in the first sample.
    pub cpu_percent: Option<f64>,
    /// Resident bytes: every process' own, and the largest part that is mapped from files (a browser's processes
    /// share theirs).
    pub rss_bytes: u64,
    /// Processes.
    pub processes: u32,
}

/// Remembers CPU times between samples.
#[derive(Debug)]
pub(super) struct TreeSampler {
    root: u32,
    before: HashMap<(u32, u64), u64>,
    taken: Option<Instant>,
}

impl TreeSampler {
    pub(super) fn new(root: u32) -> Self {
        TreeSampler { root, before: HashMap::new(), taken: None }
    }

    pub(super) fn sample(&mut self, browsers: &[u32]) -> TreeSample {
        let processes = processes();
        let roots = std::iter::once(self.root).chain(browsers.iter().copied());
        let tree = members(&processes, roots);
        let elapsed = self.taken.replace(Instant::now()).map(|at| at.elapsed().as_secs_f64());

        let mut ticks_now = HashMap::with_capacity(tree.len());
        let (mut spent, mut own, mut mapped) = (0u64, 0u64, 0u64);
        for pid in &tree {
            let stat = processes[pid];
            let id = (*pid, stat.start);
            spent += stat.ticks.saturating_sub(self.before.get(&id).copied().unwrap_or(0));
            ticks_now.insert(id, stat.ticks);
            let (private, files) = read(format!("/proc/{pid}/status")).map_or((0, 0), |text| resident(&text));
            own = own.saturating_add(private);
            mapped = mapped.max(files);
        }
        self.before = ticks_now;
        let cpu_percent = elapsed.filter(|s| *s > 0.0).map(|s| spent as f64 / TICKS_PER_SECOND / s * 100.0);
        TreeSample { cpu_percent, rss_bytes: own.saturating_add(mapped), processes: tree.len() as u32 }
    }
}

/// Every process that can be seen.
fn processes() -> HashMap<u32, ProcessStat> {
    let Ok(entries) = fs::read_dir("/proc") else { return HashMap::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| Some((pid, process_stat(&read(format!("/proc/{pid}/stat"))?)?))).collect()
}

/// The roots that exist, and all their descendants.
fn members(processes: &HashMap<u32, ProcessStat>, roots: impl Iterator<Item = u32>) -> HashSet<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for (pid, stat) in processes {
        children.entry(stat.parent).or_default().push(*pid);
    }
    let mut tree = HashSet::new();
    let mut open: Vec<u32> = roots.filter(|pid| processes.contains_key(pid)).collect();
    while let Some(pid) = open.pop() {
        if tree.insert(pid) {
            open.extend(children.get(&pid).into_iter().flatten());
        }
    }
    tree
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_its_roots_and_their_descendants() {
        let process = |parent| ProcessStat { parent, ticks: 0, start: 0 };
        let all = HashMap::from([
            (1, process(0)),
            (10, process(1)),
            (11, process(10)),
            (12, process(11)),
            (20, process(1)),
            (21, process(20)),
            (30, process(1)),
        ]);
        #[track_caller]
        fn check(all: &HashMap<u32, ProcessStat>, name: &str, roots: &[u32], expected: &[u32]) {
            let expected: HashSet<u32> = expected.iter().copied().collect();
            assert_eq!(members(all, roots.iter().copied()), expected, "{name}");
        }
        check(&all, "one root", &[10], &[10, 11, 12]);
        check(&all, "two roots", &[10, 20], &[10, 11, 12, 20, 21]);
        check(&all, "a root within the other", &[10, 11], &[10, 11, 12]);
        check(&all, "a root that is gone", &[10, 99], &[10, 11, 12]);
    }
}
