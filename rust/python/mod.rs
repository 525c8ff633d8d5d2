//! What Python sees of the core: `tailrace._native`.

mod bytes;
mod captured_output;
mod consumer;
mod execution;
mod lines;
mod mailbox;
mod needles;
mod spans;
mod view;

use std::time::Duration;

use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;

use crate::engine::Engine;
use crate::fork;
use crate::open_files_limit;

#[pymodule(name = "_native")]
mod native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use super::captured_output::CapturedOutput;
    #[pymodule_export]
    use super::execution::{Ended, Execution};
    #[pymodule_export]
    use super::lines::LineSplitter;
    #[pymodule_export]
    use super::mailbox::Mailbox;
    #[pymodule_export]
    use super::needles::{Needles, line_ends};
    #[pymodule_export]
    use super::raise_open_files_limit;
    #[pymodule_export]
    use super::spans::find_spans;
    #[pymodule_export]
    use super::{after_fork_in_child, after_fork_in_parent, before_fork, shut_down};

    #[pymodule_init]
    fn init(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        super::refuse_other_interpreters()
    }

    /// "release" or "debug": what was measured with a debug build says nothing.
    #[pymodule_export]
    const BUILD_PROFILE: &str = if cfg!(debug_assertions) { "debug" } else { "release" };

    /// The executable that is the first process of a container; empty for machines that it is not written for.
    #[pymodule_export]
    const CONTAINER_INIT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/container_init"));
}

/// The threads, the hooks for forks and what is left at the exit belong to the process, and an interpreter beside the main one
/// may be gone before they are.
fn refuse_other_interpreters() -> PyResult<()> {
    // SAFETY: called while a module is imported, so that this thread is attached to an interpreter.
    let id = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    if id == 0 {
        Ok(())
    } else {
        Err(PyImportError::new_err("tailrace works in the main interpreter alone, not in a subinterpreter"))
    }
}

/// Kill every command that this process runs, and wait until they are gone, for at most `patience` seconds. Returns False if
/// a thread hangs in the kernel, so that this process cannot end before that returns.
#[pyfunction]
fn shut_down(py: Python<'_>, patience: f64) -> bool {
    py.detach(|| Engine::shut_down(Duration::try_from_secs_f64(patience).unwrap_or_default()))
}

/// Raise the limit of open files as far as this process may; commands keep the one that there was.
#[pyfunction]
fn raise_open_files_limit() {
    open_files_limit::raise();
}

/// The three hooks of `os.register_at_fork`.
#[pyfunction]
fn before_fork() {
    fork::before();
}

#[pyfunction]
fn after_fork_in_parent() {
    fork::after_in_parent();
}

#[pyfunction]
fn after_fork_in_child() {
    fork::after_in_child();
}
