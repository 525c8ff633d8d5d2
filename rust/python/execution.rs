//! One command as Python runs it.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::capture::Policy;
use crate::delivery::Delivery;
use crate::engine::Engine;
use crate::environment::{Environment, HasNul};
use crate::handle::{self, Handle, Limit, MemoryReport, Outcome, ProcessNote, UsedBy};
use crate::python::captured_output::{CapturedOutput, lend};
use crate::python::consumer::{Consumer, Turn};
use crate::python::mailbox::Mailbox;
use crate::spawn::Command;
use crate::start::{Order, Timing};

/// How long the calls of one `deliver` may take before others on the same event loop get their turn.
const TIME_SLICE: Duration = Duration::from_millis(2);

/// Longer limits would only overflow what time can be added to.
const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

#[pyclass(frozen, module = "tailrace._native")]
pub struct Execution {
    engine: &'static Engine,
    handle: Arc<Handle>,
    delivery: Mutex<Delivery<Consumer>>,
    /// Made once: memory that was lent is given back once.
    ended: PyOnceLock<Py<Ended>>,
}

#[derive(FromPyObject)]
enum Keep {
    All(usize),
    Ends(usize, usize),
}

#[pymethods]
impl Execution {
    /// Start a command; `mailbox` gets its news. `program`, `args` and the rest are what `WorkerJob` says of them; `keep` is
    /// how many bytes of each stream to keep in memory before the rest goes to a file, or a pair: how many to keep of
    /// its beginning and of its end.
    ///
    /// Returns at once: whether the command could be started is one of the news. Raises `OSError` if this process
    /// cannot have the threads that running commands takes.
    #[new]
    #[pyo3(signature = (mailbox, program, args, *, env, cwd, timeout, idle_timeout, kill_grace, stream, merge_window, keep, on_stdout, on_stderr, wants_usage=false, wants_activity=false))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments in Python")]
    fn new(
        mailbox: &Bound<'_, Mailbox>,
        program: OsString,
        args: Vec<OsString>,
        env: Option<Vec<(OsString, OsString)>>,
        cwd: Option<PathBuf>,
        timeout: Option<f64>,
        idle_timeout: Option<f64>,
        kill_grace: f64,
        stream: &str,
        merge_window: f64,
        keep: Keep,
        on_stdout: Option<Py<PyAny>>,
        on_stderr: Option<Py<PyAny>>,
        wants_usage: bool,
        wants_activity: bool,
    ) -> PyResult<Self> {
        // SAFETY: Python changes it with the GIL held, as it is here, and nothing of ours does. A C library's thread that
        // calls setenv(3) meanwhile would break any reader of it, getenv(3) included.
        let env = unsafe { Environment::changed_by(&env.unwrap_or_default()) }.map_err(|HasNul| has_nul())?;
        let command = Command {
            program: c_string(program.into_vec())?,
            args: args.into_iter().map(|arg| c_string(arg.into_vec())).collect::<PyResult<_>>()?,
            env,
            cwd: cwd.map(|cwd| c_string(cwd.into_os_string().into_vec())).transpose()?,
        };
        let timing = Timing {
            total: timeout.map(seconds),
            idle: idle_timeout.map(seconds),
            kill_grace: seconds(kill_grace),
            merge_window: seconds(merge_window),
        };
        let policy = match keep {
            Keep::All(memory) => Policy::Full { memory },
            Keep::Ends(head, tail) => Policy::HeadTail { head, tail },
        };
        let wanted = [on_stdout.is_some(), on_stderr.is_some()];
        let consumer =
            |callback: Option<Py<PyAny>>| callback.map(|callback| Consumer::new(callback, stream)).transpose();
        let consumers = [consumer(on_stdout)?, consumer(on_stderr)?];
        let engine = Engine::current()?;
        // Here, where no other thread of Python's can be changing the environment.
        let spill_folder = std::env::temp_dir().into();
        let order = Order { command, timing, policy, spill_folder, wanted, wants_usage, wants_activity };
        let handle = engine.run(order, Arc::clone(&mailbox.get().0))?;
        let delivery = Mutex::new(Delivery::new(consumers));
        Ok(Self { engine, handle, delivery, ended: PyOnceLock::new() })
    }

    /// The number that `Mailbox.take` gives when there is news of this execution.
    #[getter]
    fn id(&self) -> u64 {
        self.handle.id
    }

    /// Call the callbacks with what has come. Raises what a callback raises.
    ///
    /// Returns an awaitable that a callback returned: await it, then call again. Returns None otherwise: call again at
    /// once if `backlog`, and after the next news unless `finished`.
    fn deliver(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let Ok(mut delivery) = self.delivery.try_lock() else {
            return Err(PyRuntimeError::new_err("a callback must not deliver the output of its own command"));
        };
        self.handle.loans.iter().for_each(|loan| lend(py, loan));
        let turn = Turn { py, deadline: Instant::now() + TIME_SLICE };
        delivery.deliver(&self.handle, &turn, |stream| self.engine.resume(self.handle.id, stream))
    }

    /// Whether there is more to deliver right now.
    #[getter]
    fn backlog(&self) -> bool {
        self.delivery.lock().unwrap_or_else(PoisonError::into_inner).backlog
    }

    /// Whether the command has ended and everything has been delivered.
    #[getter]
    fn finished(&self) -> bool {
        self.delivery.lock().unwrap_or_else(PoisonError::into_inner).finished
    }

    /// Whether the command and everything it started are gone, delivered or not.
    #[getter]
    fn over(&self) -> bool {
        self.handle.outcome().is_some()
    }

    /// How many seconds ago a limit ended the command; None if none has.
    #[getter]
    fn seconds_past_limit(&self) -> Option<f64> {
        self.handle.limit_hit().map(|at| at.elapsed().as_secs_f64())
    }

    /// What the command and all it started use now: memory in bytes and seconds of processor time; None before it was
    /// looked at. A change is news if that is wanted (`wants_usage`).
    #[getter]
    fn usage(&self) -> Option<(u64, f64)> {
        self.handle.usage().map(|sample| (sample.memory, sample.cpu.as_secs_f64()))
    }

    /// Its largest processes then: number, name and memory.
    #[getter]
    fn largest_processes(&self) -> Vec<Process> {
        processes(&self.handle.usage().map(|sample| sample.largest).unwrap_or_default())
    }

    /// The seconds for which it was watched, the seconds of processor time that it used meanwhile, and who was there at the
    /// last look; only with `wants_activity`.
    #[getter]
    fn activity(&self) -> (f64, f64, Vec<i32>) {
        let activity = self.handle.activity();
        (activity.seen.as_secs_f64(), activity.work.as_secs_f64(), activity.processes.clone())
    }

    /// End the command and all it started before its time, and deliver all its output. With `for_idleness` that is the
    /// limit for a command that uses no processor, which is not ended any more once it has exited.
    #[pyo3(signature = (*, for_idleness=false))]
    fn end(&self, for_idleness: bool) {
        if self.engine.is_of_this_process() {
            self.engine.end(&self.handle, for_idleness.then_some(Limit::Cpu));
        }
    }

    /// End the command and all it started, and deliver nothing more unless `listens`. The news come when they are gone.
    #[pyo3(signature = (*, listens=false))]
    fn stop(&self, listens: bool) {
        // In a forked child the command is the parent's, and so may be the locks that this takes.
        if self.engine.is_of_this_process() {
            if listens {
                self.handle.stop_and_listen();
            } else {
                self.handle.stop();
            }
            self.engine.stop(self.handle.id);
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Ok(delivery) = self.delivery.try_lock() {
            for consumer in delivery.listeners.iter().flatten() {
                visit.call(consumer.callback())?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        if let Ok(mut delivery) = self.delivery.try_lock() {
            delivery.listeners = [None, None];
        }
    }

    /// How the command ended. Raises `RuntimeError` before that, or if it was stopped before it had started.
    ///
    /// A command that could not be started gives a pair of its errno and a message.
    fn outcome(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self.handle.outcome() {
            Some(Outcome::Ended(ended)) => {
                let ended = self.ended.get_or_try_init(py, || Py::new(py, Ended::new(py, ended)?))?;
                Ok(ended.clone_ref(py).into_any())
            }
            Some(Outcome::NotStarted(error)) => {
                Ok((error.errno, error.message.as_str()).into_pyobject(py)?.into_any().unbind())
            }
            Some(Outcome::Cancelled) => Err(PyRuntimeError::new_err("the command was stopped before it had started")),
            None => Err(PyRuntimeError::new_err("the command has not ended")),
        }
    }
}

fn c_string(string: impl Into<Vec<u8>>) -> PyResult<CString> {
    CString::new(string).map_err(|_| has_nul())
}

fn has_nul() -> PyErr {
    PyValueError::new_err("a NUL byte in a command, its arguments or environment")
}

/// A limit that is too far away to be represented is as good as none.
fn seconds(limit: f64) -> Duration {
    Duration::try_from_secs_f64(limit).unwrap_or(CENTURY).min(CENTURY)
}

/// An execution that nobody waits for any more must not run on.
impl Drop for Execution {
    fn drop(&mut self) {
        if self.handle.outcome().is_none() {
            self.stop(false);
        }
    }
}

type Note = (i32, String, String, String);

fn notes(processes: &[ProcessNote]) -> Vec<Note> {
    let note = |process: ProcessNote| (process.pid, process.name, process.state, process.wait_channel);
    processes.iter().cloned().map(note).collect()
}

type Process = (i32, String, u64);
type Memory = (bool, Option<u64>, Option<u64>, Vec<Process>, Vec<Process>, Option<f64>);

fn processes(used_by: &[UsedBy]) -> Vec<Process> {
    used_by.iter().map(|process| (process.pid, process.name.clone(), process.memory)).collect()
}

fn memory_report(report: &MemoryReport) -> Memory {
    (
        report.kernel_killed,
        report.available.map(|(available, _)| available),
        report.available.map(|(_, total)| total),
        processes(&report.tree),
        processes(&report.machine),
        report.age.map(|age| age.as_secs_f64()),
    )
}

/// How a command that was started ended. Times are seconds, memory is bytes.
#[pyclass(frozen, get_all, module = "tailrace._native")]
pub struct Ended {
    /// None: nobody knows, because somebody else collected the exit status.
    exit_code: Option<i32>,
    stdout: Py<CapturedOutput>,
    stderr: Py<CapturedOutput>,
    truncated: bool,
    /// A descendant kept a pipe open for too long after the command's own end, and the tree was ended for that.
    pipe_held: bool,
    duration: f64,
    cpu_user: f64,
    cpu_system: f64,
    max_rss: Option<u64>,
    tree_max_rss: Option<u64>,
    /// "total", "idle", "cpu" or None.
    limit: Option<&'static str>,
    /// Processes of the command that could not be ended: number, name, state and wait channel.
    left: Vec<Note>,
    /// Processes that could not be looked at, and may belong to the command.
    unseen: Vec<Note>,
    /// If it was killed because there was no memory left: whether the kernel did, how much was available and of how much,
    /// the largest processes of the command and of the machine, and how many seconds before that was.
    memory: Option<Memory>,
    /// Why the output could not be read or kept.
    error: Option<String>,
}

impl Ended {
    fn new(py: Python<'_>, ended: &handle::Ended) -> PyResult<Self> {
        let [stdout, stderr] = ended.output.each_ref().map(|output| Py::new(py, CapturedOutput::new(py, output)?));
        Ok(Self {
            exit_code: ended.exit_code,
            stdout: stdout?,
            stderr: stderr?,
            truncated: ended.abandoned || ended.output.iter().any(|output| output.truncated),
            pipe_held: ended.pipe_held,
            duration: ended.duration.as_secs_f64(),
            cpu_user: ended.usage.cpu_user.as_secs_f64(),
            cpu_system: ended.usage.cpu_system.as_secs_f64(),
            max_rss: ended.usage.max_rss,
            tree_max_rss: ended.usage.tree_max_rss,
            limit: ended.limit.map(|limit| match limit {
                Limit::Total => "total",
                Limit::Idle => "idle",
                Limit::Cpu => "cpu",
            }),
            left: notes(&ended.left),
            unseen: notes(&ended.unseen),
            memory: ended.memory.as_deref().map(memory_report),
            error: ended.error.as_ref().map(ToString::to_string),
        })
    }
}
