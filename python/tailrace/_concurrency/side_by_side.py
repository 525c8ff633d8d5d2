"""The same for many things, a few at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import anyio

_T = TypeVar("_T")


async def side_by_side(items: Iterable[_T], work: Callable[[_T], Awaitable[None]], *, tasks: int) -> None:
    """Await `work` for each item, by so many tasks. What it raises first ends the others, and comes out as it is."""
    left = iter(items)
    errors: list[Exception] = []

    async def take() -> None:
        try:
            for item in left:
                await work(item)
        except Exception as error:  # noqa: BLE001
            # Raised below: from here it would come out in an ExceptionGroup.
            errors.append(error)
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for _ in range(tasks):
            group.start_soon(take)
    if errors:
        raise errors[0]
