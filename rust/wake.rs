//! What a thread can wait for together with other descriptors, and another thread can set.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{read, write};

/// A flag that is readable while it is set.
pub struct Wake(OwnedFd);

impl Wake {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub fn set(&self) {
        // Fails only when the counter is about to overflow, and then the eventfd is readable anyway.
        let _ = write(&self.0, &1u64.to_ne_bytes());
    }

    pub fn reset(&self) {
        let _ = read(&self.0, &mut [0u8; 8]);
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
