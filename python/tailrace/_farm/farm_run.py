"""A farm while it is open: its jobs, what runs them, and what writes down what becomes of them."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread

from .._command.adapter import WorkerAdapter, open_adapters
from .._errors import JobNotFoundError, RepositoryError, RepositoryUnavailableError
from .._events.types import JobEvent
from .._job.executor import Executor
from .._local.adapter import LocalWorkerAdapter
from .._spec.model import JobSpec
from .activation import next_time, to_activate
from .end_commands import EndCommands
from .farm_job import FarmJob
from .forgetting import Forgetting
from .former_commands import VARIABLE, await_end_of, mark_of
from .job_runner import JobRunner
from .job_table import EndedState, JobTable
from .ledger import Ledger
from .listeners import Listeners
from .nodes import FarmNodes, Node
from .output_claims import OutputClaims
from .recovery import ended_of, left_jobs
from .repository.job_repository import JobRepository
from .repository.opening import open_repository
from .repository.owner import this_process
from .repository.rows import JobRow
from .repository.writer import Writer, another_like
from .retention import Retention
from .standstill import Standstill
from .states import check_allowed
from .status import FarmEvent, JobStatus

_T = TypeVar("_T")
_log = logging.getLogger("tailrace")

_PATIENCE = 10.0
"""How long what is left to be written is tried at the end, in seconds."""
_PAUSE = 0.1
_LONGEST_WAIT = 60.0
"""After which the clock is looked at again, which may be set, in seconds."""


class FarmRun:
    """What the methods of a `JobManager` work on."""

    ledger: Ledger
    table: JobTable
    claims: OutputClaims

    def __init__(
        self,
        adapter: WorkerAdapter | None,
        repository: str | os.PathLike[str] | JobRepository,
        *,
        slots: int | None,
        capacity: Mapping[str, float] | None,
        nodes: Mapping[str, WorkerAdapter | Node] | None,
        log_dir: str | os.PathLike[str] | None,
        retention: Retention,
    ) -> None:
        """See `JobManager`."""
        self._retention = retention
        base = Path.cwd()
        self.repository: JobRepository
        if isinstance(repository, str | os.PathLike):
            self.repository = open_repository(repository)
            if "://" not in os.fspath(repository):
                base = Path(repository).absolute().parent
        else:
            self.repository = repository
        self.log_dir = base / "logs" if log_dir is None else Path(log_dir).absolute()
        self.job_folders = base / "jobs"
        self.is_open = False
        self.error: Exception | None = None
        """Why it cannot go on."""
        self.trouble: str | None = None
        """Why nothing can be written now."""
        self.listeners = Listeners()
        self.one_at_a_time = anyio.Lock()
        """Held from when it is looked whether a job may be added until it is."""
        if nodes is None:
            only = Node(adapter=adapter or LocalWorkerAdapter(), slots=slots, capacity=capacity or {})
            self.nodes = FarmNodes({"": only}, None)
        elif adapter is not None or slots is not None:
            raise ValueError("each node has an adapter and slots of its own: give nodes alone")
        else:
            named = {name: one if isinstance(one, Node) else Node(adapter=one) for name, one in nodes.items()}
            self.nodes = FarmNodes(named, capacity)
        self._adapter = self.nodes.adapter
        self._executor = Executor(self._adapter, make_local=LocalWorkerAdapter)
        self._standstill = Standstill()
        self.slots = self.nodes.make_slots(
            on_taken=lambda lane: self.table.took_turn(lane),
            on_idle=lambda: self.table.wake(),
            may_start=self._standstill.is_over,
        )
        self._width = self.nodes.width
        self._env = {VARIABLE: mark_of(this_process())}

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Have it open for the block; raises what ended it, if anything did, in place of what came out of the block."""
        found = await anyio.to_thread.run_sync(self.repository.open, this_process())
        self._last_place = found.last_place
        writer: Writer | None = None
        self._is_clean = False
        try:
            if found.previous is not None:
                await anyio.to_thread.run_sync(await_end_of, found.previous)
            # Until something is begun here, there is nothing that the next one would have to wait for.
            self._is_clean = True
            async with Writer(self.repository, on_trouble=self._in_trouble, patience=_PATIENCE) as writer:
                self._writer = writer
                self.ledger = Ledger(writer, found.last_event, self.listeners.publish)
                local = self._adapter if isinstance(self._adapter, LocalWorkerAdapter) else LocalWorkerAdapter()
                self._end_commands = EndCommands(local, self._env, self.ledger)
                self.table = JobTable(self.ledger, on_end=self._end_commands.start)
                self.claims = OutputClaims(self.table, self.repository, self.read)
                self._runner = JobRunner(
                    self._executor,
                    self.repository,
                    self.ledger,
                    self.table,
                    self.slots,
                    width=self._width,
                    log_dir=self.log_dir,
                    publish=self._publish,
                    env=self._env,
                )
                await self._load()
                ends_due = await anyio.to_thread.run_sync(self.repository.ends_due)
                async with open_adapters([self._adapter]), self._running(ends_due):
                    yield
        finally:
            if writer is not None and writer.hangs:
                _log.error("the repository does not answer, and is left as it is")
            else:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(partial(self.repository.close, clean=self._is_clean))

    @asynccontextmanager
    async def _running(self, ends_due: Sequence[JobRow]) -> AsyncIterator[None]:
        raised: BaseException | None = None
        self._is_clean = False
        async with anyio.create_task_group() as services:
            self._is_written = anyio.Event()
            services.start_soon(self._write)
            try:
                async with self._end_commands.running(), anyio.create_task_group() as self._tasks:
                    for row in ends_due:
                        self._end_commands.start(row)
                    self._tasks.start_soon(self._activate)
                    self._tasks.start_soon(self._standstill.watch, self.ledger, self.slots.changed)
                    if self._retention != Retention():
                        parts = (self.repository, self.ledger, self.log_dir, self.one_at_a_time)
                        self._tasks.start_soon(Forgetting(self._retention, *parts).run)
                    self.is_open = True
                    try:
                        yield
                    except anyio.get_cancelled_exc_class():
                        raise
                    except BaseException as error:  # noqa: BLE001 (out of the group it would come in another)
                        raised = error
                        if isinstance(error, KeyboardInterrupt):
                            self._end_commands.give_up()
                    finally:
                        self.is_open = False
                        self._tasks.cancel_scope.cancel()
            finally:
                self.ledger.close()
                self._writer.hurry()
                with anyio.CancelScope(shield=True):
                    await self._is_written.wait()
                self._is_clean = not self.ledger.unwritten and self.error is None
                self.ledger.fail(RepositoryError("the manager was closed"))
                self.table.wake()
                self.listeners.end(self.error)
                services.cancel_scope.cancel()
                self._writing.cancel()
        if self.error is not None:
            raise self.error
        if raised is not None:
            raise raised

    def next_place(self) -> int:
        """Return the place of a new job in the order of creation."""
        self._last_place += 1
        return self._last_place

    async def row(self, job_id: str) -> JobRow:
        """Return what is known of a job, and durable. Raises `JobNotFoundError`."""
        while job_id in self.table:
            await self.ledger.flush()
            if (job := self.table.get(job_id)) is not None:
                return job.row
        return _found(await self.read(partial(self.repository.job, job_id)), job_id)

    async def seen(self, job_id: str) -> JobRow:
        """Return what is known of a job, and durable, as it was written last where nothing can be written now."""
        await self.ledger.settle()
        if not self.ledger.is_stuck:
            return await self.row(job_id)
        return _found(await self.look(partial(self.repository.job, job_id)), job_id)

    async def changeable(self, job_id: str, what: str) -> FarmJob:
        """Return a job that has not ended. Raises `JobStateError` if it may not be changed so."""
        while (job := self.table.get(job_id)) is None:
            check_allowed(await self.row(job_id), what)
        check_allowed(job.row, what)
        return job

    async def until_ended(self, job_id: str) -> None:
        """Return when what runs a job is gone, if it is being ended: it takes a moment to go when no chunk runs."""
        job = self.table.get(job_id)
        active = None if job is None else job.active
        if job is not None and active is not None and active.is_ending:
            await self.until(lambda: job.active is not active)

    async def read(self, function: Callable[[], _T]) -> _T:
        """Return what a method of the repository returns, once everything is written until now."""
        await self.ledger.flush()
        return await anyio.to_thread.run_sync(function, abandon_on_cancel=True)

    async def look(self, function: Callable[[], _T]) -> _T:
        """Do the same, without waiting for what cannot be written now."""
        await self.ledger.settle()
        return await anyio.to_thread.run_sync(function, abandon_on_cancel=True)

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Return when it is so."""
        while not is_so():
            if self.error is not None:
                raise another_like(self.error)
            if not self.is_open:
                raise RuntimeError("the manager was closed meanwhile")
            await self.table.changed.wait()

    async def until_begun(self, job_id: str, chunk_id: int, attempt: int) -> None:
        """Return when an attempt at a chunk may have begun, or its job has ended."""
        job = self.table.get(job_id)
        active = None if job is None else job.active
        while job is not None and self.table.get(job_id) is job and job.active is active and self.is_open:
            if active is not None and active.last_attempt(chunk_id) >= attempt:
                return
            # Each chunk that begins would wake all who wait for any.
            await anyio.sleep(_PAUSE)

    async def ended_before(self, row: JobRow) -> Mapping[str, EndedState]:
        """Return how those jobs ended that a job comes after; the others are in the table when it returns."""
        while row.after:
            ended = await self.read(partial(ended_of, self.repository, row.after))
            if all(other in ended or other in self.table for other in row.after):
                return ended
        return {}

    def forget_logs(self, job_id: str) -> anyio.Event:
        """Have the logs of a job removed once it is durable that it was deleted, whoever waits for what is returned."""
        is_over = anyio.Event()
        self._tasks.start_soon(self._forget_logs, job_id, is_over)
        return is_over

    async def _forget_logs(self, job_id: str, is_over: anyio.Event) -> None:
        try:
            # Whoever writes is told too.
            with suppress(RepositoryError):
                await self.ledger.flush()
                await anyio.to_thread.run_sync(partial(shutil.rmtree, self.log_dir / job_id, ignore_errors=True))
        finally:
            is_over.set()

    def status(self, row: JobRow) -> JobStatus:
        """Return what is told of a job."""
        job = self.table.get(row.id)
        if job is None:
            return JobStatus.of(row, None, partial(self._spec, row.id))
        if row.error is None:
            row = row._replace(error=self._waits_for(job))
        return JobStatus.of(row, job.active, partial(self._spec, row.id))

    def _waits_for(self, job: FarmJob) -> str | None:
        if job.row.state not in ("pending", "running"):
            return None
        if (awaited := self.table.awaited(job)) is not None:
            return f"it comes after job {awaited}, which is not completed yet"
        if not job.wants_more:
            return None
        if self.trouble is not None:
            return f"nothing new is started, for the repository cannot be written: {self.trouble}"
        if not self.nodes.is_any_open:
            return "no more is started on any node: `tailrace node list` says why, `node resume` ends it"
        return None

    def _spec(self, job_id: str) -> JobSpec:
        return JobSpec.parse(self.spec_text(job_id))

    def spec_text(self, job_id: str) -> str:
        """Return the specification of a job as JSON; blocks. Raises `JobNotFoundError`."""
        if not self.is_open:
            raise RuntimeError(f"the manager is closed: read the spec of job {job_id} inside its block")
        try:
            return self.repository.spec(job_id)
        except KeyError:
            raise JobNotFoundError(f"job {job_id} was deleted meanwhile", job_id) from None

    async def _load(self) -> None:
        """Take the jobs that an earlier manager has left: what ran is pending again, and that was no attempt."""
        for job, ended, running in await anyio.to_thread.run_sync(left_jobs, self.repository):
            self.table.add(job, ended)
            for chunk in running:
                self.ledger.chunk(job.row.id, chunk.chunk_id, "pending", {"lost": chunk.lost + 1}, {})
            if job.row.state in ("running", "merging"):
                self.table.note(job, "pending", {}, {})

    async def _write(self) -> None:
        with anyio.CancelScope(shield=True) as self._writing:
            try:
                await self.ledger.run()
            except RepositoryUnavailableError as error:
                # Which is waited for, but at the end.
                what = "changes could not be written before the manager was closed; what they say is done is done again"
                _log.error("%d %s: %s", self.ledger.unwritten, what, error)
            except Exception as error:  # noqa: BLE001 (out of the group it would come in another)
                self.error = error
                self._tasks.cancel_scope.cancel()
                self.table.wake()
            self._is_written.set()

    async def _activate(self) -> None:
        """Have jobs take part as long as it is open."""
        while True:
            changed = self.table.changed
            self.table.update_obstacles()
            if self.nodes.try_again():
                self.slots.changed()
            now = time.time()
            waiting = [job for job in self.table if self.table.is_ready(job, now)]
            for job in to_activate(waiting, self.table, slots=self._width, spare=self.slots.spare()):
                self._tasks.start_soon(self._runner.activate(job))
            with anyio.move_on_after(min(_LONGEST_WAIT, next_time(self.table, now) - now)):
                await changed.wait()

    def _publish(self, job_id: str, event: JobEvent) -> None:
        if self.listeners:
            self.listeners.publish(FarmEvent(id=self.ledger.last_durable, job_id=job_id, time=event.time, event=event))

    def _in_trouble(self, reason: str | None) -> None:
        self.trouble = reason
        self.ledger.stuck(is_so=reason is not None)
        if reason is None:
            _log.warning("the repository can be written again: the farm goes on")
            self.slots.go_on()
        else:
            _log.error("nothing new is started, for the repository cannot be written: %s; it is tried on", reason)
            self.slots.halt()


def _found(row: JobRow | None, job_id: str) -> JobRow:
    if row is None:
        raise JobNotFoundError(f"there is no job {job_id}", job_id)
    return row
