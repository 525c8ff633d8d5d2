"""What the native core does for the layers above it, in Python for where that is missing: several times slower."""

from __future__ import annotations


class LineSplitter:
    """Cuts a stream into lines, as `WorkerJob.stream` tells them."""

    def __init__(self) -> None:
        self._partial: list[bytes] = []
        self._after_return = False

    def feed(self, data: bytes | memoryview) -> list[str]:
        """Return the lines that `data` completes, without their ends."""
        data = bytes(data)
        if self._after_return and data:
            self._after_return = False
            data = data.removeprefix(b"\n")
        if b"\r" in data:
            self._after_return = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        complete, end, rest = data.rpartition(b"\n")
        lines: list[str] = []
        if end:
            # Nothing that is decoded spans the end of a line, so that it makes no difference to decode them together.
            lines = b"".join([*self._partial, complete]).decode(errors="replace").split("\n")
            self._partial.clear()
        if rest:
            self._partial.append(rest)
        return lines

    def finish(self) -> str | None:
        """Return the last line at the end of the stream, if nothing ended it."""
        last = b"".join(self._partial)
        self._partial.clear()
        return last.decode(errors="replace") if last else None


def find_spans(data: bytes | memoryview, pattern: bytes) -> list[tuple[int, int]]:
    """Return where `pattern` is in `data`, as pairs of start and end; where it overlaps itself, all of that as one."""
    spans: list[tuple[int, int]] = []
    whole = bytes(data)
    start = whole.find(pattern)
    while start >= 0:
        end = start + len(pattern)
        if spans and start < spans[-1][1]:
            spans[-1] = spans[-1][0], end
        else:
            spans.append((start, end))
        start = whole.find(pattern, start + 1)
    return spans
