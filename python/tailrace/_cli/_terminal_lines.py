"""Output of commands, as lines that scroll on a terminal."""

from __future__ import annotations

from ._terminal_text import shown_lines, without_controls

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
        # The last byte may be the first half of "\r\n".
        self._partial = text[max(end, text.rfind(b"\r", end, -1) + 1) :]
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
