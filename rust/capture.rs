//! What a result keeps of one stream.

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::mapping::{Mapping, Owner};
use crate::output_queue::Flow;
use crate::segment::{LEAST_ROOM, SegmentWriter, Slice};
use crate::spill::{Spill, Spilled};

/// Output up to this size is copied when the command ends, so that a small result does not hold a large segment.
const COMPACT: usize = 256 << 10;

/// Output that has come to this size will probably be large: memory is asked for that the result can be made of.
const MUCH: usize = 4 << 20;
/// As much more may have come before there is that memory; copying it there takes some milliseconds.
const TOO_MUCH: usize = 16 << 20;
/// How much memory is asked for: putting less together costs little, and more may not be had, though little of it will be used.
const WORTH_ASKING: RangeInclusive<usize> = 64 << 20..=1 << 30;

/// A piece of this size is still in the processor's cache when it is copied after it was looked at.
const COPIED_AT_ONCE: usize = 64 << 10;

/// How much of a stream to keep, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    /// Everything; beyond `memory` bytes in a file.
    Full {
        memory: usize,
    },
    HeadTail {
        head: usize,
        tail: usize,
    },
}

/// Keeps slices of a stream as its policy says; the slices are shared with whoever else looks at the output.
pub struct Capture {
    policy: Policy,
    spill_folder: Arc<Path>,
    head: Pieces,
    tail: Pieces,
    spill: Option<Spill>,
    truncated: bool,
    has_asked: bool,
}

impl Capture {
    pub fn new(policy: Policy, spill_folder: Arc<Path>) -> Self {
        Self {
            policy,
            spill_folder,
            head: Pieces::default(),
            tail: Pieces::default(),
            spill: None,
            truncated: false,
            has_asked: false,
        }
    }

    /// Keep a slice. `start_spill` is called once, when there is the first byte too many for memory. `Flow::Pause` says
    /// to read no more until there are news of the spill; an error, that something could not be kept.
    pub fn push(&mut self, slice: Slice, start_spill: impl FnOnce(&Path) -> io::Result<Spill>) -> io::Result<Flow> {
        match self.policy {
            Policy::Full { memory } => return self.push_full(slice, memory, start_spill),
            Policy::HeadTail { head, tail } => self.push_head_tail(slice, head, tail),
        }
        Ok(Flow::Continue)
    }

    fn push_full(
        &mut self,
        mut slice: Slice,
        memory: usize,
        start_spill: impl FnOnce(&Path) -> io::Result<Spill>,
    ) -> io::Result<Flow> {
        if self.head.bytes < memory {
            self.head.push(slice.split_front(memory - self.head.bytes));
        }
        if slice.is_empty() {
            return Ok(Flow::Continue);
        }
        let spill = match &mut self.spill {
            Some(spill) => spill,
            none => none.insert(start_spill(&self.spill_folder).inspect_err(|_| self.truncated = true)?),
        };
        Ok(spill.push(slice))
    }

    fn push_head_tail(&mut self, mut slice: Slice, head: usize, tail: usize) {
        if self.head.bytes < head {
            self.head.push(slice.split_front(head - self.head.bytes));
        }
        if slice.is_empty() {
            return;
        }
        self.tail.push(slice);
        self.truncated |= self.tail.bytes > tail;
        self.tail.drop_front_beyond(tail);
    }

    /// How much memory to ask the consumer for, if it is time; told once.
    pub fn wanted(&mut self) -> Option<usize> {
        let Policy::Full { memory } = self.policy else { return None };
        if self.has_asked || self.head.bytes < MUCH || memory < *WORTH_ASKING.start() {
            return None;
        }
        self.has_asked = true;
        Some(memory.min(*WORTH_ASKING.end()) + LEAST_ROOM)
    }

    /// Whether memory may have been lent.
    pub fn has_asked(&self) -> bool {
        self.has_asked
    }

    /// Have what is kept lie in this memory, and what `writer` writes next.
    pub fn move_to(&mut self, lent: Mapping, writer: &mut SegmentWriter) {
        let count = self.head.bytes;
        if count <= TOO_MUCH.min(lent.size()) {
            let parts = self.head.slices.iter().map(|slice| &**slice);
            let all = writer.move_to(lent, |memory| copy(parts, 0, memory, |_| true).map_or(0, |_| count));
            self.head.slices = [all].into();
        }
    }

    /// Have the file completed, or, with `discard`, left as it is. True once that is done; until then there will be
    /// news of the spill.
    pub fn flush(&mut self, discard: bool) -> bool {
        self.spill.as_ref().is_none_or(|spill| {
            spill.close(discard);
            spill.is_finished()
        })
    }

    /// How much has been written to the file, in bytes.
    pub fn written(&self) -> u64 {
        self.spill.as_ref().map_or(0, Spill::written)
    }

    /// After `flush`: what was kept, and why some of it could not be written.
    pub fn seal(mut self) -> (Captured, Option<io::Error>) {
        let (spilled, error) = self.spill.map_or((None, None), Spill::into_result);
        if let Policy::HeadTail { tail, .. } = self.policy {
            self.tail.trim_front_to(tail);
        }
        let mut pieces = self.head;
        pieces.slices.append(&mut self.tail.slices);
        pieces.bytes += self.tail.bytes;
        let kept = if pieces.bytes < COMPACT || pieces.bytes < pieces.pinned() / 2 {
            let mut copy = Vec::with_capacity(pieces.bytes);
            pieces.slices.iter().for_each(|slice| copy.extend_from_slice(slice));
            Kept::Copied(copy)
        } else {
            Kept::Shared(pieces.slices.into())
        };
        let truncated = self.truncated || error.is_some();
        (Captured { kept: Mutex::new(kept), in_memory: pieces.bytes, spilled, truncated }, error)
    }
}

/// The kept output of one stream.
pub struct Captured {
    kept: Mutex<Kept>,
    in_memory: usize,
    spilled: Option<Spilled>,
    /// Whether something was dropped.
    pub truncated: bool,
}

enum Kept {
    Copied(Vec<u8>),
    Shared(Vec<Slice>),
}

impl Captured {
    pub fn len(&self) -> usize {
        self.in_memory + self.spilled.as_ref().map_or(0, |spilled| spilled.length as usize)
    }

    /// The owner of the memory that all of it was read into, if there is such memory and nobody else sees it, and how much
    /// was read. There is nothing to copy any more then.
    pub fn take_lent(&self) -> Option<(Owner, usize)> {
        if self.spilled.is_some() {
            return None;
        }
        match &mut *self.kept() {
            Kept::Shared(slices) if slices.len() == 1 => slices[0].take_lent(),
            _ => None,
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copy everything to `target`, or if that is shorter, the end that has its length, as long as `accept` agrees to
    /// each piece. Returns whether it did.
    pub fn copy_to(&self, target: &mut [MaybeUninit<u8>], accept: impl Fn(&[u8]) -> bool) -> io::Result<bool> {
        let skip = self.len() - target.len();
        let kept = self.kept();
        let (copied, shared): (&[u8], &[Slice]) = match &*kept {
            Kept::Copied(bytes) => (bytes, &[]),
            Kept::Shared(slices) => (&[], slices),
        };
        let parts = std::iter::once(copied).chain(shared.iter().map(|slice| &**slice));
        let Some(mut rest) = copy(parts, skip, target, &accept) else { return Ok(false) };
        let mut offset = skip.saturating_sub(self.in_memory) as u64;
        while let Some(spilled) = &self.spilled
            && !rest.is_empty()
        {
            let (filled, behind) = spilled.read_at(rest, offset)?;
            if filled.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if !accept(filled) {
                return Ok(false);
            }
            offset += filled.len() as u64;
            rest = behind;
        }
        if rest.is_empty() { Ok(true) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// Copy parts, without the first `skip` bytes of all, to the front of `target`, as long as `accept` agrees to each piece. Returns
/// what is left of it.
fn copy<'a>(
    parts: impl Iterator<Item = &'a [u8]>,
    mut skip: usize,
    target: &mut [MaybeUninit<u8>],
    accept: impl Fn(&[u8]) -> bool,
) -> Option<&mut [MaybeUninit<u8>]> {
    let mut rest = target;
    for piece in parts.flat_map(|part| part.chunks(COPIED_AT_ONCE)) {
        let skipped = skip.min(piece.len());
        let piece = &piece[skipped..];
        skip -= skipped;
        if !accept(piece) {
            return None;
        }
        let (front, behind) = rest.split_at_mut(piece.len());
        // SAFETY: `front` is as long as `piece`, and nobody else has the memory that is to be filled.
        unsafe { std::ptr::copy_nonoverlapping(piece.as_ptr(), front.as_mut_ptr().cast(), piece.len()) };
        rest = behind;
    }
    Some(rest)
}

/// Slices in order, adjacent ones merged.
#[derive(Default)]
struct Pieces {
    slices: VecDeque<Slice>,
    bytes: usize,
}

impl Pieces {
    fn push(&mut self, slice: Slice) {
        self.bytes += slice.len();
        if !self.slices.back_mut().is_some_and(|last| last.try_append(&slice)) {
            self.slices.push_back(slice);
        }
    }

    /// Let go of whole slices in front that are not among the last `count` bytes.
    fn drop_front_beyond(&mut self, count: usize) {
        while self.slices.front().is_some_and(|first| self.bytes - first.len() >= count) {
            self.bytes -= self.slices.pop_front().map_or(0, |first| first.len());
        }
    }

    fn trim_front_to(&mut self, count: usize) {
        self.drop_front_beyond(count);
        if let Some(first) = self.slices.front_mut()
            && self.bytes > count
        {
            first.skip(self.bytes - count);
            self.bytes = count;
        }
    }

    /// The memory that the slices keep alive, each segment once.
    fn pinned(&self) -> usize {
        let mut total = 0;
        let mut previous: Option<&Slice> = None;
        for slice in &self.slices {
            if !previous.is_some_and(|previous| previous.shares_segment(slice)) {
                total += slice.pinned();
            }
            previous = Some(slice);
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::SegmentWriter;

    fn keep(policy: Policy, pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut writer = SegmentWriter::new(false);
        let mut capture = Capture::new(policy, std::env::temp_dir().into());
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                let slice = writer.write_with(|memory| {
                    memory.iter_mut().zip(rest).for_each(|(to, from)| {
                        to.write(*from);
                    });
                    Ok(rest.len())
                });
                let slice = slice.unwrap().unwrap();
                rest = &rest[slice.len()..];
                capture.push(slice, |folder| Spill::start(folder, |_| {})).unwrap();
            }
        }
        while !capture.flush(false) {
            std::thread::yield_now();
        }
        let (captured, error) = capture.seal();
        assert!(error.is_none());
        let last = |count| {
            let mut bytes = vec![MaybeUninit::uninit(); count];
            assert!(captured.copy_to(&mut bytes, |_| true).unwrap());
            // SAFETY: `copy_to` has filled it.
            bytes.into_iter().map(|byte| unsafe { byte.assume_init() }).collect::<Vec<u8>>()
        };
        let bytes = last(captured.len());
        for count in [0, 1, 2, 7, captured.len() / 2, captured.len().saturating_sub(1)] {
            let count = count.min(bytes.len());
            assert!(last(count) == bytes[bytes.len() - count..], "the last {count}");
        }
        (bytes, captured.truncated)
    }

    #[test]
    fn everything_is_kept_in_order() {
        let large = vec![5; 16 << 10];
        let pieces: Vec<&[u8]> = std::iter::once(&b"start"[..]).chain(vec![&large[..]; 90]).collect();
        for memory in [usize::MAX, 1_000_000, 7, 0] {
            assert!(keep(Policy::Full { memory }, &pieces) == (pieces.concat(), false), "{memory} in memory");
        }
    }

    #[test]
    fn head_and_tail_are_exact_and_tell_when_something_is_missing() {
        let pieces: Vec<&[u8]> = b"abcdefghij".chunks(3).collect();
        for (head, tail, expected, truncated) in [
            (0, 4, "ghij", true),
            (2, 4, "abghij", true),
            (4, 6, "abcdefghij", false),
            (3, 6, "abcefghij", true),
            (99, 0, "abcdefghij", false),
            (0, 0, "", true),
            (0, 99, "abcdefghij", false),
        ] {
            let kept = keep(Policy::HeadTail { head, tail }, &pieces);
            assert_eq!(kept, (expected.into(), truncated), "head {head}, tail {tail}");
        }
    }
}
