//! The bytes of what Python holds.

use std::borrow::Cow;
use std::slice;

use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;

/// Those of `buffer`; a copy if they could be written meanwhile, or do not lie together.
pub fn bytes_of<'a>(py: Python<'_>, buffer: &'a PyBuffer<u8>) -> PyResult<Cow<'a, [u8]>> {
    if buffer.item_count() == 0 || !buffer.readonly() || !buffer.is_c_contiguous() {
        return buffer.to_vec(py).map(Cow::Owned);
    }
    // SAFETY: there are so many bytes, one after the other, that nobody writes and that live as long as the buffer.
    Ok(Cow::Borrowed(unsafe { slice::from_raw_parts(buffer.buf_ptr().cast(), buffer.len_bytes()) }))
}
