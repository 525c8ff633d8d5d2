//! The limit of open files: raised for this process when its commands need it, and kept from them.
//!
//! Programs that use select(2) break on numbers above 1,023, and some close every number below the limit one by one, so
//! the commands get the limit that this process had.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the limit was, and what it was raised to; the same before it was raised. A forked child goes by its parent's.
static ORIGINAL: AtomicU64 = AtomicU64::new(0);
static RAISED: AtomicU64 = AtomicU64::new(0);

/// Raise the limit as far as this process may. False if that is no further.
pub fn raise() -> bool {
    let limit = getrlimit(Resource::Nofile);
    let Some(current) = limit.current else { return false };
    let highest = limit.maximum.unwrap_or(u64::MAX);
    if current >= highest || setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).is_err() {
        return false;
    }
    if current != RAISED.load(Ordering::Relaxed) {
        ORIGINAL.store(current, Ordering::Relaxed);
    }
    RAISED.store(highest, Ordering::Relaxed);
    true
}

/// Raise the limit if the numbers of open files have come half-way to it, so that there is always some room left for what
/// else this process opens.
pub fn raise_in_time(newest: RawFd) {
    let current = getrlimit(Resource::Nofile).current;
    if current.is_some_and(|current| u64::try_from(newest).is_ok_and(|newest| newest >= current / 2)) {
        raise();
    }
}

/// The soft and the hard limit that commands get, if these are not those of this process. What somebody else has set
/// since is for them too.
pub fn for_commands() -> Option<[u64; 2]> {
    let limit = getrlimit(Resource::Nofile);
    let highest = limit.maximum.unwrap_or(u64::MAX);
    let raised = RAISED.load(Ordering::Relaxed);
    (raised != 0 && limit.current.unwrap_or(u64::MAX) == raised).then(|| [ORIGINAL.load(Ordering::Relaxed), highest])
}
