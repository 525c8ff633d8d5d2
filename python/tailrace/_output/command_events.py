"""What an adapter tells of a chunk's command besides its output, on its way into events."""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Awaitable

import anyio

from .._command.callbacks import await_if_needed
from .._command.result import UsageSample
from .._concurrency.steps import Steps
from .._events.head import EmitChunkEvent
from .._events.types import ChunkUsage, ChunkWarning
from .secret_mask import SecretMask

USAGE_INTERVAL = 0.5
"""The least time between two events of what a chunk uses, in seconds."""
_PATIENCE = 1.0
"""How long an async listener may take for warnings when the command is over, in seconds: the job may be cancelled."""


class CommandEvents:
    """Takes what the adapter says of one attempt, at any time, until it is emitted in the order of all events."""

    def __init__(self, emit: EmitChunkEvent, mask: SecretMask) -> None:
        self._emit = emit
        self._mask = mask
        self._warnings: deque[str] = deque()
        self._usage: UsageSample | None = None
        self._next_usage = -math.inf

    def on_warning(self, message: str) -> None:
        """Keep a warning until the next look; the adapter cannot wait for an async listener."""
        self._warnings.append(message)

    def on_usage(self, sample: UsageSample) -> None:
        """Keep a sample until it is time to tell of it."""
        self._usage = sample

    def emit_due(self) -> Steps:
        """Tell the warnings, and the latest sample unless the one before was told a moment ago."""
        while self._warnings:
            yield self._emit_warning()
        sample, now = self._usage, time.monotonic()
        if sample is not None and now >= self._next_usage:
            self._usage, self._next_usage = None, now + USAGE_INTERVAL
            yield self._tell_usage(sample)

    async def finish(self) -> None:
        """Tell the warnings that are left, also in a task that is being cancelled."""
        while self._warnings:
            # What a callback raises the reporter knows.
            with contextlib.suppress(Exception), anyio.move_on_after(_PATIENCE, shield=True):
                await await_if_needed(self._emit_warning())

    def _emit_warning(self) -> Awaitable[None] | None:
        message = self._mask.text(self._warnings.popleft())
        return self._emit(lambda head: ChunkWarning(**head, message=message))

    def _tell_usage(self, sample: UsageSample) -> Awaitable[None] | None:
        return self._emit(lambda head: ChunkUsage(**head, memory=sample.memory, cpu=sample.cpu))
