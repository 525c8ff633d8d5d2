//! Larger pipes for busy streams, within what the system grants.

use std::fs;
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::pipe::fcntl_setpipe_size;

/// What the kernel would let a privileged process lock up in pipes has no bound; ours has.
const PRIVILEGED_BUDGET: usize = 256 << 20;

/// How much pipe memory we may use beyond the default size of each pipe.
pub struct PipeMemory(Mutex<Budget>);

struct Budget {
    total: usize,
    used: usize,
}

impl PipeMemory {
    /// The size of a new pipe (pipe(7)).
    pub const DEFAULT_SIZE: usize = 64 << 10;
    /// The size of a pipe that was made larger.
    pub const LARGEST_SIZE: usize = 1 << 20;

    pub fn new() -> Self {
        Self(Mutex::new(Budget { total: budget(), used: 0 }))
    }

    /// Make a pipe that was found full larger. Returns its size, which is the old one if that was not possible.
    pub fn grow(&self, pipe: &impl AsFd, size: usize) -> usize {
        let more = Self::LARGEST_SIZE.saturating_sub(size);
        if more == 0 || !self.lock().take(more) {
            return size;
        }
        // Unlocked: it may hang.
        let result = fcntl_setpipe_size(pipe, Self::LARGEST_SIZE);
        let mut budget = self.lock();
        match result {
            Ok(new) => {
                budget.used = (budget.used + new).saturating_sub(size + more);
                new
            }
            Err(_) => {
                budget.used -= more;
                // Refused once is refused for all: the quota is per user.
                budget.total = budget.used;
                size
            }
        }
    }

    /// A pipe of this size was closed.
    pub fn release(&self, size: usize) {
        let mut budget = self.lock();
        budget.used = budget.used.saturating_sub(size.saturating_sub(Self::DEFAULT_SIZE));
    }

    fn lock(&self) -> MutexGuard<'_, Budget> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Budget {
    fn take(&mut self, more: usize) -> bool {
        let granted = self.used + more <= self.total;
        if granted {
            self.used += more;
        }
        granted
    }
}

/// Half of what the user may have in all, since the renders use pipes too (pipe(7), `pipe-user-pages-soft`).
fn budget() -> usize {
    let pages = fs::read_to_string("/proc/sys/fs/pipe-user-pages-soft").ok();
    let pages = pages.and_then(|text| text.trim().parse::<usize>().ok());
    match pages {
        _ if is_privileged() => PRIVILEGED_BUDGET,
        Some(0) => PRIVILEGED_BUDGET,
        Some(pages) => (pages * 4096 / 2).min(PRIVILEGED_BUDGET),
        None => 0,
    }
}

/// CAP_SYS_RESOURCE or CAP_SYS_ADMIN lift the quota, but not those of a user namespace, such as a rootless container's.
fn is_privileged() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let users = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let initial = users.split_ascii_whitespace().eq(["0", "0", "4294967295"]);
    initial && effective.is_some_and(|mask| mask & (1 << 24 | 1 << 21) != 0)
}
