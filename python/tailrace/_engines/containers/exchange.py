"""The folder that the first process of a container shares with this machine: see rust/container_init/main.rs."""

from __future__ import annotations

import errno
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Mapping
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

INSIDE = "/.tailrace"
"""Where the container has the folder."""

NAME_BEGINS = "tailrace-"
"""How the names of containers begin."""
_ENDS_NAME = "_"
_RECORD = struct.Struct("=7q")


def container_init() -> bytes:
    """Return the first process of containers. Raises `ImportError` if there is none."""
    try:
        from ..._native import CONTAINER_INIT
    except ImportError:
        pass
    else:
        if CONTAINER_INIT:
            return CONTAINER_INIT
    raise ImportError("containers need the native core of tailrace, for Linux on x86-64 or AArch64")


class Kind(IntEnum):
    """How a command ended; the numbers are those of rust/container_init/outcome.rs."""

    RUNNING = 0
    EXITED = 1
    SIGNALLED = 2
    NO_PROGRAM = 3
    NOT_STARTED = 4


class Outcome(NamedTuple):
    """What the container's first process wrote down."""

    kind: Kind
    number: int
    """The exit code, the signal, or the number of the error; 0 for `NOT_STARTED`: it was ended before."""
    was_ended: bool
    """Whether the end was asked for, by this machine or by anybody else."""
    killed_for_memory: int
    """How many of the container's processes the kernel killed for want of memory."""
    cpu_user: float
    cpu_system: float
    max_rss: int

    @property
    def has_run(self) -> bool:
        """Whether the command has begun, and ended."""
        return self.kind in (Kind.EXITED, Kind.SIGNALLED)

    @property
    def is_failed_start(self) -> bool:
        """Whether the kernel could not start it, and the number says why."""
        return self.kind in (Kind.NO_PROGRAM, Kind.NOT_STARTED) and self.number != 0

    @property
    def client_code(self) -> int:
        """What the engine's client exits with then, if all went well."""
        return 128 + self.number if self.kind is Kind.SIGNALLED else self.number

    @property
    def exit_code(self) -> int:
        """The same for a `WorkerResult`."""
        return -self.number if self.kind is Kind.SIGNALLED else self.number


class Exchange:
    """Such a folder, for the one container that a `with` block runs."""

    def __init__(self, name: str, variables: Mapping[str, str]) -> None:
        """Make it for the container of this name, with the variables that its command is to have.

        Raises `OSError` if that is not possible.
        """
        # The user of the container may be another one, other users of this machine are not to read the variables.
        self._closed = Path(tempfile.mkdtemp(prefix=f"{name}{_ENDS_NAME}"))
        self._outcome = -1
        try:
            self.folder = self._closed / "shared"
            self.folder.mkdir()
            self.folder.chmod(0o755)
            self._write("init", container_init(), 0o555)
            # In a file, since the command line of a client can be seen by everybody, and its own variables by itself.
            lines = [os.fsencode(f"{name}={value}\0") for name, value in variables.items()]
            self._write("variables", b"".join(lines), 0o444)
            self._write("outcome", b"", 0o666)
            # The command can put anything in its place.
            self._outcome = os.open(self.folder / "outcome", os.O_RDONLY | os.O_CLOEXEC)
            os.mkfifo(self.alive)
            self.alive.chmod(0o666)
        except BaseException:
            self._remove()
            raise

    @property
    def alive(self) -> Path:
        """The FIFO that someone has to hold open for as long as the container may run."""
        return self.folder / "alive"

    def outcome(self) -> Outcome | None:
        """Return what is known; None if no process of the container has begun."""
        record = os.pread(self._outcome, _RECORD.size, 0)
        if len(record) < _RECORD.size:
            return None
        kind, number, was_ended, killed, user, system, largest = _RECORD.unpack(record)
        if kind not in list(Kind):
            return None
        return Outcome(Kind(kind), number, bool(was_ended), killed, user / 1e6, system / 1e6, largest * 1024)

    def is_read(self) -> bool:
        """Whether the first process of the container is there. To be asked when nobody here holds the FIFO open."""
        try:
            os.close(os.open(self.alive, os.O_WRONLY | os.O_NONBLOCK))
        except OSError as error:
            # Nobody reads it, or the command has taken it away.
            if error.errno not in (errno.ENXIO, errno.ENOENT):
                raise
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._remove()

    def _write(self, name: str, content: bytes, mode: int) -> None:
        path = self.folder / name
        path.write_bytes(content)
        path.chmod(mode)

    def _remove(self) -> None:
        if self._outcome >= 0:
            os.close(self._outcome)
        shutil.rmtree(self._closed, ignore_errors=True)


def remove_left_behind(is_left_behind: Callable[[str], bool]) -> None:
    """Remove the folders of containers whose names say that nobody is left who would: they hold variables."""
    for folder in Path(tempfile.gettempdir()).glob(f"{NAME_BEGINS}*{_ENDS_NAME}*"):
        if is_left_behind(folder.name.partition(_ENDS_NAME)[0]):
            shutil.rmtree(folder, ignore_errors=True)
