//! Memory that output is read into once and then shared, never copied: segments, slices of them, and a pool.
//!
//! The I/O thread fills a segment from front to back and hands out slices of what it has filled. A slice keeps
//! its segment alive; bytes that a slice can see are never written again. A segment nobody else holds is filled
//! again from the front, so a consumer that keeps up cycles through one or two of them.

use std::mem::MaybeUninit;
use std::ops::{Deref, Range};

use crate::mapping::{HUGE, Mapping, Owner};
use crate::sync::{Arc, Mutex};

/// A stream starts small, because most commands say little, and grows as it proves busy. The model checker follows every
/// byte, so there they are few.
const SIZES: [usize; 4] = if cfg!(loom) { [2, 4, 4, HUGE] } else { [16 << 10, 128 << 10, 1 << 20, HUGE] };
/// The largest size that is refilled; `HUGE` is for output that is kept.
const LARGEST_RECYCLED: usize = SIZES[2];
/// The least room that is read into. A writer that sets O_DIRECT on his end writes packets of at most this size, and what of a
/// packet does not fit is lost (pipe(2)).
pub const LEAST_ROOM: usize = if cfg!(loom) { 1 } else { 4096 };
/// Idle memory the pool keeps for the next stream.
const POOL_LIMIT: usize = if cfg!(loom) { 4 } else { 16 << 20 };

#[cfg(not(loom))]
static POOL: Mutex<Pool> = Mutex::new(Pool::EMPTY);
#[cfg(loom)]
loom::lazy_static! {
    static ref POOL: Mutex<Pool> = Mutex::new(Pool::EMPTY);
}

struct Pool {
    idle: Vec<Mapping>,
    bytes: usize,
}

impl Pool {
    const EMPTY: Self = Self { idle: Vec::new(), bytes: 0 };
}

/// A stretch of memory that its `SegmentWriter` fills and any number of `Slice`s read.
struct Segment(Option<Mapping>);

// SAFETY: slices only read bytes that were complete before the slice was made, and the one writer only writes
// bytes beyond those; see `SegmentWriter`.
unsafe impl Sync for Segment {}

impl Segment {
    fn new(size: usize) -> std::io::Result<Self> {
        // Not `lock`: after a fork the lock may belong to a thread that does not exist in this process.
        let idle = POOL.try_lock().ok().and_then(|mut pool| {
            let newest = pool.idle.iter().rposition(|mapping| mapping.size() == size)?;
            pool.bytes -= size;
            Some(pool.idle.remove(newest))
        });
        Ok(Self(Some(match idle {
            Some(mapping) => mapping,
            None => Mapping::new(size)?,
        })))
    }

    fn size(&self) -> usize {
        self.0.as_ref().map_or(0, Mapping::size)
    }

    fn is_lent(&self) -> bool {
        self.0.as_ref().is_some_and(Mapping::is_lent)
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        let Some(mapping) = self.0.take() else { return };
        if !mapping.is_lent()
            && let Ok(mut pool) = POOL.try_lock()
            && pool.bytes + mapping.size() <= POOL_LIMIT
        {
            pool.bytes += mapping.size();
            pool.idle.push(mapping);
        }
    }
}

/// Some bytes of a segment. Cheap to clone; the bytes never change.
#[derive(Clone)]
pub struct Slice {
    segment: Arc<Segment>,
    range: Range<usize>,
}

impl Slice {
    /// Grow by `next`, if that directly follows in the same segment.
    pub fn try_append(&mut self, next: &Slice) -> bool {
        let adjacent = Arc::ptr_eq(&self.segment, &next.segment) && self.range.end == next.range.start;
        if adjacent {
            self.range.end = next.range.end;
        }
        adjacent
    }

    /// Cut off the first `count` bytes, at most all, and return them.
    pub fn split_front(&mut self, count: usize) -> Slice {
        let middle = self.range.start + count.min(self.len());
        let front = Slice { segment: Arc::clone(&self.segment), range: self.range.start..middle };
        self.range.start = middle;
        front
    }

    /// Drop the first `count` bytes, at most all.
    pub fn skip(&mut self, count: usize) {
        self.range.start += count.min(self.len());
    }

    /// The size of the segment that this slice keeps alive. What was lent takes no more than was written there.
    pub fn pinned(&self) -> usize {
        if self.segment.is_lent() { self.len() } else { self.segment.size() }
    }

    /// Give back memory that was lent, if this is its front and nobody else sees any of it. Returns its owner and how much
    /// of it was written, and is empty then.
    pub fn take_lent(&mut self) -> Option<(Owner, usize)> {
        if self.range.start > 0 {
            return None;
        }
        let mapping = Arc::get_mut(&mut self.segment)?.0.take_if(|mapping| mapping.is_lent())?;
        Some((mapping.into_owner()?, std::mem::take(&mut self.range).end))
    }

    /// Whether both keep the same segment alive.
    pub fn shares_segment(&self, other: &Slice) -> bool {
        Arc::ptr_eq(&self.segment, &other.segment)
    }
}

impl Deref for Slice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.segment.0.as_ref().map_or(&[], |mapping| {
            // SAFETY: a slice is only made for bytes inside the segment that have been written, and nobody writes them
            // again while the slice holds the segment.
            unsafe { mapping.read(self.range.clone()) }
        })
    }
}

/// Fills segments for one stream, one after the other.
pub struct SegmentWriter {
    segment: Option<Arc<Segment>>,
    filled: usize,
    size_index: usize,
    keeps: bool,
}

impl SegmentWriter {
    /// `keeps` says that the slices will be kept, so that refilling is out of the question and large pages pay.
    pub fn new(keeps: bool) -> Self {
        Self { segment: None, filled: 0, size_index: 0, keeps }
    }

    /// Let `fill` write to free memory (never empty); it returns how many bytes it wrote from the front on.
    pub fn write_with(
        &mut self,
        fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> std::io::Result<usize>,
    ) -> std::io::Result<Option<Slice>> {
        let segment = self.free_segment()?;
        let free = segment.size() - self.filled;
        let Some(mapping) = &segment.0 else { return Ok(None) };
        // SAFETY: `filled` lies inside the segment, and the bytes from there on belong to no slice.
        let count = unsafe { mapping.write(self.filled, fill) }?.min(free);
        let range = self.filled..self.filled + count;
        self.filled = range.end;
        Ok((count > 0).then_some(Slice { segment, range }))
    }

    /// Go on in memory that was lent, behind what `fill` writes to its front and returns the size of.
    pub fn move_to(&mut self, lent: Mapping, fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> usize) -> Slice {
        // SAFETY: nobody else has seen it yet.
        let filled = unsafe { lent.write(0, fill) }.min(lent.size());
        let segment = Arc::new(Segment(Some(lent)));
        (self.segment, self.filled) = (Some(Arc::clone(&segment)), filled);
        Slice { segment, range: 0..filled }
    }

    fn free_segment(&mut self) -> std::io::Result<Arc<Segment>> {
        if let Some(segment) = &mut self.segment {
            let full = segment.size() - self.filled < LEAST_ROOM;
            // Unique again means that every slice is gone, and `get_mut` orders their reads before our writes.
            if full || Arc::get_mut(segment).is_some() {
                self.filled = 0;
            }
            if full {
                let largest = if self.keeps { HUGE } else { LARGEST_RECYCLED };
                if SIZES[self.size_index] < largest {
                    self.size_index += 1;
                }
                self.segment = None;
            }
        }
        match &self.segment {
            Some(segment) => Ok(Arc::clone(segment)),
            None => {
                let segment = Arc::new(Segment::new(SIZES[self.size_index])?);
                self.segment = Some(Arc::clone(&segment));
                Ok(segment)
            }
        }
    }
}

#[cfg(not(loom))]
#[cfg(test)]
mod tests {
    use super::*;

    fn write(writer: &mut SegmentWriter, bytes: &[u8]) -> Slice {
        let filled = writer.write_with(|memory| {
            for (to, from) in memory.iter_mut().zip(bytes) {
                to.write(*from);
            }
            Ok(bytes.len().min(memory.len()))
        });
        filled.unwrap().unwrap()
    }

    #[test]
    fn adjacent_writes_merge_into_one_slice() {
        let mut writer = SegmentWriter::new(false);
        let mut first = write(&mut writer, b"one ");
        assert!(first.try_append(&write(&mut writer, b"two")));
        assert_eq!(&*first, b"one two");
        assert_eq!(&*first.split_front(4), b"one ");
        assert_eq!(&*first, b"two");
    }

    #[test]
    fn a_held_slice_keeps_its_bytes_while_the_stream_goes_on() {
        let mut writer = SegmentWriter::new(false);
        let held = write(&mut writer, &[7; 1000]);
        for round in 0..2000 {
            write(&mut writer, &[round as u8; 9999]);
        }
        assert_eq!(&*held, &[7; 1000]);
    }

    #[test]
    fn a_segment_nobody_holds_is_filled_again() {
        let mut writer = SegmentWriter::new(false);
        let address = write(&mut writer, b"abc").as_ptr();
        assert_eq!(write(&mut writer, b"def").as_ptr(), address);
    }

    #[test]
    fn what_another_thread_sees_stays_as_it_is() {
        // Not one with limits: waiting for room would order the reads that a refill has to wait for.
        let (sender, slices) = std::sync::mpsc::channel::<Slice>();
        let reader = std::thread::spawn(move || {
            for (round, slice) in slices.into_iter().enumerate() {
                assert!(slice.iter().all(|byte| *byte == round as u8));
            }
        });
        let mut writer = SegmentWriter::new(false);
        for round in 0..if cfg!(miri) { 20 } else { 2000 } {
            sender.send(write(&mut writer, &[round as u8; 3000])).unwrap();
            std::thread::yield_now();
        }
        drop(sender);
        reader.join().unwrap();
    }

    #[test]
    fn a_busy_stream_gets_larger_segments() {
        for (keeps, largest) in [(false, LARGEST_RECYCLED), (true, HUGE)] {
            let mut writer = SegmentWriter::new(keeps);
            let filled = std::iter::repeat_with(|| write(&mut writer, &[1; 1 << 20]).pinned());
            assert_eq!(filled.take(20).max(), Some(largest));
        }
    }
}
