"""Work that blocks, in pieces: a look at ten million files takes minutes, and nobody can break off a thread."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from functools import partial
from typing import TypeAlias, TypeVar

import anyio
import anyio.lowlevel

from .disk_threads import DiskThreads
from .in_thread import in_thread

_T = TypeVar("_T")

Work: TypeAlias = Generator[None, None, _T]
"""Does a little between one `yield` and the next."""

_SLICE = 2.0
"""How long a cancellation may have to wait, in seconds."""


_threads = DiskThreads()


def _begin_anew() -> None:
    global _threads
    _threads = DiskThreads()


# A forked process has none of the threads.
os.register_at_fork(after_in_child=_begin_anew)


async def in_slices(work: Work[_T]) -> _T:
    """Do the work in a thread and return what it returns; a cancellation breaks it off.

    What takes less than two seconds is done whatever happens meanwhile.
    """
    while True:
        with anyio.CancelScope(shield=True):
            end = await in_thread(_threads, partial(_slice, work))
        if end is not None:
            result: _T = end.value
            return result
        await anyio.lowlevel.checkpoint_if_cancelled()


def at_once(work: Work[_T]) -> _T:
    """Do the work on this thread and return what it returns."""
    while (end := _slice(work)) is None:
        pass
    result: _T = end.value
    return result


def _slice(work: Work[_T]) -> StopIteration | None:
    """Go on for a while; return how the work ended, if it did."""
    deadline = time.monotonic() + _SLICE
    try:
        while time.monotonic() < deadline:
            next(work)
    except StopIteration as end:
        return end
    return None
