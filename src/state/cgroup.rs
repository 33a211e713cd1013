//! The cgroup in which this process' memory is accounted, and what it says of out-of-memory kills.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::policy::oom::GroupKills;

/// Out-of-memory kills in the cgroup of a process, and where they are counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OomGroup {
    /// The file that counts: `memory.events`, or `memory.oom_control` of the first version.
    pub file: PathBuf,
    /// The inode of the cgroup's directory: another cgroup of the same name has another.
    pub id: u64,
    /// Kills then.
    pub kills: u64,
}

impl OomGroup {
    /// Of this process; `None` where the kernel does not say.
    pub fn own() -> Option<Self> {
        let dirs = own_dirs();
        let v2 = dirs.v2.iter().map(|dir| dir.join("memory.events"));
        let v1 = dirs.v1.iter().map(|dir| dir.join("memory.oom_control"));
        v2.chain(v1).find_map(|file| {
            let GroupKills { id, kills } = kills(&file)?;
            Some(OomGroup { file, id, kills })
        })
    }

    /// The same place now; the cgroup there may be another one.
    pub fn now(&self) -> Option<GroupKills> {
        kills(&self.file)
    }
}

fn kills(file: &Path) -> Option<GroupKills> {
    let id = fs::metadata(file.parent()?).ok()?.ino();
    Some(GroupKills { id, kills: counter(&fs::read_to_string(file).ok()?, "oom_kill")? })
}

/// Where this process' memory is accounted, as far as the kernel says.
pub fn own_dirs() -> CgroupDirs {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    memory_cgroup_dirs(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"))
}

/// A line `name value`, as in `memory.stat`, `memory.events` and `memory.oom_control`.
pub fn counter(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(' ')?;
        (key == name).then(|| value.trim().parse().ok())?
    })
}

/// Directories in which this process' memory is accounted, its own first.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CgroupDirs {
    /// Unified hierarchy.
    pub v2: Vec<PathBuf>,
    /// The v1 memory controller.
    pub v1: Vec<PathBuf>,
}

/// From `/proc/self/cgroup` and `/proc/self/mountinfo`. A path that is not below its mount (a container that sees
/// the host's names) leaves the mount itself.
fn memory_cgroup_dirs(cgroup: &str, mountinfo: &str) -> CgroupDirs {
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn counters() {
        assert_eq!(counter("low 0\nhigh 3\noom 2\noom_kill 1\n", "oom_kill"), Some(1));
        assert_eq!(counter("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n", "oom_kill"), Some(7));
        assert_eq!(counter("oom_kill x\n", "oom_kill"), None);
        assert_eq!(counter("", "oom_kill"), None);
    }

    #[test]
    fn a_group_made_anew_is_another_one() {
        let temp = tempfile::tempdir().unwrap();
        let (dir, old) = (temp.path().join("crawld.service"), temp.path().join("old"));
        let write = |kills| fs::write(dir.join("memory.events"), format!("oom 0\noom_kill {kills}\n")).unwrap();
        fs::create_dir(&dir).unwrap();
        write(2);
        let file = dir.join("memory.events");
        let GroupKills { id, kills } = kills(&file).unwrap();
        let group = OomGroup { file, id, kills };
        write(3);
        assert_eq!(group.now(), Some(GroupKills { id, kills: 3 }));
        // Kept under another name, so that its inode is not free for the next.
        fs::rename(&dir, &old).unwrap();
        assert_eq!(group.now(), None, "gone");
        fs::create_dir(&dir).unwrap();
        write(0);
        assert_ne!(group.now().unwrap().id, id);
    }
}
