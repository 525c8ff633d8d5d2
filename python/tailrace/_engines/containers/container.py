"""One container: its beginning, its end, and what that says of the command."""

from __future__ import annotations

import errno
import inspect
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace

import anyio

from ..._command.ending import warn, warn_beside_an_error
from ..._command.job import WorkerJob
from ..._command.memory_report import MemoryReport
from ..._command.result import ResourceUsage, WorkerResult
from ..._errors import WorkerError, WorkerLostError, WorkerSpawnError, WorkerTimeoutError
from ..._local.adapter import LocalWorkerAdapter
from .engine import Engine
from .exchange import SOCKET, Exchange, as_spawn_error
from .outcome import EndedBy, Kind, Outcome
from .run_options import variables

_TIME_TO_END = 5.0
"""How long a container may take to be over, beside `kill_grace`, before the engine has to end it, in seconds."""

_TIME_TO_CONNECT = 10.0
"""How long the first process of a container that has been started may take to connect, in seconds."""


class Container:
    """What runs the job's command, from before it is made until it is gone."""

    def __init__(self, name: str, job: WorkerJob, engine: Engine, exchange: Exchange) -> None:
        self._name = name
        self._job = job
        self._engine = engine
        self._exchange = exchange
        self._local = LocalWorkerAdapter()
        self._loss = "the container was ended from outside"
        """What is said of it if it was lost, and the engine was not."""
        self._left: str | None = None
        """What runs on, though it was to be ended."""

    async def run(self, arguments: Sequence[str]) -> WorkerResult:
        """Have the engine run it with these arguments, and return the result of the command.

        Raises `WorkerSpawnError` if it could not be started, `WorkerLostError` if the container was lost, and what
        `LocalWorkerAdapter.execute` does.
        """
        try:
            await self._start(arguments)
            result = await self._local.execute(self._stand_in())
        except GeneratorExit:
            # The event loop is gone, and nothing can be awaited any more.
            raise
        except BaseException as error:
            # The command has had its grace, or has not begun.
            await self._end(1)
            self._tell_of_command(error)
            if self._left is not None:
                warn_beside_an_error(self._job, [self._left])
            raise
        return await self._to_result(result)

    async def _start(self, arguments: Sequence[str]) -> None:
        """Return when the container is there, and its first process waits for what it is to begin with."""
        started = await self._engine.run(arguments, folder=self._exchange.folder)
        if started.returncode != 0:
            raise await self._start_error(self._engine.reason(started))
        with anyio.move_on_after(_TIME_TO_CONNECT) as scope, as_spawn_error(self._job):
            await self._exchange.meet_container()
        if scope.cancelled_caught:
            raise await self._start_error("it has started, but cannot connect to this process")

    def _stand_in(self) -> WorkerJob:
        """Return the job that is here what the command is there: limits and the end of it are about that process."""
        return replace(
            self._job,
            command=str(self._exchange.init),
            args=[SOCKET],
            env=None,
            cwd=self._exchange.folder,
            kill_grace=self._job.kill_grace + _TIME_TO_END,
            on_started=self._begin,
            # It does no work.
            cpu_idle_timeout=None,
            on_usage=None,
        )

    async def _begin(self) -> None:
        with as_spawn_error(self._job):
            is_told = await self._exchange.begin(variables(self._job))
        if not is_told:
            self._loss = "it did not begin: its container, or what stands for that here, was gone or did not answer"
        elif self._job.on_started is not None:
            told = self._job.on_started()
            if inspect.isawaitable(told):
                await told

    async def _to_result(self, result: WorkerResult) -> WorkerResult:
        self._engine.expect_removal(self._name)
        outcome = self._exchange.outcome()
        if outcome is None or outcome.kind is Kind.RUNNING:
            # The stand-in has gone before it, or the container was killed.
            await self._end(self._job.kill_grace + _TIME_TO_END)
            outcome = self._exchange.outcome()
        self._complete(result, outcome)
        if self._job.ending is not None and self._job.ending.is_asked:
            if self._left is not None:
                warn_beside_an_error(self._job, [self._left])
            return result
        if outcome is not None and outcome.is_failed_start:
            reason = os.strerror(outcome.number).lower()
            if outcome.kind is Kind.NOT_STARTED and outcome.number == errno.ENOENT:
                reason = "the program is there, but not the interpreter or the loader that it names"
            raise WorkerSpawnError(
                outcome.number, f"cannot start {self._job.command} in {self._engine.image}: {reason}"
            )
        if outcome is None or not outcome.has_run or outcome.ended_by is EndedBy.OUTSIDE:
            reason = await self._engine.outage() or self._loss
            message = reason if self._left is None else f"{reason}; {self._left}"
            raise WorkerLostError(message, result, node=result.node, may_run=self._left is not None)
        if outcome.ended_by is EndedBy.INSIDE:
            warn(self._job, ["a process of it told the first process of its container to end, and so ended all"])
        return result

    async def _end(self, patience: float) -> None:
        """Wait until the container has ended itself, as nobody keeps up its link any more; else have the engine end it.

        It may have been made and not started, too.
        """
        with anyio.CancelScope(shield=True):
            self._exchange.call_off()
            is_over = await self._exchange.is_over(patience)
            # Even if there is none yet: a daemon may go on to make it when its client is gone.
            self._engine.expect_removal(self._name)
            if is_over:
                return
            # Perhaps somebody has paused it: it takes no signal then.
            await self._engine.resume(self._name)
            reason = await self._engine.remove(self._name)
            if reason is not None:
                advice = f"end it with: {self._engine.program} rm --force {self._name}"
                self._left = f"container {self._name} may still run ({reason}): {advice}"

    def _tell_of_command(self, error: BaseException) -> None:
        """Have an error of the stand-in tell of the command."""
        if isinstance(error, WorkerTimeoutError):
            error.args = (str(error).replace(str(self._exchange.init), self._job.command, 1),)
        if isinstance(error, WorkerError) and error.result is not None:
            self._complete(error.result, self._exchange.outcome())

    def _complete(self, result: WorkerResult, outcome: Outcome | None) -> None:
        """Say of the command what the result says of the stand-in."""
        result.exit_code = -signal.SIGTERM
        result.node = socket.gethostname()
        result.usage = result.killed_for_memory = None
        if outcome is None or not outcome.has_run:
            # Ended before it began, or with its container.
            return
        result.exit_code = outcome.exit_code
        result.usage = ResourceUsage(outcome.cpu_user, outcome.cpu_system, outcome.max_rss or None)
        if outcome.was_killed_for_memory:
            needs = self._job.meta.get("needs")
            limit = needs.get("memory") if isinstance(needs, Mapping) else None
            result.killed_for_memory = MemoryReport(True, 0, int(limit)) if limit else MemoryReport(True)

    async def _start_error(self, reason: str) -> WorkerError:
        outage = await self._engine.outage(reason)
        if outage is not None:
            return WorkerLostError(outage, node=socket.gethostname())
        return WorkerSpawnError(0, f"cannot start {self._job.command} in a container of {self._engine.image}: {reason}")
