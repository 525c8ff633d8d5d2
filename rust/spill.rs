//! Output beyond what a result may keep in memory goes to an unnamed file, written by a thread of its own: a slow
//! disk holds up the one stream it is for, and no other.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::io::pread;

use crate::output_queue::Flow;
use crate::segment::Slice;
use crate::signal_mask::with_signals_blocked;

/// Bytes waiting to be written at which the stream is no longer read, and at which it is read again.
const HIGH: usize = 8 << 20;
const LOW: usize = 4 << 20;

/// What the writing thread has to say.
pub enum News {
    /// There is room for more.
    Resume,
    /// Everything has been written after `close`, or writing failed.
    Finished,
}

pub struct Spill(Arc<Shared>);

struct Shared {
    folder: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    pending: VecDeque<Slice>,
    pending_bytes: usize,
    paused: bool,
    closed: bool,
    written: u64,
    /// Once everything is in it.
    file: Option<File>,
    error: Option<io::Error>,
    finished: bool,
}

/// What has been written, from the start of the file on.
pub struct Spilled {
    file: Option<File>,
    pub length: u64,
}

impl Spilled {
    /// Read from `offset` on; returns what is filled and the rest of `target`, as `pread` does.
    pub fn read_at<'a>(
        &self,
        target: &'a mut [MaybeUninit<u8>],
        offset: u64,
    ) -> io::Result<(&'a mut [u8], &'a mut [MaybeUninit<u8>])> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        Ok(pread(file, target, offset)?)
    }
}

impl Drop for Spilled {
    fn drop(&mut self) {
        let Some(file) = self.file.take() else { return };
        // Closing frees what it takes on a disk, 0.12 s for a GiB on ext4, or waits for a disk that is elsewhere, and whoever
        // drops a result may be an event loop's thread. Where there is no thread to be had, it is closed here.
        let close = || std::thread::Builder::new().name("tailrace-close".into()).spawn(move || drop(file));
        let _ = with_signals_blocked(close);
    }
}

impl Spill {
    /// Make the file in `folder` and start to write what is pushed.
    pub fn start(folder: &Path, notify: impl Fn(News) + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared { folder: folder.to_owned(), state: Mutex::default(), changed: Condvar::new() });
        let writer = Arc::clone(&shared);
        // Called on the I/O thread, whose blocked signals the new thread inherits.
        let body = move || writer.serve(&notify);
        std::thread::Builder::new().name("tailrace-spill".into()).spawn(body)?;
        Ok(Self(shared))
    }

    /// Have a slice written. After an error it is dropped.
    pub fn push(&self, slice: Slice) -> Flow {
        let mut state = self.0.lock();
        if state.finished {
            return Flow::Continue;
        }
        state.pending_bytes += slice.len();
        state.pending.push_back(slice);
        self.0.changed.notify_one();
        if state.pending_bytes < HIGH {
            return Flow::Continue;
        }
        state.paused = true;
        Flow::Pause
    }

    /// Nothing more will be pushed. With `discard`, what has not been written need not be.
    pub fn close(&self, discard: bool) {
        let mut state = self.0.lock();
        state.closed = true;
        if discard {
            state.pending.clear();
        }
        self.0.changed.notify_one();
    }

    pub fn is_finished(&self) -> bool {
        self.0.lock().finished
    }

    pub fn written(&self) -> u64 {
        self.0.lock().written
    }

    /// After it has finished, what was written, and what went wrong, if anything did. Before, nothing: the disk hangs.
    pub fn into_result(self) -> (Option<Spilled>, Option<io::Error>) {
        let mut state = self.0.lock();
        if !state.finished {
            let hangs = io::Error::new(io::ErrorKind::TimedOut, "the disk does not answer");
            return (None, Some(explain(&self.0.folder, &hangs)));
        }
        let length = state.written;
        (state.file.take().map(|file| Spilled { file: Some(file), length }), state.error.take())
    }
}

fn explain(folder: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("a temporary file in {} could not be written: {error}", folder.display()))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, notify: &impl Fn(News)) {
        let (file, error) = match tempfile::tempfile_in(&self.folder) {
            Ok(mut file) => {
                let error = self.write_all(&mut file, notify);
                (Some(file), error)
            }
            Err(error) => (None, Some(error)),
        };
        let mut state = self.lock();
        state.pending.clear();
        state.file = file;
        state.error = error.map(|error| explain(&self.folder, &error));
        state.finished = true;
        drop(state);
        notify(News::Finished);
    }

    fn write_all(&self, file: &mut File, notify: &impl Fn(News)) -> Option<io::Error> {
        loop {
            let slice = self.next(notify)?;
            // Not `write_all`, which does not tell how far it came.
            let mut rest: &[u8] = &slice;
            let result = loop {
                match file.write(rest) {
                    Ok(0) if !rest.is_empty() => break Err(io::ErrorKind::WriteZero.into()),
                    Ok(count) => {
                        self.lock().written += count as u64;
                        rest = &rest[count..];
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => break Err(error),
                }
                if rest.is_empty() {
                    break Ok(());
                }
            };
            if let Err(error) = result {
                return Some(error);
            }
        }
    }

    /// Wait for something to write; None when there will be nothing.
    fn next(&self, notify: &impl Fn(News)) -> Option<Slice> {
        let mut state = self.lock();
        loop {
            if let Some(slice) = state.pending.pop_front() {
                state.pending_bytes -= slice.len();
                if state.paused && state.pending_bytes <= LOW {
                    state.paused = false;
                    notify(News::Resume);
                }
                return Some(slice);
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
