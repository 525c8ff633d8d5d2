"""What happens in a job while it runs, on a terminal."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable

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

from ..writing import standard_writers
from .base import Display
from .lines import MERGE, Stream, StreamOutput, prefix_of
from .message import message_on
from .region import ScreenRegion
from .rows import ProgressRows
from .style import RED, TerminalStyle
from .text import shown_lines, without_controls

_LONGEST_LINE = 64 * 1024
"""A line that grows beyond this, in bytes, is shown in parts."""


class TerminalLines:
    """Turns a stream of bytes into whole lines, with a prefix, that leave the rest of the screen alone.

    Of a line that carriage returns began anew only the last state is left, and nothing if no line end follows: such are
    the progress bars of renderers.
    """

    def __init__(self, prefix: bytes, *, with_colours: bool) -> None:
        self._prefix = prefix
        self._with_colours = with_colours
        self._partial = b""

    def feed(self, data: bytes | memoryview) -> bytes:
        """Return the lines that `data` completes."""
        text = self._partial + data
        end = text.rfind(b"\n") + 1
        # What returns there are at the end may belong to the end of the line, as in "\r\n".
        self._partial = text[max(end, text.rstrip(b"\r").rfind(b"\r", end) + 1) :]
        if len(self._partial) > _LONGEST_LINE:
            text, self._partial = text[:end] + self._partial + b"\n", b""
            end = len(text)
        return self._finished(text[:end]) if end else b""

    def finish(self) -> bytes:
        """Return the last line, if nothing ended it."""
        partial, self._partial = self._partial, b""
        return self._finished(partial + b"\n") if partial and not partial.endswith(b"\r") else b""

    def _finished(self, lines: bytes) -> bytes:
        lines = without_controls(shown_lines(lines), with_colours=self._with_colours)
        if b"\x1b" in lines:
            lines = lines.replace(b"\n", b"\x1b[0m\n")
        if self._prefix:
            lines = self._prefix + lines[:-1].replace(b"\n", b"\n" + self._prefix) + b"\n"
        return lines


_STDOUT, _STDERR = 1, 2


class TerminalOutput(Display):
    """Draws the progress at the bottom of the terminal that standard error is, and has the output scroll above it.

    If standard output goes elsewhere, it gets what it gets without a terminal. When several chunks run at a time each
    line gets its chunk as a prefix; with `watched`, the output of that chunk alone is shown; with `quiet`, no output,
    and only what went wrong.
    """

    def __init__(
        self,
        state: JobState,
        style: TerminalStyle,
        *,
        prefixed: bool,
        watched: int | None,
        quiet: bool,
    ) -> None:
        self._state = state
        self._style = style
        self._prefixed = prefixed and watched is None
        self._watched = watched
        self._quiet = quiet
        rows = ProgressRows(state, style)
        self._region = ScreenRegion(
            _STDERR, standard_writers().stderr, lambda size: rows.make(size, now=time.monotonic())
        )
        self._lines: dict[tuple[int, Stream], TerminalLines] = {}
        self._elsewhere = None if is_one_terminal() else StreamOutput(prefixed=self._prefixed)

    async def run(self, job: Callable[[], Awaitable[object]]) -> None:
        """Await `job()`, and draw meanwhile."""
        await self._region.run(job)

    async def show(self, event: JobEvent) -> None:
        """Take the next event of the job, after the job's state. Raises `OSError`."""
        match event:
            case ChunkOutput(chunk_id=chunk_id, stream=stream, data=memoryview() as data):
                await self._output(chunk_id, stream, data)
                return
            case MergeOutput(stream=stream, data=memoryview() as data):
                await self._output(MERGE, stream, data)
                return
            case ChunkFinished(chunk_id=chunk_id) | ChunkRetrying(chunk_id=chunk_id) | ChunkFailed(chunk_id=chunk_id):
                await self._finish(chunk_id)
            case MergeFinished():
                await self._finish(MERGE)
        message = message_on(event, self._state)
        if message is not None and (message.is_trouble or not self._quiet):
            self._say(message.text, RED if message.is_trouble else "")
        self._region.change()

    def announce(self, text: str) -> None:
        """Say something that cannot wait, if somebody reads it."""
        self._say(text)

    async def close(self) -> None:
        """Write what is left to write, and clear away what was drawn. Raises `OSError`."""
        for chunk_id in {chunk_id for chunk_id, _ in self._lines}:
            await self._finish(chunk_id)
        await self._region.close()
        if self._elsewhere is not None:
            await self._elsewhere.close()

    async def _output(self, chunk_id: int, stream: Stream, data: memoryview) -> None:
        self._region.change()
        if self._quiet or self._watched not in (None, chunk_id):
            return
        if stream == "stdout" and self._elsewhere is not None:
            await self._elsewhere.write(chunk_id, stream, data)
            return
        lines = self._lines.get((chunk_id, stream))
        if lines is None:
            lines = self._lines[chunk_id, stream] = TerminalLines(
                self._prefix(chunk_id), with_colours=self._style.colours
            )
        self._region.add(lines.feed(data))
        await self._region.wait_for_room()

    async def _finish(self, chunk_id: int) -> None:
        streams: tuple[Stream, ...] = ("stdout", "stderr")
        for stream in streams:
            lines = self._lines.pop((chunk_id, stream), None)
            if lines is not None:
                self._region.add(lines.finish())
        if self._elsewhere is not None:
            await self._elsewhere.finish(chunk_id)

    def _prefix(self, chunk_id: int) -> bytes:
        if not self._prefixed:
            return b""
        return self._style.encode(self._style.paint(prefix_of(chunk_id), self._style.colour_of(chunk_id)) + " ")

    def _say(self, text: str, colour: str = "") -> None:
        clean = without_controls(text.encode(errors="backslashreplace"), with_colours=False).decode()
        self._region.add(self._style.paint(f"tailrace: {clean}", colour).encode() + b"\n")


def is_one_terminal() -> bool:
    """Return whether standard output and standard error are the same terminal."""
    if not os.isatty(_STDOUT):
        return False
    # The name that any process has for its own terminal may stand for either.
    return len({os.ttyname(_STDOUT), os.ttyname(_STDERR)} - {"/dev/tty"}) < 2
