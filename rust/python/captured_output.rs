//! The kept output of one stream, as Python asks for it.

use std::mem::MaybeUninit;
use std::sync::Arc;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use rustix::mm::{Advice, madvise};

use crate::capture::Captured;
use crate::python::consumer::decode;

/// Memory of this size comes straight from the kernel, so that advice about it concerns nobody else.
const OWN_MAPPING: usize = 64 << 20;
const PAGE: usize = 4096;

#[pyclass(frozen, module = "tailrace._native")]
pub struct CapturedOutput(pub Arc<Captured>);

#[pymethods]
impl CapturedOutput {
    fn __len__(&self) -> usize {
        self.0.len()
    }

    /// Put the output together; a copy of its own each time.
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.end(py, self.0.len())
    }

    /// The last `count` bytes, or all if there are fewer.
    fn end<'py>(&self, py: Python<'py>, count: usize) -> PyResult<Bound<'py, PyBytes>> {
        let length = count.min(self.0.len());
        // SAFETY: a new object, or NULL with an exception set, which `from_owned_ptr_or_err` turns into an error.
        let object = unsafe {
            let size = ffi::Py_ssize_t::try_from(length)?;
            Bound::from_owned_ptr_or_err(py, ffi::PyBytes_FromStringAndSize(std::ptr::null(), size))?
                .cast_into_unchecked::<PyBytes>()
        };
        let target = Target { start: object.as_bytes().as_ptr().cast_mut(), length };
        py.detach(|| target.fill(&self.0, |_| true))?;
        Ok(object)
    }

    /// The same as text; what is not UTF-8 becomes U+FFFD.
    fn to_str<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        match self.to_ascii(py)? {
            Some(text) => Ok(text),
            None => decode(py, self.to_bytes(py)?.as_bytes()),
        }
    }
}

impl CapturedOutput {
    /// Without a detour through bytes, if the output is ASCII, as most is.
    fn to_ascii<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyString>>> {
        let length = self.0.len();
        // SAFETY: as in `to_bytes`. The text has a byte for each of its characters, all of which are ASCII.
        let (object, start) = unsafe {
            let size = ffi::Py_ssize_t::try_from(length)?;
            let object = Bound::from_owned_ptr_or_err(py, ffi::PyUnicode_New(size, 127))?;
            let start = ffi::PyUnicode_DATA(object.as_ptr()).cast::<u8>();
            (object.cast_into_unchecked::<PyString>(), start)
        };
        let target = Target { start, length };
        Ok(py.detach(|| target.fill(&self.0, <[u8]>::is_ascii))?.then_some(object))
    }
}

/// The memory of a `bytes` or `str` object that nobody else has seen yet.
struct Target {
    start: *mut u8,
    length: usize,
}

// SAFETY: whoever holds the target is the only one to use its memory.
unsafe impl Send for Target {}

impl Target {
    fn fill(self, captured: &Captured, accept: impl Fn(&[u8]) -> bool) -> std::io::Result<bool> {
        if self.length >= OWN_MAPPING {
            // Most of the cost of a large result is the page faults; fewer, larger pages make it a fraction.
            let skip = self.start.align_offset(PAGE);
            let whole_pages = (self.length - skip) / PAGE * PAGE;
            // SAFETY: the range lies within the object's memory, and the advice does not change its contents.
            let _ = unsafe { madvise(self.start.add(skip).cast(), whole_pages, Advice::LinuxHugepage) };
        }
        // SAFETY: the object has this many bytes, which may still be uninitialised, and nobody else knows it.
        let memory = unsafe { std::slice::from_raw_parts_mut(self.start.cast::<MaybeUninit<u8>>(), self.length) };
        captured.copy_to(memory, accept)
    }
}
