//! Cutting a stream of bytes where it can be decoded piece by piece.
//!
//! A decoder that replaces what it cannot decode gives the same text for the pieces as for the whole, if no cut
//! falls into a sequence that could still become a character. That is all the state there is: at most 3 bytes.

/// The length of the unfinished character at the end of `bytes`: 0 to 3.
pub fn unfinished(bytes: &[u8]) -> usize {
    let longest = bytes.len().min(3);
    for length in 1..=longest {
        let tail = &bytes[bytes.len() - length..];
        let expected = match tail[0] {
            0x80..=0xBF => continue,
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            _ => return 0,
        };
        return if length < expected && could_continue(tail) { length } else { 0 };
    }
    0
}

/// Whether the second byte, if it is there, may follow the first (Unicode 16, table 3-7).
fn could_continue(start: &[u8]) -> bool {
    match start {
        [0xE0, second, ..] => (0xA0..=0xBF).contains(second),
        [0xED, second, ..] => (0x80..=0x9F).contains(second),
        [0xF0, second, ..] => (0x90..=0xBF).contains(second),
        [0xF4, second, ..] => (0x80..=0x8F).contains(second),
        _ => true,
    }
}

/// Carries the unfinished character at the end of one piece of a stream over to the next.
#[derive(Default)]
pub struct Utf8Carry {
    bytes: Vec<u8>,
}

impl Utf8Carry {
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Finish the carried character with the front of `input`. Returns what can be decoded now, if anything, and how
    /// much of `input` was used. The byte that shows a character to be broken may start another, which is carried.
    pub fn resume(&mut self, input: &[u8]) -> (Option<Vec<u8>>, usize) {
        for (index, byte) in input.iter().enumerate() {
            self.bytes.push(*byte);
            let carried = unfinished(&self.bytes);
            if carried < self.bytes.len() {
                let rest = self.bytes.split_off(self.bytes.len() - carried);
                return (Some(std::mem::replace(&mut self.bytes, rest)), index + 1);
            }
        }
        (None, input.len())
    }

    /// With nothing carried: carry the unfinished character at the end of `input`, and return what is before it.
    pub fn cut<'a>(&mut self, input: &'a [u8]) -> &'a [u8] {
        let (complete, rest) = input.split_at(input.len() - unfinished(input));
        self.bytes.extend_from_slice(rest);
        complete
    }

    /// At the end of the stream: what is left of a character that nothing finished.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        (!self.bytes.is_empty()).then(|| std::mem::take(&mut self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::every_cut::every_cut;

    /// Every sequence of up to `length` bytes out of those where the decoding rules differ.
    fn sequences(length: usize) -> Vec<Vec<u8>> {
        let bytes = [0x41, 0x80, 0x8F, 0x90, 0xA0, 0xBF, 0xC1, 0xC3, 0xE0, 0xE2, 0xED, 0xF0, 0xF4, 0xF5];
        let mut all = vec![vec![]];
        let mut last = all.clone();
        for _ in 0..length {
            last = last.iter().flat_map(|start| bytes.map(|byte| [&start[..], &[byte]].concat())).collect();
            all.extend(last.iter().cloned());
        }
        all
    }

    fn decode_in_pieces(pieces: &[&[u8]]) -> String {
        let mut carry = Utf8Carry::default();
        let mut text = String::new();
        for mut piece in pieces.iter().copied() {
            while !carry.is_empty() && !piece.is_empty() {
                let (decodable, used) = carry.resume(piece);
                text += &String::from_utf8_lossy(&decodable.unwrap_or_default());
                piece = &piece[used..];
            }
            if !piece.is_empty() {
                text += &String::from_utf8_lossy(carry.cut(piece));
            }
        }
        text + &String::from_utf8_lossy(&carry.finish().unwrap_or_default())
    }

    #[test]
    fn pieces_decode_to_the_same_text_as_the_whole_wherever_they_are_cut() {
        for whole in sequences(5) {
            let expected = String::from_utf8_lossy(&whole);
            every_cut(&whole, |pieces| assert_eq!(decode_in_pieces(pieces), expected, "{pieces:x?}"));
        }
    }

    #[test]
    fn a_finished_character_is_never_held_back() {
        for character in ["a", "é", "€", "😀"] {
            assert_eq!(unfinished(character.as_bytes()), 0);
            for length in 1..character.len() {
                assert_eq!(unfinished(&character.as_bytes()[..length]), length);
            }
        }
    }
}
