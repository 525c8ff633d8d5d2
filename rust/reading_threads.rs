//! Reading files of processes, which may hang: `environ` and the like need the memory of their process, whose lock
//! may be held for ever, or whose page may lie on a disk that has gone away.
//!
//! The threads share one queue. One that hangs is left to it, and another goes on with the rest; what it reads should
//! it come back still counts.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::call_watch::{CallWatch, Observer};
use crate::wake::Wake;

/// How long a thread may sleep in the files of one process before another goes on beside it.
const SUSPECT: Duration = Duration::from_millis(20);
/// How long until that process counts as one that does not answer.
const HUNG: Duration = Duration::from_millis(200);
/// How often to look at threads that have work.
pub const CHECK: Duration = Duration::from_millis(20);
/// How many threads may be lost.
const MAX_LOST: usize = 32;
/// What a thread is at that waits for work, and at the end.
const IDLE: i32 = 0;
const ENDED: i32 = -1;

/// Reading files of one process.
pub struct Task {
    pub pid: i32,
    pub read: Box<dyn FnOnce() + Send>,
}

pub struct ReadingThreads {
    shared: Arc<Shared>,
    seats: Vec<Seat>,
}

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    progress: Wake,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Task>,
    idle: usize,
    /// Threads that have begun, and nobody has looked at yet.
    newcomers: Vec<(Arc<CallWatch>, Arc<AtomicI32>)>,
    /// Threads that have not begun yet.
    starting: usize,
}

/// One thread, as seen from outside.
struct Seat {
    observer: Observer,
    /// The process that it reads.
    at: Arc<AtomicI32>,
    looked: Instant,
    /// How long it was seen sleeping in the files of that process.
    slept: Duration,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadingThreads {
    pub fn new() -> std::io::Result<Self> {
        let shared = Shared { state: Mutex::default(), work: Condvar::new(), progress: Wake::new()? };
        Ok(Self { shared: Arc::new(shared), seats: Vec::new() })
    }

    /// Have these done after all others.
    pub fn add(&mut self, tasks: impl IntoIterator<Item = Task>) {
        self.shared.lock().queue.extend(tasks);
        self.have_them_done();
    }

    /// Have this done before all others.
    pub fn add_urgent(&mut self, task: Task) {
        self.shared.lock().queue.push_front(task);
        self.have_them_done();
    }

    /// Find out who hangs, and replace him. To be called every `CHECK` while there is work.
    pub fn look(&mut self, now: Instant) {
        for seat in &mut self.seats {
            seat.look(now);
        }
        self.have_them_done();
    }

    /// Whether a thread hangs in the files of this process.
    pub fn is_stuck_in(&self, pid: i32) -> bool {
        self.stuck_in().any(|stuck| stuck == pid)
    }

    pub fn stuck_in(&self) -> impl Iterator<Item = i32> {
        self.seats.iter().filter(|seat| seat.slept >= HUNG).filter_map(Seat::pid)
    }

    /// Whether so many hang that nothing is read any more.
    pub fn are_lost(&self) -> bool {
        self.seats.len() > MAX_LOST && self.stuck_in().count() > MAX_LOST
    }

    pub fn forget_the_rest(&mut self) {
        self.shared.lock().queue.clear();
    }

    /// Start a thread if none can take what there is to do.
    fn have_them_done(&mut self) {
        let mut state = self.shared.lock();
        let newcomers = state.newcomers.drain(..);
        self.seats.extend(newcomers.map(|(watch, at)| Seat::new(watch, at)));
        self.seats.retain(|seat| seat.at.load(Ordering::Acquire) != ENDED);
        if state.queue.is_empty() {
            return;
        }
        self.shared.work.notify_one();
        let able = self.seats.iter().filter(|seat| seat.slept < SUSPECT).count();
        if able + state.starting > 0 || self.seats.len() > MAX_LOST {
            return;
        }
        let shared = Arc::clone(&self.shared);
        if std::thread::Builder::new().name("tailrace-proc".into()).spawn(move || serve(&shared)).is_ok() {
            state.starting += 1;
        }
    }
}

/// Readable after a task or all of them are done, until `reset`.
impl AsFd for ReadingThreads {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.progress.as_fd()
    }
}

impl ReadingThreads {
    pub fn reset(&self) {
        self.shared.progress.reset();
    }
}

impl Seat {
    fn new(watch: Arc<CallWatch>, at: Arc<AtomicI32>) -> Self {
        Self { observer: Observer::new(watch), at, looked: Instant::now(), slept: Duration::ZERO }
    }

    fn pid(&self) -> Option<i32> {
        Some(self.at.load(Ordering::Acquire)).filter(|pid| *pid > 0)
    }

    fn look(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.looked);
        self.looked = now;
        match self.observer.inside_for(now) {
            // A busy machine, or one that was stopped, makes nobody hang: only sleep counts.
            Some(inside) if !inside.is_zero() => {
                if self.observer.sleeps(inside) {
                    self.slept += passed.min(inside);
                }
            }
            _ => self.slept = Duration::ZERO,
        }
    }
}

/// Do what there is to do; more than one thread without work is one too many.
fn serve(shared: &Shared) {
    let (watch, at) = (CallWatch::of_this_thread(), Arc::new(AtomicI32::new(IDLE)));
    let mut state = shared.lock();
    state.starting -= 1;
    state.newcomers.push((Arc::clone(&watch), Arc::clone(&at)));
    loop {
        if let Some(Task { pid, read }) = state.queue.pop_front() {
            drop(state);
            at.store(pid, Ordering::Release);
            watch.during(read);
            at.store(IDLE, Ordering::Release);
            state = shared.lock();
            if state.queue.is_empty() {
                shared.progress.set();
            }
        } else if state.idle == 0 {
            state.idle += 1;
            state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        } else {
            at.store(ENDED, Ordering::Release);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rustix::event::{PollFd, PollFlags, poll};
    use rustix::pipe::pipe;

    use super::*;

    type Done = Arc<Mutex<HashSet<i32>>>;

    fn record(pid: i32, done: &Done) -> Task {
        let done = Arc::clone(done);
        Task {
            pid,
            read: Box::new(move || {
                done.lock().unwrap().insert(pid);
            }),
        }
    }

    fn look_until(threads: &mut ReadingThreads, condition: impl Fn(&ReadingThreads) -> bool) -> Duration {
        let began = Instant::now();
        while !condition(threads) {
            assert!(began.elapsed() < Duration::from_secs(20));
            let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: CHECK.as_nanos() as i64 };
            poll(&mut [PollFd::new(&*threads, PollFlags::IN)], Some(&timeout)).unwrap();
            threads.reset();
            threads.look(Instant::now());
        }
        began.elapsed()
    }

    #[test]
    fn who_hangs_holds_up_nobody_and_counts_when_he_comes_back() {
        let mut threads = ReadingThreads::new().unwrap();
        let done = Done::default();
        let pipes: Vec<_> = (0..20).map(|_| pipe().unwrap()).collect();
        let (readers, writers): (Vec<_>, Vec<_>) = pipes.into_iter().unzip();
        threads.add(readers.into_iter().zip(1..).flat_map(|(reader, pid)| {
            let hung = record(pid, &done);
            let read = move || {
                let _ = rustix::io::read(&reader, &mut [0u8; 1]);
                (hung.read)();
            };
            [Task { pid, read: Box::new(read) }, record(100 + pid, &done)]
        }));
        let took = look_until(&mut threads, |threads| threads.stuck_in().count() == 20);
        assert!(took < Duration::from_secs(5), "{took:?}");
        assert_eq!(*done.lock().unwrap(), (101..=120).collect());
        assert!(threads.is_stuck_in(7) && !threads.are_lost());
        drop(writers);
        look_until(&mut threads, |threads| threads.stuck_in().count() == 0 && done.lock().unwrap().len() == 40);
        look_until(&mut threads, |threads| threads.seats.len() == 1);
    }

    #[test]
    fn no_more_threads_are_lost_than_may_be() {
        let mut threads = ReadingThreads::new().unwrap();
        let (reader, writer) = pipe().unwrap();
        let reader = Arc::new(reader);
        threads.add((1..=50).map(|pid| {
            let reader = Arc::clone(&reader);
            Task {
                pid,
                read: Box::new(move || {
                    let _ = rustix::io::read(&reader, &mut [0u8; 1]);
                }),
            }
        }));
        look_until(&mut threads, ReadingThreads::are_lost);
        assert_eq!(threads.seats.len(), MAX_LOST + 1);
        threads.forget_the_rest();
        drop(writer);
    }
}
