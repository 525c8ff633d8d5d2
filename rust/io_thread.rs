//! The thread that reads pipes, waits for exits and keeps deadlines. It never touches Python.
//!
//! Reading may hang in the kernel (see `pipe`), so it is done while nothing is held: the supervisor has a successor take
//! over everything but that one pipe. When the call returns at last, the pipe comes back by a message, and the thread ends.

use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::io::Errno;

use crate::call_watch::{CallWatch, Observer};
use crate::ending_tree::Request;
use crate::fork::ThreadsFd;
use crate::mailbox::Mailbox;
use crate::message::Message;
use crate::running_commands::RunningCommands;
use crate::signal_mask::thread;
use crate::supervisor::Supervised;
use crate::watchdog::Groups;

const EVENTS: usize = 256;

/// How long a call may take that hangs.
const HANGS: Duration = Duration::from_millis(200);
/// The same where one has just hung: a disk that does not answer has more than one pipe wait for it.
const HANGS_AGAIN: Duration = Duration::from_millis(5);
/// How long after a call that hung the shorter limit holds.
const WARY: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(40);
const LOOK_WARILY: Duration = Duration::from_millis(2);

pub struct IoThread {
    epoll: Arc<ThreadsFd>,
    messages: Arc<Mailbox<Message>>,
    state: Mutex<State>,
}

/// What the thread holds that serves.
struct State {
    /// How many threads have served.
    turn: u64,
    /// The pipe of the call that is being made.
    calling: Option<(u64, usize)>,
    commands: RunningCommands,
}

impl IoThread {
    /// Start the first thread to serve; the supervisor sees to its successors.
    pub fn start(
        messages: Arc<Mailbox<Message>>,
        terminator: Arc<Mailbox<Request>>,
        groups: Arc<Groups>,
        output_comes: Arc<AtomicBool>,
    ) -> io::Result<IoSupervision> {
        let epoll = Arc::new(ThreadsFd::new(epoll::create(epoll::CreateFlags::CLOEXEC)?));
        let commands =
            RunningCommands::new(Arc::clone(&epoll), Arc::clone(&messages), terminator, groups, output_comes)?;
        let state = Mutex::new(State { turn: 0, calling: None, commands });
        let io_thread = Arc::new(Self { epoll, messages, state });
        let observer = io_thread.start_thread()?;
        Ok(IoSupervision { io_thread, observer, wary_until: None })
    }

    fn start_thread(self: &Arc<Self>) -> io::Result<Observer> {
        let (sender, watch) = std::sync::mpsc::channel();
        let serving = Arc::clone(self);
        thread("tailrace-io", move || {
            let watch = CallWatch::of_this_thread();
            if sender.send(Arc::clone(&watch)).is_ok() {
                serving.run(&watch);
            }
        })?;
        Ok(Observer::new(watch.recv().map_err(io::Error::other)?))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serve until another takes over. Should the kernel refuse to wait, every command ends with that error, and so does
    /// each later one.
    fn run(&self, watch: &CallWatch) {
        let Err(error) = self.serve(watch) else { return };
        loop {
            self.lock().commands.fail_all(&error);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn serve(&self, watch: &CallWatch) -> io::Result<()> {
        let mut buffer = [MaybeUninit::<epoll::Event>::uninit(); EVENTS];
        let mut state = self.lock();
        state.turn += 1;
        loop {
            let timeout = state.commands.time_to_wait();
            drop(state);
            let events = match epoll::wait(&*self.epoll, &mut buffer[..], timeout.as_ref()) {
                Ok((events, _)) => events,
                Err(Errno::INTR) => &mut [],
                Err(error) => return Err(error.into()),
            };
            state = self.lock();
            let deferred = state.commands.deferred();
            for event in events {
                state.commands.serve_event(event.data);
                match self.make_calls(state, watch) {
                    Some(held) => state = held,
                    None => return Ok(()),
                }
            }
            state.commands.serve_due(deferred);
            match self.make_calls(state, watch) {
                Some(held) => state = held,
                None => return Ok(()),
            }
        }
    }

    /// Make the calls that there are to make. None: one of them hung, and another thread serves now.
    fn make_calls<'a>(&'a self, mut state: MutexGuard<'a, State>, watch: &CallWatch) -> Option<MutexGuard<'a, State>> {
        while let Some(call) = state.commands.next_call() {
            state.calling = Some((call.id, call.stream));
            let turn = state.turn;
            drop(state);
            let called = watch.during(|| call.make());
            state = self.lock();
            if state.turn != turn {
                self.messages.post(Message::Called(called));
                return None;
            }
            state.calling = None;
            state.commands.called(called);
        }
        Some(state)
    }
}

/// Has another thread serve when the one that does hangs.
pub struct IoSupervision {
    io_thread: Arc<IoThread>,
    observer: Observer,
    wary_until: Option<Instant>,
}

impl Supervised for IoSupervision {
    fn look(&mut self, now: Instant) -> Duration {
        let is_wary = self.wary_until.is_some_and(|until| now < until);
        let inside = self.observer.inside_for(now);
        if inside.is_some_and(|inside| inside >= if is_wary { HANGS_AGAIN } else { HANGS })
            && self.observer.is_uninterruptible(inside.unwrap_or_default())
            && self.take_over().is_ok()
        {
            self.wary_until = Some(now + WARY);
            return LOOK_WARILY;
        }
        if is_wary { LOOK_WARILY } else { LOOK }
    }
}

impl IoSupervision {
    fn take_over(&mut self) -> io::Result<()> {
        let mut state = self.io_thread.lock();
        // It may have returned by now.
        let Some((id, stream)) = state.calling else { return Ok(()) };
        self.observer = self.io_thread.start_thread()?;
        // At once, not when the successor comes to it, or the one that hangs might go on in between.
        state.turn += 1;
        state.calling = None;
        state.commands.leave(id, stream);
        Ok(())
    }
}
