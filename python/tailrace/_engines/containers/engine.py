"""The program docker or podman, apart from the commands that it runs."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import secrets
from pathlib import Path

import anyio
import anyio.to_thread

from ..._command.job import WorkerJob
from ..._command.result import WorkerResult
from ..._errors import WorkerError, WorkerSpawnError, WorkerTimeoutError
from ..._local.adapter import LocalWorkerAdapter
from ..._local.process_files import start_time
from .exchange import NAME_BEGINS, remove_left_behind
from .run_options import OWNED

_ANSWER_TIME = 30.0
"""How long the engine may take for an answer, in seconds."""

_TRIES = 4
_BETWEEN_TRIES = 0.2

_CONNECTION_WORDS = (
    "cannot connect to",
    "error during connect",
    "connection re",
    "connect: no such file",
    ": eof",
    "unexpected eof",
    "shutting down",
    "i/o timeout",
    "broken pipe",
    "transport is closing",
)
"""One of them is in what a client says whose daemon is not there, or goes away."""

_IMAGE_WORDS = ("no such image", "image not known")

_numbers = itertools.count()


class Engine:
    """Asks the engine questions; raises `WorkerSpawnError` where there is none."""

    def __init__(self, program: str) -> None:
        self.program = program
        self.is_podman = False
        self._is_known = False
        self._local = LocalWorkerAdapter()

    async def get_to_know(self) -> None:
        """Find out what the program is, and remove what hosts have left that are gone; once.

        Raises `WorkerSpawnError` if it is not there or does not answer.
        """
        if self._is_known:
            return
        try:
            version = await self._ask("--version")
        except WorkerSpawnError as error:
            if error.errno != errno.ENOENT:
                raise
            message = f"{self.program} is not installed, or not in the PATH: install it, or name another engine"
            raise WorkerSpawnError(errno.ENOENT, message) from error
        # docker may be podman by another name.
        self.is_podman = "podman" in version.stdout.lower()
        listed = await self._ask("ps", "--all", f"--filter=label={OWNED}", "--format={{.Names}}")
        if listed.exit_code != 0:
            raise WorkerSpawnError(errno.ECONNREFUSED, f"{self.program} does not answer: {self.reason(listed)}")
        self._is_known = True
        for name in listed.stdout.split():
            if _is_left_behind(name):
                await self.remove(name)
        await anyio.to_thread.run_sync(remove_left_behind, _is_left_behind)

    async def remove(self, name: str) -> str | None:
        """End and remove a container; return why that was not possible, None if it is gone."""
        how = ["--force", "--time=0"] if self.is_podman else ["--force"]
        reason = ""
        # podman refuses it at first where its conmon is gone, and has noticed by the second time.
        for _ in range(_TRIES):
            try:
                removed = await self._ask("rm", *how, name)
            except WorkerError as error:
                return str(error)
            reason = self.reason(removed)
            if removed.exit_code == 0 or "no such container" in reason.lower():
                return None
            await anyio.sleep(_BETWEEN_TRIES)
        return reason

    async def resume(self, name: str) -> None:
        """Have a container go on, if it is paused."""
        with contextlib.suppress(WorkerError):
            await self._ask("unpause", name)

    async def wait_for_answer(self) -> None:
        """Return when the engine answers, or does not for longer than a restart takes."""
        with anyio.move_on_after(_ANSWER_TIME), contextlib.suppress(WorkerError):
            while (await self._ask("ps", "--quiet")).exit_code != 0:  # noqa: ASYNC110 (nothing tells of it)
                await anyio.sleep(0.5)

    def reason(self, result: WorkerResult) -> str:
        """Return what the client said last, but for advice."""
        lines = [line.strip() for line in result.ends(4096)[1].decode(errors="replace").splitlines()]
        told = [line for line in lines if line and not line.startswith(("Usage:", "Run '", "See '"))]
        return told[-1] if told else f"{self.program} ended with {result.exit_code} and said nothing"

    def is_lost(self, reason: str) -> bool:
        """Whether that is the reason of a client without an engine."""
        return any(word in reason.lower() for word in _CONNECTION_WORDS)

    def advice(self, reason: str, image: str) -> str:
        """Return what helps, to be put behind the reason."""
        lacks_image = any(word in reason.lower() for word in _IMAGE_WORDS)
        return f" (get it with: {self.program} pull {image})" if lacks_image else ""

    async def _ask(self, *words: str) -> WorkerResult:
        try:
            return await self._local.execute(WorkerJob(self.program, words, timeout=_ANSWER_TIME, kill_grace=1))
        except WorkerTimeoutError as error:
            raise WorkerSpawnError(errno.ETIMEDOUT, str(error)) from error


def new_name() -> str:
    """Return a name for a container, which tells whose it is."""
    return f"{_owner(os.getpid())}-{next(_numbers)}-{secrets.token_hex(4)}"


def _is_left_behind(name: str) -> bool:
    """Whether a process of this machine made it, since it booted and in our numbering, that is gone."""
    owner, _, _ = name.rpartition("-")[0].rpartition("-")
    place, _, pid = owner.rpartition("-")[0].rpartition("-")
    return place == _place() and pid.isdigit() and _owner(int(pid)) != owner


def _owner(pid: int) -> str:
    try:
        began = start_time(pid)
    except OSError:
        began = "gone"
    return f"{_place()}-{pid}-{began}"


def _place() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    return f"{NAME_BEGINS}{boot}-{Path('/proc/self/ns/pid').stat().st_ino}"
