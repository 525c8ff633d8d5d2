//! Cutting a stream of bytes into lines.
//!
//! `\n`, `\r\n` and a lone `\r` end a line. A line that `\r` ends is complete at once, since programs draw their
//! progress that way; a `\n` that directly follows belongs to the same end.

use std::borrow::Cow;

use memchr::memchr2;

#[derive(Default)]
pub struct LineSplitter {
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    after_return: bool,
}

impl LineSplitter {
    /// Cut the next line off the front of `input`. None: the input is used up, and what remained of it is kept
    /// for the next call. The line comes without its end.
    pub fn next_line<'a>(&mut self, input: &mut &'a [u8]) -> Option<Cow<'a, [u8]>> {
        if self.after_return && !input.is_empty() {
            self.after_return = false;
            if input[0] == b'\n' {
                *input = &input[1..];
            }
        }
        let Some(end) = memchr2(b'\n', b'\r', input) else {
            self.partial.extend_from_slice(input);
            *input = &[];
            return None;
        };
        let line = &input[..end];
        self.after_return = input[end] == b'\r';
        *input = &input[end + 1..];
        if self.partial.is_empty() {
            return Some(Cow::Borrowed(line));
        }
        let mut whole = std::mem::take(&mut self.partial);
        whole.extend_from_slice(line);
        Some(Cow::Owned(whole))
    }

    /// At the end of the stream: the last line, if nothing ended it.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        (!self.partial.is_empty()).then(|| std::mem::take(&mut self.partial))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::every_cut::every_cut;

    fn split(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut splitter = LineSplitter::default();
        let mut lines = Vec::new();
        for mut piece in pieces.iter().copied() {
            while let Some(line) = splitter.next_line(&mut piece) {
                lines.push(line.into_owned());
            }
        }
        lines.extend(splitter.finish());
        lines
    }

    /// The same by definition: one end after the other, in the whole.
    fn reference(whole: &str) -> Vec<Vec<u8>> {
        let unified = whole.replace("\r\n", "\n").replace('\r', "\n");
        let mut lines: Vec<_> = unified.split('\n').map(|line| line.as_bytes().to_vec()).collect();
        if lines.last().is_some_and(Vec::is_empty) {
            lines.pop();
        }
        lines
    }

    #[test]
    fn lines_are_the_same_wherever_the_input_is_cut() {
        let mut inputs = vec![String::new()];
        for _ in 0..7 {
            let longer: Vec<_> = inputs.iter().flat_map(|s| ["a", "\r", "\n"].map(|c| format!("{s}{c}"))).collect();
            inputs.extend(longer);
            inputs.sort_unstable();
            inputs.dedup();
        }
        for whole in &inputs {
            let expected = reference(whole);
            every_cut(whole.as_bytes(), |pieces| assert_eq!(split(pieces), expected, "{pieces:?}"));
        }
    }

    #[test]
    fn a_line_ended_by_a_return_does_not_wait_for_what_follows() {
        let mut splitter = LineSplitter::default();
        assert_eq!(splitter.next_line(&mut &b"50%\r"[..]).as_deref(), Some(&b"50%"[..]));
    }
}
