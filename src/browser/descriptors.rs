//! Hands the browser its two pipe ends as descriptors 3 and 4, which is where Chromium looks for
//! them, and watches the handle of its process.
//!
//! The only unsafe code of crawld. A shell as go-between would do the same without it, but would
//! leave a process whose id is not the browser's.
#![allow(unsafe_code)]

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use tokio::io::unix::AsyncFd;
use tokio::process::Command;

/// Lowest number for the intermediate copies: well above 3 and 4.
const HIGH: RawFd = 10;

/// Arranges that the child of `command` reads commands from 3 and writes answers to 4.
/// The ends are closed here when `command` is dropped.
pub(super) fn hand_over(command: &mut Command, commands: OwnedFd, answers: OwnedFd) -> io::Result<()> {
    let commands = rustix::io::fcntl_dupfd_cloexec(commands, HIGH)?;
    let answers = rustix::io::fcntl_dupfd_cloexec(answers, HIGH)?;
    // SAFETY: the closure runs between fork and exec of the child, where only async-signal-safe
    // calls are allowed. It makes two `dup2` system calls on descriptors that exist (the closure
    // owns them) and builds an `io::Error` from an errno: no allocation, no lock, no panic.
    unsafe {
        command.pre_exec(move || {
            put(&commands, 3)?;
            put(&answers, 4)
        });
    }
    Ok(())
}

/// Makes `number` a copy of `from` that survives exec.
fn put(from: &OwnedFd, number: RawFd) -> io::Result<()> {
    // SAFETY: `number` is only named as the target of `dup2` and never closed by this value: from
    // here on it belongs to the program about to be executed. Whatever had this number in the child
    // is replaced, which in a process about to call exec harms nobody; `from` is at least `HIGH`.
    let mut slot = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(number) });
    Ok(rustix::io::dup2(from, &mut slot)?)
}

/// Lets the runtime tell when the process of a pidfd has ended.
pub(super) fn watch(handle: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` keeps one open descriptor for as long as it lives, always answers with
    // the same number, and is moved into the `AsyncFd`, which closes it after taking it off the list.
    unsafe { AsyncFd::register(handle) }.map_err(io::Error::from)
}
