//! The thread that starts commands.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use crate::cgroup::CommandGroups;
use crate::environment::Environment;
use crate::fork;
use crate::handle::{Outcome, SpawnError};
use crate::mailbox::Mailbox;
use crate::message::Message;
use crate::pipe_memory::PipeMemory;
use crate::running_command::RunningCommand;
use crate::spawn::{Child, Command};
use crate::start::Start;
use crate::usage_sampler::UsageSampler;
use crate::zygotes::Zygotes;

/// How long after the last start the zygote is kept.
const IDLE: Duration = Duration::from_millis(100);
/// How often to see whether commands have given back their control groups, when none is started.
const TIDYING: Duration = Duration::from_millis(200);
/// How long a start may hold up the next one until its program is loaded.
const LOADING: Duration = Duration::from_millis(20);
/// How long after output came it counts as still coming. The thread that reads it may itself wait for a processor.
const GENTLE: Duration = Duration::from_millis(100);
/// How long a process may take that has nothing to do.
const PATIENCE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

pub struct Spawner<W> {
    messages: Arc<Mailbox<Message>>,
    memory: Arc<PipeMemory>,
    cgroups: Arc<CommandGroups>,
    closing: Arc<AtomicBool>,
    /// Set by the I/O thread whenever output comes.
    output_comes: Arc<AtomicBool>,
    sampler: Arc<UsageSampler>,
    /// Until when a program is to be loaded before the next start.
    gentle_until: Option<Instant>,
    start_watchdog: Option<W>,
    zygotes: Zygotes,
    /// Whether commands can have control groups; None: not tried yet.
    has_cgroups: Option<bool>,
}

impl<W: FnOnce() -> io::Result<()>> Spawner<W> {
    pub fn new(
        messages: Arc<Mailbox<Message>>,
        memory: Arc<PipeMemory>,
        cgroups: Arc<CommandGroups>,
        closing: Arc<AtomicBool>,
        output_comes: Arc<AtomicBool>,
        sampler: Arc<UsageSampler>,
        start_watchdog: W,
    ) -> Self {
        let (start_watchdog, zygotes) = (Some(start_watchdog), Zygotes::default());
        Self {
            messages,
            memory,
            cgroups,
            closing,
            output_comes,
            sampler,
            gentle_until: None,
            start_watchdog,
            zygotes,
            has_cgroups: None,
        }
    }

    /// Start commands as they are ordered, until nobody can order any more.
    pub fn run(mut self, starts: &Receiver<Start>) {
        let mut is_tidy = true;
        loop {
            let patience = if self.zygotes.is_present() { IDLE } else { TIDYING };
            let start = if is_tidy { starts.recv().map_err(Into::into) } else { starts.recv_timeout(patience) };
            match start {
                Ok(start) => {
                    self.start(start);
                    is_tidy = false;
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.zygotes.discard();
                    is_tidy = !self.cgroups.tidy();
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Not where this process's own group was killed before it came there: see `cgroup`.
    fn processes_live_in(&mut self, cgroup: BorrowedFd) -> bool {
        if self.has_cgroups.is_none() {
            self.has_cgroups = survives_in(cgroup, &mut self.zygotes);
        }
        self.has_cgroups == Some(true)
    }

    fn start(&mut self, start: Start) {
        let Start { order, handle, .. } = &start;
        if handle.is_stopped() {
            return handle.complete(Outcome::Cancelled);
        }
        if self.closing.load(Ordering::Acquire) {
            let message = format!("cannot start {}: this process is ending", order.command.program.to_string_lossy());
            return handle.complete(Outcome::NotStarted(SpawnError { errno: libc::ECANCELED, message }));
        }
        // Before the first command: this process may be killed as soon as that runs. Without a shell there is none.
        if let Some(start_watchdog) = self.start_watchdog.take() {
            let _ = fork::between_forks(start_watchdog);
        }
        let started = Instant::now();
        let cgroup = self.cgroups.take().filter(|cgroup| self.processes_live_in(cgroup.as_fd()));
        match order.command.spawn(&mut self.zygotes, cgroup.as_ref().map(AsFd::as_fd)) {
            Ok(child) => {
                let cgroup = cgroup.filter(|_| child.in_cgroup).map(Arc::new);
                let leader = child.pid.as_raw_nonzero().get();
                let watched = self.sampler.watch(leader, cgroup.clone(), Arc::clone(&start.handle), &start.order);
                if self.output_comes.swap(false, Ordering::Relaxed) {
                    self.gentle_until = Some(started + GENTLE);
                }
                // Programs that are loaded all at once take the processors from the threads that the output goes through.
                if self.gentle_until.is_some_and(|until| started < until) {
                    child.wait_for_program(LOADING);
                }
                let command = RunningCommand::new(start, started, child, cgroup, &self.memory, watched);
                self.messages.post(Message::Started(Box::new(command)));
            }
            Err(error) => handle.complete(Outcome::NotStarted(error)),
        }
    }
}

/// Whether a process that is made there comes to its end by itself; None if that could not be tried now.
fn survives_in(cgroup: BorrowedFd, zygotes: &mut Zygotes) -> Option<bool> {
    // No program, so that it tells of its failure.
    let program = c"/".to_owned();
    let command = Command { program, args: Vec::new(), env: Environment::default(), cwd: None };
    let Child { pidfd, start, in_cgroup, .. } = command.spawn(zygotes, Some(cgroup)).ok()?;
    let has_ended = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&PATIENCE)) == Ok(1);
    if !has_ended {
        let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    }
    let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
    let start = start.filter(|_| has_ended)?;
    Some(in_cgroup && start.error().is_some())
}
