//! What is done about copies of this process that Python makes with fork(2).
//!
//! A copy has none of our threads, but a copy of every descriptor: of a pipe's writing end, if it is made while a
//! command is being started, so that the pipe would not end before the copy does; and of everything else that the
//! commands of its parent need.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a fork waits for our threads: the watchdog's shell may lie on a disk that has gone away.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_micros(50);

// No locks: in a copy of this process they would be held by threads that do not exist there.
static FORKS: AtomicU32 = AtomicU32::new(0);
static BUSY: AtomicU32 = AtomicU32::new(0);

/// A bit for each number that a descriptor of ours has; greater numbers are left open in a copy.
static OURS: [AtomicU64; 1024] = [const { AtomicU64::new(0) }; 1024];

/// The end of the pipe by which the watchdog knows that this process lives; negative without one.
static LIFELINE: AtomicI32 = AtomicI32::new(-1);

/// Call `change`, but not while this process is being forked: for what makes, registers or closes descriptors that a
/// copy must not keep. A fork waits for it.
pub fn between_forks<T>(change: impl FnOnce() -> T) -> T {
    BUSY.fetch_add(1, Ordering::SeqCst);
    while FORKS.load(Ordering::SeqCst) > 0 {
        BUSY.fetch_sub(1, Ordering::SeqCst);
        std::thread::sleep(PAUSE);
        BUSY.fetch_add(1, Ordering::SeqCst);
    }
    let changed = change();
    BUSY.fetch_sub(1, Ordering::SeqCst);
    changed
}

pub fn before() {
    FORKS.fetch_add(1, Ordering::SeqCst);
    let began = Instant::now();
    while BUSY.load(Ordering::SeqCst) > 0 && began.elapsed() < PATIENCE {
        std::thread::sleep(PAUSE);
    }
}

pub fn after_in_parent() {
    FORKS.fetch_sub(1, Ordering::SeqCst);
}

/// To be called in the copy before it runs commands of its own.
pub fn after_in_child() {
    FORKS.store(0, Ordering::SeqCst);
    BUSY.store(0, Ordering::SeqCst);
    let_go_of_lifeline();
    for (index, word) in OURS.iter().enumerate() {
        let mut numbers = word.swap(0, Ordering::Relaxed);
        while numbers != 0 {
            // SAFETY: whoever owns this descriptor is one of the threads that do not exist here.
            unsafe { libc::close((index * 64) as RawFd + numbers.trailing_zeros() as RawFd) };
            numbers &= numbers - 1;
        }
    }
}

/// Keep the end of the pipe by which the watchdog knows that this process lives, for as long as it does.
pub fn hold_lifeline(lifeline: OwnedFd) {
    LIFELINE.store(lifeline.into_raw_fd(), Ordering::Release);
}

/// Needed in a copy too, which the watchdog would take for its parent.
pub fn let_go_of_lifeline() {
    let lifeline = LIFELINE.swap(-1, Ordering::AcqRel);
    if lifeline >= 0 {
        // SAFETY: the descriptor was ours, and nobody can have it from `LIFELINE` any more.
        unsafe { libc::close(lifeline) };
    }
}

/// A descriptor that only our threads use, for as long as this process lives or they close it.
pub struct ThreadsFd(OwnedFd);

impl ThreadsFd {
    pub fn new(fd: OwnedFd) -> Self {
        Self::set(&fd, true);
        Self(fd)
    }

    fn set(fd: &OwnedFd, ours: bool) {
        let number = fd.as_raw_fd() as usize;
        let Some(word) = OURS.get(number / 64) else { return };
        let bit = 1 << (number % 64);
        if ours {
            word.fetch_or(bit, Ordering::Relaxed)
        } else {
            word.fetch_and(!bit, Ordering::Relaxed)
        };
    }
}

impl AsFd for ThreadsFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for ThreadsFd {
    fn drop(&mut self) {
        // Before it is closed: from then on the number may be somebody else's.
        Self::set(&self.0, false);
    }
}
