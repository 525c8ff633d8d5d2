//! From slices of output to calls of a Python callback.

use std::time::Instant;

use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

use crate::delivery::{Listener, Round};
use crate::lines::LineSplitter;
use crate::python::view::memory_view;
use crate::segment::Slice;
use crate::utf8::Utf8Carry;

/// Reading the clock costs as much as handing over a short line.
const CALLS_BETWEEN_CLOCKS: u32 = 32;
/// A piece of this size takes long enough to look at the clock after each.
const LARGE_PIECE: usize = 16 << 10;

/// One stream's callback, and what of the stream it has not seen yet.
pub struct Consumer {
    callback: Py<PyAny>,
    decoder: Decoder,
    slice: Option<Slice>,
}

enum Decoder {
    Bytes,
    Text(Utf8Carry),
    Lines(LineSplitter),
}

/// One round of calls of callbacks.
pub struct Turn<'py> {
    pub py: Python<'py>,
    pub deadline: Instant,
}

impl Consumer {
    pub fn new(callback: Py<PyAny>, mode: &str) -> PyResult<Self> {
        let decoder = match mode {
            "bytes" => Decoder::Bytes,
            "text" => Decoder::Text(Utf8Carry::default()),
            "lines" => Decoder::Lines(LineSplitter::default()),
            _ => return Err(PyValueError::new_err(format!("no such stream mode: {mode}"))),
        };
        Ok(Self { callback, decoder, slice: None })
    }

    pub fn callback(&self) -> &Py<PyAny> {
        &self.callback
    }

    /// The next thing to call the callback with, out of the current slice.
    fn next_piece<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match &mut self.decoder {
            Decoder::Bytes => match self.slice.take() {
                Some(slice) => Ok(Some(memory_view(py, slice)?.into_any())),
                None => Ok(None),
            },
            Decoder::Text(carry) => {
                while let Some(slice) = &mut self.slice
                    && !carry.is_empty()
                {
                    let (decodable, used) = carry.resume(slice);
                    slice.skip(used);
                    if slice.is_empty() {
                        self.slice = None;
                    }
                    if let Some(bytes) = decodable {
                        return Ok(Some(decode(py, &bytes)?.into_any()));
                    }
                }
                let Some(slice) = self.slice.take() else { return Ok(None) };
                let complete = carry.cut(&slice);
                if complete.is_empty() { Ok(None) } else { Ok(Some(decode(py, complete)?.into_any())) }
            }
            Decoder::Lines(splitter) => {
                let Some(slice) = &mut self.slice else { return Ok(None) };
                let mut rest: &[u8] = slice;
                let Some(line) = splitter.next_line(&mut rest) else {
                    self.slice = None;
                    return Ok(None);
                };
                let line = decode(py, &line)?;
                let used = slice.len() - rest.len();
                slice.skip(used);
                Ok(Some(line.into_any()))
            }
        }
    }

    fn call(&self, piece: Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
        let py = piece.py();
        let returned = self.callback.bind(py).call1((piece,))?;
        if returned.is_none() || !is_awaitable(&returned)? {
            return Ok(None);
        }
        Ok(Some(returned.unbind()))
    }
}

impl<'py> Listener<Turn<'py>> for Consumer {
    type Awaitable = Py<PyAny>;
    type Error = PyErr;

    fn deliver(
        &mut self,
        turn: &Turn<'py>,
        mut next_slice: impl FnMut() -> Option<Slice>,
    ) -> PyResult<Round<Py<PyAny>>> {
        let mut calls = 0;
        loop {
            let size = self.slice.as_ref().map_or(0, |slice| slice.len());
            let Some(piece) = self.next_piece(turn.py)? else {
                self.slice = next_slice();
                if self.slice.is_none() {
                    return Ok(Round::Empty);
                }
                continue;
            };
            if let Some(awaitable) = self.call(piece)? {
                return Ok(Round::Awaitable(awaitable));
            }
            calls += 1;
            let consumed = size - self.slice.as_ref().map_or(0, |slice| slice.len());
            if (consumed >= LARGE_PIECE || calls % CALLS_BETWEEN_CLOCKS == 0) && Instant::now() >= turn.deadline {
                return Ok(Round::Interrupted);
            }
        }
    }

    fn finish(&mut self, turn: &Turn<'py>) -> PyResult<Option<Py<PyAny>>> {
        let rest = match &mut self.decoder {
            Decoder::Bytes => None,
            Decoder::Text(carry) => carry.finish(),
            Decoder::Lines(splitter) => splitter.finish(),
        };
        match rest {
            Some(bytes) => self.call(decode(turn.py, &bytes)?.into_any()),
            None => Ok(None),
        }
    }
}

fn is_awaitable(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    static IS_AWAITABLE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    IS_AWAITABLE.import(object.py(), "inspect", "isawaitable")?.call1((object,))?.is_truthy()
}

/// As `bytes.decode(errors="replace")` does.
pub fn decode<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
    let length = ffi::Py_ssize_t::try_from(bytes.len())?;
    // SAFETY: Python only reads the bytes; it returns a new str, or NULL with an exception set.
    unsafe {
        let text = ffi::PyUnicode_DecodeUTF8(bytes.as_ptr().cast(), length, c"replace".as_ptr());
        Ok(Bound::from_owned_ptr_or_err(py, text)?.cast_into_unchecked())
    }
}
