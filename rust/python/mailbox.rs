//! What wakes Python: one mailbox for each event loop, or for each thread that blocks.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A signal that arrives just before the wait begins does not interrupt it; this bounds how long it goes unnoticed.
const SIGNAL_CHECK: Duration = Duration::from_millis(200);

/// Collects which executions have news.
#[pyclass(frozen, module = "tailrace._native")]
pub struct Mailbox(pub Arc<crate::mailbox::Mailbox<u64>>);

#[pymethods]
impl Mailbox {
    #[new]
    fn new() -> PyResult<Self> {
        Ok(Self(Arc::new(crate::mailbox::Mailbox::new()?)))
    }

    /// A descriptor that is readable while there is news.
    fn fileno(&self) -> i32 {
        self.0.as_fd().as_raw_fd()
    }

    /// The ids of the executions that have news.
    fn take(&self) -> Vec<u64> {
        self.0.take()
    }

    /// Block until there is news, then forget it. Raises what a signal handler raises. Returns False if none came for `timeout`
    /// seconds.
    #[pyo3(signature = (timeout = None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let deadline = timeout.and_then(|timeout| {
            Instant::now().checked_add(Duration::try_from_secs_f64(timeout).unwrap_or(Duration::MAX))
        });
        loop {
            let mut descriptors = [PollFd::new(&*self.0, PollFlags::IN)];
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let patience = left.map_or(SIGNAL_CHECK, |left| left.min(SIGNAL_CHECK));
            // Less than a second.
            let patience = Timespec { tv_sec: 0, tv_nsec: patience.subsec_nanos().into() };
            let polled = py.detach(|| poll(&mut descriptors, Some(&patience)));
            py.check_signals()?;
            match polled {
                Ok(0) | Err(rustix::io::Errno::INTR) => {
                    if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                        return Ok(false);
                    }
                }
                Ok(_) => {
                    self.0.take();
                    return Ok(true);
                }
                Err(error) => return Err(std::io::Error::from(error).into()),
            }
        }
    }
}
