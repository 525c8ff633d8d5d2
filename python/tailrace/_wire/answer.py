"""What a remote worker answers, on its way to the callbacks and into a result or an error.

docs/worker-protocol.md describes the answers.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import inspect
import json
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Literal, NoReturn, TypeGuard, TypeVar

import anyio

from .._command.capture import describe_write_error
from .._command.ending import NO_STATUS, Limit, incomplete_error, limit_error
from .._command.job import Callback, WorkerJob
from .._command.output_stream import OutputStream
from .._command.result import ResourceUsage, WorkerResult
from .._errors import WorkerBusyError, WorkerError, WorkerRemoteError, WorkerSpawnError, WorkerTimeoutError
from .frames import FrameError, FrameKind, FrameReader
from .http import parse_retry_after

_T = TypeVar("_T")

_PATIENCE = 2.0
"""How long after the job's own limit the worker may still tell what it ended, in seconds."""
_LONGEST_EXCERPT = 300
"""How much of what a worker says gets into a message, in characters."""

_FINAL = frozenset({400, 403, 404, 405, 413, 422})
"""What our worker answers when it will never do what was asked."""
_UNAUTHORISED = 401
_BUSY = 429
_UNAVAILABLE = 503
"""The worker is busy if it says when to come again (RFC 9110, 10.2.3)."""

_TIMEOUTS: dict[object, Limit] = {"timeout-total": "total", "timeout-idle": "idle", "timeout-cpu": "cpu"}


class RemoteFault(Exception):  # noqa: N818 (it never leaves the package)
    """The worker could not be reached, or did not answer as agreed; `nothing_began` is that of `WorkerRemoteError`."""

    def __init__(self, message: str, *, nothing_began: bool = False) -> None:
        super().__init__(message)
        self.nothing_began = nothing_began


class BusyFault(RemoteFault):
    """The worker has no free place; `retry_after` is that of `WorkerBusyError`."""

    def __init__(self, message: str, retry_after: float | None) -> None:
        super().__init__(message, nothing_began=True)
        self.retry_after = retry_after


class RemoteAnswer:
    """The answer to one request, which is sent when this is made; `where` names the worker in messages.

    The worker's own clock for the limit of the job begins with the command. One that streams says when that is, by
    beginning to answer: until then no limit of the job counts here either, or it would end a command that only waited
    to begin. Where it `streams` not, the limit counts from the request.
    """

    def __init__(self, job: WorkerJob, where: str, *, streams: bool = False) -> None:
        self._job = job
        self._where = where
        self._started = anyio.current_time()
        self._streams = streams
        self._count_from(math.inf if streams else self._started)
        self._stdout = _Stream(job, job.on_stdout)
        self._stderr = _Stream(job, job.on_stderr)
        self._is_stopped = False

    def begin(self) -> None:
        """Take note that the worker has begun to answer."""
        if self._streams:
            self._count_from(anyio.current_time())

    def _count_from(self, moment: float) -> None:
        self._limit = math.inf if self._job.timeout is None else moment + self._job.timeout
        self._deadline = self._limit + _PATIENCE
        self._callbacks_until = self._limit + self._job.kill_grace

    async def within_limit(self, action: Callable[[], Awaitable[_T]]) -> _T:
        """Return what `action` returns, which sends the request or takes the answer in.

        Raises `WorkerTimeoutError` when the job may take no longer, and `WorkerRemoteError` for a `RemoteFault`.
        """
        with anyio.CancelScope(deadline=self._deadline):
            return await self.take_in(action)
        raise self._no_answer()

    async def take_in(self, action: Callable[[], Awaitable[_T]]) -> _T:
        """Return what `action` returns, whatever the limit; raises `WorkerRemoteError` for a `RemoteFault`."""
        try:
            return await action()
        except BusyFault as fault:
            raise WorkerBusyError(f"{self._where}: {fault}", retry_after=fault.retry_after) from fault.__cause__
        except RemoteFault as fault:
            raise self.failure(str(fault), nothing_began=fault.nothing_began) from fault.__cause__

    async def take_in_body(self, read: Callable[[], Awaitable[bytes]], *, longest: float, silence: float) -> bytes:
        """Return the body of an answer that is not streamed; `read` is as for `receive_frames`.

        A command that ended in time is not lost to the limit of the job, however slow the line: what has begun by then
        may go on, in all for `longest` seconds from now, if it does not pause for `silence`. Raises what `within_limit`
        does.
        """
        body = bytearray()
        has_begun = False
        last_part = -math.inf
        complete_by = anyio.current_time() + longest
        while True:
            part = None
            with anyio.CancelScope(deadline=min(complete_by, max(self._deadline, last_part + silence))):
                part = await self.take_in(read)
            if part is None:
                break
            if not part:
                return bytes(body)
            body += part
            # Before JSON, blanks keep the connection alive while the command still runs.
            has_begun = has_begun or not part.isspace()
            last_part = anyio.current_time() if has_begun else last_part
        if anyio.current_time() >= complete_by:
            raise self.failure(f"its answer was not complete {longest:g} s after it had begun")
        if has_begun:
            raise self.failure(f"nothing more of its answer came for {silence:g} s")
        raise self._no_answer()

    async def receive_frames(self, read: Callable[[], Awaitable[bytes]], *, silence: float) -> WorkerResult:
        """Call `on_started`, and the callbacks with the output in the frames that `read` returns, up to the result.

        Return that.

        `read` returns no bytes at the end, and may raise `RemoteFault`. `silence` is the longest that it may take,
        in seconds. Raises what `receive_json` does, and what a callback raised, unchanged.
        """
        began = anyio.current_time()
        started = None if self._job.on_started is None else self._job.on_started()
        if inspect.isawaitable(started):
            await self._await(started)
        self._allow_for(began)
        try:
            report = await self._read_frames(read, silence)
        except RemoteFault as fault:
            await self._finish()
            if self._is_stopped:
                raise limit_error(self._job, self._result(None, {}), "total") from fault
            raise self.failure(str(fault)) from fault.__cause__
        if isinstance(report, str):
            await self._finish()
            raise limit_error(self._job, self._result(None, {}), report)
        self._callbacks_until = math.inf
        if report.get("error") is None:
            await self._catch_up()
        await self._finish()
        return self._conclude(report)

    def receive_json(self, body: bytes | str, *, is_success: bool = False) -> WorkerResult:
        """Return the result that a buffered answer holds; the callbacks are not called.

        With `is_success`, the command has succeeded if no exit code says anything else, and what is no JSON is its
        output. Raises `WorkerTimeoutError` or `WorkerError` for what the worker says went wrong, and
        `WorkerRemoteError` if it did not answer as agreed.
        """
        try:
            report = _parse_loosely(body) if is_success else parse_object(body, "the answer")
            self._take_output(report)
        except RemoteFault as fault:
            raise self.failure(str(fault)) from fault.__cause__
        if is_success and report.get("exitCode") is None:
            report = {**report, "exitCode": 0}
        return self._conclude(report)

    def receive_failure(
        self, status: object, reason: str, body: bytes | str, *, headers: Mapping[str, str], is_text: bool = False
    ) -> WorkerResult:
        """Return the result of a command that failed, where an answer with the HTTP status of an error tells of one.

        The names in `headers` are in lower case; `is_text` says whether `body` is for people to read if it is not JSON.
        Raises what `receive_json` does, and `WorkerBusyError`, if it tells of none; what `body` tells is in the error.
        """
        try:
            report = parse_object(body, "the answer")
        except RemoteFault:
            report = {"message": _to_text(body)} if is_text else {}
        error = report.get("error")
        told = error if isinstance(error, dict) else {"message": report.get("message") or error}
        message = f"it answered {_excerpt(f'{status} {reason}')}{_after_colon(told.get('message'))}"
        if status == _BUSY or (status == _UNAVAILABLE and "retry-after" in headers):
            wait = parse_retry_after(headers.get("retry-after", ""), headers.get("date", ""))
            raise WorkerBusyError(f"{self._where}: {message}", retry_after=wait)
        if _tells_of_command(report):
            return self.receive_json(body)
        with contextlib.suppress(RemoteFault):
            self._take_output(report)
        failure = self.failure(message, nothing_began=status == _UNAUTHORISED)
        if told.get("kind") == "refused" and isinstance(status, int) and status in _FINAL:
            raise WorkerError(str(failure), failure.result)
        raise failure

    def failure(self, message: str, *, nothing_began: bool = False) -> WorkerRemoteError:
        """Return the error that says `message`, with the output so far."""
        return WorkerRemoteError(f"{self._where}: {message}", self._result(None, {}), nothing_began=nothing_began)

    def _no_answer(self) -> WorkerTimeoutError:
        error = limit_error(self._job, self._result(None, {}), "total")
        error.no_answer = True
        return error

    async def _read_frames(
        self, read: Callable[[], Awaitable[bytes]], silence: float
    ) -> Mapping[str, Any] | Literal["total", "idle"]:
        """Return the result, or the limit that was reached before it came."""
        reader = FrameReader()
        idle_timeout = math.inf if self._job.idle_timeout is None else self._job.idle_timeout
        last_output = anyio.current_time()
        while True:
            idle_deadline = last_output + idle_timeout
            deadline = min(self._deadline, idle_deadline, anyio.current_time() + silence)
            data = None
            with anyio.CancelScope(deadline=deadline):
                data = await read()
            if data is None:
                if deadline < min(self._deadline, idle_deadline):
                    raise RemoteFault(f"nothing came for {silence:g} s, not even a heartbeat")
                return "total" if deadline == self._deadline else "idle"
            try:
                if not data:
                    reader.finish()
                for kind, payload in reader.feed(data):
                    if kind is FrameKind.RESULT:
                        return parse_object(payload, "the result")
                    if kind is not FrameKind.HEARTBEAT:
                        began = anyio.current_time()
                        await self._take(self._stdout if kind is FrameKind.STDOUT else self._stderr, payload)
                        last_output = anyio.current_time()
                        self._allow_for(began)
            except FrameError as error:
                raise RemoteFault(str(error)) from error

    def _allow_for(self, began: float) -> None:
        """Allow for what callbacks took since then: what comes next may say that the command ended in time."""
        self._deadline += max(0, anyio.current_time() - max(began, self._limit))

    async def _take(self, stream: _Stream, data: bytes) -> None:
        self._keep(stream, data)
        await self._deliver(stream, stream.splitter.feed(data))

    def _keep(self, stream: _Stream, data: bytes) -> None:
        try:
            stream.capture.push(data)
        except OSError as error:
            raise incomplete_error(self._job, self._result(None, {}), describe_write_error(error)) from None

    async def _finish(self) -> None:
        for stream in (self._stdout, self._stderr):
            await self._deliver(stream, stream.splitter.finish())

    async def _catch_up(self) -> None:
        """Hand on what the callbacks were to be spared, since the command has ended in time after all."""
        self._is_stopped = False
        for stream in (self._stdout, self._stderr):
            pieces, stream.undelivered = stream.undelivered, []
            await self._deliver(stream, pieces)

    async def _deliver(self, stream: _Stream, pieces: Iterable[Any]) -> None:
        if stream.callback is None:
            return
        for piece in pieces:
            if self._is_stopped or anyio.current_time() > self._callbacks_until:
                self._is_stopped = True
                stream.undelivered.append(piece)
                continue
            returned = stream.callback(piece)
            if inspect.isawaitable(returned):
                await self._await(returned)

    async def _await(self, returned: Awaitable[object]) -> None:
        with anyio.CancelScope(deadline=self._callbacks_until) as scope:
            await returned
        self._is_stopped = scope.cancelled_caught

    def _take_output(self, report: Mapping[str, Any]) -> None:
        # Older workers put there what the command wrote; beside an error it is the error's.
        message = () if isinstance(report.get("error"), dict) else ("message",)
        for stream, keys, encoded in (
            (self._stdout, ("stdout", "output"), "stdoutBase64"),
            (self._stderr, ("stderr", *message), "stderrBase64"),
        ):
            data = _output_in(report, keys, encoded)
            if data:
                self._keep(stream, data)

    def _conclude(self, report: Mapping[str, Any]) -> WorkerResult:
        error = report.get("error")
        if error is not None:
            self._raise(error if isinstance(error, dict) else {"message": error}, report)
        exit_code = report.get("exitCode")
        if not _is_exit_code(exit_code):
            found = "without an exitCode" if exit_code is None else f"with exitCode {_excerpt(repr(exit_code))}"
            raise self.failure(f"it answered {found}{_after_colon(report.get('message'))}")
        return self._result(exit_code, report)

    def _raise(self, error: Mapping[str, Any], report: Mapping[str, Any]) -> NoReturn:
        kind = error.get("kind")
        message = f"{self._where}: {_excerpt(str(error.get('message') or kind))}"
        result = self._result(None, report)
        if kind in _TIMEOUTS:
            raise WorkerTimeoutError(message, result, _TIMEOUTS[kind])
        if kind == "spawn":
            # Not everything in `errno` is the number of an error.
            number = getattr(errno, str(error.get("errno")), None)
            raise WorkerSpawnError(number, message) if isinstance(number, int) else WorkerError(message, result)
        raise WorkerError(message, result) if kind == "refused" else WorkerRemoteError(message, result)

    def _result(self, exit_code: int | None, report: Mapping[str, Any]) -> WorkerResult:
        duration = _duration_in(report)
        stdout, stderr = self._stdout.capture, self._stderr.capture
        return WorkerResult(
            NO_STATUS if exit_code is None else exit_code,
            stdout,
            stderr,
            duration=anyio.current_time() - self._started if duration is None else duration,
            usage=_parse_usage(report.get("usage")),
            truncated=report.get("truncated") is True or stdout.truncated or stderr.truncated,
        )


class _Stream(OutputStream):
    def __init__(self, job: WorkerJob, callback: Callback | None) -> None:
        super().__init__(job, callback)
        self.undelivered: list[Any] = []


def parse_object(text: bytes | str, what: str) -> Mapping[str, Any]:
    """Return the JSON object that `text` is; raises `RemoteFault` if it is none."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RemoteFault(f"{what} is not JSON but {_excerpt(repr(_to_text(text[:_LONGEST_EXCERPT])))}") from error
    if not isinstance(parsed, dict):
        raise RemoteFault(f"{what} is not a JSON object but {_excerpt(repr(parsed))}")
    return parsed


def _parse_loosely(body: bytes | str) -> Mapping[str, Any]:
    """Return the JSON object that `body` is; that it is the output if it is something else."""
    try:
        return parse_object(body, "the answer")
    except RemoteFault:
        exact = body.encode(errors="replace") if isinstance(body, str) else body
        return {"stdoutBase64": base64.b64encode(exact).decode()}


def _tells_of_command(report: Mapping[str, Any]) -> bool:
    """Return whether an answer says how a command failed: callers that look at nothing else are told by the status."""
    error = report.get("error")
    return (
        _is_exit_code(report.get("exitCode"))
        and report["exitCode"] != 0
        and (error is None or (isinstance(error, dict) and error.get("kind") != "refused"))
    )


def _is_exit_code(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**32


def _output_in(report: Mapping[str, Any], keys: Iterable[str], encoded: str) -> bytes:
    exact = report.get(encoded)
    if exact is not None:
        try:
            return base64.b64decode(exact, validate=True)
        except (TypeError, ValueError) as error:
            raise RemoteFault(f"{encoded} in the answer is not Base64") from error
    for key in keys:
        text = report.get(key)
        if isinstance(text, str):
            return text.encode(errors="replace")
        if text is not None:
            raise RemoteFault(f"{key} in the answer is not a text but {_excerpt(repr(text))}")
    return b""


def _parse_usage(usage: object) -> ResourceUsage | None:
    if not isinstance(usage, dict):
        return None
    user, system, *peaks = (_number(usage.get(key)) for key in ("cpuUser", "cpuSystem", "maxRss", "treeMaxRss"))
    if user is None or system is None:
        return None
    return ResourceUsage(user, system, *(None if peak is None else int(peak) for peak in peaks))


def _duration_in(report: Mapping[str, Any]) -> float | None:
    seconds, milliseconds = (_number(report.get(key)) for key in ("duration", "durationMs"))
    return milliseconds / 1000 if seconds is None and milliseconds is not None else seconds


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # Neither NaN nor more than any clock or memory has.
    return value if 0 <= value < 2**63 else None


def _after_colon(text: object) -> str:
    return f": {_excerpt(str(text))}" if text else ""


def _excerpt(text: str) -> str:
    line = " ".join(text[: 4 * _LONGEST_EXCERPT].split())
    return line if len(line) <= _LONGEST_EXCERPT else f"{line[:_LONGEST_EXCERPT]}..."


def _to_text(body: bytes | str) -> str:
    return body if isinstance(body, str) else body.decode(errors="replace")
