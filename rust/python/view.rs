//! Output handed to Python without a copy.

use std::ffi::c_int;

use pyo3::exceptions::PyBufferError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};
use pyo3::{Bound, ffi};

use crate::segment::Slice;

/// Smaller pieces are cheaper copied than viewed, and a small view would keep a whole segment from being refilled.
const WORTH_VIEWING: usize = 8 << 10;

/// A read-only `memoryview` of `slice`, which stays valid for as long as anyone keeps it.
pub fn memory_view<'py>(py: Python<'py>, slice: Slice) -> PyResult<Bound<'py, PyMemoryView>> {
    if slice.len() < WORTH_VIEWING {
        return PyMemoryView::from(&PyBytes::new(py, &slice));
    }
    PyMemoryView::from(Bound::new(py, View(slice))?.as_any())
}

/// What the `memoryview` of a slice keeps alive.
#[pyclass(frozen, module = "tailrace._native")]
struct View(Slice);

#[pymethods]
impl View {
    // SAFETY: Python calls this with a buffer structure to fill, and `slf` outlives what it exports, because the
    // structure takes a reference to it.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("no buffer to fill"));
        }
        let bytes: &[u8] = &slf.get().0;
        let length = ffi::Py_ssize_t::try_from(bytes.len())?;
        let start = bytes.as_ptr().cast_mut().cast();
        // SAFETY: `view` is the caller's to fill; the bytes live and stay unchanged as long as `slf` does, and are
        // exported read-only.
        let code = unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), start, length, 1, flags) };
        if code == 0 { Ok(()) } else { Err(PyErr::fetch(slf.py())) }
    }
}
