"""A descriptor that an event loop or `poll` can wait for, and that any thread can make readable."""

from __future__ import annotations

import contextlib
import os
import sys
import threading

_ONE = (1).to_bytes(8, sys.byteorder)


class EventFd:
    """Readable from `set` to `clear`."""

    def __init__(self) -> None:
        if sys.platform == "linux":
            self.fd = self._writing = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        else:
            self.fd, self._writing = os.pipe()
            os.set_blocking(self.fd, False)
            os.set_blocking(self._writing, False)
        # A thread that was left behind may ring when the number has long been somebody else's.
        # A signal handler may come in between, and ring to end everything.
        self._lock = threading.RLock()
        self._is_closed = False

    def set(self) -> None:
        """Make it readable; nothing happens once it is closed."""
        with self._lock, contextlib.suppress(BlockingIOError):
            if not self._is_closed:
                os.write(self._writing, _ONE)

    def clear(self) -> None:
        """Make it unreadable."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.fd, 4096)

    def close(self) -> None:
        """Give the descriptors back."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                for fd in {self.fd, self._writing}:
                    os.close(fd)


def two_event_fds() -> tuple[EventFd, EventFd]:
    """Return two of them; raises `OSError` if there cannot be so many descriptors."""
    first = EventFd()
    try:
        return first, EventFd()
    except OSError:
        first.close()
        raise
