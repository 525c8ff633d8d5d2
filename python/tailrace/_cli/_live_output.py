"""Shows what happens in a job while it runs."""

from __future__ import annotations

from typing import Literal

from tailrace import (
    ChunkFailed,
    ChunkFinished,
    ChunkOutput,
    ChunkRetrying,
    JobEvent,
    LogFailed,
    MergeFinished,
    MergeOutput,
    MergeStarted,
)

from ._descriptor_writer import settle, standard_writers
from ._job_tally import JobTally
from ._line_prefixer import LinePrefixer
from ._tell import describe_log_failure, tell_event

_MERGE = -1
"""Stands for the merge where the others have their chunk's id."""

_Stream = Literal["stdout", "stderr"]


class LiveOutput:
    """Writes the commands' output to the same streams of this process, and what happens to standard error.

    When only one chunk runs at a time the bytes go through as they are, else each line gets its chunk as a prefix. With
    `watched`, the output of that chunk alone is shown, as it is; with `quiet`, no output, and only what went wrong.
    """

    def __init__(self, tally: JobTally, *, prefixed: bool, watched: int | None, quiet: bool) -> None:
        self._tally = tally
        self._prefixed = prefixed and watched is None
        self._watched = watched
        self._quiet = quiet
        self._writers = standard_writers()._asdict()
        self._prefixers: dict[tuple[int, _Stream], LinePrefixer] = {}
        self._at_line_start = True

    async def show(self, event: JobEvent) -> None:
        """Take the next event of the job, after the tally. Raises `OSError`."""
        match event:
            case ChunkOutput(chunk_id=chunk_id, stream=stream, data=memoryview() as data):
                await self._output(chunk_id, stream, data)
            case MergeOutput(stream=stream, data=memoryview() as data):
                await self._output(_MERGE, stream, data)
            case ChunkFinished(chunk_id=chunk_id, result=result):
                await self._finish(chunk_id)
                await self._tell_progress(
                    f"chunk {chunk_id} done in {result.duration:.1f} s, {self._tally.completed} of {self._tally.total}"
                )
            case ChunkRetrying(chunk_id=chunk_id, reason=reason, delay=delay):
                await self._finish(chunk_id)
                await self._tell(f"chunk {chunk_id} failed: {reason}; next attempt in {delay:.1f} s")
            case ChunkFailed(chunk_id=chunk_id, error=error):
                await self._finish(chunk_id)
                await self._tell(str(error))
            case LogFailed():
                await self._tell(describe_log_failure(event))
            case MergeStarted():
                await self._tell_progress("merging")
            case MergeFinished():
                await self._finish(_MERGE)

    async def close(self) -> None:
        """Write what is left of lines that nothing ended. Raises `OSError`."""
        for chunk_id in {chunk_id for chunk_id, _ in self._prefixers}:
            await self._finish(chunk_id)
        await self._end_line()

    async def _output(self, chunk_id: int, stream: _Stream, data: memoryview) -> None:
        if self._quiet or self._watched not in (None, chunk_id):
            return
        if not self._prefixed:
            if stream == "stderr":
                self._at_line_start = data[-1] in b"\r\n"
            await settle(self._writers[stream].write(data))
            return
        prefixer = self._prefixers.get((chunk_id, stream))
        if prefixer is None:
            prefix = "[merge] " if chunk_id == _MERGE else f"[chunk {chunk_id}] "
            prefixer = self._prefixers[chunk_id, stream] = LinePrefixer(prefix)
        await settle(self._writers[stream].write(prefixer.feed(data)))

    async def _finish(self, chunk_id: int) -> None:
        streams: tuple[_Stream, ...] = ("stdout", "stderr")
        for stream in streams:
            prefixer = self._prefixers.pop((chunk_id, stream), None)
            if prefixer is not None:
                await settle(self._writers[stream].write(prefixer.finish()))

    async def _tell_progress(self, text: str) -> None:
        if not self._quiet:
            await self._tell(text)

    async def _tell(self, text: str) -> None:
        await self._end_line()
        await tell_event(text)

    async def _end_line(self) -> None:
        if not self._at_line_start:
            self._at_line_start = True
            await settle(self._writers["stderr"].write(b"\n"))
