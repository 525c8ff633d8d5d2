//! How one thread gives work or news to another that waits on file descriptors: a list, and an eventfd that is
//! readable while the list holds something.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{read, write};

pub struct Mailbox<T> {
    waiting: Mutex<Vec<T>>,
    event: OwnedFd,
}

impl<T> Mailbox<T> {
    pub fn new() -> std::io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { waiting: Mutex::default(), event })
    }

    /// Writes the eventfd only when the list was empty: whoever empties it takes all there is.
    pub fn post(&self, item: T) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(item);
        if waiting.len() == 1 {
            // Fails only when the counter is about to overflow, and then the eventfd is readable anyway.
            let _ = write(&self.event, &1u64.to_ne_bytes());
        }
    }

    /// Take everything. The eventfd is reset first: what is posted in between is taken now, or sets it again.
    pub fn take(&self) -> Vec<T> {
        let _ = read(&self.event, &mut [0u8; 8]);
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Readable while something is waiting.
impl<T> AsFd for Mailbox<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

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
