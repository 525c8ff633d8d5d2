"""The command of a job that is run when it has ended."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from .._command.adapter import WorkerAdapter
from .._command.ending import describe_error, describe_exit
from .._command.job import WorkerJob
from .._command.result import Capture
from .._errors import WorkerError
from .._spec.command import parse_command
from .repository.rows import JobRow

_log = logging.getLogger("tailrace")
_LIMIT = 600.0
"""How long it may take, in seconds."""


async def run_end_command(text: str, row: JobRow, adapter: WorkerAdapter, env: Mapping[str, str]) -> None:
    """Run it in the job's folder with those variables and those that tell of the job; what goes wrong is logged."""
    command, args = parse_command(text)
    job = WorkerJob(
        command,
        args,
        cwd=Path(row.folder or "."),
        env={
            **env,
            "TAILRACE_JOB_ID": row.id,
            "TAILRACE_JOB_NAME": row.name,
            "TAILRACE_JOB_STATE": row.state,
            "TAILRACE_JOB_ERROR": row.error or "",
        },
        timeout=_LIMIT,
        capture=Capture.tail(4096),
    )
    try:
        result = await adapter.execute(job)
    except (WorkerError, OSError) as error:
        _log.warning("the command for the end of job %s failed: %s", row.id, describe_error(error))
        return
    if result.exit_code != 0:
        _log.warning("the command for the end of job %s failed: %s", row.id, describe_exit(command, result.exit_code))
