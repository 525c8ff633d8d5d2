"""The commands of jobs that are run when those have ended."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread

from .._command.adapter import WorkerAdapter
from .._command.ending import describe_error, describe_exit
from .._command.job import WorkerJob
from .._command.result import Capture
from .._errors import RepositoryError
from .._spec.command import parse_command
from .ledger import Ledger
from .repository.changes import JobChanged
from .repository.rows import JobRow
from .settings import JobSettings

_log = logging.getLogger("tailrace")
_LIMIT = 600.0
"""How long one may take, in seconds."""
_MOST_AT_ONCE = 4
_PATIENCE = 2.0
"""How long it is waited at the end until it is durable which jobs have ended, in seconds."""


class EndCommands:
    """Runs them, a few at a time, each once it is durable that its job has ended.

    Which are due is kept with the jobs: what one farm has not run to its end, the next one runs.
    """

    def __init__(self, adapter: WorkerAdapter, env: Mapping[str, str], ledger: Ledger) -> None:
        """Take what runs them, variables for all of them, and what says when the end of a job is durable."""
        self._adapter = adapter
        self._env = env
        self._ledger = ledger
        self._limiter = anyio.CapacityLimiter(_MOST_AT_ONCE)
        self._due: list[str] = []
        """The ids of their jobs, twice where one has ended again meanwhile."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run those that are started inside the block, and wait for them at its end.

        A cancellation leaves them to the next farm, and so does `give_up`, or a repository that is not to be had.
        """
        try:
            async with anyio.create_task_group() as self._tasks:
                yield
                if self._due and not await self._are_durable():
                    self.give_up()
                elif self._due:
                    _log.info("commands for the ends of jobs that are waited for: %d", len(self._due))
        finally:
            if self._due:
                _log.warning("commands for the ends of jobs that are left to the next manager: %d", len(self._due))

    def start(self, row: JobRow) -> None:
        """Have the command for the end of a job run, which has one, in the job's folder; what goes wrong is logged."""
        self._due.append(row.id)
        self._tasks.start_soon(self._run, row)

    def give_up(self) -> None:
        """End those that run, and wait for none."""
        self._tasks.cancel_scope.cancel()

    async def _are_durable(self) -> bool:
        with anyio.move_on_after(_PATIENCE):
            try:
                await self._ledger.flush()
            except RepositoryError:
                # Whoever writes is told too.
                return False
            return True
        return False

    async def _run(self, row: JobRow) -> None:
        try:
            await self._ledger.flush()
        except RepositoryError:
            return
        async with self._limiter:
            try:
                await self._execute(row)
            except Exception as error:  # noqa: BLE001 (whatever it is, the jobs go on)
                _log.warning("the command for the end of job %s failed: %s", row.id, describe_error(error))
        self._due.remove(row.id)
        if row.id not in self._due:
            self._ledger.note(JobChanged(row.id, {"end_is_due": False}))

    async def _execute(self, row: JobRow) -> None:
        command, args = parse_command(JobSettings.model_validate_json(row.settings).on_end or "")
        folder = anyio.Path(row.folder or ".")
        # That of a job which was cancelled before it began is not there.
        await folder.mkdir(parents=True, exist_ok=True)
        told = {"ID": row.id, "NAME": row.name, "STATE": row.state, "ERROR": row.error or ""}
        job = WorkerJob(
            command,
            args,
            cwd=Path(folder),
            # No variable can hold a NUL.
            env={**self._env, **{f"TAILRACE_JOB_{name}": text.replace("\0", "\\x00") for name, text in told.items()}},
            timeout=_LIMIT,
            capture=Capture.tail(4096),
        )
        result = await self._adapter.execute(job)
        if result.exit_code != 0:
            reason = describe_exit(command, result.exit_code)
            _log.warning("the command for the end of job %s failed: %s", row.id, reason)
