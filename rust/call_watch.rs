//! Telling that a thread hangs in the kernel, so that another can take over its work.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::{Pid, gettid};

/// Where one thread says that it is inside a call that may hang.
pub struct CallWatch {
    thread: Pid,
    /// How many such calls it has begun and ended: odd while it is inside one.
    edges: AtomicU64,
}

impl CallWatch {
    /// Of the calling thread, which alone may use `during`.
    pub fn of_this_thread() -> Arc<Self> {
        Arc::new(Self { thread: gettid(), edges: AtomicU64::new(0) })
    }

    pub fn during<T>(&self, call: impl FnOnce() -> T) -> T {
        let edges = self.edges.load(Ordering::Relaxed);
        self.edges.store(edges + 1, Ordering::Release);
        let returned = call();
        self.edges.store(edges + 2, Ordering::Release);
        returned
    }
}

/// Looks at a `CallWatch` now and then. Time is not taken inside the calls, which are many and short.
pub struct Observer {
    watch: Arc<CallWatch>,
    edges: u64,
    since: Instant,
}

impl Observer {
    pub fn new(watch: Arc<CallWatch>) -> Self {
        let edges = watch.edges.load(Ordering::Acquire);
        Self { watch, edges, since: Instant::now() }
    }

    /// How long the thread has been inside its present call, by what was seen at earlier looks; None outside of any.
    pub fn inside_for(&mut self, now: Instant) -> Option<Duration> {
        let edges = self.watch.edges.load(Ordering::Acquire);
        if edges != self.edges {
            (self.edges, self.since) = (edges, now);
        }
        (edges % 2 == 1).then(|| now.saturating_duration_since(self.since))
    }

    /// The thread's state, as ps(1) shows it; None where there is no /proc. On a busy machine a thread may be inside for
    /// long because it gets no processor (R), or because its process is stopped (T): neither means that it hangs.
    pub fn state(&self) -> Option<u8> {
        let stat = fs::read(format!("/proc/self/task/{}/stat", self.watch.thread.as_raw_nonzero())).ok()?;
        let name_end = memchr::memrchr(b')', &stat)?;
        stat.get(name_end + 2).copied()
    }
}
