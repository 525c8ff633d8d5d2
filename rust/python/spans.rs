//! Where a secret is in output.

use memchr::memmem::Finder;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::python::bytes::bytes_of;

/// Where `pattern` is in `data`, as pairs of start and end; where it overlaps itself, all of that as one.
#[pyfunction]
pub fn find_spans(py: Python<'_>, data: PyBuffer<u8>, pattern: &[u8]) -> PyResult<Vec<(usize, usize)>> {
    if pattern.is_empty() {
        return Err(PyValueError::new_err("nothing to look for"));
    }
    Ok(spans(&bytes_of(py, &data)?, pattern))
}

fn spans(data: &[u8], pattern: &[u8]) -> Vec<(usize, usize)> {
    let finder = Finder::new(pattern);
    let mut spans: Vec<(usize, usize)> = Vec::new();
    let mut at = 0;
    while let Some(found) = finder.find(&data[at..]) {
        let (start, end) = (at + found, at + found + pattern.len());
        match spans.last_mut() {
            Some(last) if start < last.1 => last.1 = end,
            _ => spans.push((start, end)),
        }
        at = start + 1;
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_overlaps_itself_is_one() {
        assert_eq!(spans(b"abababa.aba", b"aba"), [(0, 7), (8, 11)]);
        assert_eq!(spans(b"aaaaaa", b"aaa"), [(0, 6)]);
        assert_eq!(spans(b"abab", b"ab"), [(0, 2), (2, 4)]);
        assert_eq!(spans(b"ab", b"abc"), []);
    }
}
