"""Steps that may have to be awaited, one after the other."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator

Steps = Iterator[Awaitable[None] | None]
"""Each is done when it comes out, or when what comes out has been awaited."""


def in_turn(steps: Steps) -> Awaitable[None] | None:
    """Take the steps; return None if that was all, else what is to be awaited for the rest of them."""
    for pending in steps:
        if pending is not None:
            return _finish(pending, steps)
    return None


async def _finish(pending: Awaitable[None], steps: Steps) -> None:
    await pending
    for following in steps:
        if following is not None:
            await following
