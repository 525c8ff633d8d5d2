//! What the I/O thread knows of the commands, and what their events and deadlines lead to.
//!
//! A command is over when it has exited and either its pipes are closed and its group is empty, or its whole tree
//! was ended on purpose: exit and end of file are separate events, since a descendant may keep a pipe open.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::process::Signal;

use crate::ending_tree::{Request, Scope};
use crate::fork::ThreadsFd;
use crate::handle::{Handle, Limit};
use crate::mailbox::Mailbox;
use crate::message::Message;
use crate::output_queue::Flow;
use crate::pipe::{Called, PipeCall, Read, Told};
use crate::pipe_memory::PipeMemory;
use crate::running_command::{Due, Reason, RunningCommand, Unkillable};
use crate::spill::{News, Spill};
use crate::watchdog::Groups;

/// While a pipe holds more than we read at once, the consumer is woken only for at least this much.
const WORTH_WAKING: usize = 1 << 20;

pub struct RunningCommands {
    epoll: Arc<ThreadsFd>,
    messages: Arc<Mailbox<Message>>,
    terminator: Arc<Mailbox<Request>>,
    groups: Arc<Groups>,
    /// Tells the spawner that output comes.
    output_comes: Arc<AtomicBool>,
    /// Calls to make as soon as nothing is held.
    calls: VecDeque<PipeCall>,
    running: HashMap<u64, Box<RunningCommand>>,
    /// Those that are over, and could not be killed.
    uncollected: HashMap<u64, Unkillable>,
    deadlines: BTreeSet<(Instant, u64)>,
    /// The entry of each command in `deadlines`.
    armed: HashMap<u64, Instant>,
    /// The pipes that await the end of their merge window. Windows of the same length end together, so that one look at
    /// the mailbox serves all.
    windows: BTreeMap<Instant, Vec<(u64, usize)>>,
    /// Since when windows are counted.
    began: Instant,
    /// Consumers that are told as soon as their pipe has no more for now.
    deferred: Vec<Arc<Handle>>,
    /// No command is started any more.
    closing: bool,
    /// Somebody waits for all commands to be gone.
    all_gone: Option<Sender<()>>,
}

/// What an event is about, next to the number of the command.
#[derive(Clone, Copy)]
enum Source {
    Pipe(usize),
    Exit,
    Messages,
}

fn event_data(id: u64, source: Source) -> epoll::EventData {
    let source = match source {
        Source::Pipe(stream) => stream as u64,
        Source::Exit => 2,
        Source::Messages => 3,
    };
    epoll::EventData::new_u64(id << 2 | source)
}

fn parse_event_data(data: epoll::EventData) -> (u64, Source) {
    let source = match data.u64() & 3 {
        2 => Source::Exit,
        3 => Source::Messages,
        stream => Source::Pipe(stream as usize),
    };
    (data.u64() >> 2, source)
}

impl RunningCommands {
    pub fn new(
        epoll: Arc<ThreadsFd>,
        messages: Arc<Mailbox<Message>>,
        terminator: Arc<Mailbox<Request>>,
        groups: Arc<Groups>,
        output_comes: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        epoll::add(&*epoll, &*messages, event_data(0, Source::Messages), epoll::EventFlags::IN)?;
        Ok(Self {
            epoll,
            messages,
            terminator,
            groups,
            output_comes,
            calls: VecDeque::new(),
            running: HashMap::new(),
            uncollected: HashMap::new(),
            deadlines: BTreeSet::new(),
            armed: HashMap::new(),
            windows: BTreeMap::new(),
            began: Instant::now(),
            deferred: Vec::new(),
            closing: false,
            all_gone: None,
        })
    }

    pub fn serve_event(&mut self, data: epoll::EventData) {
        match parse_event_data(data) {
            (id, Source::Pipe(stream)) => self.read(id, stream),
            (id, Source::Exit) => self.exited(id),
            (_, Source::Messages) => self.take_messages(),
        }
    }

    /// How many consumers are to be told of what was read.
    pub fn deferred(&self) -> usize {
        self.deferred.len()
    }

    /// Do what is due after the events of one wait; `deferred` as it was before them.
    pub fn serve_due(&mut self, deferred: usize) {
        self.announce_deferred(deferred);
        self.serve_windows();
        self.serve_deadlines();
    }

    /// A call to make, with nothing held; `called` is to be told what came of it.
    pub fn next_call(&mut self) -> Option<PipeCall> {
        self.calls.pop_front()
    }

    /// Kill every command and have it end with this error.
    pub fn fail_all(&mut self, error: &io::Error) {
        self.take_messages();
        for (_, mut command) in self.running.drain() {
            command.error = Some(Errno::from_io_error(error).unwrap_or(Errno::IO).into());
            command.group().signal(Signal::KILL);
            command.complete(true);
        }
    }

    /// None: until there is an event.
    pub fn time_to_wait(&self) -> Option<Timespec> {
        // Who takes over finds the calls that the other was to make.
        let wait = if self.deferred.is_empty() && self.calls.is_empty() {
            let deadline = self.deadlines.first().map(|(at, _)| *at);
            let window = self.windows.first_key_value().map(|(at, _)| *at);
            deadline.into_iter().chain(window).min()?.saturating_duration_since(Instant::now())
        } else {
            Duration::ZERO
        };
        Some(Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: i64::from(wait.subsec_nanos()) })
    }

    fn take_messages(&mut self) {
        for message in self.messages.take() {
            match message {
                Message::Started(command) => self.start(command),
                Message::Called(called) => self.called(called),
                Message::Resume { id, stream } => self.resume(id, stream),
                Message::Stop(id) => self.end(id, Reason::Stopped),
                Message::End { id, limit } => self.end_early(id, limit),
                Message::TreeGone(gone) => {
                    let id = gone.id;
                    if let Some(command) = self.running.get_mut(&id) {
                        command.gone = Some(gone);
                    }
                    self.finish_if_over(id);
                }
                Message::Spilled(id) => self.spilled(id),
                Message::StopAll(done) => self.stop_all(done),
            }
        }
    }

    fn start(&mut self, mut command: Box<RunningCommand>) {
        command.group_slot = Some(self.groups.add(command.pid));
        let id = command.handle.id;
        let watched = watch(&self.epoll, &command);
        let stopped = command.handle.is_stopped() || self.closing;
        let is_end_asked = command.handle.is_end_asked();
        if self.closing {
            command.timing.kill_grace = Duration::ZERO;
        }
        self.running.insert(id, command);
        if let Err(error) = watched {
            self.fail(id, error.into());
        } else if stopped {
            self.end(id, Reason::Stopped);
        } else if is_end_asked {
            self.end(id, Reason::Asked);
        } else {
            self.arm(id);
        }
    }

    fn announce_deferred(&mut self, count: usize) {
        let again = self.deferred.split_off(count.min(self.deferred.len()));
        for handle in std::mem::replace(&mut self.deferred, again) {
            if !self.deferred.iter().any(|again| again.id == handle.id) {
                handle.announce();
            }
        }
    }

    fn read(&mut self, id: u64, stream: usize) {
        let Some(command) = self.running.get_mut(&id) else { return };
        self.calls.extend(command.pipes[stream].read(id, stream));
    }

    /// A call has returned.
    pub fn called(&mut self, mut called: Called) {
        let (id, stream) = (called.id, called.stream);
        let command = self.running.get_mut(&id).filter(|command| command.pipes[stream].fd.is_some());
        let Some(command) = command else {
            self.calls.extend(called.close());
            return;
        };
        let is_over = command.over;
        let pipe = &mut command.pipes[stream];
        let hung = pipe.hangs;
        pipe.take_back(&mut called);
        if is_over {
            return;
        }
        match called.told {
            Told::Read(Ok(read)) => self.was_read(id, stream, read),
            Told::Read(Err(error)) => self.was_not_read(id, stream, error),
            Told::Count(count) => self.was_counted(id, stream, count),
            Told::Closed => {}
        }
        if hung {
            self.watch_again(id, stream);
        }
    }

    /// The call that is being made about a pipe hangs: whoever makes it is left alone with the pipe.
    pub fn leave(&mut self, id: u64, stream: usize) {
        let Some(command) = self.running.get_mut(&id) else { return };
        let pipe = &mut command.pipes[stream];
        pipe.hangs = true;
        pipe.resting = false;
        if let Some(fd) = &pipe.fd {
            let _ = epoll::delete(&*self.epoll, fd);
        }
        self.drained(id, stream);
    }

    fn watch_again(&mut self, id: u64, stream: usize) {
        let Some(command) = self.running.get_mut(&id) else { return };
        if !command.pipes[stream].paused
            && let Err(error) = watch_pipe(&self.epoll, command, stream)
        {
            self.fail(id, error.into());
        }
        // All may have waited for this.
        self.finish_if_over(id);
    }

    fn was_not_read(&mut self, id: u64, stream: usize, error: io::Error) {
        let Some(command) = self.running.get_mut(&id) else { return };
        if command.is_draining() {
            command.error.get_or_insert(error);
            self.drained(id, stream);
        } else {
            self.fail(id, error);
        }
    }

    fn was_counted(&mut self, id: u64, stream: usize, count: usize) {
        let Some(command) = self.running.get_mut(&id) else { return };
        command.pipes[stream].standing = count;
        command.set_drain_clock();
        self.arm(id);
    }

    fn was_read(&mut self, id: u64, stream: usize, read: Option<Read>) {
        let Some(command) = self.running.get_mut(&id) else { return };
        let pipe = &mut command.pipes[stream];
        let Some(Read { slice, busy }) = read else { return self.drained(id, stream) };
        let Some(slice) = slice else {
            self.end_pipe(id, stream);
            self.drained(id, stream);
            return self.finish_if_over(id);
        };
        let count = slice.len();
        pipe.standing = pipe.standing.saturating_sub(count);
        let start_spill = |folder: &Path| start_spill(folder, &self.messages, id, stream);
        let kept = pipe.capture.push(slice.clone(), start_spill);
        if let Some(left) = pipe.left_to_drain {
            command.handle.push(stream, slice);
            if let Err(error) = kept {
                command.error.get_or_insert(error);
            }
            // Somebody out of our reach may go on writing: more than a pipe can hold was not standing there.
            return if count > left {
                self.drained(id, stream);
            } else {
                pipe.left_to_drain = Some(left - count);
                self.read(id, stream);
            };
        }
        if let Some(size) = pipe.capture.wanted() {
            command.handle.loans[stream].ask(size);
            command.handle.announce();
        } else if pipe.capture.has_asked()
            && let Some(lent) = command.handle.loans[stream].take()
        {
            pipe.read_into(lent);
        }
        command.byte_came();
        self.output_comes.store(true, Ordering::Relaxed);
        let pipe = &mut command.pipes[stream];
        let window = command.timing.merge_window;
        let window_end = end_of_window(self.began, window);
        if let Some(window_end) = window_end {
            pipe.rate.add(window_end, window, count);
        }
        let (flow, unread) = command.handle.push(stream, slice);
        let kept = match kept {
            Ok(kept) => kept,
            Err(error) => return self.fail(id, error),
        };
        if flow == Flow::Pause || kept == Flow::Pause {
            self.pause(id, stream);
        } else if unread == 0 {
            // Nobody listens to this stream.
        } else if busy && unread < WORTH_WAKING {
            self.deferred.push(Arc::clone(&command.handle));
        } else if let Some(window_end) = window_end
            && unread < WORTH_WAKING
        {
            self.merge(id, stream, window_end);
        } else {
            command.handle.announce();
        }
    }

    /// Tell the consumer of what was read, and have what comes until the end of the window told then.
    fn merge(&mut self, id: u64, stream: usize, window_end: Instant) {
        let Some(command) = self.running.get_mut(&id) else { return };
        let may_rest = command.may_rest(stream);
        let pipe = &mut command.pipes[stream];
        if pipe.awaits_window {
            return;
        }
        pipe.awaits_window = true;
        self.windows.entry(window_end).or_default().push((id, stream));
        if may_rest && let Some(fd) = &pipe.fd {
            // A hang-up is reported all the same.
            pipe.resting =
                epoll::modify(&self.epoll, fd, event_data(id, Source::Pipe(stream)), epoll::EventFlags::empty())
                    .is_ok();
        }
        command.handle.announce();
    }

    fn serve_windows(&mut self) {
        while let Some(window) = self.windows.first_entry()
            && *window.key() <= Instant::now()
        {
            for (id, stream) in window.remove() {
                self.end_window(id, stream);
            }
        }
    }

    fn end_window(&mut self, id: u64, stream: usize) {
        let Some(command) = self.running.get_mut(&id) else { return };
        let pipe = &mut command.pipes[stream];
        pipe.awaits_window = false;
        if !std::mem::take(&mut pipe.resting) {
            // It was read all the time.
            return command.handle.announce();
        }
        if let Some(fd) = &pipe.fd
            && let Err(error) =
                epoll::modify(&self.epoll, fd, event_data(id, Source::Pipe(stream)), epoll::EventFlags::IN)
        {
            self.fail(id, error.into());
        }
    }

    /// The end of a stream has been read.
    fn end_pipe(&mut self, id: u64, stream: usize) {
        let Some(command) = self.running.get_mut(&id) else { return };
        let pipe = &mut command.pipes[stream];
        if let Some(fd) = &pipe.fd {
            // Closing is not enough: a command that is just being started has a copy of every descriptor, and until it
            // has closed them, the event would be reported over and over.
            let _ = epoll::delete(&*self.epoll, fd);
        }
        pipe.end();
        command.handle.end(stream);
    }

    /// Give up a pipe that somebody out of reach may still have open.
    fn abandon_pipe(&mut self, id: u64, stream: usize) {
        let Some(command) = self.running.get_mut(&id) else { return };
        let pipe = &mut command.pipes[stream];
        let Some(fd) = &pipe.fd else { return };
        let _ = epoll::delete(&*self.epoll, fd);
        self.calls.extend(pipe.close(id, stream, &command.busy));
        command.handle.end(stream);
    }

    fn pause(&mut self, id: u64, stream: usize) {
        let Some(command) = self.running.get_mut(&id) else { return };
        command.handle.announce();
        command.pause(stream);
        command.pipes[stream].resting = false;
        if let Some(fd) = &command.pipes[stream].fd {
            // Masking the events is not enough: a hang-up is always reported.
            let _ = epoll::delete(&*self.epoll, fd);
        }
        self.arm(id);
    }

    fn resume(&mut self, id: u64, stream: usize) {
        let Some(command) = self.running.get_mut(&id) else { return };
        if !command.pipes[stream].paused {
            return;
        }
        command.resume(stream);
        if command.pipes[stream].hangs {
            return self.arm(id);
        }
        match watch_pipe(&self.epoll, command, stream) {
            Ok(()) => self.arm(id),
            Err(error) => self.fail(id, error.into()),
        }
    }

    fn exited(&mut self, id: u64) {
        let Some(command) = self.running.get_mut(&id).filter(|command| !command.over) else {
            if let Some(unkillable) = self.uncollected.remove(&id) {
                let _ = epoll::delete(&*self.epoll, &*unkillable.pidfd);
                unkillable.collect(&self.groups);
            }
            return;
        };
        let _ = epoll::delete(&*self.epoll, &*command.pidfd);
        self.calls.extend(command.exit());
        self.arm(id);
        self.finish_if_over(id);
    }

    fn fail(&mut self, id: u64, error: io::Error) {
        if let Some(command) = self.running.get_mut(&id) {
            command.error = Some(error);
        }
        self.end(id, Reason::Failed);
    }

    fn stop_all(&mut self, done: Sender<()>) {
        self.closing = true;
        self.all_gone = Some(done);
        let ids: Vec<u64> = self.running.keys().copied().collect();
        for id in ids {
            if let Some(command) = self.running.get_mut(&id) {
                command.timing.kill_grace = Duration::ZERO;
                if command.over {
                    // Nobody will ask for what is being written.
                    command.handle.stop();
                } else {
                    command.ending = None;
                }
            }
            self.end(id, Reason::Stopped);
        }
        self.all_gone.take_if(|_| self.running.is_empty());
    }

    /// Have the command's whole tree ended. Its pipes are read on, so that it can say its last words.
    fn end(&mut self, id: u64, reason: Reason) {
        if reason == Reason::Stopped {
            for stream in 0..2 {
                self.resume(id, stream);
            }
        }
        let Some(command) = self.running.get_mut(&id) else { return };
        if command.over {
            return self.finish_if_over(id);
        }
        if command.ending.is_some() {
            return;
        }
        command.ending = Some(reason);
        if matches!(reason, Reason::Limit(_)) {
            command.handle.hit_limit();
        }
        self.terminator.post(Request {
            id,
            leader: command.pid,
            pidfd: Arc::clone(&command.pidfd),
            cgroup: command.cgroup.clone(),
            mark: Arc::clone(&command.mark),
            scope: if reason == Reason::Leftovers { Scope::Group } else { Scope::Tree },
            kill_at: Instant::now() + command.timing.kill_grace,
        });
        self.arm(id);
    }

    /// End a command that has not ended by itself; for a limit only if it has not exited.
    fn end_early(&mut self, id: u64, limit: Option<Limit>) {
        let Some(command) = self.running.get(&id).filter(|command| !command.over) else { return };
        match limit {
            Some(limit) if !command.exited => self.end(id, Reason::Limit(limit)),
            Some(_) => {}
            None => self.end(id, Reason::Asked),
        }
    }

    fn spilled(&mut self, id: u64) {
        let Some(command) = self.running.get_mut(&id) else { return };
        if command.over {
            return self.finish_if_over(id);
        }
        // Before everything was read only an error finishes a file; `complete` will find it.
        self.end(id, Reason::Failed);
        (0..2).for_each(|stream| self.resume(id, stream));
    }

    fn finish_if_over(&mut self, id: u64) {
        let Some(command) = self.running.get_mut(&id) else { return };
        if !command.over {
            if command.is_draining() {
                return;
            }
            if command.ending.is_none() && command.exited && command.pipes_closed() {
                if command.reap(&self.groups).is_ok() && command.group().remains() {
                    return self.end(id, Reason::Leftovers);
                }
            } else if !(command.ending.is_some() && command.gone.is_some()) {
                return;
            } else if command.awaits_return() {
                return self.arm(id);
            }
            return self.drain(id);
        }
        if !command.flush() {
            return self.arm(id);
        }
        let abandoned = !command.pipes_closed();
        (0..2).for_each(|stream| self.abandon_pipe(id, stream));
        self.disarm(id);
        if let Some(command) = self.running.remove(&id) {
            command.complete(abandoned);
        }
        self.all_gone.take_if(|_| self.running.is_empty());
    }

    /// Nobody is left to write: what stands in the pipes now is all there will be.
    fn drain(&mut self, id: u64) {
        let Some(command) = self.running.get_mut(&id) else { return };
        for (stream, pipe) in command.pipes.iter_mut().enumerate() {
            if let Some(call) = pipe.read(id, stream) {
                pipe.left_to_drain = Some(PipeMemory::LARGEST_SIZE);
                self.calls.push_back(call);
            }
        }
        if !command.is_draining() {
            self.conclude(id);
        }
    }

    /// Nothing more of a stream will be read, if this was its last reading.
    fn drained(&mut self, id: u64, stream: usize) {
        let Some(command) = self.running.get_mut(&id) else { return };
        if command.pipes[stream].left_to_drain.take().is_some() && !command.is_draining() {
            self.conclude(id);
        }
    }

    fn conclude(&mut self, id: u64) {
        self.disarm(id);
        if let Some(command) = self.running.get_mut(&id) {
            command.over = true;
            if let Err(unkillable) = command.reap(&self.groups) {
                self.uncollected.insert(id, unkillable);
            }
        }
        self.finish_if_over(id);
    }

    /// Put the command's next deadline into the list.
    fn arm(&mut self, id: u64) {
        let next = self.running.get(&id).and_then(|command| command.next_deadline());
        let armed = self.armed.get(&id).copied();
        if next == armed {
            return;
        }
        self.disarm(id);
        if let Some(next) = next {
            self.deadlines.insert((next, id));
            self.armed.insert(id, next);
        }
    }

    fn disarm(&mut self, id: u64) {
        if let Some(armed) = self.armed.remove(&id) {
            self.deadlines.remove(&(armed, id));
        }
    }

    fn serve_deadlines(&mut self) {
        while let Some((deadline, id)) = self.deadlines.first().copied() {
            let now = Instant::now();
            if deadline > now {
                break;
            }
            self.deadlines.pop_first();
            self.armed.remove(&id);
            // An event of the same moment wins: a deadline may have moved since it was put here.
            match self.running.get_mut(&id).and_then(|command| command.due(now)) {
                Some(Due::End(reason)) => self.end(id, reason),
                Some(Due::Conclude) => self.finish_if_over(id),
                None => {}
            }
            self.arm(id);
        }
    }
}

/// When the present merge window of this length ends, one having begun at `began`; None where nothing is merged.
fn end_of_window(began: Instant, window: Duration) -> Option<Instant> {
    if window.is_zero() {
        return None;
    }
    let now = Instant::now();
    let passed = (now - began).as_nanos() % window.as_nanos();
    // The longest window is a century, and that many nanoseconds fit.
    Some(now + (window - Duration::from_nanos(passed as u64)))
}

fn start_spill(folder: &Path, messages: &Arc<Mailbox<Message>>, id: u64, stream: usize) -> io::Result<Spill> {
    let messages = Arc::clone(messages);
    Spill::start(folder, move |news| {
        messages.post(match news {
            News::Resume => Message::Resume { id, stream },
            News::Finished => Message::Spilled(id),
        });
    })
}

fn watch(epoll: &ThreadsFd, command: &RunningCommand) -> Result<(), Errno> {
    let exit = event_data(command.handle.id, Source::Exit);
    epoll::add(epoll, &*command.pidfd, exit, epoll::EventFlags::IN)?;
    (0..2).try_for_each(|stream| watch_pipe(epoll, command, stream))
}

fn watch_pipe(epoll: &ThreadsFd, command: &RunningCommand, stream: usize) -> Result<(), Errno> {
    let Some(fd) = &command.pipes[stream].fd else { return Ok(()) };
    epoll::add(epoll, fd, event_data(command.handle.id, Source::Pipe(stream)), epoll::EventFlags::IN)
}
