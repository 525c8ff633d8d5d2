"""Starting a command without the native core, on a thread of its own: a program may take for ever to be loaded."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from .._command.ending import spawn_error
from .._command.job import WorkerJob, variables_of
from .._errors import WorkerSpawnError

MARK_VARIABLE = "TAILRACE_COMMAND"
"""Holds the marks of the commands a process descends from, separated by colons."""

_LONGEST_STRING = 32 * 4096
"""Linux's limit for one argument or variable, MAX_ARG_STRLEN, in bytes (execve(2))."""


class Started(NamedTuple):
    """A command that runs, its program loaded; the descriptors belong to whoever takes it."""

    pid: int
    pidfd: int | None
    """None where there is no such thing."""
    stdout: int
    stderr: int

    def throw_away(self) -> None:
        """Kill it and give everything back; blocks until it is dead."""
        with contextlib.suppress(OSError):
            # Raises if somebody has collected it: its number may be another's by now.
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            os.killpg(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        if self.pidfd is not None:
            os.close(self.pidfd)
        os.close(self.stdout)
        os.close(self.stderr)


class Start:
    """A command that is being started. Raises `WorkerSpawnError` where no thread can be had."""

    def __init__(self, job: WorkerJob, mark: str, notify: Callable[[], None]) -> None:
        self.is_over = False
        self._job = job
        self.mark = mark
        self._notify = notify
        # See `Tree`.
        self._lock = threading.RLock()
        self._is_abandoned = False
        self._started: Started | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="tailrace-start", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            raise WorkerSpawnError(errno.EAGAIN, f"cannot start {job.command}: {error}") from None

    def take(self) -> Started:
        """Return the command, once `is_over`, or raise why it could not be started."""
        if self._error is not None:
            raise self._error
        if self._started is None:
            raise WorkerSpawnError(errno.ECANCELED, f"cannot start {self._job.command}: everything is being ended")
        return self._started

    def abandon(self) -> bool:
        """Have it killed and collected, now or whenever it has been loaded; False if it is over, and to be taken."""
        with self._lock:
            if self.is_over:
                return False
            self._is_abandoned = True
        for pid in self.loading():
            with contextlib.suppress(OSError):
                # Raises if it has been collected, which only its thread does.
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                os.kill(pid, signal.SIGKILL)
        return True

    def loading(self) -> list[int]:
        """Return the process whose program is being loaded, if there is one."""
        with contextlib.suppress(OSError):
            children = Path(f"/proc/self/task/{self._thread.native_id}/children")
            return [] if self.is_over else list(map(int, children.read_text().split()))
        return []

    def _run(self) -> None:
        started: Started | None = None
        error: BaseException | None = None
        try:
            started = _spawn(self._job, self.mark)
        except BaseException as raised:  # noqa: BLE001
            error = raised
        with self._lock:
            if not self._is_abandoned:
                self._started, self._error, self.is_over = started, error, True
        if not self.is_over:
            if started is not None:
                started.throw_away()
            self.is_over = True
        self._notify()


def _spawn(job: WorkerJob, mark: str) -> Started:
    env = {**os.environ, **variables_of(job)}
    inherited = env.get(MARK_VARIABLE)
    env[MARK_VARIABLE] = mark if inherited is None else f"{inherited}:{mark}"
    ends: list[int] = []
    try:
        ends += os.pipe()
        ends += os.pipe()
        process = subprocess.Popen(  # noqa: S603
            [job.command, *job.args],
            stdin=subprocess.DEVNULL,
            stdout=ends[1],
            stderr=ends[3],
            cwd=job.cwd,
            env=env,
            start_new_session=True,
        )
        # It is ours to collect; otherwise it would warn of a process that is still running.
        process.returncode = 0
        started = Started(process.pid, None, ends[0], ends[2])
        try:
            pidfd = _open(process.pid)
        except OSError:
            ends = [ends[1], ends[3]]
            started.throw_away()
            raise
        os.close(ends.pop(3))
        os.close(ends.pop(1))
        return started._replace(pidfd=pidfd)
    except OSError as error:
        for end in ends:
            os.close(end)
        raise spawn_error(job, error.errno or 0, f"cannot start {job.command}: {_explain(job, error)}") from None
    except BaseException:
        for end in ends:
            os.close(end)
        raise


def _open(pid: int) -> int | None:
    """Return a descriptor of our child; None if there is no such thing, or it has been collected."""
    try:
        pidfd = os.pidfd_open(pid)
    except (AttributeError, ProcessLookupError):
        return None
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM):
            return None
        raise
    try:
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        # Its number may have been another's already.
        os.close(pidfd)
        return None
    except OSError:
        # Older than Linux 5.4.
        pass
    return pidfd


def _explain(job: WorkerJob, error: OSError) -> str:
    folder = Path(job.cwd or "")
    is_path = "/" in job.command
    if job.cwd is not None and not folder.is_dir():
        if folder.exists():
            return f"its working folder {folder} is not a folder"
        return f"its working folder {folder}: no such file or directory"
    if error.errno == errno.ENOENT and is_path and folder.joinpath(job.command).exists():
        return "the interpreter named in its first line does not exist"
    reasons = {
        errno.ENOENT: "no such file" if is_path else "no such program in the PATH it would run with",
        errno.EACCES: "it may not be executed",
        errno.ENOEXEC: "it is neither a binary for this machine nor a script with an interpreter",
        errno.E2BIG: _explain_too_big(job),
    }
    return reasons.get(error.errno or 0) or (error.strerror or str(error)).lower()


def _explain_too_big(job: WorkerJob) -> str:
    longest = max((len(os.fsencode(arg)) + 1 for arg in job.args), default=0)
    if longest > _LONGEST_STRING:
        return f"an argument or variable has {longest} bytes, the kernel's limit is {_LONGEST_STRING}"
    return f"arguments and environment are too long, the kernel's limit is {os.sysconf('SC_ARG_MAX')} bytes together"


def not_started(job: WorkerJob, error: OSError | RuntimeError) -> WorkerSpawnError:
    """Return what is raised where the command cannot be started because of `error`."""
    # A thread that cannot be had is a process too many.
    number = (error.errno if isinstance(error, OSError) else errno.EAGAIN) or 0
    return WorkerSpawnError(number, f"cannot start {job.command}: {os.strerror(number).lower()}")
