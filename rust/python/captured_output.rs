//! The kept output of one stream, as Python asks for it.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::Arc;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use rustix::mm::{Advice, madvise};

use crate::capture::Captured;
use crate::loan::Loan;
use crate::mapping::Mapping;
use crate::python::consumer::decode;

/// Memory of this size comes straight from the kernel, so that advice about it concerns nobody else.
const OWN_MAPPING: usize = 64 << 20;
const PAGE: usize = 4096;
/// The bytes of a `str` lie a little further behind the beginning of a page than those of a `bytes`, and there processors take
/// five times as long for the instruction (`rep movsb`) that the C library copies more than this with.
const SHORT_COPY: usize = 2 << 10;

unsafe extern "C" {
    /// Of CPython's documented interface; pyo3 does not pass it on.
    fn _PyBytes_Resize(bytes: *mut *mut ffi::PyObject, size: ffi::Py_ssize_t) -> c_int;
}

#[pyclass(frozen, module = "tailrace._native")]
pub struct CapturedOutput(Output);

enum Output {
    /// It was read straight into this.
    Whole(Py<PyBytes>),
    Parts(Arc<Captured>),
}

#[pymethods]
impl CapturedOutput {
    fn __len__(&self, py: Python<'_>) -> usize {
        self.0.len(py)
    }

    /// Put the output together; a copy of its own each time, unless it is in one piece already.
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.end(py, self.0.len(py))
    }

    /// The last `count` bytes, or all if there are fewer.
    fn end<'py>(&self, py: Python<'py>, count: usize) -> PyResult<Bound<'py, PyBytes>> {
        match &self.0 {
            Output::Whole(bytes) => {
                let (object, bytes) = (bytes.bind(py), bytes.as_bytes(py));
                let skip = bytes.len().saturating_sub(count);
                Ok(if skip == 0 { object.clone() } else { PyBytes::new(py, &bytes[skip..]) })
            }
            Output::Parts(captured) => {
                let length = count.min(captured.len());
                let object = uninitialised(py, length)?;
                let target = Target { start: object.as_bytes().as_ptr().cast_mut(), length };
                target.fill(py, |memory| captured.copy_to(memory, |_| true))?;
                Ok(object)
            }
        }
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
    pub fn new(py: Python<'_>, captured: &Arc<Captured>) -> PyResult<Self> {
        let Some((owner, length)) = captured.take_lent() else {
            return Ok(Self(Output::Parts(Arc::clone(captured))));
        };
        let bytes = owner.downcast::<Py<PyBytes>>().map_err(|_| std::io::Error::other("lent by somebody else"))?;
        let mut object = bytes.into_ptr();
        // SAFETY: nobody else has ever seen the object, whose memory is given back. What is written there is as long. In
        // place of the object comes one of that size, or NULL with an exception set.
        unsafe {
            _PyBytes_Resize(&raw mut object, ffi::Py_ssize_t::try_from(length)?);
            let bytes = Bound::from_owned_ptr_or_err(py, object)?.cast_into_unchecked::<PyBytes>();
            Ok(Self(Output::Whole(bytes.unbind())))
        }
    }

    /// Without a detour through bytes, if the output is ASCII, as most is.
    fn to_ascii<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyString>>> {
        let length = self.0.len(py);
        // SAFETY: as in `uninitialised`. The text has a byte for each of its characters, all of which are ASCII.
        let (object, start) = unsafe {
            let size = ffi::Py_ssize_t::try_from(length)?;
            let object = Bound::from_owned_ptr_or_err(py, ffi::PyUnicode_New(size, 127))?;
            let start = ffi::PyUnicode_DATA(object.as_ptr()).cast::<u8>();
            (object.cast_into_unchecked::<PyString>(), start)
        };
        let target = Target { start, length };
        let is_ascii = match &self.0 {
            Output::Whole(bytes) => {
                let bytes = bytes.as_bytes(py);
                target.fill(py, |memory| copy_ascii(bytes, memory))
            }
            Output::Parts(captured) => target.fill(py, |memory| captured.copy_to(memory, <[u8]>::is_ascii))?,
        };
        Ok(is_ascii.then_some(object))
    }
}

impl Output {
    fn len(&self, py: Python<'_>) -> usize {
        match self {
            Self::Whole(bytes) => bytes.as_bytes(py).len(),
            Self::Parts(captured) => captured.len(),
        }
    }
}

/// Lend memory if it is wanted: that of an object which nobody knows of yet. Should there be none, the output is put
/// together later.
pub fn lend(py: Python<'_>, loan: &Loan) {
    let Some(size) = loan.wanted() else { return };
    let Ok(object) = uninitialised(py, size) else { return };
    let start = NonNull::from(object.as_bytes()).cast();
    advise(start.as_ptr(), size);
    // SAFETY: the object keeps its memory, and nobody else knows it.
    loan.lend(unsafe { Mapping::lent(start, size, Box::new(object.unbind())) });
}

/// A new object whose bytes are still to be written.
fn uninitialised(py: Python<'_>, length: usize) -> PyResult<Bound<'_, PyBytes>> {
    // SAFETY: a new object, or NULL with an exception set, which `from_owned_ptr_or_err` turns into an error.
    unsafe {
        let size = ffi::Py_ssize_t::try_from(length)?;
        Ok(Bound::from_owned_ptr_or_err(py, ffi::PyBytes_FromStringAndSize(std::ptr::null(), size))?
            .cast_into_unchecked())
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
    /// Have `fill` write all of it, without the interpreter.
    fn fill<T: Send>(self, py: Python<'_>, fill: impl FnOnce(&mut [MaybeUninit<u8>]) -> T + Send) -> T {
        if self.length == 0 {
            // To let go of the interpreter is to wait for it afterwards.
            return fill(&mut []);
        }
        py.detach(|| {
            // As a whole, since its pointer alone may not be moved to where the interpreter is not.
            let target = self;
            advise(target.start, target.length);
            // SAFETY: the object has this many bytes, which may still be uninitialised, and nobody else knows it.
            fill(unsafe { std::slice::from_raw_parts_mut(target.start.cast::<MaybeUninit<u8>>(), target.length) })
        })
    }
}

/// Copy bytes to memory of the same length if they are ASCII.
fn copy_ascii(bytes: &[u8], memory: &mut [MaybeUninit<u8>]) -> bool {
    bytes.chunks(SHORT_COPY).zip(memory.chunks_mut(SHORT_COPY)).all(|(from, to)| {
        let is_ascii = from.is_ascii();
        if is_ascii {
            // SAFETY: the two are as long, and nobody else has the memory that is to be filled.
            unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to.as_mut_ptr().cast(), from.len()) };
        }
        is_ascii
    })
}

/// Have large memory, which is an object's, come in large pages: most of the cost of a large result is the page faults, and
/// fewer make it a fraction.
fn advise(start: *mut u8, length: usize) {
    if length < OWN_MAPPING {
        return;
    }
    let skip = start.align_offset(PAGE);
    let whole_pages = (length - skip) / PAGE * PAGE;
    // SAFETY: the range lies within the object's memory, and the advice does not change its contents.
    let _ = unsafe { madvise(start.add(skip).cast(), whole_pages, Advice::LinuxHugepage) };
}
