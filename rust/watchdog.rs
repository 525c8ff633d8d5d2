//! A small process of its own that ends the commands' processes should this one be killed.
//!
//! Only something outside the host can act then. It is a shell script, since there is a shell everywhere and it takes
//! less memory than anything else that can be started; where there is none, there is no watchdog.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, waitpid};

use crate::descriptors::{at_least, open_null};
use crate::fork;
use crate::new_process::{Executable, NewProcess};
use crate::open_files_limit;

const SCRIPT: &str = include_str!("watchdog.sh");

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

    /// Start the watchdog over these groups, the control groups in the folder `cgroups`, if there are any, and everything
    /// whose mark starts with `mark_prefix`.
    pub fn start_watchdog(&self, mark_prefix: &str, cgroups: Option<&Path>) -> io::Result<()> {
        let (watched, lifeline) = pipe_with(PipeFlags::CLOEXEC)?;
        let (watched, table) = (at_least(watched, 5)?, at_least(self.file.try_clone()?.into(), 5)?);
        let null = at_least(open_null()?, 5)?;
        let script = CString::new(SCRIPT)?;
        let mark_prefix = CString::new(mark_prefix)?;
        let cgroups = CString::new(cgroups.map_or(&b""[..], |path| path.as_os_str().as_bytes()))?;
        let watchdog = NewProcess {
            program: Executable::Files(&[c"/bin/sh"]),
            argv: &[c"sh", c"-c", &script, c"tailrace-watchdog", &mark_prefix, &cgroups],
            envp: &[],
            cwd: None,
            descriptors: &[&null, &null, &null, &table, &watched].map(AsFd::as_fd),
            open_files: open_files_limit::for_commands(),
        };
        // Before there is a watchdog, so that a child that is forked meanwhile knows what to let go of.
        fork::hold_lifeline(lifeline);
        let (pid, _) = watchdog.start().map_err(|failure| {
            fork::let_go_of_lifeline();
            io::Error::from_raw_os_error(failure.errno)
        })?;
        let _ = waitpid(Some(pid), WaitOptions::empty());
        Ok(())
    }
}
