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

    def feed(self, data: bytes | memoryview) -> bytes:
        """Return the lines that `data` completes."""
        text = bytes(data)
        if self._after_return and text:
            text = text.removeprefix(b"\n")
            self._after_return = False
        if not text:
            return b""
        self._after_return = text.endswith(b"\r")
        text = self._partial + text
        lines = text.splitlines()
        is_complete = text.endswith((b"\n", b"\r"))
        self._partial = b"" if is_complete or not lines else lines.pop()
        if len(self._partial) > _LONGEST_LINE:
            lines.append(self._partial)
            self._partial = b""
        return b"".join(self._prefix + line + b"\n" for line in lines)

    def finish(self) -> bytes:
        """Return the last line, if nothing ended it."""
        partial, self._partial, self._after_return = self._partial, b"", False
        return self._prefix + partial + b"\n" if partial else b""
