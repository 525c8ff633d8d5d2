"""Spreads a burst of starts, so that the output of what runs already need not wait for all of them."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

import anyio
import anyio.lowlevel
from anyio.lowlevel import RunVar

_STARTS_IN_A_TURN = 8
"""How many commands are started before the event loop looks at anything else; each takes some 30 microseconds."""

_turn: RunVar[AbstractAsyncContextManager[None]] = RunVar("tailrace._turn_to_start")


async def turn_to_start() -> None:
    """Return when the caller may start a command, at once."""
    turn = _turn.get(None)
    if turn is None:
        turn = _semaphore()
        _turn.set(turn)
    async with turn:
        await anyio.lowlevel.checkpoint()


def _semaphore() -> AbstractAsyncContextManager[None]:
    # Not anyio's: there, to wait in line takes longer than to start a command.
    if anyio.get_cancelled_exc_class() is asyncio.CancelledError:
        return asyncio.Semaphore(_STARTS_IN_A_TURN)
    import trio

    return trio.Semaphore(_STARTS_IN_A_TURN)
