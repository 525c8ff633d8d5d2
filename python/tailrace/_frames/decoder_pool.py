"""The processes that decode, kept for the next file while there is work."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

import anyio

from .decoder import Decoder, DecoderEnded

_IDLE = 60.0
"""How long a process without work is kept, in seconds: each takes some 60 MiB."""


class DecoderPool:
    """Lends decoders while it is entered, one for each task. On leaving, all are ended, also those that are at work."""

    def __init__(self, concurrency: int | None = None, *, yields: bool = True) -> None:
        """Have so many at work at a time; None is one for each processor that this process may use.

        Raises `TypeError` or `ValueError` for what is no such number.
        """
        if concurrency is not None and (isinstance(concurrency, bool) or not isinstance(concurrency, int)):
            raise TypeError(f"concurrency must be a number of processes (int), not {concurrency!r}")
        if concurrency is not None and concurrency < 1:
            raise ValueError(f"concurrency must be at least 1: {concurrency}")
        self.concurrency = concurrency or len(os.sched_getaffinity(0))
        self._yields = yields
        self._slots = anyio.Semaphore(self.concurrency)
        self._idle: list[tuple[Decoder, float]] = []
        """With the time since when; the one that worked last is the last."""
        self._busy: set[Decoder] = set()
        self.is_left = False
        """Whether it has been left, and lends nothing."""

    async def __aenter__(self) -> Self:
        self.is_left = False
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.is_left = True
        idle = [decoder for decoder, _ in self._idle]
        self._idle.clear()
        for decoder in self._busy:
            # Who has asked it sees that it ends, and closes it.
            decoder.kill()
        # Side by side: each may hang in the kernel.
        async with anyio.create_task_group() as tasks:
            for decoder in idle:
                tasks.start_soon(self._end, decoder)
            for decoder in self._busy:
                tasks.start_soon(decoder.wait)

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[Decoder]:
        """Lend a decoder; one that something was raised over is ended.

        Raises `DecoderEnded` once the pool has been left, and `OSError` where none can be started.
        """
        async with self._slots:
            if self.is_left:
                raise DecoderEnded(None, has_begun=False)
            decoder = self._idle.pop()[0] if self._idle else Decoder(yields=self._yields)
            self._busy.add(decoder)
            try:
                yield decoder
            except BaseException:
                await self._end(decoder)
                raise
            if self.is_left:
                await self._end(decoder)
                return
            self._busy.discard(decoder)
            now = time.monotonic()
            self._idle.append((decoder, now))
            if now - self._idle[0][1] > _IDLE:
                await self._end(self._idle.pop(0)[0])

    async def _end(self, decoder: Decoder) -> None:
        decoder.kill()
        decoder.close()
        await decoder.wait()
        self._busy.discard(decoder)
