//! Handing over what has come of one command: in which order, and when there is nothing left to wait for.

use crate::handle::Handle;
use crate::segment::Slice;

/// Who is told what comes out of one stream. A `Turn` is what it needs for one round of telling.
pub trait Listener<Turn> {
    type Awaitable;
    type Error;

    /// Take what `next_slice` gives, until it gives nothing more or the turn is over.
    fn deliver(
        &mut self,
        turn: &Turn,
        next_slice: impl FnMut() -> Option<Slice>,
    ) -> Result<Round<Self::Awaitable>, Self::Error>;

    /// The stream has ended: take what nothing completed.
    fn finish(&mut self, turn: &Turn) -> Result<Option<Self::Awaitable>, Self::Error>;
}

/// How a round ended.
pub enum Round<Awaitable> {
    /// All there was has been handed over.
    Empty,
    /// The time is over; there may be more.
    Interrupted,
    /// Something has to be awaited first.
    Awaitable(Awaitable),
}

pub struct Delivery<L> {
    /// None: it wants to hear nothing, or its stream has ended.
    pub listeners: [Option<L>; 2],
    /// Whose turn it is: a busy stream must not keep the other from being heard.
    next: usize,
    /// Whether there is more to deliver right now.
    pub backlog: bool,
    /// Whether the command has ended and everything has been delivered.
    pub finished: bool,
}

impl<L> Delivery<L> {
    pub fn new(listeners: [Option<L>; 2]) -> Self {
        Self { listeners, next: 0, backlog: false, finished: false }
    }

    /// Deliver what has come, and return what has to be awaited before this is called again. If nothing has, call it
    /// again at once if `backlog`, and after the next news unless `finished`.
    ///
    /// `resume` is called with each stream whose queue has room again.
    pub fn deliver<Turn>(
        &mut self,
        handle: &Handle,
        turn: &Turn,
        resume: impl Fn(usize),
    ) -> Result<Option<L::Awaitable>, L::Error>
    where
        L: Listener<Turn>,
    {
        handle.begin_look();
        self.backlog = true;
        loop {
            // Before looking at the queues: what is queued after the outcome was seen cannot exist.
            let over = handle.outcome().is_some();
            let first = self.next;
            for stream in [first, 1 - first] {
                let ended = over || handle.has_ended(stream);
                let Some(listener) = &mut self.listeners[stream] else { continue };
                let round = listener.deliver(turn, || {
                    let (slice, has_room) = handle.queue(stream)?.pop();
                    if has_room {
                        resume(stream);
                    }
                    slice
                })?;
                if !matches!(round, Round::Empty) {
                    self.next = 1 - stream;
                }
                match round {
                    Round::Empty => {}
                    Round::Interrupted => return Ok(None),
                    Round::Awaitable(awaitable) => return Ok(Some(awaitable)),
                }
                if ended {
                    let last = listener.finish(turn)?;
                    self.listeners[stream] = None;
                    if last.is_some() {
                        return Ok(last);
                    }
                }
            }
            if over || handle.outcome().is_none() {
                self.backlog = false;
                self.finished = over;
                return Ok(None);
            }
        }
    }
}
