"""What becomes of the output of one command on its way to the callbacks."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import anyio
import anyio.to_thread

from ._in_turn import Steps, in_turn
from ._job_logs import StreamLogs
from ._job_reporter import OutputCallback
from ._log_file import LogFile
from ._output_splitter import OutputSplitter
from ._progress_watch import ProgressWatch
from ._secret_mask import SecretMask, StreamMask
from ._worker_job import STREAMS, StreamMode, StreamName
from ._worker_result import WorkerResult

_KEPT = 64 * 1024
"""How much of the end of each stream is kept where the adapter's result may be lost, in bytes."""


class CommandOutput:
    """Masks secrets, writes logs and reads progress before the callbacks get what is left to be seen.

    An adapter is given `callback(stream)` for each stream, and `mode` as the kind of pieces. When it is done, `finish`
    hands on what had to be kept back; whatever happens, `close` has to be called.
    """

    def __init__(
        self,
        callbacks: Mapping[StreamName, OutputCallback | None],
        mode: StreamMode,
        *,
        mask: SecretMask,
        logs: StreamLogs | None,
        watch: ProgressWatch | None,
        on_log_failure: Callable[[str, str], Awaitable[None] | None],
        keeps_end: bool = False,
    ) -> None:
        needs_bytes = bool(mask) or logs is not None or keeps_end
        self.mode: StreamMode = "bytes" if needs_bytes else mode
        """What the adapter's callbacks are to receive."""
        self._logs = logs
        self._watch = watch
        self._on_log_failure = on_log_failure
        self._streams = {
            name: _Stream(
                name,
                callbacks[name],
                mask=mask.stream() if mask else None,
                log=None if logs is None else logs[place],
                end=_End() if keeps_end else None,
                splitter=OutputSplitter(mode) if needs_bytes and mode != "bytes" else None,
            )
            for place, name in enumerate(STREAMS)
        }
        self._has_bare_lines = self.mode == "lines"

    def callback(self, name: StreamName) -> OutputCallback | None:
        """Return what the adapter is to call with the pieces of a stream; None if nobody wants them."""
        stream = self._streams[name]
        if stream.callback is None and stream.log is None and stream.end is None and self._watch is None:
            return None
        watch = self._watch

        def take(data: str | memoryview) -> Awaitable[None] | None:
            pending = in_turn(self._take(stream, data))
            # The clock of a limit stands still while it is a callback that keeps the command waiting.
            return pending if pending is None or watch is None else watch.while_standing_still(pending)

        return take

    async def finish(self, result: WorkerResult | None) -> None:
        """Hand on what the end of the command completes; `result` is given if the adapter did not call the callbacks.

        Then the complete output is logged and read for progress, and no callback gets it.
        """
        for stream in self._streams.values():
            if result is None:
                await _settle(in_turn(self._end(stream)))
            elif data := _output_of(result, stream.name):
                await _settle(in_turn(self._log(stream, data)))
                await _settle(in_turn(self._read(stream, data)))
        if self._watch is not None:
            await _settle(in_turn(self._watch.finish()))

    async def close(self) -> None:
        """Finish the log files."""
        if self._logs is None:
            return
        try:
            if not all(log.is_quick_to_close for log in self._logs):
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(_close_all, self._logs)
        finally:
            # `Task.cancel` reaches through the shield, even before the thread has begun.
            _close_all(self._logs)
        await _settle(in_turn(step for log in self._logs for step in self._tell_failure(log)))

    def end_of(self, name: StreamName) -> bytes:
        """Return the end of what the command wrote, with `keeps_end`."""
        end = self._streams[name].end
        return b"" if end is None else end.to_bytes()

    def _take(self, stream: _Stream, data: Any) -> Steps:
        if stream.mask is not None:
            data = memoryview(stream.mask.feed(data))
        if data:
            yield from self._log(stream, data)
            yield from _deliver(stream, data)
            yield from self._read(stream, data)

    def _end(self, stream: _Stream) -> Steps:
        rest = b"" if stream.mask is None else stream.mask.finish()
        if rest:
            yield from self._log(stream, rest)
            yield from _deliver(stream, memoryview(rest))
            yield from self._read(stream, rest)
        if stream.splitter is not None and stream.callback is not None:
            for piece in stream.splitter.finish():
                yield stream.callback(piece)

    def _log(self, stream: _Stream, data: Any) -> Steps:
        if stream.end is not None:
            stream.end.add(data)
        if stream.log is not None:
            stream.log.write(data)
            yield from self._tell_failure(stream.log)

    def _tell_failure(self, log: LogFile) -> Steps:
        failure = log.take_failure()
        if failure is not None:
            yield self._on_log_failure(log.path, failure)

    def _read(self, stream: _Stream, data: Any) -> Steps:
        if self._watch is not None:
            yield from self._watch.read(f"{data}\n" if self._has_bare_lines else data, stream.name)


class _Stream(NamedTuple):
    """One stream of the command, and where it goes."""

    name: StreamName
    callback: OutputCallback | None
    mask: StreamMask | None
    log: LogFile | None
    end: _End | None
    splitter: OutputSplitter | None


class _End:
    """The end of a stream."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._size = 0

    def add(self, data: bytes | memoryview) -> None:
        self._pieces.append(bytes(data[-_KEPT:]))
        self._size += len(self._pieces[-1])
        while self._size - len(self._pieces[0]) >= _KEPT:
            self._size -= len(self._pieces.popleft())

    def to_bytes(self) -> bytes:
        return b"".join(self._pieces)[-_KEPT:]


def _deliver(stream: _Stream, data: Any) -> Steps:
    if stream.callback is None:
        return
    for piece in (data,) if stream.splitter is None else stream.splitter.feed(bytes(data)):
        yield stream.callback(piece)


def _close_all(logs: StreamLogs) -> None:
    for log in logs:
        log.close()


def _output_of(result: WorkerResult, name: StreamName) -> bytes:
    return result.stdout_bytes if name == "stdout" else result.stderr_bytes


async def _settle(pending: Awaitable[None] | None) -> None:
    if pending is not None:
        await pending
