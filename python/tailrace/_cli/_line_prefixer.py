"""A prefix for each line of a stream."""

from __future__ import annotations

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
