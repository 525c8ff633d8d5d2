//! The threads of one process that run commands, and how to give them one.
//!
//! * the I/O thread reads, waits and keeps deadlines,
//! * the spawner starts commands, of which a zygote makes the processes,
//! * the terminator ends process trees, which means looking at every process there is,
//! * the sampler looks at what running commands use.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::call_watch::any_hangs;
use crate::cgroup::CommandGroups;
use crate::ending_tree::Request;
use crate::handle::{Handle, Limit};
use crate::io_thread::IoThread;
use crate::mailbox::Mailbox;
use crate::message::Message;
use crate::pipe_memory::PipeMemory;
use crate::signal_mask::thread;
use crate::spawner::Spawner;
use crate::start::{Order, Start};
use crate::supervisor::Supervisor;
use crate::terminator::Terminator;
use crate::usage_sampler::{SamplerRescue, UsageSampler};
use crate::watchdog::Groups;

static CURRENT: AtomicPtr<Engine> = AtomicPtr::new(std::ptr::null_mut());

pub struct Engine {
    process: u32,
    messages: Arc<Mailbox<Message>>,
    threads: Mutex<Threads>,
    /// All commands are being ended, and none is started any more.
    closing: Arc<AtomicBool>,
    /// Output came since the last start.
    output_comes: Arc<AtomicBool>,
    supervisor: Arc<Supervisor>,
    pipe_memory: Arc<PipeMemory>,
    cgroups: Arc<CommandGroups>,
    next_id: AtomicU64,
    /// Differs between any two processes on this machine, at any time.
    mark_prefix: String,
}

/// What runs already: each part is made once, also when making another has failed.
#[derive(Default)]
struct Threads {
    groups: Option<Arc<Groups>>,
    terminator: Option<Arc<Mailbox<Request>>>,
    reads: bool,
    sampler: Option<Arc<UsageSampler>>,
    spawner: Option<Sender<Start>>,
    supervises: bool,
}

impl Engine {
    /// The engine of this process. A forked child has one of its own: its parent's threads do not exist there.
    pub fn current() -> io::Result<&'static Engine> {
        loop {
            let current = CURRENT.load(Ordering::Acquire);
            // SAFETY: an engine is never freed once it was published.
            if let Some(engine) = unsafe { current.as_ref() }
                && engine.is_of_this_process()
            {
                return Ok(engine);
            }
            let new = Box::into_raw(Box::new(Engine::new()?));
            if CURRENT.compare_exchange(current, new, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                // SAFETY: another thread was faster, so `new` was not published and this is its only owner.
                drop(unsafe { Box::from_raw(new) });
            }
        }
    }

    fn new() -> io::Result<Self> {
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        Ok(Self {
            process: std::process::id(),
            messages: Arc::new(Mailbox::new()?),
            threads: Mutex::default(),
            closing: Arc::default(),
            output_comes: Arc::default(),
            supervisor: Arc::default(),
            pipe_memory: Arc::new(PipeMemory::new()),
            cgroups: Arc::default(),
            next_id: AtomicU64::new(1),
            mark_prefix: format!("{:016x}", u64::from_ne_bytes(random)),
        })
    }

    /// Run a command; its news go to `mailbox`. An error means that this process cannot have the threads it takes.
    pub fn run(&self, mut order: Order, mailbox: Arc<Mailbox<u64>>) -> io::Result<Arc<Handle>> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mark: Arc<str> = format!("{}-{id}", self.mark_prefix).into();
        order.command.env.add_mark(&mark);
        let handle = Arc::new(Handle::new(id, mailbox, order.wanted));
        let start = Start { order, mark, handle: Arc::clone(&handle), busy: self.supervisor.begin() };
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let spawner = self.start_threads(&mut threads)?;
        spawner.send(start).map_err(|_| io::Error::other("the thread that starts commands has ended"))?;
        Ok(handle)
    }

    /// Whether its threads exist here: they do not in a forked child.
    pub fn is_of_this_process(&self) -> bool {
        self.process == std::process::id()
    }

    /// The consumer of a stream has made room for more.
    pub fn resume(&self, id: u64, stream: usize) {
        self.messages.post(Message::Resume { id, stream });
    }

    /// End the command and everything it started. Its handle must have been stopped before, or it might still start.
    pub fn stop(&self, id: u64) {
        self.messages.post(Message::Stop(id));
    }

    /// End the command and everything it started, for a limit that is kept elsewhere, or because that is asked. If it has
    /// not begun, as soon as it has.
    pub fn end(&self, handle: &Handle, limit: Option<Limit>) {
        if limit.is_none() {
            handle.ask_end();
        }
        self.messages.post(Message::End { id: handle.id, limit });
    }

    /// Kill all that runs, and wait until it is gone, for at most `patience`. False if a thread of ours hangs in the
    /// kernel, so that this process cannot end before that returns.
    pub fn shut_down(patience: Duration) -> bool {
        // SAFETY: an engine is never freed once it was published.
        let Some(engine) = (unsafe { CURRENT.load(Ordering::Acquire).as_ref() }) else { return true };
        if !engine.is_of_this_process() {
            return true;
        }
        engine.closing.store(true, Ordering::Release);
        let (done, over) = channel();
        engine.messages.post(Message::StopAll(done));
        // An answer or its absence: either way this process may end now.
        let _ = over.recv_timeout(patience);
        engine.cgroups.remove();
        !any_hangs()
    }

    fn start_threads<'a>(&self, threads: &'a mut Threads) -> io::Result<&'a Sender<Start>> {
        let groups = match &threads.groups {
            Some(groups) => Arc::clone(groups),
            None => Arc::clone(threads.groups.insert(Arc::new(Groups::new()?))),
        };
        let requests = match &threads.terminator {
            Some(requests) => Arc::clone(requests),
            None => {
                let requests = Arc::new(Mailbox::new()?);
                let terminator = Terminator::new(Arc::clone(&requests))?;
                let messages = Arc::clone(&self.messages);
                thread("tailrace-end", move || {
                    terminator.run(|gone| messages.post(Message::TreeGone(Box::new(gone))))
                })?;
                Arc::clone(threads.terminator.insert(requests))
            }
        };
        if !threads.reads {
            let (messages, output_comes) = (Arc::clone(&self.messages), Arc::clone(&self.output_comes));
            self.supervisor.add(IoThread::start(messages, requests, Arc::clone(&groups), output_comes)?);
            threads.reads = true;
        }
        if !threads.supervises {
            let supervisor = Arc::clone(&self.supervisor);
            thread("tailrace-watch", move || supervisor.run())?;
            threads.supervises = true;
        }
        let sampler = match &threads.sampler {
            Some(sampler) => Arc::clone(sampler),
            None => {
                let sampler = Arc::<UsageSampler>::default();
                sampler.start()?;
                self.supervisor.add(SamplerRescue::new(Arc::clone(&sampler)));
                Arc::clone(threads.sampler.insert(sampler))
            }
        };
        match &mut threads.spawner {
            Some(spawner) => Ok(spawner),
            none => {
                let (sender, starts) = channel();
                let (messages, memory) = (Arc::clone(&self.messages), Arc::clone(&self.pipe_memory));
                let (mark_prefix, cgroups) = (self.mark_prefix.clone(), Arc::clone(&self.cgroups));
                let start_watchdog = move || groups.start_watchdog(&mark_prefix, cgroups.path().as_deref());
                let (closing, cgroups) = (Arc::clone(&self.closing), Arc::clone(&self.cgroups));
                let output_comes = Arc::clone(&self.output_comes);
                let spawner = Spawner::new(messages, memory, cgroups, closing, output_comes, sampler, start_watchdog);
                thread("tailrace-spawn", move || spawner.run(&starts))?;
                Ok(none.insert(sender))
            }
        }
    }
}
