"""Commands on this machine."""

from __future__ import annotations

import atexit
import contextlib
import sys
from types import TracebackType
from typing import Literal, Self

from .._command.adapter import Capabilities
from .._command.job import WorkerJob
from .._command.result import WorkerResult
from .starts import turn_to_start

try:
    from . import native
except ImportError as _error:
    if getattr(_error, "name", None) != "tailrace._native":
        raise
    native = None  # type: ignore[assignment]

_EXIT_PATIENCE = 5.0
"""How long the interpreter's exit may take for commands that are still running, in seconds."""


class LocalWorkerAdapter:
    """Runs commands on this machine and streams their output, on asyncio and on trio.

    A command runs in a session of its own, with nothing on its standard input. Whatever ends it before its time, a
    limit, a cancellation or a callback that raises, ends every process it started too: they are asked to terminate,
    and killed after `WorkerJob.kill_grace`; only then does `execute` return or raise.
    """

    streams = True
    remote = False

    def __init__(self, *, backend: Literal["auto", "native", "python"] = "auto") -> None:
        """Choose what runs the commands: the native core, or Python alone, which is slower; "auto": what there is.

        Raises `ValueError` for another name, `ImportError` if the core is wanted and was not built.
        """
        if backend not in ("auto", "native", "python"):
            raise ValueError(f"backend must be 'auto', 'native' or 'python', not {backend!r}")
        if backend == "native" and native is None:
            raise ImportError("tailrace was installed without its native core: use backend='python'")
        if backend == "python" or native is None:
            # Loaded by who needs it: few do.
            from . import python

            self._execute = python.execute
        else:
            self._execute = native.execute

    @property
    def capabilities(self) -> Capabilities:
        """What it can do: everything."""
        return Capabilities(streams=self.streams, tells_start=True, remote=self.remote, ends_early=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Do nothing: commands hold nothing open once they have ended."""

    async def execute(self, job: WorkerJob) -> WorkerResult:
        """Run `job` to its end.

        Raises `WorkerSpawnError` if the command could not be started, `WorkerTimeoutError` if a limit ended it, and
        `WorkerError` if its output or exit status could not be had. What a callback raises comes out unchanged.
        """
        await turn_to_start()
        return await self._execute(job)


def kill_all_commands(patience: float = _EXIT_PATIENCE) -> None:
    """Kill everything that this process runs through tailrace.

    For a program that has to end at once, and starts nothing more. Returns when all is gone, or after `patience`
    seconds. The interpreter's normal exit does the same.
    """
    can_exit = native is None or native.kill_all(patience)
    # It may be on its way in another thread, and then has started nothing.
    kill_all = getattr(sys.modules.get(f"{__package__}.python"), "kill_all", None)
    if kill_all is not None:
        kill_all(patience)
    if not can_exit:
        # Nobody may be left to read it.
        with contextlib.suppress(OSError, ValueError):
            print(
                "tailrace: cannot exit before a command that hangs in the kernel lets go of its pipe", file=sys.stderr
            )


atexit.register(kill_all_commands)
