"""Those who are told what happens in a farm."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Self

import anyio
import anyio.to_thread

from .._errors import RepositoryError
from .ledger import events_of
from .repository.job_repository import JobRepository
from .status import FarmEvent

_ROOM = 1000
"""How many events wait for a listener; of those that are durable, the others are in the repository."""
_PAGE = 1000


class Listener:
    """Iterates over events: those that are durable in their order and without gaps, of the others those it takes."""

    def __init__(self, repository: JobRepository, last: int, *, is_behind: bool) -> None:
        """Begin after the event `last`; `is_behind` says whether there are later ones already."""
        self._repository = repository
        self._last = last
        self._is_behind = is_behind
        """Whether durable events have to be read from the repository before those that wait here."""
        self._waiting: deque[FarmEvent] = deque()
        self._read: deque[FarmEvent] = deque()
        self._came = anyio.Event()
        self._has_ended = False
        self._error: Exception | None = None

    def push(self, event: FarmEvent, *, is_durable: bool) -> None:
        """Have an event taken, when it is its turn."""
        if self._is_behind or len(self._waiting) >= _ROOM:
            if not is_durable:
                return
            # From here on it is read; what is not durable would only be stale by then.
            self._is_behind = True
            self._waiting.clear()
        else:
            self._waiting.append(event)
        self._came.set()

    def end(self, error: Exception | None) -> None:
        """Have the iteration end after the last event that waits here; it raises `error` then."""
        self._has_ended, self._error = True, error
        self._came.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> FarmEvent:
        while True:
            if self._read:
                event = self._read.popleft()
            elif self._is_behind and not self._has_ended:
                await self._catch_up()
                continue
            elif self._waiting:
                event = self._waiting.popleft()
                if event.id <= self._last and event.is_durable:
                    # It was read.
                    continue
            elif self._has_ended:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            else:
                self._came = anyio.Event()
                await self._came.wait()
                continue
            self._last = max(self._last, event.id)
            return event

    async def _catch_up(self) -> None:
        # What comes while it reads waits.
        self._is_behind = False
        try:
            page = await anyio.to_thread.run_sync(partial(self._repository.events, self._last, limit=_PAGE))
        except BaseException as error:
            self._is_behind = True
            if self._has_ended and isinstance(error, RepositoryError):
                # It was closed meanwhile.
                return
            raise
        self._read.extend(events_of(page, self._last))
        if len(page.events) == _PAGE:
            self._is_behind = True
            self._waiting.clear()


class Listeners:
    """All of a manager's."""

    def __init__(self) -> None:
        self._all: set[Listener] = set()

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._all)

    def add(self, listener: Listener) -> Callable[[], object]:
        """Have one told of what happens until what is returned is called."""
        self._all.add(listener)
        return partial(self._all.discard, listener)

    def publish(self, event: FarmEvent) -> None:
        """Tell all of them."""
        is_durable = event.is_durable
        for listener in self._all:
            listener.push(event, is_durable=is_durable)

    def end(self, error: Exception | None) -> None:
        """Have all of them end, with that error if there is one."""
        for listener in self._all:
            listener.end(error)
