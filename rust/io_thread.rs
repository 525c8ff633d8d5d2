//! The one thread that reads pipes, waits for exits and keeps deadlines. It never touches Python.
//!
//! A command is over when it has exited and either its pipes are closed and its group is empty, or its whole tree
//! was ended on purpose: exit and end of file are separate events, since a descendant may keep a pipe open.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use crate::fork::ThreadsFd;
use crate::handle::Handle;
use crate::mailbox::Mailbox;
use crate::output_queue::Flow;
use crate::pipe_memory::PipeMemory;
use crate::running_command::{Reason, RunningCommand};
use crate::spill::{News, Spill};
use crate::terminator::{Gone, Request, Scope};
use crate::watchdog::Groups;

/// While a pipe holds more than we read at once, the consumer is woken only for at least this much.
const WORTH_WAKING: usize = 1 << 20;
const EVENTS: usize = 256;

/// What other threads ask of the I/O thread. The numbers are commands'.
pub enum Message {
    Started(Box<RunningCommand>),
    /// The consumer has made room in a stream's queue, or the disk has caught up.
    Resume {
        id: u64,
        stream: usize,
    },
    /// End the command; nobody wants its output.
    Stop(u64),
    /// The command's tree is gone, or nothing more can be done about it.
    TreeGone(Box<Gone>),
    /// A file that keeps output is complete, or cannot be written.
    Spilled(u64),
    /// Kill every command; the sender is dropped when they are gone.
    StopAll(Sender<()>),
}

pub struct IoThread {
    epoll: ThreadsFd,
    messages: Arc<Mailbox<Message>>,
    terminator: Arc<Mailbox<Request>>,
    groups: Arc<Groups>,
    running: HashMap<u64, Box<RunningCommand>>,
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
    pipe_memory: PipeMemory,
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

impl IoThread {
    pub fn new(
        messages: Arc<Mailbox<Message>>,
        terminator: Arc<Mailbox<Request>>,
        groups: Arc<Groups>,
    ) -> io::Result<Self> {
        let epoll = ThreadsFd::new(epoll::create(epoll::CreateFlags::CLOEXEC)?);
        epoll::add(&epoll, &*messages, event_data(0, Source::Messages), epoll::EventFlags::IN)?;
        Ok(Self {
            epoll,
            messages,
            terminator,
            groups,
            running: HashMap::new(),
            deadlines: BTreeSet::new(),
            armed: HashMap::new(),
            windows: BTreeMap::new(),
            began: Instant::now(),
            deferred: Vec::new(),
            pipe_memory: PipeMemory::new(),
            closing: false,
            all_gone: None,
        })
    }

    /// Serve for ever. Should the kernel refuse to wait, every command ends with that error, and so does each later one.
    pub fn run(mut self) {
        let Err(error) = self.serve() else { return };
        loop {
            self.take_messages();
            for (_, mut command) in self.running.drain() {
                command.error = Some(Errno::from_io_error(&error).unwrap_or(Errno::IO).into());
                let _ = rustix::process::kill_process_group(command.pid, rustix::process::Signal::KILL);
                command.complete(true);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn serve(&mut self) -> io::Result<()> {
        let mut buffer = [MaybeUninit::<epoll::Event>::uninit(); EVENTS];
        loop {
            let timeout = self.time_to_wait();
            let events = match epoll::wait(&self.epoll, &mut buffer[..], timeout.as_ref()) {
                Ok((events, _)) => events,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let deferred = std::mem::take(&mut self.deferred);
            for event in events {
                match parse_event_data(event.data) {
                    (id, Source::Pipe(stream)) => self.read(id, stream),
                    (id, Source::Exit) => self.exited(id),
                    (_, Source::Messages) => self.take_messages(),
                }
            }
            for handle in deferred {
                if !self.deferred.iter().any(|again| again.id == handle.id) {
                    handle.announce();
                }
            }
            self.serve_windows();
            self.serve_deadlines();
        }
    }

    fn time_to_wait(&self) -> Option<Timespec> {
        let wait = if self.deferred.is_empty() {
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
                Message::Resume { id, stream } => self.resume(id, stream),
                Message::Stop(id) => self.end(id, Reason::Stopped),
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
        if self.closing {
            command.timing.kill_grace = Duration::ZERO;
        }
        self.running.insert(id, command);
        if let Err(error) = watched {
            self.fail(id, error.into());
        } else if stopped {
            self.end(id, Reason::Stopped);
        } else {
            self.arm(id);
        }
    }

    fn read(&mut self, id: u64, stream: usize) {
        let Some(command) = self.running.get_mut(&id) else { return };
        let start_spill = |folder: &Path| start_spill(folder, &self.messages, id, stream);
        let read = match command.pipes[stream].read(&mut self.pipe_memory, start_spill) {
            Ok(read) => read,
            Err(error) => return self.fail(id, error),
        };
        if let Some(slice) = read.slice {
            command.byte_came();
            let window = command.timing.merge_window;
            let window_end = end_of_window(self.began, window);
            if let Some(window_end) = window_end {
                command.pipes[stream].rate.add(window_end, window, slice.len());
            }
            let (flow, unread) = command.handle.push(stream, slice);
            if flow == Flow::Pause || read.flow == Flow::Pause {
                self.pause(id, stream);
            } else if unread == 0 {
                // Nobody listens to this stream.
            } else if read.busy && unread < WORTH_WAKING {
                self.deferred.push(Arc::clone(&command.handle));
            } else if let Some(window_end) = window_end
                && unread < WORTH_WAKING
            {
                self.merge(id, stream, window_end);
            } else {
                command.handle.announce();
            }
        }
        if read.ended {
            self.close_pipe(id, stream);
            self.finish_if_over(id);
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

    fn close_pipe(&mut self, id: u64, stream: usize) {
        let Some(command) = self.running.get_mut(&id) else { return };
        if let Some(fd) = &command.pipes[stream].fd {
            // Closing is not enough: a command that is just being started has a copy of every descriptor, and until it
            // has closed them, the event would be reported over and over.
            let _ = epoll::delete(&self.epoll, fd);
        }
        command.pipes[stream].close(&mut self.pipe_memory);
        command.handle.end(stream);
    }

    fn pause(&mut self, id: u64, stream: usize) {
        let Some(command) = self.running.get_mut(&id) else { return };
        command.handle.announce();
        command.pause(stream);
        command.pipes[stream].resting = false;
        if let Some(fd) = &command.pipes[stream].fd {
            // Masking the events is not enough: a hang-up is always reported.
            let _ = epoll::delete(&self.epoll, fd);
        }
        self.arm(id);
    }

    fn resume(&mut self, id: u64, stream: usize) {
        let Some(command) = self.running.get_mut(&id) else { return };
        if !command.pipes[stream].paused {
            return;
        }
        command.resume(stream);
        match watch_pipe(&self.epoll, command, stream) {
            Ok(()) => self.arm(id),
            Err(error) => self.fail(id, error.into()),
        }
    }

    fn exited(&mut self, id: u64) {
        let Some(command) = self.running.get_mut(&id) else { return };
        let _ = epoll::delete(&self.epoll, &*command.pidfd);
        command.exit();
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
                command.ending = None;
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
        if command.ending.is_some() || command.over {
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
            if command.ending.is_none() && command.exited && command.pipes_closed() {
                command.reap(&self.groups);
                if command.group_remains() {
                    return self.end(id, Reason::Leftovers);
                }
            } else if !(command.ending.is_some() && command.gone.is_some()) {
                return;
            }
            self.conclude(id);
        }
        let Some(command) = self.running.get_mut(&id) else { return };
        if !command.flush() {
            return;
        }
        let abandoned = !command.pipes_closed();
        (0..2).for_each(|stream| self.close_pipe(id, stream));
        if let Some(command) = self.running.remove(&id) {
            command.complete(abandoned);
        }
        self.all_gone.take_if(|_| self.running.is_empty());
    }

    /// Nobody is left to write: what stands in the pipes now is all there will be.
    fn conclude(&mut self, id: u64) {
        for stream in 0..2 {
            if let Err(error) = self.drain(id, stream)
                && let Some(command) = self.running.get_mut(&id)
            {
                command.error.get_or_insert(error);
            }
        }
        if let Some(armed) = self.armed.remove(&id) {
            self.deadlines.remove(&(armed, id));
        }
        if let Some(command) = self.running.get_mut(&id) {
            command.over = true;
            command.reap(&self.groups);
        }
    }

    fn drain(&mut self, id: u64, stream: usize) -> io::Result<()> {
        let Some(command) = self.running.get_mut(&id) else { return Ok(()) };
        let mut count = 0;
        // Somebody out of our reach may go on writing: more than a pipe can hold was not standing there.
        while count <= PipeMemory::LARGEST_SIZE {
            let start_spill = |folder: &Path| start_spill(folder, &self.messages, id, stream);
            let read = command.pipes[stream].read(&mut self.pipe_memory, start_spill)?;
            if read.ended {
                self.close_pipe(id, stream);
                break;
            }
            let Some(slice) = read.slice else { break };
            count += slice.len();
            command.handle.push(stream, slice);
        }
        Ok(())
    }

    /// Put the command's next deadline into the list.
    fn arm(&mut self, id: u64) {
        let next = self.running.get(&id).and_then(|command| command.next_deadline());
        let armed = self.armed.get(&id).copied();
        if next == armed {
            return;
        }
        if let Some(armed) = armed {
            self.deadlines.remove(&(armed, id));
            self.armed.remove(&id);
        }
        if let Some(next) = next {
            self.deadlines.insert((next, id));
            self.armed.insert(id, next);
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
            let running = u32::try_from(self.running.len()).unwrap_or(u32::MAX);
            if let Some(reason) = self.running.get_mut(&id).and_then(|command| command.due(now, running)) {
                self.end(id, reason);
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
