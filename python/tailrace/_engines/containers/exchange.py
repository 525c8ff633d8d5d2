"""What the first process of a container shares with this machine: see rust/container_init/main.rs."""

from __future__ import annotations

import array
import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio

from ..._command.job import WorkerJob
from ..._errors import WorkerSpawnError
from .outcome import Outcome

INSIDE = "/.tailrace"
"""Where the container has the folder."""

SOCKET = "socket"
"""What is in it beside the first process, `init`: where that and its stand-in here connect."""

NAME_BEGINS = "tailrace-"
"""How the names of containers begin."""
_ENDS_NAME = "_"

_STAND_IN_TIME = 10.0
"""How long a process that was started here may take to connect, in seconds."""


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


class Exchange:
    """A folder for the one container that a `with` block runs, and the connections by the socket in it."""

    def __init__(self, name: str) -> None:
        """Make it for the container of this name. Raises `OSError` if that is not possible."""
        self._container: socket.socket | None = None
        """The connection to its first process."""
        with ExitStack() as made:
            # The user of the container may be another one; other users of this machine are not to connect.
            closed = Path(tempfile.mkdtemp(prefix=f"{name}{_ENDS_NAME}"))
            made.callback(shutil.rmtree, closed, ignore_errors=True)
            self._listener = made.enter_context(socket.socket(socket.AF_UNIX))
            self._outcome = os.memfd_create("tailrace-outcome")
            made.callback(os.close, self._outcome)
            self.folder = closed / "shared"
            self.folder.mkdir()
            self.folder.chmod(0o755)
            self.init.write_bytes(container_init())
            self.init.chmod(0o555)
            self._listen()
            self._made = made.pop_all()

    @property
    def init(self) -> Path:
        """The container's first process, and its stand-in here."""
        return self.folder / "init"

    def outcome(self) -> Outcome | None:
        """Return what became of the command; None if it was not begun."""
        return Outcome.read(self._outcome)

    async def meet_container(self) -> None:
        """Return when the container's first process has connected."""
        self._container = self._made.enter_context(await self._accept())

    async def begin(self, variables: Mapping[str, str]) -> bool:
        """Have the container's first process begin the command, with these variables, for the stand-in here.

        Return whether it was told to. If the stand-in does not connect, or either is gone, the command does not begin.
        """
        is_told = False
        with anyio.move_on_after(_STAND_IN_TIME):
            with await self._accept() as link:
                await anyio.wait_readable(link)
                pipes = _received(link)
                try:
                    is_told = bool(pipes) and self._hand_over([link.fileno(), *pipes, self._outcome], variables)
                finally:
                    for pipe in pipes:
                        os.close(pipe)
        # Nobody else is to come.
        self._listener.close()
        return is_told

    def call_off(self) -> None:
        """Have a first process that waits for its command end."""
        # It may be gone, too.
        with contextlib.suppress(OSError):
            if self._container is not None:
                self._container.shutdown(socket.SHUT_WR)

    async def is_over(self, patience: float) -> bool:
        """Whether the container's first process has come, and is gone within so many seconds."""
        if self._container is None:
            return False
        with anyio.move_on_after(patience) as scope:
            await anyio.wait_readable(self._container)
        return not scope.cancelled_caught

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._made.close()

    def _listen(self) -> None:
        folder = os.open(self.folder, os.O_PATH | os.O_CLOEXEC)
        try:
            # The path of a socket has at most 107 bytes.
            self._listener.bind(f"/proc/self/fd/{folder}/{SOCKET}")
        finally:
            os.close(folder)
        (self.folder / SOCKET).chmod(0o666)
        self._listener.listen()
        self._listener.setblocking(False)

    async def _accept(self) -> socket.socket:
        await anyio.wait_readable(self._listener)
        connection, _ = self._listener.accept()
        return connection

    def _hand_over(self, descriptors: list[int], variables: Mapping[str, str]) -> bool:
        # In a file, not in a command line, which everybody can see, nor in the engine's records.
        with os.fdopen(os.memfd_create("tailrace-variables"), "wb") as file:
            file.writelines(os.fsencode(f"{name}={value}\0") for name, value in variables.items())
            file.flush()
            # The first process may be gone.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                if self._container is not None:
                    socket.send_fds(self._container, [b"\0"], [*descriptors, file.fileno()])
                    return True
        return False


def _received(link: socket.socket) -> Sequence[int]:
    """Return the two pipes that a stand-in has sent; nothing if it is gone."""
    pipes = array.array("i")
    _, messages, _, _ = link.recvmsg(1, socket.CMSG_SPACE(2 * pipes.itemsize), socket.MSG_CMSG_CLOEXEC)
    for _, _, data in messages:
        pipes.frombytes(data)
    for pipe in pipes:
        # The container may have another user, who is to be able to open /dev/stdout.
        os.fchmod(pipe, 0o666)
    return pipes


@contextlib.contextmanager
def as_spawn_error(job: WorkerJob) -> Iterator[None]:
    """Raise as `WorkerSpawnError`, with its number, what this machine lacks for an exchange, such as descriptors."""
    try:
        yield
    except OSError as error:
        what = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
        message = f"cannot start {job.command}: what its container shares with this machine cannot be made: {what}"
        raise WorkerSpawnError(error.errno or 0, message) from error


def remove_left_behind(is_left_behind: Callable[[str], bool]) -> None:
    """Remove the folders of containers whose names say that nobody is left who would."""
    # Where that is not possible it is left to the next one.
    with contextlib.suppress(OSError):
        for folder in Path(tempfile.gettempdir()).glob(f"{NAME_BEGINS}*{_ENDS_NAME}*"):
            if is_left_behind(folder.name.partition(_ENDS_NAME)[0]):
                shutil.rmtree(folder, ignore_errors=True)
