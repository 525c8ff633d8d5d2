"""Commands on this machine without the native core: the same contract on anyio alone, slower.

What differs is listed in docs/endings.md.
"""

from __future__ import annotations

import errno
import fcntl
import inspect
import math
import os
import secrets
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import anyio
import anyio.lowlevel
import anyio.to_thread

from ._conclude import conclude
from ._errors import WorkerSpawnError
from ._output_splitter import OutputSplitter
from ._process_tree import MARK_VARIABLE, end_group, end_tree
from ._python_capture import PythonCapture, describe_write_error
from ._worker_job import WorkerJob, variables_of
from ._worker_result import ResourceUsage, WorkerResult

_PIECE = 256 * 1024
_DRAIN = 2.0
"""How long a pipe is read after the command itself has ended, in seconds."""

_LONGEST_STRING = 32 * 4096
"""Linux's limit for one argument or variable, MAX_ARG_STRLEN, in bytes (execve(2))."""

_running: set[_Execution] = set()


async def execute(job: WorkerJob) -> WorkerResult:
    """Run `job` to its end; see `LocalWorkerAdapter.execute`."""
    execution = _Execution(job)
    _running.add(execution)
    try:
        await execution.run()
    except BaseException:
        execution.is_stopped = True
        await _end_tree(execution, job.kill_grace)
        raise
    finally:
        _running.discard(execution)
        execution.close()
    return execution.conclude()


def kill_all(patience: float) -> None:
    """Kill every command that runs. Returns when all is gone, or after `patience` seconds."""
    threads = [threading.Thread(target=execution.end_tree, args=(0.0,), daemon=True) for execution in _running]
    deadline = time.monotonic() + patience
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


class _Execution:
    """One command that has been started."""

    def __init__(self, job: WorkerJob) -> None:
        self.is_stopped = False
        self._job = job
        self._mark = secrets.token_hex(12)
        self._process = _spawn(job, self._mark)
        self._host_peak = _peak_resident_memory()
        self._started = self._last_byte = time.monotonic()
        self._streams = [
            _Stream(pipe.fileno(), OutputSplitter(job.stream), PythonCapture(job.capture), callback)
            for pipe, callback in ((self._process.stdout, job.on_stdout), (self._process.stderr, job.on_stderr))
            if pipe is not None
        ]
        self._changed = anyio.Event()
        self._error: BaseException | None = None
        self._fault: str | None = None
        self._is_held = False
        self._exited: float | None = None
        self._limit: Literal["total", "idle"] | None = None
        self._limit_hit: float | None = None
        self._callback_scopes: set[anyio.CancelScope] = set()
        self._paused = 0
        self._paused_since = 0.0
        self._exit_code: int | None = None
        self._usage: ResourceUsage | None = None
        self._duration = 0.0
        self._is_reaped = False

    async def run(self) -> None:
        """Return when everything is over; raise what a callback raised."""
        async with anyio.create_task_group() as tasks:
            for stream in self._streams:
                tasks.start_soon(self._read, stream)
            tasks.start_soon(self._wait_for_exit)
            await self._supervise()
            tasks.cancel_scope.cancel()
        if self._error is not None:
            raise self._error
        self._reap()
        if _group_exists(self._process.pid):
            await _end_tree(self, self._job.kill_grace)

    def end_tree(self, grace: float) -> None:
        """End the command and all that it started, or what is left of its group when it has been collected; blocks."""
        if self._is_reaped:
            end_group(self._process.pid, grace)
        else:
            end_tree(self._process.pid, self._mark, grace)

    def close(self) -> None:
        """Give everything back."""
        if not self._is_reaped and _is_running(self._process.pid):
            # Only where nothing could be awaited any more, because the event loop is gone.
            self.end_tree(0.0)
        self._reap()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def conclude(self) -> WorkerResult:
        """Return the result, or raise the error that the ending means."""
        stdout, stderr = (stream.capture for stream in self._streams)
        return conclude(
            self._job,
            exit_code=self._exit_code,
            stdout=stdout,
            stderr=stderr,
            duration=self._duration,
            usage=self._usage,
            truncated=self._is_held or any(s.capture.truncated or s.is_abandoned for s in self._streams),
            limit=self._limit,
            error=self._fault,
        )

    # Each of these tasks keeps its exceptions: through the task group they would come out in an ExceptionGroup.

    async def _supervise(self) -> None:
        while self._error is None and not (self._exited is not None and all(s.is_closed for s in self._streams)):
            reason = self._due()
            if reason is None:
                with anyio.move_on_after(max(0.0, self._next_deadline() - time.monotonic())):
                    await self._changed.wait()
                continue
            if reason == "held":
                self._is_held = True
            else:
                self._limit = reason
                self._limit_hit = time.monotonic()
                for scope in self._callback_scopes:
                    scope.deadline = anyio.current_time() + self._job.kill_grace
            await _end_tree(self, self._job.kill_grace)
            for stream in self._streams:
                # Nobody of the tree is left to write: what stands in the pipe is all there will be.
                stream.is_last_read = True
                stream.waiting.cancel()
            while self._error is None and not all(stream.is_closed for stream in self._streams):
                await self._changed.wait()
            return

    def _due(self) -> Literal["total", "idle", "held"] | None:
        now = time.monotonic()
        if self._fault is not None:
            return "held"
        if self._exited is not None:
            return "held" if not self._is_kept_from_reading() and now >= self._exited + _DRAIN else None
        if self._job.timeout is not None and now >= self._started + self._job.timeout:
            return "total"
        if self._job.idle_timeout is not None and not self._paused and now >= self._last_byte + self._job.idle_timeout:
            return "idle"
        return None

    def _next_deadline(self) -> float:
        if self._exited is not None:
            return math.inf if self._is_kept_from_reading() else self._exited + _DRAIN
        total = math.inf if self._job.timeout is None else self._started + self._job.timeout
        idle = math.inf if self._job.idle_timeout is None or self._paused else self._last_byte + self._job.idle_timeout
        return min(total, idle)

    def _is_kept_from_reading(self) -> bool:
        # What others write after the exit does not count, or somebody who never stops would keep it from being over.
        return any(stream.is_paused and stream.standing for stream in self._streams)

    async def _wait_for_exit(self) -> None:
        pid = self._process.pid
        try:
            if sys.platform == "linux":
                pidfd = os.pidfd_open(pid)
                try:
                    await anyio.wait_readable(pidfd)
                finally:
                    os.close(pidfd)
            else:
                wait = os.waitid, os.P_PID, pid, os.WEXITED | os.WNOWAIT
                await anyio.to_thread.run_sync(*wait, abandon_on_cancel=True)
        except (ChildProcessError, ProcessLookupError):
            # Somebody else has collected it already.
            pass
        except OSError as error:
            self._error = error
        self._exited = time.monotonic()
        for stream in self._streams:
            stream.standing = 0 if stream.is_closed else _count_readable(stream.fd)
        self._notify()

    async def _read(self, stream: _Stream) -> None:
        try:
            await self._read_all(stream)
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as error:  # noqa: BLE001
            self._error = error
        finally:
            stream.is_closed = True
            self._notify()

    async def _read_all(self, stream: _Stream) -> None:
        while True:
            try:
                data = os.read(stream.fd, _PIECE)
            except BlockingIOError:
                if stream.is_last_read:
                    stream.is_abandoned = True
                    break
                with anyio.CancelScope() as stream.waiting:
                    await anyio.wait_readable(stream.fd)
                continue
            if not data:
                break
            self._last_byte = time.monotonic()
            stream.standing = max(0, stream.standing - len(data))
            try:
                stream.capture.push(data)
            except OSError as error:
                self._fault = describe_write_error(error)
                return
            await self._deliver(stream, stream.splitter.feed(data))
            await anyio.lowlevel.checkpoint()
        await self._deliver(stream, stream.splitter.finish())

    async def _deliver(self, stream: _Stream, pieces: Iterable[Any]) -> None:
        if stream.callback is None:
            return
        self._pause()
        stream.is_paused = True
        paused = time.monotonic()
        try:
            for piece in pieces:
                if self.is_stopped or self._error is not None:
                    return
                returned = stream.callback(piece)
                if inspect.isawaitable(returned):
                    deadline = math.inf
                    if self._limit_hit is not None:
                        past = time.monotonic() - self._limit_hit
                        deadline = anyio.current_time() + max(0.0, self._job.kill_grace - past)
                    with anyio.CancelScope(deadline=deadline) as scope:
                        self._callback_scopes.add(scope)
                        try:
                            await returned
                        finally:
                            self._callback_scopes.discard(scope)
                    if scope.cancelled_caught:
                        self.is_stopped = True
        finally:
            stream.is_paused = False
            if self._exited is not None and stream.standing:
                self._exited += time.monotonic() - max(paused, self._exited)
            self._resume()

    def _pause(self) -> None:
        """Stop the clocks that count silence: it is us who does not read."""
        if not self._paused:
            self._paused_since = time.monotonic()
        self._paused += 1

    def _resume(self) -> None:
        self._paused -= 1
        if not self._paused:
            stood_still = time.monotonic() - self._paused_since
            self._last_byte += stood_still
            self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    def _reap(self) -> None:
        if self._is_reaped:
            return
        self._is_reaped = True
        self._duration = time.monotonic() - self._started
        try:
            pid, status, usage = os.wait4(self._process.pid, os.WNOHANG)
        except ChildProcessError:
            pid = 0
        if pid == self._process.pid:
            self._exit_code = os.waitstatus_to_exitcode(status)
            unit = 1 if sys.platform == "darwin" else 1024
            peak = usage.ru_maxrss * unit
            # The kernel's figure includes the memory of this process, whose copy the command was at first.
            self._usage = ResourceUsage(usage.ru_utime, usage.ru_stime, peak if peak > self._host_peak else None)
        # So that it does not warn of a process that is still running.
        self._process.returncode = -1 if self._exit_code is None else self._exit_code


class _Stream:
    """The reading end of one pipe, and where its output goes."""

    def __init__(self, fd: int, splitter: OutputSplitter, capture: PythonCapture, callback: Any) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self.splitter = splitter
        self.capture = capture
        self.callback = callback
        self.standing = 0
        """How much of what stood in the pipe when the command exited has not been read yet."""
        self.is_paused = False
        self.is_closed = self.is_last_read = self.is_abandoned = False
        self.waiting = anyio.CancelScope()


async def _end_tree(execution: _Execution, grace: float) -> None:
    """End the tree in a thread and wait for it, whatever happens to this task meanwhile."""
    done, finished = os.pipe()

    def end() -> None:
        try:
            execution.end_tree(grace)
        finally:
            os.close(finished)

    thread = threading.Thread(target=end, name="tailrace-end", daemon=True)
    thread.start()
    interruption: BaseException | None = None
    try:
        with anyio.CancelScope(shield=True):
            while thread.is_alive():
                try:
                    await anyio.wait_readable(done)
                    thread.join()
                except BaseException as error:  # noqa: BLE001
                    # `Task.cancel` reaches through the shield.
                    interruption = error
    finally:
        os.close(done)
    if interruption is not None:
        raise interruption


def _spawn(job: WorkerJob, mark: str) -> subprocess.Popen[bytes]:
    env = {**os.environ, **variables_of(job)}
    inherited = env.get(MARK_VARIABLE)
    env[MARK_VARIABLE] = mark if inherited is None else f"{inherited}:{mark}"
    try:
        return subprocess.Popen(  # noqa: S603
            [job.command, *job.args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=job.cwd,
            env=env,
            start_new_session=True,
        )
    except OSError as error:
        raise WorkerSpawnError(error.errno or 0, f"cannot start {job.command}: {_explain(job, error)}") from None


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


def _count_readable(fd: int) -> int:
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)


def _is_running(pid: int) -> bool:
    try:
        # Only looks: the status is still to be collected together with the usage.
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


def _group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except OSError:
        return False
    return True


def _peak_resident_memory() -> int:
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
