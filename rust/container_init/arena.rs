//! Memory that is never given back.

use crate::kernel;

pub struct Arena {
    next: usize,
    left: usize,
}

const BLOCK: usize = 256 << 10;
const ALIGNMENT: usize = 16;

impl Arena {
    pub fn new() -> Self {
        Self { next: 0, left: 0 }
    }

    /// Return so many bytes, all zero. Ends this process where there are none.
    pub fn take(&mut self, size: usize) -> *mut u8 {
        let size = size.next_multiple_of(ALIGNMENT);
        if size > self.left {
            self.left = size.max(BLOCK);
            self.next = kernel::map_memory(self.left);
        }
        let taken = self.next;
        self.next += size;
        self.left -= size;
        taken as *mut u8
    }
}
