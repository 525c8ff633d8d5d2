//! How one thread gives work or news to another that waits on file descriptors: a list, and a wake that is set while
//! the list holds something.

use std::sync::PoisonError;

use crate::sync::Mutex;
use crate::wake::Wake;

pub struct Mailbox<T> {
    waiting: Mutex<Vec<T>>,
    wake: Wake,
}

impl<T> Mailbox<T> {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { waiting: Mutex::default(), wake: Wake::new()? })
    }

    /// Wakes only when the list was empty: whoever empties it takes all there is.
    pub fn post(&self, item: T) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(item);
        if waiting.len() == 1 {
            self.wake.set();
        }
    }

    /// Take everything. The wake is reset first: what is posted in between is taken now, or sets it again.
    pub fn take(&self) -> Vec<T> {
        self.wake.reset();
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(loom)]
impl<T> Mailbox<T> {
    /// In place of a poll.
    pub fn wait(&self) {
        self.wake.wait();
    }
}

/// Readable while something is waiting.
#[cfg(not(loom))]
impl<T> std::os::fd::AsFd for Mailbox<T> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

#[cfg(not(loom))]
#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    #[test]
    fn nothing_posted_is_lost_or_left_unannounced() {
        let mailbox = Arc::new(Mailbox::new().unwrap());
        let poster = Arc::clone(&mailbox);
        let thread = std::thread::spawn(move || (0..100_000u32).for_each(|item| poster.post(item)));
        let mut taken = Vec::new();
        while taken.len() < 100_000 {
            poll(&mut [PollFd::new(&*mailbox, PollFlags::IN)], None).unwrap();
            taken.extend(mailbox.take());
        }
        thread.join().unwrap();
        assert!(taken.into_iter().eq(0..100_000));
    }
}
