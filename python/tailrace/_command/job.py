"""One command for an adapter to execute."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields
from types import FunctionType, MethodType
from typing import Any, Literal, TypeAlias, get_args

from .._checks import check_callback, check_delays, check_limits, check_path, check_type
from .early_end import CommandEnding
from .result import Capture, UsageSample

StreamMode: TypeAlias = Literal["text", "lines", "bytes"]
"""What a callback receives: `str` as it arrives, one `str` per line, or a read-only `memoryview`."""

StreamName: TypeAlias = Literal["stdout", "stderr"]
STREAMS: tuple[StreamName, ...] = ("stdout", "stderr")

SLOT_VARIABLE = "TAILRACE_SLOT"
"""What a command finds the number of its slot in."""

CHUNK_META = (
    "chunk_id",
    "start_frame",
    "frame_count",
    "frame_step",
    "output_file",
    "command",
    "slot",
    "needs",
    "place",
    "avoid_nodes",
)
"""What the executor says in the `meta` of each chunk's job."""

Callback: TypeAlias = Callable[[Any], object]
"""Takes one piece of output. A plain function, or an async one, which is awaited before the next call."""

_FULL = Capture.full()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class WorkerJob:
    """One command, how to run it and who listens. Times are seconds.

    Raises `TypeError` or `ValueError` when a field cannot be used, for example for a NUL byte in the command, an
    argument or the environment.
    """

    command: str
    """The program: a name, looked up in the PATH it will run with, or a path, relative to `cwd`."""
    args: Sequence[str] = ()
    """Its arguments, without the program's name."""
    _: KW_ONLY
    env: Mapping[str, str] | None = None
    """Variables laid over those of this process."""
    cwd: str | os.PathLike[str] | None = None
    """The folder it runs in, to which PWD is set; None is the current one."""
    timeout: float | None = None
    """The longest the whole command may take, from its beginning (see `on_started`)."""
    idle_timeout: float | None = None
    """The longest it may go without writing a byte; adapters that cannot stream ignore it."""
    cpu_idle_timeout: float | None = None
    """The longest it may go on with less than 1 % of one processor used by all that it started, or of a GPU.

    It is for what hangs without a word: a licence server that does not answer, a dead network disk. The work of
    NVIDIA's GPUs counts where their library (libnvidia-ml.so.1) can be asked, else that of processors alone. A command
    that was stopped or frozen uses none, and is ended too. Time in which its processes could not be seen, or its output
    waited for a callback, does not count. Adapters whose `Capabilities.honours_cpu_limit` is False ignore it.
    """
    kill_grace: float = 5.0
    """When the command has to end before its time: from the request to terminate to the kill."""
    stream: StreamMode = "text"
    """What the callbacks receive.

    `"text"`: `str` as it arrives, never empty, never splitting a character; what is not UTF-8 becomes U+FFFD.
    `"lines"`: one `str` per line, without its end (`\\n`, `\\r\\n` or a lone `\\r`).
    `"bytes"`: a read-only `memoryview`, never empty, valid for as long as anyone keeps it.
    """
    merge_window: float = 0.0
    """How long output may be gathered into one piece, at most 1; 0 delivers each at once.

    Many commands that write little and often cost far less with 0.02. Adapters may ignore it.
    """
    capture: Capture = _FULL
    """How much of the output the result keeps."""
    ending: CommandEnding | None = None
    """Ends the command early, with its result, when its `end` is called; one for each job.

    Only adapters whose `Capabilities.ends_early` is True heed it.
    """
    on_started: Callable[[], object] | None = None
    """Called once, when the command begins: it waits no longer for a place, here or on a worker.

    A plain function, or an async one, which is awaited before the first piece of output. `timeout` counts from there. A
    command that then cannot be started may have been announced all the same. Only adapters whose
    `Capabilities.tells_start` is True call it.
    """
    on_stdout: Callback | None = None
    """Called with each piece of standard output while the command runs, where the adapter can stream."""
    on_stderr: Callback | None = None
    """The same for standard error."""
    on_warning: Callable[[str], object] | None = None
    """Called with a line about what went wrong around the command and is in no result or error: after a cancellation,
    which processes could not be ended; after an exit, that what it left running was ended since it kept the output
    open. A plain function; adapters may ignore it. What it raises comes out beside a
    result, and is logged where an exception is on its way already."""
    on_usage: Callable[[UsageSample], object] | None = None
    """Called now and then with what the command and all it started use at the moment, when that has changed: at
    most about twice a second, and less often where many commands run. A plain function; adapters may ignore it."""
    meta: Mapping[str, object] = field(default_factory=dict)
    """For the adapter; the executor puts the chunk's fields here."""

    def __post_init__(self) -> None:
        _check_text("command", self.command)
        if not self.command:
            raise ValueError("command must not be empty")
        if isinstance(self.args, str | bytes) or not isinstance(self.args, Sequence):
            raise TypeError(f"args must be a sequence of str, not {type(self.args).__name__}")
        for index, arg in enumerate(self.args):
            _check_text(f"args[{index}]", arg)
        if self.env is not None:
            check_type("env", self.env, Mapping, "a mapping of names to values")
            for name, value in self.env.items():
                _check_text("a name in env", name)
                _check_text(f"env[{name!r}]", value)
                if not name or "=" in name:
                    raise ValueError(f"a name in env must not be empty or contain '=': {name!r}")
        check_path("cwd", self.cwd)
        check_limits(timeout=self.timeout, idle_timeout=self.idle_timeout, cpu_idle_timeout=self.cpu_idle_timeout)
        check_delays(kill_grace=self.kill_grace, merge_window=self.merge_window)
        if self.merge_window > 1:
            raise ValueError(f"merge_window must be a number of seconds from 0 to 1: {self.merge_window!r}")
        check_type("capture", self.capture, Capture, "a Capture, such as Capture.tail(65536)")
        check_type("meta", self.meta, Mapping, "a mapping")
        if self.ending is not None:
            check_type("ending", self.ending, CommandEnding, "a CommandEnding")
        if self.stream not in get_args(StreamMode):
            raise ValueError(f"stream must be 'text', 'lines' or 'bytes', not {self.stream!r}")
        for name in ("on_started", "on_stdout", "on_stderr", "on_warning", "on_usage"):
            callback = getattr(self, name)
            check_callback(name, callback)
            if name in ("on_warning", "on_usage") and callback is not None and is_async(callback):
                raise TypeError(f"{name} must be a plain function, not an async one: {callback!r}")

    def __repr__(self) -> str:
        # Short, and without the environment: it may hold secrets, and reprs end up in logs.
        return f"<WorkerJob {self.command!r} with {len(self.args)} arguments>"


_FIELDS = tuple(each.name for each in fields(WorkerJob))


def like(
    job: WorkerJob,
    *,
    command: str,
    args: Sequence[str],
    env: Mapping[str, str],
    callbacks: Mapping[StreamName, Callback | None],
    on_started: Callable[[], object] | None,
    on_warning: Callable[[str], object],
    on_usage: Callable[[UsageSample], object] | None,
    meta: Mapping[str, object],
    ending: CommandEnding | None = None,
) -> WorkerJob:
    """Return `job` with what another one has of its own, which the caller has checked.

    As `dataclasses.replace` does, in a tenth of the time: a farm starts a thousand commands a second.
    """
    changes = {
        "command": command,
        "args": args,
        "env": env,
        "on_started": on_started,
        "on_stdout": callbacks["stdout"],
        "on_stderr": callbacks["stderr"],
        "on_warning": on_warning,
        "on_usage": on_usage,
        "meta": meta,
        "ending": ending,
    }
    other = object.__new__(WorkerJob)
    for name in _FIELDS:
        object.__setattr__(other, name, changes[name] if name in changes else getattr(job, name))
    return other


def is_async(callback: object) -> bool:
    """Whether what a callback returns is certain to have to be awaited."""
    if inspect.iscoroutinefunction(callback):
        return True
    # What is slow is not asked for nothing: each command's callbacks are looked at.
    is_function = isinstance(callback, FunctionType | MethodType)
    return not is_function and inspect.iscoroutinefunction(type(callback).__call__)


def variables_of(job: WorkerJob) -> dict[str, str]:
    """Return the variables to lay over those of this process."""
    env = dict(job.env or {})
    if job.cwd is not None and "PWD" not in env:
        # Some programs believe it instead of asking where they are: Blender would look for its files in our folder.
        env["PWD"] = os.path.realpath(job.cwd)
    return env


def _check_text(what: str, value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str, not {type(value).__name__}")
    if "\0" in value:
        raise ValueError(f"{what} must not contain a NUL byte")
