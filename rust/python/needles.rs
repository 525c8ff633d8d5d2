//! The search for lines that are worth a look, for Python.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::needles::{self, Needle};

#[pyclass(frozen, module = "tailrace._native")]
pub struct Needles(needles::Needles);

#[pymethods]
impl Needles {
    /// Look for the given texts; with each comes the place in it from which on it is the least likely in other text.
    ///
    /// Raises `ValueError` where it would not be faster than to look for one after the other.
    #[new]
    fn new(texts: Vec<(Vec<u8>, usize)>) -> PyResult<Self> {
        let needles =
            texts.into_iter().map(|(text, rare)| Needle { rare: rare.min(text.len().saturating_sub(1)), text });
        let needles = needles.filter(|needle| !needle.text.is_empty()).collect();
        needles::Needles::new(needles).map(Self).ok_or_else(|| PyValueError::new_err("too many, or none"))
    }

    /// The start of the first line of `data[start:end]` that holds one of the texts, or -1.
    fn find_line(&self, data: PyBuffer<u8>, start: usize, end: usize) -> PyResult<isize> {
        let found = bytes(&data)?.get(start..end).and_then(|part| self.0.find_line(part));
        Ok(found.map_or(-1, |at| (start + at).cast_signed()))
    }
}

/// The places of the first and the last line end of `data`, or None.
#[pyfunction]
pub fn line_ends(data: PyBuffer<u8>) -> PyResult<Option<(usize, usize)>> {
    Ok(needles::line_ends(bytes(&data)?))
}

fn bytes(buffer: &PyBuffer<u8>) -> PyResult<&[u8]> {
    if !buffer.is_c_contiguous() {
        return Err(PyValueError::new_err("not contiguous"));
    }
    if buffer.item_count() == 0 {
        return Ok(&[]);
    }
    // SAFETY: the buffer holds so many bytes, in a row, for as long as it is borrowed; output is not changed meanwhile.
    Ok(unsafe { std::slice::from_raw_parts(buffer.buf_ptr().cast(), buffer.len_bytes()) })
}
