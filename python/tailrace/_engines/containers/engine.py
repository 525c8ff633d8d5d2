"""The program docker or podman, apart from the commands that it runs."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from shutil import which
from subprocess import DEVNULL, CompletedProcess

import anyio
import anyio.to_thread

from ..._concurrency.per_loop import PerLoop
from ..._errors import WorkerError, WorkerSpawnError
from ..._local.process_files import start_time
from .exchange import NAME_BEGINS, remove_left_behind
from .run_options import OWNED

_ANSWER_TIME = 30.0
"""How long the engine may take for an answer, in seconds."""

_START_TIME = 600.0
"""How long it may take to start a container, in seconds: some kinds of storage copy the whole image."""

_MOST_ENDED = 1000
"""After how many containers it is asked whether it has removed them, in a job or a farm that goes on."""

_OTHERS = {"docker": "podman", "podman": "docker"}

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

_numbers = itertools.count()


class Engine:
    """Asks the engine questions; raises `WorkerSpawnError` where there is none."""

    def __init__(self, program: str, image: str) -> None:
        self.program = program
        self.image = image
        self.is_podman = False
        self._is_known = False
        self._looks = PerLoop(anyio.Lock)
        self._ended: set[str] = set()

    async def get_to_know(self) -> None:
        """Find out what the program is, and remove what hosts have left that are gone; once.

        Raises `WorkerSpawnError` if it is not there, does not answer, or does not have the image.
        """
        if self._is_known:
            return
        async with self._looks.get():
            # Others have waited for it.
            if not self._is_known:
                await self._look()

    async def _look(self) -> None:
        try:
            version = await self._ask("--version")
        except WorkerSpawnError as error:
            if error.errno != errno.ENOENT:
                raise
            raise WorkerSpawnError(errno.ENOENT, self._lack()) from error
        # docker may be podman by another name.
        self.is_podman = b"podman" in version.stdout.lower()
        names = await self._names()
        if (await self._ask("image", "inspect", self.image)).returncode != 0:
            advice = f"get it with: {self.program} pull {self.image}"
            raise WorkerSpawnError(errno.ENOENT, f"{self.program} does not have the image {self.image} ({advice})")
        self._is_known = True
        for name in names:
            if _is_left_behind(name):
                await self.remove(name)
        await anyio.to_thread.run_sync(remove_left_behind, _is_left_behind)

    async def run(self, arguments: Sequence[str], *, folder: Path) -> CompletedProcess[bytes]:
        """Have a container run, and return what the client says of its start; `folder` is where the client runs."""
        if len(self._ended) >= _MOST_ENDED:
            await self.remove_ended()
        # podman's conmon leaves a file named "oom" where it began, when memory was lacking.
        return await self._ask("run", "--detach", *arguments, limit=_START_TIME, folder=folder)

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
            if removed.returncode == 0 or "no such container" in reason.lower():
                return None
            await anyio.sleep(_BETWEEN_TRIES)
        return reason

    def expect_removal(self, name: str) -> None:
        """Take down a container that has ended, which the engine removes by itself."""
        self._ended.add(name)

    async def remove_ended(self) -> None:
        """Remove what the engine should have removed, and has not: podman needs a conmon that is alive for it."""
        ended, self._ended = self._ended, set()
        if ended:
            with contextlib.suppress(WorkerError):
                for name in ended.intersection(await self._names()):
                    await self.remove(name)

    async def resume(self, name: str) -> None:
        """Have a container go on, if it is paused."""
        with contextlib.suppress(WorkerError):
            await self._ask("unpause", name)

    async def outage(self, reason: str = "") -> str | None:
        """Return that the engine was lost, if it was, or `reason`, a client's, says so; None if it is there.

        Waits for it to be there again, but no longer than a restart takes: what is run again at once would only be lost
        again.
        """
        silence = await self._silence()
        if silence is None and not self.is_lost(reason):
            return None
        with anyio.move_on_after(_ANSWER_TIME):
            while await self._silence() is not None:  # noqa: ASYNC110 (nothing tells of it)
                await anyio.sleep(0.5)
        return f"{self.program} was lost: {reason or silence}"

    def reason(self, asked: CompletedProcess[bytes]) -> str:
        """Return what the client said last, but for advice."""
        lines = [line.strip() for line in asked.stderr.decode(errors="replace").splitlines()]
        told = [line for line in lines if line and not line.startswith(("Usage:", "Run '", "See '"))]
        return told[-1] if told else f"{self.program} ended with {asked.returncode} and said nothing"

    def is_lost(self, reason: str) -> bool:
        """Whether that is the reason of a client without an engine."""
        return any(word in reason.lower() for word in _CONNECTION_WORDS)

    async def _names(self) -> Sequence[str]:
        """Return those of all containers of ours. Raises `WorkerSpawnError` if the engine does not answer."""
        listed = await self._ask("ps", "--all", f"--filter=label={OWNED}", "--format={{.Names}}")
        if listed.returncode != 0:
            raise WorkerSpawnError(errno.ECONNREFUSED, f"{self.program} does not answer: {self.reason(listed)}")
        return listed.stdout.decode().split()

    async def _silence(self) -> str | None:
        """Return why the engine does not answer; None if it does."""
        try:
            asked = await self._ask("ps", "--quiet")
        except WorkerError as error:
            return str(error)
        return None if asked.returncode == 0 else self.reason(asked)

    def _lack(self) -> str:
        other = _OTHERS.get(self.program)
        remedy = "install it, or name another engine"
        if other is not None and which(other) is not None:
            remedy = f'but {other} is: take that, with --docker-engine {other} or engine="{other}"'
        return f"{self.program} is not installed, or not in the PATH: {remedy}"

    async def _ask(
        self, *words: str, limit: float = _ANSWER_TIME, folder: Path | None = None
    ) -> CompletedProcess[bytes]:
        # Not by the local adapter, which ends what a command leaves: podman leaves what looks after a container.
        try:
            with anyio.fail_after(limit):
                return await anyio.run_process(
                    [self.program, *words], stdin=DEVNULL, cwd=folder, check=False, start_new_session=True
                )
        except TimeoutError:
            message = f"{self.program} {words[0]} has not answered for {limit:g} s"
            raise WorkerSpawnError(errno.ETIMEDOUT, message) from None
        except OSError as error:
            raise WorkerSpawnError(error.errno or 0, f"cannot start {self.program}: {error.strerror}") from error


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
