//! How fast output has come lately.

use std::time::{Duration, Instant};

use crate::pipe_memory::PipeMemory;

/// Less than this in a merge window is little: the pipe takes the next window's output without anybody reading.
const LITTLE: usize = PipeMemory::DEFAULT_SIZE / 4;

/// Counts the bytes of one stream in the present merge window and the one before.
#[derive(Default)]
pub struct OutputRate {
    window_end: Option<Instant>,
    bytes: usize,
    bytes_before: usize,
}

impl OutputRate {
    /// Note that `bytes` came in the merge window of length `window` that ends at `window_end`.
    pub fn add(&mut self, window_end: Instant, window: Duration, bytes: usize) {
        if self.window_end != Some(window_end) {
            let follows = self.window_end.is_some_and(|end| end + window == window_end);
            self.bytes_before = if follows { self.bytes } else { 0 };
            self.bytes = 0;
            self.window_end = Some(window_end);
        }
        self.bytes += bytes;
    }

    pub fn is_little(&self) -> bool {
        self.bytes < LITTLE && self.bytes_before < LITTLE
    }
}
