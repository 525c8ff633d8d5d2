"""What the farm has changed, on its way to the repository and to those who listen."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import anyio

from .._errors import RepositoryError
from .repository.changes import (
    Change,
    ChunkChanged,
    ChunkFields,
    EventAdded,
    JobAdded,
    JobChanged,
    JobDeleted,
    JobFields,
)
from .repository.rows import ChunkStateName, EventPage, EventRow, JobStateName
from .repository.writer import Writer, another_like
from .status import FarmEvent, StateChange

_GATHERED = 0.05
"""How long changes wait for others that are written with them, in seconds, where nobody waits for them."""


class Ledger:
    """Takes changes at once, in order, and has what has come together written in one transaction after the other.

    A change is told to those who listen when it is durable, and not before.
    """

    def __init__(self, writer: Writer, last_event: int, publish: Callable[[FarmEvent], object]) -> None:
        """Take what writes, the id of the last event that was ever written, and who is told of those to come."""
        self.last_durable = last_event
        """The id of the last change that is durable."""
        self.is_stuck = False
        """Whether nothing can be written now, as far as is known."""
        self._writer = writer
        self._last_event = last_event
        self._publish = publish
        self._changes: list[Change] = []
        self._being_written: Sequence[Change] = ()
        self._events: list[FarmEvent] = []
        self._noted = anyio.Event()
        self._asked = anyio.Event()
        """Set when somebody waits for changes."""
        self._askers = 0
        self._count = 0
        self._written = 0
        self._progressed = anyio.Event()
        self._error: RepositoryError | None = None
        self._is_closed = False

    def note(self, *changes: Change) -> None:
        """Have changes written that nobody is told of."""
        self._changes.extend(changes)
        self._count += len(changes)
        self._noted.set()

    def added(self, change: JobAdded) -> None:
        """Have a new job written and told."""
        self._change(change.job.id, None, change.job.state, change, {})

    def deleted(self, job_id: str) -> None:
        """Have it written and told that a job is gone, with its events until now."""
        self._change(job_id, None, "deleted", JobDeleted(job_id), {})

    def job(self, job_id: str, state: JobStateName, fields: JobFields, details: Mapping[str, Any]) -> None:
        """Have another state of a job written, with what changes with it, and told."""
        self._change(job_id, None, state, JobChanged(job_id, {"state": state, **fields}), details)

    def chunk(
        self, job_id: str, chunk_id: int, state: ChunkStateName, fields: ChunkFields, details: Mapping[str, Any]
    ) -> None:
        """Have another state of a chunk written, with what changes with it, and told."""
        self._change(job_id, chunk_id, state, ChunkChanged(job_id, chunk_id, {"state": state, **fields}), details)

    @property
    def unwritten(self) -> int:
        """How many changes are not durable."""
        return self._count - self._written

    async def flush(self, job_id: str | None = None) -> None:
        """Return when everything is durable that was noted before, or what was of a job; it is waited for without end.

        Raises `RepositoryLostError` if another manager has the repository, `RepositoryError` if this one was closed
        before it could be written.
        """
        wanted = self._count if job_id is None else self._last_of(job_id)
        while self._written < wanted:
            await self._progress()

    async def settle(self) -> None:
        """Return when everything is durable that was noted before, or nothing can be written now; raises the same."""
        wanted = self._count
        while self._written < wanted and not self.is_stuck:
            await self._progress()

    def stuck(self, *, is_so: bool) -> None:
        """Note whether nothing can be written now."""
        self.is_stuck = is_so
        self._wake()

    async def confirm(self) -> None:
        """Return once the repository is known to be ours still; raises what `flush` does."""
        # Nothing is of no job, but it is written as all else is.
        self.note(JobChanged("", {}))
        await self.flush()

    async def run(self) -> None:
        """Write until `close` was called and all is written. Raises `RepositoryError` when it cannot go on."""
        try:
            while self._changes or not self._is_closed:
                if self._changes:
                    await self._gather()
                    await self._write()
                else:
                    await self._noted.wait()
                    self._noted = anyio.Event()
        except RepositoryError as error:
            self.fail(error)
            raise

    def close(self) -> None:
        """Have `run` end when it has written what there is."""
        self._is_closed = True
        self._noted.set()
        self._asked.set()

    def fail(self, error: RepositoryError) -> None:
        """Have all who wait for their changes get that error."""
        self._error = self._error or error
        self._wake()

    async def _gather(self) -> None:
        """Let more come together, unless somebody waits for what there is."""
        if not self._askers and not self._is_closed:
            self._asked = anyio.Event()
            with anyio.move_on_after(_GATHERED):
                await self._asked.wait()

    async def _progress(self) -> None:
        if self._error is not None:
            raise another_like(self._error)
        self._askers += 1
        self._asked.set()
        try:
            await self._progressed.wait()
        finally:
            self._askers -= 1

    async def _write(self) -> None:
        changes, self._changes = self._changes, []
        events, self._events = self._events, []
        self._being_written = changes
        await self._writer.submit(changes)
        self._being_written = ()
        self._written += len(changes)
        if events:
            self.last_durable = events[-1].id
        for event in events:
            self._publish(event)
        self._wake()

    def _last_of(self, job_id: str) -> int:
        """Return how many changes are noted up to the last one of a job that is not known to be written."""
        left = [*self._being_written, *self._changes]
        after = next((place for place, change in enumerate(reversed(left)) if _job_of(change) == job_id), len(left))
        return self._count - after

    def _wake(self) -> None:
        progressed, self._progressed = self._progressed, anyio.Event()
        progressed.set()

    def _change(
        self,
        job_id: str,
        chunk_id: int | None,
        state: JobStateName | ChunkStateName | Literal["deleted"],
        change: Change,
        details: Mapping[str, Any],
    ) -> None:
        self._last_event += 1
        event = FarmEvent(
            id=self._last_event,
            job_id=job_id,
            time=time.time(),
            event=StateChange(chunk_id=chunk_id, state=state, details=details),
        )
        self._events.append(event)
        self.note(change, _to_change(event.id, job_id, event.time, chunk_id, {"state": state, **details}))


def _job_of(change: Change) -> str | None:
    return change.job.id if isinstance(change, JobAdded) else change.job_id


def _to_change(number: int, job_id: str, now: float, chunk_id: int | None, told: Mapping[str, Any]) -> EventAdded:
    if chunk_id is None:
        return EventAdded(number, job_id, now, "job", json.dumps(told))
    return EventAdded(number, job_id, now, "chunk", json.dumps({"chunk": chunk_id, **told}))


def events_of(page: EventPage, after: int) -> Iterator[FarmEvent]:
    """Yield what was written as this page of events since the event `after`, first a gap where some are gone."""
    if page.pruned > after:
        yield FarmEvent(id=page.pruned, job_id="", time=0.0, event=None, gap=True)
    yield from map(_event_of, page.events)


def _event_of(row: EventRow) -> FarmEvent:
    """Return the event that was written as this row."""
    details = json.loads(row.payload)
    change = StateChange(chunk_id=details.pop("chunk", None), state=details.pop("state"), details=details)
    return FarmEvent(id=row.id, job_id=row.job_id or "", time=row.time, event=change)
