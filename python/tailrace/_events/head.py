"""How an event comes into being: whoever has news makes it, from a head that whoever tells it has filled in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypedDict

from .types import ChunkEvent, JobEvent


class EventHead(TypedDict):
    """The fields that all events have."""

    job_id: str
    run_id: str
    sequence: int
    time: float
    monotonic: float


class ChunkHead(EventHead):
    """The fields that all events of a chunk have."""

    chunk_id: int
    attempt: int


MakeEvent: TypeAlias = Callable[[EventHead], JobEvent]
"""Makes an event with that head. Called at the moment of the event, if anybody listens, and once."""

MakeChunkEvent: TypeAlias = Callable[[ChunkHead], ChunkEvent]
"""The same for an event of a chunk."""

EmitChunkEvent: TypeAlias = Callable[[MakeChunkEvent], Awaitable[None] | None]
"""Emits an event of one attempt at a chunk; returns what is still to be awaited."""
