"""Shows what happens in a job while it runs."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Literal

from tailrace import (
    ChunkFailed,
    ChunkFinished,
    ChunkOutput,
    ChunkRetrying,
    JobEvent,
    JobStarted,
    MergeFinished,
    MergeOutput,
    MergeStarted,
)

from ._descriptor_writer import standard_writers
from ._line_prefixer import LinePrefixer

_MERGE = -1
"""Stands for the merge where the others have their chunk's id."""

_Stream = Literal["stdout", "stderr"]


class OutputClosedError(Exception):
    """Nobody reads standard output or standard error any more."""


class OutputFailedError(Exception):
    """Standard output or standard error cannot be written, for example because a disk is full."""


class LiveOutput:
    """Writes the commands' output to the same streams of this process, and what happens to standard error.

    When only one chunk runs at a time the bytes go through as they are, else each line gets its chunk as a prefix.
    The chunks in `unasked` are left out and not even counted.
    """

    def __init__(self, *, prefixed: bool, unasked: frozenset[int]) -> None:
        self._unasked = unasked
        self._retries = 0
        self._prefixed = prefixed
        self._writers = standard_writers()._asdict()
        self._prefixers: dict[tuple[int, _Stream], LinePrefixer] = {}
        self._at_line_start = True
        self._total = self._completed = self._skipped = 0
        self._failed: list[int] = []
        self._merge: str | None = None

    async def on_event(self, event: JobEvent) -> None:
        """Take the next event of the job. Raises `OutputClosedError` or `OutputFailedError`."""
        with _telling_reasons():
            await self._show(event)

    async def _show(self, event: JobEvent) -> None:
        match event:
            case ChunkOutput(chunk_id=chunk_id, stream=stream, data=memoryview() as data):
                await self._output(chunk_id, stream, data)
            case MergeOutput(stream=stream, data=memoryview() as data):
                await self._output(_MERGE, stream, data)
            case JobStarted(total_chunks=total, skipped_chunk_ids=skipped):
                self._total = total - len(self._unasked)
                self._completed = self._skipped = len(set(skipped) - self._unasked)
            case ChunkFinished(chunk_id=chunk_id, result=result):
                self._completed += 1
                await self._finish(chunk_id)
                await self._tell(
                    f"chunk {chunk_id} done in {result.duration:.1f} s, {self._completed} of {self._total}"
                )
            case ChunkRetrying(chunk_id=chunk_id, reason=reason, delay=delay):
                self._retries += 1
                await self._finish(chunk_id)
                await self._tell(f"chunk {chunk_id} failed: {reason}; next attempt in {delay:.1f} s")
            case ChunkFailed(chunk_id=chunk_id, error=error):
                self._failed.append(chunk_id)
                await self._finish(chunk_id)
                await self._tell(str(error))
            case MergeStarted():
                self._merge = "not merged"
                await self._tell("merging")
            case MergeFinished():
                self._merge = "merged"
                await self._finish(_MERGE)

    def summary(self, job_id: str, duration: float, *, interrupted: bool) -> str:
        """Return how the job went, in one line; `duration` is in seconds."""
        done = self._completed - self._skipped
        parts = [f"{done} {'chunk' if done == 1 else 'chunks'} done"]
        if self._skipped:
            parts.append(f"{self._skipped} skipped")
        if self._failed:
            parts.append(f"{len(self._failed)} failed ({', '.join(map(str, sorted(self._failed)))})")
        if self._retries:
            parts.append("1 retry" if self._retries == 1 else f"{self._retries} retries")
        if self._merge is not None:
            parts.append(self._merge)
        if interrupted:
            parts.append("interrupted")
        return f"job {job_id}: {', '.join(parts)}, {duration:.1f} s"

    async def close(self) -> None:
        """Write what is left of lines that nothing ended. Raises what `on_event` does."""
        with _telling_reasons():
            for chunk_id in {chunk_id for chunk_id, _ in self._prefixers}:
                await self._finish(chunk_id)
            await self._end_line()

    async def _output(self, chunk_id: int, stream: _Stream, data: memoryview) -> None:
        if not self._prefixed:
            if stream == "stderr":
                self._at_line_start = data[-1] in b"\r\n"
            await _settle(self._writers[stream].write(data))
            return
        prefixer = self._prefixers.get((chunk_id, stream))
        if prefixer is None:
            prefix = "[merge] " if chunk_id == _MERGE else f"[chunk {chunk_id}] "
            prefixer = self._prefixers[chunk_id, stream] = LinePrefixer(prefix)
        await _settle(self._writers[stream].write(prefixer.feed(data)))

    async def _finish(self, chunk_id: int) -> None:
        streams: tuple[_Stream, ...] = ("stdout", "stderr")
        for stream in streams:
            prefixer = self._prefixers.pop((chunk_id, stream), None)
            if prefixer is not None:
                await _settle(self._writers[stream].write(prefixer.finish()))

    async def _tell(self, text: str) -> None:
        await self._end_line()
        await _settle(self._writers["stderr"].write(f"tailrace: {text}\n".encode(errors="backslashreplace")))

    async def _end_line(self) -> None:
        if not self._at_line_start:
            self._at_line_start = True
            await _settle(self._writers["stderr"].write(b"\n"))


@contextmanager
def _telling_reasons() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise OutputClosedError from error
    except OSError as error:
        raise OutputFailedError(f"the output cannot be written: {error.strerror}") from error


async def _settle(pending: Awaitable[None] | None) -> None:
    if pending is not None:
        await pending
