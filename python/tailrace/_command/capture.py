"""What a result keeps of one stream: the pure-Python counterpart of the core's capture."""

from __future__ import annotations

import _thread
import os
import tempfile
import threading
from collections import deque

from .result import Capture


class PythonCapture:
    """Keeps bytes as a `Capture` says; afterwards a `CapturedOutput`."""

    def __init__(self, capture: Capture) -> None:
        self.truncated = False
        is_full = capture.kind == "full"
        self._head_limit = capture.memory if is_full else capture.head
        self._tail_limit = None if is_full else capture.tail_size
        self._head: list[bytes] = []
        self._head_length = 0
        self._file: int | None = None
        self._file_length = 0
        self._tail: deque[bytes] = deque()
        self._tail_length = 0
        self._lock = threading.Lock()
        self._is_writing = self._is_left = False

    def push(self, data: bytes) -> None:
        """Keep `data`. Raises `OSError` when a temporary file that it takes cannot be written."""
        head = data[: self._head_limit - self._head_length]
        if head:
            self._head.append(head)
            self._head_length += len(head)
        rest = data[len(head) :]
        if not rest:
            return
        if self._tail_limit is not None:
            self._push_tail(rest, self._tail_limit)
            return
        try:
            self._push_file(rest)
        except OSError:
            self.truncated = True
            raise

    def leave(self) -> bool:
        """Do without the temporary file if another thread is writing to it, since it does not answer.

        Returns whether that is so. Nothing may be pushed any more.
        """
        with self._lock:
            if self._is_writing:
                self.truncated = self._is_left = True
                self._file, self._file_length = None, 0
            return self._is_left

    def __len__(self) -> int:
        tail = self._tail_length if self._tail_limit is None else min(self._tail_length, self._tail_limit)
        return self._head_length + self._file_length + tail

    def to_bytes(self) -> bytes:
        """Return all that was kept."""
        return self.end(len(self))

    def end(self, count: int) -> bytes:
        """Return the last `count` bytes of it, or all if there are fewer."""
        skip = max(0, len(self) - count)
        head = b"".join(self._head)[skip:] if skip < self._head_length else b""
        parts = [head]
        if self._file is not None:
            start = max(0, skip - self._head_length)
            parts += _read(self._file, start, self._file_length)
        tail = b"".join(self._tail)
        kept = len(self) - self._head_length - self._file_length
        parts.append(tail[len(tail) - min(kept, count) :])
        return b"".join(parts)

    def to_str(self) -> str:
        """Return the same as text; what is not UTF-8 becomes U+FFFD."""
        return self.to_bytes().decode(errors="replace")

    def __del__(self) -> None:
        # Nobody can close what a result holds. A number, because a file object might be finalized before this.
        if self._file is not None:
            _close_elsewhere(self._file)

    def _push_file(self, data: bytes) -> None:
        with self._lock:
            self._is_writing = True
        file, length = self._file, self._file_length
        try:
            if file is None:
                # Not Python's own choice of a folder, which goes on to others where TMPDIR cannot be written.
                with tempfile.TemporaryFile(buffering=0, dir=os.environ.get("TMPDIR")) as opened:
                    file = os.dup(opened.fileno())
            while data and not self._is_left:
                count = os.write(file, data)
                length += count
                data = data[count:]
        finally:
            with self._lock:
                self._is_writing = False
                if not self._is_left:
                    self._file, self._file_length = file, length
            if self._is_left and file is not None:
                os.close(file)

    def _push_tail(self, data: bytes, limit: int) -> None:
        self._tail.append(data)
        self._tail_length += len(data)
        self.truncated |= self._tail_length > limit
        while self._tail and self._tail_length - len(self._tail[0]) >= limit:
            self._tail_length -= len(self._tail.popleft())


def _read(file: int, start: int, end: int) -> list[bytes]:
    parts = []
    while start < end and (part := os.pread(file, end - start, start)):
        parts.append(part)
        start += len(part)
    return parts


def _close_elsewhere(file: int) -> None:
    # To free the blocks of gigabytes takes half a second, and a hung disk takes for ever. Not a `Thread`, whose start
    # takes locks: this may run wherever memory is collected.
    try:
        _thread.start_new_thread(os.close, (file,))
    except RuntimeError:
        os.close(file)


def describe_write_error(error: OSError) -> str:
    """Return why output could not be kept, for what `PythonCapture.push` raised."""
    folder = os.environ.get("TMPDIR") or tempfile.gettempdir()
    return f"a temporary file in {folder} could not be written: {error.strerror or error}"
