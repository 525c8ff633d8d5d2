"""What an adapter tells of a chunk's command besides its output, on its way into events."""

from __future__ import annotations

import contextlib
import inspect
import math
import time
from collections.abc import Awaitable

import anyio

from ._events import ChunkUsage, ChunkWarning
from ._in_turn import Steps
from ._progress_watch import Emit
from ._secret_mask import SecretMask
from ._worker_result import UsageSample

USAGE_INTERVAL = 0.5
"""The least time between two events of what a chunk uses, in seconds."""
_PATIENCE = 1.0
"""How long an async listener may take for warnings when the command is over, in seconds: the job may be cancelled."""


class CommandNews:
    """Takes what the adapter says of one attempt, at any time, and emits events of it."""

    def __init__(self, emit: Emit, mask: SecretMask) -> None:
        self._emit = emit
        self._mask = mask
        self._warnings: list[Awaitable[None]] = []
        self._usage: UsageSample | None = None
        self._next_usage = -math.inf

    def on_warning(self, message: str) -> None:
        """Emit a warning at once: a plain listener hears of it though the task is being cancelled."""
        # What a callback raises the reporter knows; the adapter has its command to end.
        with contextlib.suppress(Exception):
            if (pending := self._emit(ChunkWarning, message=self._mask.text(message))) is not None:
                self._warnings.append(pending)

    def on_usage(self, sample: UsageSample) -> None:
        """Keep a sample until it is time to tell of it."""
        self._usage = sample

    def tell_what_is_due(self) -> Steps:
        """Tell the latest sample, unless the one before was told a moment ago."""
        sample, now = self._usage, time.monotonic()
        if sample is not None and now >= self._next_usage:
            self._usage, self._next_usage = None, now + USAGE_INTERVAL
            yield self._emit(ChunkUsage, memory=sample.memory, cpu=sample.cpu)

    async def finish(self) -> None:
        """Have an async listener hear of the warnings, also in a task that is being cancelled."""
        try:
            for pending in self._warnings:
                with contextlib.suppress(Exception), anyio.move_on_after(_PATIENCE, shield=True):
                    await pending
        finally:
            for pending in self._warnings:
                if inspect.iscoroutine(pending):
                    pending.close()
