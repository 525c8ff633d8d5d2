"""What becomes of the output of one command on its way to the callbacks."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import anyio

from .._command.callbacks import await_if_needed
from .._command.job import STREAMS, StreamMode, StreamName
from .._command.pieces import OutputSplitter
from .._command.result import WorkerResult
from .._concurrency.steps import Steps, TimeSlice, run_steps
from .job_logs import StreamLogs
from .log_file import LogFile
from .progress_watch import ProgressWatch
from .secret_mask import SecretMask, StreamMask

OutputCallback = Callable[[Sequence[Any]], Steps]
"""Takes pieces of output, one after the other."""

_MOST_CALLS = 128
"""How many pieces are handed over between two looks at the clock, which takes as long as to hand over one."""
_LAST_WORDS = 16 * 2**20
"""How much of what a command writes while it is ended is logged, in bytes: nobody waits for the disk then."""
_KEPT = 64 * 1024
"""How much of the end of each stream is kept where the adapter's result may be lost, in bytes."""


class CommandOutput:
    """Masks secrets, writes logs and reads progress before the callbacks get what is left to be seen.

    The `sender`, an adapter or a stitcher, is given `callback(stream)` for each stream, and `mode` as the kind of
    pieces: others are a `TypeError`. When it is done, `finish` hands on what had to be kept back; whatever happens,
    `close` has to be called.
    """

    def __init__(
        self,
        callbacks: Mapping[StreamName, OutputCallback | None],
        mode: StreamMode,
        *,
        sender: object,
        mask: SecretMask,
        logs: StreamLogs | None,
        watch: ProgressWatch | None,
        on_log_failure: Callable[[str, str], Awaitable[None] | None],
        keeps_end: bool = False,
    ) -> None:
        # Lines are split just before the callbacks, out of blocks: all else costs more for each line than they do.
        needs_bytes = mode == "lines" or bool(mask) or logs is not None or keeps_end
        self.mode: StreamMode = "bytes" if needs_bytes else mode
        """What the adapter's callbacks are to receive."""
        self._sender = sender
        self._wants_text = self.mode != "bytes"
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
                splitter=OutputSplitter(mode) if needs_bytes else None,
            )
            for place, name in enumerate(STREAMS)
        }
        self._received: set[StreamName] = set()
        self._is_cut_off = False

    def callback(self, name: StreamName) -> Callable[[Any], Awaitable[None] | None] | None:
        """Return what the adapter is to call with the pieces of a stream; None if nobody wants them."""
        stream = self._streams[name]
        if stream.log is not None:
            return _LoggingCallback(self, stream, stream.log)
        return partial(self._receive, stream) if stream.callback or self._is_read(stream) else None

    async def finish(self, result: WorkerResult | None) -> None:
        """Hand on what the end of the command completes; `result` is the command's, if there is one.

        A stream that came with the result alone is logged and read for progress, and no callback gets it. What an
        adapter says of itself does not tell: a worker that was asked to stream may not be able to.
        """
        for stream in self._streams.values():
            if stream.name in self._received:
                await await_if_needed(run_steps(self._end(stream)))
            elif result is not None and self._is_read(stream) and (data := _output_of(result, stream.name)):
                await await_if_needed(run_steps(self._log(stream, data)))
                await await_if_needed(run_steps(self._read(stream, data)))
        if self._watch is not None:
            await await_if_needed(run_steps(self._watch.finish()))

    async def close(self) -> None:
        """Finish the log files."""
        if self._logs is None:
            return
        for stream in self._streams.values():
            if stream.log is not None:
                if stream.mask is not None and (rest := stream.mask.finish()):
                    # A cancellation left it.
                    stream.log.write(rest)
                stream.log.finish()
        try:
            await self._logs.stdout.settle()
        finally:
            await self._logs.stderr.settle()
        await await_if_needed(run_steps(step for log in self._logs for step in self._tell_failure(log)))

    def result_so_far(self, exit_code: int, duration: float) -> WorkerResult:
        """Return the end of what the command wrote, with `keeps_end`."""
        ends = [stream.end or _End() for stream in self._streams.values()]
        truncated = any(end.is_cut for end in ends)
        return WorkerResult(exit_code, *(end.to_bytes() for end in ends), duration=duration, truncated=truncated)

    def _is_read(self, stream: _Stream) -> bool:
        return bool(stream.log or stream.end or self._watch)

    def _receive(self, stream: _Stream, data: Any) -> Awaitable[None] | None:
        if isinstance(data, str) is not self._wants_text:
            raise self._wrong_kind(stream, data)
        watch = self._watch
        self._received.add(stream.name)
        if watch is not None:
            watch.begin()
        began = time.monotonic()
        pending = run_steps(self._take(stream, data))
        if watch is not None:
            # It is us who kept the command waiting, and its news.
            watch.advance(began - time.monotonic())
        return None if pending is None else self._await(pending)

    def _wrong_kind(self, stream: _Stream, data: object) -> TypeError:
        expected = "str" if self._wants_text else "memoryview"
        return TypeError(
            f"{type(self._sender).__name__} called on_{stream.name} with {type(data).__name__} where the job's stream"
            f' is "{self.mode}": {expected} is expected (a job made of another has to keep its stream)'
        )

    async def _await(self, pending: Awaitable[None]) -> None:
        try:
            with nullcontext() if self._watch is None else self._watch.paused():
                await pending
        except anyio.get_cancelled_exc_class():
            # By the adapter perhaps, since it took too long after a limit: it is not called once more then.
            self._is_cut_off = True
            raise

    def _take(self, stream: _Stream, data: Any) -> Steps:
        if stream.mask is not None:
            data = stream.mask.feed(data)
        if data:
            yield from self._log(stream, data)
            yield from self._deliver(stream, ((data,),) if stream.splitter is None else stream.splitter.batches(data))
            yield from self._read(stream, data)

    def _end(self, stream: _Stream) -> Steps:
        if stream.mask is not None and (rest := stream.mask.finish()):
            yield from self._take(stream._replace(mask=None), rest)
        if stream.splitter is not None:
            yield from self._deliver(stream, (stream.splitter.finish(),))

    def _log(self, stream: _Stream, data: Any) -> Steps:
        if stream.end is not None:
            stream.end.add(data)
        if stream.log is not None:
            stream.log.write(data)
            yield stream.log.room()
            yield from self._tell_failure(stream.log)

    def _tell_failure(self, log: LogFile) -> Steps:
        failure = log.take_failure()
        if failure is not None:
            yield self._on_log_failure(log.path, failure)

    def _read(self, stream: _Stream, data: Any) -> Steps:
        if self._watch is not None:
            yield from self._watch.read(data, stream.name)

    def _deliver(self, stream: _Stream, batches: Iterable[Sequence[Any]]) -> Steps:
        if stream.callback is None or self._is_cut_off:
            return
        # As many again as were quick: a block may be a million lines, or a few that take long.
        calls = 1
        time_slice = TimeSlice()
        for pieces in batches:
            start = 0
            while start < len(pieces):
                yield from stream.callback(pieces[start : start + calls])
                start += calls
                if time_slice.is_over:
                    yield time_slice.give_way()
                    calls = 1
                else:
                    calls = min(2 * calls, _MOST_CALLS)


class _LoggingCallback:
    """Takes one stream of an attempt that is logged, also what it still writes while a cancellation ends it."""

    def __init__(self, output: CommandOutput, stream: _Stream, log: LogFile) -> None:
        self._receive = output._receive
        self._stream = stream
        self._log = log
        self._room: int | None = None
        """How much of the last words is still taken, in bytes; None before they begin."""

    def __call__(self, data: Any) -> Awaitable[None] | None:
        if self._room is None:
            return self._receive(self._stream, data)
        self._room -= len(data)
        if self._room >= 0:
            shown = data if self._stream.mask is None else self._stream.mask.feed(data)
            if shown:
                self._log.write(shown)
        return None

    def begin_last_words(self) -> None:
        self._room = _LAST_WORDS


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
        self.is_cut = False
        self._pieces: deque[bytes] = deque()
        self._size = 0

    def add(self, data: bytes | memoryview) -> None:
        self.is_cut |= self._size + len(data) > _KEPT
        self._pieces.append(bytes(data[-_KEPT:]))
        self._size += len(self._pieces[-1])
        while self._size - len(self._pieces[0]) >= _KEPT:
            self._size -= len(self._pieces.popleft())

    def to_bytes(self) -> bytes:
        return b"".join(self._pieces)[-_KEPT:]


def _output_of(result: WorkerResult, name: StreamName) -> bytes:
    return result.stdout_bytes if name == "stdout" else result.stderr_bytes
