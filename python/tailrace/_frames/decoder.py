"""A process that decodes, from the side of who has it decode."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio

from .endings import is_from_outside, shown_end

_GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameLimits:
    """What the process that decodes a file may use. It is far more than whole ones need."""

    memory: int = 4 * _GIB
    """In bytes, for what is decoded and what decodes it."""
    samples: int = 1 << 32
    """Width times height times depth times channels of an image, before it is decoded: 32,768 x 32,768 RGBA."""
    processor_time: float = 600.0
    """In seconds: of a picture, or of a video without getting on by a frame."""
    wall_time: float = 6 * 3600.0
    """In seconds, likewise. It may be long until there is a processor with nothing else to do."""
    yields: bool = True
    """Whether it only gets what others leave of the processors and disks."""


_PROGRAM = (
    "import sys; sys.path[:0] = sys.argv[4:]; from tailrace._frames.child.main import main; "
    "main(int(sys.argv[1]), yields=sys.argv[2] == 'yields', nice=int(sys.argv[3]))"
)
_NEEDED = ("tailrace", "OpenImageIO", "numpy")
_PATIENCE = 10.0
"""How long the end of a killed process is waited for, in seconds."""
_LONGEST_START = 600.0
_LOOK_AGAIN = 0.002

_ending: list[subprocess.Popen[bytes]] = []
"""Processes that have been killed and hang in the kernel, as with a disk that does not answer."""


class DecoderEnded(Exception):  # noqa: N818
    """The process ended instead of answering; `code` is its exit code, -N for signal N."""

    def __init__(self, code: int | None, *, has_begun: bool = True) -> None:
        super().__init__("it ended" if code is None else f"it ended with {shown_end(code)}")
        self.code = code
        self._has_begun = has_begun

    @property
    def is_chance(self) -> bool:
        """Whether the file has nothing to do with it: the process was killed, or had ended before it was asked."""
        return not self._has_begun or is_from_outside(self.code)


class DecoderTooSlow(Exception):  # noqa: N818
    """The process took longer than it may."""

    def __init__(self) -> None:
        super().__init__("it does not answer")


class Decoder:
    """One process. It is asked one thing at a time, by one of the two ways of waiting.

    It ends with this object's process, whatever ends that, and with `kill`.
    """

    def __init__(self, *, yields: bool = True, nice: int = 0) -> None:
        _ending[:] = [process for process in _ending if process.poll() is None]
        self.is_ready = False
        """Whether it has said that it works."""
        self._received = bytearray()
        self._socket, theirs = socket.socketpair()
        reading, self._lifeline = os.pipe()
        how = "yields" if yields else ""
        try:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-I", "-S", "-c", _PROGRAM, str(reading), how, str(nice), *_folders()],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[reading],
                cwd="/",
                # Ctrl-C is for its parent; and its group of the scheduler must be its own.
                start_new_session=True,
            )
        except BaseException:
            self.close()
            raise
        finally:
            theirs.close()
            os.close(reading)
        self._socket.setblocking(False)

    async def ask(self, request: dict[str, Any], patience: float) -> dict[str, Any]:
        """Return the answer to a request. Raises `DecoderEnded`, and `DecoderTooSlow` after so many seconds of nothing.

        After any exception, a cancellation too, the process must be killed.
        """
        answers = self._answers(request)
        while True:
            answer = next(answers)
            if answer is not None:
                return answer
            with anyio.move_on_after(self._patience(patience)) as scope:
                await anyio.wait_readable(self._socket)
            if scope.cancelled_caught:
                raise DecoderTooSlow

    def ask_blocking(self, request: dict[str, Any], patience: float) -> dict[str, Any]:
        """Do the same while the thread waits."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        answers = self._answers(request)
        while True:
            answer = next(answers)
            if answer is not None:
                return answer
            if not poll.poll(self._patience(patience) * 1000):
                raise DecoderTooSlow

    def _patience(self, patience: float) -> float:
        # What it takes to begin has nothing to do with what it is asked.
        return patience if self.is_ready else max(patience, _LONGEST_START)

    def _answers(self, request: dict[str, Any]) -> Iterator[dict[str, Any] | None]:
        """Yield None whenever there is something to wait for, and the answer in the end."""
        try:
            # It is short, and the process has read all that came before.
            self._socket.sendall(json.dumps(request).encode() + b"\n")
        except OSError:
            raise DecoderEnded(self._exit_code(), has_begun=False) from None
        while True:
            searched = 0
            while (end := self._received.find(b"\n", searched)) < 0:
                searched = len(self._received)
                try:
                    piece = self._socket.recv(1 << 16)
                except BlockingIOError:
                    yield None
                    continue
                except OSError:
                    piece = b""
                if not piece:
                    raise DecoderEnded(self._exit_code())
                self._received += piece
            answer: dict[str, Any] = json.loads(self._received[:end])
            del self._received[: end + 1]
            if "ready" in answer:
                self.is_ready = True
            elif answer.keys() != {"frames"}:
                yield answer

    def _exit_code(self) -> int | None:
        # It has closed its end, so that this does not take long.
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(_PATIENCE)
        return None

    def kill(self) -> None:
        """End the process, whatever it does; what it has started ends with it. May be called again.

        Who waits for an answer gets to know it.
        """
        if self._process.poll() is None:
            self._process.kill()

    def close(self) -> None:
        """Let go of the process, once nobody waits for its answer. May be called again."""
        self._socket.close()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    def is_gone(self) -> bool:
        """Return whether a killed process has ended."""
        return self._process.poll() is not None

    def wait_blocking(self) -> None:
        """Return when a killed process has ended, or hangs in the kernel."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE)
            return
        _ending.append(self._process)

    async def wait(self) -> None:
        """Do the same; a cancellation does not break it off."""
        deadline = time.monotonic() + _PATIENCE
        try:
            with anyio.CancelScope(shield=True):
                while not self.is_gone() and time.monotonic() < deadline:  # noqa: ASYNC110
                    await anyio.sleep(_LOOK_AGAIN)
        finally:
            # A task of asyncio can be cancelled in spite of a shield.
            if not self.is_gone():
                _ending.append(self._process)


def _folders() -> list[str]:
    """Return the folders that the process finds its packages in, as they would be found in here."""
    folders: dict[str, None] = {}
    for name in _NEEDED:
        with contextlib.suppress(ImportError, ValueError):
            spec = find_spec(name)
            for location in (spec and spec.submodule_search_locations) or ():
                folders[str(Path(location).resolve().parent)] = None
    return list(folders)
