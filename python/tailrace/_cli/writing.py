"""Writing to the standard streams, which may be slow or closed, without holding up the event loop."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import stat
import threading
from collections.abc import Awaitable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import NamedTuple


class OutputClosedError(Exception):
    """Nobody reads standard output or standard error any more."""


class OutputFailedError(Exception):
    """Standard output or standard error cannot be written, for example because a disk is full."""


@contextmanager
def telling_reasons() -> Iterator[None]:
    """Raise one of these for an error of the operating system's."""
    try:
        yield
    except BrokenPipeError as error:
        raise OutputClosedError from error
    except OSError as error:
        raise OutputFailedError(f"the output cannot be written: {error.strerror}") from error


_ALWAYS_FITS = select.PIPE_BUF
"""What a pipe that is ready for writing takes without blocking, in bytes (POSIX, `poll` and `pipe`)."""
_LARGE_PIPE = 1 << 20
"""In bytes: as large as anybody may have one, if his quota allows (pipe(7), `pipe-max-size`)."""


class DescriptorWriter:
    """Writes pieces whole, one after the other, also those whose writer does not wait any more."""

    def __init__(self, fd: int, lock: threading.Lock) -> None:
        self._fd = fd
        self._quick_fd = _never_blocking(fd)
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._lock = lock
        _make_pipe_large(fd)

    def write(self, data: bytes | memoryview) -> Awaitable[None] | None:
        """Write `data`, or return what will have written it. Raises `OSError`, here or there."""
        rest = self.write_within(0, data) if len(data) <= _ALWAYS_FITS else memoryview(data)
        if not rest:
            return None
        # What only tells its version or refuses its options gets by without it.
        import anyio.to_thread

        # In a thread, since what is on the other side (a pager, a stopped terminal) may not read for hours, and
        # signals have to be served meanwhile.
        return anyio.to_thread.run_sync(partial(self._write_all, rest), abandon_on_cancel=True)

    def write_within(self, patience: float | None, data: bytes | memoryview) -> memoryview:
        """Write `data` as far as that goes on without a pause of more than `patience` seconds; None waits for ever.

        Returns what was not written. Raises `OSError`.
        """
        if patience is None:
            self._write_all(data)
            return memoryview(b"")
        rest = memoryview(data)
        if self._lock.acquire(timeout=patience):
            try:
                while rest and self._poll.poll(patience * 1000):
                    rest = rest[os.write(self._quick_fd, rest[:_ALWAYS_FITS]) :]
            except BlockingIOError:
                # A terminal, or somebody else made the open file non-blocking: it has less room than it said.
                pass
            finally:
                self._lock.release()
        return rest

    def _write_all(self, data: bytes | memoryview) -> None:
        rest = memoryview(data)
        with self._lock:
            while rest:
                try:
                    rest = rest[os.write(self._fd, rest) :]
                except BlockingIOError:
                    # As above.
                    self._poll.poll()


def _make_pipe_large(fd: int) -> None:
    """Have a pipe take a whole block of output: whoever reads it would be waited for sixteen times for each."""
    with contextlib.suppress(OSError, AttributeError):
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _LARGE_PIPE)


def _never_blocking(fd: int) -> int:
    """Return `fd`, or for a terminal a descriptor that does not block, since one that is ready may have little room."""
    if os.isatty(fd):
        # It may belong to somebody else (su), who alone may open it.
        with contextlib.suppress(OSError):
            # Opened anew: the descriptor itself shares its mode with whoever else has the terminal.
            return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    return fd


class StandardWriters(NamedTuple):
    """Those of this process's standard output and standard error."""

    stdout: DescriptorWriter
    stderr: DescriptorWriter


@cache
def standard_writers() -> StandardWriters:
    """Return the writers that everything in this process has to use."""
    lock = threading.Lock()
    # What goes to the same place must not mix; otherwise the one must not wait for the other.
    other = lock if os.path.sameopenfile(1, 2) else threading.Lock()
    return StandardWriters(DescriptorWriter(1, lock), DescriptorWriter(2, other))


async def settle(pending: Awaitable[None] | None) -> None:
    """Await what `DescriptorWriter.write` returned."""
    if pending is not None:
        await pending


def print_message(text: str, *, patience: float | None = None) -> None:
    """Write a line to standard error, where it does not get into the output of the chunks.

    Gives up if nobody reads for `patience` seconds, or nobody can read any more: there is no better place for it.
    """
    with contextlib.suppress(OSError):
        standard_writers().stderr.write_within(patience, _line(text))


def print_sections(sections: Iterable[Iterable[str]], *, bare: bool, patience: float | None = None) -> None:
    """Write groups as `print_message` does lines; `bare` with blank lines around each, not the program's name."""
    text = b"".join(_section(lines) if bare else b"".join(map(_line, lines)) for lines in sections)
    with contextlib.suppress(OSError):
        standard_writers().stderr.write_within(patience, text + b"\n" if bare and text else text)


async def print_event(text: str) -> None:
    """The same from the event loop, while a job runs. Raises `OSError`."""
    await settle(standard_writers().stderr.write(_line(text)))


def _line(text: str) -> bytes:
    return f"tailrace: {text}\n".encode(errors="backslashreplace")


def _section(lines: Iterable[str]) -> bytes:
    return "\n".join(["", *lines, ""]).encode(errors="backslashreplace")
