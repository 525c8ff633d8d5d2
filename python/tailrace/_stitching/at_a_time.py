"""The same for each input of a join, a few at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

_AT_A_TIME = 4
"""The inputs' number has no bound; that of processes and open files has one."""


async def for_each_input(numbers: range, work: Callable[[int], Awaitable[None]]) -> None:
    """Await `work` for each number; begin no more once one has failed.

    Raises what it raised for the first input at fault: those before it were begun before it, and have been finished.
    """
    rest = iter(numbers)
    faults: dict[int, Exception] = {}

    async def take() -> None:
        for number in rest:
            if faults:
                return
            try:
                await work(number)
            except Exception as error:  # noqa: BLE001
                # From here it would come out in an ExceptionGroup.
                faults[number] = error

    async with anyio.create_task_group() as workers:
        for _ in range(_AT_A_TIME):
            workers.start_soon(take)
    if faults:
        raise faults[min(faults)]
