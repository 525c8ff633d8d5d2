//! What a result keeps of one stream.

use std::collections::VecDeque;

use crate::segment::Slice;

/// Output up to this size is copied when the command ends, so that a small result does not hold a large segment.
const COMPACT: usize = 256 << 10;

/// How much of a stream to keep, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    Full,
    HeadTail { head: usize, tail: usize },
}

/// Keeps slices of a stream as its policy says; the slices are shared with whoever else looks at the output.
pub struct Capture {
    policy: Policy,
    head: Pieces,
    tail: Pieces,
    truncated: bool,
}

impl Capture {
    pub fn new(policy: Policy) -> Self {
        Self { policy, head: Pieces::default(), tail: Pieces::default(), truncated: false }
    }

    pub fn push(&mut self, mut slice: Slice) {
        let Policy::HeadTail { head, tail } = self.policy else {
            return self.head.push(slice);
        };
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

    /// End of the stream: what was kept.
    pub fn seal(mut self) -> Captured {
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
        Captured { kept, bytes: pieces.bytes, truncated: self.truncated }
    }
}

/// The kept output of one stream.
pub struct Captured {
    kept: Kept,
    pub bytes: usize,
    /// Whether something was dropped.
    pub truncated: bool,
}

enum Kept {
    Copied(Vec<u8>),
    Shared(Vec<Slice>),
}

impl Captured {
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let (copied, shared): (&[u8], &[Slice]) = match &self.kept {
            Kept::Copied(bytes) => (bytes, &[]),
            Kept::Shared(slices) => (&[], slices),
        };
        std::iter::once(copied).chain(shared.iter().map(|slice| &**slice))
    }
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
        let mut capture = Capture::new(policy);
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
                capture.push(slice);
            }
        }
        let captured = capture.seal();
        let bytes: Vec<_> = captured.parts().flatten().copied().collect();
        assert_eq!(bytes.len(), captured.bytes);
        (bytes, captured.truncated)
    }

    #[test]
    fn everything_is_kept_in_order() {
        let large = vec![5; 16 << 10];
        let pieces: Vec<&[u8]> = std::iter::once(&b"start"[..]).chain(vec![&large[..]; 90]).collect();
        assert!(keep(Policy::Full, &pieces) == (pieces.concat(), false));
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
