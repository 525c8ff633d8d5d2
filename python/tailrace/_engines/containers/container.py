"""One container: its end, and what that says of the command."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Mapping

import anyio

from ..._command.ending import warn_beside_an_error
from ..._command.job import WorkerJob
from ..._command.memory_report import MemoryReport
from ..._command.result import ResourceUsage, WorkerResult
from ..._errors import WorkerError, WorkerLostError, WorkerSpawnError, WorkerTimeoutError
from .engine import Engine
from .exchange import Exchange, Kind, Outcome

ENGINE_TIME = 5.0
"""How long the engine may take, beside `kill_grace`, to tell that a container has ended, in seconds."""

_GLANCE = 0.02
"""How often to look whether a container is there of which its client tells no more, in seconds."""


class Container:
    """What runs the job's command, from before it is made until it is gone."""

    def __init__(self, name: str, job: WorkerJob, engine: Engine, exchange: Exchange, image: str) -> None:
        self.name = name
        self._job = job
        self._engine = engine
        self._exchange = exchange
        self._image = image
        self._left: str | None = None
        """What runs on, though it was to be ended."""

    async def end_beside(self, error: BaseException, client: str) -> None:
        """Return when the container has ended whose client was ended, and tell what is left; have `error` tell of it.

        `client` is how the error calls the command.
        """
        await self._end()
        if isinstance(error, WorkerTimeoutError):
            error.args = (str(error).replace(client, self._job.command, 1),)
        if isinstance(error, WorkerError) and error.result is not None:
            self._complete(error.result, self._exchange.outcome())
        if self._left is not None:
            warn_beside_an_error(self._job, [self._left])

    async def to_result(self, result: WorkerResult) -> WorkerResult:
        """Return what the client's result says of the command; raises what became of it if it has not come to its end.

        That is `WorkerSpawnError` if it could not be started, `WorkerLostError` if the container was lost.
        """
        outcome = self._exchange.outcome()
        if outcome is None or outcome.kind is Kind.RUNNING:
            # The client has gone before it.
            await self._end()
            has_begun = outcome is not None
            outcome = self._exchange.outcome()
        else:
            has_begun = True
        self._complete(result, outcome)
        if self._job.ending is not None and self._job.ending.is_asked:
            if self._left is not None:
                warn_beside_an_error(self._job, [self._left])
            return result
        if not has_begun:
            raise await self._start_error(result)
        if outcome is not None and outcome.is_failed_start:
            reason = os.strerror(outcome.number).lower()
            if outcome.kind is Kind.NOT_STARTED and outcome.number == errno.ENOENT:
                reason = "the program is there, but not the interpreter or the loader that it names"
            raise WorkerSpawnError(outcome.number, f"cannot start {self._job.command} in {self._image}: {reason}")
        loss = self._loss(outcome, result)
        if loss is not None:
            await self._end()
            message = loss if self._left is None else f"{loss}; {self._left}"
            raise WorkerLostError(message, result, node=result.node, may_run=self._left is not None)
        return result

    async def _end(self) -> None:
        """Wait until the container has ended itself, as nobody holds its FIFO any more; else have the engine end it."""
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(self._job.kill_grace + ENGINE_TIME):
                while self._exchange.is_read():  # noqa: ASYNC110 (nothing tells of it)
                    await anyio.sleep(_GLANCE)
            outcome = self._exchange.outcome()
            is_over = outcome is not None and outcome.kind is not Kind.RUNNING and not self._exchange.is_read()
            if is_over and not self._engine.is_podman:
                return
            if self._exchange.is_read():
                # Perhaps somebody has paused it: it takes no signal then.
                await self._engine.resume(self.name)
            # It may have been made and not started, too. That of podman may be over and yet be listed: where
            # there are control groups of both versions, what would remove it is ended as a part of the client's tree.
            reason = await self._engine.remove(self.name)
            if reason is not None and self._exchange.is_read():
                advice = f"end it with: {self._engine.program} rm --force {self.name}"
                self._left = f"container {self.name} may still run ({reason}): {advice}"

    def _complete(self, result: WorkerResult, outcome: Outcome | None) -> None:
        """Say of the command what the client's result says of the client."""
        client_code, result.exit_code = result.exit_code, -signal.SIGTERM
        result.node = socket.gethostname()
        result.usage = result.killed_for_memory = None
        if outcome is None or not outcome.has_run:
            # Ended before it began.
            return
        self._is_heard_out = client_code == outcome.client_code
        result.exit_code = outcome.exit_code
        result.usage = ResourceUsage(outcome.cpu_user, outcome.cpu_system, outcome.max_rss or None)
        if outcome.killed_for_memory and not outcome.was_ended and outcome.client_code == 128 + signal.SIGKILL:
            needs = self._job.meta.get("needs")
            limit = needs.get("memory") if isinstance(needs, Mapping) else None
            result.killed_for_memory = MemoryReport(True, 0, int(limit)) if limit else MemoryReport(True)

    async def _start_error(self, result: WorkerResult) -> WorkerError:
        reason = self._engine.reason(result)
        if self._engine.is_lost(reason):
            # So that the chunk does not use up its turns within the restart.
            await self._engine.wait_for_answer()
            return WorkerLostError(f"{self._engine.program} was lost: {reason}", result, node=result.node)
        advice = self._engine.advice(reason, self._image)
        return WorkerSpawnError(
            0, f"cannot start {self._job.command} in a container of {self._image}: {reason}{advice}"
        )

    def _loss(self, outcome: Outcome | None, result: WorkerResult) -> str | None:
        """Return why the command has not come to an end of its own; None if it has."""
        if outcome is not None and outcome.has_run and not outcome.was_ended and self._is_heard_out:
            return None
        reason = self._engine.reason(result)
        if self._engine.is_lost(reason):
            return f"{self._engine.program} was lost: {reason}"
        if outcome is not None and outcome.has_run and not outcome.was_ended:
            return f"{self._engine.program} was lost before it told of the end of the command"
        return "the container was ended from outside"
