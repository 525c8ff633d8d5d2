"""Spreads a burst of starts, so that the output of what runs already need not wait for all of them."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque

import anyio.lowlevel

from .._concurrency.per_loop import PerLoop

_STARTS_IN_A_TURN = 8
"""How many commands are started before the event loop looks at anything else; each takes some 30 microseconds."""


async def turn_to_start() -> None:
    """Return when the caller may start a command, at once."""
    await _turns.get().wait()


class _Turns(ABC):
    @abstractmethod
    async def wait(self) -> None: ...


class _AsyncioTurns(_Turns):
    # Not with a semaphore: asyncio's leads back to the event loop once somebody had to wait, and to wait in line for
    # anyio's takes longer than to start a command.

    def __init__(self) -> None:
        self._left = _STARTS_IN_A_TURN
        self._line: deque[asyncio.Future[None]] = deque()

    async def wait(self) -> None:
        await anyio.lowlevel.checkpoint_if_cancelled()
        if self._left:
            self._take()
            return
        place = asyncio.get_running_loop().create_future()
        self._line.append(place)
        try:
            await place
        except BaseException:
            if place in self._line:
                self._line.remove(place)
            raise

    def _take(self) -> None:
        self._left -= 1
        if not self._left:
            # Not at each start: a turn of the event loop takes as long as a start does.
            asyncio.get_running_loop().call_soon(self._begin_turn)

    def _begin_turn(self) -> None:
        self._left = _STARTS_IN_A_TURN
        while self._line and self._left:
            place = self._line.popleft()
            if not place.done():
                self._take()
                place.set_result(None)


class _TrioTurns(_Turns):
    def __init__(self) -> None:
        import trio

        self._semaphore = trio.Semaphore(_STARTS_IN_A_TURN)

    async def wait(self) -> None:
        import trio

        async with self._semaphore:
            await trio.lowlevel.checkpoint()


_turns: PerLoop[_Turns] = PerLoop(_AsyncioTurns, _TrioTurns)
