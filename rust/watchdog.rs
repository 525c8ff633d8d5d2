//! A small process of its own that ends the commands' processes should this one be killed.
//!
//! Only something outside the host can act then. It is a shell script, since there is a shell everywhere and it takes
//! less memory than anything else that can be started; where there is none, there is no watchdog.

use std::fs::File;
use std::io;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, waitpid};

use crate::spawn::{FileActions, at_least, start};

const SCRIPT: &str = include_str!("watchdog.sh");

/// The end of the pipe by which the watchdog knows that this process lives; negative without one.
static LIFELINE: AtomicI32 = AtomicI32::new(-1);

/// The process groups of the commands that run, where the watchdog can read them when this process is gone.
pub struct Groups {
    file: File,
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    free: Vec<u64>,
    count: u64,
}

/// The longest number of a process and a line's end.
const SLOT_SIZE: u64 = 11;

impl Groups {
    pub fn new() -> io::Result<Self> {
        let file = memfd_create("tailrace-groups", MemfdFlags::CLOEXEC)?.into();
        Ok(Self { file, slots: Mutex::default() })
    }

    /// Returns what `remove` has to be given.
    pub fn add(&self, group: Pid) -> u64 {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.free.pop().unwrap_or_else(|| {
            slots.count += 1;
            slots.count - 1
        });
        drop(slots);
        self.write(slot, &format!("{:>10}\n", group.as_raw_nonzero()));
        slot
    }

    /// To be called before the group's leader is collected: afterwards the number may become somebody else's.
    pub fn remove(&self, slot: u64) {
        self.write(slot, "          \n");
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).free.push(slot);
    }

    fn write(&self, slot: u64, line: &str) {
        // Writing to memory fails only when there is none left; then the group is still found by its mark.
        let _ = self.file.write_all_at(line.as_bytes(), slot * SLOT_SIZE);
    }

    /// Start the watchdog over these groups and everything whose mark starts with `mark_prefix`.
    pub fn start_watchdog(&self, mark_prefix: &str) -> io::Result<()> {
        let (watched, lifeline) = pipe_with(PipeFlags::CLOEXEC)?;
        let (watched, table) = (at_least(watched, 5)?, at_least(self.file.try_clone()?.into(), 5)?);
        let mut actions = FileActions::new()?;
        for stream in 0..3 {
            actions.open_null(stream)?;
        }
        actions.dup(&table, 3)?;
        actions.dup(&watched, 4)?;
        actions.close_from(5)?;
        let arguments = ["sh", "-c", SCRIPT, "tailrace-watchdog", mark_prefix];
        // Before there is a watchdog, so that a child that is forked meanwhile knows what to let go of.
        LIFELINE.store(OwnedFd::into_raw_fd(lifeline), Ordering::Release);
        let pid = start(c"/bin/sh", &arguments, &actions).inspect_err(|_| after_fork())?;
        let _ = waitpid(Some(pid), WaitOptions::empty());
        Ok(())
    }
}

/// Let go of the lifeline: in a forked child, or the watchdog would take the child for the parent.
pub fn after_fork() {
    let lifeline = LIFELINE.swap(-1, Ordering::AcqRel);
    if lifeline >= 0 {
        // SAFETY: the descriptor was ours, and nobody can have it from `LIFELINE` any more.
        unsafe { libc::close(lifeline) };
    }
}
