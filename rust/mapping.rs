//! Memory from the kernel, or lent by whom what is written there is for.

use std::any::Any;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

pub const HUGE: usize = 2 << 20;

/// What the memory belongs to, which is dropped with it.
pub type Owner = Box<dyn Any + Send>;

/// Anonymous memory of our own, returned to the kernel when dropped, or memory that its owner has lent.
pub struct Mapping {
    start: NonNull<u8>,
    size: usize,
    /// None: it is our own.
    owner: Option<Owner>,
}

// SAFETY: a mapping is plain memory that its one user may use from any thread, and so may its owner be.
unsafe impl Send for Mapping {}

impl Mapping {
    pub fn new(size: usize) -> std::io::Result<Self> {
        let prot = ProtFlags::READ | ProtFlags::WRITE;
        // A huge page needs an aligned start: map one more and give back what sticks out.
        let reserve = if size == HUGE { 2 * HUGE } else { size };
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
        let base = unsafe { mmap_anonymous(std::ptr::null_mut(), reserve, prot, MapFlags::PRIVATE)? }.cast::<u8>();
        let skip = if size == HUGE { base.align_offset(HUGE) } else { 0 };
        let start = base.wrapping_add(skip);
        for (surplus, length) in [(base, skip), (start.wrapping_add(size), reserve - skip - size)] {
            if length > 0 {
                // SAFETY: this part of the fresh mapping is page-aligned, and nobody refers to it.
                unsafe { munmap(surplus.cast(), length)? };
            }
        }
        if size == HUGE {
            // SAFETY: the range is exactly our mapping; the advice does not change its contents. A kernel without
            // huge pages refuses, which costs speed only.
            let _ = unsafe { madvise(start.cast(), size, Advice::LinuxHugepage) };
        }
        let start = NonNull::new(start).ok_or(std::io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, size, owner: None })
    }

    /// # Safety
    ///
    /// There are `size` bytes at `start`, for as long as the owner lives, and nobody uses them until it is given back.
    pub unsafe fn lent(start: NonNull<u8>, size: usize, owner: Owner) -> Self {
        Self { start, size, owner: Some(owner) }
    }

    pub fn is_lent(&self) -> bool {
        self.owner.is_some()
    }

    /// Give the memory back; None if it is our own.
    pub fn into_owner(mut self) -> Option<Owner> {
        let owner = self.owner.take()?;
        std::mem::forget(self);
        Some(owner)
    }

    pub fn size(&self) -> usize {
        self.size
    }

    /// # Safety
    ///
    /// The range lies inside, has been written, and nobody writes it as long as the result is used.
    pub unsafe fn read(&self, range: Range<usize>) -> &[u8] {
        // SAFETY: the caller's promise; the memory lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(range.start), range.len()) }
    }

    /// Let `fill` write to everything from `start` on.
    ///
    /// # Safety
    ///
    /// `start` lies inside, and nobody reads or writes what is behind it during the call.
    pub unsafe fn write<R>(&self, start: usize, fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> R) -> R {
        // SAFETY: the caller's promise; the memory lives as long as `self`.
        fill(unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().add(start).cast(), self.size - start) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.is_lent() {
            return;
        }
        // SAFETY: the mapping is ours and whoever could refer to it is gone, as it is being dropped.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.size) };
    }
}
