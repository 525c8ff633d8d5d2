//! Output that has been read and not yet consumed.

use std::collections::VecDeque;

use crate::segment::Slice;

/// What the unread bytes are counted in.
const UNIT: usize = if cfg!(loom) { 1 } else { 1 << 20 };
/// Unread bytes at which a stream is no longer read, and the command has to wait.
pub const HIGH: usize = 4 * UNIT;
/// Unread bytes at which reading goes on.
const LOW: usize = 2 * UNIT;

#[derive(Default)]
pub struct OutputQueue {
    slices: VecDeque<Slice>,
    unread: usize,
    paused: bool,
    /// Nothing follows what is queued.
    pub ended: bool,
}

/// What the reader has to do after output was queued.
#[derive(PartialEq, Eq, Debug)]
pub enum Flow {
    Continue,
    Pause,
}

impl OutputQueue {
    /// Queue a slice; `Flow::Pause` says to stop reading until a `pop` has told that it may go on.
    pub fn push(&mut self, slice: Slice) -> Flow {
        self.unread += slice.len();
        if !self.slices.back_mut().is_some_and(|last| last.try_append(&slice)) {
            self.slices.push_back(slice);
        }
        if self.unread < HIGH {
            return Flow::Continue;
        }
        self.paused = true;
        Flow::Pause
    }

    /// The oldest slice, and whether reading may go on again.
    pub fn pop(&mut self) -> (Option<Slice>, bool) {
        let slice = self.slices.pop_front();
        self.unread -= slice.as_ref().map_or(0, |slice| slice.len());
        let resume = self.paused && self.unread <= LOW;
        if resume {
            self.paused = false;
        }
        (slice, resume)
    }

    pub fn unread(&self) -> usize {
        self.unread
    }

    /// Drop what is queued.
    pub fn clear(&mut self) {
        *self = Self { ended: self.ended, ..Self::default() };
    }
}
