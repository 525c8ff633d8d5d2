//! One started command as the I/O thread sees it: its pipes, its exit and its deadlines.

use std::io;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::{ioctl_fionread, read};
use rustix::process::Pid;

use crate::capture::{Capture, Policy};
use crate::cgroup::CommandGroup;
use crate::fork::ThreadsFd;
use crate::handle::{Ended, Handle, Limit, Outcome, Usage};
use crate::output_queue::Flow;
use crate::output_rate::OutputRate;
use crate::pipe_memory::PipeMemory;
use crate::process_files::peak_resident_memory;
use crate::process_group::ProcessGroup;
use crate::segment::{SegmentWriter, Slice};
use crate::spawn::Child;
use crate::spill::Spill;
use crate::supervisor::Busy;
use crate::terminator::Gone;
use crate::watchdog::Groups;

/// How long a pipe is read after the command itself has ended.
const DRAIN: Duration = Duration::from_secs(2);
/// The longest a peak of resident memory may go unnoticed.
const MAX_SAMPLE_INTERVAL: Duration = Duration::from_secs(30);

/// From one command's sample to another's, on average: a sample takes some 30 microseconds.
const SAMPLE_PAUSE: Duration = Duration::from_millis(20);

/// The limits of a command, and how its output is gathered.
#[derive(Clone, Copy)]
pub struct Timing {
    pub total: Option<Duration>,
    pub idle: Option<Duration>,
    pub kill_grace: Duration,
    /// How long output may be gathered before the consumer is told of it; zero: not at all.
    pub merge_window: Duration,
}

/// Why a command is being ended, rather than ending by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Limit(Limit),
    /// Nobody wants it any more.
    Stopped,
    /// It has ended, but something keeps its pipes open.
    PipeHeld,
    /// It has ended and its pipes are closed, but others of its group are there.
    Leftovers,
    /// Its output could not be read.
    Failed,
}

pub struct RunningCommand {
    pub handle: Arc<Handle>,
    _busy: Busy,
    pub mark: Arc<str>,
    pub timing: Timing,
    pub pid: Pid,
    /// Where the watchdog finds it.
    pub group_slot: Option<u64>,
    pub pidfd: Arc<ThreadsFd>,
    /// Given back for another command when this one is over.
    pub cgroup: Option<Arc<CommandGroup>>,
    pub exited: bool,
    pub pipes: [Pipe; 2],
    host_peak: u64,
    sampled_peak: Option<u64>,
    started: Instant,
    next_sample: Instant,
    sample_interval: Duration,
    /// When a byte last came; moved on by the time that we did not read.
    last_byte: Instant,
    /// Since when a pipe is not read because its consumer is slow.
    paused_since: Option<Instant>,
    /// When reading of pipes that others keep open ends.
    drained_by: Option<Instant>,
    /// Since when that clock stands still.
    drain_paused_since: Option<Instant>,
    exited_at: Option<Instant>,
    pub ending: Option<Reason>,
    /// What became of the tree, once it was ended.
    pub gone: Option<Box<Gone>>,
    /// Nothing of the command is left, and its status has been collected if that was possible.
    pub over: bool,
    status: Option<Status>,
    pub error: Option<io::Error>,
}

/// What waiting for the command told.
struct Status {
    exit_code: Option<i32>,
    usage: Usage,
    duration: Duration,
}

/// The reading end of one stream.
pub struct Pipe {
    /// None: closed, by the command and all its descendants or by us.
    pub fd: Option<ThreadsFd>,
    pub paused: bool,
    /// Not read until the end of the merge window, so that its output comes in one piece.
    pub resting: bool,
    /// Whether something is to be done about it at the end of the merge window.
    pub awaits_window: bool,
    pub rate: OutputRate,
    writer: SegmentWriter,
    capture: Capture,
    size: usize,
    /// How much of what stood in the pipe when the command exited has not been read yet.
    standing: usize,
}

/// What one read brought.
pub struct Read {
    pub slice: Option<Slice>,
    /// Whether the capture can take more.
    pub flow: Flow,
    /// Nothing will follow.
    pub ended: bool,
    /// There is probably more right now.
    pub busy: bool,
}

impl Pipe {
    fn new(fd: ThreadsFd, policy: Policy, spill_folder: Arc<Path>) -> Self {
        Self {
            fd: Some(fd),
            paused: false,
            resting: false,
            awaits_window: false,
            rate: OutputRate::default(),
            writer: SegmentWriter::new(matches!(policy, Policy::Full { .. })),
            capture: Capture::new(policy, spill_folder),
            size: PipeMemory::DEFAULT_SIZE,
            standing: 0,
        }
    }

    /// Read what is there, once, and keep of it what the capture wants.
    pub fn read(
        &mut self,
        memory: &mut PipeMemory,
        start_spill: impl FnOnce(&Path) -> io::Result<Spill>,
    ) -> io::Result<Read> {
        let Some(fd) = &self.fd else {
            return Ok(Read { slice: None, flow: Flow::Continue, ended: true, busy: false });
        };
        let mut wanted = 0;
        let result = self.writer.write_with(|free: &mut [MaybeUninit<u8>]| {
            wanted = free.len();
            Ok(read(fd, free)?.0.len())
        });
        let slice = match result {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Ok(Read { slice: None, flow: Flow::Continue, ended: false, busy: false });
            }
            result => result?,
        };
        let count = slice.as_ref().map_or(0, |slice| slice.len());
        self.standing = self.standing.saturating_sub(count);
        if count >= self.size {
            self.size = memory.grow(fd, self.size);
        }
        let flow = match &slice {
            Some(slice) => self.capture.push(slice.clone(), start_spill)?,
            None => Flow::Continue,
        };
        Ok(Read { slice, flow, ended: count == 0, busy: count >= wanted.min(PipeMemory::DEFAULT_SIZE) })
    }

    pub fn close(&mut self, memory: &mut PipeMemory) {
        if self.fd.take().is_some() {
            memory.release(self.size);
        }
    }
}

impl RunningCommand {
    pub fn new(
        handle: Arc<Handle>,
        busy: Busy,
        mark: Arc<str>,
        timing: Timing,
        policy: Policy,
        spill_folder: Arc<Path>,
        started: Instant,
        child: Child,
    ) -> Self {
        let sample_interval = Duration::from_secs(1);
        Self {
            handle,
            _busy: busy,
            mark,
            timing,
            pid: child.pid,
            group_slot: None,
            pidfd: Arc::new(child.pidfd),
            cgroup: None,
            exited: false,
            pipes: child.pipes.map(|fd| Pipe::new(fd, policy, Arc::clone(&spill_folder))),
            host_peak: child.host_peak,
            sampled_peak: None,
            started,
            next_sample: started + sample_interval,
            sample_interval,
            last_byte: started,
            paused_since: None,
            drained_by: None,
            drain_paused_since: None,
            exited_at: None,
            ending: None,
            gone: None,
            over: false,
            status: None,
            error: None,
        }
    }

    pub fn pipes_closed(&self) -> bool {
        self.pipes.iter().all(|pipe| pipe.fd.is_none())
    }

    /// When `due` wants to be asked next.
    pub fn next_deadline(&self) -> Option<Instant> {
        let reading = self.paused_since.is_none();
        let deadlines = if self.ending.is_some() || self.over {
            [None, None, None]
        } else if self.exited {
            [self.drained_by.filter(|_| !self.keeps_us_from_reading()), None, None]
        } else {
            let total = self.timing.total.map(|limit| self.started + limit);
            let idle = self.timing.idle.map(|limit| self.last_byte + limit);
            [total, idle.filter(|_| reading), Some(self.next_sample)]
        };
        deadlines.into_iter().flatten().min()
    }

    /// Do what has become due; returns why the command has to end now, if it has to.
    ///
    /// `running`: how many commands there are.
    pub fn due(&mut self, now: Instant, running: u32) -> Option<Reason> {
        let passed = |since: Instant, limit: Option<Duration>| limit.is_some_and(|limit| now - since >= limit);
        if self.ending.is_some() || self.over {
            return None;
        }
        if self.exited {
            let drained = self.drained_by.is_some_and(|deadline| now >= deadline);
            return (drained && !self.keeps_us_from_reading()).then_some(Reason::PipeHeld);
        }
        let reading = self.paused_since.is_none();
        if passed(self.started, self.timing.total) {
            return Some(Reason::Limit(Limit::Total));
        }
        if reading && passed(self.last_byte, self.timing.idle) {
            return Some(Reason::Limit(Limit::Idle));
        }
        if now >= self.next_sample {
            self.sampled_peak = peak_resident_memory(self.pid.as_raw_nonzero().get()).or(self.sampled_peak);
            self.sample_interval = (self.sample_interval * 2).min(MAX_SAMPLE_INTERVAL).max(SAMPLE_PAUSE * running);
            self.next_sample = now + self.sample_interval;
        }
        None
    }

    /// Whether the output of a stream may stand unread for a merge window: little of it comes, and a byte is not missed
    /// by the idle clock.
    pub fn may_rest(&self, stream: usize) -> bool {
        self.pipes[stream].rate.is_little()
            && self.timing.idle.is_none_or(|limit| limit >= 4 * self.timing.merge_window)
    }

    pub fn byte_came(&mut self) {
        if self.timing.idle.is_some() {
            self.last_byte = Instant::now();
        }
    }

    /// A pipe is not read for now: the clocks that count silence stand still.
    pub fn pause(&mut self, stream: usize) {
        self.pipes[stream].paused = true;
        self.paused_since.get_or_insert_with(Instant::now);
        self.set_drain_clock();
    }

    pub fn resume(&mut self, stream: usize) {
        self.pipes[stream].paused = false;
        self.set_drain_clock();
        if self.pipes.iter().any(|pipe| pipe.paused) {
            return;
        }
        if let Some(since) = self.paused_since.take() {
            let stood_still = since.elapsed();
            self.last_byte += stood_still;
        }
    }

    /// Whether a slow consumer holds up what stood in a pipe at the exit. What others write later does not count, or
    /// somebody who never stops writing would keep the command from ever being over.
    fn keeps_us_from_reading(&self) -> bool {
        self.pipes.iter().any(|pipe| pipe.paused && pipe.standing > 0)
    }

    /// While the consumer holds up reading, the clock that ends it stands still.
    fn set_drain_clock(&mut self) {
        if !self.exited {
            return;
        }
        if self.keeps_us_from_reading() {
            self.drain_paused_since.get_or_insert_with(Instant::now);
        } else if let Some(since) = self.drain_paused_since.take() {
            self.drained_by = self.drained_by.map(|deadline| deadline + since.elapsed());
        }
    }

    /// The command itself has ended.
    pub fn exit(&mut self) {
        self.exited = true;
        let now = Instant::now();
        self.exited_at = Some(now);
        self.drained_by = Some(now + DRAIN);
        for pipe in &mut self.pipes {
            let standing = pipe.fd.as_ref().and_then(|fd| ioctl_fionread(fd).ok());
            pipe.standing = standing.map_or(0, |count| usize::try_from(count).unwrap_or(usize::MAX));
        }
        self.set_drain_clock();
    }

    /// Collect the command's status. Its number is free for others from here on.
    pub fn reap(&mut self, groups: &Groups) {
        if self.status.is_some() {
            return;
        }
        if let Some(slot) = self.group_slot.take() {
            groups.remove(slot);
        }
        let (exit_code, mut usage) = wait(self.pid);
        // The kernel's figure includes the memory of this process, whose copy the command was at first.
        let peak = usage.max_rss.filter(|peak| *peak > self.host_peak);
        usage.max_rss = peak.max(self.sampled_peak);
        self.status =
            Some(Status { exit_code, usage, duration: self.exited_at.unwrap_or_else(Instant::now) - self.started });
    }

    /// Whether somebody of the command's group is left. Only meaningful straight after `reap`, before the number of an
    /// empty group can have come round to somebody else.
    pub fn group_remains(&self) -> bool {
        ProcessGroup { leader: self.pid, pidfd: Arc::clone(&self.pidfd) }.remains()
    }

    /// Have what is to be kept in files written. True once it is.
    pub fn flush(&mut self) -> bool {
        let discard = self.ending == Some(Reason::Stopped);
        // Both, so that the second stream need not wait for the first.
        let [stdout, stderr] = self.pipes.each_mut().map(|pipe| pipe.capture.flush(discard));
        stdout && stderr
    }

    /// Everything is over: hand the result to the consumer.
    ///
    /// `abandoned`: somebody out of reach still had a pipe open.
    pub fn complete(mut self, abandoned: bool) {
        let duration = self.started.elapsed();
        let status = self.status.unwrap_or(Status { exit_code: None, usage: Usage::default(), duration });
        let Gone { left, unseen, usage: members, .. } = self.gone.map_or_else(Gone::default, |gone| *gone);
        let limit = match self.ending {
            Some(Reason::Limit(limit)) => Some(limit),
            _ => None,
        };
        let output = self.pipes.map(|pipe| {
            let (captured, error) = pipe.capture.seal();
            if let Some(error) = error {
                self.error.get_or_insert(error);
            }
            Arc::new(captured)
        });
        self.handle.complete(Outcome::Ended(Ended {
            exit_code: status.exit_code,
            usage: status.usage.joined(members),
            duration: status.duration,
            output,
            abandoned: abandoned || self.ending == Some(Reason::PipeHeld),
            limit,
            left,
            unseen,
            error: self.error,
        }));
    }
}

fn wait(pid: Pid) -> (Option<i32>, Usage) {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are to memory of the right type; all zeros is a valid `rusage`.
    let (waited, usage) = unsafe {
        let waited = libc::wait4(pid.as_raw_nonzero().get(), &mut status, libc::WNOHANG, usage.as_mut_ptr());
        (waited, usage.assume_init())
    };
    if waited != pid.as_raw_nonzero().get() {
        return (None, Usage::default());
    }
    let exit_code = if libc::WIFSIGNALED(status) { -libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) };
    let duration = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    let usage = Usage {
        cpu_user: duration(usage.ru_utime),
        cpu_system: duration(usage.ru_stime),
        max_rss: u64::try_from(usage.ru_maxrss).ok().map(|kilobytes| kilobytes * 1024),
        tree_max_rss: None,
    };
    (Some(exit_code), usage)
}
