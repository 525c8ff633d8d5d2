"""The rows at the bottom of a terminal that are drawn over and over, and what scrolls above them."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import anyio

from ..writing import DescriptorWriter, OutputClosedError, OutputFailedError, settle, telling_reasons

_SHORTEST_PAUSE = 0.05
"""Between two drawings, in seconds: a terminal is not faster, and who looks at it is slower."""
_LONGEST_PAUSE = 0.25
"""After this time the clocks and the size of the terminal are looked at again."""
_MOST_WAITING = 64 * 1024
"""So many bytes are not kept waiting for the next drawing."""

_USUAL_SIZE = os.terminal_size((80, 24))
"""For a terminal that does not know its own."""

# ECMA-48, and for the wrapping DEC's private mode 7 (DECAWM): a character that turns out wider than it should be must
# not make a row two rows.
_UP = b"\x1b[%dA"
_CLEAR_LINE_END = b"\x1b[K"
_CLEAR_BELOW = b"\x1b[J"
_NO_WRAP, _WRAP = b"\x1b[?7l", b"\x1b[?7h"

_REWRAPS = "XTERM_VERSION" not in os.environ and os.environ.get("TERM") != "linux"
"""Whether the terminal breaks long lines anew when it gets narrower: all do but xterm and the console."""


class Row(NamedTuple):
    """One row of the region."""

    text: bytes
    width: int
    """In cells."""


MakeRows = Callable[[os.terminal_size], Sequence[Row]]


class ScreenRegion:
    """Draws what `make_rows` returns for a terminal of that size, and above it the lines that were added.

    The cursor stands below the rows after each drawing, so that whatever ends this process leaves the terminal in
    order. Everything is written by one task, in pieces that begin and end there.
    """

    def __init__(self, descriptor: int, writer: DescriptorWriter, make_rows: MakeRows) -> None:
        self._descriptor = descriptor
        self._writer = writer
        self._make_rows = make_rows
        self._lines: list[bytes] = []
        self._waiting = 0
        self._rows: Sequence[Row] = ()
        self._size = _USUAL_SIZE
        self._made = 0.0
        self._is_needed, self._is_urgent, self._has_room = anyio.Event(), anyio.Event(), anyio.Event()
        self._error: Exception | None = None

    async def run(self, job: Callable[[], Awaitable[object]]) -> None:
        """Await `job()`, and draw meanwhile. What it raises comes out unchanged.

        Ends it and raises `OutputClosedError` or `OutputFailedError` when the terminal cannot be written.
        """
        # While a cancelled job ends its commands there is something to see too.
        drawing = anyio.CancelScope(shield=True)
        error: Exception | None = None
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as scope:
                tasks.start_soon(self._draw_on, drawing, scope)
                try:
                    await job()
                except Exception as raised:  # noqa: BLE001
                    # Through the task group it would come out in an ExceptionGroup.
                    error = raised
                finally:
                    drawing.cancel()
        if self._error is not None:
            raise self._error
        if error is not None:
            raise error

    def add(self, lines: bytes) -> None:
        """Have whole lines scroll by above the rows, at the next drawing."""
        if lines:
            self._lines.append(lines)
            self._waiting += len(lines)
            self._is_needed.set()
            if self._waiting >= _MOST_WAITING:
                self._is_urgent.set()

    async def wait_for_room(self) -> None:
        """Return when not too much waits to be drawn."""
        while self._waiting >= _MOST_WAITING and self._error is None:
            await self._has_room.wait()

    def change(self) -> None:
        """Have the rows drawn anew soon."""
        self._is_needed.set()

    async def close(self) -> None:
        """Draw the lines that are left, and clear the rows away. Raises `OSError`."""
        await settle(self._writer.write(self._next_piece((), self._current_size())))

    async def _draw_on(self, drawing: anyio.CancelScope, job: anyio.CancelScope) -> None:
        with drawing:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch_for_continuation)
                while self._error is None:
                    await self._draw()
                    await self._pause()
                tasks.cancel_scope.cancel()
        if self._error is not None:
            job.cancel()

    async def _watch_for_continuation(self) -> None:
        with anyio.open_signal_receiver(signal.SIGCONT) as signals:
            async for _ in signals:
                # While this process was stopped others wrote to the terminal: the rows are not where they were.
                self._rows = ()
                self._is_needed.set()

    async def _pause(self) -> None:
        with anyio.move_on_after(_LONGEST_PAUSE):
            await self._is_needed.wait()
        with anyio.move_on_after(_SHORTEST_PAUSE):
            await self._is_urgent.wait()
        self._is_needed, self._is_urgent = anyio.Event(), anyio.Event()

    async def _draw(self) -> None:
        size = self._current_size()
        if size != self._size or time.monotonic() - self._made >= _SHORTEST_PAUSE:
            rows, self._made = self._make_rows(size), time.monotonic()
        else:
            rows = self._rows
        try:
            with telling_reasons():
                await settle(self._writer.write(self._next_piece(rows, size)))
        except (OutputClosedError, OutputFailedError) as error:
            self._error = error
        self._has_room.set()
        self._has_room = anyio.Event()

    def _next_piece(self, rows: Sequence[Row], size: os.terminal_size) -> bytes:
        """Return what makes the screen as it is to be, and take it for done."""
        lines, self._lines, self._waiting = b"".join(self._lines), [], 0
        is_resized = size != self._size
        if not lines and not is_resized and rows == self._rows:
            return b""
        pieces = [b"\r", _UP % height if (height := self._drawn_height(size)) else b""]
        if lines or is_resized:
            pieces += [_CLEAR_BELOW, lines]
        if rows:
            # Each is written over the one that was there, so that nothing flickers.
            pieces += [_NO_WRAP, *(row.text + _CLEAR_LINE_END + b"\n" for row in rows), _WRAP]
        pieces.append(_CLEAR_BELOW)
        self._rows, self._size = rows, size
        return b"".join(pieces)

    def _drawn_height(self, size: os.terminal_size) -> int:
        """Return how many rows of the screen are taken by what was drawn."""
        if size.columns >= self._size.columns or not _REWRAPS:
            return len(self._rows)
        return sum(max(1, math.ceil(row.width / size.columns)) for row in self._rows)

    def _current_size(self) -> os.terminal_size:
        size = os.get_terminal_size(self._descriptor)
        return os.terminal_size((size.columns or _USUAL_SIZE.columns, size.lines or _USUAL_SIZE.lines))
