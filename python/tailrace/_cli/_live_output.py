"""Shows what happens in a job while it runs, as plain lines."""

from __future__ import annotations

from tailrace import ChunkFailed, ChunkFinished, ChunkOutput, ChunkRetrying, JobEvent, MergeFinished, MergeOutput

from .._events.tally import JobTally
from ._display import Display
from ._remark import WITH_REMARK, remark_on
from ._stream_output import MERGE, StreamOutput
from ._tell import tell_event

_SHOWN = (*WITH_REMARK, MergeFinished)
"""Beside output: what there is something to say of, and what ends a line of the merge."""


class LiveOutput(Display):
    """Writes the commands' output to the same streams of this process, and what happens to standard error.

    When only one chunk runs at a time the bytes go through as they are, else each line gets its chunk as a prefix. With
    `watched`, the output of that chunk alone is shown, as it is; with `quiet`, no output, and only what went wrong.
    """

    def __init__(self, tally: JobTally, *, prefixed: bool, watched: int | None, quiet: bool) -> None:
        self._tally = tally
        self._watched = watched
        self._quiet = quiet
        self._output = StreamOutput(prefixed=prefixed and watched is None)

    def shows(self, event: JobEvent) -> bool:
        """Return whether there is anything to show of an event."""
        match event:
            case ChunkOutput(chunk_id=chunk_id):
                return not self._quiet and self._watched in (None, chunk_id)
            case MergeOutput():
                return not self._quiet and self._watched is None
        return isinstance(event, _SHOWN)

    async def show(self, event: JobEvent) -> None:
        """Take the next event of the job of which there is, after the tally. Raises `OSError`."""
        match event:
            case ChunkOutput(chunk_id=chunk_id, stream=stream, data=memoryview() as data):
                await self._output.write(chunk_id, stream, data)
                return
            case MergeOutput(stream=stream, data=memoryview() as data):
                await self._output.write(MERGE, stream, data)
                return
            case ChunkFinished(chunk_id=chunk_id) | ChunkRetrying(chunk_id=chunk_id) | ChunkFailed(chunk_id=chunk_id):
                await self._output.finish(chunk_id)
            case MergeFinished():
                await self._output.finish(MERGE)
        remark = remark_on(event, self._tally)
        if remark is not None and (remark.is_trouble or not self._quiet):
            await self._output.end_line()
            await tell_event(remark.text)

    async def close(self) -> None:
        """Write what is left of lines that nothing ended. Raises `OSError`."""
        await self._output.close()
