"""Spreads a burst of starts, so that the output of what runs already need not wait for all of them."""

from __future__ import annotations

import anyio
import anyio.lowlevel
from anyio.lowlevel import RunVar

_STARTS_IN_A_TURN = 8
"""How many commands are started before the event loop looks at anything else; each takes some 30 microseconds."""

_turn: RunVar[anyio.Semaphore] = RunVar("tailrace._turn_to_start")


async def turn_to_start() -> None:
    """Return when the caller may start a command, at once."""
    turn = _turn.get(None)
    if turn is None:
        turn = anyio.Semaphore(_STARTS_IN_A_TURN, fast_acquire=True)
        _turn.set(turn)
    async with turn:
        await anyio.lowlevel.checkpoint()
