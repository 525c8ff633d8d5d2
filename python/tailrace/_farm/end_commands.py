"""The commands of jobs that are run when those have ended."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import anyio
import anyio.to_thread

from .._command.adapter import WorkerAdapter
from .._command.ending import describe_error, describe_exit
from .._command.job import WorkerJob
from .._command.result import Capture
from .._spec.command import parse_command
from .ledger import Ledger
from .repository.rows import JobRow

_log = logging.getLogger("tailrace")
_LIMIT = 600.0
"""How long one may take, in seconds."""
_MOST_AT_ONCE = 4


class EndCommands:
    """Runs them, a few at a time."""

    def __init__(self, adapter: WorkerAdapter, env: Mapping[str, str], ledger: Ledger) -> None:
        """Take what runs them, variables for all of them, and what says when the end of a job is durable."""
        self._adapter = adapter
        self._env = env
        self._ledger = ledger
        self._limiter = anyio.CapacityLimiter(_MOST_AT_ONCE)

    async def run(self, text: str, row: JobRow) -> None:
        """Run one in the job's folder, with variables that tell of the job; what goes wrong is logged."""
        await self._ledger.flush()
        async with self._limiter:
            try:
                await self._execute(text, row)
            except Exception as error:  # noqa: BLE001 (whatever it is, the jobs go on)
                _log.warning("the command for the end of job %s failed: %s", row.id, describe_error(error))

    async def _execute(self, text: str, row: JobRow) -> None:
        command, args = parse_command(text)
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
