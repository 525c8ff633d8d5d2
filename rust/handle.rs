//! What the I/O thread and the consumer of one command share.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use crate::capture::Captured;
use crate::loan::Loan;
use crate::mailbox::Mailbox;
use crate::output_queue::{Flow, OutputQueue};
use crate::segment::Slice;
use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::sync::{Arc, Mutex, MutexGuard, OnceLock};

/// A limit that ended a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    Total,
    Idle,
    /// It used no processor.
    Cpu,
}

/// How a command ended, and what is left of it.
pub enum Outcome {
    NotStarted(SpawnError),
    /// Nobody wanted it any more before it was started.
    Cancelled,
    Ended(Ended),
}

/// Why a command could not be started.
#[derive(Debug)]
pub struct SpawnError {
    pub errno: i32,
    pub message: String,
}

pub struct Ended {
    /// None: nobody knows, because somebody else collected it.
    pub exit_code: Option<i32>,
    pub usage: Usage,
    pub duration: Duration,
    pub output: [Arc<Captured>; 2],
    /// A pipe was still open and abandoned.
    pub abandoned: bool,
    /// A descendant kept a pipe open for too long after the command's own end, and the tree was ended for that.
    pub pipe_held: bool,
    pub limit: Option<Limit>,
    /// Processes of the command that could not be ended.
    pub left: Vec<ProcessNote>,
    /// Processes that could not be looked at, and may belong to the command.
    pub unseen: Vec<ProcessNote>,
    /// Where it was killed, and that was because there was no memory left.
    pub memory: Option<Box<MemoryReport>>,
    /// What went wrong on our side while reading.
    pub error: Option<std::io::Error>,
}

/// Of the command and what it waited for; of all members, if the tree was ended.
#[derive(Default)]
pub struct Usage {
    pub cpu_user: Duration,
    pub cpu_system: Duration,
    /// The peak resident memory of the largest process, in bytes.
    pub max_rss: Option<u64>,
    /// The most that the whole tree had in memory at once, in bytes.
    pub tree_max_rss: Option<u64>,
}

impl Usage {
    /// The larger of each figure: one tells of processes that had ended, the other of those that were there.
    pub fn joined(self, other: Self) -> Self {
        Self {
            cpu_user: self.cpu_user.max(other.cpu_user),
            cpu_system: self.cpu_system.max(other.cpu_system),
            max_rss: self.max_rss.max(other.max_rss),
            tree_max_rss: self.tree_max_rss.max(other.tree_max_rss),
        }
    }
}

/// A process, and what it was last seen doing. What could not be had is empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProcessNote {
    pub pid: i32,
    pub name: String,
    /// One letter, as ps(1) shows it.
    pub state: String,
    /// The kernel's function that it sleeps in.
    pub wait_channel: String,
}

/// What a command and all it started use at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsageSample {
    /// Of proportional set sizes, in bytes.
    pub memory: u64,
    /// Processor time so far, of those that are there and of whom they waited for.
    pub cpu: Duration,
    /// The largest processes, the largest first.
    pub largest: Vec<UsedBy>,
}

/// How much memory one process has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsedBy {
    pub pid: i32,
    pub name: String,
    pub memory: u64,
}

/// What is known of the memory of a machine that ran out of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemoryReport {
    /// The kernel had killed somebody for it; else there was nearly none left when it was last looked at.
    pub kernel_killed: bool,
    /// How much was to be had when it was last looked at, and of how much, in bytes.
    pub available: Option<(u64, u64)>,
    /// The largest processes of the machine then, the largest first; empty where they were not looked at.
    pub machine: Vec<UsedBy>,
    /// The largest of the command.
    pub tree: Vec<UsedBy>,
    /// How long before that was.
    pub age: Option<Duration>,
}

/// How much of a command's time was watched, and how much it did in that time.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Activity {
    /// The time between looks at it; not what passed while it was not seen, or its output was not read.
    pub seen: Duration,
    /// The processor time that it used, whoever of it has ended since.
    pub work: Duration,
    /// Who was there at the last look.
    pub processes: Vec<i32>,
}

impl UsedBy {
    /// So many of the largest, the largest first.
    pub fn largest(processes: impl Iterator<Item = Self>, count: usize) -> Vec<Self> {
        let mut largest: Vec<Self> = processes.collect();
        largest.sort_unstable_by_key(|process| (std::cmp::Reverse(process.memory), process.pid));
        largest.truncate(count);
        largest
    }
}

impl ProcessNote {
    /// Of one that tells nothing.
    pub fn silent(pid: i32) -> Self {
        Self { pid, name: String::new(), state: String::new(), wait_channel: String::new() }
    }
}

pub struct Handle {
    pub id: u64,
    mailbox: Arc<Mailbox<u64>>,
    /// Whether the consumer has been told to look, and has not looked yet.
    announced: AtomicBool,
    queues: [Option<Mutex<OutputQueue>>; 2],
    /// Memory for what is kept of each stream.
    pub loans: [Loan; 2],
    stopped: AtomicBool,
    /// Whether the consumer wants no more output.
    deaf: AtomicBool,
    limit_hit: OnceLock<Instant>,
    usage: Mutex<Option<UsageSample>>,
    activity: Mutex<Activity>,
    /// How often its output ceased to be read and was read again: odd while it is not.
    holds: AtomicU32,
    end_asked: AtomicBool,
    outcome: OnceLock<Outcome>,
}

impl Handle {
    /// `wanted`: which of the two streams the consumer wants to see.
    pub fn new(id: u64, mailbox: Arc<Mailbox<u64>>, wanted: [bool; 2]) -> Self {
        Self {
            id,
            mailbox,
            announced: AtomicBool::new(false),
            queues: wanted.map(|wanted| wanted.then(Mutex::default)),
            loans: Default::default(),
            stopped: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
            limit_hit: OnceLock::new(),
            usage: Mutex::default(),
            activity: Mutex::default(),
            holds: AtomicU32::new(0),
            end_asked: AtomicBool::new(false),
            outcome: OnceLock::new(),
        }
    }

    pub fn queue(&self, stream: usize) -> Option<MutexGuard<'_, OutputQueue>> {
        self.queues[stream].as_ref().map(|queue| queue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Queue output for the consumer, without telling it. Also returns how much is unread then.
    pub fn push(&self, stream: usize, slice: Slice) -> (Flow, usize) {
        match self.queue(stream) {
            Some(mut queue) if !self.deaf.load(Ordering::Acquire) => (queue.push(slice), queue.unread()),
            _ => (Flow::Continue, 0),
        }
    }

    /// Tell the consumer to look, unless it has been told already.
    pub fn announce(&self) {
        if !self.announced.swap(true, Ordering::AcqRel) {
            self.mailbox.post(self.id);
        }
    }

    /// The consumer calls this before it looks: whatever comes later is announced again.
    pub fn begin_look(&self) {
        // Not `store`: loom sees orders of a store and a swap that cannot be, and most processors do the same for both.
        self.announced.swap(false, Ordering::AcqRel);
    }

    /// A stream has ended: a last line without an end is complete now.
    pub fn end(&self, stream: usize) {
        if let Some(mut queue) = self.queue(stream) {
            queue.ended = true;
            drop(queue);
            self.announce();
        }
    }

    pub fn has_ended(&self, stream: usize) -> bool {
        self.queue(stream).is_some_and(|queue| queue.ended)
    }

    /// The consumer wants nothing more of this command.
    pub fn stop(&self) {
        self.stop_and_listen();
        self.deaf.store(true, Ordering::Release);
        for stream in 0..2 {
            if let Some(mut queue) = self.queue(stream) {
                queue.clear();
            }
        }
    }

    /// The command is to be ended, but what it still writes is wanted. Nothing of it is kept for a result.
    pub fn stop_and_listen(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// A limit has ended the command. Announced even if the consumer has been told to look: it may be waiting for a
    /// callback, which has only a while left then.
    pub fn hit_limit(&self) {
        let _ = self.limit_hit.set(Instant::now());
        self.mailbox.post(self.id);
    }

    pub fn limit_hit(&self) -> Option<Instant> {
        self.limit_hit.get().copied()
    }

    /// Keep what is used now, and tell the consumer of a change if it wants to know.
    pub fn tell_usage(&self, sample: UsageSample, announces: bool) {
        let mut usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        if usage.as_ref() != Some(&sample) {
            *usage = Some(sample);
            drop(usage);
            if announces {
                self.announce();
            }
        }
    }

    pub fn usage(&self) -> Option<UsageSample> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn activity(&self) -> MutexGuard<'_, Activity> {
        self.activity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The output is not read from now on, or it is again: nothing else calls it.
    pub fn note_hold(&self, is_held: bool) {
        if is_held != (self.holds() % 2 == 1) {
            self.holds.fetch_add(1, Ordering::AcqRel);
        }
    }

    pub fn holds(&self) -> u32 {
        self.holds.load(Ordering::Acquire)
    }

    /// The command is to end before its time, as soon as it has begun.
    pub fn ask_end(&self) {
        self.end_asked.store(true, Ordering::Release);
    }

    pub fn is_end_asked(&self) -> bool {
        self.end_asked.load(Ordering::Acquire)
    }

    /// The last word: nothing is queued after it. Always announced: who stopped the command does not look, but waits.
    pub fn complete(&self, outcome: Outcome) {
        let _ = self.outcome.set(outcome);
        self.mailbox.post(self.id);
    }

    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.get()
    }
}
