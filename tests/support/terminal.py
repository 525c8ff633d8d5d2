"""Terminals for programs and for parts of tailrace to write to, and what a person would see there."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

import pyte

# Takes the terminal for its own, as a shell's foreground job has it, and becomes the program.
_IN_FRONT = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"


class Terminal:
    """A terminal with a screen that is kept up to date by a thread of its own, unless it is paused."""

    def __init__(self, columns: int = 100, lines: int = 30) -> None:
        self.descriptor, self.program_side = pty.openpty()
        self.written = b""
        """All that came, with its control sequences."""
        self._screen = pyte.HistoryScreen(columns, lines, history=100_000)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self._may_read = threading.Event()
        self._may_read.set()
        self._is_over = False
        self._set_size(columns, lines)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_over = True
        self.resume()
        self._reader.join()
        self.hang_up()
        os.close(self.descriptor)

    def pause(self) -> None:
        """Read nothing more, so that the terminal is full at some time."""
        self._may_read.clear()

    def resume(self) -> None:
        """Read on."""
        self._may_read.set()

    def hang_up(self) -> None:
        """Close the side that programs write to here; they may have it open still."""
        if self.program_side >= 0:
            os.close(self.program_side)
            self.program_side = -1

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self.descriptor, keys)

    def resize(self, columns: int, lines: int) -> None:
        """Make the window larger, or narrower: the lines that are there are cut off then, as by xterm."""
        with self._lock:
            self._set_size(columns, lines)
            self._screen.resize(lines, columns)

    @property
    def screen(self) -> list[str]:
        """The lines that can be seen, without the empty ones at the end."""
        with self._lock:
            return _without_end([line.rstrip() for line in self._screen.display])

    @property
    def text(self) -> list[str]:
        """The same, and before them the lines that have scrolled away."""
        with self._lock:
            columns = range(self._screen.columns)
            above = ["".join(row[column].data for column in columns).rstrip() for row in self._screen.history.top]
            return _without_end(above + [line.rstrip() for line in self._screen.display])

    @property
    def cursor(self) -> tuple[int, int, bool]:
        """The line and column of the cursor, and whether it can be seen."""
        with self._lock:
            return self._screen.cursor.y, self._screen.cursor.x, not self._screen.cursor.hidden

    @property
    def wraps(self) -> bool:
        """Whether long lines go on in the next, as they do in a terminal that nobody has changed."""
        with self._lock:
            return pyte.modes.DECAWM in self._screen.mode

    def colours(self) -> set[str]:
        """Return the colours of what can be seen."""
        with self._lock:
            return {char.fg for row in self._screen.buffer.values() for char in row.values()} - {"default"}

    def backgrounds(self) -> set[str]:
        """Return the colours behind what can be seen."""
        with self._lock:
            return {char.bg for row in self._screen.buffer.values() for char in row.values()} - {"default"}

    def wait_until(self, is_shown: Callable[[list[str]], bool], seconds: float = 30) -> list[str]:
        """Return the screen as soon as it `is_shown`."""
        deadline = time.monotonic() + seconds
        while not is_shown(screen := self.screen):
            assert time.monotonic() < deadline, "this was not shown; the screen is\n" + "\n".join(screen)
            time.sleep(0.01)
        return screen

    def wait_for(self, text: str) -> list[str]:
        """Return the screen as soon as `text` can be seen."""
        return self.wait_until(lambda screen: any(text in line for line in screen))

    def _set_size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def _read(self) -> None:
        while True:
            self._may_read.wait()
            if not select.select([self.descriptor], [], [], 0.05)[0]:
                if self._is_over:
                    return
                continue
            try:
                data = os.read(self.descriptor, 65536)
            except OSError:
                return
            with self._lock:
                self.written += data
                self._stream.feed(data)


class InTerminal(Terminal):
    """A program that runs in the foreground of a terminal."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        columns: int = 100,
        lines: int = 30,
        environment: Mapping[str, str] | None = None,
        stdout: int | None = None,
    ) -> None:
        super().__init__(columns, lines)
        plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "XTERM_VERSION")}
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _IN_FRONT, *command],
            stdin=self.program_side,
            stdout=self.program_side if stdout is None else stdout,
            stderr=self.program_side,
            start_new_session=True,
            env={**plain, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **(environment or {})},
        )

    def wait(self) -> int:
        """Return the exit status, once all that was written has been read."""
        status = self.process.wait(60)
        if self._may_read.is_set():
            self.hang_up()
            self._reader.join(30)
        return status

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        super().__exit__(kind, error, traceback)


def _without_end(lines: list[str]) -> list[str]:
    while lines and not lines[-1]:
        lines.pop()
    return lines
