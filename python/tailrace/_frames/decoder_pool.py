"""The processes that decode, kept for the next file while there is work."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import anyio

from .answers import UNSTARTED, answer_of_end
from .decoder import Decoder, DecoderEnded, DecoderTooSlow, FrameLimits

_IDLE = 60.0
"""How long a process without work is kept, in seconds: each takes some 60 MiB."""
_TRIES = 3
"""How often a file is read whose decoder is killed."""


class DecoderPool:
    """Lends decoders while it is entered, one for each task. On leaving, all are ended, also those that are at work."""

    def __init__(self, concurrency: int | None = None, *, yields: bool = True, nice: int = 0) -> None:
        """Have so many at work at a time; None is one for each processor that this process may use.

        They are `nice` levels less important than this process from their start; with `yields`, idle once they work.

        Raises `TypeError` or `ValueError` for what is no such number.
        """
        if concurrency is not None and (isinstance(concurrency, bool) or not isinstance(concurrency, int)):
            raise TypeError(f"concurrency must be a number of processes (int), not {concurrency!r}")
        if concurrency is not None and concurrency < 1:
            raise ValueError(f"concurrency must be at least 1: {concurrency}")
        self.concurrency = concurrency or len(os.sched_getaffinity(0))
        self._yields = yields
        self._nice = nice
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

    async def ask(self, request: dict[str, Any], limits: FrameLimits) -> dict[str, Any]:
        """Return the answer to a request, or what stands in its place where the decoder ends or takes too long."""
        tries = _TRIES
        while True:
            decoder = None
            try:
                async with self.lent() as decoder:
                    return await decoder.ask(request, limits.wall_time)
            except OSError as error:
                return {"failed": UNSTARTED.format(error.strerror or error)}
            except (DecoderEnded, DecoderTooSlow) as error:
                if self.is_left:
                    return {"failed": "nobody waits for it any more"}
                tries -= 1
                if not (tries and isinstance(error, DecoderEnded) and error.is_chance):
                    is_ready = decoder is not None and decoder.is_ready
                    return answer_of_end(error, limits, is_ready=is_ready)

    async def end_idle(self) -> None:
        """End the processes that have had nothing to do for a minute."""
        while self._idle and time.monotonic() - self._idle[0][1] > _IDLE:
            await self._end(self._idle.pop(0)[0])

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[Decoder]:
        """Lend a decoder; one that something was raised over is ended.

        Raises `DecoderEnded` once the pool has been left, and `OSError` where none can be started.
        """
        async with self._slots:
            if self.is_left:
                raise DecoderEnded(None, has_begun=False)
            decoder = self._idle.pop()[0] if self._idle else Decoder(yields=self._yields, nice=self._nice)
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
            self._idle.append((decoder, time.monotonic()))
            await self.end_idle()

    async def _end(self, decoder: Decoder) -> None:
        decoder.kill()
        decoder.close()
        await decoder.wait()
        self._busy.discard(decoder)
