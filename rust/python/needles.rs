//! The search for lines that are worth a look, for Python.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::needles::{self, Needle};
use crate::python::bytes::bytes_of;

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
    fn find_line(&self, py: Python<'_>, data: PyBuffer<u8>, start: usize, end: usize) -> PyResult<isize> {
        let found = bytes_of(py, &data)?.get(start..end).and_then(|part| self.0.find_line(part));
        Ok(found.map_or(-1, |at| (start + at).cast_signed()))
    }
}

/// The places of the first and the last line end of `data`, or None.
#[pyfunction]
pub fn line_ends(py: Python<'_>, data: PyBuffer<u8>) -> PyResult<Option<(usize, usize)>> {
    Ok(needles::line_ends(&bytes_of(py, &data)?))
}
