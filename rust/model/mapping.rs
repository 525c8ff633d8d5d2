//! Memory whose every byte the model checker follows: it fails where a read and a write are not ordered.

use std::any::Any;
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ops::Range;

use loom::cell;

pub const HUGE: usize = 8;

pub type Owner = Box<dyn Any + Send>;

pub struct Mapping {
    bytes: Box<[UnsafeCell<u8>]>,
    /// Accessed as the byte in the same place is: the checker's own cells do not lie side by side as bytes do.
    accesses: Box<[cell::UnsafeCell<()>]>,
    owner: Option<Owner>,
}

impl Mapping {
    pub fn new(size: usize) -> std::io::Result<Self> {
        let bytes = (0..size).map(|_| UnsafeCell::new(0)).collect();
        Ok(Self { bytes, accesses: (0..size).map(|_| cell::UnsafeCell::new(())).collect(), owner: None })
    }

    /// Memory of the model's own in place of the owner's.
    pub fn lent(size: usize, owner: Owner) -> std::io::Result<Self> {
        let mut mapping = Self::new(size)?;
        mapping.owner = Some(owner);
        Ok(mapping)
    }

    pub fn is_lent(&self) -> bool {
        self.owner.is_some()
    }

    /// What the owner does with it is a write.
    pub fn into_owner(mut self) -> Option<Owner> {
        self.owner.take()
    }

    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// # Safety
    ///
    /// As of the real one.
    pub unsafe fn read(&self, range: Range<usize>) -> &[u8] {
        self.accesses[range.clone()].iter().for_each(|byte| byte.with(|_| ()));
        let bytes = &self.bytes[range];
        // SAFETY: the caller's promise; had it been broken, the accesses would have failed.
        unsafe { std::slice::from_raw_parts(UnsafeCell::raw_get(bytes.as_ptr()), bytes.len()) }
    }

    /// # Safety
    ///
    /// As of the real one.
    pub unsafe fn write<R>(&self, start: usize, fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> R) -> R {
        let _writing: Vec<_> = self.accesses[start..].iter().map(cell::UnsafeCell::get_mut).collect();
        let bytes = &self.bytes[start..];
        // SAFETY: the caller's promise; had it been broken, the accesses would have failed.
        fill(unsafe { std::slice::from_raw_parts_mut(UnsafeCell::raw_get(bytes.as_ptr()).cast(), bytes.len()) })
    }
}

/// Giving memory back to the kernel is the last write to it.
impl Drop for Mapping {
    fn drop(&mut self) {
        self.accesses.iter().for_each(|byte| byte.with_mut(|_| ()));
    }
}
