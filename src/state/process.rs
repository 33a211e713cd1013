//! Which process is which: boot id, process id and start time together name one for ever.

use std::fs;

/// The kernel's id of this boot; empty where it cannot be read.
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// Start time of this process in clock ticks since boot; 0 where it cannot be read.
pub fn own_start_ticks() -> u64 {
    start_ticks(std::process::id()).unwrap_or(0)
}

/// Start time of a process in clock ticks since boot: field 22 of `/proc/{pid}/stat`.
/// `None` when there is no such process.
pub fn start_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name, in parentheses, may hold spaces and parentheses itself.
    let after_name = &stat[stat.rfind(')')? + 1..];
    after_name.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

/// Whether the very process that wrote these facts is still alive. A process of another boot, or
/// another process that got the same id, is not.
pub fn is_alive(boot: &str, pid: u32, ticks: u64) -> bool {
    !boot.is_empty() && boot == boot_id() && start_ticks(pid) == Some(ticks)
}

/// Out-of-memory kills on this machine since boot; `None` where the kernel does not say.
pub fn oom_kills() -> Option<u64> {
    let text = fs::read_to_string("/proc/vmstat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// Whether the system says that its clock has been set by the network's since the boot; where nothing says so, no.
pub fn clock_synchronised() -> bool {
    fs::symlink_metadata("/run/systemd/timesync/synchronized").is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_process_of_the_same_boot_is_alive() {
        let (boot, pid, ticks) = (boot_id(), std::process::id(), own_start_ticks());
        assert!(ticks > 0 && !boot.is_empty());
        assert!(is_alive(&boot, pid, ticks));
        assert!(!is_alive(&boot, pid, ticks + 1), "id taken over by another process");
        assert!(!is_alive("another-boot", pid, ticks));
        assert!(!is_alive("", pid, ticks));
        assert!(!is_alive(&boot, u32::MAX, ticks));
    }
}
