//! What Python sees of the core: `tailrace._native`.

mod captured_output;
mod consumer;
mod execution;
mod mailbox;
mod view;

use std::time::Duration;

use pyo3::prelude::*;

use crate::engine::Engine;
use crate::fork;

#[pymodule(name = "_native")]
mod native {
    #[pymodule_export]
    use super::captured_output::CapturedOutput;
    #[pymodule_export]
    use super::execution::{Ended, Execution};
    #[pymodule_export]
    use super::mailbox::Mailbox;
    #[pymodule_export]
    use super::{after_fork_in_child, after_fork_in_parent, before_fork, shut_down};

    /// "release" or "debug": what was measured with a debug build says nothing.
    #[pymodule_export]
    const BUILD_PROFILE: &str = if cfg!(debug_assertions) { "debug" } else { "release" };
}

/// Kill every command that this process runs, and wait until they are gone, for at most `patience` seconds. Returns False if
/// a thread hangs in the kernel, so that this process cannot end before that returns.
#[pyfunction]
fn shut_down(py: Python<'_>, patience: f64) -> bool {
    py.detach(|| Engine::shut_down(Duration::try_from_secs_f64(patience).unwrap_or_default()))
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
