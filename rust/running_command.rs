//! One started command as the I/O thread sees it: its pipes, its exit and its deadlines.

use std::io;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::cgroup::CommandGroup;
use crate::ending_tree::Gone;
use crate::fork::ThreadsFd;
use crate::handle::{Ended, Handle, Limit, MemoryReport, Outcome, Usage};
use crate::pipe::{Pipe, PipeCall};
use crate::pipe_memory::PipeMemory;
use crate::process_group::ProcessGroup;
use crate::spawn::{Child, PendingStart};
use crate::start::{Order, Start, Timing};
use crate::supervisor::Busy;
use crate::tree_usage::WatchedTree;
use crate::watchdog::Groups;

/// How long a pipe is read after the command itself has ended.
const DRAIN: Duration = Duration::from_secs(2);

/// The exit code of who was killed.
const KILLED: i32 = -libc::SIGKILL;
/// What a shell exits with when what it ran was killed.
const CHILD_KILLED: i32 = 128 + libc::SIGKILL;

/// How long a call about a pipe that hangs may take to return after everybody who could write is gone.
const RETURN: Duration = Duration::from_millis(500);
/// How long a disk may take to write anything at all of what is to be kept.
const WRITE: Duration = Duration::from_secs(10);

/// Why a command is being ended, rather than ending by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Limit(Limit),
    /// Somebody asked for its end, and wants its result.
    Asked,
    /// Nobody wants it any more.
    Stopped,
    /// It has ended, but something keeps its pipes open.
    PipeHeld,
    /// It has ended and its pipes are closed, but others of its group are there.
    Leftovers,
    /// Its output could not be read.
    Failed,
}

/// What a deadline is about.
pub enum Due {
    /// The command has to end.
    End(Reason),
    /// It is being ended, and may be over by now.
    Conclude,
}

pub struct RunningCommand {
    pub handle: Arc<Handle>,
    pub busy: Busy,
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
    start: Option<PendingStart>,
    watched: Arc<WatchedTree>,
    started: Instant,
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
    /// Until when a call that hangs is waited for, once everybody is gone.
    returned_by: Option<Instant>,
    /// Until when something has to have been written of what is kept in files, and how much had been before.
    written_by: Option<(Instant, u64)>,
    /// Nothing of the command is left, and its status has been collected if that was possible.
    pub over: bool,
    status: Option<Status>,
    pub error: Option<io::Error>,
}

/// The leader of a command that is over, though it hangs in the kernel.
pub struct Unkillable {
    pid: Pid,
    /// Tells when it has ended.
    pub pidfd: Arc<ThreadsFd>,
    /// Where the watchdog finds it.
    slot: u64,
}

impl Unkillable {
    /// It has ended.
    pub fn collect(self, groups: &Groups) {
        groups.remove(self.slot);
        wait(self.pid);
    }
}

/// What waiting for the command told.
struct Status {
    exit_code: Option<i32>,
    usage: Usage,
    duration: Duration,
    memory: Option<Box<MemoryReport>>,
}

impl RunningCommand {
    pub fn new(
        start: Start,
        started: Instant,
        child: Child,
        cgroup: Option<Arc<CommandGroup>>,
        memory: &Arc<PipeMemory>,
        watched: Arc<WatchedTree>,
    ) -> Self {
        let Start { order: Order { timing, policy, spill_folder, .. }, mark, handle, busy } = start;
        Self {
            handle,
            busy,
            mark,
            timing,
            pid: child.pid,
            group_slot: None,
            pidfd: Arc::new(child.pidfd),
            cgroup,
            exited: false,
            pipes: child.pipes.map(|fd| Pipe::new(fd, policy, Arc::clone(&spill_folder), memory)),
            host_peak: child.host_peak,
            start: child.start,
            watched,
            started,
            last_byte: started,
            paused_since: None,
            drained_by: None,
            drain_paused_since: None,
            exited_at: None,
            ending: None,
            gone: None,
            returned_by: None,
            written_by: None,
            over: false,
            status: None,
            error: None,
        }
    }

    pub fn pipes_closed(&self) -> bool {
        self.pipes.iter().all(|pipe| pipe.fd.is_none())
    }

    /// Whether what stood in the pipes at the end is still being read.
    pub fn is_draining(&self) -> bool {
        self.pipes.iter().any(|pipe| pipe.left_to_drain.is_some())
    }

    /// Whether everybody is gone, and a call that hung because of one of them should return now.
    pub fn awaits_return(&mut self) -> bool {
        if !self.pipes.iter().any(|pipe| pipe.hangs) {
            return false;
        }
        let now = Instant::now();
        now < *self.returned_by.get_or_insert(now + RETURN)
    }

    /// When `due` wants to be asked next.
    pub fn next_deadline(&self) -> Option<Instant> {
        let reading = self.paused_since.is_none();
        let deadlines = if self.over {
            [self.written_by.map(|(by, _)| by), None]
        } else if self.ending.is_some() {
            [self.returned_by.filter(|_| !self.is_draining()), None]
        } else if self.exited {
            [self.drained_by.filter(|_| !self.keeps_us_from_reading()), None]
        } else {
            let total = self.timing.total.map(|limit| self.started + limit);
            let idle = self.timing.idle.map(|limit| self.last_byte + limit);
            [total, idle.filter(|_| reading)]
        };
        deadlines.into_iter().flatten().min()
    }

    /// What is to be done now.
    pub fn due(&mut self, now: Instant) -> Option<Due> {
        let passed = |since: Instant, limit: Option<Duration>| limit.is_some_and(|limit| now - since >= limit);
        if self.over || self.ending.is_some() {
            return Some(Due::Conclude);
        }
        let end = |reason| Some(Due::End(reason));
        if self.exited {
            let drained = self.drained_by.is_some_and(|deadline| now >= deadline);
            return (drained && !self.keeps_us_from_reading()).then_some(Due::End(Reason::PipeHeld));
        }
        let reading = self.paused_since.is_none();
        if passed(self.started, self.timing.total) {
            return end(Reason::Limit(Limit::Total));
        }
        if reading && passed(self.last_byte, self.timing.idle) {
            if self.pipes.iter().any(Pipe::is_readable) {
                // We were late: this process was stopped, or gets no processor.
                self.byte_came();
                return None;
            }
            return end(Reason::Limit(Limit::Idle));
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
        self.handle.note_hold(true);
        self.set_drain_clock();
    }

    pub fn resume(&mut self, stream: usize) {
        self.pipes[stream].paused = false;
        self.set_drain_clock();
        if self.pipes.iter().any(|pipe| pipe.paused) {
            return;
        }
        self.handle.note_hold(false);
        if let Some(since) = self.paused_since.take() {
            let now = Instant::now();
            // Bytes of the other stream may have come meanwhile: silence begins anew after these.
            self.last_byte = if self.last_byte > since { now } else { self.last_byte + (now - since) };
        }
    }

    /// Whether a slow consumer holds up what stood in a pipe at the exit. What others write later does not count, or
    /// somebody who never stops writing would keep the command from ever being over.
    fn keeps_us_from_reading(&self) -> bool {
        self.pipes.iter().any(|pipe| pipe.paused && pipe.standing > 0)
    }

    /// While the consumer holds up reading, the clock that ends it stands still.
    pub fn set_drain_clock(&mut self) {
        if !self.exited {
            return;
        }
        if self.keeps_us_from_reading() {
            self.drain_paused_since.get_or_insert_with(Instant::now);
        } else if let Some(since) = self.drain_paused_since.take() {
            self.drained_by = self.drained_by.map(|deadline| deadline + since.elapsed());
        }
    }

    /// The command itself has ended. What stood in its pipes has to be counted now.
    pub fn exit(&mut self) -> impl Iterator<Item = PipeCall> {
        self.exited = true;
        let now = Instant::now();
        self.exited_at = Some(now);
        self.drained_by = Some(now + DRAIN);
        let id = self.handle.id;
        self.pipes.iter_mut().enumerate().filter_map(move |(stream, pipe)| pipe.count(id, stream))
    }

    /// Collect the command's status. Its number is free for others from here on, unless it could not be killed: then it is
    /// to be collected when it has ended.
    pub fn reap(&mut self, groups: &Groups) -> Result<(), Unkillable> {
        if self.status.is_some() {
            return Ok(());
        }
        if let Some(slot) = self.group_slot.take() {
            groups.remove(slot);
        }
        let was_ended = !matches!(self.ending, None | Some(Reason::Leftovers));
        let sampled = self.watched.end(was_ended);
        let (exit_code, mut usage, is_running) = wait(self.pid);
        // The kernel's figure includes the memory of this process, whose copy the command was at first.
        usage.max_rss = usage.max_rss.filter(|peak| *peak > self.host_peak);
        let usage = usage.joined(sampled);
        let memory = match exit_code {
            Some(KILLED) if !was_ended => self.watched.memory_report(false),
            Some(CHILD_KILLED) if !was_ended => self.watched.memory_report(true),
            _ => None,
        };
        let duration = self.exited_at.unwrap_or_else(Instant::now) - self.started;
        self.status = Some(Status { exit_code, usage, duration, memory });
        if is_running {
            let slot = groups.add(self.pid);
            return Err(Unkillable { pid: self.pid, pidfd: Arc::clone(&self.pidfd), slot });
        }
        Ok(())
    }

    pub fn group(&self) -> ProcessGroup {
        ProcessGroup { leader: self.pid, pidfd: Arc::clone(&self.pidfd) }
    }

    /// Have what is to be kept in files written. True once it is, once the disk does nothing any more, or at once if
    /// nobody wants it.
    pub fn flush(&mut self) -> bool {
        let discard = self.ending == Some(Reason::Stopped) || self.handle.is_stopped();
        // Both, so that the second stream need not wait for the first.
        let [stdout, stderr] = self.pipes.each_mut().map(|pipe| pipe.capture.flush(discard));
        if discard || (stdout && stderr) {
            return true;
        }
        let written = self.pipes.iter().map(|pipe| pipe.capture.written()).sum();
        let now = Instant::now();
        match self.written_by {
            Some((by, before)) if written == before => now >= by,
            _ => {
                self.written_by = Some((now + WRITE, written));
                false
            }
        }
    }

    /// Everything is over: hand the result to the consumer.
    ///
    /// `abandoned`: somebody out of reach still had a pipe open.
    pub fn complete(mut self, abandoned: bool) {
        if self.exited
            && let Some(error) = self.start.and_then(|start| start.error())
        {
            return self.handle.complete(Outcome::NotStarted(error));
        }
        let duration = self.started.elapsed();
        let status = self.status.unwrap_or(Status { exit_code: None, usage: Usage::default(), duration, memory: None });
        let Gone { left, unseen, usage: members, .. } = self.gone.map_or_else(Gone::default, |gone| *gone);
        let mut usage = status.usage.joined(members);
        if usage.tree_max_rss.is_some() {
            // What is shared counts in part there, and a short peak may have been missed.
            usage.tree_max_rss = usage.tree_max_rss.max(usage.max_rss);
        }
        let pipe_held = self.ending == Some(Reason::PipeHeld);
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
            usage,
            duration: status.duration,
            output,
            abandoned: abandoned || pipe_held,
            pipe_held,
            limit,
            left,
            unseen,
            memory: status.memory,
            error: self.error,
        }));
    }
}

/// Its exit code, if it has one, what it used, and whether it still runs.
fn wait(pid: Pid) -> (Option<i32>, Usage, bool) {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are to memory of the right type; all zeros is a valid `rusage`.
    let (waited, usage) = unsafe {
        let waited = libc::wait4(pid.as_raw_nonzero().get(), &mut status, libc::WNOHANG, usage.as_mut_ptr());
        (waited, usage.assume_init())
    };
    if waited != pid.as_raw_nonzero().get() {
        return (None, Usage::default(), waited == 0);
    }
    let exit_code = if libc::WIFSIGNALED(status) { -libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) };
    let duration = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    let usage = Usage {
        cpu_user: duration(usage.ru_utime),
        cpu_system: duration(usage.ru_stime),
        max_rss: u64::try_from(usage.ru_maxrss).ok().map(|kilobytes| kilobytes * 1024),
        tree_max_rss: None,
    };
    (Some(exit_code), usage, false)
}
