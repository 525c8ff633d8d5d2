//! What Python sees of the core: `tailrace._native`.

mod captured_output;
mod consumer;
mod execution;
mod mailbox;
mod view;

use std::time::Duration;

use pyo3::prelude::*;

use crate::engine::Engine;

#[pymodule(name = "_native")]
mod native {
    #[pymodule_export]
    use super::captured_output::CapturedOutput;
    #[pymodule_export]
    use super::execution::{Ended, Execution};
    #[pymodule_export]
    use super::mailbox::Mailbox;
    #[pymodule_export]
    use super::{after_fork, shut_down};

    /// "release" or "debug": what was measured with a debug build says nothing.
    #[pymodule_export]
    const BUILD_PROFILE: &str = if cfg!(debug_assertions) { "debug" } else { "release" };
}

/// Kill every command that this process runs, and wait until they are gone, for at most `patience` seconds.
#[pyfunction]
fn shut_down(py: Python<'_>, patience: f64) {
    py.detach(|| Engine::shut_down(Duration::try_from_secs_f64(patience).unwrap_or_default()));
}

/// To be called in a forked child, before it runs commands of its own.
#[pyfunction]
fn after_fork() {
    crate::watchdog::after_fork();
}
