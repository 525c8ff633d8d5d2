//! The reading end of one stream.
//!
//! Whoever writes to a pipe holds its lock while his bytes are copied, and where these are read from a disk that hangs,
//! so does everybody else who reads, asks, resizes or closes it, uninterruptibly. So each of that is a `PipeCall`, which is
//! made while nothing else is held; only poll(2) and epoll(7) do without the lock.

use std::io;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{ioctl_fionread, read};

use crate::capture::{Capture, Policy};
use crate::fork::ThreadsFd;
use crate::mapping::Mapping;
use crate::output_rate::OutputRate;
use crate::pipe_memory::PipeMemory;
use crate::segment::{SegmentWriter, Slice};
use crate::supervisor::Busy;

pub struct Pipe {
    /// For epoll. None: closed, by the command and all its descendants or by us.
    pub fd: Option<Arc<ThreadsFd>>,
    /// None: a call is being made.
    reader: Option<Reader>,
    /// The call that is being made hangs: nobody else may touch the pipe before it returns.
    pub hangs: bool,
    /// Not read because the consumer is slow, or the disk.
    pub paused: bool,
    /// Not read until the end of the merge window, so that its output comes in one piece.
    pub resting: bool,
    /// Whether something is to be done about it at the end of the merge window.
    pub awaits_window: bool,
    pub rate: OutputRate,
    pub capture: Capture,
    /// How much of what stood in the pipe when the command exited has not been read yet.
    pub standing: usize,
    /// How much may still be read after everybody who wrote is gone; None: nobody is known to be gone.
    pub left_to_drain: Option<usize>,
}

/// What a call needs. Whoever has it is the only one who touches the pipe.
struct Reader {
    fd: Arc<ThreadsFd>,
    writer: SegmentWriter,
    memory: Arc<PipeMemory>,
    size: usize,
}

/// Something about a pipe that may hang in the kernel.
pub struct PipeCall {
    pub id: u64,
    pub stream: usize,
    what: What,
    reader: Reader,
    /// Keeps the supervisor looking, also when the command is over.
    _busy: Option<Busy>,
}

enum What {
    /// Read what is there, once.
    Read,
    /// Ask how much is there.
    Count,
    Close,
}

/// What came of a call.
pub struct Called {
    pub id: u64,
    pub stream: usize,
    /// None: closed.
    reader: Option<Reader>,
    pub told: Told,
}

pub enum Told {
    Read(io::Result<Option<Read>>),
    Count(usize),
    Closed,
}

/// What one read brought; nothing at the end of the stream.
pub struct Read {
    pub slice: Option<Slice>,
    /// There is probably more right now.
    pub busy: bool,
}

impl Pipe {
    pub fn new(fd: ThreadsFd, policy: Policy, spill_folder: Arc<Path>, memory: &Arc<PipeMemory>) -> Self {
        let fd = Arc::new(fd);
        let reader = Reader {
            fd: Arc::clone(&fd),
            writer: SegmentWriter::new(matches!(policy, Policy::Full { .. })),
            memory: Arc::clone(memory),
            size: PipeMemory::DEFAULT_SIZE,
        };
        Self {
            fd: Some(fd),
            reader: Some(reader),
            hangs: false,
            paused: false,
            resting: false,
            awaits_window: false,
            rate: OutputRate::default(),
            capture: Capture::new(policy, spill_folder),
            standing: 0,
            left_to_drain: None,
        }
    }

    /// Whether there is something to read. Not of a pipe that hangs, where there may be for ever.
    pub fn is_readable(&self) -> bool {
        let Some(fd) = self.fd.as_ref().filter(|_| !self.hangs) else { return false };
        let mut polled = [PollFd::new(fd, PollFlags::IN)];
        poll(&mut polled, Some(&Timespec::default())).is_ok() && polled[0].revents().contains(PollFlags::IN)
    }

    /// None while another call is being made, or after the end.
    pub fn read(&mut self, id: u64, stream: usize) -> Option<PipeCall> {
        Some(PipeCall { id, stream, what: What::Read, reader: self.reader.take()?, _busy: None })
    }

    pub fn count(&mut self, id: u64, stream: usize) -> Option<PipeCall> {
        Some(PipeCall { id, stream, what: What::Count, reader: self.reader.take()?, _busy: None })
    }

    /// Give the pipe up. What there is to call is about a pipe that others may still write to.
    pub fn close(&mut self, id: u64, stream: usize, busy: &Busy) -> Option<PipeCall> {
        self.fd = None;
        Some(PipeCall { id, stream, what: What::Close, reader: self.reader.take()?, _busy: Some(busy.clone()) })
    }

    /// The end of the stream has been read: nobody writes, so that nothing can hang.
    pub fn end(&mut self) {
        self.fd = None;
        self.reader = None;
    }

    /// Go on reading into memory that was lent for what is kept.
    pub fn read_into(&mut self, lent: Mapping) {
        if let Some(reader) = &mut self.reader {
            self.capture.move_to(lent, &mut reader.writer);
        }
    }

    /// A call has returned.
    pub fn take_back(&mut self, called: &mut Called) {
        self.reader = called.reader.take();
        self.hangs = false;
    }
}

impl PipeCall {
    /// Make the call. May never return.
    pub fn make(self) -> Called {
        let Self { id, stream, what, mut reader, _busy } = self;
        let told = match what {
            What::Read => Told::Read(reader.read()),
            What::Count => {
                let count = ioctl_fionread(&reader.fd).map_or(0, |count| usize::try_from(count).unwrap_or(usize::MAX));
                Told::Count(count)
            }
            What::Close => {
                drop(reader);
                return Called { id, stream, reader: None, told: Told::Closed };
            }
        };
        Called { id, stream, reader: Some(reader), told }
    }
}

impl Called {
    /// The command is over, so the pipe is of no use any more.
    pub fn close(self) -> Option<PipeCall> {
        Some(PipeCall { id: self.id, stream: self.stream, what: What::Close, reader: self.reader?, _busy: None })
    }
}

impl Reader {
    /// None if there is nothing now.
    fn read(&mut self) -> io::Result<Option<Read>> {
        let mut wanted = 0;
        let result = self.writer.write_with(|free: &mut [MaybeUninit<u8>]| {
            wanted = free.len();
            Ok(read(&self.fd, free)?.0.len())
        });
        let slice = match result {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Ok(None);
            }
            result => result?,
        };
        let count = slice.as_ref().map_or(0, |slice| slice.len());
        if count >= self.size {
            self.size = self.memory.grow(&self.fd, self.size);
        }
        Ok(Some(Read { slice, busy: count >= wanted.min(PipeMemory::DEFAULT_SIZE) }))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.memory.release(self.size);
    }
}
