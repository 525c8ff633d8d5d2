//! Lines for Python, out of bytes that Python has.

use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use crate::lines;
use crate::python::bytes::bytes_of;
use crate::python::consumer::decode;

/// Cuts a stream into lines; `\n`, `\r\n` and a lone `\r` end one.
#[pyclass(module = "tailrace._native")]
pub struct LineSplitter(lines::LineSplitter);

#[pymethods]
impl LineSplitter {
    #[new]
    fn new() -> Self {
        Self(lines::LineSplitter::default())
    }

    /// The lines that `data` completes, without their ends.
    fn feed<'py>(&mut self, py: Python<'py>, data: PyBuffer<u8>) -> PyResult<Bound<'py, PyList>> {
        let data = bytes_of(py, &data)?;
        let mut rest: &[u8] = &data;
        let lines = PyList::empty(py);
        while let Some(line) = self.0.next_line(&mut rest) {
            lines.append(decode(py, &line)?)?;
        }
        Ok(lines)
    }

    /// At the end of the stream: the last line, if nothing ended it.
    fn finish<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyString>>> {
        self.0.finish().map(|line| decode(py, &line)).transpose()
    }
}
