//! Reads what the kernel writes. Total: whatever is missing or malformed is `None`.

use crate::state::cgroup::counter;

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

/// PSI: the share of time in which some task stalled, over 10 s, in percent.
pub(super) fn psi_some_avg10(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("some "))?;
    line.split_ascii_whitespace().find_map(|field| field.strip_prefix("avg10="))?.parse().ok()
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
    fn stalls() {
        let psi = "some avg10=12.50 avg60=1.00 avg300=0.00 total=5\nfull avg10=3.00 avg60=0.00 avg300=0.00 total=1\n";
        assert_eq!(psi_some_avg10(psi), Some(12.5));
        assert_eq!(psi_some_avg10("full avg10=3.00\n"), None);
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
