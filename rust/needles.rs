//! Finding the first line of output that holds one of many texts, in one pass however many there are.

use aho_corasick::Span;
use aho_corasick::packed::{Config, Searcher};
use memchr::{memchr, memchr2, memrchr2};

/// What is searched at a time: all that is looked for in it finds it in the processor's cache.
const BLOCK: usize = 64 << 10;

pub struct Needles {
    needles: Vec<Needle>,
    /// Finds those that are longer than a byte.
    searcher: Option<Searcher>,
    longest: usize,
}

/// A text to look for. The searcher looks for it from `rare` on, since it tells places apart by a few bytes.
pub struct Needle {
    pub text: Vec<u8>,
    pub rare: usize,
}

impl Needles {
    /// None where the processor, or so many texts, are not made for it.
    pub fn new(needles: Vec<Needle>) -> Option<Self> {
        let rare: Vec<_> = needles.iter().filter(|needle| needle.text.len() > 1).map(Needle::rare_end).collect();
        let searcher = if rare.is_empty() { None } else { Some(Config::new().builder().extend(rare).build()?) };
        let longest = needles.iter().map(|needle| needle.text.len()).max()?;
        Some(Self { needles, searcher, longest })
    }

    /// The start of the first line of `data` that holds a needle.
    pub fn find_line(&self, data: &[u8]) -> Option<usize> {
        let mut blocks = (0..data.len()).step_by(BLOCK);
        let at = blocks.find_map(|start| self.find(&data[..data.len().min(start + BLOCK + self.longest)], start))?;
        Some(memrchr2(b'\n', b'\r', &data[..at]).map_or(0, |end| end + 1))
    }

    fn find(&self, data: &[u8], start: usize) -> Option<usize> {
        let short = self.needles.iter().filter(|needle| needle.text.len() == 1);
        let short = short.filter_map(|needle| memchr(needle.text[0], &data[start..])).min().map(|at| start + at);
        // A long one that reaches beyond it is in the same line.
        self.find_long(&data[..short.unwrap_or(data.len())], start).or(short)
    }

    fn find_long(&self, data: &[u8], mut start: usize) -> Option<usize> {
        let searcher = self.searcher.as_ref()?;
        loop {
            let at = searcher.find_in(data, Span::from(start..data.len()))?.start();
            if self.needles.iter().any(|needle| needle.is_at(data, at)) {
                return Some(at);
            }
            start = at + 1;
        }
    }
}

impl Needle {
    fn rare_end(&self) -> &[u8] {
        &self.text[self.rare..]
    }

    /// Whether it is in `data`, with its rare part at `at`.
    fn is_at(&self, data: &[u8], at: usize) -> bool {
        at.checked_sub(self.rare).is_some_and(|start| data[start..].starts_with(&self.text))
    }
}

/// The places of the first and the last line end of `data`.
pub fn line_ends(data: &[u8]) -> Option<(usize, usize)> {
    Some((memchr2(b'\n', b'\r', data)?, memrchr2(b'\n', b'\r', data)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needles(texts: &[&str]) -> Needles {
        let needle = |text: &&str| Needle { text: text.as_bytes().to_vec(), rare: text.len().saturating_sub(4) };
        Needles::new(texts.iter().map(needle).collect()).unwrap()
    }

    /// The same by definition, line by line.
    fn reference(texts: &[&str], data: &str) -> Option<usize> {
        let mut start = 0;
        for line in data.split_inclusive(['\n', '\r']) {
            if texts.iter().any(|text| line.contains(text)) {
                return Some(start);
            }
            start += line.len();
        }
        None
    }

    #[test]
    fn the_first_line_is_found_wherever_in_the_blocks_it_is() {
        let texts = ["Error: ", "frame=", "%", "Rendering image"];
        let filler = "all is well, and goes on\r\n".repeat(2 * BLOCK / 26);
        let found = needles(&texts);
        assert_eq!(found.find_line(filler.as_bytes()), None);
        for text in texts {
            for at in (0..3).chain(BLOCK - 16..BLOCK + 3).chain(filler.len() - 3..filler.len() + 1) {
                let data = format!("{}{text}{}", &filler[..at], &filler[at..]);
                assert_eq!(found.find_line(data.as_bytes()), reference(&texts, &data), "{text} at {at}");
            }
        }
    }

    #[test]
    fn what_only_ends_like_a_text_hides_none() {
        let texts = ["an Error", "no Error: it"];
        for data in ["Error Error an Error", "x\nno Error: is\nno Error: it", "Error", "no Error"] {
            assert_eq!(needles(&texts).find_line(data.as_bytes()), reference(&texts, data), "{data}");
        }
    }
}
