//! What the machine has left: memory, CPU, stalls and disk, as the kernel tells it. Thin effects; what the files
//! say is read by `parse`.

mod parse;
mod tree;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::state::cgroup;
pub use parse::MemoryUse;
pub use tree::TreeSample;
use tree::TreeSampler;

/// One look at the machine. `None` is not measured.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ResourceSample {
    /// Busy share of all cores since the sample before, 0..1; of our share of them where a quota limits us.
    pub cpu_busy: Option<f64>,
    /// Our process tree.
    pub tree: TreeSample,
    /// Free share of the memory that may be used, 0..1: the tightest of cgroup levels and system.
    pub memory_headroom: Option<f64>,
    /// Bytes the process tree may hold, where a cgroup limits it.
    pub memory_limit: Option<u64>,
    /// PSI memory "some avg10" in percent.
    pub psi_memory: Option<f64>,
    /// Processes of our cgroup killed for memory since it exists.
    pub oom_kills: Option<u64>,
}

/// Free and total bytes of a file system, as an ordinary user sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes that may be written.
    pub free: u64,
    /// Bytes in all.
    pub total: u64,
}

impl DiskSpace {
    /// The bytes below which crawling pauses: `bytes` or `percent` of the file system, whichever is less, so that
    /// neither a small nor a huge disk is held back without need.
    pub fn reserve(&self, bytes: u64, percent: u32) -> u64 {
        bytes.min((self.total / 100).saturating_mul(u64::from(percent.min(100))))
    }
}

/// Space on the file system that holds `path`.
///
/// # Errors
/// What the kernel answers for the path.
pub fn disk_space(path: &Path) -> io::Result<DiskSpace> {
    let fs = rustix::fs::statvfs(path)?;
    Ok(DiskSpace { free: fs.f_bavail.saturating_mul(fs.f_frsize), total: fs.f_blocks.saturating_mul(fs.f_frsize) })
}

/// Cores that may be used: affinity and quota counted in.
pub fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
}

/// Bytes of memory that may be used: the machine's, or the cgroup's limit.
pub fn memory_total() -> u64 {
    let system = read("/proc/meminfo").and_then(|text| parse::meminfo(&text)).map(|memory| memory.limit);
    let limits = Cgroup::of_this_process().memory().into_iter().map(|memory| memory.limit);
    limits.chain(system).min().unwrap_or(0)
}

/// Takes samples; keeps what differences need. A sample reads one small file per process of the machine, a few
/// milliseconds in all: take one every few seconds while crawling, and every half minute while idle.
#[derive(Debug)]
pub struct ResourceSampler {
    cgroup: Cgroup,
    tree: TreeSampler,
    cpu_before: Option<parse::CpuTimes>,
    cores: u32,
}

impl Default for ResourceSampler {
    fn default() -> Self {
        ResourceSampler::new()
    }
}

impl ResourceSampler {
    /// A sampler for this process and what it starts.
    pub fn new() -> Self {
        ResourceSampler {
            cgroup: Cgroup::of_this_process(),
            tree: TreeSampler::new(std::process::id()),
            cpu_before: None,
            cores: cores(),
        }
    }

    /// Takes a sample. `browsers` are process ids of browsers that may no longer be children of ours.
    pub fn sample(&mut self, browsers: &[u32]) -> ResourceSample {
        let tree = self.tree.sample(browsers);
        let cpu_now = read("/proc/stat").and_then(|text| parse::cpu_times(&text));
        let machine = self.cpu_before.zip(cpu_now).and_then(|(before, now)| now.busy_since(&before));
        self.cpu_before = cpu_now.or(self.cpu_before);
        // Under a quota the machine may look idle while we have used up our part of it.
        let ours = tree.cpu_percent.map(|percent| (percent / 100.0 / f64::from(self.cores)).min(1.0));
        let own = self.cgroup.memory();
        let system = read("/proc/meminfo").and_then(|text| parse::meminfo(&text));
        ResourceSample {
            cpu_busy: machine.map(|busy| ours.map_or(busy, |ours| busy.max(ours))),
            tree,
            memory_headroom: own.iter().chain(system.iter()).map(MemoryUse::headroom).reduce(f64::min),
            memory_limit: own.iter().map(|memory| memory.limit).min(),
            psi_memory: self.cgroup.psi_memory(),
            oom_kills: self.cgroup.oom_kills(),
        }
    }
}

/// Where this process' memory is accounted: its own directory first, then its parents up to the mount.
#[derive(Debug, Clone, Default)]
struct Cgroup {
    v2: Vec<PathBuf>,
    v1: Vec<PathBuf>,
}

impl Cgroup {
    fn of_this_process() -> Self {
        let dirs = cgroup::own_dirs();
        let existing = |dirs: Vec<PathBuf>| dirs.into_iter().filter(|dir| dir.is_dir()).collect();
        Cgroup { v2: existing(dirs.v2), v1: existing(dirs.v1) }
    }

    /// Every level that has a limit.
    fn memory(&self) -> Vec<MemoryUse> {
        let v2 = self.v2.iter().filter_map(|dir| {
            parse::cgroup_v2(
                &read(dir.join("memory.max"))?,
                &read(dir.join("memory.current"))?,
                &read(dir.join("memory.stat"))?,
            )
        });
        let v1 = self.v1.iter().filter_map(|dir| {
            parse::cgroup_v1(
                &read(dir.join("memory.limit_in_bytes"))?,
                &read(dir.join("memory.usage_in_bytes"))?,
                &read(dir.join("memory.stat"))?,
            )
        });
        v2.chain(v1).collect()
    }

    fn psi_memory(&self) -> Option<f64> {
        let own = self.v2.first().and_then(|dir| read(dir.join("memory.pressure")));
        own.or_else(|| read("/proc/pressure/memory")).and_then(|text| parse::psi_some_avg10(&text))
    }

    fn oom_kills(&self) -> Option<u64> {
        let v2 = self.v2.first().and_then(|dir| read(dir.join("memory.events")));
        let v1 = || self.v1.first().and_then(|dir| read(dir.join("memory.oom_control")));
        v2.or_else(v1).and_then(|text| cgroup::counter(&text, "oom_kill"))
    }
}

/// A small kernel file; what cannot be read is not measured.
fn read(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_can_be_measured() {
        let mut sampler = ResourceSampler::new();
        sampler.sample(&[]);
        let sample = sampler.sample(&[]);
        assert!(sample.tree.rss_bytes > 1 << 20, "{sample:?}");
        assert!(sample.tree.processes >= 1, "{sample:?}");
        assert!(sample.memory_headroom.is_some_and(|free| (0.0..=1.0).contains(&free)), "{sample:?}");
        assert!(memory_total() > 64 << 20 && cores() >= 1);
    }

    /// A guard against a sample that grows dear by orders of magnitude.
    #[test]
    fn a_sample_is_cheap() {
        let mut sampler = ResourceSampler::new();
        let begun = std::time::Instant::now();
        for _ in 0..10 {
            sampler.sample(&[]);
        }
        let each = begun.elapsed() / 10;
        println!("{each:?} a sample");
        assert!(each < std::time::Duration::from_millis(100), "{each:?}");
    }

    #[test]
    fn disks_are_measured_where_the_path_is() {
        let space = disk_space(Path::new("/")).unwrap();
        assert!(space.total > 0 && space.free <= space.total, "{space:?}");
        assert!(disk_space(Path::new("/no/such/place")).is_err());
    }

    #[test]
    fn the_reserve_is_the_lesser_of_bytes_and_percent() {
        #[track_caller]
        fn check(total_gib: u64, expected: u64) {
            let space = DiskSpace { free: 0, total: total_gib << 30 };
            assert_eq!(space.reserve(2 << 30, 5), expected, "{total_gib} GiB");
        }
        check(10, (10 << 30) / 100 * 5);
        check(1000, 2 << 30);
        check(0, 0);
    }
}
