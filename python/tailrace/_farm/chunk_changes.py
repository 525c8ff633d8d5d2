"""What is changed by hand of chunks that do not run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import anyio.to_thread

from .._spec.model import JobSpec
from .chunk_rows import chunks_to_retry, counts_after, named_chunks
from .farm_job import FarmJob
from .farm_run import FarmRun
from .repository.changes import ChunkChanged, ChunkFields, ChunksChanged, JobChanged
from .repository.rows import MARKED_DONE, ChunkRow, ChunkStateName
from .states import check_allowed, check_idle


class _Stored(NamedTuple):
    spec: JobSpec
    rows: Sequence[ChunkRow]

    @property
    def frames(self) -> Mapping[int, int]:
        """How many each chunk has."""
        return {chunk.id: chunk.frame_count for chunk in self.spec.chunks}


async def retry(run: FarmRun, job_id: str, chunk_ids: Collection[int] | None, *, done: bool) -> None:
    """Do what `JobManager.retry` says."""
    async with run.one_at_a_time:
        row = await run.row(job_id)
        check_allowed(row, "retried")
        spec, rows = stored = await run.read(partial(_read, run, job_id))
        again = chunks_to_retry(row, spec, rows, chunk_ids, done=done)
        job = await anyio.to_thread.run_sync(FarmJob.of, row)
        await run.claims.check(row)
        ended = await run.ended_before(row)
        frames = {chunk.id: str(chunk.frames) for chunk in spec.chunks}
        if chunk_ids is None:
            # What was not begun is not told one by one: there may be a hundred thousand.
            run.ledger.note(ChunksChanged(job_id, ("cancelled",), {"state": "pending", "error": None}))
        for chunk in again:
            if chunk_ids is None and chunk.state == "cancelled" and not chunk.attempts:
                continue
            fields: ChunkFields = {"error": None, "lost": chunk.attempts}
            if chunk.state == "completed":
                fields["frames_again"] = frames[chunk.chunk_id]
            run.ledger.chunk(job_id, chunk.chunk_id, "pending", fields, {})
        pending: dict[int, ChunkStateName] = {chunk.chunk_id: "pending" for chunk in again}
        run.table.add(job, ended)
        counts = counts_after(rows, pending, stored.frames)
        run.table.note(job, "pending", {"started_at": None, "finished_at": None, "error": None, **counts}, {})
    await run.ledger.flush()


async def mark_done(run: FarmRun, job_id: str, chunk_ids: Collection[int]) -> None:
    """Do what `JobManager.mark_done` says."""
    await run.until_ended(job_id)
    async with run.one_at_a_time:
        while True:
            row = await run.row(job_id)
            check_allowed(row, "marked as done")
            stored = await run.read(partial(_read, run, job_id))
            job = run.table.get(job_id)
            check_idle(row, "marked as done", is_active=job is not None and job.active is not None)
            # It may have run meanwhile.
            if job is None or job.row is row:
                break
        marked = named_chunks(row, stored.rows, chunk_ids)
        for chunk in marked:
            if chunk.state == "completed":
                run.ledger.note(ChunkChanged(job_id, chunk.chunk_id, {"outputs": MARKED_DONE}))
            else:
                fields: ChunkFields = {"error": None, "outputs": MARKED_DONE}
                run.ledger.chunk(job_id, chunk.chunk_id, "completed", fields, {"markedDone": True})
        completed: dict[int, ChunkStateName] = {chunk.chunk_id: "completed" for chunk in marked}
        counts = counts_after(stored.rows, completed, stored.frames)
        if job is None:
            run.ledger.note(JobChanged(job_id, counts))
        else:
            run.table.change(job, counts)
    await run.ledger.flush()


def _read(run: FarmRun, job_id: str) -> _Stored:
    return _Stored(JobSpec.parse(run.repository.spec(job_id)), run.repository.chunks(job_id))
