"""What the process that decodes tells of a file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


class NotTheFileError(Exception):
    """Something went wrong that says nothing of the file."""


class NotSeenError(Exception):
    """A file cannot be shown; the message says why, to be read after its name."""


@dataclass
class Found:
    """What is to be told of a file."""

    kind: str = "other"
    reason: str | None = None
    format: str | None = None
    width: int | None = None
    height: int | None = None
    channels: int | None = None
    frames: int | None = None
    stats: dict[str, Any] | None = None
    is_changed: bool = False
    """Whether it is another file than the one that was asked for, or was written to while it was read."""

    def to_json(self) -> dict[str, Any]:
        """Return what becomes JSON."""
        return asdict(self)
