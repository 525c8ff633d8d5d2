"""How much of a command's output its result keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_DEFAULT_MEMORY = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Capture:
    """How much of each stream a `WorkerResult` keeps. Build one with a class method; sizes are bytes per stream.

    What the callbacks receive does not depend on it.
    """

    kind: Literal["full", "tail", "head_tail", "none"]
    memory: int = 0
    head: int = 0
    tail_size: int = 0

    @classmethod
    def full(cls, *, memory: int = _DEFAULT_MEMORY) -> Capture:
        """Keep everything: up to `memory` bytes per stream in memory, the rest in an unnamed temporary file."""
        return cls("full", memory=_size("memory", memory))

    @classmethod
    def tail(cls, max_bytes: int) -> Capture:
        """Keep the last `max_bytes` of each stream."""
        return cls("tail", tail_size=_size("max_bytes", max_bytes))

    @classmethod
    def head_tail(cls, head: int, tail: int) -> Capture:
        """Keep the first `head` and the last `tail` bytes of each stream."""
        return cls("head_tail", head=_size("head", head), tail_size=_size("tail", tail))

    @classmethod
    def none(cls) -> Capture:
        """Keep nothing."""
        return cls("none")


def _size(name: str, value: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number of bytes (an int), not {value!r}")
    if value < 0:
        raise ValueError(f"{name} must not be negative: {value}")
    return value
