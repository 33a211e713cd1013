//! Browsers that an earlier life of the daemon left behind: known by identity, never by a bare pid.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::report::Reaped;

/// How long a killed leftover may take to disappear.
const GONE_WITHIN: Duration = Duration::from_secs(2);

/// Tries to remove a profile that is still written to, and the pause between them.
pub(super) const REMOVAL_TRIES: u32 = 10;
pub(super) const REMOVAL_PAUSE: Duration = Duration::from_millis(20);

/// What is written down beside the profile of every launched browser.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// Boot in which it was started.
    pub boot_id: String,
    /// Process id, also of its process group.
    pub pid: u32,
    /// Start time in clock ticks since boot.
    pub start_ticks: u64,
    /// Its profile directory, named on its command line.
    pub profile: PathBuf,
}

impl Identity {
    /// The identity of a running child.
    pub(super) fn of(pid: u32, profile: &Path) -> Option<Identity> {
        Some(Identity { boot_id: boot_id(), pid, start_ticks: start_ticks(pid)?, profile: profile.to_owned() })
    }

    /// Whether this number still means the process that was written down.
    fn is_same_process(&self) -> bool {
        self.boot_id == boot_id() && start_ticks(self.pid) == Some(self.start_ticks)
    }

    fn names_profile(&self) -> bool {
        // Chromium writes its command line anew with blanks between the arguments, so an argument ends at either.
        let wanted = format!("--user-data-dir={}", self.profile.display());
        let line = self.command_line();
        memchr::memmem::find_iter(&line, wanted.as_bytes())
            .any(|at| matches!(line.get(at + wanted.len()), None | Some(0 | b' ')))
    }

    /// Empty for a process that is just ending.
    fn command_line(&self) -> Vec<u8> {
        fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default()
    }
}

/// The kernel's random id of this boot.
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// Start time of a process in clock ticks since boot: field 22 of `/proc/{pid}/stat`.
pub(super) fn start_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in parentheses and may itself hold spaces and parentheses.
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19)?.parse().ok()
}

/// Ends the browsers that an earlier life of the daemon left under `profile_root`, and removes
/// their profiles. Touches only processes whose boot id, pid, start time and profile match the record.
/// The caller holds the state directory's lock. Takes at most about two seconds per live leftover.
pub fn reap_leftovers(profile_root: &Path) -> Vec<Reaped> {
    // Records name the real path.
    let Ok(root) = profile_root.canonicalize() else { return Vec::new() };
    let Ok(entries) = fs::read_dir(&root) else { return Vec::new() };
    let mut reaped = Vec::new();
    let mut records = Vec::new();
    let mut profiles = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        match name.strip_prefix("browser-") {
            Some(rest) if rest.ends_with(".json") => records.push(entry.path()),
            Some(_) if entry.file_type().is_ok_and(|kind| kind.is_dir()) => profiles.push(entry.path()),
            _ => {}
        }
    }
    for record in records {
        let profile = record.with_extension("");
        let identity: Option<Identity> = fs::read(&record).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let killed_pid = identity.filter(|identity| identity.profile == profile).and_then(|identity| end(&identity));
        remove(&profile);
        let _ = fs::remove_file(&record);
        profiles.retain(|path| *path != profile);
        reaped.push(Reaped { killed_pid, profile });
    }
    for profile in profiles {
        remove(&profile);
        reaped.push(Reaped { killed_pid: None, profile });
    }
    reaped
}

/// Kills the process and its group, when it is the one of the record.
fn end(identity: &Identity) -> Option<u32> {
    let pid = Pid::from_raw(i32::try_from(identity.pid).ok()?)?;
    let handle = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    // Checked after the handle is held: from here on the handle cannot come to mean another process.
    if !identity.is_same_process() {
        return None;
    }
    let wait = rustix::time::Timespec { tv_sec: GONE_WITHIN.as_secs() as i64, tv_nsec: 0 };
    let gone = || poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&wait));
    if !identity.names_profile() {
        if identity.command_line().is_empty() {
            // It is ending by itself and may still be writing.
            let _ = gone();
        }
        return None;
    }
    // While its leader lives the group cannot be another one either.
    let _ = kill_process_group(pid, Signal::KILL);
    let _ = pidfd_send_signal(&handle, Signal::KILL);
    let _ = gone();
    Some(identity.pid)
}

/// Removes a profile. Children of a browser write for an instant after its end, hence the tries;
/// what stays is removed at the next start.
fn remove(profile: &Path) {
    for _ in 0..REMOVAL_TRIES {
        match fs::remove_dir_all(profile) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => std::thread::sleep(REMOVAL_PAUSE),
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn sleeper(profile: &Path) -> std::process::Child {
        use std::os::unix::process::CommandExt;
        // `sh -c script name args`: a live process with the profile on its command line.
        Command::new("/bin/sh")
            .args(["-c", "sleep 600; :", "sh --type=x", &format!("--user-data-dir={}", profile.display())])
            .process_group(0)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn record(root: &Path, identity: &Identity) {
        let path = root.join(format!("{}.json", identity.profile.file_name().unwrap().to_string_lossy()));
        fs::write(path, serde_json::to_vec(identity).unwrap()).unwrap();
    }

    #[test]
    fn only_the_recorded_process_is_ended() {
        #[track_caller]
        fn check(name: &str, change: impl Fn(&mut Identity), dies: bool) {
            let root = tempfile::tempdir().unwrap();
            let profile = root.path().join("browser-1");
            fs::create_dir(&profile).unwrap();
            let mut child = sleeper(&profile);
            let mut identity = Identity::of(child.id(), &profile).unwrap();
            // Wait for exec: until then the command line is this program's.
            while !identity.names_profile() {
                std::thread::yield_now();
            }
            change(&mut identity);
            record(root.path(), &identity);
            let reaped = reap_leftovers(root.path());
            assert_eq!(reaped.iter().any(|one| one.killed_pid == Some(child.id())), dies, "{name}");
            assert_eq!(child.try_wait().unwrap().is_some(), dies, "{name}");
            if let Some(group) = Pid::from_raw(child.id() as i32) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            child.wait().unwrap();
        }
        check("the same process", |_| {}, true);
        check("another boot", |identity| identity.boot_id = "other".into(), false);
        check("pid used again", |identity| identity.start_ticks += 1, false);
        check("another profile", |identity| identity.profile = "/elsewhere/browser-1".into(), false);
    }

    #[test]
    fn profiles_without_a_record_and_damaged_records_are_removed() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("browser-7")).unwrap();
        fs::write(root.path().join("browser-8.json"), "{").unwrap();
        fs::write(root.path().join("keep.txt"), "mine").unwrap();
        assert_eq!(reap_leftovers(root.path()).len(), 2);
        let left: Vec<_> = fs::read_dir(root.path()).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(left, ["keep.txt"]);
    }
}
