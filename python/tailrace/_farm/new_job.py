"""How a job becomes one of a farm's, and another than it was."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Collection
from functools import partial

import anyio
import anyio.to_thread

from .._spec.model import JobSpec
from .._state.folder import resolve_job_dir
from .arguments import check_size
from .farm_job import FarmJob
from .farm_run import FarmRun
from .repository.changes import JobAdded, JobFields
from .repository.rows import JobRow
from .settings import JobSettings

_ID_BYTES = 6


async def add_job(
    run: FarmRun, asked: JobFields, spec: JobSpec, settings: JobSettings, folder: str | os.PathLike[str] | None
) -> str:
    """Add a job with the fields that were asked for, and return its id; see `JobManager.submit`."""
    check_size(spec)
    run.nodes.check_needs(spec)
    after = asked["after"]
    for other in after:
        await run.row(other)
    job_id = secrets.token_hex(_ID_BYTES)
    own = run.job_folders / job_id
    job_dir = resolve_job_dir(spec, own if folder is None and spec.path is None else folder)
    text = await anyio.to_thread.run_sync(partial(spec.model_dump_json, by_alias=True))
    async with run.one_at_a_time:
        fields: JobFields = {
            **asked,
            **changed_fields(settings, None, None, None),
            "folder": os.fspath(job_dir),
            "total_chunks": len(spec.chunks),
            "total_frames": sum(chunk.frame_count for chunk in spec.chunks),
        }
        row = JobRow(id=job_id, place=run.next_place(), name=spec.id, created_at=time.time())._replace(**fields)
        if job_dir != own:
            await run.claims.check(row, spec)
        # Made before it is noted: whatever it raises, nothing of it is written then.
        job = await anyio.to_thread.run_sync(FarmJob.of, row)
        # Nothing is awaited from here on: how one ends meanwhile would not be known to it.
        ended = await run.ended_before(row)
        run.ledger.added(JobAdded(row, text, [chunk.id for chunk in spec.chunks]))
        run.table.add(job, ended)
    await run.ledger.flush()
    return job_id


def changed_fields(
    settings: JobSettings | None, name: str | None, tags: Collection[str] | None, comment: str | None
) -> JobFields:
    """Return what changes of a job's row; None leaves what it is about."""
    fields: JobFields = {}
    if settings is not None:
        fields |= {"settings": settings.to_json(), "max_running": settings.max_running}
    if name is not None:
        fields["name"] = name
    if tags is not None:
        fields["tags"] = tuple(tags)
    if comment is not None:
        fields["comment"] = comment
    return fields
