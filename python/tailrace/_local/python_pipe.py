"""The reading end of one pipe, on a thread of its own.

A writer that is stuck inside of `write` holds the pipe's lock: whoever reads, asks how much there is or closes the pipe
then sleeps until it is dead. So nobody but the thread touches the pipe, and nobody waits for the thread without limit.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import select
import sys
import termios
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from .._command.capture import PythonCapture, describe_write_error
from .event_fd import EventFd

_PIECE = 64 * 1024
_LARGE_PIECE = 256 * 1024
_MOST_LARGE = 64
"""How many pipes are made larger: with a quarter of what Linux gives a user for pipes (pipe(7)), which the renders need
for their own."""
_MOST_UNREAD = 2**20
"""How much may have been read that no callback has seen yet, in bytes; more is left to the pipe."""
_STUCK_AFTER = 0.2
"""How long a thread has to be seen in an uninterruptible sleep inside one call, in seconds."""


_large = threading.Semaphore(_MOST_LARGE)


def _start_anew() -> None:
    global _large
    _large = threading.Semaphore(_MOST_LARGE)


os.register_at_fork(after_in_child=_start_anew)


class PausableClock:
    """Counts seconds since it was restarted, but not while anybody holds it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._holders = 0
        self._held_since = self._released = 0.0
        self._is_restarted = False

    def restart(self) -> None:
        """Begin at zero."""
        with self._lock:
            self._began = time.monotonic()
            self._is_restarted = True

    def hold(self) -> None:
        """Stop it, until `release` has been called as often."""
        with self._lock:
            self._holders += 1
            if self._holders == 1:
                self._held_since = time.monotonic()
                self._is_restarted = False

    def release(self) -> None:
        """Take one hold back."""
        with self._lock:
            self._holders -= 1
            if not self._holders:
                now = self._released = time.monotonic()
                self._began = now if self._is_restarted else self._began + (now - self._held_since)

    def runs_since(self) -> float | None:
        """Return since when nobody has held it, on the monotonic clock; None while somebody does."""
        with self._lock:
            return None if self._holders else self._released

    def reaches(self, seconds: float) -> float | None:
        """Return when it will show `seconds`, on the monotonic clock; None while it is held."""
        with self._lock:
            return None if self._holders else self._began + seconds


class PipeReader:
    """Reads a pipe to its end: into `capture`, and into a bounded queue where somebody listens."""

    def __init__(
        self,
        fd: int,
        capture: PythonCapture,
        *,
        is_heard: bool,
        silence: PausableClock,
        drain: PausableClock,
        stop: EventFd,
        notify: Callable[[], None],
    ) -> None:
        self.is_over = False
        """Nothing more comes, and the pipe is closed or left to its thread."""
        self.is_abandoned = False
        """There may have been more."""
        self.fault: str | None = None
        self._fd = fd
        self._piece = _PIECE
        self._capture = capture
        self._is_heard = is_heard
        self._silence = silence
        self._drain = drain
        self._stop = stop
        self._notify = notify
        self._changed = threading.Condition()
        self._pieces: deque[bytes] = deque()
        self._unread = 0
        self._has_exited = self._is_stopping = self._is_discarding = self._is_left = False
        self._standing: int | None = None
        """How much of what stood in the pipe at the exit is yet to be handed on; None until it was asked."""
        self._doing: Literal["wait", "read", "keep", "hold", "close"] = "wait"
        self._steps = 0
        self._seen: tuple[int, float, bool] = (-1, 0.0, False)
        self._asked = -math.inf
        self._folder = ""
        os.set_blocking(fd, False)

    def start(self) -> None:
        """Begin to read. Raises `RuntimeError` where no thread can be had: then the pipe is closed."""
        try:
            threading.Thread(target=self._run, name="tailrace-read", daemon=True).start()
        except RuntimeError:
            os.close(self._fd)
            self.is_over = True
            raise

    def take(self) -> bytes | None:
        """Return the next piece, None if there is none yet, or no more."""
        with self._changed:
            if not self._pieces:
                return None
            piece = self._pieces.popleft()
            self._unread -= len(piece)
            self._changed.notify_all()
            return piece

    def note_exit(self) -> None:
        """Have what stands in the pipe now read in any case."""
        with self._changed:
            self._has_exited = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Have what stands in the pipe now read, and no more. `stop` of all readers must ring too."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()

    def discard(self) -> None:
        """Keep nothing more, nor hand it out: somebody has cancelled."""
        with self._changed:
            self._is_discarding = True
            self._pieces.clear()
            self._unread = 0
            self._changed.notify_all()

    def has_more(self) -> bool:
        """Whether something is to be read that will be read soon."""
        with self._changed:
            if self.is_over or self._doing not in ("wait", "read"):
                return False
            has_more = self._doing == "read"
            if not has_more:
                # This does not take the pipe's lock.
                poll = select.poll()
                poll.register(self._fd, select.POLLIN)
                has_more = any(event & select.POLLIN for _, event in poll.poll(0))
        return has_more and not self.is_stuck(2.0)

    def is_stuck(self, patience: float) -> bool:
        """Whether the thread sleeps where nothing can wake it, or got nowhere for `patience` seconds.

        To be asked again and again; being held by a slow callback is no such case.
        """
        with self._changed:
            steps, doing = self._steps, self._doing
        now = time.monotonic()
        # A disk that is only slow puts its writers to sleep too.
        sleeps = doing in ("read", "close") and _state(self._folder) == "D"
        is_first = now - self._asked > 1.0
        self._asked = now
        if is_first or steps != self._seen[0] or doing == "hold" or (sleeps and not self._seen[2]):
            self._seen = (steps, now, sleeps)
        return now - self._seen[1] >= (_STUCK_AFTER if sleeps else patience)

    def is_keeping(self) -> bool:
        """Whether the thread is putting output away."""
        return self._doing == "keep"

    def leave(self) -> None:
        """Give the pipe up to its thread, which gives it back whenever it can."""
        with self._changed:
            self._is_left = self.is_abandoned = self.is_over = True
            if self._capture.leave():
                self.fault = describe_write_error(TimeoutError("it does not answer"))
            self._changed.notify_all()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            self._folder = f"/proc/{os.readlink('/proc/thread-self')}"  # noqa: PTH115
        try:
            self._read_all()
        except OSError as error:
            self.fault = f"a pipe could not be read: {error.strerror or error}"
        with self._changed:
            fd, self._fd = self._fd, -1
            self._do("close")
        os.close(fd)
        if self._piece != _PIECE:
            _large.release()
        with self._changed:
            self._steps += 1
            if not self._is_left:
                self.is_over = True
        self._notify()

    def _read_all(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        poll.register(self._stop.fd, select.POLLIN)
        limit: int | None = None
        while not self._is_left:
            if self._has_exited and self._standing is None:
                self._standing = self._count()
            if self._is_stopping and limit is None:
                # Nobody of the tree is left to write. Others might never stop.
                limit = self._count()
            if limit is not None and limit <= 0:
                self._do("read")
                self.is_abandoned = self._read(poll) != b""
                return
            data = self._read(poll)
            if data is None:
                if limit is not None:
                    # Somebody else has read what was counted.
                    self.is_abandoned = True
                    return
                continue
            if not data:
                return
            self._silence.restart()
            if len(data) == _PIECE == self._piece:
                self._enlarge()
            if limit is not None:
                limit -= len(data)
            if not self._is_discarding and not self._hand_on(data):
                return
            if self._standing is not None:
                self._standing = max(0, self._standing - len(data))

    def _read(self, poll: select.poll) -> bytes | None:
        """Return what there is, nothing at the end; None when it is worth to look at everything again."""
        self._do("read")
        try:
            return os.read(self._fd, self._piece)
        except BlockingIOError:
            self._do("wait")
        if not self._is_stopping:
            poll.poll()
        return None

    def _enlarge(self) -> None:
        """Make a pipe larger that was full: each read has to wait for its turn with the interpreter."""
        if sys.platform == "linux" and _large.acquire(blocking=False):
            try:
                fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, _LARGE_PIECE)
            except OSError:
                _large.release()
            else:
                self._piece = _LARGE_PIECE

    def _hand_on(self, data: bytes) -> bool:
        with self._changed:
            if self._is_left:
                # The result is somebody's by now.
                return False
            self._do("keep")
        # What others write after the exit does not count, or one who never stops would keep it from being over.
        counts = self._standing != 0
        if counts:
            self._drain.hold()
        try:
            self._capture.push(data)
        except OSError as error:
            self.fault = describe_write_error(error)
            return False
        finally:
            if counts:
                self._drain.release()
                if self._has_exited:
                    self._notify()
        if not self._is_heard:
            return True
        with self._changed:
            if self._unread + len(data) > _MOST_UNREAD:
                self._wait_for_room(len(data))
            if not self._is_discarding and not self._is_left:
                was_empty = not self._pieces
                self._pieces.append(data)
                self._unread += len(data)
                if was_empty:
                    self._notify()
        return True

    def _wait_for_room(self, size: int) -> None:
        self._do("hold")
        self._silence.hold()
        drains = False
        try:
            while self._unread + size > _MOST_UNREAD and not self._is_discarding and not self._is_left:
                if self._has_exited and self._standing is None:
                    self._changed.release()
                    try:
                        self._standing = self._count() + size
                    finally:
                        self._changed.acquire()
                    self._do("hold")
                    continue
                if self._has_exited and self._standing and not drains:
                    # What others write after the exit does not count, or one who never stops would keep it from being
                    # over.
                    drains = True
                    self._drain.hold()
                    self._notify()
                self._changed.wait()
        finally:
            self._silence.release()
            if drains:
                self._drain.release()
            self._notify()

    def _count(self) -> int:
        self._do("read")
        return int.from_bytes(fcntl.ioctl(self._fd, termios.FIONREAD, bytes(4)), sys.byteorder)

    def _do(self, what: Literal["wait", "read", "keep", "hold", "close"]) -> None:
        self._doing = what
        self._steps += 1


def _state(folder: str) -> str:
    """Return the state of one of our own threads, as ps shows it; empty where it is not told."""
    try:
        return Path(folder, "stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""
