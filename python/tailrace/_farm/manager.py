"""Many jobs, which share slots, outlive the process and are told to whoever wants to know."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from .._checks import check_type
from .._command.adapter import WorkerAdapter
from .._command.job import StreamName
from .._spec.model import JobSpec
from .arguments import (
    check_chunk_ids,
    check_moment,
    check_part,
    check_priority,
    check_settings,
    check_states,
    check_words,
)
from .chunk_changes import mark_done, retry
from .chunk_log import ChunkLog
from .chunk_rows import read_chunks, with_progress
from .farm_run import FarmRun
from .job_changes import edit, resume
from .ledger import events_of
from .listeners import Listener
from .log_reader import LogReader
from .new_job import add_job, changed_fields
from .nodes import Node, NodeStatus
from .repository.changes import ChunksChanged, JobFields
from .repository.job_repository import JobRepository
from .repository.rows import CHUNK_STATES, JOB_STATES, ChunkStateName, ChunkStates, JobStateName
from .retention import Retention
from .settings import JobSettings
from .states import check_idle
from .status import ChunkStatus, FarmEvent, JobStatus

_DEFAULTS = JobSettings()


class JobManager:
    """Runs many jobs, which share slots and what there is beside them, and keeps them in a repository.

    ```python
    async with JobManager(LocalWorkerAdapter(), repository="farm.db") as manager:
        job_id = await manager.submit(JobSpec.load("job.json"), JobSettings(retries=2))
        print((await manager.wait(job_id)).state)
    ```

    What a method has returned is durable. When the process ends, in whatever way, a new manager of the same repository
    goes on: what was finished is finished, and what ran is run again, which takes no retry. One manager at a time has a
    repository. All methods raise `JobNotFoundError` for an id that there is not, `JobStateError` where the state of the
    job does not allow what is asked for, and `RepositoryLostError` when another manager has taken the repository; that
    comes out of the block too, and ends all that runs.
    """

    def __init__(
        self,
        adapter: WorkerAdapter | None = None,
        repository: str | os.PathLike[str] | JobRepository = "farm.db",
        *,
        slots: int | None = None,
        capacity: Mapping[str, float] | None = None,
        nodes: Mapping[str, WorkerAdapter | Node] | None = None,
        log_dir: str | os.PathLike[str] | None = None,
        retention: Retention | float | timedelta | None = None,
    ) -> None:
        """Take what runs the chunks, where the jobs are kept, and what the chunks of all jobs have together.

        The adapter is a `LocalWorkerAdapter` unless it says otherwise. `repository` is a file (SQLite), made if it is
        missing, a `postgresql://` URL, or a `JobRepository`. `slots` is how many chunks run at a time, one for each
        processor that this process may use unless it says otherwise; `capacity` is as in `JobExecutionOptions`. Each
        job has a folder of logs in `log_dir`, which is "logs" beside the repository unless it says otherwise.

        Several machines are `nodes` by their names, each an adapter, or a `Node` that also says how many slots it has
        and what else; `capacity` is what all of them have together then, such as licences.

        With `retention`, a time in seconds, what ended or happened longer ago is forgotten: jobs with their logs, and
        events. A `Retention` limits the size of logs too. A job that another one waits for stays, and so does what was
        rendered.

        Entering the block raises `RepositoryLockedError` if another manager has the repository, `RepositoryError` if
        it cannot be used.
        """
        self._farm = FarmRun(
            adapter,
            repository,
            slots=slots,
            capacity=capacity,
            nodes=nodes,
            log_dir=log_dir,
            retention=Retention.of(retention),
        )

    async def __aenter__(self) -> Self:
        if self._farm.is_open:
            raise RuntimeError("the manager is open already: make another one, over a repository of its own")
        block = self._farm.opened()
        await block.__aenter__()
        self._block = block
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """End what runs, which is pending then, and let others have the repository."""
        return await self._block.__aexit__(kind, error, traceback)

    @property
    def _run(self) -> FarmRun:
        if not self._farm.is_open:
            raise RuntimeError("the manager is not open: write `async with JobManager(...) as manager:` around this")
        return self._farm

    async def submit(
        self,
        spec: JobSpec,
        settings: JobSettings = _DEFAULTS,
        *,
        folder: str | os.PathLike[str] | None = None,
        name: str | None = None,
        owner: str | None = None,
        tags: Collection[str] = (),
        comment: str = "",
        priority: int = 0,
        after: Collection[str] = (),
        not_before: float | None = None,
    ) -> str:
        """Add a job and return its id, once it is durable.

        Its commands run in `folder`, or in that of the file that the specification came from, or in one of its own
        beside the repository. It begins when all jobs in `after` are completed, and not before the time `not_before`
        (seconds since the epoch). Of two jobs the chunks of that with the higher `priority` come first.

        Raises `SpecError` for what can never start, `JobStateError` if a job that has not ended writes the same files
        and is not among those that it comes after, `TypeError` or `ValueError` for arguments that cannot be used.
        """
        check_type("spec", spec, JobSpec, "a JobSpec, which JobSpec.load(...) reads")
        check_settings(settings)
        check_words(tags=tags, after=after, name=name, owner=owner, comment=comment)
        check_priority(priority)
        check_moment(not_before)
        asked: JobFields = {
            **changed_fields(None, spec.id if name is None else name, tags, comment),
            "owner": owner,
            "priority": priority,
            "not_before": not_before,
            "after": tuple(after),
        }
        return await add_job(self._run, asked, spec, settings, folder)

    async def get(self, job_id: str) -> JobStatus:
        """Return the job as it is."""
        return self._run.status(await self._run.seen(job_id))

    async def list(
        self, states: Collection[JobStateName] | None = None, limit: int = 100, before: str | None = None
    ) -> Sequence[JobStatus]:
        """Return jobs, the newest first: those in some of the states, those that are older than the job `before`."""
        check_states(states, JOB_STATES)
        run = self._run
        place = None if before is None else (await run.seen(before)).place
        rows = await run.look(partial(run.repository.jobs, states, limit=limit, before=place))
        return [run.status(row) for row in rows]

    async def chunks(
        self,
        job_id: str,
        states: Collection[ChunkStateName] | None = None,
        *,
        chunk_ids: Collection[int] | None = None,
        after: int | None = None,
        limit: int | None = None,
    ) -> Sequence[ChunkStatus]:
        """Return the chunks of the job in their order, or those in some of the states, or with some of the ids.

        `after` leaves out the chunk of that id and all before it, `limit` what comes after so many. Raises
        `JobNotFoundError` too if there is no chunk `after`, `ValueError` for more than 1000 `chunk_ids`.
        """
        check_states(states, CHUNK_STATES)
        check_part(chunk_ids, after, limit)
        run = self._run
        row = await run.seen(job_id)
        # A hundred thousand of them would hold up the event loop.
        read = partial(read_chunks, run.repository, row, states, chunk_ids, after, limit)
        found = await run.look(read)
        job = run.table.get(job_id)
        return found if job is None or job.active is None else with_progress(found, job.active)

    async def chunk_states(self, job_id: str) -> ChunkStates:
        """Return the states of all chunks of the job, as they were after one event, for which `changes` gives the rest.

        What changes together with its job is not told chunk by chunk: what had not begun of a job that is ended is
        cancelled, and pending again when that is retried.
        """
        await self._run.seen(job_id)
        return await self._run.look(partial(self._run.repository.chunk_states, job_id))

    async def spec_text(self, job_id: str) -> str:
        """Return the specification of the job as JSON: to read one of a hundred thousand chunks takes seconds."""
        run = self._run
        await run.seen(job_id)
        return await run.look(partial(run.spec_text, job_id))

    async def pause(self, job_id: str, *, now: bool = False) -> None:
        """Start no more chunks of the job, and let those that run end; with `now` they are ended, and pending again."""
        job = await self._run.changeable(job_id, "paused at once" if now else "paused")
        if job.row.state != "paused":
            self._run.table.note(job, "paused", {"error": None}, {})
        if (active := job.active) is not None and now:
            active.end("paused")
            await self._run.until(lambda: job.active is not active)
        elif active is not None:
            active.pause()
        await self._run.ledger.flush()

    async def resume(self, job_id: str) -> None:
        """Have a paused job go on, or one that waits for other jobs or for a time begin without that.

        Raises `JobStateError` too if one of those others writes the same files and has not ended.
        """
        await resume(self._run, job_id)

    async def cancel(self, job_id: str) -> None:
        """End the job, and return when nothing of it runs any more. What is finished of it stays."""
        job = await self._run.changeable(job_id, "cancelled")
        if (active := job.active) is not None:
            active.end("cancelled")
            await self._run.until(lambda: job.active is not active)
        else:
            self._run.ledger.note(ChunksChanged(job_id, ("pending",), {"state": "cancelled"}))
            self._run.table.note(job, "cancelled", {"finished_at": time.time(), "error": None}, {})
        await self._run.ledger.flush()

    async def set_priority(self, job_id: str, priority: int) -> None:
        """Change which chunks come first: those of the job with the higher priority."""
        check_priority(priority)
        self._run.table.change(await self._run.changeable(job_id, "changed in priority"), {"priority": priority})
        self._run.slots.changed()
        await self._run.ledger.flush()

    async def edit(
        self,
        job_id: str,
        *,
        settings: JobSettings | None = None,
        name: str | None = None,
        tags: Collection[str] | None = None,
        comment: str | None = None,
    ) -> None:
        """Change a job that has not begun, or is paused and of which nothing runs; None leaves what it is about."""
        check_words(tags=tags, name=name, comment=comment)
        if settings is not None:
            check_settings(settings)
        await edit(self._run, job_id, settings, changed_fields(settings, name, tags, comment))

    async def retry(self, job_id: str, chunk_ids: Collection[int] | None = None, *, done: bool = False) -> None:
        """Run chunks of a job that has ended again: those that failed, were skipped or cancelled, or some of them.

        With `done` chunks that are named are run again though they are completed. None may depend on one that is
        neither completed nor run again. What was tried before takes none of their retries. Where some are left that are
        not run again, the job ends as failed, and is not merged.
        """
        if chunk_ids is not None:
            check_chunk_ids(chunk_ids)
        await retry(self._run, job_id, chunk_ids, done=done)

    async def mark_done(self, job_id: str, chunk_ids: Collection[int]) -> None:
        """Have chunks count as completed, whatever their files are, of a job of which nothing runs."""
        check_chunk_ids(chunk_ids)
        await mark_done(self._run, job_id, chunk_ids)

    async def delete(self, job_id: str) -> None:
        """Forget a job of which nothing runs: its rows, events and logs, never what it rendered."""
        run = self._run
        await run.until_ended(job_id)
        async with run.one_at_a_time:
            row, job = await run.row(job_id), run.table.get(job_id)
            check_idle(row, "deleted", is_active=job is not None and job.active is not None)
            run.table.delete(job_id)
            logs_are_gone = run.forget_logs(job_id)
        await run.ledger.flush()
        await logs_are_gone.wait()

    async def wait(self, job_id: str) -> JobStatus:
        """Return the job once it has ended.

        One that comes after a job which failed does not end before somebody has seen to that; its `error` says so.
        """
        run = self._run
        await run.row(job_id)
        await run.until(lambda: job_id not in run.table)
        return await self.get(job_id)

    async def check(self) -> Sequence[str]:
        """Return what is wrong with the repository, a line for each: what the database finds, and what contradicts."""
        return await self._run.read(self._run.repository.check)

    async def backup(self, path: str | os.PathLike[str]) -> None:
        """Write a copy of the repository as it is now into a file; the farm goes on meanwhile.

        A manager of the copy goes on from there. Raises `RepositoryError` if it cannot be written, and for PostgreSQL,
        whose own programs do that.
        """
        await self._run.read(partial(self._run.repository.backup, Path(path)))

    async def find(self, beginning: str, limit: int = 10) -> Sequence[str]:
        """Return the ids of jobs that begin so, the first of them in their order as texts."""
        run = self._run
        return await run.look(partial(run.repository.find, beginning, limit=limit))

    async def list_nodes(self) -> Sequence[NodeStatus]:
        """Return the nodes as they are; one without a name is the only one."""
        return self._run.nodes.list()

    async def drain_node(self, name: str) -> None:
        """Start nothing more on a node, and let what runs there end. Raises `KeyError` if there is none so called."""
        self._run.nodes.open(name, is_open=False)

    async def resume_node(self, name: str) -> None:
        """Have a node take part again."""
        self._run.nodes.open(name, is_open=True)
        self._run.slots.changed()

    @property
    def trouble(self) -> str | None:
        """Why nothing can be written to the repository now, and nothing new is started; None if it can be."""
        return self._run.trouble

    @property
    def last_event(self) -> int:
        """The id of the last change of a state; what happens next has a higher one."""
        return self._run.ledger.last_durable

    @asynccontextmanager
    async def events(self, after: int | None = None) -> AsyncIterator[AsyncIterator[FarmEvent]]:
        """Iterate over what happens, inside the block; with `after`, also over what has changed since that event.

        The iteration ends when the manager is closed. No change of a state is left out, however slow it is, but what is
        not durable may be. Where changes are no longer kept, an event that is a `gap` says so.
        """
        run = self._run
        begin = run.ledger.last_durable if after is None else after
        listener = Listener(run.repository, begin, is_behind=after is not None)
        leave = run.listeners.add(listener)
        try:
            yield listener
        finally:
            leave()

    async def changes(self, after: int, job_id: str | None = None, limit: int = 1000) -> Sequence[FarmEvent]:
        """Return what has changed since the event `after`, of one job if it is named, as far as it is kept.

        Where changes are no longer kept, a `gap` comes first. Fewer than `limit` beside that are the last ones.
        """
        run = self._run
        page = await run.look(partial(run.repository.events, after, limit=limit, job_id=job_id))
        return list(events_of(page, after))

    async def log_folder(self, job_id: str) -> Path:
        """Return the folder of the job's logs, of all its runs; it is made when the job begins."""
        await self._run.seen(job_id)
        return self._run.log_dir / job_id

    def output(
        self,
        job_id: str,
        chunk_id: int,
        stream: StreamName = "stderr",
        attempt: int | None = None,
        offset: int = 0,
        follow: bool = True,
    ) -> LogReader:
        """Iterate over what an attempt at a chunk, or the last one, wrote to a stream, from byte `offset` of it on.

        With `follow` also over what it writes from now on, until it ends, and one that has not begun is waited for.
        Nothing comes of an attempt that there was not.
        """
        log = ChunkLog(self._run, job_id, chunk_id, stream, attempt=attempt, follows=follow)
        return LogReader(log.find, log.is_written, offset)
