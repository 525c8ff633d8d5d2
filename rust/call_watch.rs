//! Telling that a thread hangs in the kernel, so that another can take over its work.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the names of our threads begin with.
const THREAD_NAMES: &[u8] = b"tailrace-";
/// How long a call may take where there is no telling a thread that hangs from one that waits for a processor.
const UNSEEN: Duration = Duration::from_secs(2);

/// Where one thread says that it is inside a call that may hang.
pub struct CallWatch {
    /// Where /proc tells of it, by the numbers that it has there; None without a /proc.
    stat: Option<PathBuf>,
    /// How many such calls it has begun and ended: odd while it is inside one.
    edges: AtomicU64,
}

impl CallWatch {
    /// Of the calling thread, which alone may use `during`.
    pub fn of_this_thread() -> Arc<Self> {
        let folder = fs::read_link("/proc/thread-self").ok();
        let stat = folder.map(|folder| Path::new("/proc").join(folder).join("stat"));
        Arc::new(Self { stat, edges: AtomicU64::new(0) })
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

    /// Whether the thread, which is inside for so long, sleeps and cannot be woken.
    pub fn is_uninterruptible(&self, inside: Duration) -> bool {
        self.state().map_or(inside >= UNSEEN, |state| state == b'D')
    }

    /// Whether the thread, which is inside for so long, sleeps. On a busy machine it may be there because it gets no processor
    /// (R), or because its process is stopped (T): neither means that it hangs.
    pub fn sleeps(&self, inside: Duration) -> bool {
        self.state().map_or(inside >= UNSEEN, |state| !matches!(state, b'R' | b'T' | b't'))
    }

    fn state(&self) -> Option<u8> {
        state_in(&fs::read(self.watch.stat.as_ref()?).ok()?)
    }
}

/// Whether a thread of ours cannot be woken, so that this process cannot end before what it waits for.
pub fn any_hangs() -> bool {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    threads.map(|thread| thread.path()).any(|folder| {
        fs::read(folder.join("comm")).is_ok_and(|name| name.starts_with(THREAD_NAMES))
            && fs::read(folder.join("stat")).is_ok_and(|stat| state_in(&stat) == Some(b'D'))
    })
}

/// As ps(1) shows it.
fn state_in(stat: &[u8]) -> Option<u8> {
    let name_end = memchr::memrchr(b')', stat)?;
    stat.get(name_end + 2).copied()
}
