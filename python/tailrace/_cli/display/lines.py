"""What happens in a job and what its commands write, as plain lines."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Literal

from tailrace import (
    ChunkFailed,
    ChunkFinished,
    ChunkOutput,
    ChunkRetrying,
    JobEvent,
    JobState,
    MergeFinished,
    MergeOutput,
)

from ..writing import print_event, settle, standard_writers
from .base import Display
from .message import WITH_MESSAGE, message_on
from .progress_lines import ProgressLines

_LONGEST_LINE = 64 * 1024
"""A line that grows beyond this, in bytes, is shown in parts: nothing of it can be shown before its end otherwise."""


class LinePrefixer:
    """Turns a stream of bytes into whole lines with a prefix.

    A carriage return ends a line as well: a progress bar that is drawn over itself becomes one line for each state,
    since on a screen that several commands share there is no line to draw over.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix.encode()
        self._partial = b""
        self._after_return = False

    def feed(self, data: bytes | memoryview) -> bytes | memoryview:
        """Return the lines that `data` completes."""
        if self._after_return and data:
            self._after_return = False
            if data[0] == ord("\n"):
                data = data[1:]
        if not data:
            return b""
        self._after_return = data[-1] == ord("\r")
        # All lines of a block at once: there are millions of them.
        text = b"".join((self._prefix, self._partial, data))
        if b"\r" in text:
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        end = text.rfind(b"\n") + 1
        self._partial = text[end or len(self._prefix) :]
        lines = text.replace(b"\n", b"\n" + self._prefix)
        if len(self._partial) > _LONGEST_LINE:
            self._partial = b""
            return lines + b"\n"
        return memoryview(lines)[: len(lines) - len(self._partial) - len(self._prefix)]

    def finish(self) -> bytes:
        """Return the last line, if nothing ended it."""
        partial, self._partial, self._after_return = self._partial, b"", False
        return self._prefix + partial + b"\n" if partial else b""


MERGE = -1
"""Stands for the merge where the others have their chunk's id."""

Stream = Literal["stdout", "stderr"]


def prefix_of(chunk_id: int) -> str:
    """Return what tells whose line it is, where several write to one place."""
    return "[merge]" if chunk_id == MERGE else f"[chunk {chunk_id}]"


class StreamOutput:
    """Writes output to the stream of this process that corresponds to it.

    The bytes go through as they are, or with `prefixed` as whole lines, each of which says whose it is.
    """

    def __init__(self, *, prefixed: bool) -> None:
        self._prefixed = prefixed
        self._writers = standard_writers()._asdict()
        self._prefixers: dict[tuple[int, Stream], LinePrefixer] = {}
        self._at_line_start = True
        self._seen_together: tuple[Stream, ...] = ("stdout", "stderr") if os.path.sameopenfile(1, 2) else ("stderr",)

    async def write(self, chunk_id: int, stream: Stream, data: memoryview) -> None:
        """Write a piece of output. Raises `OSError`."""
        if not self._prefixed:
            if stream in self._seen_together:
                self._at_line_start = data[-1] in b"\r\n"
            await settle(self._writers[stream].write(data))
            return
        prefixer = self._prefixers.get((chunk_id, stream))
        if prefixer is None:
            prefixer = self._prefixers[chunk_id, stream] = LinePrefixer(f"{prefix_of(chunk_id)} ")
        await settle(self._writers[stream].write(prefixer.feed(data)))

    async def finish(self, chunk_id: int) -> None:
        """Write the last lines of a chunk, if nothing ended them. Raises `OSError`."""
        streams: tuple[Stream, ...] = ("stdout", "stderr")
        for stream in streams:
            prefixer = self._prefixers.pop((chunk_id, stream), None)
            if prefixer is not None:
                await settle(self._writers[stream].write(prefixer.finish()))

    async def end_line(self) -> None:
        """End the line that is begun where standard error goes, for something else to follow. Raises `OSError`."""
        if not self._at_line_start:
            self._at_line_start = True
            await settle(self._writers["stderr"].write(b"\n"))

    async def close(self) -> None:
        """Write what is left of lines that nothing ended. Raises `OSError`."""
        for chunk_id in {chunk_id for chunk_id, _ in self._prefixers}:
            await self.finish(chunk_id)
        await self.end_line()


_SHOWN = (*WITH_MESSAGE, MergeFinished)
"""Beside output: what there is something to say of, and what ends a line of the merge."""


class LiveOutput(Display):
    """Writes the commands' output to the same streams of this process, and what happens to standard error.

    When only one chunk runs at a time the bytes go through as they are, else each line gets its chunk as a prefix. With
    `watched`, the output of that chunk alone is shown, as it is; with `quiet`, no output, and only what went wrong.
    """

    def __init__(self, state: JobState, *, prefixed: bool, watched: int | None, quiet: bool) -> None:
        self._state = state
        self._watched = watched
        self._quiet = quiet
        self._output = StreamOutput(prefixed=prefixed and watched is None)
        self._progress = ProgressLines(state)

    async def run(self, job: Callable[[], Awaitable[object]]) -> None:
        """Await `job()`; with `quiet`, tell of its progress now and then."""
        await (self._progress.run(job) if self._quiet else job())

    def shows(self, event: JobEvent) -> bool:
        """Return whether there is anything to show of an event."""
        match event:
            case ChunkOutput(chunk_id=chunk_id):
                return not self._quiet and self._watched in (None, chunk_id)
            case MergeOutput():
                return not self._quiet and self._watched is None
        return isinstance(event, _SHOWN)

    async def show(self, event: JobEvent) -> None:
        """Take the next event of the job of which there is, after the job's state. Raises `OSError`."""
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
        message = message_on(event, self._state)
        if message is not None and (message.is_trouble or not self._quiet):
            await self._output.end_line()
            await print_event(message.text)

    async def close(self) -> None:
        """Write what is left of lines that nothing ended. Raises `OSError`."""
        await self._output.close()
