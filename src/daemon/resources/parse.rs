//! Reads what the kernel writes. Total: whatever is missing or malformed is `None`.

use std::path::{Path, PathBuf};

/// Memory used of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes that may be used.
    pub limit: u64,
    /// Bytes that could not be given back at once.
    pub used: u64,
}

impl MemoryUse {
    /// Free share, 0..1.
    pub fn headroom(&self) -> f64 {
        if self.limit == 0 { 0.0 } else { self.limit.saturating_sub(self.used) as f64 / self.limit as f64 }
    }
}

/// A limit above this is none: v1 writes the largest multiple of the page size.
const NO_LIMIT: u64 = 1 << 60;

/// Ticks of all cores since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CpuTimes {
    busy: u64,
    all: u64,
}

impl CpuTimes {
    /// Busy share between two samples; `None` when no tick has passed.
    pub(super) fn busy_since(&self, before: &CpuTimes) -> Option<f64> {
        let all = self.all.checked_sub(before.all).filter(|ticks| *ticks > 0)?;
        Some((self.busy.saturating_sub(before.busy) as f64 / all as f64).min(1.0))
    }
}

/// The `cpu` line of `/proc/stat`: user nice system idle iowait irq softirq steal (guest time is in user).
pub(super) fn cpu_times(stat: &str) -> Option<CpuTimes> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_ascii_whitespace().take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    let all = ticks.iter().sum();
    let idle = ticks.get(3)? + ticks.get(4).unwrap_or(&0);
    Some(CpuTimes { busy: all - idle, all })
}

/// `/proc/meminfo`: what is not available is used.
pub(super) fn meminfo(text: &str) -> Option<MemoryUse> {
    let bytes = |name| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    let limit = bytes("MemTotal:")?;
    Some(MemoryUse { limit, used: limit.saturating_sub(bytes("MemAvailable:")?) })
}

/// cgroup v2: `memory.max`, `memory.current`, `memory.stat`. `None` without a limit. Page cache that nobody has
/// used lately is given back at once.
pub(super) fn cgroup_v2(max: &str, current: &str, stat: &str) -> Option<MemoryUse> {
    limited(max, current, counter(stat, "inactive_file"))
}

/// cgroup v1: `memory.limit_in_bytes`, `memory.usage_in_bytes`, `memory.stat`.
pub(super) fn cgroup_v1(limit: &str, usage: &str, stat: &str) -> Option<MemoryUse> {
    limited(limit, usage, counter(stat, "total_inactive_file").or_else(|| counter(stat, "inactive_file")))
}

fn limited(limit: &str, usage: &str, reclaimable: Option<u64>) -> Option<MemoryUse> {
    let limit: u64 = limit.trim().parse().ok().filter(|limit| *limit < NO_LIMIT)?;
    let usage: u64 = usage.trim().parse().ok()?;
    Some(MemoryUse { limit, used: usage.saturating_sub(reclaimable.unwrap_or(0)) })
}

/// A line `name value`, as in `memory.stat`, `memory.events` and `memory.oom_control`.
pub(super) fn counter(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(' ')?;
        (key == name).then(|| value.trim().parse().ok())?
    })
}

/// PSI: the share of time in which some task stalled, over 10 s, in percent.
pub(super) fn psi_some_avg10(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    line.split_ascii_whitespace().find_map(|field| field.strip_prefix("avg10="))?.parse().ok()
}

/// Directories in which this process' memory is accounted, its own first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct CgroupDirs {
    /// Unified hierarchy.
    pub(super) v2: Vec<PathBuf>,
    /// The v1 memory controller.
    pub(super) v1: Vec<PathBuf>,
}

/// From `/proc/self/cgroup` and `/proc/self/mountinfo`. A path that is not below its mount (a container that sees
/// the host's names) leaves the mount itself.
pub(super) fn memory_cgroup_dirs(cgroup: &str, mountinfo: &str) -> CgroupDirs {
    let mut dirs = CgroupDirs::default();
    for line in mountinfo.lines() {
        let Some((root, mount, v2)) = cgroup_mount(line) else { continue };
        let own = cgroup.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let ours = if v2 { controllers.is_empty() } else { controllers.split(',').any(|c| c == "memory") };
            ours.then_some(path)
        });
        let Some(own) = own else { continue };
        let below = Path::new(own).strip_prefix(root).unwrap_or(Path::new(""));
        let chain = below.ancestors().map(|part| Path::new(mount).join(part)).collect();
        *(if v2 { &mut dirs.v2 } else { &mut dirs.v1 }) = chain;
    }
    dirs
}

/// Root, mount point and version of a mount of cgroup2 or of the v1 memory controller.
fn cgroup_mount(line: &str) -> Option<(&str, &str, bool)> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(3);
    let (root, mount) = (before.next()?, before.next()?);
    let mut after = after.split(' ');
    let (kind, options) = (after.next()?, after.nth(1).unwrap_or(""));
    match kind {
        "cgroup2" => Some((root, mount, true)),
        "cgroup" if options.split(',').any(|option| option == "memory") => Some((root, mount, false)),
        _ => None,
    }
}

/// What `/proc/<pid>/stat` says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProcessStat {
    pub(super) parent: u32,
    /// User and system time in clock ticks.
    pub(super) ticks: u64,
    /// Start time in clock ticks since boot: with the pid it names a process for good.
    pub(super) start: u64,
}

/// Fields are counted from behind the command's name, which may hold blanks and parentheses.
pub(super) fn process_stat(text: &str) -> Option<ProcessStat> {
    let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(ProcessStat {
        parent: u32::try_from(number(4)?).ok()?,
        ticks: number(14)?.saturating_add(number(15)?),
        start: number(22)?,
    })
}

/// Resident bytes of a process from `/proc/<pid>/status`: its own (anonymous and shared memory), and those of files,
/// which processes of one program share.
pub(super) fn resident(status: &str) -> (u64, u64) {
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib: Option<u64> = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
        kib.unwrap_or(0).saturating_mul(1024)
    };
    (bytes("RssAnon:").saturating_add(bytes("RssShmem:")), bytes("RssFile:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_between_two_samples() {
        let before = cpu_times("cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 2 3 4\n").unwrap();
        let now = cpu_times("cpu  200 0 150 740 110 0 0 0 99 0\n").unwrap();
        assert_eq!(now.busy_since(&before), Some(0.75));
        assert_eq!(before.busy_since(&before), None, "no tick");
        assert_eq!(before.busy_since(&now), None, "went back");
        for text in ["", "cpu \n", "cpu  a b c d\n", "intr 5"] {
            assert_eq!(cpu_times(text), None, "{text:?}");
        }
    }

    #[test]
    fn system_memory() {
        let text = "MemTotal:       1000 kB\nMemFree:  10 kB\nMemAvailable:    250 kB\n";
        let memory = meminfo(text).unwrap();
        assert_eq!(memory, MemoryUse { limit: 1_024_000, used: 768_000 });
        assert_eq!(memory.headroom(), 0.25);
        assert_eq!(meminfo("MemTotal: 1000 kB\n"), None);
        assert_eq!(meminfo("MemTotal: many kB\nMemAvailable: 1 kB\n"), None);
        assert_eq!(MemoryUse { limit: 0, used: 0 }.headroom(), 0.0);
        assert_eq!(MemoryUse { limit: 10, used: 20 }.headroom(), 0.0);
    }

    #[test]
    fn memory_of_a_control_group() {
        let stat = "anon 100\nfile 900\ninactive_file 400\nactive_file 500\n";
        assert_eq!(cgroup_v2("2000\n", "1000\n", stat), Some(MemoryUse { limit: 2000, used: 600 }));
        assert_eq!(cgroup_v2("max\n", "1000\n", stat), None, "no limit");
        assert_eq!(cgroup_v2("2000\n", "1000\n", ""), Some(MemoryUse { limit: 2000, used: 1000 }));
        assert_eq!(cgroup_v2("2000\n", "", stat), None);
        let stat = "inactive_file 1\nhierarchical_memory_limit 5\ntotal_inactive_file 400\n";
        assert_eq!(cgroup_v1("2000\n", "1000\n", stat), Some(MemoryUse { limit: 2000, used: 600 }));
        assert_eq!(cgroup_v1("9223372036854771712\n", "1000\n", stat), None, "no limit");
    }

    #[test]
    fn counters_and_stalls() {
        assert_eq!(counter("low 0\nhigh 3\noom 2\noom_kill 1\n", "oom_kill"), Some(1));
        assert_eq!(counter("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n", "oom_kill"), Some(7));
        assert_eq!(counter("oom_kill x\n", "oom_kill"), None);
        assert_eq!(counter("", "oom_kill"), None);
        let psi = "some avg10=12.50 avg60=1.00 avg300=0.00 total=5\nfull avg10=3.00 avg60=0.00 avg300=0.00 total=1\n";
        assert_eq!(psi_some_avg10(psi), Some(12.5));
        assert_eq!(psi_some_avg10("full avg10=3.00\n"), None);
    }

    #[test]
    fn control_groups_are_found() {
        let dirs = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        let v2_mount = "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = memory_cgroup_dirs("0::/system.slice/crawld.service\n", v2_mount);
        let chain = ["/sys/fs/cgroup/system.slice/crawld.service", "/sys/fs/cgroup/system.slice", "/sys/fs/cgroup/"];
        assert_eq!((found.v2, found.v1), (dirs(&chain), Vec::new()), "v2");

        let v1_mounts = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                         35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let found = memory_cgroup_dirs("4:memory:/a/b\n1:cpu:/c\n0::/\n", v1_mounts);
        let chain = ["/sys/fs/cgroup/memory/a/b", "/sys/fs/cgroup/memory/a", "/sys/fs/cgroup/memory/"];
        assert_eq!((found.v2, found.v1), (Vec::new(), dirs(&chain)), "v1");

        let bound = "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        let found = memory_cgroup_dirs("4:memory:/docker/abc\n", bound);
        assert_eq!(found.v1, dirs(&["/sys/fs/cgroup/memory/"]), "bind mount of its own directory");
        let found = memory_cgroup_dirs("4:memory:/elsewhere\n", bound);
        assert_eq!(found.v1, dirs(&["/sys/fs/cgroup/memory/"]), "the host's names");
        assert_eq!(memory_cgroup_dirs("", ""), CgroupDirs::default());
    }

    #[test]
    fn processes() {
        let stat = "42 (a (b) c) S 7 42 42 0 -1 4194560 1 0 0 0 30 12 0 0 20 0 9 0 5555 100 200";
        assert_eq!(process_stat(stat), Some(ProcessStat { parent: 7, ticks: 42, start: 5555 }));
        assert_eq!(process_stat("42 (x"), None);
        assert_eq!(process_stat("42 (x) S 7"), None);
        let status =
            "Name:\tx\nVmRSS:\t  60 kB\nRssAnon:\t      30 kB\nRssFile:\t      20 kB\nRssShmem:\t      10 kB\n";
        assert_eq!(resident(status), (40 * 1024, 20 * 1024));
        assert_eq!(resident(""), (0, 0), "a kernel thread or a zombie");
    }
}
