"""Writing to a descriptor that may be slow, without holding up the event loop."""

from __future__ import annotations

import os
import select
from collections.abc import Awaitable
from functools import partial

import anyio.to_thread

_ALWAYS_FITS = select.PIPE_BUF
"""What a descriptor that is ready for writing takes without blocking, in bytes (POSIX, `poll` and `pipe`)."""


class DescriptorWriter:
    """Writes one piece after the other; whoever calls `write` awaits what it returns before the next call."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    def write(self, data: bytes | memoryview) -> Awaitable[None] | None:
        """Write `data`, or return what will have written it. Raises `OSError`, here or there."""
        if len(data) <= _ALWAYS_FITS and self._poll.poll(0):
            self._write_all(data)
            return None
        # In a thread, since what is on the other side (a pager, a stopped terminal) may not read for hours, and
        # signals have to be served meanwhile.
        return anyio.to_thread.run_sync(partial(self._write_all, data), abandon_on_cancel=True)

    def _write_all(self, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                # Somebody else made the open file non-blocking.
                self._poll.poll()
