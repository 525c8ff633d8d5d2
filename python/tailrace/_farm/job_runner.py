"""Runs one of a farm's jobs, from what the repository has of it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import anyio.to_thread

from .._errors import RepositoryUnavailableError, TailraceError
from .._events.types import JobEvent
from .._job.executor import Executor
from .._job.options import JobExecutionOptions
from .._job.share import Share
from .._job.slots import Slots
from .._spec.model import JobSpec
from .._state.artifacts import changed_outputs
from .._stitching.ffmpeg import FfmpegStitcher
from .active_job import ActiveJob
from .chunk_order import in_order
from .farm_job import FarmJob
from .job_table import JobTable
from .ledger import Ledger
from .repository.changes import ChunkFields
from .repository.job_repository import JobRepository
from .repository.rows import MARKED_DONE, ChunkRow

_PAUSE = 1.0
"""After which the repository is asked again where it cannot be read, in seconds."""


class _Stored(NamedTuple):
    """What the repository has of a job, and what is left of its files."""

    spec: JobSpec
    rows: Sequence[ChunkRow]
    changed: dict[int, str]
    """The completed chunks that have lost an output, and how."""


class JobRunner:
    """Runs jobs whose chunks share slots."""

    def __init__(
        self,
        executor: Executor,
        repository: JobRepository,
        ledger: Ledger,
        table: JobTable,
        slots: Slots,
        *,
        width: int,
        log_dir: Path,
        publish: Callable[[str, JobEvent], object],
        env: Mapping[str, str],
    ) -> None:
        """Take what jobs are run by, read from and noted in; there are slots for `width` chunks.

        `env` are variables for all commands.
        """
        self._env = env
        self._executor = executor
        self._repository = repository
        self._ledger = ledger
        self._table = table
        self._slots = slots
        self._width = width
        self._log_dir = log_dir
        self._publish = publish
        # They run here, wherever the slots are, and each may use all processors.
        self._merges = anyio.CapacityLimiter(min(width, len(os.sched_getaffinity(0))))

    def activate(self, job: FarmJob) -> Callable[[], Coroutine[Any, Any, None]]:
        """Have a job take part from now on; return what runs it to its end."""
        active = job.active = ActiveJob(
            job, self._table, self._ledger, self._publish, partial(self._slots.place_of, job.lane)
        )
        job.lane.is_open = True
        job.lane.most = job.row.max_running
        return partial(active.run, partial(self._run, job, active))

    async def _run(self, job: FarmJob, active: ActiveJob) -> None:
        # What was noted of its chunks has to be there.
        await self._ledger.flush(job.row.id)
        spec, rows, changed = await self._load(job)
        rows = self._take_back(job, spec, rows, changed)
        done = {row.chunk_id for row in rows if row.state == "completed"}
        # Only those are run again that are asked for.
        given_up = {row.chunk_id: row for row in rows if row.state in ("failed", "skipped", "cancelled")}
        active.expect([chunk for chunk in spec.chunks if chunk.id not in given_up], rows)
        options = self._options(job, active, rows, done | given_up.keys(), merges=not given_up)
        active.failure_limit = options.failure_limit
        share = Share(
            slots=self._slots,
            lane=job.lane,
            attempts={row.chunk_id: row.attempts for row in rows if row.attempts},
            uncounted={row.chunk_id: row.lost for row in rows if row.lost},
            in_order=partial(in_order, order=job.settings.chunk_order),
            env=self._env,
            on_lost=active.lost,
            merging=self._turn_to_merge,
        )
        await self._executor.execute_with(share, spec, options)
        if given_up:
            raise _not_complete(list(given_up.values()))

    @asynccontextmanager
    async def _turn_to_merge(self) -> AsyncIterator[None]:
        async with self._merges:
            # As long as nobody could know afterwards that it has to begin, it does not.
            await self._ledger.flush()
            yield

    async def _load(self, job: FarmJob) -> _Stored:
        while True:
            try:
                return await anyio.to_thread.run_sync(self._read, job)
            except RepositoryUnavailableError:
                await anyio.sleep(_PAUSE)

    def _read(self, job: FarmJob) -> _Stored:
        spec = JobSpec.parse(self._repository.spec(job.row.id))
        rows = self._repository.chunks(job.row.id)
        # What was marked as done by hand is so whatever its files are.
        done = {row.chunk_id for row in rows if row.state == "completed" and row.outputs != MARKED_DONE}
        folder = Path(job.row.folder or ".")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TailraceError(f"its folder {folder} cannot be made: {error.strerror}") from error
        return _Stored(spec, rows, changed_outputs(spec, done, folder) if done else {})

    def _take_back(
        self, job: FarmJob, spec: JobSpec, rows: Sequence[ChunkRow], changed: dict[int, str]
    ) -> Sequence[ChunkRow]:
        """Have completed chunks whose files are no longer what they were run again, and say why."""
        if not changed:
            return rows
        frames = sum(chunk.frame_count for chunk in spec.chunks if chunk.id in changed)
        rows = [_as_pending(row) if row.chunk_id in changed else row for row in rows]
        for row in rows:
            if (reason := changed.get(row.chunk_id)) is not None:
                fields: ChunkFields = {"error": reason, "lost": row.lost}
                self._ledger.chunk(job.row.id, row.chunk_id, "pending", fields, {"error": reason})
        self._table.change(
            job,
            {
                "completed_chunks": job.row.completed_chunks - len(changed),
                "finished_frames": job.row.finished_frames - frames,
            },
        )
        return rows

    def _options(
        self, job: FarmJob, active: ActiveJob, rows: Sequence[ChunkRow], not_run: set[int], *, merges: bool
    ) -> JobExecutionOptions:
        row, settings = job.row, job.settings
        merges = merges and settings.merge
        is_stitched = merges and settings.output_file is not None
        audio = None if settings.audio is None else Path(row.folder or ".", settings.audio)
        again = {one.chunk_id: one.frames_again for one in rows if one.frames_again and one.chunk_id not in not_run}
        meta: dict[str, object] = {"job_id": row.id}
        if settings.job_def_url is not None:
            meta["job_def_url"] = settings.job_def_url
        return settings.to_options(
            concurrency=min(self._width, row.max_running or self._width),
            job_dir=row.folder,
            meta=meta,
            log_dir=self._log_dir / row.id,
            completed_chunk_ids=not_run,
            chunk_frames=again,
            merge=merges,
            merge_timeout=settings.merge_timeout if merges else None,
            stitcher=FfmpegStitcher(audio=audio) if is_stitched else None,
            output_file=settings.output_file if is_stitched else None,
            observers=(active.on_event,),
        )


def _as_pending(row: ChunkRow) -> ChunkRow:
    # What was tried takes no retry of what is to be done anew.
    return row._replace(state="pending", lost=row.attempts)


def _not_complete(rows: Sequence[ChunkRow]) -> TailraceError:
    failed = [row for row in rows if row.state == "failed"] or rows
    first = failed[0]
    more = f" (and {len(rows) - 1} more are not completed)" if len(rows) > 1 else ""
    return TailraceError((first.error or f"chunk {first.chunk_id} is {first.state}") + more)
