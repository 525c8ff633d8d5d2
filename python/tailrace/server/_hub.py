"""What happens in a farm, written once for all who listen over HTTP.

Messages that come within a twentieth of a second go to a client in one write: at 2,000 events a second, one write each
for fifty clients would take half a processor.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import NamedTuple

import anyio
from anyio.abc import TaskStatus

from .._api.events import event_to_bytes
from .._api.sse import write_message
from .._events.types import ChunkOutput, MergeOutput
from .._farm.manager import JobManager
from .._farm.status import FarmEvent
from ._metrics import Metrics

_PAUSE = 0.05
"""How long messages are collected, in seconds."""
_CHANGES_PAUSE = 0.005
"""The same once a change of a state is among them: a busy farm gathers those before it writes them to its database, and
then tells them together."""
_LARGEST = 2**18
"""How much is collected at most, in bytes: a client that takes nothing has all of it in its own queue."""
_ROOM = 8 * 2**20
"""How much is kept for clients that are slower than the farm, in bytes; they share it."""
_PAGE = 1000


class _Entry(NamedTuple):
    job_id: str
    is_output: bool
    message: bytes


class _Batch:
    """What came together."""

    def __init__(self, entries: list[_Entry], last: int) -> None:
        self.last = last
        """The last change of a state until here."""
        self.size = sum(len(entry.message) for entry in entries)
        self._entries = entries
        self._without_output: bytes | None = None

    def select(self, job_id: str | None, *, output: bool) -> bytes:
        """Return what a client wants of it; most want the same, which is put together once."""
        if job_id is None and not output:
            if self._without_output is None:
                self._without_output = b"".join(entry.message for entry in self._entries if not entry.is_output)
            return self._without_output
        return b"".join(
            entry.message
            for entry in self._entries
            if job_id in (None, entry.job_id) and (output or not entry.is_output)
        )


class Hub:
    """Listens to a farm, and lets any number of clients read what it wrote down."""

    def __init__(self, manager: JobManager, metrics: Metrics) -> None:
        """Take the farm, and what counts."""
        self._manager = manager
        self._metrics = metrics
        self._last = 0
        self._pending: list[_Entry] = []
        self._pending_size = 0
        self._batches: deque[_Batch] = deque()
        self._first = 0
        """The number of the oldest batch that is kept."""
        self._size = 0
        self._want_output = 0
        """How many clients do."""
        self._has_news = anyio.Event()
        self._has_changes = anyio.Event()
        self._came = anyio.Event()
        self._has_ended = False

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Write down what happens until the farm is closed. Raises what ended it."""
        async with self._manager.events() as events:
            self._last = self._manager.last_event
            task_status.started()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._collect)
                async for event in events:
                    self._take(event)
                tasks.cancel_scope.cancel()
        self.end()

    def end(self) -> None:
        """Have all clients end."""
        self._has_ended = True
        self._came.set()

    async def messages(self, after: int | None, job_id: str | None, *, output: bool) -> AsyncIterator[bytes]:
        """Yield messages, several at a time, after the event `after` or from now on; it ends with the farm.

        All changes of states are among them. Where anything else was lost, since the client is slow, or a change since
        it is no longer kept, there is a gap. The first one is there at once, and tells from where on.
        """
        self._write_down()
        position, last = self._end, self._last
        sent = last if after is None else after
        yield write_message(id=min(sent, last))
        if sent > last:
            # It speaks of another repository.
            sent = last
            yield _gap(last)
        self._want_output += output
        try:
            while not self._has_ended:
                if sent < last:
                    async for piece in self._changes(sent, last, job_id):
                        yield piece
                    sent = last
                if position < self._first:
                    self._write_down()
                    position, last = self._end, self._last
                    yield _gap(sent)
                elif position < self._end:
                    batch = self._batches[position - self._first]
                    position += 1
                    sent = last = batch.last
                    if data := batch.select(job_id, output=output):
                        yield data
                else:
                    await self._came.wait()
        finally:
            self._want_output -= output

    @property
    def _end(self) -> int:
        return self._first + len(self._batches)

    def _take(self, event: FarmEvent) -> None:
        self._metrics.count(event)
        is_output = isinstance(event.event, ChunkOutput | MergeOutput)
        if is_output and not self._want_output:
            return
        is_kept = event.is_durable
        if is_kept:
            self._last = max(self._last, event.id)
            self._has_changes.set()
        message = write_message(event_to_bytes(event), id=event.id if is_kept else None)
        self._pending.append(_Entry(event.job_id, is_output, message))
        self._pending_size += len(message)
        self._has_news.set()
        if self._pending_size >= _LARGEST:
            self._write_down()

    async def _collect(self) -> None:
        while True:
            await self._has_news.wait()
            with anyio.move_on_after(_PAUSE):
                await self._has_changes.wait()
                await anyio.sleep(_CHANGES_PAUSE)
            self._write_down()

    def _write_down(self) -> None:
        if not self._pending:
            return
        self._has_news, self._has_changes = anyio.Event(), anyio.Event()
        batch = _Batch(self._pending, self._last)
        self._pending, self._pending_size = [], 0
        self._batches.append(batch)
        self._size += batch.size
        while self._size > _ROOM and len(self._batches) > 1:
            self._size -= self._batches.popleft().size
            self._first += 1
        came, self._came = self._came, anyio.Event()
        came.set()

    async def _changes(self, after: int, last: int, job_id: str | None) -> AsyncIterator[bytes]:
        """Yield the changes that came before what is written down here."""
        while after < last:
            page = await self._manager.changes(after, job_id, _PAGE)
            if data := b"".join(_known(page, last)):
                yield data
            if len(page) < _PAGE:
                return
            after = page[-1].id


def _known(page: Sequence[FarmEvent], last: int) -> Iterator[bytes]:
    return (write_message(event_to_bytes(event), id=event.id) for event in page if event.gap or event.id <= last)


def _gap(number: int) -> bytes:
    gap = FarmEvent(id=number, job_id="", time=time.time(), event=None, gap=True)
    return write_message(event_to_bytes(gap), id=number)
